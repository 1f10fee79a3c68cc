#!/usr/bin/env python3
"""Our NBD server against `nbdkit file`, on files of one directory, in alternating fio runs.

Each figure is the median over rounds; the ratio is ours to nbdkit's. Ours is bench/micro's
nbd_file_server unless --ours-uri names a server that already runs (the real sender, for one).
Bars: depth-1 latency ratio <= 1.10 (aim 1.0), depth-32 IOPS >= 1.0, sequential write >= 0.8.
Exit code: 0 when all bars hold, 1 when not, 77 when a tool is missing.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

# name, fio options, figure, bar, "max" (a ratio to stay below) or "min"
CASES = [
    ("4k randwrite QD1 p50 us", ["--rw=randwrite", "--bs=4k", "--iodepth=1"], "p50", 1.10, "max"),
    ("4k randwrite QD32 IOPS", ["--rw=randwrite", "--bs=4k", "--iodepth=32"], "iops", 1.0, "min"),
    ("4k randread QD32 IOPS", ["--rw=randread", "--bs=4k", "--iodepth=32"], "iops", 1.0, "min"),
    ("256k seq write MiB/s", ["--rw=write", "--bs=256k", "--iodepth=4"], "mib", 0.8, "min"),
    ("256k seq write QD1 MiB/s", ["--rw=write", "--bs=256k", "--iodepth=1"], "mib", 0.8, "min"),
    ("4k randread QD1 p50 us", ["--rw=randread", "--bs=4k", "--iodepth=1"], "p50", 1.10, "max"),
]


def fio(uri, options, arguments):
    """One run; the fields of fio's first job that the figures are taken from."""
    command = [*arguments.prefix, "fio", "--name=run", "--ioengine=nbd", f"--uri={uri}",
               f"--size={arguments.size_mib}m",
               "--time_based", f"--runtime={arguments.seconds}", "--randseed=7",
               # Whole latency: libnbd may take the reply within the submission, which clat does not count.
               "--lat_percentiles=1", "--clat_percentiles=0", "--output-format=json", *options]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    job = json.loads(run.stdout[run.stdout.index("{"):])["jobs"][0]
    part = job["read" if "--rw=randread" in options else "write"]
    return {"iops": part["iops"], "mib": part["bw"] / 1024,
            "p50": part["lat_ns"]["percentile"]["50.000000"] / 1000}


def fio_trim(uri, options, seconds):
    """Trims a second of one run, which ends early when every block was trimmed once."""
    run = subprocess.run(["fio", "--name=run", "--ioengine=nbd", f"--uri={uri}", f"--runtime={seconds}",
                          "--randseed=7", "--output-format=json", *options],
                         capture_output=True, text=True, check=True)
    return json.loads(run.stdout[run.stdout.index("{"):])["jobs"][0]["trim"]["iops"]


def wait_for(path, process):
    deadline = time.monotonic() + 10
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"server did not come up: {path}")
        time.sleep(0.02)


def make_file(path, size):
    """Written in full: a hole would be charged for its allocation in the first run only."""
    with open(path, "wb") as f:
        block = os.urandom(1 << 20)
        for _ in range(size >> 20):
            f.write(block)
        os.fsync(f.fileno())


def measure(ours, theirs, arguments):
    cases = [c for c in CASES if arguments.only in c[0]]
    kept = {name: ([], []) for name, *_ in cases}
    for n in range(arguments.rounds):
        for name, options, figure, *_ in cases:
            # The order swaps from round to round, so that drift of the machine hits both.
            for which, uri in ([(0, ours), (1, theirs)] if n % 2 == 0 else [(1, theirs), (0, ours)]):
                kept[name][which].append(fio(uri, options, arguments)[figure])
    good = True
    print(f"{'what':28}{'ours':>12}{'nbdkit':>12}{'ratio':>8}  bar")
    for name, _, _, bar, kind in cases:
        a, b = (statistics.median(values) for values in kept[name])
        ratio = a / b
        held = ratio <= bar if kind == "max" else ratio >= bar
        good = good and held
        print(f"{name:28}{a:12.1f}{b:12.1f}{ratio:8.2f}  {'<=' if kind == 'max' else '>='} {bar} "
              f"{'ok' if held else 'MISSED'}")
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--program", default="build/release/bin/nbd_file_server")
    p.add_argument("--ours-uri", help="measure this running server instead of starting one")
    p.add_argument("--directory", help="where both disks lie (default: a temporary directory)")
    p.add_argument("--size-mib", type=int, default=1024)
    p.add_argument("--seconds", type=int, default=5)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default="", help="part of a figure's name")
    p.add_argument("--tcp", action="store_true", help="over TCP on loopback, not a Unix socket")
    p.add_argument("--realtime", action="store_true",
                   help="fio and both servers under SCHED_RR, so that a busy machine's other work "
                        "doesn't decide (needs root; a server of --ours-uri is left as it is)")
    arguments = p.parse_args()
    arguments.prefix = ["chrt", "-r", "10"] if arguments.realtime else []
    for tool in ("fio", "nbdkit"):
        if shutil.which(tool) is None:
            print(f"SKIP: {tool} is not installed")
            return 77
    directory = tempfile.mkdtemp(prefix="nbd-bench-", dir=arguments.directory)
    processes = []
    try:
        theirs_file = f"{directory}/theirs.raw"
        make_file(theirs_file, arguments.size_mib << 20)
        where = ["-p", "10899", "-i", "127.0.0.1"] if arguments.tcp else ["-U", f"{directory}/theirs"]
        processes.append(subprocess.Popen(
            [*arguments.prefix, "nbdkit", "-f", "-P", f"{directory}/pid", *where, "file", theirs_file]))
        wait_for(f"{directory}/pid", processes[-1])
        theirs = "nbd://127.0.0.1:10899" if arguments.tcp else \
            f"nbd+unix:///?socket={directory}/theirs"
        ours = arguments.ours_uri
        if not ours:
            make_file(f"{directory}/ours.raw", arguments.size_mib << 20)
            listen = "tcp:127.0.0.1:0" if arguments.tcp else f"unix:{directory}/ours"
            processes.append(subprocess.Popen(
                [*arguments.prefix, arguments.program, f"{directory}/ours.raw", listen],
                stdout=subprocess.PIPE, text=True))
            ours = processes[-1].stdout.readline().strip()
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Linux "
              f"{platform.release()}, {arguments.rounds} rounds of {arguments.seconds} s, "
              f"{'TCP' if arguments.tcp else 'Unix socket'}"
              f"{', SCHED_RR' if arguments.realtime else ''}, load {os.getloadavg()[0]:.1f}")
        return 0 if measure(ours, theirs, arguments) else 1
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
