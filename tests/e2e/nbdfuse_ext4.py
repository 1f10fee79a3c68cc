#!/usr/bin/env python3
"""A real file system on a protected volume: nbdfuse + loop + ext4. Files are written, `wait` returns,
and a copy of the replica has the same files and is clean to fsck, both while the file system is in
use (after journal replay) and after it was unmounted.

    sudo tests/e2e/nbdfuse_ext4.py [--long]
"""

import os
import random
import subprocess
import sys

import harness
import mounts


def write_files(directory, count, seed):
    chance = random.Random(seed)
    for index in range(count):
        folder = os.path.join(directory, f"folder{index % 7}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"file{index}"), "wb") as file:
            file.write(chance.randbytes(chance.randint(1, 200_000)))
        if index % 5 == 4:
            os.unlink(os.path.join(directory, f"folder{(index - 2) % 7}", f"file{index - 2}"))


def digests(directory):
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, directory)] = harness.sha256_of(path)
    return found


def check_copy(context, pair, expected, what):
    """The file system goes on by itself (journal commits), so the copy is of a point, which stays."""
    point = pair.wait()
    opened = pair.receiver.cli("open", pair.group, "--point", str(point["point"]), "--nbd",
                               "unix:" + context.path("run", "point.nbd"))
    copy = context.path("copy.img")
    subprocess.run(["nbdcopy", opened["uris"]["disk"], copy], check=True)
    pair.receiver.cli("close", str(opened["id"]))
    problem = mounts.fsck(copy)
    context.check(problem is None, f"{what}: fsck of the copy is clean {problem or ''}")
    there = mounts.Mount(context, "copy", image=copy).mount("ro")
    found = digests(there.point)
    there.unmount()
    context.check(found == expected, f"{what}: {len(expected)} files, all equal at the DR site")


def test(context):
    mounts.need()
    harness.need("nbdcopy")
    pair = harness.Pair(context, {"disk": "256MiB"}).start()
    disk = mounts.Mount(context, "live", uri=pair.uri("disk")).make()
    write_files(disk.point, 400 if context.long else 120, 1)
    subprocess.run(["sync", "-f", disk.point], check=True)
    expected = digests(disk.point)
    check_copy(context, pair, expected, "mounted and synced")
    write_files(disk.point, 60, 2)
    expected = digests(disk.point)
    disk.unmount()
    check_copy(context, pair, expected, "unmounted")
    pair.compare("the replica equals the primary")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
