#!/usr/bin/env python3
"""A scrub with real daemons. A flipped byte of the history marks the points that need it, and no others; a flipped
byte of an image is found by comparing with the primary, marks what shows it, and is shipped again; a scrub in the
background, with a period of seconds, comes through and gives way. `--only PART`."""

import glob
import os
import subprocess
import time

import harness

MIB = 1 << 20
BLOCK = 4096
UNDO_HEADER = 128


def write(pair, offset, value):
    done = subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {value} {offset} {BLOCK}", pair.uri("data")],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed("qemu-io: " + done.stdout + done.stderr)


def started(context, **settings):
    pair = harness.Pair(context, {"data": "24MiB"}, **settings)
    harness.make_image(pair.primary("data"), 24 * MIB, random_megabytes=4)
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    return pair


def scrub(pair, code=0):
    return pair.receiver.cli("scrub", pair.group, "--wait", code=code, timeout=120)


def points(pair):
    return pair.receiver.cli("points", pair.group)["points"]


def flip(path, offset):
    """One byte, and the file's times as they were: bits that rotted."""
    times = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def open_point(context, pair, point, *words, code=0):
    return pair.receiver.cli("open", pair.group, "--point", point, "--nbd", "unix:" + context.path("run", "p.sock"),
                             *words, code=code)


def content_of(context, pair, point):
    target = context.path("point.raw")
    opened = open_point(context, pair, point)
    subprocess.run(["nbdcopy", opened["uris"]["data"], target], check=True)
    pair.receiver.cli("close", opened["id"])
    with open(target, "rb") as file:
        return file.read()


def clean(context):
    """Of a sound copy: exit 0, all compared, and told in status and --help."""
    pair = started(context)
    write(pair, 0, 1)
    pair.wait()
    found = scrub(pair)
    context.check(found["group"] == "shop" and found["damaged"] == [] and found["damaged_count"] == 0,
                  f"a sound copy has no damage: {found}")
    context.check(found["compared"] is True and found["read_bytes"] >= 4 * MIB, "all of it was read and compared")
    status = pair.status(pair.receiver)
    context.check(status["scrub"]["last_finished"] is not None and status["scrub"]["damaged"] == 0
                  and status["damaged_points"] == 0, f"status says so: {status['scrub']}")
    context.check(pair.receiver.cli("scrub", pair.group)["done"] == "scrub_started", "without --wait it returns")
    text = pair.receiver.cli_raw("scrub", "--help").stdout
    context.check("--wait" in text, "--help knows --wait")
    context.check(pair.sender.cli("scrub", pair.group, code=2)["error"]["message"].find("receiver") > 0,
                  "the sender says where to ask")
    pair.sender.kill()
    harness.retry(30, "the session's end", lambda: not pair.status(pair.receiver)["connected"])
    harness.retry(30, "the pass's end", lambda: not pair.status(pair.receiver)["scrub"]["running"])
    found = scrub(pair, code=3)
    context.check(found["compared"] is False and found["damaged_count"] == 0 and found["not_compared"],
                  f"without a sender the images are not compared, and it says so: {found['not_compared']}")


