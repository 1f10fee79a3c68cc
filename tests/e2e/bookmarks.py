#!/usr/bin/env python3
"""Bookmarks with real daemons. A name that is good wherever a point is; applications (scripts) that are still around
the barrier; what is said of hooks that fail, hang or lie; names, retention, restarts; a line that is cut; and a sender
that is killed in the middle of a freeze, after which nobody stays frozen. `--only PART`."""

import os
import signal
import subprocess
import threading
import time

import harness

MIB = 1 << 20
BLOCK = 4096

# Writes down what it does; TROUBLE says what it does wrong. `release` as last argument: by force.
APPLICATION = """#!/bin/sh
[ "$1" = release ] && { rm -f "$DIR/$NAME.frozen"; exit 0; }
log() { echo "$1 $(date +%s%N)" >> "$DIR/$NAME.log"; }
case "$TROUBLE" in
refuses) echo "the database is down" >&2; exit 7 ;;
hangs) exec sleep 600 ;;
esac
log freeze
: > "$DIR/$NAME.frozen"
echo "fact position 0/16B3748"
echo frozen
read -r word
[ "$TROUBLE" = lies ] || rm -f "$DIR/$NAME.frozen"
log release
[ "$TROUBLE" = lies ] && exit 9
echo released
"""


def script(context, name, trouble=""):
    path = context.path(f"hook-{name}.sh")
    text = APPLICATION.replace("$NAME", name).replace("$TROUBLE", trouble).replace("$DIR", context.path("run"))
    harness.write_text(path, text)
    os.chmod(path, 0o755)
    return path


def hook_lines(context, hooks, timeout="5s"):
    """`hooks`: (name, trouble) each."""
    return "".join(f'[[group.hook]]\nname = "{name}"\ntype = "script"\n'
                   f'run = ["{script(context, name, trouble)}"]\ntimeout = "{timeout}"\n' for name, trouble in hooks)


def started(context, hooks=(), timeout="5s", **settings):
    pair = harness.Pair(context, {"data": "16MiB", "wal": "8MiB"}, **settings)
    if hooks:
        with open(pair.sender.config, "a", encoding="utf-8") as file:
            file.write(hook_lines(context, hooks, timeout))
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    return pair


def write(pair, volume, offset, value):
    done = subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {value} {offset} {BLOCK}", pair.uri(volume)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed("qemu-io: " + done.stdout + done.stderr)


def bookmark(pair, name, *words, code=0, timeout=90):
    return pair.sender.cli("bookmark", pair.group, name, *words, code=code, timeout=timeout)


def points(pair):
    return pair.receiver.cli("points", pair.group)["points"]


def point_named(pair, name):
    found = [p for p in points(pair) if p["name"] == name]
    return found[0] if len(found) == 1 else None


def block_at(context, pair, point, volume, offset):
    socket = context.path("run", "p.sock")
    opened = pair.receiver.cli("open", pair.group, "--point", point, "--nbd", "unix:" + socket)
    target = context.path("point.raw")
    subprocess.run(["nbdcopy", opened["uris"][volume], target], check=True)
    pair.receiver.cli("close", opened["id"])
    with open(target, "rb") as file:
        file.seek(offset)
        return file.read(BLOCK)


def names(context):
    """A name, a note and a kind at the DR site; --keep; the name as P; over restarts of both sides."""
    pair = started(context)
    write(pair, "data", 0, 1)
    made = bookmark(pair, "before-upgrade", "--note", "ticket 4711", "--keep", "2h")
    context.check(made["name"] == "before-upgrade" and made["kind"] == "crash" and made["applied"] is True
                  and made["hooks"] == [], f"the answer: {made}")
    write(pair, "data", 0, 2)
    pair.wait()
    there = point_named(pair, "before-upgrade")
    context.check(there and there["id"] == made["point"] and there["note"] == "ticket 4711"
                  and there["kind"] == "crash" and "bookmark" in there["kept_by"], f"the DR site has it: {there}")
    context.check(block_at(context, pair, "before-upgrade", "data", 0) == b"\x01" * BLOCK, "its name opens it")
    refused = bookmark(pair, "before-upgrade", code=11)
    context.check("exists" in refused["error"]["message"], f"given once: {refused['error']['message']}")
    for bad in ("4711", "latest", "a/b", "-5m x"):
        bookmark(pair, bad, code=2)
    none = pair.receiver.cli("open", pair.group, "--point", "no-such", "--nbd", "unix:" + context.path("x"), code=10)
    context.check("no-such" in none["error"]["message"], f"a name that is not there: {none['error']['message']}")
    table = pair.receiver.cli_raw("points", pair.group).stdout
    context.check("before-upgrade" in table and "ticket 4711" in table, "points shows it")
    pair.receiver.kill()
    pair.receiver.start()
    pair.sender.stop()
    pair.sender.start()
    pair.wait_state("streaming")
    there = point_named(pair, "before-upgrade")
    context.check(there and there["note"] == "ticket 4711" and there["kept_by"], "after a kill and a restart")
    bookmark(pair, "before-upgrade", code=11)
    timed = bookmark(pair, "nightly-{time}")
    context.check(timed["name"].startswith("nightly-2") and timed["name"].endswith("Z"), f"{{time}}: {timed['name']}")
    text = pair.sender.cli_raw("bookmark", pair.group, "words").stderr
    context.check("kind crash" in text and "the DR site shows it" in text, f"in words: {text.strip()}")


