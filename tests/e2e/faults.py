#!/usr/bin/env python3
"""Bad input and faults: each gives a clear error, and nothing is lost.

    tests/e2e/faults.py [--long]      (the full-disk cases need root for small tmpfs mounts)
"""

import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

import harness
import mounts


def expect_refusal(context, pair, daemon, pattern, what, code=None):
    """Starts a daemon that must not come up; its log must say why."""
    before = len(daemon.log_text()) if os.path.exists(daemon.log) else 0
    try:
        daemon.start(timeout=10)
    except harness.Failed:
        pass
    came_up = daemon.running
    text = daemon.log_text()[before:]
    if came_up:
        context.check(False, f"{what}: the {daemon.role} must not start")
        daemon.stop()
        return
    good = re.search(pattern, text, re.IGNORECASE) and (code is None or daemon.process.returncode == code)
    context.check(good, f"{what}: exit {daemon.process.returncode}, {last_line(text)}")


def expect_failed_group(context, pair, daemon, pattern, what):
    """Starts a daemon whose group can't be served: the daemon is there, the group says why."""
    daemon.start(timeout=15)
    group = next(g for g in daemon.cli("status", code=None, timeout=15)["groups"] if g["name"] == pair.group)
    good = group["state"] == "failed" and re.search(pattern, group["error"] or "", re.IGNORECASE)
    context.check(good and daemon.running, f"{what}: {group['state']}, {group['error']}")
    daemon.stop()


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][-160:] if lines else "(nothing said)"


def bad_configuration(context, pair):
    with open(pair.sender.config, encoding="utf-8") as file:
        good = file.read()
    cases = {
        "unknown key": (good.replace("interval =", "intervall ="), "intervall"),
        "number without unit": (re.sub(r'interval = "[^"]*"', 'interval = "1"', good), "interval"),
        "wrong type": (re.sub(r'interval = "[^"]*"', "interval = [1]", good), "interval"),
        "not TOML": (good + "\n[[[", ""),
        "volume named twice": (good + re.search(r"\[\[group.volume\]\][^\[]*", good).group(0), "data"),
        "no group name": (good.replace('name = "shop"\n', "", 1), "name"),
    }
    for name, (text, word) in cases.items():
        path = context.path("bad.toml")
        harness.write_text(path, text)
        daemon = harness.Daemon(context, "sender", path, pair.sender.control, name="bad-config")
        expect_refusal(context, pair, daemon, re.escape(path) + r":\d+:\d+: .*" + word,
                       "configuration, " + name, code=2)
        done = subprocess.run([harness.find("farshore"), "config", "check", path], capture_output=True,
                              text=True, check=False)
        context.check(done.returncode == 2 and re.search(r"bad\.toml:\d+:\d+: ", done.stdout + done.stderr),
                      f"config check says the same: {last_line(done.stdout + done.stderr)}")
    for path in (pair.sender.config, pair.receiver.config):
        done = subprocess.run([harness.find("farshore"), "config", "check", path], capture_output=True,
                              check=False)
        context.check(done.returncode == 0, f"config check of a good {os.path.basename(path)}")


def bad_volumes(context, pair):
    image = pair.primary("data")
    moved = image + ".away"
    os.rename(image, moved)
    expect_failed_group(context, pair, pair.sender, "data", "volume missing")
    os.rename(moved, image)
    if os.geteuid() != 0 or not shutil.which("losetup"):
        context.say("SKIPPED: a read-only volume needs root and losetup")
        return
    loop = mounts.run("losetup", "--find", "--show", "--read-only", image)
    context.on_exit(lambda: subprocess.run(["losetup", "-d", loop], check=False))
    folder = os.path.dirname(image)
    place = context.path("read-only")
    os.makedirs(place)
    mounts.run("mount", "--bind", folder, place)
    context.on_exit(lambda: subprocess.run(["umount", "-l", place], check=False))
    mounts.run("mount", "-o", "remount,bind,ro", place)
    for what, path in (("block device", loop), ("file", os.path.join(place, os.path.basename(image)))):
        usual = pair.primary
        pair.primary = lambda v, path=path, usual=usual: path if v == "data" else usual(v)
        pair.write_configs()
        expect_failed_group(context, pair, pair.sender, "read-only|permi", f"read-only {what}")
        pair.primary = usual
    pair.write_configs()


