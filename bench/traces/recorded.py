"""A recorded trace as Python sees it: its directory, its events, and what they fold to.

    trace = Trace("out/postgres-n"); trace.meta; trace.events(); trace.intervals(1.0)

A trace's directory has meta.json, events (bench/traces/events.hpp), and one before-VOLUME.img and
after-VOLUME.img a volume, sparse.
"""

import json
import mmap
import os
import shutil
import struct
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BLOCK = 4096
WRITE, ZEROES, TRIM, FLUSH = 1, 2, 3, 4
HEADER = struct.Struct("<8sII")
RECORD = struct.Struct("<QBBHIQ")
MAGIC = b"FSTRACE1"
ZERO_BLOCK = bytes(BLOCK)


def folder():
    """Where traces are kept: $FARSHORE_TRACES, else bench/traces/out."""
    return os.environ.get("FARSHORE_TRACES") or os.path.join(ROOT, "bench", "traces", "out")


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


class Damaged(Exception):
    """The trace can't be used; the text says why and what to do."""


class Trace:
    def __init__(self, path):
        self.path = path if os.path.isdir(path) else os.path.join(folder(), path)
        self.name = os.path.basename(self.path.rstrip("/"))
        try:
            with open(os.path.join(self.path, "meta.json"), encoding="ascii") as file:
                self.meta = json.load(file)
        except OSError as error:
            raise Damaged(f"{self.path} is no complete trace ({error.strerror}): record it with "
                          "bench/traces/record.py") from None
        self.volumes = [(v["name"], v["size"]) for v in self.meta["volumes"]]

    def image(self, when, volume):
        """`when`: "before" or "after"."""
        return os.path.join(self.path, f"{when}-{volume}.img")

    @property
    def events_path(self):
        return os.path.join(self.path, "events")

    def events(self):
        """(time_us, kind, volume, offset, length, content) of each event, in order; content is a
        view that is good until the next one, empty but for writes."""
        with open(self.events_path, "rb") as file, \
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            magic, version, volumes = HEADER.unpack_from(data, 0)
            if magic != MAGIC or version != 1 or volumes != len(self.volumes):
                raise Damaged(f"{self.events_path}: not the events of this trace: record it anew")
            at, end = HEADER.size, len(data)
            while at < end:
                if end - at < RECORD.size:
                    raise Damaged(f"{self.events_path} ends within an event: record it anew")
                time_us, kind, volume, _, length, offset = RECORD.unpack_from(data, at)
                at += RECORD.size
                size = length if kind == WRITE else 0
                with view[at:at + size] as content:
                    yield time_us, kind, volume, offset, length, content
                at += size

    def intervals(self, seconds):
        """Interval after interval: the list of (volume, block, old, new), sorted. A block is in it
        when it was written, or zeroed and not zero before. Intervals without blocks come too."""
        with _Images(self) as images:
            limit_us, step_us = seconds * 1e6, seconds * 1e6
            for time_us, kind, volume, offset, length, content in self.events():
                while time_us >= limit_us:
                    yield images.cut()
                    limit_us += step_us
                if kind == WRITE:
                    images.write(volume, offset, content)
                elif kind in (ZEROES, TRIM):
                    images.zero(volume, offset, length)
            yield images.cut()


class _Images:
    """Copies of the before-images that follow the events, and the old contents of an interval."""

    def __init__(self, trace):
        self._directory = tempfile.mkdtemp(prefix="farshore-fold-", dir=trace.path)
        self._maps, self._old = [], {}
        for name, size in trace.volumes:
            path = os.path.join(self._directory, name)
            copy_sparse(trace.image("before", name), path)
            with open(path, "r+b") as file:
                rounded = -(-size // BLOCK) * BLOCK
                file.truncate(rounded)
                self._maps.append(mmap.mmap(file.fileno(), rounded))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self._maps:
            one.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _keep(self, volume, block):
        if (volume, block) not in self._old:
            at = block * BLOCK
            self._old[volume, block] = self._maps[volume][at:at + BLOCK]

    def write(self, volume, offset, content):
        end = offset + len(content)
        for block in range(offset // BLOCK, -(-end // BLOCK)):
            self._keep(volume, block)
        self._maps[volume][offset:end] = content

    def zero(self, volume, offset, length):
        end, image = offset + length, self._maps[volume]
        while offset < end:
            stop = min(end, (offset // BLOCK + 1) * BLOCK)
            block = offset // BLOCK
            at = block * BLOCK
            if (volume, block) in self._old or image[at:at + BLOCK] != ZERO_BLOCK:
                self._keep(volume, block)
                image[offset:stop] = bytes(stop - offset)
            offset = stop

    def cut(self):
        out = []
        for (volume, block), old in sorted(self._old.items()):
            at = block * BLOCK
            out.append((volume, block, old, self._maps[volume][at:at + BLOCK]))
        self._old = {}
        return out
