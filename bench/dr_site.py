"""What a bench of points asks of the DR site: the space of its state by folder, a disk of its own that counts what is
written to it, its memory and processor time, points by number, and openings that are closed again."""

import contextlib
import os
import time

import harness
import mounts

MIB = 1 << 20
LIVE = ("journal", "rollback", "openings")  # queues and overlays: no history


def group_state(pair):
    return pair.context.path("receiver-state", "groups", pair.group)


def space(pair):
    """Allocated bytes of each entry of the group's state directory: {name: bytes}."""
    found = {}
    top = group_state(pair)
    for folder, _, names in os.walk(top):
        name = os.path.relpath(folder, top).split(os.sep)[0]
        for file in names:
            with contextlib.suppress(FileNotFoundError):  # it goes while we count
                found[name] = found.get(name, 0) + os.lstat(os.path.join(folder, file)).st_blocks * 512
    return found


def history_bytes(pair):
    """Everything that is kept for points: all of the state but the queues that empty by themselves."""
    return sum(size for name, size in space(pair).items() if name not in LIVE)


def settled(pair, seconds, limit):
    """Waits until the history has not become smaller for `seconds`, at most `limit`; true when it has come to rest."""
    begun = quiet = time.monotonic()
    least = history_bytes(pair)
    while time.monotonic() - quiet < seconds:
        if time.monotonic() - begun > limit:
            return False
        time.sleep(1)
        now = history_bytes(pair)
        if now < least:
            least, quiet = now, time.monotonic()
    return True


def io_counts(daemon):
    """/proc/PID/io of a daemon: rchar, write_bytes, cancelled_write_bytes, ..."""
    with open(f"/proc/{daemon.process.pid}/io", encoding="ascii") as file:
        return {key: int(value) for key, value in (line.split(":") for line in file)}


class Disk:
    """State and images of the DR site on a loop device of their own, so that what its disk is made to write can be
    told from everything else. `write_bytes` of /proc can't tell: it counts a large folio whole for each block of it
    that becomes dirty, twice what is written and more."""

    def __init__(self, context, size):
        harness.need_root()
        harness.need("losetup", "mkfs.ext4", "mount", "umount")
        image, self._point = context.path("dr.img"), context.path("dr")
        harness.make_image(image, size)
        self._loop = mounts.run("losetup", "--find", "--show", image)
        context.on_exit(lambda: mounts.run("losetup", "-d", self._loop))
        mounts.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._loop)
        os.makedirs(self._point)
        mounts.run("mount", "-o", "noatime", self._loop, self._point)
        context.on_exit(lambda: mounts.run("umount", self._point))
        for name in ("receiver-state", "replica"):
            os.makedirs(os.path.join(self._point, name))
            os.symlink(os.path.join(self._point, name), context.path(name))

    def written(self):
        """Bytes so far, file system included, of all that was asked for."""
        mounts.run("sync", "-f", self._point)
        with open(f"/sys/block/{os.path.basename(self._loop)}/stat", encoding="ascii") as file:
            return int(file.read().split()[6]) * 512


def memory(daemon, key="Rss"):
    """Bytes of one line of smaps_rollup."""
    with open(f"/proc/{daemon.process.pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise harness.Failed(f"smaps_rollup of {daemon.name} has no {key}")


def points(pair):
    return pair.receiver.cli("points", pair.group, "--applied")["points"]


@contextlib.contextmanager
def opened(pair, point, *words, name="point"):
    """The document of `farshore open`; the point is closed at the end."""
    place = pair.context.path("run", name + ".nbd")
    document = pair.receiver.cli("open", pair.group, "--point", str(point), "--nbd", "unix:" + place, *words)
    try:
        yield document
    finally:
        pair.receiver.cli("close", document["id"])