def locked_and_changed(context, pair):
    """With the pair running."""
    other = harness.Daemon(context, "sender", context.path("other.toml"), context.path("run", "other.sock"),
                           name="other-sender")
    with open(pair.sender.config, encoding="utf-8") as file:
        text = file.read()
    same_state = text.replace(pair.sender.control, other.control).replace(".nbd", ".nbd2")
    harness.write_text(other.config, same_state)
    expect_refusal(context, pair, other, "use|lock|busy", "state directory in use by another daemon")
    harness.write_text(other.config, same_state.replace("sender-state", "other-state"))
    expect_failed_group(context, pair, other, "use|lock|busy", "volume in use by another daemon")
    context.check(pair.status()["connected"], "the first daemon is not disturbed")

    pair.sender.stop()
    os.truncate(pair.primary("data"), os.path.getsize(pair.primary("data")) + (1 << 20))
    expect_failed_group(context, pair, pair.sender, "size", "volume of changed size")
    os.truncate(pair.primary("data"), os.path.getsize(pair.primary("data")) - (1 << 20))
    pair.sender.start()
    pair.wait_state("streaming", timeout=30)


def wrong_size_at_dr(context):
    """A replica image of another size is refused, not overwritten."""
    child = child_of(context)
    pair = harness.Pair(child, {"data": "8MiB"})
    harness.make_image(pair.replica("data"), 9 << 20, random_megabytes=2)
    before = harness.sha256_of(pair.replica("data"))
    try:
        pair.start()
    except harness.Failed as error:
        context.say(f"refused at once: {error}")
    else:
        harness.retry(20, "an error in the status", lambda: pair.status()["error"] or pair.status(
            pair.receiver)["error"])
        said = (pair.status()["error"] or "") + (pair.status(pair.receiver)["error"] or "")
        context.check(re.search("size|bytes", said), f"wrong size at the DR site: {said}")
    context.check(harness.sha256_of(pair.replica("data")) == before, "and the image there is untouched")
    for daemon in (pair.sender, pair.receiver):
        daemon.kill()


def trust(context, pair):
    """Before the pair is joined."""
    token = pair.receiver.cli("invite", pair.group, "--address", pair.address)["token"]
    broken = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    done = pair.sender.cli("join", broken, code=None)
    context.check("error" in done, f"a changed token is refused: {done.get('error')}")
    garbage = pair.sender.cli("join", "not-a-token", code=None)
    context.check("error" in garbage, f"garbage is no token: {garbage.get('error')}")
    context.check(pair.status()["state"] == "unpaired", "and the sender stays unpaired")
    token = pair.receiver.cli("invite", pair.group, "--address", pair.address)["token"]
    pair.sender.cli("join", token)
    pair.wait_state("streaming", timeout=60)
    again = pair.sender.cli("join", token, code=None)
    context.check("error" in again, f"a token is good once: {again.get('error')}")


def second_sender(context, pair):
    """A sender with its own identity wants to feed the same group: refused, the first goes on."""
    harness.make_image(context.path("primary", "thief.img"), os.path.getsize(pair.primary("data")))
    with open(pair.sender.config, encoding="utf-8") as file:
        text = file.read()
    thief = harness.Daemon(context, "sender", context.path("thief.toml"), context.path("run", "thief.sock"),
                           name="second-sender")
    text = text.replace(pair.sender.control, thief.control).replace("sender-state", "thief-state")
    text = text.replace(".nbd", ".nbd3").replace(pair.primary("data"), context.path("primary", "thief.img"))
    wal = context.path("primary", "thief-wal.img")
    harness.make_image(wal, os.path.getsize(pair.primary("wal")))
    harness.write_text(thief.config, text.replace(pair.primary("wal"), wal))
    thief.start()
    before = {v: harness.sha256_of(pair.replica(v)) for v in pair.volumes}
    time.sleep(2)
    status = pair.status(thief)
    context.check(not status["connected"] and status["state"] != "streaming",
                  f"an untrusted sender stays out ({status['state']}, {status['error']})")
    log = pair.receiver.log_text()
    context.check(re.search(r"[0-9a-f]{64}", log), "the receiver logs which fingerprint tried")
    joined = thief.cli("join", pair.receiver.cli("invite", pair.group, "--address", pair.address)["token"],
                       code=None, timeout=30)
    time.sleep(2)
    status = pair.status(thief)
    context.check("error" in joined or status["state"] not in ("streaming", "initial_sync", "catching_up"),
                  f"even with a token two senders are told apart ({joined.get('error')}, {status['state']}, "
                  f"{status['error']})")
    thief.stop()
    after = {v: harness.sha256_of(pair.replica(v)) for v in pair.volumes}
    context.check(before == after, "and the replicas are untouched")
    if not pair.status()["connected"]:
        pair.join()
    pair.wait_state("streaming", timeout=30)


