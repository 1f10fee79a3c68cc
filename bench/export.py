#!/usr/bin/env python3
"""Exports. To a raw file, of a volume of which half is data, against `nbdcopy` from `nbdkit file` of the same image:
alternating, each synced, caches warm, ratio of the medians printed.

    bench/export.py [--size 4GiB] [--rounds 5]
    bench/export.py --incremental [--size 1GiB] [--rounds 3] [--settle 20]

--incremental: 1 % of the volume changes in 4 KiB blocks here and there, then the export of what changed since the
point before. Printed is what the receiver read for it (rchar of /proc/PID/io) for each changed byte: once as soon
as the point is there, and once when the same blocks changed again and the history has come to rest, so that they
are read from it.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import dr_site  # noqa: E402
import harness  # noqa: E402

MIB = 1 << 20
BLOCK = 4096
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


def half_filled_pair(context, size):
    os.makedirs(context.path("primary"))
    half_filled(context.path("primary", "data.img"), size)
    pair = harness.Pair(context, {"data": size}, memory="1GiB").start()
    pair.wait_state("streaming", timeout=600)
    pair.wait(timeout=600)
    return pair


def write_blocks(pair, blocks, value):
    """Each with content of its own; returns the point that shows them all."""
    script = pair.context.path("writes.qemu-io")
    lines = [f"write -q -P {(value + block) % 255 + 1} {block * BLOCK} {BLOCK}" for block in blocks]
    harness.write_text(script, "\n".join(lines + ["flush", "q"]) + "\n")
    with open(script, encoding="ascii") as commands:
        subprocess.run(["qemu-io", "-f", "raw", pair.uri("data")], stdin=commands, check=True,
                       stdout=subprocess.DEVNULL)
    return str(pair.wait(timeout=600)["point"])


def read_per_changed_byte(context, pair, since, point, expected):
    """What the receiver reads for one incremental export."""
    target = context.path("increment.qcow2")
    before = dr_site.io_counts(pair.receiver)["rchar"]
    document = pair.receiver.cli("export", pair.group, "data", "--since", since, "--point", point, "--to", target,
                                 "--no-compare", timeout=600)
    seen = dr_site.io_counts(pair.receiver)["rchar"] - before
    os.unlink(target)
    context.check(document["changed_bytes"] == expected, f"it has what changed: {document['changed_bytes']} bytes")
    return seen / document["changed_bytes"]


def incremental(context, options):
    """`export --since` after 1 % changed."""
    harness.need("qemu-io")
    size = harness.size_of(options.size or "1GiB")
    pair = half_filled_pair(context, size)
    chance = random.Random(context.options.seed)
    fresh, old = [], []
    for number in range(options.rounds):
        blocks = chance.sample(range(size // BLOCK), size // BLOCK // 100)
        since = str(pair.wait()["point"])
        point = write_blocks(pair, blocks, number)
        fresh.append(read_per_changed_byte(context, pair, since, point, len(blocks) * BLOCK))
        write_blocks(pair, blocks, number + 100)
        context.check(dr_site.settled(pair, options.settle, 600), "the history has come to rest")
        old.append(read_per_changed_byte(context, pair, since, point, len(blocks) * BLOCK))
    print(json.dumps({"size": size, "changed": size // 100, "fresh": fresh, "from_history": old, "bar": 1.2}))
    for what, ratios in (("as soon as the point is there", fresh), ("from the history", old)):
        middle = statistics.median(ratios)
        context.check(middle <= 1.2, f"incremental export, {what}: {middle:.2f} bytes read per changed byte (bar 1.2)")


def bench(context):
    options = context.options.ours
    if options.incremental:
        incremental(context, options)
    else:
        whole(context, options)


def whole(context, options):
    harness.need("nbdcopy", "nbdkit")
    size = harness.size_of(options.size or "4GiB")
    pair = half_filled_pair(context, size)
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


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incremental", action="store_true")
    parser.add_argument("--size", help="of the volume (4GiB; --incremental: 1GiB)")
    parser.add_argument("--rounds", type=int, help="5; --incremental: 3")
    parser.add_argument("--settle", type=float, default=20, help="seconds without shrinking: the history is packed")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.incremental else 5)
    return options


if __name__ == "__main__":
    ours = arguments()
    sys.argv = sys.argv[:1] + ["--keep"] * ours.keep

    def run(context):
        context.options.ours = ours
        context.options.verify_encoding = False
        bench(context)
    sys.exit(harness.main(run, __doc__))
