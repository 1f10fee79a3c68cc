#!/usr/bin/env python3
"""Two builds of Farshore in turns: what did a change cost?

    bench/paired.py OTHER [--rounds 5] [--only latency|bytes|restart]

OTHER is the folder of the other build's programs (build/release/bin of a worktree of an older commit); this
build's are found as by the tests. Each figure is the median of this build to that of the other, in one run:

    latency   fio against both senders, each replicating over loopback at 1 s: 4 KiB writes at depth 1 and 32,
              256 KiB sequential writes
    bytes     what a relay carried for the same writes (farshore-load, by its seed), from the join to `wait`
    restart   from the start of the sender to `streaming`: after a stop in order and after kill -9, 1 % of 1 GiB dirty

The result goes to bench/results/paired.json. There are no bars: "within noise" is what the scatter of the
rounds, printed beside, says.
"""

import argparse
import contextlib
import os
import signal
import statistics
import sys
import time

import figures
import harness
import nbd_vs_nbdkit

MIB, GIB = figures.MIB, figures.GIB
NAMES = ("this", "other")


class Build:
    """One of the two; its programs are found while `with build.chosen():` lasts."""

    def __init__(self, name, programs):
        self.name, self.programs = name, programs

    @contextlib.contextmanager
    def chosen(self):
        before = os.environ.get("FARSHORE_BIN")
        os.environ["FARSHORE_BIN"] = self.programs
        try:
            yield
        finally:
            if before is None:
                del os.environ["FARSHORE_BIN"]
            else:
                os.environ["FARSHORE_BIN"] = before


class Sub:
    """A folder of its own below the bench's, for a pair of one build."""

    def __init__(self, context, name):
        self.context, self.name, self.options, self.logs = context, name, context.options, context.logs
        os.makedirs(context.path(name), exist_ok=True)

    def path(self, *parts):
        return self.context.path(self.name, *parts)

    def __getattr__(self, name):
        return getattr(self.context, name)


def join(pair):
    """As builds from before `join` read its token from standard input know it."""
    token = pair.receiver.cli("invite", pair.group, "--address", pair.address)["token"]
    pair.sender.cli("join", token)
    return pair


def median_row(bench, what, kept, unit):
    this, other = (statistics.median(values) for values in kept)
    spread = max((max(v) - min(v)) / statistics.median(v) for v in kept)
    bench.details[what] = dict(zip(NAMES, kept))
    bench.row(what, f"{this / other:.3f}x ({this:.4g} to {other:.4g} {unit}, scatter {spread * 100:.0f} %)",
              "within noise", True)


def in_turns(bench, rounds, measure):
    """measure(which) for both, the order swapped each round."""
    kept = ([], [])
    for number in range(rounds):
        for which in ((0, 1) if number % 2 == 0 else (1, 0)):
            os.sync()
            kept[which].append(measure(which))
    return kept


def latency(bench, builds, rounds):
    size = 512 * MIB
    pairs = []
    for build in builds:
        sub = Sub(bench.context, build.name)
        os.makedirs(sub.path("primary"), exist_ok=True)
        nbd_vs_nbdkit.make_file(sub.path("primary", "disk.img"), size)
        with build.chosen():
            pairs.append(join(harness.Pair(sub, {"disk": size}, interval="1s").start(join=False)))
    for build, pair in zip(builds, pairs):
        with build.chosen():
            pair.wait_state("streaming", timeout=300)
    how = argparse.Namespace(prefix=[], size_mib=size // MIB, seconds=6)
    for name, words, figure, *_ in nbd_vs_nbdkit.CASES:
        if "write" not in name or name.startswith("256k seq write QD1"):
            continue

        def measure(which, words=words, figure=figure):
            for build, pair in zip(builds, pairs):
                with build.chosen():
                    pair.wait(timeout=300)
            return nbd_vs_nbdkit.fio(pairs[which].uri("disk"), words, how)[figure]
        median_row(bench, name, in_turns(bench, rounds, measure), "")
    for build, pair in zip(builds, pairs):
        with build.chosen():
            pair.compare()
            pair.sender.stop()
            pair.receiver.stop()


def line_bytes(bench, builds, rounds):
    """The same writes each time; how many intervals they fall into is up to the clock."""
    runs = [0, 0]

    def measure(which):
        build = builds[which]
        runs[which] += 1
        sub = Sub(bench.context, f"bytes-{build.name}-{runs[which]}")
        with build.chosen():
            pair = harness.Pair(sub, {"disk": 256 * MIB}, line="relay", interval="1s")
            load = harness.Load(pair, seed=bench.options.seed)
            load.fill()
            join(pair.start(join=False))
            pair.wait_state("streaming", timeout=300)
            load.start(writes=20000, rate=2000)
            load.finish(stop=False)
            pair.wait(timeout=300)
            pair.compare()
            carried = pair.relay.carried
            pair.sender.stop()
            pair.receiver.stop()
        return carried
    median_row(bench, "bytes on the line", in_turns(bench, rounds, measure), "bytes")


def restart(bench, builds, rounds):
    size = GIB
    pairs = []
    for build in builds:
        sub = Sub(bench.context, "restart-" + build.name)
        os.makedirs(sub.path("primary"), exist_ok=True)
        figures.half_compressible(sub.path("primary", "disk.img"), size, bench.options.seed)
        with build.chosen():
            pair = join(harness.Pair(sub, {"disk": size}, line="relay").start(join=False))
            pair.wait_state("streaming", timeout=300)
            pair.wait(timeout=300)
            pairs.append(pair)

    def measure(which, killed):
        pair = pairs[which]
        with builds[which].chosen():
            pair.wait(timeout=300)
            pair.relay.cut()
            figures.dirty_one_percent(pair, size, bench.options.seed)
            pair.sender.kill() if killed else pair.sender.stop()
            pair.relay.heal()
            begun = time.monotonic()
            pair.sender.start()
            pair.wait_state("streaming", timeout=300)
            return time.monotonic() - begun
    for what, killed in (("restart after a stop in order", False), ("restart after kill -9", True)):
        median_row(bench, what, in_turns(bench, rounds, lambda which, k=killed: measure(which, k)), "s")
    for build, pair in zip(builds, pairs):
        with build.chosen():
            pair.compare()


PARTS = {"latency": latency, "bytes": line_bytes, "restart": restart}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.scale, options.long = 1, True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ours = harness.find("farshore-sender")
    other = os.path.abspath(options.other)
    if not os.path.exists(os.path.join(other, "farshore-sender")):
        print(f"paired: {other} has no farshore-sender; give the folder of a build's programs", file=sys.stderr)
        return 2
    builds = (Build("this", os.path.dirname(os.path.abspath(ours))), Build("other", other))
    bench = figures.Bench("paired", options)
    try:
        for name, part in PARTS.items():
            if options.only in (None, name):
                part(bench, builds, options.rounds)
        bench.finish(f"bench/paired.py OTHER --rounds {options.rounds}"
                     + (f" --only {options.only}" if options.only else ""))
        return 1 if bench.context.failures else 0
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return harness.SKIPPED
    except harness.Failed as error:
        print(f"FAILED: {error}")
        bench.context.show_logs()
        return 1
    finally:
        bench.context.close()


if __name__ == "__main__":
    sys.exit(main())
