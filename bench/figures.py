#!/usr/bin/env python3
"""The figures that Farshore promises, each measured by one subcommand on the real programs.

    bench/figures.py latency      write latency and IOPS against `nbdkit file`, replicating at 1 s
    bench/figures.py small-pages  4 KiB writes at depth 8, the files in small pages in both
    bench/figures.py trims        4 KiB trims of data and of holes against `nbdkit file`
    bench/figures.py sync         initial sync over loopback
    bench/figures.py lag          lag at 60 % use of the 80 ms / 100 Mbit/s / 0.1 % line     (root)
    bench/figures.py lag-full     the same with a small `journal`, full all the time         (root)
    bench/figures.py saturated    use of the saturated 100 ms / 1 % / 100 Mbit/s line        (root)
    bench/figures.py memory       peak memory under load, and idle with 16 volumes
    bench/figures.py idle         CPU of an idle pair
    bench/figures.py restart      kill -9 of the sender to streaming, 1 % of 4 GiB dirty
    bench/figures.py all | table

Line delays are round trips: 80 ms means 40 ms each way. Each result goes to bench/results/NAME.json
with machine, command and parameters; `table` prints them all as Markdown. --scale 0.1 makes volumes and
times smaller for a try-out; such results are marked and never count.
"""

import argparse
import datetime
import glob
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "bench", "results")
for folder in ("tests/e2e", "bench/micro", "bench/wan"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import harness  # noqa: E402
import nbd_vs_nbdkit  # noqa: E402
import wan as wide  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30


def machine():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()}


