#!/usr/bin/env python3
"""What befalls a primary's storage while nobody looks: volume, state or both are put back, a file is replaced while it
is served, the file system is shut down by an error and mounted anew in the same boot, QEMU or a loop device has the
image. After each of them `wait` leads to equal sites, and log or status say what was found.

    tests/e2e/rollback.py

Volume and state stand on an ext4 of their own in a file, so that they can be put back as storage does it: below the
file system, times and inode numbers included. Needs root.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import harness

EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_THE_LOG = 2
FILE_SYSTEM_BYTES = 256 << 20


def own_mounts():
    """A mount namespace of our own: who copies that of the host meanwhile would keep what we mount alive."""
    new_namespace, recursive, private = 0x20000, 0x4000, 0x40000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(new_namespace) != 0 or libc.mount(b"none", b"/", None, recursive | private, None) != 0:
        raise harness.Skip(f"no mount namespace: {os.strerror(ctypes.get_errno())}")


class Host:
    """The primary's storage."""

    def __init__(self, context):
        self.context, self.mounted = context, False
        self.image, self.place = context.path("host.ext4"), context.path("host")
        with open(self.image, "wb") as file:
            file.truncate(FILE_SYSTEM_BYTES)
        run("mkfs.ext4", "-q", "-F", self.image)
        os.mkdir(self.place)
        self.mount()
        context.on_exit(lambda: self.mounted and run("umount", "-l", self.place))
        for inside, outside in (("volumes", "primary"), ("state", "sender-state")):
            os.mkdir(os.path.join(self.place, inside), 0o700)
            os.symlink(os.path.join(self.place, inside), context.path(outside))

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop", self.image, self.place], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise harness.Skip("can't mount a file system in a file: " + done.stderr.strip())
        self.mounted = True

    def umount(self):
        harness.retry(10, "umount", lambda: subprocess.run(["umount", self.place], check=False).returncode == 0)
        self.mounted = False

    def shut_down(self):
        """As by an I/O error: nothing more gets to the disk, what is in memory only is lost."""
        place = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(place, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_THE_LOG))
        except OSError as error:
            raise harness.Skip(f"can't shut a file system down: {error}") from None
        finally:
            os.close(place)


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


def write(pair, offset, length, pattern):
    run("qemu-io", "-f", "raw", "-c", f"write -P {pattern} {offset} {length}", pair.uri("data"))


class Story:
    """One event: what the sender's log says from here on."""

    def __init__(self, context, pair, name):
        self.context, self.pair, self.name = context, pair, name
        self.begin = len(pair.sender.log_text())

    def log(self):
        return self.pair.sender.log_text()[self.begin:]

    def says(self, *words):
        text = self.log()
        for word in words:
            self.context.check(word in text, f"{self.name}: the log says \"{word}\"")

    def never_says(self, word):
        self.context.check(word not in self.log(), f"{self.name}: the log does not say \"{word}\"")

    def ends_equal(self):
        self.pair.wait()
        self.pair.compare(f"{self.name}: the replica equals the primary")
        status = self.pair.status()
        self.context.check(status["state"] == "streaming" and not status["error"],
                           f"{self.name}: streaming, no error ({status['state']}, {status['error']})")


def stop(pair):
    pair.context.check(pair.sender.stop() == 0, "the sender stops in order")


def volume_alone(context, pair):
    old = context.path("old.img")
    shutil.copyfile(pair.primary("data"), old)
    write(pair, "3M", "1M", 0x31)
    pair.wait()
    story = Story(context, pair, "volume put back after a stop")
    stop(pair)
    shutil.copyfile(old, pair.primary("data"))
    pair.sender.start()
    story.says("somebody wrote to it while it was not served")
    story.ends_equal()

    write(pair, "4M", "1M", 0x32)
    pair.wait()
    story = Story(context, pair, "volume put back after a kill")
    pair.sender.kill()
    time.sleep(3.5)
    shutil.copyfile(old, pair.primary("data"))
    pair.sender.start()
    story.says("somebody wrote to it while it was not served")
    story.ends_equal()

    story = Story(context, pair, "nobody wrote")
    stop(pair)
    pair.sender.start()
    pair.wait()
    pair.sender.kill()
    pair.sender.start()
    story.says("clean stop, 0 of", "same boot, 0 of")
    story.never_says("compare_all")
    story.never_says("compare_changed")
    story.ends_equal()


def both(context, pair, host):
    old = context.path("old.ext4")
    stop(pair)
    host.umount()
    shutil.copyfile(host.image, old)
    host.mount()
    pair.sender.start()
    for i in range(5):
        write(pair, f"{10 + i}M", "64k", 0x40 + i)
        pair.wait()
    story = Story(context, pair, "volume and state put back")
    stop(pair)
    host.umount()
    shutil.copyfile(old, host.image)
    host.mount()
    pair.sender.start()
    story.ends_equal()
    story.says("clean stop, 0 of", "ahead of what this primary remembers")
    story.never_says("everything is compared")


