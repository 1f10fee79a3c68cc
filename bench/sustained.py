#!/usr/bin/env python3
"""How much a program may write, for long: a trace replayed through the NBD socket, both daemons on this
machine over loopback without a relay, so that the line doesn't limit.

    bench/sustained.py TRACE... [--spool 8GiB] [--rates 160,120,100,80,60,40,20]

A TRACE is a directory made by bench/traces/record.py, or its name below $FARSHORE_TRACES. It is replayed
as fast as it goes; when the group doesn't keep the order of writes (falls from `streaming` and `spooling`
to `tracking`), again at lower and lower rates (MB/s of writes on average, the trace's own bursts kept)
until it does. The figure is what the DR site showed when `wait` returned. Both sides are compared each
time. The result goes to bench/results/sustained-TRACE.json.
"""

import os
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import harness  # noqa: E402
import pair_replay  # noqa: E402
import trace_bench  # noqa: E402

BAR = 80.0


def attempt(context, options, trace, speed):
    """One replay on a fresh pair; returns its outcome with the rate that lasted, in MB/s."""
    pair = pair_replay.start_pair(context, trace, line=None, interval=options.interval, spool=options.spool,
                                  memory=options.memory)
    outcome = pair_replay.replay(pair, trace, speed)
    pair_replay.compare(context, pair, trace)
    outcome["rate"] = outcome["replay"]["bytes"] / outcome["seconds_until_wait_returned"] / 1e6
    into = outcome["replay"]["bytes"] / outcome["replay_seconds"] / 1e6
    kept = f"order lost {outcome['order_lost']} times" if outcome["order_lost"] else "order kept"
    print(f"   clients {into:.0f} MB/s, until the DR site shows it {outcome['rate']:.0f} MB/s, {kept}; states "
          f"{outcome['states']}; CPU s {outcome['cpu_seconds']}", flush=True)
    for line in outcome["why_lost"]:
        print("   " + line)
    return outcome


def measure(bench, options, trace):
    written = trace.meta["bytes_written"] / trace.meta["seconds"] / 1e6
    speeds = [0.0] + [float(rate) / written for rate in options.rates.split(",")]
    bench.details = {"attempts": []}
    for speed in speeds:
        inner = harness.Context(options)
        bench.context.on_exit(inner.close)
        outcome = attempt(inner, options, trace, speed)
        bench.context.failures += inner.failures
        inner.close()
        bench.details["attempts"].append({"speed": speed, **outcome})
        if not outcome["order_lost"]:
            break
    rate = 0 if outcome["order_lost"] else outcome["rate"]
    bench.row(f"sustained written rate with the order kept, {trace.name}, both daemons on {os.cpu_count()} cores",
              f"{rate:.0f} MB/s", f">= {BAR:.0f} MB/s", rate >= BAR)


def more(parser):
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--spool", default="8GiB")
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--rates", default="160,120,100,80,60,40,20", help="MB/s, tried in this order")


def main():
    return trace_bench.run_all(trace_bench.arguments(__doc__, more), "sustained", "sustained.py", measure)


if __name__ == "__main__":
    sys.exit(main())
