#!/usr/bin/env python3
"""Copies that leave the DR site and come back: every format of `export`, compared with the point while clients write;
a whole group as a tar through a pipe, and `import` of it as the seed of another receiver's group; damaged streams;
`restore` of a partitioned disk to a larger one and one with other sectors. Full disks, closed pipes, Ctrl-C, kill -9:
nothing that looks whole is left, and no point stays open.

    tests/e2e/carry.py [--long]
"""

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import harness

MIB = 1 << 20

FORMATS = ("raw", "qcow2", "vmdk", "vhdx", "vdi")


class Site:
    """A pair of two volumes with holes, that clients write to; and a point that stays open for comparisons."""

    def __init__(self, context):
        self.context = context
        pair = self.pair = harness.Pair(context, {"data": "48MiB", "wal": "16MiB"}, interval="500ms")
        for number, (name, at) in enumerate((("data", 0), ("data", 20 * MIB), ("wal", 3 * MIB))):
            with open(pair.primary(name), "r+b") as file:
                file.seek(at)
                file.write(hashlib.shake_128(bytes([number])).digest(2 * MIB))
        pair.start()
        pair.wait_state("streaming")
        self.load = harness.Load(pair, seed=11, chains=1).start(rate=50)
        time.sleep(1)
        self.point = str(pair.wait()["point"])
        self.opened = pair.receiver.cli("open", pair.group, "--point", self.point, "--nbd",
                                        "unix:" + context.path("run", "compare.nbd"))

    def export(self, *words, code=0):
        return self.pair.receiver.cli("export", self.pair.group, *words, code=code)

    def equal(self, volume, path, image_format="raw"):
        done = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", image_format,
                               self.opened["uris"][volume], path], capture_output=True, text=True, check=False)
        return done.returncode == 0

    def nothing_left(self, what, path):
        listed = self.pair.receiver.cli("opened")["opened"]
        self.context.check([o["id"] for o in listed] == [self.opened["id"]], f"{what}: no point stays open for it")
        there = sorted(os.listdir(os.path.dirname(path)))
        self.context.check(not [n for n in there if n.startswith(os.path.basename(path))],
                           f"{what}: nothing of it is left ({there})")


def formats(context, site):
    os.makedirs(context.path("out"), exist_ok=True)
    for image_format in FORMATS:
        path = context.path("out", "data." + image_format)
        document = site.export("data", "--point", site.point, "--to", path, "--format", image_format)
        wanted = {"group": site.pair.group, "volume": "data", "point": site.point, "file": path,
                  "format": image_format, "bytes": os.path.getsize(path), "sha256": harness.sha256_of(path)}
        context.check(document == wanted, f"{image_format}: the document says what is there: {json.dumps(document)}")
        context.check(site.equal("data", path, image_format), f"{image_format}: it shows the point")
        if image_format in ("raw", "qcow2"):
            stored = os.stat(path).st_blocks * 512
            context.check(stored < 12 * MIB, f"{image_format}: holes are kept ({stored} bytes stored of 48 MiB)")
    context.check(b"data.vmdk" in open(context.path("out", "data.vmdk"), "rb").read(4096),
                  "vmdk: it names the file that it is in, not the partial one")
    path = context.path("out", "data.raw")
    refused = site.export("data", "--to", path, code=13)
    context.check("--force" in refused["error"]["message"], f"an existing file is kept: {refused['error']['message']}")
    site.export("data", "--point", site.point, "--to", path, "--force", "--no-compare")
    context.check(site.equal("data", path), "with --force it is replaced")
    asked = site.export("--to", context.path("out", "x"), "--format", "qcow2", code=2)
    context.check("several volumes" in asked["error"]["message"], asked["error"]["message"])
    unknown = site.export("nosuch", "--to", context.path("out", "x"), code=10)
    context.check("data, wal" in unknown["error"]["message"], unknown["error"]["message"])
    site.export("data", "--point", "99999999", "--to", context.path("out", "x"), code=10)
    site.nothing_left("refusals", context.path("out", "x"))


