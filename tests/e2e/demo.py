#!/usr/bin/env python3
"""`farshore demo` as a new user sees it: it ends well and says so in one document; and its own
record of the order is sound: a record is one page of the file system, so that no point can rightly
show half of one (mke2fs gives small volumes blocks of 1 KiB, and a record then arrives as two
writes).

    sudo tests/e2e/demo.py [--long]
"""

import json
import shutil
import struct
import subprocess
import sys

import harness

RECORD_BYTES = 4096
SUPERBLOCK_AT = 1024


def ext4_block_bytes(image):
    """s_log_block_size of the superblock; None when there is no ext4."""
    with open(image, "rb") as file:
        file.seek(SUPERBLOCK_AT)
        superblock = file.read(1024)
    if superblock[56:58] != b"\x53\xef":
        return None
    return 1024 << struct.unpack_from("<I", superblock, 24)[0]


def play(context, seconds):
    words = [harness.find("farshore"), "demo", "--json", "--keep", "--seconds", str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 120, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    kept = [line["details"]["directory"] for line in told if line.get("event") == "kept"]
    context.check(len(kept) == 1, "the demo says where it keeps its files")
    context.on_exit(lambda: shutil.rmtree(kept[0], ignore_errors=True))
    summary = told[-1]["summary"]
    context.say(json.dumps(summary))
    context.check(done.returncode == 0 and summary["equal"] and summary["error"] is None,
                  f"the demo ends with exit {done.returncode}, {summary['error'] or 'no error'}")
    context.check(summary["comparisons"] == summary["comparisons_equal"] == 4,
                  f"{summary['comparisons_equal']} of {summary['comparisons']} comparisons equal")
    context.check(summary["recoveries"] == summary["line_cuts"] + summary["kills"] == 3,
                  f"{summary['recoveries']} faults, all recovered from")
    return kept[0], summary


def test(context):
    directory, summary = play(context, 60 if context.long else 12)
    if "ext4" not in summary["storage"]:
        context.say(f"no file system here ({summary['storage']}): its block size is not looked at")
        return
    for volume in ("alpha", "beta"):
        found = ext4_block_bytes(f"{directory}/{volume}.img")
        context.check(found == RECORD_BYTES, f"{volume}: blocks of {found} bytes, a record each")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
