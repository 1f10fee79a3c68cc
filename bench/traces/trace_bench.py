"""The frame of a bench that measures recorded traces one by one: arguments, results, skips, exit codes."""

import argparse
import os
import signal
import sys

import figures
import harness
import recorded


def arguments(doc, more=lambda parser: None):
    """TRACE..., --seed, --keep and what `more` adds; SIGTERM ends the program in order from here on."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", metavar="TRACE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    more(parser)
    options = parser.parse_args()
    options.long, options.scale = True, 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return options


def run(name, options, kind, script, measure):
    """True or False for good or bad, None for skipped. The result goes to bench/results/KIND-TRACE.json."""
    bench = figures.Bench(f"{kind}-" + os.path.basename(name.rstrip("/")), options)
    try:
        trace = recorded.Trace(name)
        measure(bench, options, trace)
        return bench.finish(f"bench/{script} {trace.name}") and not bench.context.failures
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return None
    except (harness.Failed, recorded.Damaged) as error:
        print(f"FAILED: {name}: {error}")
        bench.context.show_logs()
        return False
    finally:
        bench.context.close()


def run_all(options, kind, script, measure):
    """The program's exit code."""
    outcomes = [run(name, options, kind, script, measure) for name in options.traces]
    if all(outcome is None for outcome in outcomes):
        return harness.SKIPPED
    return 1 if False in outcomes else 0
