#!/usr/bin/env python3
"""The tools behind bench/wan_bytes.py, on a small trace: what record_nbd notes is what its clients did,
folding it gives the volumes as they were left, and a replay through the daemons ends with the same
images at both sides.

    tests/e2e/trace_selftest.py
"""

import os
import random
import subprocess
import sys

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "bench", "traces"))
import pair_replay  # noqa: E402
import recorded  # noqa: E402
import recorder  # noqa: E402

SIZE = 8 << 20


def change(context, recording, seed, count):
    """Writes, zeroes and trims of odd sizes and places on both volumes; some overlap."""
    for number, volume in enumerate(recording.sizes):
        chance = random.Random(seed * 10 + number)
        lines = []
        for _ in range(count):
            length = chance.randrange(512, 40_000)
            where = f"{chance.randrange(SIZE - length)} {length}"
            verb = chance.choices(("write -P %d" % chance.randint(1, 255), "write -z", "discard", "flush"),
                                  (12, 2, 1, 1))[0]
            lines.append("flush" if verb == "flush" else f"{verb} {where}")
        done = subprocess.run(["qemu-io", "-f", "raw", recording.uri(volume)], input="\n".join(lines + ["q"]) + "\n",
                              capture_output=True, text=True, check=False)
        if done.returncode != 0 or "failed" in done.stdout + done.stderr:
            raise harness.Failed("qemu-io: " + done.stderr.strip())


def folded_images(trace):
    """The volumes' content after folding all intervals onto the images before."""
    images = []
    for name, _ in trace.volumes:
        with open(trace.image("before", name), "rb") as file:
            images.append(bytearray(file.read()))
    intervals = 0
    for blocks in trace.intervals(0.05):
        intervals += 1
        for volume, block, old, new in blocks:
            at = block * recorded.BLOCK
            if images[volume][at:at + recorded.BLOCK] != old:
                raise harness.Failed(f"block {block} of volume {volume} is not as the interval before left it")
            images[volume][at:at + recorded.BLOCK] = new
    return images, intervals


def test(context):
    harness.need("qemu-io")
    harness.find("replay_nbd")
    recording = recorder.Recording(context, context.path("trace"), {"data": SIZE, "wal": SIZE}, bare=True)
    change(context, recording, context.options.seed, 60)
    recording.begin()
    change(context, recording, context.options.seed + 1, 150)
    recording.end()
    change(context, recording, context.options.seed + 2, 20)
    meta = recording.finish("selftest", {}, {})
    trace = recorded.Trace(context.path("trace"))
    kinds = [event[1] for event in trace.events()]
    context.check(len(kinds) == meta["events"] and set(kinds) == {1, 2, 3, 4},
                  f"{len(kinds)} events of all kinds, {meta['bytes_written']} bytes")
    images, intervals = folded_images(trace)
    for (name, _), image in zip(trace.volumes, images):
        with open(trace.image("after", name), "rb") as file:
            context.check(file.read() == image, f"{intervals} folded intervals give {name} as it was left")
    pair = pair_replay.start_pair(context, trace, interval="200ms")
    outcome = pair_replay.replay(pair, trace, speed=0)
    context.check(outcome["replay"]["events"] == meta["events"], "every event was replayed")
    context.check(0 < outcome["line_bytes"] < meta["bytes_written"], f"{outcome['line_bytes']} bytes on the line")
    pair_replay.compare(context, pair, trace)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
