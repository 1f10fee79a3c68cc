#!/usr/bin/env python3
"""Clients that wait: the sender is restarted, stopped in order and killed, under writes of QEMU with
`reconnect-delay`, and of a FUSE mount behind a qemu-nbd that has it. No client sees an error, every
acknowledged write is in the volume afterwards, and the DR site gets the same.

    tests/e2e/restart_clients.py [--only qemu|fuse]
"""

import os
import random
import subprocess
import sys
import threading
import time

import harness
import mounts

SIZE = 64 << 20
BLOCK = 4096
IN_FLIGHT = 16
DOWN_SECONDS = 0.5


def waiting(pair, volume="data"):
    """As the documentation gives it."""
    return (f"driver=nbd,server.type=unix,server.path={pair.nbd_socket(volume)},export={volume},"
            "reconnect-delay=60,open-timeout=60")


def restart(pair, how):
    if how == "stopped":
        code = pair.sender.stop()
        if code != 0:
            raise harness.Failed(f"the sender stopped with {code}")
    else:
        pair.sender.kill()
    time.sleep(DOWN_SECONDS)
    pair.sender.start()


class Writer(threading.Thread):
    """Calls write_batch() again and again. The sender is restarted by the main thread: a child ends with
    the thread that started it."""

    def __init__(self, write_batch):
        super().__init__(daemon=True)
        self.write_batch, self.error, self.ending = write_batch, None, threading.Event()
        self.start()

    def run(self):
        try:
            while not self.ending.is_set():
                self.write_batch()
        except Exception as error:
            self.error = error

    def through_restarts(self, pair):
        """Restarts the sender in each way, then ends the writing; the error that the writer met."""
        for how in ("stopped", "killed", "stopped", "killed"):
            time.sleep(1)
            restart(pair, how)
        time.sleep(1)
        self.ending.set()
        self.join(60)
        return self.error or ("it hangs" if self.is_alive() else None)


class Model:
    """What the volume must hold: one byte a block."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.blocks = bytearray(SIZE // BLOCK)

    def batch(self):
        """Different blocks and their new byte."""
        for block in self.chance.sample(range(len(self.blocks)), IN_FLIGHT):
            self.blocks[block] = self.chance.randrange(1, 256)
            yield block, self.blocks[block]

    def difference(self, path):
        with open(path, "rb") as file:
            for block, byte in enumerate(self.blocks):
                if file.read(BLOCK) != bytes([byte]) * BLOCK:
                    return block
        return None


def qemu(context, pair, model):
    harness.need("qemu-io")
    io = harness.popen(["qemu-io", "--image-opts", waiting(pair)], stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    context.on_exit(io.kill)
    said = []
    reader = threading.Thread(target=lambda: said.extend(io.stdout), daemon=True)
    reader.start()
    written = []

    def write_batch():
        for block, byte in model.batch():
            io.stdin.write(f"aio_write -P {byte} {block * BLOCK} {BLOCK}\n")
            written.append(block)
        io.stdin.write("aio_flush\n" + ("flush\n" if len(written) % 512 == 0 else ""))
        io.stdin.flush()  # waits while the pipe is full, so QEMU sets the pace
    error = Writer(write_batch).through_restarts(pair)
    io.stdin.close()
    code = io.wait(60)
    reader.join(60)
    text = "".join(said)
    failed = error or "failed" in text or "rror" in text
    context.check(code == 0 and text.count("wrote ") == len(written) and not failed,
                  f"QEMU wrote {len(written)} times through four restarts without an error"
                  + (f": {error} {text[-300:]}" if failed else ""))


def serve_waiting(context, pair):
    socket = context.path("run", "waiting.sock")
    nbd = harness.popen(["qemu-nbd", "--persistent", "--shared=0", "--socket", socket,
                         "--image-opts", f"driver=raw,file.{waiting(pair).replace(',', ',file.')}"])
    context.on_exit(lambda: (nbd.terminate(), nbd.wait(30)))
    harness.retry(30, "qemu-nbd", lambda: os.path.exists(socket), pause=0.01)
    return socket


def fuse(context, pair, model):
    harness.need("qemu-nbd", "nbdfuse", "fusermount3")
    if not os.path.exists("/dev/fuse"):
        raise harness.Skip("no /dev/fuse")
    socket = serve_waiting(context, pair)
    directory = context.path("fuse")
    os.makedirs(directory)
    mount = harness.popen(["nbdfuse", directory, "--unix", socket])
    context.on_exit(lambda: (mounts.run("fusermount3", "-u", directory), mount.wait(30)))
    disk = os.path.join(directory, "nbd")
    harness.retry(30, "nbdfuse", lambda: os.path.exists(disk), pause=0.01)
    written = []
    file = os.open(disk, os.O_RDWR)

    def write_batch():
        for block, byte in model.batch():
            os.pwrite(file, bytes([byte]) * BLOCK, block * BLOCK)
            written.append(block)
        os.fsync(file)
    error = Writer(write_batch).through_restarts(pair)
    os.close(file)
    context.check(error is None and written, f"nbdfuse behind qemu-nbd wrote {len(written)} times through four "
                  f"restarts without an error {error or ''}")


def run(context):
    harness.need("qemu-io")
    pair = harness.Pair(context, {"data": SIZE})
    pair.start()
    pair.wait_state("streaming")
    model = Model(context.options.seed)
    for name, part in (("qemu", qemu), ("fuse", fuse)):
        if context.options.only in ("", name):
            part(context, pair, model)
            context.check(model.difference(pair.primary("data")) is None,
                          "every acknowledged write is in the volume")
    pair.wait_state("streaming")
    pair.compare()


if __name__ == "__main__":
    sys.exit(harness.main(run, __doc__))
