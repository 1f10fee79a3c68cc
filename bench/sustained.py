#!/usr/bin/env python3
"""How much a program may write, for long: a trace replayed as fast as it goes through the NBD socket,
both daemons on this machine over loopback without a relay, so that the line doesn't limit.

    bench/sustained.py TRACE [--spool 8GiB]

A TRACE is a directory made by bench/traces/record.py, or its name below $FARSHORE_TRACES. The group has
to stay in `streaming` or `spooling` all along; `tracking` fails. Two rates are printed: what clients got
in (acknowledged), and what the DR site showed when `wait` returned, which is the one that lasts. Both
sides are compared at the end. The result goes to bench/results/sustained-TRACE.json.
"""

import argparse
import os
import signal
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import figures  # noqa: E402
import harness  # noqa: E402
import pair_replay  # noqa: E402
import recorded  # noqa: E402

BAR = 80.0
KEEPS_ORDER = {"streaming", "spooling"}


def measure(bench, options, trace):
    pair = pair_replay.start_pair(bench.context, trace, line=None, interval=options.interval, spool=options.spool,
                                  memory=options.memory)
    outcome = pair_replay.replay(pair, trace, 0)
    pair_replay.compare(bench.context, pair, trace)
    written = outcome["replay"]["bytes"]
    through = written / outcome["seconds_until_wait_returned"] / 1e6
    into = written / outcome["replay_seconds"] / 1e6
    other = set(outcome["states"]) - KEEPS_ORDER
    bench.details = outcome
    print(f"   {written / 1e6:.0f} MB written; clients {into:.0f} MB/s; states {outcome['states']}; CPU s "
          f"{outcome['cpu_seconds']}", flush=True)
    bench.row(f"sustained written rate until the DR site shows it, {trace.name}, both daemons on "
              f"{os.cpu_count()} cores" + (f", LOST ORDER: {sorted(other)}" if other else ""),
              f"{through:.0f} MB/s", f">= {BAR:.0f} MB/s", through >= BAR and not other)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", metavar="TRACE")
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--spool", default="8GiB")
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.long, options.scale = True, 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench = figures.Bench("sustained-" + os.path.basename(options.trace.rstrip("/")), options)
    try:
        trace = recorded.Trace(options.trace)
        measure(bench, options, trace)
        good = bench.finish(f"bench/sustained.py {trace.name}") and not bench.context.failures
        return 0 if good else 1
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return harness.SKIPPED
    except (harness.Failed, recorded.Damaged) as error:
        print(f"FAILED: {error}")
        bench.context.show_logs()
        return 1
    finally:
        bench.context.close()


if __name__ == "__main__":
    sys.exit(main())
