#!/usr/bin/env python3
"""What a history of every second costs at the DR site, on recorded writes of real programs.

    sudo bench/history.py sizes [TRACE...] [--rules every,minute,hour] [--speed 1] [--settle 20]

A TRACE is a directory made by bench/traces/record.py, or its name below $FARSHORE_TRACES (all of MariaDB's,
PostgreSQL's and Debian's there unless told). It is replayed at its own pace with intervals of 1 s, once for each of
the rules: every point (`all 1h`), one a minute (`1m 24h`) and one an hour (`1h 7d`), which is the first and the last
of a recording that is shorter; its history is given per byte of the blocks that changed, each counted once. Then the
bench waits until the history has not become smaller for --settle seconds. Counted are allocated bytes of every file of
the group's state directory but the queues (journal, rollback log); beside it what the disk of the DR site was made to
write, a loop device of its own (so it needs root): images, journal, history, packing and the file system's own. Both
are given per folded byte, as the sender's status counts it. Primary and copy are compared. --speed 4 replays, cuts and
thins four times as fast, for a try-out that writes no result; else it is in bench/results/history-TRACE.json.
"""

import argparse
import os
import signal
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import dr_site  # noqa: E402
import figures  # noqa: E402
import harness  # noqa: E402
import pair_replay  # noqa: E402
import recorded  # noqa: E402

TRACES = ("mariadb-write-only", "postgres-n", "debian")
# Per program, the first word of a trace's name: at every point, at one a minute.
BARS = {"mariadb": {"every": 0.35, "minute": 0.30}, "postgres": {"every": 0.05, "minute": 0.05},
        "debian": {"every": 0.03, "minute": 0.02}}
DEVICE_BAR = 2.5
HOUR_BAR = 0.5  # of the distinct blocks
DISK_BYTES = 24 << 30  # sparse: room for history and journal beside the images
SETTLE_LIMIT = 1200  # seconds until packing must have come to rest


def rules_of(name, speed):
    """`retain` for a name, with times as short as the replay is fast."""
    return {"every": ["all 1h"], "minute": [f"{60_000 / speed:.0f}ms 24h"], "hour": ["1h 7d"]}[name]


def distinct_bytes(trace):
    """Of the blocks that changed in the recording, each counted once."""
    return 4096 * sum(len(changed) for changed in trace.intervals(10 ** 9))


def measure(context, options, trace, rules):
    """One replay; its figures, bytes in all and per folded byte."""
    disk = dr_site.Disk(context, DISK_BYTES + sum(size for _, size in trace.volumes))
    pair = pair_replay.start_pair(context, trace, line=None, seeded=True, retain=rules_of(rules, options.speed),
                                  interval=f"{1000 / options.speed:.0f}ms", memory=options.memory)
    dr_site.settled(pair, 3, 60)
    before, written = dr_site.space(pair), disk.written()
    known = {p["id"] for p in dr_site.points(pair)}
    outcome = pair_replay.replay(pair, trace, options.speed)
    fresh = [p for p in dr_site.points(pair) if p["id"] not in known]
    rest = dr_site.settled(pair, options.settle, SETTLE_LIMIT)
    written = disk.written() - written
    after = dr_site.space(pair)
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in after}
    pair_replay.compare(context, pair, trace)
    folded = outcome["counters"]["folded"]
    history = sum(size for name, size in grown.items() if name not in dr_site.LIVE)
    pair.sender.stop()
    pair.receiver.stop()
    context.check(rest, f"{trace.name}, {rules}: packing came to rest")
    context.check(not outcome["order_lost"], f"{trace.name}, {rules}: the order was kept")
    base = distinct_bytes(trace) if rules == "hour" else folded
    seconds = trace.meta["seconds"]
    if rules == "every":  # a history without its points would be small for the wrong reason
        context.check(len(fresh) >= 0.9 * seconds, f"{trace.name}: {len(fresh)} points from {seconds} s of writes")
    return {"rules": rules, "folded": folded, "grown": grown, "history": history, "device": written,
            "history_per_folded": history / base, "device_per_folded": written / folded, "points": len(fresh),
            "lag_seconds": outcome["lag_seconds"], "cpu_seconds": outcome["cpu_seconds"]}


def table(outcomes):
    print("\n| trace | rules | points | folded MB | undo MB | packed MB | other MB | ratio | bar | device | bar |")
    print("| --- " * 11 + "|")
    for name, one in outcomes:
        grown = one["grown"]
        parts = [one["folded"], grown.get("undo", 0), grown.get("packed", 0)]
        parts.append(one["history"] - parts[1] - parts[2])
        cells = [name, one["rules"], one["points"], *(f"{size / 1e6:.1f}" for size in parts),
                 f"{one['history_per_folded']:.3f}x", f"{bar_of(name, one['rules'])}x",
                 f"{one['device_per_folded']:.2f}x", f"{DEVICE_BAR}x"]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")


def bar_of(name, rules):
    return HOUR_BAR if rules == "hour" else BARS.get(name.split("-")[0], {}).get(rules, 1.0)


def of_trace(options, name, outcomes):
    """All rules on one trace; true when every bar holds."""
    bench = figures.Bench("history-" + os.path.basename(name.rstrip("/")), options)
    try:
        trace = recorded.Trace(name)
        for rules in options.rules:
            inner = harness.Context(options)
            bench.context.on_exit(inner.close)
            one = measure(inner, options, trace, rules)
            bench.context.failures += inner.failures
            inner.close()
            bench.details[rules] = one
            outcomes.append((trace.name, one))
            for what, value, bar in (("history", one["history_per_folded"], bar_of(trace.name, rules)),
                                     ("written to devices", one["device_per_folded"], DEVICE_BAR)):
                per = "changed block's" if rules == "hour" and what == "history" else "folded"
                bench.row(f"{what} per {per} byte, {trace.name}, {rules}", f"{value:.3f}x", f"<= {bar}x", value <= bar)
        if options.speed == 1:
            bench.finish(f"bench/history.py sizes {trace.name}")
        return all(row["ok"] for row in bench.rows) and not bench.context.failures
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return None
    except (harness.Failed, recorded.Damaged) as error:
        print(f"FAILED: {name}: {error}")
        bench.context.show_logs()
        return False
    finally:
        bench.context.close()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sizes"])
    parser.add_argument("traces", nargs="*", metavar="TRACE")
    parser.add_argument("--rules", type=lambda text: text.split(","), default=["every", "minute", "hour"])
    parser.add_argument("--speed", type=float, default=1.0, help="of the replay; 1: as recorded")
    parser.add_argument("--settle", type=float, default=20, help="seconds without shrinking that end the wait")
    parser.add_argument("--memory", default="512MiB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if not set(options.rules) <= {"every", "minute", "hour"}:
        parser.error("--rules are of: every, minute, hour")
    options.long, options.scale = True, 1
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    there = [t for t in TRACES if os.path.isdir(os.path.join(recorded.folder(), t))]
    names = options.traces or there
    if not names:
        print(f"SKIPPED: no trace below {recorded.folder()}: record one with bench/traces/record.py")
        return harness.SKIPPED
    outcomes = []
    good = [of_trace(options, name, outcomes) for name in names]
    table(outcomes)
    if all(one is None for one in good):
        return harness.SKIPPED
    return 1 if False in good else 0


if __name__ == "__main__":
    sys.exit(main())