def knock(family, where, payload, linger=0.05):
    sock = socket.socket(family)
    sock.settimeout(2)
    try:
        sock.connect(where)
        sock.sendall(payload)
        time.sleep(linger)
        return sock
    except OSError:
        sock.close()
        return None


def random_bytes(context, pair):
    chance = random.Random(context.options.seed)
    doors = [(socket.AF_INET, ("127.0.0.1", pair.port)), (socket.AF_UNIX, pair.sender.control),
             (socket.AF_UNIX, pair.receiver.control), (socket.AF_UNIX, pair.nbd_socket("data"))]
    tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
    nbd_option = b"\x00\x00\x00\x03IHAVEOPT"
    starts = [b"", b"\xff" * 64, b"\x00" * 4096, tls_hello, nbd_option + b"\x00\x00\x00\x07\xff\xff\xff\xff",
              b'{"command": "' + b"A" * 100_000, b"{}\n" * 1000, b"NBDMAGIC" * 100, b"GET / HTTP/1.0\r\n\r\n"]
    rss = [d.rss_bytes() for d in (pair.sender, pair.receiver)]
    held = []
    rounds = 40 if context.long else 8
    for family, where in doors:
        for number in range(rounds * len(starts)):
            payload = starts[number % len(starts)] + chance.randbytes(chance.choice([0, 1, 100, 20_000]))
            sock = knock(family, where, payload, linger=0.002)
            if sock and number % 3 == 0:
                held.append(sock)  # half a handshake that never goes on
            elif sock:
                sock.close()
    time.sleep(0.5)
    grown = [d.rss_bytes() - before for d, before in zip((pair.sender, pair.receiver), rss)]
    context.check(max(grown) < 64 << 20, f"random bytes and half handshakes on every socket: memory grew "
                  f"by {[g >> 10 for g in grown]} KiB")
    context.check(pair.sender.running and pair.receiver.running, "both daemons live")
    pair.wait(timeout=30)
    context.check(True, "and replicate while half handshakes are held open")
    for sock in held:
        sock.close()


def bad_nbd_requests(context, pair):
    """Out of range and oversized requests get an error; the next one works."""
    sock = nbd_handshake(pair.nbd_socket("data"))
    cases = {"beyond the end": struct_request(0, 1 << 40, 4096),
             "offset overflow": struct_request(1, (1 << 64) - 512, 4096) + bytes(4096),
             "unknown command": struct_request(99, 0, 0), "zero length read": struct_request(0, 0, 0)}
    for name, request in cases.items():
        sock.sendall(request)
        magic, error, _ = read_reply(sock)
        context.check(magic == 0x67446698 and (error != 0 or name.startswith("zero")),
                      f"NBD {name}: error {error}")
    sock.sendall(struct_request(0, 0, 512))
    _, error, _ = read_reply(sock)
    context.check(error == 0 and len(harness.receive(sock, 512)) == 512, "the connection still works")
    sock.close()


def struct_request(command, offset, length):
    return struct.pack("!IHHQQI", 0x25609513, 0, command, 7, offset, length)


def read_reply(sock):
    return struct.unpack("!IIQ", harness.receive(sock, 16))


def nbd_handshake(path):
    """Fixed newstyle by NBD_OPT_EXPORT_NAME: simple replies."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(path)
    harness.receive(sock, 18)
    sock.sendall(struct.pack("!I", 3) + b"IHAVEOPT" + struct.pack("!II", 1, 4) + b"data")
    harness.receive(sock, 10)
    return sock


def changed_behind_our_back(context, pair, load):
    pair.wait()
    with open(pair.replica("data"), "r+b") as file:
        file.seek(5 << 20)
        file.write(b"written behind our back" * 1000)
    found = pair.sender.cli("verify", pair.group, code=None)
    listed = found.get("differences", [])
    # Its times may have told the receiver before verify came to the place.
    noticed = "somebody else wrote to" in pair.receiver.log_text()
    context.check(noticed or (found.get("equal") is False and any(
        d["volume"] == "data" and d["offset"] <= 5 << 20 < d["offset"] + d["length"] for d in listed)),
        f"verify or the receiver itself finds the changed range: {json.dumps(found)[:300]}")
    load.start(seconds=2)
    load.finish(stop=False)

    def healed():
        return pair.status()["state"] == "streaming" and not pair.status(pair.receiver)["error"]
    harness.retry(60, "healed by itself", healed)
    pair.wait()
    context.check(pair.sender.cli("verify", pair.group)["equal"] is True, "it is healed by itself: verify is clean")
    pair.compare("and the replicas equal the primary")


def child_of(context):
    """A context with a directory of its own, whose failures and logs are the parent's."""
    child = harness.Context(context.options)
    child.failures, child.logs = context.failures, context.logs
    context.on_exit(child.close)
    return child


