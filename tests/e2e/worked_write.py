#!/usr/bin/env python3
"""One write of 4 KiB, as docs/architecture.md follows it from the socket to the cleared bit: where its bits stand in
the map file, how many bytes it is as payload, frames and undo, and when its dirty bit is set and cleared. Each figure
is taken from the files of a run, and must stand in that section of the page.

    tests/e2e/worked_write.py
"""

import os
import random
import struct
import subprocess
import sys
import time

import harness

SIZE = 100 << 30
OFFSET = 4_300_034_048
BLOCK, REGION, EXTENT = 4096, 64 << 10, 4 << 20
FRAME_HEADER, UNDO_HEADER, SEGMENT_HEADER = 64, 128, 64
TITLE = "## One write, with its numbers"


def section():
    with open(os.path.join(harness.ROOT, "docs", "architecture.md"), encoding="utf-8") as file:
        text = file.read()
    begin = text.index(TITLE)
    return " ".join(text[begin:text.index("\n## ", begin + 1)].split())


class MapFile:
    """The bits of the block's region and extent, by the table of docs/formats-map.md."""

    def __init__(self, path):
        self.path = path
        fields = struct.unpack_from("<4sHHQQQQQ", self.read(64, 0))
        self.fine, self.activity = fields[4], fields[6]
        self.page = OFFSET // REGION // 32768
        self.state_at = 4096 + self.page
        self.word_at = self.fine + OFFSET // EXTENT * 8
        self.extent_at = self.activity + 16 + OFFSET // EXTENT // 8

    def read(self, count, at):
        with open(self.path, "rb") as file:
            file.seek(at)
            return file.read(count)

    def dirty(self):
        word, = struct.unpack("<Q", self.read(8, self.word_at))
        return self.read(1, self.state_at)[0] == 1 and word == 1 << OFFSET // REGION % 64

    def clean(self):
        return self.read(1, self.state_at)[0] == 0

    def active(self):
        return self.read(1, self.extent_at)[0] >> OFFSET // EXTENT % 8 & 1 == 1


def records(directory, header_bytes, length_of):
    """(header, rest) of all records of the segments of a log."""
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        at = SEGMENT_HEADER
        while at + header_bytes <= len(data):
            header = data[at:at + header_bytes]
            end = at + header_bytes + length_of(header)
            yield header, data[at + header_bytes:end]
            at = end


def frames(directory):
    """Interval, kind (1 data, 2 barrier), payload."""
    for header, payload in records(directory, FRAME_HEADER, lambda h: struct.unpack_from("<I", h, 8)[0]):
        yield struct.unpack_from("<Q", header, 24)[0], header[6], payload


def undo_bytes(directory, interval):
    def length(header):
        entries, content = struct.unpack_from("<IQ", header, 28)
        return content + 24 * entries
    return [UNDO_HEADER + len(rest) for header, rest in records(directory, UNDO_HEADER, length)
            if struct.unpack_from("<Q", header, 16)[0] == interval]


def write(context, pair, content):
    path = context.path("content")
    harness.write_bytes(path, content)
    subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -q -s {path} {OFFSET} {BLOCK}", pair.uri("data")], check=True)


def follow(context, pair, page):
    """The write, with the receiver stopped for a moment so that its dirty bit can be seen."""
    old = random.Random(5).randbytes(BLOCK)
    new = old[:100] + bytes(b ^ 0xff for b in old[100:104]) + old[104:]
    bits = MapFile(context.path("sender-state", "groups", "shop", "capture", "data.map"))
    write(context, pair, old)
    pair.wait()
    harness.retry(20, "a clean region", bits.clean)
    pair.receiver.freeze()
    write(context, pair, new)
    context.check(bits.dirty() and bits.active(), "the write's dirty bit is set, its extent is active")
    time.sleep(1.5)
    context.check(pair.status()["lag"]["bytes"] == BLOCK, "lag is the block")
    pair.receiver.thaw()
    pair.wait()
    harness.retry(20, "the bit cleared again", bits.clean)
    context.check(bits.active(), "the extent stays active")
    for what, number in (("state of the page", bits.state_at), ("dirty bit's word", bits.word_at),
                         ("extent's bit", bits.extent_at), ("map file", os.path.getsize(bits.path))):
        context.check(f"{number:,}" in page, f"{what}: {number:,}")


def weigh(context, page):
    copy = context.path("receiver-state", "groups", "shop")
    interval, _, payload = [f for f in frames(os.path.join(copy, "journal")) if f[1] == 1][-1]
    barrier = next(p for i, kind, p in frames(os.path.join(copy, "journal")) if i == interval and kind == 2)
    body = payload[34:]
    context.check(f"The payload has {len(payload)} bytes" in page, f"payload of {len(payload)} bytes")
    for what, piece in (("counts", payload[24:30]), ("command", body[:4]), ("arguments", body[4:7])):
        context.check(f"`{piece.hex(' ')}`" in page, f"{what}: {piece.hex(' ')}")
    data_bytes, barrier_bytes = FRAME_HEADER + len(payload), FRAME_HEADER + len(barrier)
    context.check(f"data frame has {data_bytes} bytes, the barrier frame 64 + 64 = {barrier_bytes}" in page and
                  f"costs {data_bytes + barrier_bytes} bytes" in page, f"frames of {data_bytes} and {barrier_bytes}")
    undo = undo_bytes(os.path.join(copy, "undo"), interval)
    context.check(len(undo) == 1 and f"{undo[0]:,} bytes" in page, f"undo of {undo} bytes")


def test(context):
    harness.need("qemu-io")
    page = section()
    for what, number in (("offset", OFFSET), ("block", OFFSET // BLOCK), ("region", OFFSET // REGION),
                         ("extent", OFFSET // EXTENT)):
        context.check(f"{number:,}" in page, f"{what}: {number:,}")
    pair = harness.Pair(context, {"data": str(SIZE >> 30) + "GiB"}, interval="1s")
    pair.start()
    pair.wait_state("streaming", timeout=60)
    follow(context, pair, page)
    weigh(context, page)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
