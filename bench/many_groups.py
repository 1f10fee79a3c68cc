#!/usr/bin/env python3
"""Many groups in one daemon, both daemons on this machine over loopback.

    bench/many_groups.py busy [--groups 100] [--volumes 200] [--rates 160,...] [--seconds 15] [--rounds 1]
    bench/many_groups.py idle [--groups 100] [--volumes 1500] [--seconds 30]

busy: one group is written in bulk at lower and lower rates (MB/s) until the order of its writes is kept
for so many seconds; the same for a daemon that has this group alone, in turns in one run. --busy N: N groups
are written at once, each at the rate divided by N. Resident memory is the peak over the writes.

idle: all volumes with a client connected to each; CPU, memory and the time of `status`.

Results: bench/results/many-groups-NAME.json.
"""

import argparse
import os
import resource
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
for folder in ("tests/e2e", "bench"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import figures  # noqa: E402
import harness  # noqa: E402
import many_groups_pair as many  # noqa: E402

MIB = 1 << 20
DAEMONS = ("sender", "receiver")


def peak_bytes(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def threads_of(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))


class Site:
    """Both daemons with so many groups, and what their writers came to."""

    def __init__(self, bench, groups, volumes_each):
        options = bench.options
        self.inner = harness.Context(options)
        bench.context.on_exit(self.inner.close)
        self.pair = many.ManyGroups(self.inner, groups, volumes_each, options.size_mib * MIB, options.memory)
        self.pair.start()
        self.peaks = {}

    def attempt(self, busy, rate, seconds):
        """Whether all kept the order, the bytes a second that they wrote, and why not."""
        pair = self.pair
        harness.retry(120, "all groups stream", pair.all_stream, pause=0.5)
        names = pair.names[:busy]
        before = sum(len(pair.losses(name)) for name in names)
        writers = [many.BulkWriter(pair, name, rate * 1e6 / busy, seed=i).start() for i, name in enumerate(names)]
        end = time.monotonic() + seconds
        while time.monotonic() < end and sum(len(pair.losses(name)) for name in names) == before:
            time.sleep(0.5)
        reached = sum(writer.finish() for writer in writers)
        for role in DAEMONS:
            self.peaks[role] = max(self.peaks.get(role, 0), peak_bytes(getattr(pair, role)))
        why = [line for name in names for line in pair.losses(name)]
        lost = len(why) - before
        for name in names:
            pair.sender.cli("wait", name, "--timeout", "300s", timeout=320)
        return lost == 0, reached, why[-1] if lost else ""

    def best(self, busy, rates, seconds):
        for rate in rates:
            kept, reached, why = self.attempt(busy, rate, seconds)
            print(f"       {len(self.pair.names)} group(s), {busy} written at {rate} MB/s: "
                  f"{reached / 1e6:.0f} MB/s {'kept' if kept else why}", flush=True)
            if kept:
                return reached
        return 0.0

    def close(self):
        self.inner.close()


def busy(bench):
    options = bench.options
    rates = [float(rate) for rate in options.rates.split(",")]
    each = max(1, options.volumes // options.groups)
    rows = []
    bench.details = {"rounds": rows}
    for _ in range(options.rounds):
        figures_of = {}
        for groups in (1, options.groups):
            site = Site(bench, groups, each)
            rate = site.best(min(options.busy, groups), rates, options.seconds)
            figures_of[groups] = {"bytes_per_second": rate, "peak_bytes": site.peaks}
            site.close()
        rows.append(figures_of)
    alone = max(r[1]["bytes_per_second"] for r in rows)
    among = max(r[options.groups]["bytes_per_second"] for r in rows)
    share = among / alone if alone else 0
    bench.row(f"{options.busy} busy among {options.groups} groups, order kept", f"{among / 1e6:.0f} MB/s, {share:.2f} "
              f"of the {alone / 1e6:.0f} MB/s alone", ">= 0.8 of alone", share >= 0.8)
    bound = harness.size_of(options.memory) + 64 * MIB
    for role in DAEMONS:
        peak = max(r[options.groups]["peak_bytes"][role] for r in rows)
        bench.row(f"memory of the {role}, {options.busy} busy among {options.groups} groups",
                  f"{peak / MIB:.0f} MiB", f"<= {bound // MIB} MiB", peak <= bound)


def idle(bench):
    options = bench.options
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    volumes = options.groups * (options.volumes // options.groups)
    began = time.monotonic()
    site = Site(bench, options.groups, options.volumes // options.groups)
    pair = site.pair
    ready = time.monotonic() - began
    clients = [pair.client(group, volume) for group in pair.names for volume in pair.volumes]
    time.sleep(10)  # for what follows a start
    before = {role: getattr(pair, role).cpu_seconds() for role in DAEMONS}
    start = time.monotonic()
    time.sleep(options.seconds)
    used = {role: (getattr(pair, role).cpu_seconds() - before[role]) / (time.monotonic() - start) for role in DAEMONS}
    bench.details = {"seconds_to_streaming": ready}
    what = f"{options.groups} groups, {volumes} volumes, a client each, idle"
    bench.row(f"{what}: streaming", f"{pair.states().count('streaming')} after {ready:.0f} s", "all", pair.all_stream())
    for role in DAEMONS:
        daemon = getattr(pair, role)
        rss = daemon.rss_bytes()
        times = []
        for _ in range(3):
            at = time.monotonic()
            daemon.cli("status")
            times.append(time.monotonic() - at)
        descriptors = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
        bench.details[role] = {"threads": threads_of(daemon), "descriptors": descriptors}
        print(f"       {role}: {threads_of(daemon)} threads, {descriptors} descriptors", flush=True)
        bench.row(f"{what}: CPU of the {role}", f"{used[role] * 100:.1f} %", "< 3 % of a core", used[role] < 0.03)
        bench.row(f"{what}: memory of the {role}", f"{rss / MIB:.0f} MiB, {rss / volumes / 1024:.0f} KiB a volume",
                  "< 1 MiB a volume", rss < volumes * MIB)
        bench.row(f"{what}: `status` of the {role}", f"{min(times):.2f} s", "< 0.2 s", min(times) < 0.2)
    for sock in clients:
        sock.close()
    site.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["busy", "idle"])
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--volumes", type=int, help="of all groups")
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--rates", default="160,120,100,80,60,50,40,30,20,10", help="MB/s, tried in this order")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size-mib", type=int, default=1024, help="of a volume, sparse")
    parser.add_argument("--memory", default="512MiB")
    parser.set_defaults(seed=1, long=False, keep=False, scale=1.0, trust="pinned", verify_encoding=False)
    options = parser.parse_args()
    options.volumes = options.volumes or (200 if options.which == "busy" else 1500)
    options.seconds = options.seconds or (15 if options.which == "busy" else 30)
    bench = figures.Bench("many-groups-" + options.which, options)
    try:
        {"busy": busy, "idle": idle}[options.which](bench)
        bench.finish(f"bench/many_groups.py {' '.join(sys.argv[1:])}")
    except harness.Failed as error:
        print(f"FAILED: {error}")
        return 1
    finally:
        bench.context.close()
    return 0 if all(row["ok"] for row in bench.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
