#!/usr/bin/env python3
"""What points cost at the DR site when they are used.

    bench/points.py open  [--points 300] [--size 16GiB]   to open the oldest, middle and newest one, under load
    bench/points.py read  [--size 512MiB] [--versions 3]  4 KiB reads at depth 32, and the whole point in order
    bench/points.py lag   [--seconds 20] [--rounds 3]     lag and the writer while three points are read

`open`: a sparse volume, a barrier every 100 ms, a writer at --rate writes a second. The three points are opened in
turns, each --rounds times; the receiver's growth per point is of four points that are open and read at once.

`read`: a volume full of data, a point, then --versions rounds of writes to its first quarter, half of them changing
512 bytes of a block and half all of it. When the history has come to rest (--settle), the unchanged part is read in
turns from the point and from `nbdkit file` on the point exported to a raw file; the changed quarter gives processor
time a read and the latency.

`lag`: each site has a core of its own (the writer with the sender, the readers with the receiver), so that what one
site pays is not taken from the other's processor, as it is in life. In turns without and with three clients that read
three points as fast as they can.

Results: bench/results/points-NAME.json, for the size of the bar (--full) only.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import dr_site  # noqa: E402
import figures  # noqa: E402
import harness  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
INTERVAL = 0.1  # seconds
READERS = 3


def fio_words(uri, pattern, *words):
    return ["fio", "--name=run", "--ioengine=nbd", f"--uri={uri}", f"--rw={pattern}", "--randseed=7",
            "--lat_percentiles=1", "--clat_percentiles=0", "--output-format=json", *words]


def outcome_of(text, way):
    """IOPS, number, and latencies in ms of one run."""
    part = json.loads(text[text.index("{"):])["jobs"][0][way]
    percentile = part["lat_ns"].get("percentile", {})
    return {"iops": part["iops"], "number": part["total_ios"], "mean_ms": part["lat_ns"]["mean"] / 1e6,
            "p50_ms": percentile.get("50.000000", 0) / 1e6, "p99_ms": percentile.get("99.000000", 0) / 1e6}


def fio(uri, pattern, *words):
    done = subprocess.run(fio_words(uri, pattern, *words), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed(f"fio {pattern} on {uri}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return outcome_of(done.stdout, "read" if "read" in pattern else "write")


class Writer:
    """4 KiB writes at random places of a volume, at a rate, until end()."""

    def __init__(self, pair, size, rate):
        words = fio_words(pair.uri("data"), "randwrite", "--bs=4k", "--iodepth=1", f"--size={size}", "--time_based",
                          "--runtime=36000", f"--rate_iops={rate}", "--buffer_compress_percentage=50",
                          "--refill_buffers", "--norandommap")
        self.process = harness.popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        pair.context.on_exit(self.process.kill)

    def end(self):
        """The latencies of what it wrote."""
        self.process.send_signal(signal.SIGINT)
        text, _ = self.process.communicate(timeout=60)
        return outcome_of(text, "write")


def started(bench, size, fill=False, interval=INTERVAL):
    context = bench.context
    os.makedirs(context.path("primary"), exist_ok=True)
    if fill:
        figures.half_compressible(context.path("primary", "data.img"), size, bench.options.seed)
    pair = harness.Pair(context, {"data": size}, interval=f"{interval * 1000:.0f}ms", journal="16GiB").start()
    pair.wait_state("streaming", timeout=600)
    pair.wait(timeout=600)
    return pair


def quiet_memory(daemon):
    """The middle one of some moments, for a receiver under load breathes."""
    seen = []
    for _ in range(11):
        seen.append(dr_site.memory(daemon))
        time.sleep(0.1)
    return statistics.median(seen)


def first_block(uri):
    subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", "read -q 0 4096", uri], check=True, stdout=subprocess.DEVNULL)


def timed_open(pair, point):
    """Seconds of `farshore open`, and until a client read a block."""
    begun = time.monotonic()
    with dr_site.opened(pair, point["id"]) as document:
        took = time.monotonic() - begun
        first_block(document["uris"]["data"])
        return took, time.monotonic() - begun


def memory_per_point(pair, listed):
    """What four open points, evenly old and each read at random, add to the receiver; bytes per point."""
    chosen = [listed[i * (len(listed) - 1) // 3]["id"] for i in range(4)]
    before = quiet_memory(pair.receiver)
    with contextlib.ExitStack() as stack:
        for number, point in enumerate(chosen):
            document = stack.enter_context(dr_site.opened(pair, point, name=f"many{number}"))
            fio(document["uris"]["data"], "randread", "--bs=4k", "--iodepth=32", "--number_ios=4000", "--size=1g")
        return (quiet_memory(pair.receiver) - before) / len(chosen)


def opening(bench):
    options = bench.options
    size = harness.size_of(options.size or "16GiB")
    pair = started(bench, size)
    writer = Writer(pair, min(size, 4 * GIB), options.rate)
    wanted = options.points
    listed = harness.retry(wanted * INTERVAL * 4 + 60, f"{wanted} points", lambda: len(dr_site.points(pair)) >= wanted
                           and dr_site.points(pair), pause=2)
    begun = time.monotonic()
    dr_site.points(pair)
    listing = time.monotonic() - begun
    ages = {"oldest": 0, "middle": len(listed) // 2, "newest": len(listed) - 1}
    times, until_read = ({name: [] for name in ages} for _ in range(2))
    for _ in range(options.rounds):
        for name, index in ages.items():
            took, read = timed_open(pair, listed[index])
            times[name].append(took)
            until_read[name].append(read)
    for name in ages:
        worst = max(times[name])
        bench.row(f"open the {name} of {len(listed)} points, {size / GIB:g} GiB, under load, slowest of "
                  f"{options.rounds}", f"{worst:.3f} s", "< 1 s", worst < 1)
    middle = {name: statistics.median(values) for name, values in times.items()}
    older = middle["oldest"] / middle["newest"]
    bench.row("oldest to newest, medians", f"{older:.2f}x", "<= 1.5x, or both < 0.1 s", older <= 1.5
              or max(middle.values()) < 0.1)
    growth = memory_per_point(pair, listed)
    bench.row("memory of the receiver per open point", f"{growth / MIB:.1f} MiB", "< 64 MiB", growth < 64 * MIB)
    written = writer.end()
    bench.details = {"points": len(listed), "seconds": times, "until_first_read": until_read, "listing": listing,
                     "writer": written, "state": pair.status()["state"], "space": dr_site.space(pair)}
    bench.row(f"list {len(listed)} points", f"{listing:.3f} s", "< 1 s", listing < 1)
    pair.wait(timeout=300)
    same = subprocess.run(["qemu-img", "compare", "-q", "-U", "-f", "raw", "-F", "raw", pair.primary("data"),
                           pair.replica("data")], check=False)  # it knows what a hole is
    bench.context.check(same.returncode == 0, "the replica equals the primary")


def change(pair, span, versions):
    """Every block of the span changes `versions` times; every second time only 512 bytes of it."""
    for number in range(versions):
        block = 4096 if number % 2 == 0 else 512
        fio(pair.uri("data"), "randwrite", f"--bs={block}", f"--blockalign={4096}", "--iodepth=32", f"--size={span}",
            f"--number_ios={span // 4096}", "--norandommap", "--buffer_compress_percentage=50", "--refill_buffers",
            f"--randseed={number + 1}")
        pair.wait(timeout=600)


def nbdkit(context, path):
    place = context.path("nbdkit.sock")
    kit = harness.popen(["nbdkit", "-f", "-r", "-U", place, "file", path])
    context.on_exit(kit.kill)
    harness.retry(10, "nbdkit", lambda: os.path.exists(place))
    return f"nbd+unix:///?socket={place}"


def unchanged_reads(bench, ours, theirs, span, size):
    kept = ([], [])
    words = ("--bs=4k", "--iodepth=32", f"--offset={span}", f"--size={size - span}", "--time_based",
             f"--runtime={bench.options.seconds / 4:g}")
    for number in range(bench.options.rounds + 1):
        for which in ((0, 1) if number % 2 == 0 else (1, 0)):
            seen = fio((ours, theirs)[which], "randread", *words)["iops"]
            if number > 0:  # the first warms the page cache
                kept[which].append(seen)
    mine, other = (statistics.median(values) for values in kept)
    bench.details["unchanged"] = {"point": kept[0], "nbdkit": kept[1]}
    bench.row("4k random reads of an open point at depth 32, unchanged blocks, against nbdkit file",
              f"{mine / other:.2f}x ({mine:.0f} to {other:.0f} IOPS)", ">= 0.8x", mine >= 0.8 * other)


def changed_reads(bench, pair, ours, theirs, span):
    for depth in (32, 1):
        words = ("--bs=4k", f"--iodepth={depth}", f"--size={span}", "--time_based",
                 f"--runtime={bench.options.seconds / 4:g}", "--norandommap")
        kept, others = [], []
        for _ in range(bench.options.rounds):
            cpu = pair.receiver.cpu_seconds()
            one = fio(ours, "randread", *words)
            one["cpu_ms"] = (pair.receiver.cpu_seconds() - cpu) * 1000 / max(one["number"], 1)
            kept.append(one)
            others.append(fio(theirs, "randread", *words))  # what this machine makes of any read just now
        bench.details[f"changed, depth {depth}"] = {"point": kept, "nbdkit": others}
        cost, late = (statistics.median(one[key] for one in kept) for key in ("cpu_ms", "p99_ms"))
        other = statistics.median(one["p99_ms"] for one in others)
        bench.row(f"processor time of a 4k read of a changed block, depth {depth}", f"{cost:.3f} ms", "<= 0.5 ms",
                  cost <= 0.5)
        bench.row(f"p99 of a 4k read of a changed block, depth {depth}", f"{late:.2f} ms (nbdkit file: {other:.2f})",
                  "<= 2 ms", late <= 2)


def sequential_read(bench, pair, ours, theirs, size):
    kept = {ours: [], theirs: []}
    for _ in range(bench.options.rounds):
        for uri, rates in kept.items():
            begun = time.monotonic()
            subprocess.run(["nbdcopy", uri, "null:"], check=True)
            rates.append(size / (time.monotonic() - begun) / 1e6)
    bench.details["sequential MB/s"] = {"point": kept[ours], "nbdkit": kept[theirs]}
    begun, cpu = time.monotonic(), pair.receiver.cpu_seconds()
    subprocess.run(["nbdinfo", "--map", "--totals", ours], check=True, stdout=subprocess.DEVNULL)
    bench.details["block status of the whole point"] = {"seconds": time.monotonic() - begun,
                                                        "cpu_seconds": pair.receiver.cpu_seconds() - cpu}
    mine, other = (statistics.median(rates) for rates in kept.values())
    bench.row("the whole point read in order", f"{mine:.0f} MB/s ({mine / other:.2f}x of nbdkit file)", ">= 150 MB/s",
              mine >= 150)


def read(bench):
    harness.need("fio", "nbdkit", "nbdcopy", "nbdinfo")
    size = harness.size_of(bench.options.size or "512MiB")
    span = size // 4 // 4096 * 4096
    pair = started(bench, size, fill=True, interval=1)
    point = pair.wait(timeout=600)["point"]
    change(pair, span, bench.options.versions)
    bench.context.check(dr_site.settled(pair, bench.options.settle, 600), "packing came to rest")
    bench.details["space"] = dr_site.space(pair)
    raw = bench.context.path("point.raw")
    pair.receiver.cli("export", pair.group, "data", "--point", str(point), "--to", raw, "--no-compare", timeout=600)
    theirs = nbdkit(bench.context, raw)
    with dr_site.opened(pair, point) as document:
        ours = document["uris"]["data"]
        unchanged_reads(bench, ours, theirs, span, size)
        changed_reads(bench, pair, ours, theirs, span)
        sequential_read(bench, pair, ours, theirs, size)
    pair.compare()


def on_core(daemon_or_process, core):
    """All its threads."""
    pid = getattr(getattr(daemon_or_process, "process", daemon_or_process), "pid")
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {core})


class LagSampler(threading.Thread):
    """The sender's lag ten times a second."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair, self.lags, self.states, self._over = pair, [], set(), threading.Event()
        self.start()

    def run(self):
        due = time.monotonic()
        while not self._over.wait(max(0, due - time.monotonic())):
            due += 0.1
            status = self.pair.status()
            self.lags.append(status["lag"]["seconds"])
            self.states.add(status["state"])

    def end(self):
        self._over.set()
        self.join(30)
        values = sorted(self.lags)
        return {"p50": values[len(values) // 2], "p99": values[int(len(values) * 0.99)], "max": values[-1],
                "samples": len(values), "states": sorted(self.states)}


class Readers:
    """A client for each URI, that reads all of it again and again."""

    def __init__(self, uris, core):
        self.clients = [harness.popen(["sh", "-c", f'while nbdcopy "{uri}" null:; do :; done'],
                                      stdout=subprocess.DEVNULL, start_new_session=True) for uri in uris]
        for client in self.clients:
            on_core(client, core)

    def end(self):
        """True when all were still reading."""
        alive = all(client.poll() is None for client in self.clients)
        for client in self.clients:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)
            client.wait()
        return alive


