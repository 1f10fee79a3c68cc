#!/usr/bin/env python3
"""What the DR site says of its copy is what it has. With real daemons: state or images put back to an older moment, an
image deleted under the running receiver or written by hand while it was stopped, a file system of the images that is
full, `open latest` right after a restart, and a difference that verify finds. Each must be said at both ends, no wrong
point may be served, and the copy must come to equal the primary again. `--only PART`."""

import os
import re
import shutil
import subprocess
import sys
import time

import harness
import mounts

MIB = 1 << 20


class Site:
    """A pair of its own, in sync, and writes of one NBD request each."""

    def __init__(self, context, volumes, before_start=None, **settings):
        self.context = harness.Context(context.options)
        self.context.failures, self.context.logs = context.failures, context.logs
        context.on_exit(self.context.close)
        self.check = self.context.check
        if before_start:
            before_start(self.context)
        self.pair = harness.Pair(self.context, volumes, **settings)
        self.sender, self.receiver = self.pair.sender, self.pair.receiver
        for volume, size in volumes.items():
            harness.make_image(self.pair.primary(volume), harness.size_of(size), random_megabytes=4)
        self.pair.start()
        self.pair.wait_state("streaming")
        self.pair.wait()

    def write(self, offset, length, value, volume="data"):
        done = subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {value} {offset} {length}",
                               self.pair.uri(volume)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise harness.Failed("qemu-io: " + done.stdout + done.stderr)

    def replica_status(self):
        return self.pair.status(self.receiver)

    def points(self):
        return self.receiver.cli("points", self.pair.group)["points"]

    def says(self, daemon, pattern, seconds=20):
        """The error in the status of the daemon, once it matches."""
        seen = set()

        def said():
            error = self.pair.status(daemon)["error"] or ""
            seen.add(error)
            return re.search(pattern, error) and error
        try:
            return harness.retry(seconds, pattern, said)
        except harness.Failed:
            self.context.say(f"seen: {sorted(seen)}")
            return ""

    def healed(self, what):
        def fine():
            here, there = self.pair.status(), self.replica_status()
            return (here["state"] == "streaming" and not here["error"] and there["state"] == "following"
                    and not there["error"])
        try:
            harness.retry(60, what, fine)
        except harness.Failed as error:
            self.check(False, f"{error}: {self.pair.status()} {self.replica_status()}")
        self.pair.compare(what + ": the replica equals the primary")

    def open(self, *words, code=0):
        endpoint = "unix:" + self.context.path("run", "look.sock")
        return self.receiver.cli("open", self.pair.group, "--nbd", endpoint, *words, code=code)

    def suspect(self, old, what):
        """The points of before are listed, labelled, refused by name, and open for who insists; `latest` is good."""
        listed = {p["id"]: p for p in self.points()}
        self.check(listed.get(old, {}).get("suspect") is True, f"{what}: the points of before are labelled")
        refused = self.open("--point", old, code=13)
        self.check("suspect" in refused["error"]["message"], f"{what}: and refused: {refused['error']['message']}")
        opened = self.open("--point", old, "--suspect")
        self.receiver.cli("close", opened["id"])
        opened = self.open()
        self.check(listed[opened["point"]]["suspect"] is False, f"{what}: latest is a point of after")
        self.receiver.cli("close", opened["id"])

    def end(self):
        for daemon in (self.sender, self.receiver):
            daemon.kill()


def restarted(context):
    """`latest` is what a wait proved durable, however soon after a restart it is asked for."""
    site = Site(context, {"data": "96MiB"})
    for round_number in range(3):
        site.write(8 * MIB, 64 * MIB, 65 + round_number)
        site.write(round_number * 4096, 4096, 97 + round_number)
        proved = site.pair.wait(durable=True)
        site.receiver.kill()
        site.receiver.start()
        status = site.replica_status()
        opened = site.open()
        site.check(int(opened["point"]) >= int(proved["point"]),
                   f"killed after wait --durable of point {proved['point']}: latest is {opened['point']} "
                   f"(the state was {status['state']}, replay {status['replay']})")
        site.check(status["durable_barrier"]["time"] >= proved["time"][:19] and
                   status["durable_barrier"]["id"] >= proved["barrier"], "its time is the barrier's, not 1970")
        got = subprocess.run(["qemu-io", "-r", "-f", "raw",
                              "-c", f"read -P {97 + round_number} {round_number * 4096} 4096",
                              opened["uris"]["data"]], capture_output=True, text=True, check=False)
        site.check(got.returncode == 0 and "failed" not in got.stdout, "and it holds the last write")
        site.receiver.cli("close", opened["id"])
    site.pair.wait_state("streaming")
    site.write(8 * MIB, 64 * MIB, 90)
    site.check(site.sender.stop() == 0, "the sender stops in order")
    durable = site.replica_status()["durable_barrier"]["id"]
    opened = site.open()
    site.check(int(opened["point"]) >= durable, f"right after it latest is {opened['point']}, durable {durable}")
    site.end()


