#!/usr/bin/env python3
"""A guest that is put back to the second before a mistake. Its disk is served by the sender; it writes files, each
synced and told on its console with its sum. Then somebody types `rm -rf` there. At the DR site the point of one second
before is opened writable and booted, while the first guest and the replication go on: all files of before must be
there with their sums, and the guest must be able to write. The same point is exported to vmdk and vhdx (--long: and
booted from these). KVM where it boots a kernel, else TCG.

It needs qemu-system-x86_64, and a Debian kernel with its modules and a static busybox: below / (`deploy/deps.sh
guest`), or below $FARSHORE_GUEST, where linux-image-*-cloud-amd64 and busybox-static were unpacked with `dpkg-deb -x`.
"""

import glob
import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

import harness

MODULES = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
BOOT_SECONDS = 240  # without KVM, on a busy machine
KVM_SECONDS = 15  # a kernel's first words take one

# In memory, until the disk is there.
FIRST = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /dev /root
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for turn in 1 2 3; do # they need each other, in an order that is the kernel's own
    for m in /modules/*.ko; do $b insmod $m 2>/dev/null; done
done
n=0
while [ ! -e /dev/vda ] && [ $n -lt 300 ]; do $b sleep 0.1; n=$((n + 1)); done
$b mount -t ext4 /dev/vda /root || { echo "GUEST has no root"; $b poweroff -f; }
exec $b switch_root /root /sbin/init
"""

# The guest's own first program, on the disk.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
echo "GUEST booted $(uname -r)"
look() {
    good=$(cd /data && md5sum -c sums 2>/dev/null | grep -c ': OK$')
    echo "GUEST has $good good files"
    echo new >/data/new && sync && [ "$(cat /data/new)" = new ] && echo "GUEST writes"
    poweroff -f
}
work() {
    n=0
    mkdir -p /data /later
    while :; do
        n=$((n + 1))
        where=/data
        [ -e /gone ] && where=/later
        dd if=/dev/urandom of=$where/f$n bs=4k count=8 2>/dev/null
        (cd $where && md5sum f$n >>sums)
        sync
        echo "GUEST wrote $n in $where"
    done
}
case "$(cat /proc/cmdline)" in
*farshore=look*) look ;;
esac
work &
read -r order
touch /gone
rm -rf /data
sync
echo "GUEST removed"
wait
"""


class Parts:
    """Kernel, modules and busybox of Debian packages."""

    def __init__(self):
        root = os.environ.get("FARSHORE_GUEST") or "/"
        kernels = sorted(glob.glob(os.path.join(root, "boot/vmlinuz-*")))
        if not kernels:
            raise harness.Skip(f"no kernel below {root}: deploy/deps.sh guest, or set FARSHORE_GUEST")
        self.kernel = kernels[-1]
        self.modules = os.path.join(root, "lib/modules", os.path.basename(self.kernel).partition("-")[2])
        places = [os.path.join(root, name) for name in ("bin/busybox", "usr/bin/busybox")]
        self.busybox = next((place for place in places if os.path.exists(place) and is_static(place)), None)
        if not self.busybox:
            raise harness.Skip(f"no static busybox below {root}: deploy/deps.sh guest, or set FARSHORE_GUEST")
        self.accelerator = "kvm" if self.kvm_boots() else "tcg"

    def kvm_boots(self):
        """Inside some virtual machines /dev/kvm is there and a guest never gets past its boot loader."""
        if not os.access("/dev/kvm", os.W_OK):
            return False
        words = ["qemu-system-x86_64", "-accel", "kvm", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
                 "-serial", "stdio", "-kernel", self.kernel, "-append", "console=ttyS0 panic=-1"]
        try:
            done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=KVM_SECONDS,
                                  check=False)
        except subprocess.TimeoutExpired:
            print(f"KVM does not boot a kernel within {KVM_SECONDS} s here: TCG")
            return False
        return b"Linux version" in done.stdout

    def module(self, name):
        found = glob.glob(os.path.join(self.modules, "**", name + ".ko"), recursive=True)
        return found[0] if found else None  # else it is in the kernel


def is_static(path):
    """Whether an ELF program of 64 bits names no interpreter (PT_INTERP)."""
    program = read(path)
    first, = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return 3 not in (struct.unpack_from("<I", program, first + i * size)[0] for i in range(count))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def archive(entries):
    """A cpio archive ("newc") of (name, mode, content), as the kernel takes for its first file system."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + "".join(f"{field:08X}" for field in fields).encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def make_first(parts, path):
    directory, program = 0o040755, 0o100755
    entries = [("bin", directory, b""), ("modules", directory, b""), ("dev", directory, b""),
               ("bin/busybox", program, read(parts.busybox)),
               ("init", program, FIRST.encode())]
    for name in MODULES:
        if parts.module(name):
            entries.append((f"modules/{name}.ko", 0o100644, read(parts.module(name))))
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(archive(entries))


def make_disk(context, parts, path, megabytes):
    """ext4 with a busybox system."""
    tree = context.path("tree")
    for folder in ("bin", "sbin", "proc", "dev", "etc", "data"):
        os.makedirs(os.path.join(tree, folder))
    shutil.copy(parts.busybox, os.path.join(tree, "bin/busybox"))
    harness.write_text(os.path.join(tree, "sbin/init"), INIT)
    for name in ("bin/busybox", "sbin/init"):
        os.chmod(os.path.join(tree, name), 0o755)
    harness.make_image(path, megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, path], check=True)


class Guest(threading.Thread):
    """A virtual machine, and the lines of its console with the time at which they came."""

    def __init__(self, context, parts, name, disk, task, disk_format="raw"):
        super().__init__(daemon=True)
        self.lines = []
        first = context.path("first.gz")
        if not os.path.exists(first):
            make_first(parts, first)
        words = ["qemu-system-x86_64", "-accel", parts.accelerator, "-m", "256", "-nodefaults", "-display", "none",
                 "-no-reboot", "-serial", "stdio", "-kernel", parts.kernel, "-initrd", first,
                 "-append", f"console=ttyS0 quiet panic=-1 farshore={task}",
                 "-drive", f"file={disk},format={disk_format},if=none,id=disk", "-device", "virtio-blk-pci,drive=disk"]
        self.log = context.path(f"guest-{name}.log")
        context.logs.append(self.log)
        self.process = harness.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        context.on_exit(self.end)
        self.start()

    def run(self):
        with open(self.log, "wb") as log:
            for line in self.process.stdout:
                self.lines.append((time.time(), line.decode(errors="replace").strip()))
                log.write(line)
                log.flush()

    def types(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def said(self, pattern):
        """(time, match) of each line with it."""
        found = ((at, re.search(pattern, line)) for at, line in list(self.lines))
        return [(at, match) for at, match in found if match]

    def says(self, pattern, seconds=BOOT_SECONDS, times=1):
        def enough():
            seen = self.said(pattern)
            if len(seen) < times and self.process.poll() is not None:
                raise harness.Failed(f"the guest ended ({self.process.returncode}) and never said {pattern}")
            return len(seen) >= times and seen
        return harness.retry(seconds, f"the guest says {pattern}", enough)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def rfc3339(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment * 1000) % 1000:03}Z"


def looked_at(context, guest, promised, written, what):
    """What a guest that was booted from the point found on its disk."""
    guest.says("GUEST booted")
    good = int(guest.says(r"GUEST has (\d+) good files")[-1][1].group(1))
    context.check(promised <= good <= written,
                  f"{what}: booted; {promised} files were synced before the point, {good} are there, {written} in all")
    guest.says("GUEST writes", 30)
    context.check(True, f"{what}: and it can write")
    guest.process.wait(60)


def exports(context, pair, parts, point, promised, written):
    for form in ("vmdk", "vhdx"):
        target = context.path("point." + form)
        document = pair.receiver.cli("export", pair.group, "data", "--point", point, "--to", target, "--format", form)
        context.check(os.path.getsize(target) > 0 and document["format"] == form,
                      f"exported to {form}, compared with the point")
        if context.long:
            looked_at(context, Guest(context, parts, form, target, "look", disk_format=form), promised, written, form)


def test(context):
    harness.need("qemu-system-x86_64", "qemu-img", "mkfs.ext4")
    parts = Parts()
    os.makedirs(context.path("primary"))
    make_disk(context, parts, context.path("primary", "data.img"), 256)
    pair = harness.Pair(context, {"data": 256 << 20}, interval="200ms").start()
    pair.wait_state("streaming")
    pair.wait()
    primary = Guest(context, parts, "primary", pair.uri("data"), "work")
    primary.says(r"GUEST wrote \d+ in /data", times=10)
    time.sleep(60 if context.long else 4)

    moment = time.time()
    primary.types("rm")
    primary.says("GUEST removed", 60)
    removed = time.time()
    written = len(primary.said("GUEST wrote .* in /data"))
    pair.wait()
    point = rfc3339(moment - 1)
    opened = pair.receiver.cli("open", pair.group, "--point", point, "--writable", "--nbd",
                               "unix:" + context.path("run", "before.nbd"))
    cut = {p["id"]: p["time"] for p in pair.receiver.cli("points", pair.group)["points"]}[opened["point"]]
    promised = sum(rfc3339(at) < cut for at, _ in primary.said("GUEST wrote .* in /data"))
    context.say(f"removed at {rfc3339(moment)}, asked for {point}, open is point {opened['point']} of {cut}")
    looked_at(context, Guest(context, parts, "before", opened["uris"]["data"], "look"), promised, written,
              "the second before")
    context.check(primary.process.poll() is None and primary.said("GUEST wrote .* in /later")[-1][0] > removed,
                  "the first guest worked on meanwhile")
    status = pair.status()
    context.check(status["state"] == "streaming" and not status["error"], f"replication too, lag {status['lag']}")
    exports(context, pair, parts, opened["point"], promised, written)
    pair.receiver.cli("close", opened["id"])
    primary.end()
    pair.compare()


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