def state_alone(context, pair):
    stop(pair)
    state, old = context.path("host", "state"), context.path("old-state")
    shutil.copytree(state, old)
    pair.sender.start()
    write(pair, "20M", "1M", 0x51)
    pair.wait()
    story = Story(context, pair, "state put back")
    stop(pair)
    shutil.rmtree(state)
    shutil.copytree(old, state)
    pair.sender.start()
    story.ends_equal()
    story.says("somebody wrote to it while it was not served")


def replaced_while_served(context, pair):
    story = Story(context, pair, "file replaced while it is served")
    image = pair.primary("data")
    shutil.copyfile(image, image + ".new")
    write(pair, "30M", "1M", 0x61)
    os.replace(image + ".new", image)
    harness.retry(15, "the replaced file is noticed", lambda: pair.status()["state"] == "failed")
    context.check("is another file by now" in pair.status()["error"], f"{story.name}: {pair.status()['error']}")
    pair.sender.cli("wait", pair.group, "--timeout", "5s", code=None)
    context.check(pair.sender.cli_raw("wait", pair.group, "--timeout", "5s").returncode != 0,
                  f"{story.name}: wait does not say that all is well")
    pair.sender.stop()
    pair.sender.start()
    story.says("another file stands in its place")
    story.ends_equal()


def file_system_shut_down(context, pair, host):
    run("sync", "-f", host.place)  # what this test itself has put back
    for how in ("stop", "kill"):
        story = Story(context, pair, f"file system shut down, {how}")
        write(pair, "40M", "1M", 0x70)
        pair.wait()
        write(pair, "40M", "64k", 0x71)
        write(pair, "41M", "64k", 0x72)
        pair.wait()  # the DR site has it, the primary's disk perhaps not
        host.shut_down()
        code = pair.sender.stop() if how == "stop" else pair.sender.kill()
        host.umount()
        subprocess.run(["e2fsck", "-fp", host.image], check=False, capture_output=True)
        host.mount()
        pair.sender.start()
        if how == "stop" and code != -signal.SIGBUS:  # a page of the map may be out of reach
            story.says("not stopped cleanly")
        story.says("dirty map: mounted anew")
        story.ends_equal()


def others(context, pair):
    image = pair.primary("data")
    story = Story(context, pair, "QEMU has the image")
    stop(pair)
    holder = harness.popen(["qemu-nbd", "-f", "raw", "-k", context.path("run", "qemu.sock"), "-t", image])
    harness.retry(10, "qemu-nbd listens", lambda: os.path.exists(context.path("run", "qemu.sock")))
    pair.sender.start(wait_ready=False)
    harness.retry(15, "the sender sees QEMU", lambda: "in use" in story.log())
    story.says("qemu-nbd (pid")
    pair.sender.kill()
    holder.terminate()
    holder.wait()
    pair.sender.start()
    done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 4k", image], capture_output=True, text=True,
                          check=False)
    context.check("lock" in done.stdout + done.stderr, "QEMU is kept out of a volume that is served")
    done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 4k", pair.replica("data")], capture_output=True,
                          text=True, check=False)
    context.check("lock" in done.stdout + done.stderr, "QEMU is kept out of a replica image")
    story.ends_equal()

    story = Story(context, pair, "a loop device on a volume that is served")
    loop = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=True).stdout.strip()
    context.on_exit(lambda: subprocess.run(["losetup", "-d", loop], check=False, capture_output=True))
    harness.retry(15, "the loop device is noticed", lambda: pair.status()["state"] == "failed")
    context.check(loop in pair.status()["error"], f"{story.name}: {pair.status()['error']}")
    with open(loop, "r+b", buffering=0) as device:
        device.seek(50 << 20)
        device.write(b"\x55" * 65536)
        os.fsync(device.fileno())
    run("losetup", "-d", loop)
    pair.sender.stop()
    pair.sender.start()
    story.says("while it was served")
    story.ends_equal()


def test(context):
    harness.need_root()
    harness.need("mkfs.ext4", "e2fsck", "losetup", "qemu-io", "qemu-nbd")
    own_mounts()
    host = Host(context)
    pair = harness.Pair(context, {"data": "64MiB"})
    context.on_exit(pair.sender.kill)
    pair.start()
    pair.wait_state("streaming", timeout=60)
    write(pair, "1M", "2M", 0x11)
    pair.compare("at first the replica equals the primary")
    volume_alone(context, pair)
    both(context, pair, host)
    state_alone(context, pair)
    replaced_while_served(context, pair)
    others(context, pair)
    file_system_shut_down(context, pair, host)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
