#!/usr/bin/env python3
"""Requests that are refused cost a client of libnbd nothing else: refused WRITEs with large payloads, among
others that are in flight, at the sender and at an opened point. A point of several volumes wants a name.

    tests/e2e/nbd_refusals.py
"""

import ctypes
import errno
import json
import subprocess
import sys

import harness

MIB = 1 << 20
SIZE = 64 * MIB
AROUND = 6  # requests in flight before and behind a refused one


class Callback(ctypes.Structure):
    _fields_ = [("callback", ctypes.c_void_p), ("user_data", ctypes.c_void_p), ("free", ctypes.c_void_p)]


def library():
    try:
        lib = ctypes.CDLL("libnbd.so.0")
    except OSError:
        raise harness.Skip("no libnbd") from None
    handle, u64 = ctypes.c_void_p, ctypes.c_uint64
    lib.nbd_create.restype = handle
    lib.nbd_get_error.restype = ctypes.c_char_p
    lib.nbd_close.argtypes = [handle]
    lib.nbd_set_strict_mode.argtypes = [handle, ctypes.c_uint32]
    lib.nbd_connect_uri.argtypes = [handle, ctypes.c_char_p]
    for name in ("nbd_aio_pwrite", "nbd_aio_pread"):
        function = getattr(lib, name)
        function.argtypes = [handle, ctypes.c_char_p, ctypes.c_size_t, u64, Callback, ctypes.c_uint32]
        function.restype = ctypes.c_int64
    lib.nbd_aio_command_completed.argtypes = [handle, u64]
    lib.nbd_poll.argtypes = [handle, ctypes.c_int]
    return lib


class Client:
    """A connection that sends whatever it is told to."""

    def __init__(self, lib, uri):
        self.lib, self.handle, self.buffers = lib, lib.nbd_create(), []
        lib.nbd_set_strict_mode(self.handle, 0)
        self.must(lib.nbd_connect_uri(self.handle, uri.encode()))

    def must(self, code):
        if code < 0:
            raise harness.Failed("libnbd: " + self.lib.nbd_get_error().decode())
        return code

    def issue(self, function, length, offset, flags=0):
        self.buffers.append(ctypes.create_string_buffer(b"\x5a" * 16, length))
        return self.must(function(self.handle, self.buffers[-1], length, offset, Callback(), flags))

    def write(self, *words):
        return self.issue(self.lib.nbd_aio_pwrite, *words)

    def read(self, *words):
        return self.issue(self.lib.nbd_aio_pread, *words)

    def error_of(self, cookie):
        """The errno that the request ended with, 0 for success."""
        while True:
            done = self.lib.nbd_aio_command_completed(self.handle, cookie)
            if done != 0:
                return 0 if done > 0 else self.lib.nbd_get_errno()
            if self.lib.nbd_poll(self.handle, 60000) <= 0:
                raise harness.Failed("libnbd: " + (self.lib.nbd_get_error() or b"timeout").decode())

    def close(self):
        self.lib.nbd_close(self.handle)


def refused(context, lib, uri, what, good, expected):
    """`what`: arguments of the refused write; `good`: a method for requests around it."""
    client = Client(lib, uri)
    around = [good(client, n) for n in range(AROUND)]
    wrong = client.write(*what)
    around += [good(client, n) for n in range(AROUND)]
    try:
        got = client.error_of(wrong)
        others = [client.error_of(cookie) for cookie in around]
    except harness.Failed as error:
        got, others = str(error), []
    client.close()
    context.check(got == expected and others == [0] * (2 * AROUND),
                  f"a write of {what[0]} bytes at {what[1]} to {uri.split('?')[0]}: {got}, expected "
                  f"{errno.errorcode[expected]}; all others in flight are answered")


def names(context, opened, socket):
    done = subprocess.run(["qemu-img", "info", "-f", "raw", f"nbd+unix:///?socket={socket}"],
                          capture_output=True, text=True, check=False)
    context.check(done.returncode != 0 and "'data', 'wal'" in done.stderr,
                  f"a client that names no export is told which there are: {done.stderr.strip()[-200:]}")
    sizes = {name: json.loads(subprocess.run(["nbdinfo", "--json", uri], capture_output=True, text=True,
                                             check=True).stdout)["exports"][0]["export-size"]
             for name, uri in opened["uris"].items()}
    context.check(sizes == {"data": SIZE, "wal": 4 * MIB}, f"by name each is served: {sizes}")


def run(context):
    harness.need("nbdinfo", "qemu-img")
    lib = library()
    pair = harness.Pair(context, {"data": SIZE, "wal": 4 * MIB}).start()
    pair.wait_state("streaming")

    def good_write(client, n):
        return client.write(MIB, n * MIB)

    def good_read(client, n):
        return client.read(MIB, n * MIB)

    uri = pair.uri("data")
    refused(context, lib, uri, (16 * MIB, SIZE - 4096), good_write, errno.ENOSPC)
    refused(context, lib, uri, (16 * MIB, SIZE + (1 << 40)), good_write, errno.ENOSPC)
    refused(context, lib, uri, (48 * MIB, 0), good_write, errno.EINVAL)
    refused(context, lib, uri, (16 * MIB, 0, 1 << 9), good_write, errno.EINVAL)

    pair.wait()
    socket = context.path("run", "point.nbd")
    opened = pair.receiver.cli("open", pair.group, "--nbd", "unix:" + socket)
    refused(context, lib, opened["uris"]["data"], (16 * MIB, 0), good_read, errno.EPERM)
    refused(context, lib, opened["uris"]["data"], (48 * MIB, 0), good_read, errno.EPERM)
    names(context, opened, socket)
    pair.receiver.cli("close", str(opened["id"]))
    pair.compare()


if __name__ == "__main__":
    sys.exit(harness.main(run, __doc__))
