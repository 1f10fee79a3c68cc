#!/usr/bin/env python3
"""What a large and nearly empty volume costs, over a line of 80 ms round trip.

    sudo bench/thin.py [--tebibytes 64] [--directory DIR]

The first part: a sparse volume of 64 TiB with 3 MiB in it, `memory = "64MiB"` at both sides; the time to the
first point (from `join`), and the largest resident size of both daemons. The second: 1 TiB with 1 GiB in it,
in pieces of 4 MiB spread over the volume, and a copy of it at the DR site (so that what is measured is comparing,
not the line); the time to the first point, which compares everything, of `resync` and of `verify`. DIR must be
on a file system with files of that size (XFS, ZFS, tmpfs; ext4 ends at 16 TiB); without it /dev/shm is
used. The result goes to bench/results/thin.json.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import harness  # noqa: E402
import wan  # noqa: E402

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


class Peak(threading.Thread):
    """The largest resident size of the daemons, looked at every 50 ms."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair, self.largest, self.over = pair, {"sender": 0, "receiver": 0}, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            for daemon in (self.pair.sender, self.pair.receiver):
                try:
                    self.largest[daemon.role] = max(self.largest[daemon.role], daemon.rss_bytes())
                except (OSError, AttributeError):
                    pass

    def end(self):
        self.over.set()
        self.join()
        return {role: round(size / MIB) for role, size in self.largest.items()}


def seconds(action):
    begun = time.monotonic()
    action()
    return round(time.monotonic() - begun, 1)


def fill(path, size, pieces, piece_bytes, seed):
    some = random.Random(seed).randbytes(piece_bytes)
    with open(path, "wb") as file:
        file.truncate(size)
        for i in range(pieces):
            file.seek(size // pieces * i)
            file.write(some[i:] + some[:i])


def run(context, line, size, pieces, piece_bytes, seeded):
    pair = harness.Pair(context, {"thin": size}, line=line, interval="1s", memory="64MiB")
    fill(pair.primary("thin"), size, pieces, piece_bytes, 1)
    if seeded:
        fill(pair.replica("thin"), size, pieces, piece_bytes, 1)
    pair.receiver.start()
    pair.sender.start()
    peak = Peak(pair)
    figures = {"size_tib": size / TIB, "data_mib": pieces * piece_bytes // MIB}

    def first_point():
        pair.join()
        pair.wait(timeout=3600)
    figures["first_point_s"] = seconds(first_point)
    for name, words in (("resync_s", ["resync"]), ("resync_full_s", ["resync", "--full"])):
        if seeded and "--full" in words:
            continue  # ships all of the data
        pair.sender.cli(*words, pair.group)
        figures[name] = seconds(lambda: pair.wait(timeout=3600))
    figures["verify_s"] = seconds(lambda: pair.sender.cli("verify", pair.group, timeout=3600))
    figures["rss_mib"] = peak.end()
    figures["wire_mib"] = round(pair.status()["bytes"]["wire"] / MIB, 1)
    pair.sender.stop()
    pair.receiver.stop()
    print(json.dumps(figures), flush=True)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tebibytes", type=int, default=64)
    parser.add_argument("--directory", default="/dev/shm")
    parser.add_argument("--gibibytes", type=int, default=1, help="of data, in the second part")
    parser.add_argument("--only", default="", choices=("", "empty", "compare"))
    parser.add_argument("--long", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if reason := wan.why_not():
        print("SKIPPED: " + reason)
        return harness.SKIPPED
    results = []
    parts = {"empty": (options.tebibytes * TIB, 3, MIB, False),
             "compare": (TIB, options.gibibytes * 256, 4 * MIB, True)}
    for name, (size, pieces, piece, seeded) in parts.items():
        if options.only not in ("", name):
            continue
        context = harness.Context(options)
        os.rmdir(context.directory)
        context.directory = tempfile.mkdtemp(prefix="farshore-thin-", dir=options.directory)
        try:
            with wan.Wan(delay=40, rate=1000) as line:
                results.append(run(context, line, size, pieces, piece, seeded))
        finally:
            context.close()
    with open(os.path.join(ROOT, "results", "thin.json"), "w", encoding="utf-8") as file:
        json.dump({"line": "80 ms round trip, 1 Gbit/s", "memory": "64MiB", "runs": results}, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
