#!/usr/bin/env python3
"""Failover with real daemons. The primary is killed or cut off, the DR site is promoted and serves its volumes to
clients, is killed and started again, is taken back or made final; the old primary comes back and takes no write any
more. Nothing that `wait` acknowledged may be lost, every point of before stays what it was, and a promotion that is
taken back leaves both sites equal with only the differences on the line. `--only PART`.

    tests/e2e/failover.py [--long] [--only dead_primary|mistake|fenced|refusals|older_point|room|start|back|planned|
                            after_contact]

--long: the dead primary has volumes of 4 GiB and 256 MiB.
"""

import os
import re
import subprocess
import time

import harness
from harness import wide

MIB = 1 << 20
VOLUMES = {"data": "64MiB", "wal": "16MiB"}
PROMOTE_SECONDS_MAX = 5
SWITCHOVER_SECONDS_MAX = 10


class Sites:
    """A pair whose DR site may serve."""

    def __init__(self, context, volumes=None, fill=8, **settings):
        self.context = context
        self.check = context.check
        self.place = context.path("run", "dr-{volume}.sock")
        lines = f'serve = "unix:{self.place}"\n' + settings.pop("receiver_group_lines", "")
        self.pair = harness.Pair(context, volumes or dict(VOLUMES), receiver_group_lines=lines, **settings)
        self.sender, self.receiver, self.group = self.pair.sender, self.pair.receiver, self.pair.group
        for volume, size in self.pair.volumes.items():
            harness.make_image(self.pair.primary(volume), harness.size_of(size), random_megabytes=fill)
        self.pair.start()
        self.pair.wait_state("streaming")
        self.pair.wait()

    def uri(self, volume):
        return f"nbd+unix:///{volume}?socket={self.place.format(volume=volume)}"

    def promote(self, *words, code=0):
        return self.receiver.cli("promote", self.group, "--confirm", self.group, *words, code=code)

    def discard(self, code=0):
        return self.receiver.cli("demote", self.group, "--discard", "--confirm", self.group, code=code)

    def there(self):
        return self.pair.status(self.receiver)

    def points(self):
        return self.receiver.cli("points", self.group)["points"]

    def fetch(self, uri, name):
        """What a client reads there, as a file."""
        path = self.context.path(name)
        subprocess.run(["nbdcopy", uri, path], check=True, capture_output=True)
        return path

    def exported(self, point, volume, name):
        path = self.context.path(name)
        self.receiver.cli("export", self.group, volume, "--point", point, "--to", path, "--format", "raw")
        return path

    def io(self, uri, *commands, code=0):
        words = ["qemu-io", "-f", "raw"]
        for command in commands:
            words += ["-c", command]
        done = subprocess.run(words + [uri], capture_output=True, text=True, check=False)
        failed = done.returncode != 0 or "failed" in done.stdout + done.stderr
        if failed != (code != 0):
            raise harness.Failed(f"qemu-io {commands}: {done.stdout}{done.stderr}")

    def served(self):
        return harness.retry(20, "the volumes are served",
                             lambda: (s := self.there()["serving"]) and s["volumes"] and not s["error"] and s)


