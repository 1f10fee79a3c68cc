#!/usr/bin/env python3
"""Memory belongs to the group that needs it: one busy group among 40 keeps the order of its writes with a `memory`
of which an equal share would be too small; then another one does, and the daemon stays within its bound.

    tests/e2e/many_groups.py
"""

import subprocess
import sys
import time

import harness
import many_groups_pair as many

MIB = 1 << 20
GROUPS = 40
MEMORY = 256 * MIB
FIXED = 64 * MIB  # beside `memory`: docs/operations.md, Sizing
RATE = 6e6  # bytes a second: what a sanitized build on two busy cores keeps, too


def refused(context):
    """A `memory` that can't work is refused where it is written."""
    path = context.path("small.toml")
    text = (f'[sender]\nstate = "{context.path("small")}"\ncontrol = "{context.path("small.sock")}"\n'
            'memory = "64MiB"\n')
    for i in range(GROUPS):
        text += (f'[[group]]\nname = "g{i}"\npeer = "127.0.0.1:7420"\n[[group.volume]]\nname = "v"\n'
                 f'path = "{context.path(f"v{i}")}"\nnbd = "unix:{context.path(f"v{i}.nbd")}"\n')
    harness.write_text(path, text)
    done = subprocess.run([harness.find("farshore"), "config", "check", path], capture_output=True, text=True,
                          check=False)
    said = done.stdout + done.stderr
    context.check(done.returncode != 0 and "too small for 40 groups and 40 volumes" in said and '"120MiB"' in said,
                  "`config check` refuses 64 MiB for 40 groups and says what is enough")
    if "too small" not in said:
        context.say(said.strip())


def busy(context, pair, group, seconds):
    writer = many.BulkWriter(pair, group, RATE).start()
    end = time.monotonic() + seconds
    peaks = {"sender": 0, "receiver": 0}
    while time.monotonic() < end:
        for role in peaks:
            peaks[role] = max(peaks[role], getattr(pair, role).rss_bytes())
        time.sleep(0.2)
    rate = writer.finish()
    losses = pair.losses(group)
    context.check(not losses, f"{group}, written at {rate / 1e6:.0f} MB/s among {GROUPS}, keeps the order"
                  + "".join("\n" + line for line in losses))
    for role, peak in peaks.items():
        context.check(peak <= MEMORY + FIXED,
                      f"memory of the {role}: {peak // MIB} MiB, at most {(MEMORY + FIXED) // MIB}")
    pair.sender.cli("wait", group, "--timeout", "60s", timeout=80)
    bad = [v for v in pair.volumes if harness.same_content(pair.primary(group, v), pair.replica(group, v)) is not None]
    context.check(not bad, f"{group}: replicas equal the primary {bad or ''}")


def test(context):
    refused(context)
    pair = many.ManyGroups(context, GROUPS, 2, 64 * MIB, memory=f"{MEMORY // MIB}MiB", verify=True).start()
    seconds = 15 if context.long else 6
    for group in ("g3", "g31"):
        busy(context, pair, group, seconds)
    context.check(pair.all_stream(), "all groups stream")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
