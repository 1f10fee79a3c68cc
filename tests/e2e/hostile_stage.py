"""The stage of hostile.py: two real sites, a group under attack, a bystander, and what must hold after each attack."""

import os
import random
import shutil
import subprocess
import threading
import time

import harness
import hostile_peer as hostile

MIB = 1 << 20
MEMORY = 128 * MIB
SIZE = 16 * MIB


class Watch:
    """The most resident memory that a daemon had since it began."""

    def __init__(self, daemon):
        self.daemon, self.most, self.ended = daemon, 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ended:
            try:
                self.most = max(self.most, self.daemon.rss_bytes())
            except (OSError, AttributeError, ValueError):
                pass
            time.sleep(0.05)

    def end(self):
        self.ended = True
        self.thread.join()
        return self.most


class Stage:
    """Both daemons with the group under attack (shop) and a bystander, and the hostile peer's keys."""

    def __init__(self, context):
        self.context = context
        self.pair = harness.Pair(context, {"data": SIZE}, memory=f"{MEMORY // MIB}MiB", interval="200ms")
        harness.make_image(self.pair.primary("data"), SIZE, random_megabytes=4)
        self.pair.start()
        harness.make_image(self.pair.primary("other"), SIZE, random_megabytes=2, seed=2)
        self.pair.add_group("bystander", "other")
        self.pair.group = "bystander"
        self.pair.join()
        self.pair.wait()
        self.pair.group = "shop"
        self.pair.wait()
        self.sender_keys = context.path("sender-keys")
        self.receiver_keys = context.path("receiver-keys")
        for state, keys in (("sender-state", self.sender_keys), ("receiver-state", self.receiver_keys)):
            os.makedirs(keys, exist_ok=True)
            for name in os.listdir(context.path(state)):
                if name.startswith("identity") or name == "sender.id":
                    shutil.copy(context.path(state, name), keys)
        self.volumes = [("data", SIZE)]

    def write(self, offset, text):
        done = subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {text} {offset} 64k",
                               self.pair.uri("data")], capture_output=True, text=True, check=False)
        self.context.check(done.returncode == 0 and "error" not in done.stdout,
                           f"the volume takes writes {done.stderr.strip()}")

    def session(self, **options):
        return hostile.Sender(self.pair.port, self.sender_keys, "shop", self.volumes, **options)

    def lives(self, daemon, what, most):
        answered = daemon.cli_raw("--json", "status", timeout=20)
        self.context.check(daemon.running and answered.returncode == 0, f"{what}: the {daemon.role} lives and answers")
        self.context.check(most <= MEMORY + 64 * MIB, f"{what}: at most {most / MIB:.0f} MiB resident")

    def against_receiver(self, what, attack):
        """`attack` with the sender down and the bystander's session gone; then all is well again."""
        pair = self.pair
        pair.sender.stop()
        watch = Watch(pair.receiver)
        try:
            attack()
        finally:
            most = watch.end()
        self.lives(pair.receiver, what, most)
        pair.sender.start()
        self.honest(what)

    def against_sender(self, what, serve, seconds=4, during=None):
        """`serve` in the place of the receiver while clients write; then the honest one is back."""
        pair = self.pair
        pair.receiver.stop()
        watch = Watch(pair.sender)
        process = pair.sender.process
        server = hostile.Server(pair.port, self.receiver_keys, serve)
        try:
            end = time.monotonic() + seconds
            harness.retry(15, "the sender comes to the hostile DR site", lambda: server.sessions)
            self.write(0, random.randrange(1, 250))
            if during:
                during(server)
            while time.monotonic() < end:
                time.sleep(0.1)
            self.write(1 << 20, random.randrange(1, 250))
        finally:
            server.close()
            most = watch.end()
        self.context.check(pair.sender.process is process and pair.sender.running, f"{what}: the storage did not end")
        self.lives(pair.sender, what, most)
        pair.receiver.start()
        self.honest(what)

    def honest(self, what):
        for group, volume in (("bystander", "other"), ("shop", "data")):
            self.pair.group = group
            self.pair.wait(timeout=90)
            replica = self.context.path("replica" if group == "shop" else "replica-bystander", volume + ".img")
            same = harness.same_content(self.pair.primary(volume), replica)
            self.context.check(same is None, f"{what}: {group} is equal at both sites")
