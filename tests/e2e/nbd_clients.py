#!/usr/bin/env python3
"""The NBD clients that people use, unmodified, against our server.

nbdinfo, nbdcopy, qemu-img, qemu-io and fio's nbd engine; over a Unix socket and over TCP. Each step
compares what came back with what was sent, byte by byte.

Without --uri the script starts --program (nbd_file_server, or anything that takes FILE ENDPOINT...
and prints one URI an endpoint and then "ready"). With --uri it works on a running server, the
real sender for one: THE CONTENT OF THE EXPORT IS OVERWRITTEN; it must be writable and of at least
64 MiB, and its file may be named with --file to be compared as well.

Exit code: 0 all passed, 1 something failed, 77 all passed but a client is missing.
"""

import argparse
import filecmp
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback

MIB = 1 << 20
IMAGE_BYTES = 64 * MIB
DIRTY = "qemu:dirty-bitmap:farshore"
CLIENTS = ["nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "fio"]


def run(*command, may_fail=False):
    """Standard output; a client that fails or hangs fails the step with all that it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0 and not may_fail:
        said = f"{done.stdout}{done.stderr}"
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{said}")
    return done.stdout


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Checks:
    """One method a client; `uri` is the export, `file` the disk behind it if it can be seen."""

    def __init__(self, uri, file, directory):
        self.uri = uri
        self.file = file
        self.directory = directory
        self.size = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def export_size(self):
        if self.size is None:
            self.size = int(json.loads(run("qemu-img", "info", "--output=json", "-f", "raw",
                                           self.uri))["virtual-size"])
        return self.size

    def source_image(self, seed):
        """Data, zeroes, holes and an unaligned end of data, as long as the export."""
        chance = random.Random(seed)
        path = self.path(f"source-{seed}")
        size = int(run("nbdinfo", "--size", self.uri))
        with open(path, "wb") as f:
            f.truncate(size)
            for _ in range(40):
                f.seek(chance.randrange(0, size - MIB))
                f.write(chance.randbytes(chance.randrange(1, MIB)))
            f.seek(8 * MIB)
            f.write(bytes(2 * MIB))
        return path

    def same(self, a, b):
        expect(filecmp.cmp(a, b, shallow=False), f"{a} and {b} differ")

    def nbdinfo(self):
        export = json.loads(run("nbdinfo", "--json", self.uri))["exports"][0]
        expect(export["export-size"] >= IMAGE_BYTES, "export too small for this test")
        for flag in ("can_flush", "can_fua", "can_trim", "can_zero", "can_fast_zero",
                     "can_multi_conn", "can_df"):
            expect(export[flag], f"{flag} is not offered")
        expect(not export["is_read_only"], "export is read-only")
        expect(export["block_size_minimum"] == 1, "minimum block size")
        expect(export["block_size_preferred"] == 4096, "preferred block size")
        expect(export["block_size_maximum"] == 32 * MIB, "maximum block size")
        expect("base:allocation" in export["contexts"], "no base:allocation")
        contexts = ["base:allocation"] + ([DIRTY] if DIRTY in export["contexts"] else [])
        for context in contexts:
            at = 0
            for extent in json.loads(run("nbdinfo", f"--map={context}", "--json", self.uri)):
                expect(extent["offset"] == at and extent["length"] > 0, f"{context}: gap at {at}")
                at += extent["length"]
            expect(at == export["export-size"], f"{context}: map ends at {at}")
        expect(export["export-size"] == int(run("nbdinfo", "--size", self.uri)), "--size")
        run("nbdinfo", "--list", self.uri)
        expect(run("nbdinfo", "--is=read-only", self.uri, may_fail=True) is not None, "--is")

    def nbdcopy(self):
        source = self.source_image(1)
        for connections, requests in ((1, 1), (4, 64)):
            run("nbdcopy", f"--connections={connections}", f"--requests={requests}", "--flush",
                source, self.uri)
            out = self.path("nbdcopy-out")
            run("nbdcopy", f"--connections={connections}", f"--requests={requests}", self.uri, out)
            self.same(source, out)
            if self.file:
                self.same(source, self.file)
        run("nbdcopy", "--request-size=33554432", self.uri, self.path("nbdcopy-large"))
        self.same(source, self.path("nbdcopy-large"))

    def qemu_img(self):
        source = self.source_image(2)
        info = run("qemu-img", "info", "-f", "raw", self.uri)
        expect("file format: raw" in info, info)
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "8", source,
            self.uri)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, self.uri)
        out = self.path("qemu-out")
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.uri, out)
        self.same(source, out)
        covered = sum(e["length"] for e in
                      json.loads(run("qemu-img", "map", "-f", "raw", "--output=json", self.uri)))
        expect(covered == self.export_size(), "qemu-img map does not cover the export")

    def qemu_io(self):
        def io(*commands, fails=False):
            words = [w for c in commands for w in ("-c", c)]
            done = subprocess.run(["qemu-io", "-f", "raw", "--cache=none", *words, self.uri],
                                  capture_output=True, text=True, timeout=60)
            said = done.stdout + done.stderr
            failed = done.returncode != 0 or "verification failed" in said or "failed:" in said
            expect(failed == fails, f"qemu-io {commands}: {said}")

        io("write -P 0xaa 1M 256k", "read -P 0xaa 1M 256k", "flush")
        io("write -f -P 0xbb 1M 4k", "read -P 0xbb 1M 4k", "read -P 0xaa 1028k 252k")
        io("write -P 0xcc 513 4095", "read -P 0xcc 513 4095")  # any alignment
        io("write -z 1M 64k", "read -P 0 1M 64k", "read -P 0xaa 1088k 192k")
        io("write -z -u 1088k 64k", "read -P 0 1088k 64k")
        io("discard 1152k 64k", "read -P 0 1152k 64k", "flush")
        io("aio_write -P 1 2M 64k", "aio_write -P 2 2112k 64k", "aio_flush",
           "read -P 1 2M 64k", "read -P 2 2112k 64k")
        io("write -P 0x5a 4M 32M", "read -P 0x5a 4M 32M")
        io("read -P 0x11 4M 4k", fails=True)  # the check itself can fail

    def fio(self):
        common = ["fio", "--name=verify", "--ioengine=nbd", f"--uri={self.uri}", "--size=32M",
                  "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--randseed=5"]
        run(*common, "--rw=randwrite", "--bs=4k", "--iodepth=32")
        run(*common, "--rw=write", "--bs=256k", "--iodepth=4", "--end_fsync=1")
        run(*common, "--rw=randwrite", "--bsrange=512-64k", "--bs_unaligned=1", "--iodepth=16",
            "--fsync=64")
        trims = run("fio", "--name=trim", "--ioengine=nbd", f"--uri={self.uri}", "--size=16M",
                    "--rw=randtrim", "--bs=64k", "--iodepth=8")
        expect("trim:" in trims, trims)

    def all(self):
        return [("nbdinfo", self.nbdinfo), ("nbdcopy", self.nbdcopy), ("qemu-img", self.qemu_img),
                ("qemu-io", self.qemu_io), ("fio", self.fio)]


def check(uri, file, directory, missing):
    """Number of failed steps."""
    failed = 0
    checks = Checks(uri, file, directory)
    for client, step in checks.all():
        needs = {"nbdcopy": ["nbdinfo"], "qemu-img": ["nbdinfo"]}.get(client, []) + [client]
        if any(tool in missing for tool in needs):
            print(f"SKIP  {client:9} {uri}: not installed")
            continue
        try:
            step()
            print(f"ok    {client:9} {uri}", flush=True)
        except (AssertionError, subprocess.SubprocessError, KeyError, ValueError):
            failed += 1
            print(f"FAILED {client:8} {uri}\n{traceback.format_exc()}", flush=True)
    return failed


def start(program, file, directory):
    """The process and its URIs."""
    process = subprocess.Popen(
        [program, file, f"unix:{directory}/a socket & more.sock", "tcp:127.0.0.1:0",
         *(["--dirty"] if os.path.basename(program) == "nbd_file_server" else [])],
        stdout=subprocess.PIPE, text=True)
    uris = []
    for line in process.stdout:
        if line.strip() == "ready":
            return process, uris
        uris.append(line.strip())
    sys.exit(f"{program} did not start: exit {process.wait()}")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    built = os.environ.get("FARSHORE_BIN", os.path.join(root, "build", "release", "bin"))
    p.add_argument("--program", default=os.path.join(built, "nbd_file_server"))
    p.add_argument("--uri", action="append", default=[],
                   help="a running server's export, overwritten by the test; may be given again")
    p.add_argument("--file", help="the disk behind --uri, to be compared too")
    arguments = p.parse_args()
    missing = [c for c in CLIENTS if shutil.which(c) is None]
    directory = tempfile.mkdtemp(prefix="nbd-clients-")
    process = None
    failed = 0
    try:
        uris, file = arguments.uri, arguments.file
        if not uris:
            file = f"{directory}/disk.raw"
            with open(file, "wb") as f:
                f.truncate(IMAGE_BYTES)
            process, uris = start(arguments.program, file, directory)
        for uri in uris:
            failed += check(uri, file, directory, missing)
    finally:
        if process:
            process.terminate()
            code = process.wait(timeout=30)
            if code != 0:
                failed += 1
                print(f"FAILED server: exit {code} at shutdown")
        shutil.rmtree(directory)
    if missing:
        print(f"SKIP: not installed: {', '.join(missing)}")
    return 1 if failed else 77 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