def dead_primary(context):
    """killed under load: promoted in seconds, nothing acknowledged is lost, kill -9 of the DR site costs nothing"""
    volumes = {"data": "4GiB", "wal": "256MiB"} if context.options.long else dict(VOLUMES)
    sites = Sites(context, volumes, fill=0)
    load = harness.Load(sites.pair)
    load.start(seconds=60, retry_seconds=1)
    time.sleep(3)
    floor = load.snapshot()
    sites.pair.wait()
    sites.sender.kill()
    load.kill()
    newest = sites.points()
    start = time.monotonic()
    done = sites.promote()
    took = time.monotonic() - start
    context.check(took < PROMOTE_SECONDS_MAX, f"promoted in {took:.2f} s")
    context.check(re.fullmatch("[0-9a-f]{16}", done["generation"]) and done["lost_after"].endswith("Z"),
                  f"{done['generation']}, lost after {done['lost_after']}")
    status = sites.there()
    context.check(status["state"] == "promoted" and status["serving"]["point"] == done["point"],
                  "the status says so")
    context.check({v["volume"] for v in status["serving"]["volumes"]} == set(VOLUMES), "both volumes are served")
    generation = status["generation"]
    context.check(status["serves"] and generation["id"] == done["generation"] and generation["parent"] and
                  generation["since_barrier"] == int(done["point"]), f"and of which generation: {generation}")
    images = [sites.fetch(sites.uri(v), "after-" + v) for v in volumes]
    load.check(images, "the served volumes are a prefix of the writes, all that `wait` told included", floor=floor)

    oldest = newest[0]["id"]
    old = {v: sites.exported(oldest, v, "old-" + v) for v in VOLUMES}
    sites.io(sites.uri("data"), "write -P 7 1M 3M", "write -P 8 60M 64k", "write -z 20M 1M", "flush")
    context.check(sites.there()["serving"]["volumes"][0]["dirty_bytes"] >= 4 * MIB, "what clients write is counted")
    same = all(harness.same_content(old[v], sites.exported(oldest, v, "again-" + v)) is None for v in VOLUMES)
    context.check(same, "a point of before is as it was")
    written = sites.fetch(sites.uri("data"), "written")
    sites.receiver.kill()
    sites.receiver.start()
    sites.served()
    context.check(harness.same_content(written, sites.fetch(sites.uri("data"), "restarted")) is None,
                  "after kill -9 it serves what was flushed")
    context.check(sites.there()["serving"]["volumes"][0]["dirty_bytes"] >= 4 * MIB, "and still knows what changed")
    same = all(harness.same_content(old[v], sites.exported(oldest, v, "third-" + v)) is None for v in VOLUMES)
    context.check(same, "the point of before is still as it was")
    sites.receiver.cli("commit", sites.group)
    context.check(sites.there()["serving"]["committed"], "committed")
    sites.discard(code=13)
    sites.receiver.stop()
    sites.receiver.start()
    sites.served()
    context.check(harness.same_content(written, sites.fetch(sites.uri("data"), "stopped")) is None,
                  "after a stop in order, too")


def mistake(context):
    """promoted while the line was down, and taken back: only differences are shipped"""
    sites = Sites(context, line="relay")
    sites.pair.relay.cut()
    harness.retry(30, "the line is down", lambda: not sites.there()["connected"])
    done = sites.promote()
    sites.io(sites.uri("data"), "write -P 3 5M 1M", "write -P 4 30M 128k", "flush")
    sites.io(sites.pair.uri("data"), "write -P 5 40M 256k", "flush")
    wrong = sites.fetch(sites.uri("data"), "wrong")
    out = sites.discard()
    context.check(out["done"] == "discarded", "taken back")
    before = sites.there()
    context.check(before["state"] == "following" and before["serving"] is None, "it follows again")
    kept = "discarded-" + done["generation"]
    names = [p["name"] for p in sites.points()]
    context.check(kept in names and next(p for p in sites.points() if p["name"] == kept)["pinned"],
                  "what clients wrote is a pinned point")
    wire = sites.pair.status()["bytes"]["wire"]
    sites.pair.relay.heal()
    sites.pair.wait_state("streaming")
    sites.pair.compare("both sites are equal")
    shipped = sites.pair.status()["bytes"]["wire"] - wire
    context.check(shipped < 3 * MIB, f"{shipped} bytes on the line for 1.4 MiB that differed, of 80 MiB")
    context.check(harness.same_content(wrong, sites.exported(kept, "data", "kept")) is None,
                  "the point has what clients had there")
    sites.io(sites.pair.uri("data"), "write -P 9 1M 64k", "flush")
    sites.pair.compare("and goes on")
    again = sites.promote("--force")
    context.check(again["generation"] != done["generation"], "promoted anew: another generation")


