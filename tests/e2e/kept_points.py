#!/usr/bin/env python3
"""Which points there are, and which stay. With real daemons: a line that is cut for 8 s (--long: 20 s) at an
interval of 1 s gives a point for each barrier of that time, each equal to its prefix of the writes; points that are
pinned, forgotten or let go by rules are so after SIGKILL and a restart; a lost catalogue costs no point.
`--only PART`."""

import os
import subprocess
import sys
import time

import harness

MIB = 1 << 20
BLOCK = 4096


def qemu_io(uri, *commands, read_only=False):
    words = ["qemu-io", "-f", "raw"] + ["-r"] * read_only
    for command in commands:
        words += ["-c", command]
    done = subprocess.run(words + [uri], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed("qemu-io: " + done.stdout + done.stderr)
    return done.stdout


class Writer:
    """Write k fills block k with k mod 251 + 1, then block 0 with the same: a prefix can be told from its blocks."""

    def __init__(self, pair):
        self.pair, self.written = pair, 0

    def write(self):
        self.written += 1
        value = self.written % 251 + 1
        qemu_io(self.pair.uri("data"), f"write -P {value} {self.written * BLOCK} {BLOCK}",
                f"write -P {value} 0 {BLOCK}")

    def prefix_of(self, content):
        """The number of writes that these bytes show, or why they show none."""
        shown = 0
        while content[(shown + 1) * BLOCK] == (shown + 1) % 251 + 1:
            shown += 1
        for k in range(1, 400):
            block = content[k * BLOCK:(k + 1) * BLOCK]
            wanted = k % 251 + 1 if k <= shown else 0
            if block != bytes([wanted]) * BLOCK:
                return f"block {k} of prefix {shown}"
        newest = content[0]
        ok = newest in ((shown % 251 + 1 if shown else 0), ((shown - 1) % 251 + 1 if shown > 1 else 0))
        return shown if ok else f"block 0 shows {newest} at prefix {shown}"


def started(context, **settings):
    pair = harness.Pair(context, {"data": "8MiB"}, **settings)
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    return pair


def points_of(pair, *words):
    return pair.receiver.cli("points", pair.group, *words)["points"]


def content_of(context, pair, point):
    target = context.path("point.raw")
    opened = pair.receiver.cli("open", pair.group, "--point", point, "--nbd", "unix:" + context.path("run", "p.sock"))
    subprocess.run(["nbdcopy", opened["uris"]["data"], target], check=True)
    pair.receiver.cli("close", opened["id"])
    with open(target, "rb") as file:
        return file.read()


def child_of(context):
    child = harness.Context(context.options)
    child.failures, child.logs = context.failures, context.logs
    context.on_exit(child.close)
    return child


def backlog(context):
    seconds = 20 if context.options.long else 8
    child = child_of(context)
    pair = started(child, line="relay", interval="1s")
    writer = Writer(pair)
    writer.write()
    pair.wait()
    before = {p["id"] for p in points_of(pair)}
    pair.relay.cut()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        writer.write()
        time.sleep(0.3)
    pair.relay.heal()
    pair.wait()
    fresh = [p for p in points_of(pair) if p["id"] not in before]
    context.check(seconds - 1 <= len(fresh) <= seconds + 6,
                  f"{len(fresh)} points from {seconds} s without a line (and the seconds of its return)")
    shown = []
    for p in fresh:
        shown.append(writer.prefix_of(content_of(child, pair, p["id"])))
    context.check(all(isinstance(k, int) for k in shown), f"each equals its prefix of the writes: {shown}")
    context.check(shown == sorted(shown) and shown[-1] == writer.written, "they go up to the last write")
    context.check(len(set(shown)) >= seconds - 2, f"{len(set(shown))} different moments")
    pair.sender.kill()
    pair.receiver.kill()


def by_hand(context):
    child = child_of(context)
    pair = started(child, receiver_group_lines="")
    writer = Writer(pair)
    for _ in range(12):
        writer.write()
        pair.wait()
    listed = points_of(pair)
    context.check(all(p["kept_by"][0] == "all 1h" and p["until"] for p in listed[:-1]),
                  f"what keeps a point, and until when: {listed[0]['kept_by']} {listed[0]['until']}")
    context.check("newest" in listed[-1]["kept_by"] and listed[-1]["until"] is None, "the newest stays anyway")
    kept, dropped, fresh = listed[2]["id"], listed[5]["id"], listed[-1]["id"]
    contents = content_of(child, pair, kept)
    pinned = pair.receiver.cli("pin", pair.group, "--point", kept)
    context.check(pinned["done"] == "pinned" and pinned["point"] == kept, f"pinned: {pinned}")
    newest = pair.receiver.cli("pin", pair.group, "--point", fresh)
    context.check(newest["done"] == "pinned", "a point that was not committed yet is pinned when it is")
    pair.receiver.cli("unpin", pair.group, "--point", fresh)
    refused = pair.receiver.cli("forget", pair.group, "--point", kept, code=13)
    context.check("unpin" in refused["error"]["message"], f"a pinned point is not forgotten: {refused['error']}")
    pair.receiver.cli("forget", pair.group, "--point", fresh, code=13)
    pair.receiver.cli("forget", pair.group, "--point", dropped)
    pair.receiver.cli("pin", pair.group, "--point", "99999999", code=10)
    plan = pair.receiver.cli("points", pair.group, "--plan", "--retain", "all 1s")
    time.sleep(1.1)
    plan = pair.receiver.cli("points", pair.group, "--plan", "--retain", "all 1s")
    context.check(plan["now"]["points"] == len(listed) - 1 and plan["then"]["points"] == 2,
                  f"a plan says what would go: {plan}")
    pair.receiver.cli("points", pair.group, "--plan", "--retain", "all", code=2)
    pair.receiver.cli("points", pair.group, "--plan", "--journal", "7", code=2)
    after = points_of(pair)
    context.check(len(after) == len(listed) - 1, "and drops nothing")
    pair.receiver.kill()
    with open(pair.receiver.config, encoding="utf-8") as file:
        text = file.read().replace('retain = ["all 1h"]', 'retain = ["all 1s"]')
    with open(pair.receiver.config, "w", encoding="utf-8") as file:
        file.write(text)
    pair.receiver.start()
    pair.wait_state("streaming")
    harness.retry(30, "retention by the new rules", lambda: len(points_of(pair)) == 2)
    after = points_of(pair)
    context.check(after[0]["id"] == kept and "pin" in after[0]["kept_by"],
                  "the pinned point outlives kill -9 and rules")
    context.check(content_of(child, pair, kept) == contents, "with the content that it had")
    time.sleep(6)  # a commit
    pair.receiver.kill()
    pair.receiver.start()
    context.check([p["id"] for p in points_of(pair)][0] == kept and len(points_of(pair)) <= 3,
                  "what rules let go does not come back with a restart")
    text = pair.receiver.cli_raw("points", pair.group)
    context.check(text.returncode == 0, "the list")
    pair.sender.kill()
    pair.receiver.kill()


def lost_catalogue(context):
    child = child_of(context)
    pair = started(child)
    writer = Writer(pair)
    for _ in range(5):
        writer.write()
        pair.wait()
    listed = [p["id"] for p in points_of(pair)]
    pair.receiver.cli("pin", pair.group, "--point", listed[1])
    pair.receiver.stop()
    with open(child.path("receiver-state", "groups", pair.group, "catalogue.db"), "r+b") as file:
        file.write(os.urandom(50))
    pair.receiver.start()
    words = pair.receiver.log_text()
    context.check("moved aside" in words and "pins, names and openings are not known" in words,
                  "a damaged catalogue is said, with what it costs")
    again = [p["id"] for p in points_of(pair)]
    context.check(again[:len(listed)] == listed, "and no point is gone")
    context.check(isinstance(writer.prefix_of(content_of(child, pair, listed[1])), int), "they open")
    pair.wait_state("streaming")
    writer.write()
    pair.wait()
    pair.compare("after it the replica equals the primary")
    pair.sender.kill()
    pair.receiver.kill()


def test(context):
    harness.run_parts(context, {"backlog": backlog, "by_hand": by_hand, "lost_catalogue": lost_catalogue})


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
