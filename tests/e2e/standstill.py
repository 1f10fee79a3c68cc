#!/usr/bin/env python3
"""A spool's disk that stands still stops its own group and no other, and an old spool delays no start.

    tests/e2e/standstill.py [--only disk|restart] [--long]     --long: 60 s, and a spool of 4 GiB
"""

import os
import subprocess
import threading
import time

import harness
import mounts

MIB = 1 << 20


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Watch:
    """What the status says of the group "other", four times a second."""

    def __init__(self, pair):
        self.pair, self.lags, self.answers, self.apart = pair, [], [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.25):
            begun = time.monotonic()
            groups = self.pair.sender.cli("status", timeout=60)["groups"]
            self.answers.append(time.monotonic() - begun)
            other = next(g for g in groups if g["name"] == "other")
            self.apart += other["state"] != "streaming"
            self.lags.append(other["lag"]["seconds"])

    def end(self):
        self._stop.set()
        self._thread.join()
        return self


def spool_on_a_disk_of_its_own(context, mebibytes):
    image = context.path("spool.img")
    with open(image, "wb") as file:
        file.truncate(mebibytes * MIB)
    disk = mounts.Mount(context, "spool", image=image).make()
    os.makedirs(context.path("sender-state", "groups", "shop"))
    os.symlink(disk.point, context.path("sender-state", "groups", "shop", "spool"))
    return disk


def disk(context):
    """One of two groups spills to a disk that stands still."""
    mounts.need()
    harness.need("fsfreeze")
    seconds = 60 if context.long else 12
    spool = spool_on_a_disk_of_its_own(context, 2048)
    pair = harness.Pair(context, {"data": "64MiB"}, memory="64MiB", spool="1500MiB", interval="1s")
    harness.make_image(pair.primary("more"), 32 * MIB, random_megabytes=1)
    pair.start()
    pair.add_group("other", "more")
    pair.wait_state("streaming")
    pair.group = "other"
    pair.join()
    pair.wait_state("streaming")
    pair.group = "shop"
    pair.sender.cli("throttle", "set", "200kbit/s", "--group", "shop")
    loads = [harness.Load(pair, seed=1, volumes=["data"]).start(rate=800),
             harness.Load(pair, seed=2, volumes=["more"]).start(rate=100)]
    try:
        harness.retry(60, "the group spills", lambda: pair.status()["spool"]["used_bytes"] > 20 * MIB)
        before = Watch(pair)
        time.sleep(seconds)
        before.end()
        held = pair.status()["spool"]["used_bytes"]
        subprocess.run(["fsfreeze", "--freeze", spool.point], check=True)
        try:
            during = Watch(pair)
            time.sleep(seconds)
            during.end()
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", spool.point], check=True)
        was, now = (percentile(w.lags, 0.99) for w in (before, during))
        context.check(now <= max(1.5 * was, was + 1),
                      f"its disk stands still for {seconds} s: p99 of the other group's lag {now:.2f} s, {was:.2f} s "
                      "before")
        context.check(during.apart == 0 and pair.receiver.log_text().count("group other: session with") == 1,
                      "it streams all the time, on one session")
        # Its own group may lose the order: what can not be spilled fills its memory.
        context.check(max(during.answers) < 2, f"status is answered in {max(during.answers):.2f} s at most")
        harness.retry(60, "its spool grows again", lambda: pair.status()["spool"]["used_bytes"] != held)
    finally:
        for load in loads:
            load.finish()
    pair.sender.cli("throttle", "clear", "--group", "shop")
    pair.compare("afterwards its replica equals the primary")
    pair.group, pair.volumes = "other", {"more": "32MiB"}
    pair.wait()
    equal = harness.same_content(pair.primary("more"), context.path("replica-other", "more.img")) is None
    context.check(equal, "and the other group's too")


def restart(context):
    """kill -9 with a long spool."""
    wanted = (4096 if context.long else 150) * MIB
    pair = harness.Pair(context, {"data": "256MiB"}, memory="64MiB", spool="5GiB", interval="500ms")
    pair.start()
    pair.wait_state("streaming")
    pair.sender.cli("throttle", "set", "100kbit/s", "--group", "shop")
    load = harness.Load(pair, seed=3).start()
    harness.retry(900 if context.long else 240, "the spool is long",
                  lambda: pair.status()["spool"]["used_bytes"] > wanted)
    load.finish()
    held = pair.status()["spool"]["used_bytes"]
    pair.sender.kill()
    if os.geteuid() == 0:
        subprocess.run(["sync"], check=True)
        harness.write_text("/proc/sys/vm/drop_caches", "1")
    begun = time.monotonic()
    pair.sender.start()
    taken = time.monotonic() - begun
    bar = 1 if context.long else 2  # the bar, and a busy machine
    context.check(taken < bar, f"kill -9 with {held / MIB:.0f} MiB in the spool: NBD is served after {taken:.2f} s")
    pair.sender.cli("throttle", "clear", "--group", "shop")
    pair.compare("and what was in it is compared and sent: the replicas equal the primary")


def test(context):
    harness.run_parts(context, {"disk": disk, "restart": restart})


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
