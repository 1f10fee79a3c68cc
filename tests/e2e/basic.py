#!/usr/bin/env python3
"""Pair, initial sync of existing data while clients write, wait, compare; the documents of the CLI;
a point opened read-only while writing goes on.

    tests/e2e/basic.py [--long]
"""

import json
import os
import subprocess
import sys
import time

import harness

SENDER_KEYS = ["name", "state", "peer", "connected", "lag", "last_barrier", "durable_barrier", "bytes",
               "sync", "throttle", "spool", "volumes", "error"]
RECEIVER_KEYS = ["name", "state", "connected", "applied_barrier", "durable_barrier", "points",
                 "oldest_point", "newest_point", "journal", "bytes", "volumes", "error"]


def has_keys(document, keys):
    return [key for key in keys if key not in document]


def unpaired(context, pair):
    status = pair.status()
    context.check(status["state"] == "unpaired", f"before join the sender is unpaired ({status['state']})")
    invitation = pair.receiver.cli("invite", pair.group, "--address", pair.address)
    context.check(not has_keys(invitation, ["token", "expires"]), "invite prints token and expiry")
    joined = pair.receiver.cli_raw("invite", pair.group, "--address", pair.address)
    context.check(joined.returncode == 0 and len(joined.stdout.strip().splitlines()) == 1,
                  "invite without --json prints one line")
    pair.sender.cli("join", invitation["token"])


def initial_sync(context, pair, load):
    load.start(rate=800)  # what a slow machine can encode beside the first copy
    pair.wait_state("streaming", timeout=120)
    floor = load.snapshot()
    point = pair.wait()
    context.check(not has_keys(point, ["group", "point", "barrier", "time", "applied"])
                  and point["applied"] is True, f"wait prints the point: {json.dumps(point)}")
    opened = pair.receiver.cli("open", pair.group, "--point", str(point["point"]), "--nbd",
                               "unix:" + context.path("run", "point.nbd"))
    time.sleep(1)
    check_opened(context, pair, load, opened, floor)
    load.finish()
    context.say(f"load: {json.dumps(load.outcome)}")
    pair.compare("after initial sync under load the replicas equal the primary")
    load.check([pair.replica(v) for v in pair.volumes],
               "the replicas hold exactly the writes that were answered", load.snapshot(), exact=True)


def check_opened(context, pair, load, opened, floor):
    context.check(not has_keys(opened, ["id", "group", "point", "writable", "uris"])
                  and set(opened["uris"]) == set(pair.volumes) and opened["writable"] is False,
                  "open prints an id and a URI for each volume")
    uris = [opened["uris"][v] for v in pair.volumes]
    first = load.check(uris, "the opened point is a prefix and has what was waited for", floor)
    before = load.newest()
    time.sleep(2)
    context.check(sum(load.newest()) > sum(before), "writing goes on while the point is open")
    again = load.check(uris, "two seconds later the opened point is still a prefix", floor)
    context.check(first == again, f"and the same one ({first}, {again})")
    if os.access("/usr/bin/nbdinfo", os.X_OK):
        done = subprocess.run(["nbdinfo", "--json", uris[0]], capture_output=True, text=True, check=False)
        about = json.loads(done.stdout)["exports"][0] if done.returncode == 0 else {}
        context.check(about.get("is_read_only") is True, "the opened point is served read-only")
    listed = pair.receiver.cli("opened")
    context.check(str(opened["id"]) in json.dumps(listed), "opened lists it")
    pair.receiver.cli("close", str(opened["id"]))
    listed = pair.receiver.cli("opened")
    context.check(opened["uris"][list(pair.volumes)[0]] not in json.dumps(listed), "close ends it")