def applications(context):
    """Hooks freeze in order, are released in reverse, and what was written before is in the point."""
    pair = started(context, [("db", ""), ("mail", "")])
    write(pair, "data", 0, 7)
    write(pair, "wal", BLOCK, 8)
    made = bookmark(pair, "app-1", "--app")
    context.check(made["kind"] == "app" and [h["name"] for h in made["hooks"]] == ["db", "mail"]
                  and all(h["ok"] for h in made["hooks"]), f"app: {made}")
    stamps = {}
    for name in ("db", "mail"):
        with open(context.path("run", name + ".log"), encoding="utf-8") as file:
            stamps[name] = {line.split()[0]: int(line.split()[1]) for line in file}
    context.check(stamps["db"]["freeze"] < stamps["mail"]["freeze"] < stamps["mail"]["release"]
                  < stamps["db"]["release"], "in order, and in reverse")
    there = point_named(pair, "app-1")
    context.check(there["kind"] == "app" and there["hooks"][0]["facts"].get("position") == "0/16B3748",
                  f"facts travel: {there['hooks']}")
    context.check(block_at(context, pair, "app-1", "data", 0) == b"\x07" * BLOCK
                  and block_at(context, pair, "app-1", "wal", BLOCK) == b"\x08" * BLOCK, "both volumes, at once")


def troubles(context):
    """A hook that refuses, hangs or lies: crash, exit 3, why; nobody stays frozen."""
    for trouble, words in (("refuses", "the database is down"), ("hangs", "time"), ("lies", "")):
        child = harness.Context(context.options)
        try:
            pair = started(child, [("db", ""), ("mail", trouble)], timeout="2s")
            began = time.monotonic()
            made = bookmark(pair, "app-1", "--app", code=3)
            took = time.monotonic() - began
            context.check(made["kind"] == "crash" and made["hooks"][0]["name"] == "db"
                          and made["hooks"][1]["ok"] is False, f"{trouble}: crash: {made['hooks']}")
            context.check(words in made["why_not_app"] and "mail" in made["why_not_app"],
                          f"{trouble}: it says why: {made['why_not_app']}")
            context.check(took < 12, f"{trouble}: it took {took:.1f} s")
            context.check(point_named(pair, "app-1")["kind"] == "crash", f"{trouble}: the label says no more")
            context.check(not os.path.exists(child.path("run", "db.frozen")), f"{trouble}: the other one goes on")
        finally:
            context.failures += child.failures
            child.close()


def no_line(context):
    """The line is cut: it waits in the spool, exit 3, and comes with its label."""
    pair = started(context, [("db", "")], line="relay")
    pair.relay.cut()
    harness.retry(30, "the sender to notice", lambda: not pair.status()["connected"])
    write(pair, "data", 0, 5)
    made = bookmark(pair, "cut-off", "--app", code=3)
    context.check(made["durable"] is False and made["kind"] == "app", f"held here: {made}")
    write(pair, "data", 0, 6)
    pair.relay.heal()
    pair.wait_state("streaming")
    pair.wait()
    there = point_named(pair, "cut-off")
    context.check(there and there["kind"] == "app", f"it came with its label: {there}")
    context.check(block_at(context, pair, "cut-off", "data", 0) == b"\x05" * BLOCK, "and with its content")


def killed(context):
    """SIGKILL of the sender in the middle of a freeze: released within a second, and no bookmark was made."""
    pair = started(context, [("db", ""), ("slow", "hangs")], timeout="20s")
    rounds = 10 if context.options.long else 3
    for n in range(rounds):
        frozen = context.path("run", "db.frozen")
        client = threading.Thread(target=pair.sender.cli_raw, args=("bookmark", pair.group, f"k-{n}", "--app"))
        client.start()
        harness.retry(10, "the first hook to be frozen", lambda: os.path.exists(frozen), pause=0.02)
        pair.sender.kill()
        died = time.monotonic()
        harness.retry(5, "the release", lambda: not os.path.exists(frozen), pause=0.01)
        context.check(time.monotonic() - died < 1, f"released after {time.monotonic() - died:.2f} s")
        client.join()
        pair.sender.start()
        pair.wait_state("streaming")
    harness.retry(10, "no process of a hook to be left", lambda: subprocess.run(
        ["pgrep", "-f", context.path("hook-")], capture_output=True, check=False).returncode == 1)
    context.check(not any(p["name"] for p in points(pair)), "no bookmark came of it")
    pair.wait()


def test(context):
    harness.run_parts(context, {"names": names, "applications": applications, "troubles": troubles,
                                "no_line": no_line, "killed": killed})


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    raise SystemExit(harness.main(test, __doc__))