def deleted(context):
    site = Site(context, {"data": "16MiB", "wal": "8MiB"})
    image = site.pair.replica("wal")
    size = os.path.getsize(image)
    os.unlink(image)
    site.write(0, 4096, 66)
    for words in (["--durable"], []):
        refused = site.sender.cli("wait", site.pair.group, "--timeout", "4s", *words, code=15)
        site.check("error" in refused, f"an image deleted under the receiver: wait {' '.join(words)} does not succeed")
    site.check(site.says(site.sender, re.escape(image)), "the sender names it")
    site.check(site.replica_status()["state"] == "failed", "the receiver's state is failed")
    verdict = site.receiver.cli_raw("check", site.pair.group)
    site.check(verdict.returncode == 2 and image in verdict.stdout, f"check: {verdict.stdout.strip()}")
    with open(image, "wb") as file:
        file.truncate(size)
    site.healed("an empty image in its place")
    site.end()


def touched(context):
    site = Site(context, {"data": "16MiB"})
    old = site.points()[-1]["id"]
    site.receiver.stop()
    with open(site.pair.replica("data"), "r+b") as file:
        file.seek(5 * MIB)
        file.write(b"by hand")
    site.receiver.start()
    words = site.receiver.log_text()
    site.check(site.pair.replica("data") in words and "not as it was left" in words,
               "an image written by hand while the receiver was stopped: the log names it")
    site.healed("written by hand")
    site.suspect(old, "written by hand")
    site.receiver.stop()
    site.receiver.start()
    site.pair.wait_state("following", daemon=site.receiver)
    site.check(site.replica_status()["error"] is None, "a stop in order and a start: nothing to say")
    site.end()


def copy_tree(source, target):
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


def put_back(context):
    for what in ("receiver-state", "replica"):
        site = Site(context, {"data": "16MiB"})
        directory = site.context.path(what)
        site.receiver.stop()
        copy_tree(directory, directory + ".before")
        site.receiver.start()
        site.write(MIB, 2 * MIB, 67)
        site.write(9 * MIB, 4096, 68)
        site.pair.wait()
        old = site.points()[0]["id"]
        site.receiver.stop()
        copy_tree(directory + ".before", directory)
        site.receiver.start()
        site.check("not as it was left" in site.receiver.log_text(), f"{what} put back: the log says so")
        site.healed(what + " put back")
        site.suspect(old, what + " put back")
        site.end()


def differs(context):
    """Bits that rotted: no time tells of it, verify does."""
    site = Site(context, {"data": "16MiB"})
    time.sleep(6)  # a commit
    image = site.pair.replica("data")
    times = os.stat(image)
    with open(image, "r+b") as file:
        file.seek(5 * MIB + 100)
        file.write(b"rot")
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = site.sender.cli("verify", site.pair.group, code=14)
    site.check(found["differences"] == [{"volume": "data", "offset": 5 * MIB, "length": 4096}],
               f"verify finds what differs: {found['differences']}")
    site.healed("healed by itself")
    site.check("verify found" in site.receiver.log_text() and "verify found" in site.sender.log_text(),
               "both sites say what verify found")
    site.check(site.sender.cli("verify", site.pair.group)["equal"] is True, "verify is clean")
    site.end()


def full(context):
    if os.geteuid() != 0:
        context.say("SKIPPED: a full file system under the images (a small tmpfs) needs root")
        return

    def mount(child):
        replica = child.path("replica")
        os.makedirs(replica, exist_ok=True)
        mounts.run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", replica)
        child.on_exit(lambda: subprocess.run(["umount", "-l", replica], check=False))
    site = Site(context, {"data": "64MiB"}, before_start=mount)
    ballast = site.context.path("replica", "ballast")
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    site.write(32 * MIB, 4 * MIB, 70)
    site.check(site.says(site.sender, "can't write its copy.*No space left"),
               "images on a full disk: the sender says so")
    refused = site.sender.cli("wait", site.pair.group, "--timeout", "6s", code=15)
    site.check("No space left" in refused["error"]["message"], f"wait names the cause: {refused['error']['message']}")
    errors = set()
    for _ in range(20):
        errors.add(site.pair.status()["error"] is None)
        time.sleep(0.2)
    site.check(errors == {False}, "the sender goes on saying it")
    verdict = site.sender.cli_raw("check", site.pair.group)
    site.check(verdict.returncode == 1 and "No space left" in verdict.stdout, f"check: {verdict.stdout.strip()}")
    refused = site.open(code=14)
    site.check("No space left" in refused["error"]["message"], f"open latest: {refused['error']['message']}")
    opened = site.open("--applied")
    site.check("uris" in opened, "open --applied takes what the images show")
    site.receiver.cli("close", opened["id"])
    os.unlink(ballast)
    site.healed("space is back")
    site.end()


def test(context):
    harness.need("qemu-io", "cp")
    parts = {"restarted": restarted, "deleted": deleted, "touched": touched, "put-back": put_back, "differs": differs,
             "full": full}
    for name, part in parts.items():
        if context.options.only in ("", name):
            print(f"---- {name}", flush=True)
            try:
                part(context)
            except harness.Failed as error:  # the other parts are worth knowing too
                context.check(False, f"{name}: {error}")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
