"""File systems on NBD exports (nbdfuse + loop + ext4) and on copies of replicas (loop + ext4)."""

import os
import subprocess

import harness


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def need():
    """Skips the test where no file system can be mounted."""
    harness.need_root()
    harness.need("nbdfuse", "losetup", "mkfs.ext4", "mount", "umount", "e2fsck")
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            raise harness.Skip("no " + device)


def fsck(path):
    """Replays the journal, then checks without changing anything. Returns the output when unclean."""
    replayed = subprocess.run(["e2fsck", "-p", path], capture_output=True, text=True, check=False)
    checked = subprocess.run(["e2fsck", "-f", "-n", path], capture_output=True, text=True, check=False)
    if replayed.returncode not in (0, 1) or checked.returncode != 0:
        return replayed.stdout + checked.stdout + checked.stderr
    return None


class Mount:
    """ext4 on a loop device over a file: an NBD export through nbdfuse, or an ordinary image."""

    def __init__(self, context, name, uri=None, image=None):
        self.context, self.name, self.uri, self.image = context, name, uri, image
        self.point = context.path("mnt-" + name)
        self._fuse_point = context.path("fuse-" + name)
        self._fuse = None
        self._loop = None
        self._mounted = False
        os.makedirs(self.point, exist_ok=True)
        context.on_exit(self.crash)

    def attach(self):
        """Makes the loop device; returns its path."""
        file = self.image
        if self.uri:
            os.makedirs(self._fuse_point, exist_ok=True)
            file = os.path.join(self._fuse_point, "disk")
            self._fuse = harness.popen(["nbdfuse", file, self.uri], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True)
            harness.retry(10, "nbdfuse " + self.uri,
                          lambda: os.path.exists(file) or self._fuse.poll() is not None)
            if self._fuse.poll() is not None:
                raise harness.Failed("nbdfuse: " + self._fuse.stderr.read().strip())
        self._loop = run("losetup", "--find", "--show", file)
        return self._loop

    def make(self, *options):
        self.attach()
        run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", *options, self._loop)
        return self.mount()

    def mount(self, options="noatime"):
        if not self._loop:
            self.attach()
        run("mount", "-t", "ext4", "-o", options, self._loop, self.point)
        self._mounted = True
        return self

    def unmount(self):
        """In order: everything is on the volume afterwards."""
        if self._mounted:
            run("umount", self.point)
            self._mounted = False
        if self._loop:
            run("losetup", "-d", self._loop)
            self._loop = None
        if self._fuse:
            run("umount", self._fuse_point)
            self._fuse.wait(10)
            self._fuse.stderr.close()
            self._fuse = None

    def crash(self):
        """As if the host died: nbdfuse is killed, the mounts are detached lazily. Idempotent."""
        if self._fuse:
            self._fuse.kill()
            self._fuse.wait()
            self._fuse.stderr.close()
        for mounted, point in ((self._mounted, self.point), (self._fuse, self._fuse_point)):
            if mounted:
                subprocess.run(["umount", "-l", point], capture_output=True, check=False)
        if self._loop:
            subprocess.run(["losetup", "-d", self._loop], capture_output=True, check=False)
        self._mounted, self._loop, self._fuse = False, None, None
