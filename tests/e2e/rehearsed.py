"""What tests of rehearsals share: that nothing is left of one, and how a pair with a file system is made."""

import glob
import os
import subprocess
import time

import harness
import mounts


def script(context, name, text):
    path = context.path(name + ".sh")
    harness.write_text(path, "#!/bin/bash\n" + text)
    os.chmod(path, 0o755)
    return path


def processes(word):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in words and int(path.split("/")[2]) != os.getpid():
            found.append(words)
    return found


def networks():
    """Network namespaces that a process is in."""
    seen = set()
    for path in glob.glob("/proc/[0-9]*/ns/net"):
        try:
            seen.add(os.readlink(path))
        except OSError:
            pass
    return seen


def workplaces():
    return set(glob.glob(os.path.join(os.environ["TMPDIR"], "farshore-test-*")))


class Traces:
    """What there was before, and what is there now that was not."""

    def __init__(self, context, pair, word):
        self.context, self.pair, self.word = context, pair, word
        self.networks, self.places, self.loops = networks(), workplaces(), self.loop_devices()

    def loop_devices(self):
        """Those on files of this test: others use such devices, too."""
        done = subprocess.run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"], capture_output=True,
                              text=True, check=False)
        return {line.split()[0] for line in done.stdout.splitlines() if self.context.directory in line}

    def left(self):
        def below(*parts):
            return glob.glob(self.context.path(*parts, "*"))

        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounted = [line for line in file if self.context.directory in line
                       and ("farshore-test-" in line or "receiver-state" in line)]
        left = {"processes": processes(self.word), "networks": networks() - self.networks,
                "directories": workplaces() - self.places, "loops": self.loop_devices() - self.loops,
                "mounts": mounted, "openings": below("receiver-state", "groups", "*", "openings"),
                "sockets": below("run", "receiver.sock.d")}
        if self.pair.receiver.running:
            left["opened"] = self.pair.receiver.cli("opened")["opened"]
        return {what: found for what, found in left.items() if found}

    def none(self, what, patience=0):
        """`patience`: for what nobody waits for, as after a kill."""
        end = time.monotonic() + patience
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.2)
        self.context.check(not left, f"{what}: nothing is left" + (f" {left}" if left else ""))


def started(context, volumes=None, **settings):
    os.makedirs(context.path("t"), exist_ok=True)
    os.environ["TMPDIR"] = context.path("t")  # where rehearsals have their directories
    pair = harness.Pair(context, volumes or {"data": "64MiB", "my-wal": "16MiB"}, **settings)
    for volume, size in pair.volumes.items():
        if not os.path.exists(pair.primary(volume)):
            harness.make_image(pair.primary(volume), harness.size_of(size), random_megabytes=4)
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    return pair


def tests_of(pair, point):
    return next(p for p in pair.receiver.cli("points", pair.group)["points"] if p["id"] == point)["tests"]


def can_mount():
    try:
        mounts.need()
    except harness.Skip:
        return False
    return True


def make_file_system(context, pair, volume="data"):
    """ext4 in use at the primary, with a file; returns its mount."""
    mount = mounts.Mount(context, "primary-" + volume, uri=pair.uri(volume)).make()
    with open(os.path.join(mount.point, "kept"), "w", encoding="ascii") as file:
        file.write("precious\n")
    mounts.run("sync", "-f", mount.point)
    pair.wait()
    return mount
