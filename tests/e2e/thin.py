#!/usr/bin/env python3
"""Large and empty: a thin volume costs what it holds, not what it could hold. A sparse volume of
8 TiB with a few MiB in it gets to its first point in seconds, both daemons stay within their memory,
`resync`, `resync --full` and `verify` of it take seconds, and what is trimmed or written in the middle
of the holes arrives.

    tests/e2e/thin.py
"""

import os
import subprocess
import sys
import tempfile
import time

import harness

MIB = 1 << 20
TIB = 1 << 40
SIZE = 8 * TIB
MEMORY = 64 * MIB
RSS_MAX = MEMORY + 64 * MIB
PATIENCE = 45  # of a slow shared host; figures are bench/thin.py's


def thin_directory(context):
    """A directory on a file system that has files of this size, or Skip."""
    for place in (context.directory, "/dev/shm"):
        probe = os.path.join(place, f"farshore-thin-probe-{os.getpid()}")
        try:
            with open(probe, "wb") as file:
                file.truncate(SIZE)
                file.seek(SIZE - 4096)
                file.write(b"x" * 4096)
            return place
        except OSError as error:
            context.say(f"{place}: no files of 8 TiB ({error})")
        finally:
            if os.path.exists(probe):
                os.unlink(probe)
    raise harness.Skip("no file system here has sparse files of 8 TiB")


def extents(path):
    """Data extents of a sparse file."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            yield at, hole - at
            at = hole


def first_difference(left, right):
    """As harness.same_content, of what either file has data of."""
    with open(left, "rb") as a, open(right, "rb") as b:
        for at, length in sorted([*extents(left), *extents(right)]):
            for offset in range(at, at + length, MIB):
                some = min(MIB, at + length - offset)
                if os.pread(a.fileno(), some, offset) != os.pread(b.fileno(), some, offset):
                    return offset
    return None


def write_at(path, offset, length, seed):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(os.urandom(length) if seed is None else bytes([seed]) * length)


def timed(context, what, action):
    begun = time.monotonic()
    value = action()
    took = time.monotonic() - begun
    context.check(took < PATIENCE, f"{what} in {took:.1f} s")
    return value


def check_memory(context, pair):
    for daemon in (pair.sender, pair.receiver):
        rss = daemon.rss_bytes()
        context.check(rss <= RSS_MAX, f"{daemon.name}: {rss / MIB:.0f} MiB of {RSS_MAX / MIB:.0f} MiB resident")


def same(context, pair, what):
    pair.wait()
    offset = first_difference(pair.primary("thin"), pair.replica("thin"))
    context.check(offset is None, what + ("" if offset is None else f" (first difference at {offset})"))


def client(pair, offset, length, trim=False):
    """One write, or trim, of a client through NBD."""
    harness.need("qemu-io")
    call = f"discard {offset} {length}" if trim else f"write -P 119 {offset} {length}"
    done = subprocess.run(["qemu-io", "-f", "raw", "-d", "unmap", "-c", call, pair.uri("thin")], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0 or "failed" in done.stdout + done.stderr:
        raise harness.Failed(f"qemu-io {call}: {done.stdout.strip()} {done.stderr.strip()}")


def test(context):
    place = thin_directory(context)
    if place != context.directory:
        first = context.directory
        context.on_exit(lambda: os.rmdir(first))
        context.directory = tempfile.mkdtemp(prefix="farshore-e2e-", dir=place)
    pair = harness.Pair(context, {"thin": SIZE}, memory="64MiB")
    for offset in (0, 3 * TIB + 12345 * 4096, SIZE - MIB):
        write_at(pair.primary("thin"), offset, MIB, None)
    pair.start()
    timed(context, "first point of 8 TiB with 3 MiB in it", lambda: pair.wait(timeout=PATIENCE))
    same(context, pair, "the replica has what the primary has")
    check_memory(context, pair)

    client(pair, 5 * TIB, MIB)
    client(pair, 3 * TIB + 12345 * 4096, MIB, trim=True)
    same(context, pair, "writes and trims between the holes arrive")

    for words in (("resync",), ("resync", "--full")):
        pair.sender.cli(*words, pair.group)
        timed(context, " ".join(words), lambda: pair.wait(timeout=PATIENCE))
    verdict = timed(context, "verify", lambda: pair.sender.cli("verify", pair.group))
    context.check(verdict["equal"] is True, "verify finds both sites equal")
    check_memory(context, pair)

    write_at(pair.replica("thin"), 6 * TIB + 4096 * 77, 4096, 9)
    verdict = timed(context, "verify of a replica that was written to", lambda: pair.sender.cli(
        "verify", pair.group, code=None))
    found = [(d["offset"], d["length"]) for d in verdict["differences"]]
    context.check(found == [(6 * TIB + 4096 * 77, 4096)], f"verify names the one block that differs: {found}")
    pair.sender.cli("resync", pair.group)
    same(context, pair, "resync takes it out again")
    check_memory(context, pair)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
