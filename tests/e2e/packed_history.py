#!/usr/bin/env python3
"""A history that is packed while it grows. With real daemons: points of many rounds of writes are what the primary
held, from raw undo and from packed stretches, over kill -9 of the receiver while it packs; raw undo goes; points that a
rule lets go give their space back, and those that stay are as they were."""

import hashlib
import os
import random
import subprocess
import sys
import time

import harness

MIB = 1 << 20
SIZE = 16 * MIB
PIECE = 256 * 1024


def bytes_in(context, directory):
    path = context.path("receiver-state", "groups", "shop", directory)
    sizes = []
    for name in os.listdir(path):
        try:
            sizes.append(os.path.getsize(os.path.join(path, name)))
        except FileNotFoundError:
            pass
    return sum(sizes)


def sum_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(file.read()).hexdigest()


def write_round(context, pair, dice):
    """2 MiB at eight places, half of them new and half a little changed."""
    source = context.path("piece")
    words = ["qemu-io", "-f", "raw"]
    for n in range(8):
        with open(f"{source}{n}", "wb") as file:
            file.write(dice.randbytes(PIECE if n % 2 else 4096))
        offset = dice.randrange(0, SIZE - PIECE, 4096)
        words += ["-c", f"write -s {source}{n} {offset} {PIECE}" if n % 2 else f"write -s {source}{n} {offset} 512"]
    done = subprocess.run(words + ["-c", "flush", pair.uri("data")], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed("qemu-io: " + done.stdout + done.stderr)


def content_of(context, pair, point):
    target = context.path("point.raw")
    opened = pair.receiver.cli("open", pair.group, "--point", point, "--nbd", "unix:" + context.path("run", "p.sock"))
    subprocess.run(["nbdcopy", opened["uris"]["data"], target], check=True)
    pair.receiver.cli("close", opened["id"])
    return sum_of(target)


def check_points(context, pair, held, what):
    there = {str(p["id"]) for p in pair.receiver.cli("points", pair.group)["points"]}
    wrong = [p for p in held if p in there and content_of(context, pair, p) != held[p]]
    context.check(not wrong, f"{what}: {sum(p in there for p in held)} points are what the primary held {wrong}")


def test(context):
    harness.need("qemu-io", "nbdcopy")
    pair = harness.Pair(context, {"data": "16MiB"}, journal="128MiB", interval="1s")
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    dice, held = random.Random(5), {}
    for number in range(26):
        write_round(context, pair, dice)
        point = str(pair.wait()["point"])
        held[point] = sum_of(pair.primary("data"))
        if number in (9, 15, 21):
            packed = bytes_in(context, "packed")
            pair.receiver.kill()
            pair.receiver.start()
            context.say(f"receiver killed with {packed / MIB:.1f} MiB packed")
    pair.wait_state("streaming")
    harness.retry(60, "raw undo is packed", lambda: bytes_in(context, "undo") < 2 * MIB, pause=0.5)
    packed = bytes_in(context, "packed")
    context.check(packed > 0, f"the history is packed: {packed / MIB:.1f} MiB")
    check_points(context, pair, {p: held[p] for p in list(held)[::3]}, "packed")
    pair.receiver.kill()
    pair.receiver.start()
    check_points(context, pair, {p: held[p] for p in list(held)[1::5]}, "after a kill")
    pair.receiver.stop()
    pair.write_configs(retain=["1m 24h"])
    pair.receiver.start()
    harness.retry(60, "points that are let go give their space back",
                  lambda: bytes_in(context, "packed") < 0.7 * packed, pause=0.5)
    left = bytes_in(context, "packed")
    context.check(True, f"thinned: {packed / MIB:.1f} MiB before, {left / MIB:.1f} MiB now")
    check_points(context, pair, held, "thinned")
    write_round(context, pair, dice)
    pair.wait()
    time.sleep(0.1)
    pair.compare()
    context.check(" error" not in pair.receiver.log_text(), "no error in the receiver's log")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