def fenced(context):
    """the old primary comes back: its clients get errors at once and not one more write is taken"""
    sites = Sites(context, line="relay")
    sites.pair.relay.cut()
    harness.retry(30, "the line is down", lambda: not sites.there()["connected"])
    sites.promote()
    sites.io(sites.pair.uri("data"), "write -P 6 2M 64k", "flush")  # alive, and cut off
    sites.io(sites.uri("data"), "write -P 7 3M 64k", "flush")
    sites.pair.relay.heal()
    sites.pair.wait_state("fenced")
    before = harness.sha256_of(sites.pair.primary("data"))
    sites.io(sites.pair.uri("data"), "write -P 8 4M 64k", code=1)
    sites.io(sites.pair.uri("data"), "read 0 64k", code=1)
    context.check(harness.sha256_of(sites.pair.primary("data")) == before, "no write is taken")
    status = sites.pair.status()
    context.check("farshore reverse" in (status["error"] or ""), f"it says what to do: {status['error']}")
    context.check(any(v["dirty_bytes"] for v in status["volumes"]), "what it alone wrote is counted")
    check = sites.sender.cli_raw("check", sites.group)
    context.check(check.returncode == 2, "`check` is critical there")
    context.check(sites.there()["serving"]["heard_of"], "the DR site knows that it was heard of")
    sites.sender.stop()
    sites.sender.start()
    context.check(sites.pair.status()["state"] == "fenced", "after a restart, too")
    sites.io(sites.pair.uri("data"), "read 0 64k", code=1)
    sites.discard(code=13)  # the primary serves no more: nobody would
    sites.io(sites.uri("data"), "read -P 7 3M 64k")


def refusals(context):
    """what is not to be done is refused, with what to do instead, and changes nothing"""
    sites = Sites(context)
    raw = sites.receiver.cli_raw
    said = raw("promote", sites.group)
    context.check(said.returncode == 2 and "--confirm" in said.stderr, "without --confirm")
    said = raw("promote", sites.group, "--confirm", "other")
    context.check(said.returncode == 2 and "said twice" in said.stdout + said.stderr, "with another name")
    said = raw("promote", sites.group, "--confirm", sites.group)
    context.check(said.returncode == 13 and "--force" in said.stdout + said.stderr,
                  f"while the primary lives: {said.returncode}")
    context.check(sites.pair.status()["state"] == "streaming", "which goes on")
    there = sites.sender.cli_raw("promote", sites.group, "--confirm", sites.group)
    context.check(there.returncode == 13 and "at its receiver" in there.stderr, f"at the sender: {there.stderr}")
    there = sites.sender.cli_raw("reverse", sites.group, "--confirm", sites.group)
    context.check(there.returncode == 13, f"a primary that serves does not follow: {there.stderr}")
    sites.sender.kill()
    sites.promote("--point", "no-such", code=10)
    context.check(sites.there()["state"] == "following", "an unknown point")
    sites.discard(code=13)
    sites.receiver.cli("commit", sites.group, code=13)
    sites.receiver.cli("promote", "none", "--confirm", "none", code=10)
    sites.promote()
    sites.promote(code=13)
    context.check(sites.there()["state"] == "promoted", "a second promotion changes nothing")
    restored = sites.receiver.cli_raw("scrub", sites.group, "--wait")
    context.check(restored.returncode in (3, 14), f"a scrub compares with nobody: {restored.returncode}")


def older_point(context):
    """promoted at an older point: its content is served, and the newer points stay"""
    sites = Sites(context)
    sites.io(sites.pair.uri("data"), "write -P 1 0 8M", "flush")
    at = sites.pair.wait()["point"]
    sites.io(sites.pair.uri("data"), "write -P 2 2M 3M", "write -z 6M 1M", "flush")
    newest = sites.pair.wait()["point"]
    want = {v: sites.exported(at, v, "want-" + v) for v in VOLUMES}
    newer = {v: sites.exported(newest, v, "newer-" + v) for v in VOLUMES}
    sites.sender.kill()
    done = sites.promote("--point", at)
    context.check(done["point"] == at, "from that point on")
    for volume in VOLUMES:
        context.check(harness.same_content(want[volume], sites.fetch(sites.uri(volume), "got-" + volume)) is None,
                      f"{volume}: as of the point")
        context.check(harness.same_content(newer[volume], sites.exported(newest, volume, "still-" + volume)) is None,
                      f"{volume}: the newest point is still there")
    dirty = {v["volume"]: v["dirty_bytes"] for v in sites.there()["serving"]["volumes"]}
    context.check(4 * MIB <= dirty["data"] <= 8 * MIB, f"what went back may differ from the primary: {dirty}")


