#!/usr/bin/env python3
"""What an operator and a monitor meet: a daemon that is stopped under each command, a daemon that hangs, a cap that
two groups share, and a log that stays readable while somebody knocks each second.

    tests/e2e/at_the_desk.py
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import harness

MIB = 1 << 20
# Freed memory is filled, so that what uses it after the end of its owner shows.
os.environ["MALLOC_PERTURB_"] = "165"


def begin(daemon, *words):
    return harness.popen([harness.find("farshore"), "--socket", daemon.control, "--json", *words],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop_under(context, daemon, running, what):
    """SIGTERM for the daemon while a command runs: the daemon ends in order, the command with words."""
    time.sleep(0.5)
    context.check(running.poll() is None, f"{what} is under way")
    begun = time.monotonic()
    code = daemon.stop()
    took = time.monotonic() - begun
    context.check(code == 0, f"SIGTERM under {what}: the {daemon.role} ends with {code} after {took:.1f} s")
    out, err = running.communicate(timeout=30)
    error = json.loads(out or "{}").get("error", {})
    context.check(running.returncode == 1 and error.get("code") == "stopping"
                  and error.get("message", "").startswith("the daemon stops"),
                  f"{what} ends with words: exit {running.returncode} {out.strip()} {err.strip()}")


def silent_listener(context):
    """A receiver that takes connections and says nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    context.on_exit(listener.close)
    return listener.getsockname()[1]


def stops(context, pair):
    port = silent_listener(context)
    token = pair.receiver.cli("invite", pair.group, "--address", f"127.0.0.1:{port}")["token"]
    stop_under(context, pair.sender, begin(pair.sender, "join", token), "join")
    for words in (["wait", pair.group], ["verify", pair.group]):
        pair.sender.start()
        pair.wait_state("streaming", timeout=60)
        pair.wait()
        pair.receiver.freeze()
        stop_under(context, pair.sender, begin(pair.sender, *words), words[0])
        pair.receiver.thaw()
    pair.sender.start()
    pair.wait_state("streaming", timeout=60)
    pair.wait()
    # Whether `open` is still under way is chance; the daemon must end well either way.
    opening = begin(pair.receiver, "open", pair.group, "--nbd", "unix:" + context.path("run", "p.nbd"))
    context.check(pair.receiver.stop() == 0, "SIGTERM under open: the receiver ends with 0")
    out, _ = opening.communicate(timeout=30)
    context.check(opening.returncode in (0, 1), f"open ended: exit {opening.returncode} {out.strip()}")
    pair.receiver.start()
    pair.wait_state("streaming", timeout=60)


def hangs(context, pair):
    for daemon in (pair.sender, pair.receiver):
        daemon.freeze()
        begun = time.monotonic()
        done = daemon.cli_raw("check", "--timeout", "2s", timeout=20)
        took = time.monotonic() - begun
        context.check(done.returncode == 2 and "CRITICAL" in done.stdout and daemon.control in done.stdout
                      and "does not answer within 2 s" in done.stdout and took < 10,
                      f"check of a {daemon.role} that hangs, after {took:.1f} s: {done.stdout.strip()}")
        done = daemon.cli_raw("--json", "--timeout", "1s", "status", timeout=20)
        context.check(done.returncode == 15 and json.loads(done.stdout)["error"]["code"] == "timed_out",
                      f"status: exit {done.returncode} {done.stdout.strip()}")
        # Those who gave up fill the queue of a daemon that takes nobody; the next ones end in time all the same.
        waiting = []
        for _ in range(300):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                client.connect(daemon.control)
            except BlockingIOError:
                break
        done = daemon.cli_raw("check", "--timeout", "1s", timeout=20)
        context.check(done.returncode == 2, f"check with a queue of {len(waiting)}: exit {done.returncode}")
        for client in waiting:
            client.close()
        running = begin(daemon, "status")
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=10)
        context.check(running.returncode == 130, f"Ctrl-C: exit {running.returncode}")
        daemon.thaw()
    pair.wait_state("streaming", timeout=60)


def wire(pair):
    return {g["name"]: g["bytes"]["wire"] for g in pair.sender.cli("status")["groups"]}


def shared_cap(context, pair):
    """Two groups under one cap: together they keep to it, and each gets its share."""
    harness.make_image(pair.primary("mail"), 64 * MIB)
    pair.add_group("mail", "mail")
    pair.group = "mail"
    pair.join()
    pair.wait_state("streaming", timeout=60)
    pair.group = "shop"
    pair.wait_state("streaming", timeout=60)
    shown = pair.sender.cli("throttle", "set", "8Mbit/s")
    context.check(shown["daemon"]["limit_bytes_per_second"] == 1_000_000 and shown["daemon"]["source"] == "set"
                  and all(g["source"] == "none" for g in shown["groups"]),
                  f"throttle set without --group is the daemon's: {json.dumps(shown)}")
    writers = []
    for number, volume in enumerate(("data", "mail")):
        path = context.path(f"content-{volume}")
        harness.write_bytes(path, random.Random(number).randbytes(24 * MIB))
        writers.append(harness.popen(["nbdcopy", "--requests=4", path, pair.uri(volume)]))
    for writer in writers:
        writer.wait(timeout=60)
    time.sleep(2)
    before, begun = wire(pair), time.monotonic()
    time.sleep(6)
    after, took = wire(pair), time.monotonic() - begun
    rates = {name: (after[name] - before[name]) / took for name in after}
    total = sum(rates.values())
    context.check(total <= 1_200_000, f"both groups keep to 1 MB/s together: {rates}")
    context.check(total >= 500_000 and min(rates.values()) >= total * 0.25, f"and share it: {rates}")
    pair.sender.stop()
    pair.sender.start()
    shown = pair.sender.cli("throttle", "show")
    context.check(shown["daemon"]["limit_bytes_per_second"] == 1_000_000, "the cap survives a restart")
    pair.sender.cli("throttle", "clear")
    context.check(pair.sender.cli("throttle", "show")["daemon"]["source"] == "none", "throttle clear")


def knocks(context, pair):
    """A port check, 200 times."""
    before = len(pair.receiver.log_text().splitlines())
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", pair.port), timeout=10):
            pass
    time.sleep(1)
    said = pair.receiver.log_text().splitlines()[before:]
    refused = [line for line in said if "refused a connection" in line]
    context.check(1 <= len(refused) <= 3, f"200 port checks are {len(refused)} line(s) of the log: {refused[:3]}")


def test(context):
    pair = harness.Pair(context, {"data": 64 * MIB})
    pair.start()
    pair.wait_state("streaming", timeout=60)
    knocks(context, pair)
    hangs(context, pair)
    stops(context, pair)
    shared_cap(context, pair)
    for daemon in (pair.sender, pair.receiver):
        context.check(daemon.stop() == 0, f"{daemon.name} stops cleanly with exit 0")


if __name__ == "__main__":
    harness.need("nbdcopy")
    sys.exit(harness.main(test, __doc__))
