#!/usr/bin/env python3
"""Export of a volume of which half is data to a raw file, against `nbdcopy` from `nbdkit file` of the same image:
alternating, each synced, caches warm, ratio of the medians printed.

    bench/export.py [--size 4GiB] [--rounds 5]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import harness  # noqa: E402

MIB = 1 << 20
RUN = 8 * MIB  # data and holes in turn


def half_filled(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
        for at in range(0, size, 2 * RUN):
            file.seek(at)
            file.write(os.urandom(RUN))


def timed(words, path):
    begin = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    stored = os.stat(path).st_blocks * 512
    os.unlink(path)
    return seconds, stored


def bench(context):
    harness.need("nbdcopy", "nbdkit")
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="4GiB")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_known_args(context.options.words)[0]
    size = harness.size_of(options.size)
    os.makedirs(context.path("primary"))
    half_filled(context.path("primary", "data.img"), size)
    pair = harness.Pair(context, {"data": options.size}, memory="1GiB").start()
    pair.wait_state("streaming", timeout=600)
    pair.wait(timeout=600)
    pair.sender.stop()  # its part is done
    target, image = context.path("target.img"), pair.replica("data")
    ours = [harness.find("farshore"), "--socket", pair.receiver.control, "export", pair.group, "data", "--no-compare",
            "--to", target]
    theirs = ["nbdcopy", "--flush", "--", "[", "nbdkit", "--exit-with-parent", "file", image, "]", target]
    times = {"export": [], "nbdcopy": []}
    for number in range(options.rounds + 1):
        for name, words in (("export", ours), ("nbdcopy", theirs)):
            seconds, stored = timed(words, target)
            if number > 0:  # the first warms the cache
                times[name].append(seconds)
            context.say(f"{name}: {seconds:.2f} s, {size / seconds / 1e6:.0f} MB/s, {stored / MIB:.0f} MiB stored")
    medians = {name: statistics.median(all_of) for name, all_of in times.items()}
    ratio = medians["nbdcopy"] / medians["export"]
    print(json.dumps({"size": size, "export_seconds": round(medians["export"], 3),
                      "nbdcopy_seconds": round(medians["nbdcopy"], 3), "ratio": round(ratio, 3), "bar": 0.7}))
    context.check(ratio >= 0.7, f"export runs at {ratio:.2f}x of nbdcopy from nbdkit file (bar 0.7x)")


if __name__ == "__main__":
    known = [w for w in sys.argv[1:] if w not in ("--keep",)]
    sys.argv = sys.argv[:1] + [w for w in sys.argv[1:] if w == "--keep"]

    def run(context):
        context.options.words = known
        context.options.verify_encoding = False
        bench(context)
    sys.exit(harness.main(run, __doc__))
