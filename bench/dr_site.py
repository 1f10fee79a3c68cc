"""What a bench of points asks of the DR site: the space of its state by folder, the bytes that it wrote to its
devices, its memory and processor time, points by number, and openings that are closed again."""

import contextlib
import os
import time

import harness

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


def device_bytes(daemon):
    """Written to devices so far, without what was truncated before it got there."""
    counts = io_counts(daemon)
    return counts["write_bytes"] - counts["cancelled_write_bytes"]


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