def history(context):
    """A flipped byte of the history."""
    pair = started(context)
    made = []
    contents = {}
    for value in range(1, 7):
        write(pair, 8 * MIB, value)  # the same block again and again: each point takes it from another record
        write(pair, 9 * MIB + value * BLOCK, value)
        made.append(str(pair.wait()["point"]))
        contents[made[-1]] = value
    time.sleep(6)  # a commit
    undo = sorted(glob.glob(context.path("receiver-state", "groups", "shop", "undo", "*.seg")))
    spoilt = None
    for path in undo:  # the record that has the block's content of the third point
        with open(path, "rb") as file:
            data = file.read()
        at = data.find(bytes([3]) * BLOCK)
        if at >= 0:
            spoilt = (path, at)
    if not context.check(spoilt is not None, "the history has the block as the third point has it"):
        return
    flip(spoilt[0], spoilt[1] + 77)
    found = scrub(pair, code=3)
    context.check(found["damaged_count"] >= 1 and all(d["what"] == "history" for d in found["damaged"]),
                  f"found: {found['damaged']}")
    needing = {p for d in found["damaged"] for p in d["points"]}
    listed = {p["id"]: p for p in points(pair)}
    marked = {p for p, facts in listed.items() if facts["damaged"]}
    context.check(marked == needing and made[2] in marked, f"those that need it are marked: {sorted(marked)}")
    context.check(not marked.intersection(made[:2] + made[3:]), "and none of the others")
    where = [(d["volume"], d["offset"], d["length"]) for d in found["damaged"]]
    context.check(where == [("data", 8 * MIB, BLOCK)], f"it is named: {where}")
    refused = open_point(context, pair, made[2], code=13)
    context.check("damaged" in refused["error"]["message"], f"refused: {refused['error']['message']}")
    opened = open_point(context, pair, made[2], "--suspect")
    pair.receiver.cli("close", opened["id"])
    for point in made[:2] + made[3:]:
        content = content_of(context, pair, point)
        context.check(content[8 * MIB:8 * MIB + BLOCK] == bytes([contents[point]]) * BLOCK,
                      f"point {point} is what it was")
    status = pair.status(pair.receiver)
    context.check(status["damaged_points"] == len(marked) and status["scrub"]["damaged"] == 1, "status counts them")
    check = pair.receiver.cli_raw("check", "--max-point-age", "1h")
    context.check(check.returncode == 2 and "damaged point" in check.stdout, f"check: {check.stdout.strip()}")
    table = pair.receiver.cli_raw("points", pair.group).stdout
    context.check("damaged" in table, "points says so")
    pair.receiver.stop()
    pair.receiver.start()
    pair.wait_state("streaming")
    listed = {p["id"]: p for p in points(pair)}
    context.check({p for p, f in listed.items() if f["damaged"]} == marked, "the marks are there after a restart")
    for point in marked:
        pair.receiver.cli("forget", pair.group, "--point", point)
    harness.retry(30, "the mark to go with its points",
                  lambda: pair.status(pair.receiver)["scrub"]["damaged"] == 0)
    check = pair.receiver.cli_raw("check", "--max-point-age", "1h")
    context.check(check.returncode == 0, f"check is content again: {check.stdout.strip()}")


def image(context):
    """A flipped byte of an image."""
    pair = started(context)
    write(pair, 12 * MIB, 1)
    old = str(pair.wait()["point"])
    time.sleep(6)  # a commit
    flip(pair.replica("data"), 2 * MIB + 100)
    found = scrub(pair, code=3)
    context.check(any(d["what"] == "image" and d["volume"] == "data"
                      and d["offset"] <= 2 * MIB < d["offset"] + d["length"] for d in found["damaged"]),
                  f"the difference is found: {found['damaged']}")

    def healed():
        here, there = pair.status(), pair.status(pair.receiver)
        return here["state"] == "streaming" and there["state"] == "following" and not there["error"]
    harness.retry(60, "healed", healed)
    pair.compare("the image is repaired from the primary")
    context.check(pair.sender.cli("verify", pair.group)["equal"] is True, "verify is clean")
    listed = {p["id"]: p for p in points(pair)}
    context.check(listed[old]["damaged"] is True, "the points that show it are marked")
    context.check(open_point(context, pair, old, code=13)["error"]["code"] != "", "and refused")
    newest = str(pair.wait()["point"])
    content = content_of(context, pair, newest)
    with open(pair.primary("data"), "rb") as file:
        context.check(content == file.read(), "the newest point is good")
    context.check(scrub(pair)["damaged"] == [], "the next scrub finds nothing")


def background(context):
    """By itself, with a period of seconds; a flipped byte is found without anybody asking."""
    pair = started(context, receiver_group_lines='scrub = "2s"')

    def passes():
        seen = set()

        def look():
            seen.add(pair.status(pair.receiver)["scrub"]["last_finished"])
            return len(seen - {None}) >= 2
        return look
    harness.retry(90, "two passes", passes())
    status = pair.status(pair.receiver)["scrub"]
    context.check(status["total_bytes"] > 0 and status["damaged"] == 0, f"passes come to their end: {status}")
    write(pair, 12 * MIB, 1)
    pair.wait()
    time.sleep(6)  # a commit
    flip(pair.replica("data"), 3 * MIB + 100)
    harness.retry(90, "the difference to be found",
                  lambda: pair.status(pair.receiver)["damaged_points"] > 0)
    harness.retry(60, "healed", lambda: pair.status()["state"] == "streaming"
                  and not pair.status(pair.receiver)["error"])
    pair.compare("repaired without anybody asking")
    log = pair.receiver.log_text()
    context.check("scrub:" in log or "verify found" in log, "the log says so")


def test(context):
    harness.run_parts(context, {"clean": clean, "history": history, "image": image, "background": background})


if __name__ == "__main__":
    harness.main(test, __doc__)