def half_compressible(path, size, seed):
    """Every second 64 KiB random, the others repeating."""
    chance = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(size // (128 << 10)):
            file.write(chance.randbytes(64 << 10))
            file.write(chance.randbytes(64) * 1024)
        file.truncate(size)


class Bench:
    """One subcommand's run: a pair that is made on demand, rows of (what, value, bar, ok)."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        os.sync()  # what an earlier run wrote must not be written back during this one
        self.context = harness.Context(options)
        self.rows = []
        self.details = {}

    def scaled(self, value, least=1):
        return max(least, int(value * self.options.scale))

    def row(self, what, value, bar, good):
        self.rows.append({"what": what, "value": value, "bar": bar, "ok": bool(good)})
        print(f"{'ok    ' if good else 'MISSED'} {what}: {value} (bar: {bar})", flush=True)

    def line(self, round_trip_ms, loss):
        reason = wide.why_not()
        if reason:
            raise harness.Skip(reason)
        line = wide.Wan(delay=round_trip_ms / 2, rate=100, loss=loss, seed=self.options.seed)
        line.__enter__()
        self.context.on_exit(line.close)
        return line

    def finish(self, command=None):
        """Writes the result; true when every row is good. `command`: what repeats it, if another."""
        command = command or f"bench/figures.py {self.name}"
        command += f" --scale {self.options.scale}" if self.options.scale != 1 else ""
        document = {"name": self.name, "command": command, "seed": self.options.seed,
                    "scale": self.options.scale, "counts": self.options.scale == 1,
                    "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                    "machine": machine(), "rows": self.rows, "details": self.details}
        os.makedirs(RESULTS, exist_ok=True)
        suffix = "" if self.options.scale == 1 else "-trial"
        with open(os.path.join(RESULTS, f"{self.name}{suffix}.json"), "w", encoding="ascii") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        return all(row["ok"] for row in self.rows)


def two_servers(bench, size, make):
    """Our sender, replicating over loopback, and nbdkit file, on alike files that make(path, size)
    writes. Returns the pair and both URIs, ours first."""
    harness.need("fio", "nbdkit")
    context = bench.context
    os.makedirs(context.path("primary"), exist_ok=True)
    for name in ("ours", "theirs"):
        make(context.path("primary", name + ".img"), size)
    pair = harness.Pair(context, {"ours": size}, interval="1s").start()
    pair.wait_state("streaming", timeout=300)
    their_socket = context.path("nbdkit.sock")
    kit = harness.popen(["nbdkit", "-f", "-U", their_socket, "file", context.path("primary", "theirs.img")])
    context.on_exit(kit.kill)
    harness.retry(10, "nbdkit", lambda: os.path.exists(their_socket))
    return pair, (pair.uri("ours"), f"nbd+unix:///?socket={their_socket}")


def alternate(bench, pair, name, rounds, measure):
    """measure(which) for ours, 0, and nbdkit, 1, in turns; the medians of both."""
    kept = ([], [])
    for number in range(rounds):
        for which in ((0, 1) if number % 2 == 0 else (1, 0)):
            # What the run before left to do, ours or theirs, must not cost the next.
            pair.wait(timeout=300)
            os.sync()
            kept[which].append(measure(which))
    bench.details[name] = {"ours": kept[0], "nbdkit": kept[1]}
    return [statistics.median(values) for values in kept]


def compare_cases(bench, pair, uris, size, cases, rounds):
    how = argparse.Namespace(prefix=[], size_mib=size // MIB, seconds=bench.scaled(6, 2))
    for name, words, figure, bar, kind in cases:
        ours, theirs = alternate(bench, pair, name, rounds(name),
                                 lambda which: nbd_vs_nbdkit.fio(uris[which], words, how)[figure])
        ratio = ours / theirs
        good = ratio <= bar if kind == "max" else ratio >= bar
        bench.row(name, f"{ratio:.2f}x ({ours:.0f} to {theirs:.0f})",
                  f"{'<=' if kind == 'max' else '>='} {bar}x", good)


def end_comparison(bench, pair):
    bench.details["state"] = pair.status()["state"]
    pair.wait(timeout=300)
    bench.context.check(pair.compare(), "equal after the benchmark")


def latency(bench):
    """Alternating fio runs against our sender, replicating over loopback, and nbdkit file."""
    size = bench.scaled(1024, 128) * MIB
    pair, uris = two_servers(bench, size, nbd_vs_nbdkit.make_file)
    cases = [case for case in nbd_vs_nbdkit.CASES if case[0] in (
        "4k randwrite QD1 p50 us", "4k randwrite QD32 IOPS", "4k randread QD32 IOPS",
        "256k seq write MiB/s")]
    # What runs at the speed of memory depends on the disk's writeback, run by run.
    compare_cases(bench, pair, uris, size, cases,
                  lambda name: bench.scaled(11 if name.startswith("256k") else 5, 2))
    end_comparison(bench, pair)


def make_in_small_pages(path, size):
    """Written in 4 KiB pieces, so that the page cache holds it in small pages for either server."""
    block = os.urandom(4096)
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // 4096):
            file.write(block)
        os.fsync(file.fileno())


def small_pages(bench):
    """Where the other figure is favourable to us: there both files are in large pages at first."""
    size = bench.scaled(512, 64) * MIB
    pair, uris = two_servers(bench, size, make_in_small_pages)
    compare_cases(bench, pair, uris, size, [
        ("4k randwrite QD8 IOPS, file in small pages",
         ["--rw=randwrite", "--bs=4k", "--iodepth=8"], "iops", 0.8, "min")],
        lambda _: bench.scaled(5, 3))
    end_comparison(bench, pair)


def trims(bench):
    """4 KiB trims at random places, of data (each block once) and of what is a hole already."""
    size = bench.scaled(256, 32) * MIB
    pair, uris = two_servers(bench, size, nbd_vs_nbdkit.make_file)
    seconds = bench.scaled(4, 2)

    def trim(which, depth, holes):
        words = ["--rw=randtrim", "--bs=4k", f"--iodepth={depth}", f"--size={size // MIB}m"]
        fill = ["qemu-io", "-f", "raw", "-d", "unmap", uris[which]]
        for at in range(0, size // MIB, 32):
            fill += ["-c", f"{'discard' if holes else 'write -P 7'} {at}M 32M"]
        subprocess.run(fill + ["-c", "flush"], check=True, stdout=subprocess.DEVNULL)
        pair.wait(timeout=300)
        os.sync()
        return nbd_vs_nbdkit.fio_trim(uris[which], words + (["--time_based"] if holes else []), seconds)

    for what, holes in (("data", False), ("holes", True)):
        for depth in (1, 8):
            name = f"4k trims of {what} QD{depth} IOPS"
            ours, theirs = alternate(bench, pair, name, bench.scaled(3, 1),
                                     lambda which: trim(which, depth, holes))
            bench.row(name, f"{ours / theirs:.2f}x ({ours:.0f} to {theirs:.0f})", ">= 0.6x",
                      ours >= 0.6 * theirs)
    end_comparison(bench, pair)


def sync(bench):
    context = bench.context
    size = bench.scaled(4 * 1024, 64) * MIB
    os.makedirs(context.path("primary"))
    half_compressible(context.path("primary", "disk.img"), size, bench.options.seed)
    pair = harness.Pair(context, {"disk": size}).start(join=False)
    begun = time.monotonic()
    cpu = pair.sender.cpu_seconds(), pair.receiver.cpu_seconds()
    pair.join()
    pair.wait_state("streaming", timeout=1800)
    pair.wait(timeout=600)
    seconds = time.monotonic() - begun
    speed = size / seconds / 1e6
    status = pair.status()
    bench.details = {"seconds": seconds, "bytes": status["bytes"], "size": size,
                     "cpu_seconds": {"sender": pair.sender.cpu_seconds() - cpu[0],
                                     "receiver": pair.receiver.cpu_seconds() - cpu[1]}}
    bench.row(f"initial sync of {size / GIB:.2g} GiB, half compressible, loopback",
              f"{speed:.0f} MB/s", ">= 150 MB/s", speed >= 150)
    pair.compare()


def line_bytes(line):
    return line.stats()["ab"]["bytes_out"]


def calibrate(bench, pair, line, target_bytes_per_second):
    """A writes-per-second for farshore-load that uses the wanted part of the line."""
    rate = 300.0
    for step in range(6):
        # New content each time: what the DR site has already would cost nothing.
        load = harness.Load(pair, seed=bench.options.seed + 1 + step, chains=1).start(rate=rate)
        time.sleep(3)
        start, begun = line_bytes(line), time.monotonic()
        time.sleep(bench.scaled(12, 4))
        used = (line_bytes(line) - start) / (time.monotonic() - begun)
        load.finish()
        print(f"       {rate:.0f} writes/s use {used * 8e-6:.1f} Mbit/s", flush=True)
        pair.wait(timeout=120)
        part = used / target_bytes_per_second
        if 0.97 < part < 1.05:
            break
        rate /= max(part, 0.05)
    return rate


def lag(bench):
    measure_lag(bench, "4GiB", full=False)


def lag_full(bench):
    """What a DR site sees for most of its life: points go all the time to make room for new ones."""
    measure_lag(bench, "1GiB", full=True)


def journal_is_full(pair):
    """Retention keeps it so from then on: between 13/16 and 14/16 of its limit."""
    journal = pair.status(pair.receiver)["journal"]
    return journal["used_bytes"] > 0.8 * journal["limit_bytes"]


def measure_lag(bench, journal, full):
    line = bench.line(80, 0.1)
    pair = harness.Pair(bench.context, {"data": 512 * MIB, "wal": 128 * MIB}, line=line, interval="1s",
                        journal=journal).start()
    pair.wait_state("streaming", timeout=120)
    rate = calibrate(bench, pair, line, 0.6 * 100e6 / 8)
    load = harness.Load(pair, seed=bench.options.seed, chains=1).start(rate=rate)
    time.sleep(5)
    if full:
        harness.retry(300, "a full journal", lambda: journal_is_full(pair), pause=1)
    samples, late, states = [], [], set()
    start, begun = line_bytes(line), time.monotonic()
    while time.monotonic() - begun < bench.scaled(300, 20):
        status = pair.status()
        samples.append(status["lag"]["seconds"])
        if samples[-1] > 3:
            late.append([round(time.monotonic() - begun, 1), round(samples[-1], 2), status["state"]])
        states.add(status["state"])
        time.sleep(0.4)
    use = (line_bytes(line) - start) * 8 / 100e6 / (time.monotonic() - begun)
    load.finish()
    samples.sort()
    p99 = samples[int(len(samples) * 0.99)]
    bench.details = {"line_use": use, "samples": len(samples), "p50": statistics.median(samples),
                     "max": samples[-1], "states": sorted(states), "late": late,
                     "latency_us": load.outcome["latency_us"]}
    bench.row(f"lag at {use * 100:.0f} % line use{', full journal' * full}, p99 of {len(samples)} samples",
              f"{p99:.2f} s", "<= 3 s", p99 <= 3 and 0.55 <= use <= 0.68)
    pair.compare()


def saturated(bench):
    line = bench.line(100, 1)
    pair = harness.Pair(bench.context, {"data": 2048 * MIB}, line=line, interval="1s").start()
    pair.wait_state("streaming", timeout=120)
    load = harness.Load(pair, seed=bench.options.seed, chains=4).start()
    time.sleep(bench.scaled(15, 5))
    start, begun = line_bytes(line), time.monotonic()
    time.sleep(bench.scaled(60, 15))
    use = (line_bytes(line) - start) * 8 / 100e6 / (time.monotonic() - begun)
    state = pair.status()["state"]
    load.finish()
    bench.details = {"state": state, "latency_us": load.outcome["latency_us"]}
    bench.row("line use when saturated at 100 ms, 1 % loss", f"{use * 100:.1f} %", ">= 85 %", use >= 0.85)


def memory(bench):
    pair = harness.Pair(bench.context, {"data": 2048 * MIB, "wal": 512 * MIB}, memory="512MiB", spool="1GiB")
    pair.start()
    pair.wait_state("streaming", timeout=120)
    load = harness.Load(pair, seed=bench.options.seed, chains=8).start()
    peaks = {"sender": 0, "receiver": 0}
    end = time.monotonic() + bench.scaled(60, 10)
    while time.monotonic() < end:
        for daemon in (pair.sender, pair.receiver):
            peaks[daemon.role] = max(peaks[daemon.role], daemon.rss_bytes())
        time.sleep(0.1)
    load.finish()
    for role, peak in peaks.items():
        bench.row(f"memory of the {role} under load, setting 512 MiB", f"{peak / MIB:.0f} MiB", "<= 576 MiB",
                  peak <= 576 * MIB)
    pair.sender.stop()
    pair.receiver.stop()
    idle_pair = idle_volumes(bench)
    for daemon in (idle_pair.sender, idle_pair.receiver):
        used = daemon.rss_bytes()
        bench.row(f"memory of the {daemon.role}, 16 idle volumes", f"{used / MIB:.0f} MiB", "<= 64 MiB",
                  used <= 64 * MIB)


def idle_volumes(bench):
    inner = harness.Context(bench.options)
    bench.context.on_exit(inner.close)
    pair = harness.Pair(inner, {f"v{i:02}": 64 * MIB for i in range(16)}, interval="1s").start()
    pair.wait_state("streaming", timeout=120)
    pair.wait()
    return pair


def idle(bench):
    pair = idle_volumes(bench)
    time.sleep(5)
    seconds = bench.scaled(60, 10)
    before = [d.cpu_seconds() for d in (pair.sender, pair.receiver)]
    time.sleep(seconds)
    used = [d.cpu_seconds() - b for d, b in zip((pair.sender, pair.receiver), before)]
    share = sum(used) / seconds * 100
    bench.details = {"seconds": seconds, "cpu_seconds": used}
    bench.row("CPU of an idle pair, 16 volumes", f"{share:.2f} % of a core", "< 1 %", share < 1)


def restart(bench):
    size = bench.scaled(4 * 1024, 128) * MIB
    context = bench.context
    os.makedirs(context.path("primary"))
    half_compressible(context.path("primary", "disk.img"), size, bench.options.seed)
    pair = harness.Pair(context, {"disk": size}, line="relay").start()
    pair.wait_state("streaming", timeout=1800)
    pair.wait(timeout=600)
    pair.relay.cut()
    dirty_one_percent(pair, size, bench.options.seed)
    dirty = sum(v["dirty_bytes"] for v in pair.status()["volumes"])
    pair.sender.kill()
    pair.relay.heal()
    carried, begun = pair.relay.carried, time.monotonic()
    pair.sender.start()
    pair.wait_state("streaming", timeout=300)
    streaming = time.monotonic() - begun
    pair.wait()
    bench.details = {"dirty_bytes": dirty, "wire_bytes": pair.relay.carried - carried,
                     "until_wait_returned": time.monotonic() - begun}
    bench.row(f"restart to streaming after kill -9, {size / GIB:.2g} GiB, {dirty / size * 100:.1f} % dirty",
              f"{streaming:.2f} s", "< 5 s on loopback", streaming < 5)
    pair.compare()


def dirty_one_percent(pair, size, seed):
    """64 KiB writes at random places, 1 % of the volume in all."""
    chance = random.Random(seed)
    lines = []
    for _ in range(size // 100 // 65536):
        lines.append(f"write -P {chance.randint(1, 255)} {chance.randrange(size // 65536) * 65536} 65536")
    script = pair.context.path("dirty.qemu-io")
    harness.write_text(script, "\n".join(lines + ["flush", "q"]) + "\n")
    harness.need("qemu-io")
    with open(script, encoding="ascii") as commands:
        subprocess.run(["qemu-io", "-f", "raw", pair.uri("disk")], stdin=commands, check=True,
                       stdout=subprocess.DEVNULL)


def table():
    print("| what | measured | bar | | command |\n| --- | --- | --- | --- | --- |")
    for path in sorted(glob.glob(os.path.join(RESULTS, "*.json"))):
        with open(path, encoding="ascii") as file:
            document = json.load(file)
        if "rows" not in document or not document.get("counts"):
            continue
        for row in document["rows"]:
            print(f"| {row['what']} | {row['value']} | {row['bar']} | {'ok' if row['ok'] else 'missed'} | "
                  f"`{document['command']}` |")


PROGRAMS = ("farshore", "farshore-sender", "farshore-receiver", "farshore-load", "farshore-wan")
BENCHES = {f.__name__.replace("_", "-"): f for f in (latency, small_pages, trims, sync, lag, lag_full, saturated,
                                                      memory, idle, restart)}


def run(name, options):
    bench = Bench(name, options)
    print(f"== {name}", flush=True)
    try:
        BENCHES[name](bench)
        return bench.finish() and not bench.context.failures
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
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(BENCHES) + ["all", "table"])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.long = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.what == "table":
        table()
        return 0
    missing = [name for name in PROGRAMS if not wide.find_program(name)]
    if missing:
        print(f"figures: {', '.join(missing)}: not built. The bench needs all programs: "
              "cmake --preset release && cmake --build --preset release", file=sys.stderr)
        return 2
    outcomes = [run(name, options) for name in (BENCHES if options.what == "all" else [options.what])]
    table()
    if all(outcome is None for outcome in outcomes):
        return harness.SKIPPED
    return 1 if False in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
