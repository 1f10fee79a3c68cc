#!/usr/bin/env python3
"""What the kernel alone takes for a receiver's disk work on a trace: the part of its CPU that no decoder can save.

    bench/apply_floor.py TRACE...

For each 1 s interval of the trace (made by bench/traces/record.py), on images as they were before: append the journal
(as many bytes as the line had in bench/results/wan-bytes-TRACE.json) and fdatasync it; read what the changed blocks
held, in runs of neighbours, append it to an undo log and fdatasync that; write the blocks; every fifth interval
fdatasync the images. No decoding, no line, no digests. Only system time is counted, so that it doesn't matter what
language this is written in; for each GB that the trace writes. Results: bench/results/apply-floor-TRACE.json.
"""

import json
import os
import resource
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import figures  # noqa: E402
import harness  # noqa: E402
import recorded  # noqa: E402
import trace_bench  # noqa: E402

BAR = 1.0
BLOCK = 4096
RUN_BLOCKS = 256
COMMIT_EVERY = 5  # intervals


def runs(changed):
    """Neighbouring blocks of an interval, joined: (volume, offset, new content)."""
    out, last = [], None
    for volume, block, _, new in changed:
        if last and last[0] == volume and last[1] + len(last[2]) == block and len(last[2]) < RUN_BLOCKS:
            last[2].append(new)
        else:
            last = (volume, block, [new])
            out.append(last)
    return [(volume, block * BLOCK, b"".join(parts)) for volume, block, parts in out]


class Disks:
    def __init__(self, context, trace):
        self.images = []
        for name, _ in trace.volumes:
            path = context.path(name + ".img")
            recorded.copy_sparse(trace.image("before", name), path)
            self.images.append(os.open(path, os.O_RDWR))
        self.journal = os.open(context.path("journal"), os.O_WRONLY | os.O_CREAT)
        self.undo = os.open(context.path("undo"), os.O_WRONLY | os.O_CREAT)
        os.sync()

    def apply(self, work, journal_bytes, commit):
        os.write(self.journal, bytes(journal_bytes))
        os.fdatasync(self.journal)
        if work:
            for volume, offset, new in work:
                os.write(self.undo, os.pread(self.images[volume], len(new), offset))
            os.fdatasync(self.undo)
            for volume, offset, new in work:
                os.pwrite(self.images[volume], new, offset)
        if commit:
            for image in self.images:
                os.fdatasync(image)


def line_bytes(trace):
    path = os.path.join(figures.RESULTS, f"wan-bytes-{trace.name}.json")
    if not os.path.exists(path):
        raise harness.Skip(f"{path} is missing: run bench/wan_bytes.py {trace.name} first")
    with open(path, encoding="ascii") as file:
        return json.load(file)["details"]["ours"]["line_bytes"]


def measure(bench, _, trace):
    total = line_bytes(trace)
    intervals = max(1, int(trace.meta["seconds"]))
    disks = Disks(bench.context, trace)
    used = 0.0
    for number, changed in enumerate(trace.intervals(1.0)):
        work = runs(changed)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        disks.apply(work, total // intervals, number % COMMIT_EVERY == COMMIT_EVERY - 1)
        used += resource.getrusage(resource.RUSAGE_SELF).ru_stime - before
    each = used / (trace.meta["bytes_written"] / 1e9)
    bench.details = {"system_seconds": used, "written": trace.meta["bytes_written"]}
    print(f"{trace.name}: {used:.1f} s in the kernel, {each:.2f} core-s/GB written; the receiver's bar is {BAR}",
          flush=True)


def main():
    return trace_bench.run_all(trace_bench.arguments(__doc__), "apply-floor", "apply_floor.py", measure)


if __name__ == "__main__":
    sys.exit(main())