def documents(context, pair):
    sender = pair.sender.cli("status")
    context.check(sender["role"] == "sender" and "version" in sender
                  and not has_keys(sender["groups"][0], SENDER_KEYS),
                  f"status of the sender has every key (missing {has_keys(sender['groups'][0], SENDER_KEYS)})")
    group = sender["groups"][0]
    for name, keys in (("lag", ["seconds", "bytes", "intervals"]), ("last_barrier", ["id", "time"]),
                       ("bytes", ["written", "folded", "encoded", "wire"]),
                       ("sync", ["done_bytes", "total_bytes", "eta_seconds"]),
                       ("throttle", ["limit_bytes_per_second", "source"]),
                       ("spool", ["used_bytes", "limit_bytes"])):
        context.check(not has_keys(group[name], keys), f"status: {name} has {', '.join(keys)}")
    context.check(group["bytes"]["written"] > 0 and group["bytes"]["wire"] > 0
                  and group["connected"] is True and group["error"] is None, "status: figures are alive")
    receiver = pair.receiver.cli("status")
    missing = has_keys(receiver["groups"][0], RECEIVER_KEYS)
    context.check(receiver["role"] == "receiver" and not missing,
                  f"status of the receiver has every key (missing {missing})")
    context.check(receiver["groups"][0]["state"] == "following", "the receiver is following")
    points = pair.receiver.cli("points", pair.group)
    context.check(points["group"] == pair.group and len(points["points"]) > 0 and not has_keys(
        points["points"][-1], ["id", "time", "kind", "name", "note", "pinned", "size_bytes"]),
        "points lists the points with every key")
    for daemon in (pair.sender, pair.receiver):
        peers = daemon.cli("peers")["peers"]
        context.check(len(peers) == 1 and not has_keys(
            peers[0], ["group", "address", "fingerprint", "connected"]) and peers[0]["connected"],
            f"peers at the {daemon.role}")
        done = daemon.cli_raw("check", pair.group)
        context.check(done.returncode == 0 and len(done.stdout.strip().splitlines()) == 1,
                      f"check at the {daemon.role}: {done.stdout.strip()}")
    verified = pair.sender.cli("verify", pair.group)
    context.check(verified["equal"] is True and verified["differences"] == [], "verify: equal")
    missing_group = pair.sender.cli("status", "nosuch", code=10)
    context.check("code" in missing_group.get("error", {}), "no such group: exit 10 and an error document")


def throttle(context, pair):
    def show():
        return pair.sender.cli("throttle", "show")["groups"][0]
    context.check(show()["source"] == "none" and show()["limit_bytes_per_second"] is None,
                  "throttle: none at first")
    pair.sender.cli("throttle", "set", "8Mbit/s", "--group", pair.group)
    shown = show()
    context.check(shown["limit_bytes_per_second"] == 1_000_000 and shown["source"] == "set",
                  f"throttle set 8Mbit/s shows: {json.dumps(shown)}")
    name = harness.find("farshore-throttle")
    done = subprocess.run([name, "--socket", pair.sender.control, "--json", "show"], capture_output=True,
                          text=True, check=False)
    context.check(done.returncode == 0 and json.loads(done.stdout)["groups"][0]["source"] == "set",
                  "farshore-throttle show says the same")

    load = harness.Load(pair, seed=77, chains=1)
    load.progress = context.path("progress-throttle")
    load.start()
    time.sleep(1)
    start, begin = pair.status()["bytes"]["wire"], time.monotonic()
    time.sleep(4)
    rate = (pair.status()["bytes"]["wire"] - start) / (time.monotonic() - begin)
    context.check(rate <= 1_150_000, f"the wire carries at most 8 Mbit/s ({rate * 8e-6:.2f})")
    context.check(rate >= 500_000, "and uses what it may")
    latency = load.finish()["latency_us"]
    context.check(latency["p99"] < 200_000, f"writers do not wait for the line: {latency}")
    pair.sender.cli("throttle", "clear", "--group", pair.group)
    context.check(show()["source"] == "none", "throttle clear")
    pair.compare("after the throttle the replicas equal the primary")


def pause_and_resume(context, pair):
    pair.sender.cli("pause", pair.group)
    pair.wait_state("paused", timeout=10)
    late = pair.sender.cli("wait", pair.group, "--timeout", "1s", code=None)
    context.check("error" in late, f"wait on a paused group fails in time: {json.dumps(late)}")
    pair.sender.cli("resume", pair.group)
    pair.wait_state("streaming", timeout=30)
    pair.sender.cli("resync", pair.group)
    pair.wait()
    pair.compare("after pause, resume and resync the replicas equal the primary")


def test(context):
    scale = 8 if context.long else 1
    pair = harness.Pair(context, {"data": 64 * scale << 20, "wal": 32 * scale << 20})
    load = harness.Load(pair, seed=context.options.seed)
    load.fill()
    pair.start(join=False)
    unpaired(context, pair)
    initial_sync(context, pair, load)
    documents(context, pair)
    throttle(context, pair)
    pause_and_resume(context, pair)
    for daemon in (pair.sender, pair.receiver):
        context.check(daemon.stop() == 0, f"{daemon.name} stops cleanly with exit 0")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
