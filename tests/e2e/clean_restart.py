#!/usr/bin/env python3
"""What ordinary events cost on the wire: a clean restart of either daemon re-sends nothing, a short
cut is bridged by the spool in order, a long one goes tracking -> catching_up -> streaming and ships
only what changed.

    tests/e2e/clean_restart.py
"""

import sys
import threading
import time

import harness

QUIET_BYTES = 512 << 10  # handshakes, heartbeats and bookkeeping


def on_the_wire(pair, action):
    """Bytes that the relay carried during the action."""
    before = pair.relay.carried
    action()
    return pair.relay.carried - before


def restarts(context, pair):
    def both_clean():
        for daemon in (pair.sender, pair.receiver):
            context.check(daemon.stop() == 0, f"{daemon.name} stops with exit 0")
        pair.receiver.start()
        pair.sender.start()
        pair.wait_state("streaming", timeout=30)
        pair.wait()
    used = on_the_wire(pair, both_clean)
    context.check(used < QUIET_BYTES, f"clean restart of both: {used} bytes on the wire")

    def receiver_killed():
        pair.receiver.kill()
        pair.receiver.start()
        pair.wait_state("streaming", timeout=30)
        pair.wait()
    used = on_the_wire(pair, receiver_killed)
    context.check(used < QUIET_BYTES, f"kill -9 of an idle receiver: {used} bytes on the wire")

    def sender_killed():
        pair.sender.kill()
        begun = time.monotonic()
        pair.sender.start()
        pair.wait_state("streaming", timeout=30)
        context.say(f"kill -9 of the sender: streaming after {time.monotonic() - begun:.2f} s")
        pair.wait()
    used = on_the_wire(pair, sender_killed)
    context.check(used < 2 * QUIET_BYTES, f"kill -9 of an idle sender: {used} bytes on the wire")
    pair.compare("after the restarts the replicas equal the primary")


class StateWatch:
    """Collects the states that a group goes through."""

    def __init__(self, pair):
        self.pair, self.seen, self._stop = pair, [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                state = self.pair.status()["state"]
            except Exception:  # a daemon that is just restarting
                continue
            if not self.seen or self.seen[-1] != state:
                self.seen.append(state)
            time.sleep(0.02)

    def end(self):
        self._stop.set()
        self._thread.join()
        return self.seen


def short_cut(context, pair, load):
    load.start(rate=200)
    time.sleep(1)
    watch = StateWatch(pair)
    pair.relay.cut()
    pair.wait_state("spooling", timeout=20)
    time.sleep(3)
    used = pair.status()["spool"]["used_bytes"]
    context.check(pair.status()["state"] == "spooling", "a short cut: spooling")
    pair.relay.heal()
    pair.wait_state("streaming", timeout=30)
    pair.wait()
    seen = watch.end()
    context.check("tracking" not in seen and "catching_up" not in seen,
                  f"a short cut keeps the order: {' -> '.join(seen)} ({used} bytes in the spool)")
    load.finish()
    pair.compare("after the short cut the replicas equal the primary")


def long_cut(context, pair, load):
    load.start()
    watch = StateWatch(pair)
    time.sleep(0.5)
    pair.relay.cut()
    pair.wait_state("tracking", timeout=90)
    status = pair.status()
    context.check(status["spool"]["used_bytes"] <= status["spool"]["limit_bytes"],
                  f"the spool keeps its limit ({status['spool']})")
    floor_open = pair.receiver.cli("open", pair.group, "--nbd", "unix:" + context.path("run", "p.nbd"))
    floor = load.snapshot()
    time.sleep(1)
    load.finish()
    dirty = sum(v["dirty_bytes"] for v in pair.status()["volumes"])
    pair.relay.heal()
    pair.wait_state("streaming", timeout=60)
    seen = watch.end()
    context.check("tracking" in seen and "catching_up" in seen,
                  f"a long cut: {' -> '.join(seen)} ({dirty} dirty bytes)")
    load.check([floor_open["uris"][v] for v in pair.volumes],
               "the point opened before the catch-up is still a prefix")
    pair.receiver.cli("close", str(floor_open["id"]))
    pair.compare("after the long cut the replicas equal the primary")
    load.check([pair.replica(v) for v in pair.volumes],
               "and hold all that was answered", floor)


def test(context):
    pair = harness.Pair(context, {"data": "96MiB", "wal": "32MiB"}, line="relay", spool="24MiB")
    load = harness.Load(pair, seed=context.options.seed)
    load.fill()
    pair.start()
    pair.wait_state("streaming", timeout=60)
    pair.compare("after the initial sync the replicas equal the primary")
    restarts(context, pair)
    short_cut(context, pair, load)
    long_cut(context, pair, load)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
