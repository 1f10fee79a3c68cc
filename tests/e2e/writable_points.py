#!/usr/bin/env python3
"""Points that are open for writing, with real daemons: what is written stays beside the copy, and is there after a
restart of the receiver and after kill -9; at its limit a client gets ENOSPC while replication goes on; close gives the
space back. And points that are mounted: read-only without a replay of the journal, writable, over restarts, and undone
by close. `--only overlay` and `--only mounted`."""

import os
import subprocess
import time

import harness
import mounts

MIB = 1 << 20
KIB = 1 << 10


def qemu_io(uri, *commands, read_only=False):
    words = ["qemu-io", "-f", "raw"] + ["-r"] * read_only
    for command in commands:
        words += ["-c", command]
    done = subprocess.run(words + [uri], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def holds(uri, offset, length, value):
    code, text = qemu_io(uri, f"read -P {value} {offset} {length}", read_only=True)
    return code == 0 and "failed" not in text.lower()


def put(uri, offset, length, value):
    code, text = qemu_io(uri, f"write -P {value} {offset} {length}", "flush")
    if code != 0 or "failed" in text.lower():
        raise harness.Failed("qemu-io: " + text)


def disk_bytes(path):
    """What the files below take."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def opened(pair, ident):
    found = [o for o in pair.receiver.cli("opened")["opened"] if o["id"] == ident]
    return found[0] if found else None


def served(pair, ident):
    return harness.retry(30, f"{ident} is served", lambda: (opened(pair, ident) or {}).get("served"))


def overlay(context):
    """What is written to a point: kept, bounded, given back."""
    harness.need("qemu-io", "qemu-img")
    pair = harness.Pair(context, {"data": "256MiB", "wal": "64MiB"})
    for volume, size in pair.volumes.items():
        harness.make_image(pair.primary(volume), harness.size_of(size), random_megabytes=8)
    pair.start()
    pair.wait_state("streaming")
    put(pair.uri("data"), 1 * MIB, 64 * KIB, 1)
    pair.wait()
    place = "unix:" + context.path("run", "w.sock")
    w = pair.receiver.cli("open", "shop", "--writable", "--space", "16MiB", "--nbd", place)
    r = pair.receiver.cli("open", "shop", "--nbd", "unix:" + context.path("run", "r.sock"))
    context.check(w["writable"] and w["space"] == {"used_bytes": 0, "limit_bytes": 16 * MIB},
                  f"opened writable as {w['id']}, with its limit")
    data, wal = w["uris"]["data"], w["uris"]["wal"]

    put(data, 1 * MIB + 512, 3 * KIB, 0x21)  # part of a block: the rest is the point's
    put(data, 100 * MIB, 1 * MIB, 0x22)
    put(wal, 8 * MIB, 64 * KIB, 0x23)
    put(pair.uri("data"), 1 * MIB, 64 * KIB, 2)  # the primary goes on
    pair.wait()
    context.check(holds(data, 1 * MIB, 512, 1) and holds(data, 1 * MIB + 512, 3 * KIB, 0x21)
                  and holds(data, 1 * MIB + 3584, 512, 1), "part of a block, and the point around it")
    context.check(holds(r["uris"]["data"], 1 * MIB, 64 * KIB, 1), "the same point read-only has none of it")
    used = opened(pair, w["id"])["space"]["used_bytes"]
    context.check(used == 4 * KIB + 1 * MIB + 64 * KIB, f"space counts blocks: {used} bytes")

    context.check(pair.receiver.stop() == 0, "the receiver stops in order")
    pair.receiver.start()
    served(pair, w["id"])
    served(pair, r["id"])
    again = opened(pair, w["id"])
    context.check(again["uris"] == w["uris"] and again["point"] == w["point"]
                  and again["space"] == {"used_bytes": used, "limit_bytes": 16 * MIB},
                  "after a restart: the same id, places, point, limit and space")
    context.check(holds(data, 1 * MIB + 512, 3 * KIB, 0x21) and holds(wal, 8 * MIB, 64 * KIB, 0x23),
                  "and what was flushed is there")
    context.check(holds(r["uris"]["data"], 1 * MIB, 64 * KIB, 1), "the read-only one, too")

    put(data, 120 * MIB, 256 * KIB, 0x24)
    pair.receiver.kill()
    pair.receiver.start()
    served(pair, w["id"])
    context.check(holds(data, 120 * MIB, 256 * KIB, 0x24) and holds(data, 100 * MIB, 1 * MIB, 0x22),
                  "after kill -9: what was flushed is there")

    full(context, pair, w)
    before = disk_bytes(context.path("receiver-state", "groups", "shop", "openings"))
    pair.receiver.cli("close", w["id"])
    after = disk_bytes(context.path("receiver-state", "groups", "shop", "openings"))
    context.check(before >= 15 * MIB and after < 64 * KIB, f"close gives the space back: {before} bytes, then {after}")
    gone = pair.receiver.cli("close", w["id"], code=10)
    context.check("error" in gone, "and closes it for good")
    pair.receiver.kill()
    pair.receiver.start()
    served(pair, r["id"])
    context.check(opened(pair, w["id"]) is None, "also over a restart")
    pair.receiver.cli("close", r["id"])
    pair.wait_state("streaming")
    pair.compare()


def full(context, pair, w):
    """At its limit."""
    data = w["uris"]["data"]
    code, text = qemu_io(data, f"write -P 0x25 {130 * MIB} {32 * MIB}")
    context.check("No space left on device" in text, f"beyond the limit: ENOSPC ({text.strip().splitlines()[0]})")
    context.check(holds(data, 100 * MIB, 1 * MIB, 0x22), "what was there stays")
    for megabyte in range(16):
        code, text = qemu_io(data, f"write -P 0x26 {(180 + megabyte) * MIB} {1 * MIB}")
        if "No space left" in text:
            break
    context.check(13 <= megabyte <= 15, f"{megabyte} MiB more fit")
    code, text = qemu_io(data, f"write -P 0x27 {100 * MIB} {1 * MIB}", "flush")
    context.check(code == 0 and "failed" not in text.lower(), "what is there may be written again")
    begin = time.monotonic()
    put(pair.uri("data"), 2 * MIB, 4 * MIB, 3)
    pair.wait()
    context.check(time.monotonic() - begin < 30, "replication goes on")
    status = pair.status(pair.receiver)
    context.check(status["state"] == "following" and not status["error"], "and nothing is wrong with the group")
    context.check("takes no more writes" in pair.receiver.log_text(), "the log says that it is full")


def mount_table():
    with open("/proc/self/mounts", encoding="utf-8") as file:
        return file.read()


def left_behind(context):
    """What of ours is still mounted, attached or running."""
    loops = mounts.run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE")
    running = subprocess.run(["pgrep", "-af", "nbdfuse.*" + context.directory], capture_output=True, text=True,
                             check=False).stdout
    return [line for line in (mount_table() + loops + running).splitlines()
            if context.directory in line and "pgrep" not in line]


def mounted(context):
    """`open --mount`."""
    mounts.need()
    pair = harness.Pair(context, {"data": "128MiB", "raw": "32MiB"})
    context.on_exit(lambda: clean(context))
    for volume, size in pair.volumes.items():
        harness.make_image(pair.primary(volume), harness.size_of(size))
    pair.start()
    pair.wait_state("streaming")
    primary = mounts.Mount(context, "primary", uri=pair.uri("data")).make()
    with open(os.path.join(primary.point, "kept"), "w", encoding="utf-8") as file:
        file.write("precious")
    mounts.run("sync", "-f", primary.point)
    pair.wait()
    point = pair.receiver.cli("points", "shop")["points"][-1]["id"]
    os.unlink(os.path.join(primary.point, "kept"))
    mounts.run("sync", "-f", primary.point)
    pair.wait()

    target = context.path("look")
    ro = pair.receiver.cli("open", "shop", "--point", point, "--mount", target)
    context.check(ro["mounts"] == {"data": target + "/data"} and ro["uris"] == {},
                  f"mounted while the file system is in use at the primary: {ro['mounts']}; `raw` has none")
    kept = os.path.join(target, "data", "kept")
    context.check(read(kept) == "precious", "the deleted file is there")
    context.check(" ro," in next(l for l in mount_table().splitlines() if target + "/data" in l), "read-only")

    other = context.path("work")
    rw = pair.receiver.cli("open", "shop", "--point", point, "--writable", "--space", "64MiB", "--mount", other)
    with open(os.path.join(other, "data", "new"), "w", encoding="utf-8") as file:
        file.write("work")
    os.sync()
    context.check(read(os.path.join(other, "data", "kept")) == "precious", "the same point, mounted writable")

    refusals(context, pair, target)
    for how in ("stop", "kill"):
        (pair.receiver.stop if how == "stop" else pair.receiver.kill)()
        if how == "stop":
            context.check(not [m for m in (target, other) if m in mount_table()], "a stop unmounts")
        pair.receiver.start()
        for one in (ro, rw):
            harness.retry(60, f"{one['id']} is mounted again", lambda: (opened(pair, one["id"]) or {}).get("mounts"))
        context.check(read(kept) == "precious" and read(os.path.join(other, "data", "new")) == "work",
                      f"after a {how}: mounted again, with what was written")
        context.check(mount_table().count(context.path("receiver-state")) == 2, "and nothing twice")

    with open(kept, encoding="utf-8") as busy:  # a user who does not go
        begin = time.monotonic()
        pair.receiver.cli("close", ro["id"])
        context.check(target + "/data" not in mount_table(), f"close undoes it, also while a file is open "
                      f"({time.monotonic() - begin:.1f} s)")
        context.check("is in use: it is detached" in pair.receiver.log_text(), "and says so")
        busy.close()
    pair.receiver.cli("close", rw["id"])
    harness.retry(20, "nothing is left", lambda: not left_behind_of_openings(context))
    context.check(os.listdir(target) == [] and os.listdir(other) == [], "the directories are empty again")
    primary.unmount()
    pair.compare()


def left_behind_of_openings(context):
    return [line for line in left_behind(context) if "receiver-state" in line]


def refusals(context, pair, target):
    """What can't be mounted there, in words."""
    full_directory = context.path("not-empty")
    os.makedirs(os.path.join(full_directory, "x"))
    for where, code, words in ((full_directory, 11, "not empty"), (target + "/data", 11, "mount point already"),
                               (context.path("no", "parent"), 1, "not there"),
                               (context.path("receiver.toml"), 2, "no directory")):
        said = pair.receiver.cli("open", "shop", "--mount", where, code=code)["error"]["message"]
        context.check(words in said, f"refused: {said}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def clean(context):
    """Whatever a failed test left; the daemons are gone by then."""
    for line in reversed(mount_table().splitlines()):
        where = line.split()[1]
        if where.startswith(context.directory):
            subprocess.run(["umount", "--lazy", where], capture_output=True, check=False)
    for line in mounts.run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines():
        if context.directory in line:
            subprocess.run(["losetup", "--detach", line.split()[0]], capture_output=True, check=False)


def test(context):
    harness.run_parts(context, {"overlay": overlay, "mounted": mounted})


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
