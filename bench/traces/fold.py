#!/usr/bin/env python3
"""Writes a trace as folded intervals, one flat file: what a codec gets to encode.

    bench/traces/fold.py TRACE OUT [--interval 1.0]

OUT, little-endian: magic "FSFOLD01"; u32 version 1; u32 volumes; u64 size of each volume. Then each
interval: u32 count, and `count` records sorted by (volume, block): u16 volume, u16 0, u64 block,
4096 bytes as at the end of the interval before, 4096 bytes as at the end of this one. Blocks that
were written are in it even when their content is the same; blocks that were zeroed, when not zero.
Intervals in which nothing was written are there with count 0.
"""

import argparse
import struct
import sys

import recorded

MAGIC = b"FSFOLD01"
COUNT = struct.Struct("<I")
BLOCK_HEAD = struct.Struct("<HHQ")


def export(trace, path, seconds):
    """Returns (intervals, blocks, blocks whose content did not change)."""
    intervals = blocks = same = 0
    with open(path, "wb", buffering=1 << 22) as out:
        out.write(struct.pack("<8sII", MAGIC, 1, len(trace.volumes)))
        for _, size in trace.volumes:
            out.write(struct.pack("<Q", size))
        for changed in trace.intervals(seconds):
            out.write(COUNT.pack(len(changed)))
            for volume, block, old, new in changed:
                out.write(BLOCK_HEAD.pack(volume, 0, block))
                out.write(old)
                out.write(new)
                same += old == new
            intervals += 1
            blocks += len(changed)
    return intervals, blocks, same


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", help="a trace's directory, or its name below $FARSHORE_TRACES")
    parser.add_argument("out")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds")
    options = parser.parse_args()
    try:
        trace = recorded.Trace(options.trace)
        intervals, blocks, same = export(trace, options.out, options.interval)
    except recorded.Damaged as error:
        print(f"fold: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {intervals} intervals, {blocks} blocks ({blocks * 4096 / 1e6:.1f} MB), "
          f"{same} of them written without a change")
    return 0


if __name__ == "__main__":
    sys.exit(main())