def lag_round(bench, pair, size, uris, far):
    readers = Readers(uris, far)
    bench.context.on_exit(readers.end)
    writer = Writer(pair, size, bench.options.rate)
    on_core(writer, 0)
    time.sleep(1)
    counted, sampler = dr_site.io_counts(pair.receiver)["wchar"], LagSampler(pair)
    time.sleep(bench.options.seconds)
    lag, moved = sampler.end(), dr_site.io_counts(pair.receiver)["wchar"] - counted
    if uris:
        bench.context.check(readers.end(), f"{len(uris)} clients read all the time")
    one = {"lag": lag, "writer": writer.end(), "receiver_wrote": moved}
    pair.wait(timeout=300)
    return one


def lag(bench):
    harness.need("fio", "nbdcopy")
    size = harness.size_of(bench.options.size or "512MiB")
    pair = started(bench, size, fill=True, interval=1)
    change(pair, size // 8, 2)
    far = os.cpu_count() - 1
    on_core(pair.sender, 0)
    on_core(pair.receiver, far)
    listed = dr_site.points(pair)
    chosen = [listed[i * (len(listed) - 1) // (READERS - 1)]["id"] for i in range(READERS)]
    kept = {False: [], True: []}
    with contextlib.ExitStack() as stack:
        uris = [stack.enter_context(dr_site.opened(pair, point, name=f"read{number}"))["uris"]["data"]
                for number, point in enumerate(chosen)]
        for number in range(bench.options.rounds):
            for busy in ((False, True) if number % 2 == 0 else (True, False)):
                kept[busy].append(lag_round(bench, pair, size, uris if busy else [], far))
    bench.details = {"without": kept[False], "with": kept[True], "cores": os.cpu_count()}
    worst = max(one["lag"]["p99"] for one in kept[True])
    alone = max(one["lag"]["p99"] for one in kept[False])
    bench.row(f"lag, p99, three points read at full speed (without: {alone:.2f} s)", f"{worst:.2f} s", "<= 3 s",
              worst <= 3)
    for key in ("p50_ms", "p99_ms"):
        without, busy = ([one["writer"][key] for one in kept[which]] for which in (False, True))
        middle, limit = statistics.median(busy), max(max(without), 1.1 * statistics.median(without))
        bench.row(f"the writer's latency, {key[:3]}, three points read at full speed",
                  f"{middle * 1000:.0f} us (without: {', '.join(f'{ms * 1000:.0f}' for ms in without)})",
                  f"<= {limit * 1000:.0f} us, the noise without", middle <= limit)
    pair.compare()


BENCHES = {"open": opening, "read": read, "lag": lag}
DEFAULT = {"open": {"rate": 300}, "read": {"rate": 0}, "lag": {"rate": 1000}}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*BENCHES, "all"])
    parser.add_argument("--points", type=int, default=300, help="how many there are before the first is opened")
    parser.add_argument("--size", help="of the volume")
    parser.add_argument("--rate", type=int, help="writes a second (open: 300, lag: 1000)")
    parser.add_argument("--versions", type=int, default=3, help="read: how often the changed part is written")
    parser.add_argument("--settle", type=float, default=20, help="seconds without shrinking: the history is packed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of one round of lag; a read takes a quarter of it")
    parser.add_argument("--full", action="store_true", help="the sizes of the bars: 3600 points, 16 GiB; 4 GiB; 60 s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if options.full:
        options.points, options.seconds, options.rounds = 3600, 60, 5
    options.long, options.scale = True, 1
    return options


def run(name, options):
    given = dict(vars(options))
    given["rate"] = options.rate or DEFAULT[name]["rate"]
    if options.full and name != "open" and not options.size:
        given["size"] = "4GiB"
    bench = figures.Bench(f"points-{name}", argparse.Namespace(**given))
    print(f"== points {name}", flush=True)
    try:
        harness.need("fio", "qemu-io", "qemu-img")
        BENCHES[name](bench)
        if options.full:
            bench.finish(f"bench/points.py {name} --full")
        return all(row["ok"] for row in bench.rows) and not bench.context.failures
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return None
    except harness.Failed as error:
        print(f"FAILED: {error}")
        bench.context.show_logs()
        return False
    finally:
        bench.context.close()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    outcomes = [run(name, options) for name in (BENCHES if options.what == "all" else [options.what])]
    if all(outcome is None for outcome in outcomes):
        return harness.SKIPPED
    return 1 if False in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