def small_disk(context, path, megabytes):
    os.makedirs(path, exist_ok=True)
    mounts.run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path)
    context.on_exit(lambda: subprocess.run(["umount", "-l", path], check=False))
    return path


def fill_disk(path):
    # Unbuffered: what a buffer could not write it would try again when the file is closed.
    with open(os.path.join(path, "ballast"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return


def disk_full(context, victim):
    """The state directory of one daemon fills up under load, and gets space again."""
    if os.geteuid() != 0:
        context.say("SKIPPED: full disks (small tmpfs mounts) need root")
        return
    child = child_of(context)
    state = small_disk(child, child.path(victim + "-state"), 640)
    # So little memory that the spool needs its disk soon, on slow machines too.
    pair = harness.Pair(child, {"data": "32MiB", "wal": "16MiB"}, line="relay", spool="128MiB",
                        journal="512MiB", memory="160MiB")
    load = harness.Load(pair, seed=9)
    load.fill()
    pair.start()
    pair.wait_state("streaming", timeout=60)
    point = pair.wait()
    load.start()
    time.sleep(0.5)
    fill_disk(state)
    if victim == "sender":
        pair.relay.cut()  # what can't be shipped must go to the spool
    time.sleep(4)
    before = load.newest()
    time.sleep(1)
    context.check(load.process.poll() is None and sum(load.newest()) > sum(before),
                  f"disk full at the {victim}: the clients go on")
    context.check(pair.sender.running and pair.receiver.running, f"disk full at the {victim}: both daemons live")
    seen = set()

    def said():
        status = pair.status(getattr(pair, victim))
        seen.add(f"{status['state']}: {status['error']}")
        return re.search("space|full", status["error"] or "") or status["state"] == "tracking"
    try:
        harness.retry(15, "a word about space", said)
    except harness.Failed:
        pass
    context.check(said(), f"disk full at the {victim}: its status says so ({sorted(seen)})")
    # What is durable and can't be applied now is not asked for.
    opened = pair.receiver.cli("open", pair.group, "--applied", "--nbd",
                               "unix:" + child.path("run", "p.nbd"), code=None)
    if "uris" in opened:
        load.check([opened["uris"][v] for v in pair.volumes], "the newest complete point is still a prefix")
        pair.receiver.cli("close", str(opened["id"]))
    else:
        context.check(False, f"disk full at the {victim}: a point can't be opened: {opened} ({point['point']})")
    os.unlink(os.path.join(state, "ballast"))
    pair.relay.heal()
    load.finish()
    pair.wait_state("streaming", timeout=90)
    pair.compare(f"space is back at the {victim}: it goes on, replicas equal the primary")
    for daemon in (pair.sender, pair.receiver):
        daemon.kill()


def test(context):
    pair = harness.Pair(context, {"data": "24MiB", "wal": "8MiB"})
    load = harness.Load(pair, seed=context.options.seed)
    load.fill()
    parts = {
        "config": lambda: bad_configuration(context, pair),
        "volumes": lambda: bad_volumes(context, pair),
        "trust": lambda: trust(context, pair.start(join=False)),
        "locked": lambda: locked_and_changed(context, pair),
        "bytes": lambda: random_bytes(context, pair),
        "requests": lambda: bad_nbd_requests(context, pair),
        "changed": lambda: changed_behind_our_back(context, pair, load),
        "second": lambda: second_sender(context, pair),
        "size": lambda: wrong_size_at_dr(context),
        "full-sender": lambda: disk_full(context, "sender"),
        "full-receiver": lambda: disk_full(context, "receiver"),
    }
    only = context.options.only
    if only and only in ("locked", "bytes", "requests", "changed", "second"):
        parts["trust"]()
    for name, part in parts.items():
        if only in ("", name):
            print(f"---- {name}", flush=True)
            try:
                part()
            except harness.Failed as error:  # the other parts are worth knowing too
                context.check(False, f"{name}: {error}")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