def room(context):
    """a full journal: the time of before is kept until it is let go, and then clients go first"""
    sites = Sites(context, {"data": "64MiB"}, fill=64, journal="24MiB")
    sites.sender.kill()
    sites.promote()
    code = 0
    for at in range(0, 64, 4):
        words = ["qemu-io", "-f", "raw", "-c", f"write -P 9 {at}M 4M", "-c", "flush", sites.uri("data")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        code = done.returncode or int("failed" in done.stdout + done.stderr)
        if code:
            break
    context.check(code != 0, "without room for what was there before, a write is refused")
    context.check(sites.points() and not any(p["suspect"] for p in sites.points()), "and the points stay")
    sites.receiver.cli("commit", sites.group)
    sites.io(sites.uri("data"), *[f"write -P 10 {at}M 4M" for at in range(0, 64, 4)], "flush")
    image = sites.fetch(sites.uri("data"), "full")
    with open(image, "rb") as file:
        context.check(set(file.read()) == {10}, "once it is committed, clients' writes go on")


def start(context):
    """the group's start steps are run on the served volumes and stay; one that fails is named, and ends them"""
    here = context.path("start")
    os.makedirs(here, exist_ok=True)

    def script(name, text):
        path = os.path.join(here, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path
    first = script("first", f'env | grep ^FARSHORE_ > {here}/env; echo $$ > {here}/pid; exec sleep 100\n')
    probe = script("probe", f'test -s {here}/pid\n')
    second = script("second", f'touch {here}/second.done\n')
    third = script("third", "echo no; exit 7\n")
    fourth = script("fourth", f'touch {here}/fourth.done\n')
    lines = "".join(f'[[group.start]]\nname = "{n}"\nrun = ["{r}"]\n{p}' for n, r, p in (
        ("server", first, f'probe = ["{probe}"]\n'), ("second", second, ""), ("third", third, ""),
        ("fourth", fourth, "")))
    sites = Sites(context, receiver_group_lines=lines)
    sites.sender.kill()
    done = sites.promote(code=3)
    with open(os.path.join(here, "pid"), encoding="utf-8") as file:
        pid = int(file.read())
    context.on_exit(lambda: subprocess.run(["kill", str(pid)], check=False))
    context.check(done["started"] == ["server", "second"], f"steps in order: {done['started']}")
    context.check(done["start_failed"]["name"] == "third" and "7" in done["start_failed"]["message"],
                  f"the one that failed is named: {done['start_failed']}")
    context.check(not os.path.exists(os.path.join(here, "fourth.done")), "nothing behind it is started")
    context.check(os.path.exists(f"/proc/{pid}"), "what is up stays")
    with open(os.path.join(here, "env"), encoding="utf-8") as file:
        told = file.read()
    context.check(f"FARSHORE_URI_DATA={sites.uri('data')}" in told and "FARSHORE_VOLUMES=data wal" in told,
                  "they are told where the volumes are")
    sites.io(sites.uri("data"), "write 0 64k", "flush")


def back(context):
    """failover, the old primary follows with only what differs, and takes its role again; kill -9 in between"""
    sites = Sites(context, {"data": "256MiB", "wal": "16MiB"}, line="relay", fill=16)
    sites.pair.relay.cut()
    harness.retry(30, "the line is down", lambda: not sites.there()["connected"])
    first = sites.promote()
    sites.io(sites.pair.uri("data"), "write -P 5 40M 256k", "flush")  # alive, and cut off
    diverged = harness.sha256_of(sites.pair.primary("data"))
    sites.io(sites.uri("data"), "write -P 3 5M 2M", "write -P 4 60M 128k", "flush")
    sites.pair.relay.heal()
    sites.pair.wait_state("fenced")
    wire = sites.there()["bytes"]["wire"]
    out = sites.sender.cli("reverse", sites.group, "--confirm", sites.group)
    context.check(out["done"] == "follows", "the old primary follows")
    harness.retry(60, "in sync", lambda: sites.there()["serving"]["stream"] == "streaming")
    sites.receiver.cli("wait", sites.group, "--timeout", "60s")
    same = [harness.same_content(sites.pair.primary(v), sites.pair.replica(v)) for v in sites.pair.volumes]
    context.check(same == [None, None], f"both sites are equal: {same}")
    status = sites.pair.status()
    context.check(status["state"] == "following" and status["connected"], f"and it says so: {status['state']}")
    check = sites.receiver.cli_raw("check", sites.group)
    context.check(check.returncode == 0, f"`check` is OK at the DR site: {check.stdout.strip()}")
    shipped = status["bytes"]["wire"]
    context.check(shipped < 4 * MIB, f"{shipped} bytes for 2.4 MiB that differed, of 272 MiB ({wire} before)")
    points = sites.sender.cli("points", sites.group)["points"]
    kept = [p for p in points if p["name"].startswith("diverged-")]
    context.check(len(kept) == 1 and kept[0]["pinned"], "what it alone had is a pinned point")
    path = context.path("diverged")
    sites.sender.cli("export", sites.group, "data", "--point", kept[0]["name"], "--to", path, "--format", "raw")
    context.check(harness.sha256_of(path) == diverged, "which has every byte of it")

    sites.sender.kill()
    sites.io(sites.uri("data"), "write -P 6 80M 1M", "flush")
    sites.sender.start()
    harness.retry(60, "in sync", lambda: sites.there()["serving"]["stream"] == "streaming")
    sites.receiver.kill()
    sites.receiver.start()
    sites.served()
    harness.retry(60, "in sync", lambda: sites.there()["serving"]["stream"] == "streaming")
    sites.io(sites.uri("data"), "write -P 7 90M 1M", "flush")
    sites.receiver.cli("wait", sites.group, "--timeout", "60s")
    same = [harness.same_content(sites.pair.primary(v), sites.pair.replica(v)) for v in sites.pair.volumes]
    context.check(same == [None, None], f"after kill -9 of both, too: {same}")

    done = sites.sender.cli("promote", sites.group, "--confirm", sites.group, "--force")
    context.check(done["generation"] != first["generation"], "the first site serves again")
    harness.retry(20, "the DR site is fenced", lambda: sites.there()["serving"]["fenced"])
    sites.io(sites.uri("data"), "read 0 64k", code=1)
    sites.receiver.cli("reverse", sites.group, "--confirm", sites.group)
    sites.pair.wait_state("streaming")
    sites.io(sites.pair.uri("data"), "read -P 7 90M 1M", "write -P 8 100M 1M", "flush")
    sites.pair.compare("and the DR site follows it")
    context.check(sites.there()["state"] == "following", "as before")
    sites.sender.stop()
    sites.receiver.stop()
    sites.receiver.start()
    sites.sender.start()
    sites.pair.wait_state("streaming")
    sites.io(sites.pair.uri("data"), "write -P 9 110M 64k", "flush")
    sites.pair.compare("after a restart in order, too")
    sites.sender.kill()
    sites.promote()
    sites.io(sites.uri("data"), "read -P 9 110M 64k")


def planned(context):
    """a switchover at 80 ms under load, and back: no answered write is lost, no client gets an error before it"""
    volumes = {"data": "256MiB", "wal": "16MiB"}
    reason = wide.why_not()
    if reason:
        print(f"        without a delay: {reason}")
        planned_over(context, Sites(context, volumes, fill=0))
        return
    line = wide.Wan(delay=40, rate=100, seed=context.options.seed)
    line.__enter__()
    context.on_exit(line.close)
    planned_over(context, Sites(context, volumes, line=line, fill=0))


def planned_over(context, sites):
    pair, group = sites.pair, sites.group
    load = harness.Load(pair)
    load.start(seconds=120, retry_seconds=1, rate=200)
    time.sleep(3)
    begun = time.monotonic()
    done = sites.sender.cli("switchover", group, "--confirm", group)["switched_over"][0]
    took = time.monotonic() - begun
    context.check(took < SWITCHOVER_SECONDS_MAX and done["held_ms"] < 1000 * SWITCHOVER_SECONDS_MAX,
                  f"switched over in {took:.2f} s; clients waited {done['held_ms']} ms")
    sites.served()
    load.kill()
    last = load.snapshot("last")
    status = sites.there()
    context.check(status["serving"]["generation"] == done["generation"] and status["serving"]["point"] == done["point"],
                  "the DR site serves from that point on")
    images = [sites.fetch(sites.uri(v), "over-" + v) for v in pair.volumes]
    load.check(images, "every write that was answered is there", floor=last)
    pair.wait_state("following")
    here, there = pair.status(), sites.there()
    context.check(there["serves"] and not here["serves"] and here["generation"] == there["generation"],
                  f"one site serves, and both say which generation: {here['generation']}")
    sites.io(pair.uri("data"), "read 0 64k", code=1)
    sites.io(sites.uri("data"), "write -P 3 80M 1M", "flush")
    sites.receiver.cli("wait", group, "--timeout", "60s")
    same = [harness.same_content(pair.primary(v), pair.replica(v)) for v in pair.volumes]
    context.check(same == [None, None], f"the old primary follows: {same}")
    shipped = pair.status()["bytes"]["wire"]
    context.check(shipped < 4 * MIB, f"{shipped} bytes for it: digests, and what is new")
    sites.sender.kill()
    refused = sites.receiver.cli("switchover", group, "--confirm", group, "--timeout", "3s", code=None)
    context.check(refused["error"]["code"] in ("not_in_sync", "timed_out"),
                  f"the other site is gone: {refused['error']['message']}")
    sites.io(sites.uri("data"), "write -P 4 90M 1M", "flush")
    sites.sender.start()
    harness.retry(60, "in sync", lambda: sites.there()["serving"]["stream"] == "streaming")
    back = sites.receiver.cli("switchover", group, "--confirm", group)["switched_over"][0]
    context.check(back["generation"] != done["generation"], f"and back; clients waited {back['held_ms']} ms")
    pair.wait_state("streaming")
    sites.io(pair.uri("data"), "read -P 4 90M 1M", "write -P 5 100M 1M", "flush")
    pair.compare("both sites are equal")
    context.check(sites.there()["state"] == "following", "the DR site follows as before")


def after_contact(context):
    """a primary that was cut off and comes back alone: its clients wait until the DR site was heard, or by force"""
    sites = Sites(context, line="relay", group_lines='start = "after-contact"')
    uri, pair = sites.pair.uri("data"), sites.pair
    sites.sender.stop()
    sites.sender.start()
    sites.io(uri, "write -P 2 1M 64k", "flush")  # after a stop in order nobody waits
    pair.wait_state("streaming")
    pair.wait()

    def comes_back_alone():
        sites.sender.kill()
        pair.relay.cut()
        sites.sender.start()
        client = subprocess.Popen(["qemu-io", "-f", "raw", "-c", "read -P 2 1M 64k", uri], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        context.on_exit(client.kill)
        try:
            client.wait(3)
            raise harness.Failed("a client was answered: " + client.stdout.read())
        except subprocess.TimeoutExpired:
            pass
        return client

    def answered(client, how):
        out = client.communicate(timeout=20)[0]
        context.check(client.returncode == 0 and "failed" not in out and "error" not in out, f"{how}: {out.strip()}")

    client = comes_back_alone()
    error = pair.status()["error"] or ""
    context.check("after-contact" in error and "--force" in error, f"it says why: {error}")
    pair.relay.heal()
    answered(client, "served when the DR site was heard, without an error")
    pair.wait_state("streaming")
    client = comes_back_alone()
    done = sites.sender.cli("promote", sites.group, "--confirm", sites.group, "--force")
    answered(client, f"served by force, generation {done['generation']}")
    pair.relay.heal()
    pair.compare("both sites are equal")


def test(context):
    for name in ("nbdcopy", "qemu-io"):
        if not any(os.access(os.path.join(d, name), os.X_OK) for d in os.environ["PATH"].split(":")):
            raise harness.Skip(f"{name} is not installed")
    harness.run_parts(context, {"dead_primary": dead_primary, "mistake": mistake, "fenced": fenced,
                                "refusals": refusals, "older_point": older_point, "room": room, "start": start,
                                "back": back, "planned": planned, "after_contact": after_contact})


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