def to_pipe(context, site):
    words = [harness.find("farshore"), "--socket", site.pair.receiver.control, "--json", "export", site.pair.group]
    done = subprocess.run(words + ["data", "--point", site.point, "--to", "-"], capture_output=True, check=False)
    document = json.loads(done.stderr.splitlines()[-1])
    context.check(done.returncode == 0 and hashlib.sha256(done.stdout).hexdigest() == document["sha256"]
                  and len(done.stdout) == 48 * MIB, "raw to a pipe: whole, its sum in the document on standard error")
    with open(context.path("out", "data.raw"), "rb") as file:
        context.check(file.read() == done.stdout, "and the same as the file")
    closed = subprocess.Popen(words + ["data", "--to", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    closed.stdout.read(MIB)
    closed.stdout.close()
    said = json.loads(closed.stderr.read().splitlines()[-1])
    context.check(closed.wait(30) == 1 and "ended before it had all" in said["error"]["message"],
                  f"a pipe that closes: exit 1, {said['error']['message']}")
    site.nothing_left("a pipe that closes", context.path("out", "none"))


def unwritable(context, site):
    """A limit of file sizes stands for the full disk where there is no root to mount a small one."""
    path = context.path("out", "big.raw")
    words = [harness.find("farshore"), "--socket", site.pair.receiver.control, "--json", "export", site.pair.group]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for image_format in ("raw", "qcow2"):
        done = subprocess.run(words + ["data", "--to", path, "--format", image_format], capture_output=True,
                              text=True, preexec_fn=limited, check=False)
        said = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        context.check(done.returncode == 1 and path in said.get("error", {}).get("message", ""),
                      f"{image_format} beyond the limit of file sizes: {said}")
        site.nothing_left(f"{image_format} beyond the limit", path)
    missing = site.export("data", "--to", context.path("nosuch", "x"), code=1)
    context.check("No such file" in missing["error"]["message"], missing["error"]["message"])
    if os.geteuid() != 0:
        context.say("SKIPPED: a full disk and a read-only one (tmpfs) need root")
        return
    small = context.path("small")
    os.makedirs(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    context.on_exit(lambda: subprocess.run(["umount", "-l", small], check=False))
    for words in (["data", "--format", "raw"], ["data", "--format", "qcow2"], ["data", "--format", "vhdx"], []):
        path = os.path.join(small, "x")
        said = site.export(*words, "--to", path, code=1)["error"]
        context.check(said["code"] == "no_space" and path in said["message"],
                      f"a full disk, {words or 'tar'}: {said['message']}")
        site.nothing_left(f"a full disk, {words or 'tar'}", path)
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    said = site.export("data", "--to", os.path.join(small, "x"), code=1)["error"]
    context.check("Read-only" in said["message"], f"a read-only disk: {said['message']}")


def ended(context, site):
    """Ctrl-C takes back what was begun; kill -9 leaves a name that says so, and no point open."""
    words = [harness.find("farshore"), "--socket", site.pair.receiver.control, "--json", "export", site.pair.group]
    path = context.path("out", "ended.raw")
    for number, what in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "kill -9")):
        # A reader that does not read keeps the stream going, and the point open, for as long as we like.
        stream = subprocess.Popen(words + ["data", "--to", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        harness.retry(20, "the point is open", lambda: len(site.pair.receiver.cli("opened")["opened"]) == 2)
        time.sleep(0.3)
        stream.send_signal(number)
        stream.wait(20)
        stream.stdout.close()
        stream.stderr.close()
        expected = -9 if number == signal.SIGKILL else 130
        context.check(stream.returncode == expected, f"{what} ends a stream: {stream.returncode}")
        harness.retry(20, f"{what}: the point is closed",
                      lambda: len(site.pair.receiver.cli("opened")["opened"]) == 1)
        site.nothing_left(what + " of a stream", path)
    reader, writer = os.pipe()  # nobody reads
    late = subprocess.run(words + ["data", "--to", "-", "--timeout", "1s"], stdout=writer, stderr=subprocess.PIPE,
                          timeout=30, check=False)
    os.close(reader)
    os.close(writer)
    context.check(late.returncode == 15 and b"--timeout 1s" in late.stderr, f"--timeout: {late.stderr.decode()}")
    for number, what in ((signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "kill -9")):
        left = stopped_at_partial(site, words + ["data", "--to", path], path, number)
        context.check(not os.path.exists(path), f"{what} in the middle of a file: no file of its name")
        context.check((left == []) == (number == signal.SIGTERM), f"{what}: what is left says so: {left}")
        for name in left:
            os.unlink(os.path.join(os.path.dirname(path), name))
    harness.retry(20, "the point is closed", lambda: len(site.pair.receiver.cli("opened")["opened"]) == 1)


def stopped_at_partial(site, words, path, number):
    """Ends the command as soon as its partial file is there; what is left of it."""
    directory, name = os.path.split(path)

    def partial():
        return [n for n in os.listdir(directory) if n.startswith(name)]
    for _ in range(20):
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and not partial():
            pass
        child.send_signal(number)
        if child.wait(20) != 0:
            return partial()
        os.unlink(path)  # it was faster than we
    raise harness.Failed("the export was never caught in the middle")


def whole_group(context, site):
    path = context.path("out", "shop.tar")
    document = site.export("--point", site.point, "--to", path)
    context.check(document["volume"] is None and document["format"] == "tar"
                  and document["sha256"] == harness.sha256_of(path) and document["bytes"] == os.path.getsize(path),
                  f"a whole group: {json.dumps(document)}")
    context.check(os.path.getsize(path) < 30 * MIB, "holes are kept in the tar")
    with tarfile.open(path) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile(names[-1]))
    context.check(names == ["data.img", "wal.img", "manifest.json"], f"its entries: {names}")
    context.check(manifest["point"] == site.point and manifest["facts"]["id"] == site.point and
                  manifest["volumes"] == document["volumes"], "the manifest is last and has the point's facts")
    unpacked = context.path("unpacked")
    os.makedirs(unpacked)
    subprocess.run(["tar", "-xf", path, "-C", unpacked], check=True)
    for volume in site.pair.volumes:
        image = os.path.join(unpacked, volume + ".img")
        listed = next(v for v in manifest["volumes"] if v["name"] == volume)
        context.check(site.equal(volume, image) and harness.sha256_of(image) == listed["sha256"],
                      f"GNU tar unpacks {volume}.img as the point has it")
    single = context.path("out", "only.tar")
    site.export("--tar", "--point", site.point, "--to", single)
    context.check(harness.sha256_of(single) == document["sha256"], "the same point makes the same stream")
    return path


def damages(path):
    """Name, bytes of the stream, words of the refusal."""
    with open(path, "rb") as file:
        good = file.read()
    manifest_at = good.index(b'"farshore-group"')

    def flipped(at):
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]
    yield "a flipped bit of the content", flipped(MIB), "damaged"
    yield "a flipped bit of the manifest", flipped(good.index(b'"point"', manifest_at - 500) + 9), "its own sum"
    yield "truncated in a volume", good[:MIB], "no whole tar"
    yield "truncated before the manifest", good[:good.rindex(b"manifest.json") // 512 * 512 - 2048], ""
    yield "another program's file", b"hello\n" * 1000, "no whole tar"
    yield "nothing", b"", "no whole tar"
    yield "a foreign tar", tar_of({"etc/passwd": b"x"}), "etc/passwd"
    yield "a path that climbs", tar_of({"../data.img": b"x"}), "../data.img"
    yield "a link", tar_of({"data.img": None}), "no plain file"
    yield "no manifest", tar_of({"data.img": b"x" * 4096}), "without its manifest"


def tar_of(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def second_receiver(context, site):
    """Another DR site for the same primary, with nothing yet."""
    child = harness.Context(context.options)
    context.on_exit(child.close)
    os.makedirs(child.path("primary"))
    for volume, uri in site.opened["uris"].items():
        image = child.path("primary", volume + ".img")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", uri, image], check=True)
        with open(image, "r+b") as file:  # what was written since
            file.seek(5 * MIB)
            file.write(os.urandom(100_000))
    return child, harness.Pair(child, site.pair.volumes, interval="500ms")


def imported(context, site, path):
    child, other = second_receiver(context, site)
    other.receiver.start()
    replica = os.path.dirname(other.replica("data"))
    for what, stream, words in damages(path):
        with open(child.path("bad.tar"), "wb") as file:
            file.write(stream)
        said = other.receiver.cli("import", other.group, "--from", child.path("bad.tar"), code=1)["error"]
        context.check(words in said["message"] and os.listdir(replica) == [],
                      f"import of {what}: nothing is kept: {said['message']}")
    write = [harness.find("farshore"), "--socket", site.pair.receiver.control, "export", site.pair.group, "--point",
             site.point, "--to", "-"]
    read = [harness.find("farshore"), "--socket", other.receiver.control, "--json", "import", other.group, "--from",
            "-"]
    writer = subprocess.Popen(write, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader = subprocess.run(read, stdin=writer.stdout, capture_output=True, text=True, check=False)
    writer.stdout.close()
    context.check(writer.wait(30) == 0 and reader.returncode == 0, f"export | import: {reader.stdout} {reader.stderr}")
    for volume in site.pair.volumes:
        context.check(site.equal(volume, other.replica(volume)), f"the seed of {volume} is the point")
    again = other.receiver.cli("import", other.group, "--from", path, code=13)["error"]
    context.check("is there already" in again["message"], f"images that are there are kept: {again['message']}")
    other.sender.start()
    other.join()
    other.wait_state("streaming")
    other.wait()
    wire = other.status()["bytes"]["wire"]
    context.check(wire < MIB, f"the seeded group is compared, not shipped: {wire} bytes on the line for 6 MiB")
    other.compare("and it equals its primary")
    late = other.receiver.cli("import", other.group, "--from", path, code=13)["error"]
    context.check("has a copy already" in late["message"], f"a group with a copy takes no seed: {late['message']}")
    other.sender.kill()
    other.receiver.kill()


def chain(context):
    """Ten incremental exports on one whole one: each has only what changed, the chain equals the direct export."""
    child = harness.Context(context.options)
    context.on_exit(child.close)
    pair = harness.Pair(child, {"data": "64MiB"}, interval="500ms")
    with open(pair.primary("data"), "r+b") as file:
        file.write(hashlib.shake_128(b"first").digest(32 * MIB))
    pair.start()
    pair.wait_state("streaming")
    receiver = pair.receiver

    def write(number):
        for at in range(10):  # 1 % in blocks here and there; and what becomes zero
            place = (number * 7919 + at * 104729) % (32 * MIB // 4096) * 4096
            nbd_write(pair.uri("data"), ["write -P %d %d 32768" % (number + 1, place)])
        nbd_write(pair.uri("data"), ["write -z %d 65536" % (number * 2 * MIB)])
        return str(pair.wait()["point"])
    points = [str(pair.wait()["point"])]
    files = [child.path("0.qcow2")]
    receiver.cli("export", pair.group, "data", "--point", points[0], "--to", files[0], "--format", "qcow2")
    for number in range(1, 11):
        points.append(write(number))
        files.append(child.path(f"{number}.qcow2"))
        before = read_bytes(receiver)
        document = receiver.cli("export", pair.group, "data", "--since", points[-2], "--point", points[-1], "--backing",
                                files[-2], "--to", files[-1], "--no-compare")
        seen = read_bytes(receiver) - before
        if number == 1:
            context.check(document["since"] == points[0] and document["backing"] == files[0]
                          and document["format"] == "qcow2", f"an incremental export: {json.dumps(document)}")
        context.check(document["changed_bytes"] <= 10 * 32768 + 65536 and document["bytes"] < 3 * MIB,
                      f"{number}: {document['changed_bytes']} bytes changed, the file has {document['bytes']}")
        context.check(seen <= 1.2 * document["changed_bytes"] + MIB,
                      f"{number}: the receiver read {seen} bytes for it")
    direct = child.path("direct.raw")
    receiver.cli("export", pair.group, "data", "--point", points[-1], "--to", direct)
    same = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", files[-1], direct], capture_output=True,
                          text=True, check=False)
    context.check(same.returncode == 0, f"the chain of ten equals the direct export: {same.stdout.strip()}")
    last = child.path("compared.qcow2")
    receiver.cli("export", pair.group, "data", "--since", points[0], "--point", points[-1], "--backing", files[0],
                 "--to", last)
    context.check(os.path.exists(last), "ten points in one increment, compared by the command itself")
    wrong = receiver.cli("export", pair.group, "data", "--since", points[5], "--point", points[-1], "--backing",
                         files[0], "--to", child.path("wrong.qcow2"), code=1)["error"]["message"]
    context.check("does not show" in wrong and not os.path.exists(child.path("wrong.qcow2")),
                  f"a backing image that is of another point is found: {wrong}")
    for since, code in (("99999999", 10), (points[-1], 2)):
        said = receiver.cli("export", pair.group, "data", "--since", since, "--point", points[2], "--to",
                            child.path("x.qcow2"), code=code)["error"]["message"]
        context.say(f"--since {since}: {said}")
    opened = receiver.cli("open", pair.group, "--point", points[-1], "--since", points[-2], "--nbd",
                          "unix:" + child.path("run", "since.nbd"))
    told = subprocess.run(["nbdinfo", "--map=qemu:dirty-bitmap:since-" + points[-2], "--totals",
                           opened["uris"]["data"]], capture_output=True, text=True, check=False)
    context.check(told.returncode == 0 and "dirty" in told.stdout, f"nbdinfo sees the bitmap: {told.stdout.split()}")
    pair.sender.kill()
    receiver.kill()


def nbd_write(uri, commands):
    words = ["qemu-io", "-f", "raw"]
    for command in commands:
        words += ["-c", command]
    done = subprocess.run(words + [uri], capture_output=True, text=True, check=False)
    if done.returncode != 0 or "failed" in done.stdout:
        raise harness.Failed(f"qemu-io: {done.stdout} {done.stderr}")


def read_bytes(daemon):
    with open(f"/proc/{daemon.process.pid}/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


def made_disk(path, size):
    """A file with a GPT of two partitions, and content in both."""
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nsize=4MiB, type=U\nsize=8MiB, type=L\n", text=True,
                   check=True)
    with open(path, "r+b") as file:
        for at in (MIB, 6 * MIB):
            file.seek(at)
            file.write(hashlib.shake_128(bytes([at // MIB])).digest(MIB))


def restored(context):
    """A group with one disk, restored to larger files and, as root, to loop devices with other sectors."""
    if not shutil.which("sfdisk"):
        context.say("SKIPPED: restore of a partitioned disk: no sfdisk")
        return
    child = harness.Context(context.options)
    context.on_exit(child.close)
    os.makedirs(child.path("primary"))
    made_disk(child.path("primary", "disk.img"), 16 * MIB)
    pair = harness.Pair(child, {"disk": "16MiB"}, interval="500ms").start()
    pair.wait()
    receiver, target = pair.receiver, child.path("target.img")

    def restore(*words, code=0, to=target, confirm=target):
        return receiver.cli("restore", pair.group, "disk", "--to", to, "--confirm", confirm, *words, code=code)
    restore(code=10)
    with open(target, "wb") as file:
        file.write(b"old content" * 3 * MIB)
    os.truncate(target, 8 * MIB)
    small = restore(code=2)["error"]["message"]
    context.check("8388608 bytes" in small, f"a target that is too small: {small}")
    os.truncate(target, 33 * MIB)
    for words in (["--confirm", "other"], []):
        said = receiver.cli("restore", pair.group, "disk", "--to", target, *words, code=13)["error"]["message"]
        context.check("--confirm " + target in said, f"without confirmation: {said}")
    with open(target, "rb") as file:
        context.check(file.read(11) == b"old content", "what was refused wrote nothing")
    document = restore()
    with open(target, "rb") as file, open(pair.primary("disk"), "rb") as primary:
        same = file.read()[MIB:15 * MIB] == primary.read()[MIB:15 * MIB]
    context.check(same and document["bytes"] == 16 * MIB, f"restored to a larger file: {json.dumps(document)}")
    context.check(verified(target), "sfdisk: its table is in order, the backup at the end")
    with open(target, "r+b") as file:
        file.truncate(24 * MIB)
    restore("--sector-size", "4096")
    on_devices(context, child, restore, target)
    busy = subprocess.Popen(["qemu-io", "-f", "raw", target], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    said = restore(code=11)["error"]["message"]
    context.check("qemu-io" in said, f"a target that QEMU has open: {said}")
    busy.communicate(b"quit\n")
    pair.sender.kill()
    receiver.kill()


def verified(path, *words):
    done = subprocess.run(["sfdisk", "-V", *words, path], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    return done.returncode == 0 and "No errors" in text or print(text)


def on_devices(context, child, restore, target):
    def attach(*words):
        done = subprocess.run(["losetup", "--find", "--show", *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    device = attach("--sector-size", "4096", target) if os.geteuid() == 0 else None
    if not device:
        context.say("SKIPPED: restore to block devices (loop) needs root and a free loop device")
        return
    child.on_exit(lambda: subprocess.run(["losetup", "-d", device], check=False, capture_output=True))
    context.check(verified(device), "the table made anew for sectors of 4 KiB is in order there")
    said = restore(code=11)["error"]["message"]
    context.check(device in said, f"a file that is attached: {said}")
    document = restore(to=device, confirm=device)
    context.check(document["sector_bytes"] == 4096 and verified(device), "restored to a device with sectors of 4 KiB")
    subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True)
    place = child.path("mnt")
    os.makedirs(place)
    subprocess.run(["mount", device, place], check=True)
    try:
        said = restore(to=device, confirm=device, code=11)["error"]["message"]
        context.check(place in said, f"a mounted device: {said}")
    finally:
        subprocess.run(["umount", place], check=True)
    subprocess.run(["losetup", "-d", device], check=True)


def test(context):
    for program in ("qemu-img", "tar"):
        harness.need(program)
    site = Site(context)
    formats(context, site)
    to_pipe(context, site)
    unwritable(context, site)
    ended(context, site)
    path = whole_group(context, site)
    before = sum(site.load.newest())
    imported(context, site, path)
    context.check(sum(site.load.newest()) > before, "clients wrote all the while")
    chain(context)
    restored(context)
    site.load.finish()
    site.pair.compare("after all of it the replicas equal the primary")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
