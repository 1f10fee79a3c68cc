#!/usr/bin/env python3
"""What is shared has shares, and what others make a daemon hold is bounded: one group's clients, peers and
disks leave the others theirs.

    tests/e2e/shares.py [--only memory|clients|disks|strangers|silent|missing]
"""

import os
import resource
import socket
import ssl
import struct
import time

import harness

MIB = 1 << 20
MEMORY = 64 * MIB
FIXED = 64 * MIB  # beside `memory`: docs/operations.md, Sizing


def connect(path, export):
    """An NBD client in the transmission phase, simple replies."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(path)
    harness.receive(sock, 18)
    name = export.encode()
    sock.sendall(struct.pack("!I", 3) + b"IHAVEOPT" + struct.pack("!II", 1, len(name)) + name)
    harness.receive(sock, 10)
    return sock


def request(kind, cookie, offset, length, flags=0):
    return struct.pack("!IHHQQI", 0x25609513, flags, kind, cookie, offset, length)


READ, FLUSH, WRITE_ZEROES = 0, 3, 6
NO_HOLE = 2


def ask(sock, kind, offset=0, length=0):
    """Seconds until the answer is there."""
    start = time.monotonic()
    sock.sendall(request(kind, 1, offset, length))
    header = harness.receive(sock, 16)
    if header[4:8] != bytes(4):
        raise harness.Failed(f"request {kind}: {header!r}")
    if kind == READ:
        harness.receive(sock, length)
    return time.monotonic() - start


class Sites:
    """Groups "shop" (volume data) and "other" (volume more)."""

    def __init__(self, context):
        self.context = context
        self.pair = harness.Pair(context, {"data": "256MiB"}, memory="64MiB")
        harness.make_image(self.pair.primary("more"), 16 * MIB, random_megabytes=1)
        self.pair.start()
        self.pair.add_group("other", "more")
        self.pair.wait_state("streaming", timeout=60)

    def client(self):
        return connect(self.pair.nbd_socket("data"), "data")

    def other(self):
        return connect(self.pair.nbd_socket("more"), "more")

    def other_is_served(self, what, within=5):
        with self.other() as sock:
            taken = max(ask(sock, READ, 0, 4096), ask(sock, FLUSH))
        self.context.check(taken < within, f"{what}: another group's client is answered in {taken:.3f} s")


def memory(context, sites):
    """60 clients that take no replies."""
    clients = [sites.client() for _ in range(60)]
    for sock in clients:
        sock.sendall(b"".join(request(READ, i, i * MIB, MIB) for i in range(64)))
    peak = 0
    end = time.monotonic() + 4
    while time.monotonic() < end:
        peak = max(peak, sites.pair.sender.rss_bytes())
        time.sleep(0.05)
    context.check(peak <= MEMORY + FIXED, f"60 clients that don't read: {peak / MIB:.0f} MiB resident")
    sites.other_is_served("60 clients that don't read")
    with sites.client() as sock:
        context.check(ask(sock, READ, 0, 4096) < 5, "a client of the same volume is served too")
    for sock in clients:
        sock.close()
    with sites.client() as sock:
        context.check(ask(sock, READ, 0, 32 * MIB) < 30, "and afterwards the largest request")


def clients(context, sites):
    """1,024 idle clients of one volume."""
    idle = []
    for _ in range(1100):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        sock.connect(sites.pair.nbd_socket("data"))
        idle.append(sock)
    time.sleep(0.5)
    sites.other_is_served("1,100 idle clients of one volume")
    lines = sites.pair.sender.log_text().count("refused a client")
    context.check(1 <= lines <= 5, f"those beyond the share are refused in {lines} line(s)")
    for sock in idle:
        sock.close()


def disks(context, sites):
    """24 overlapping WRITE_ZEROES of one client, FLUSHes of another group's."""
    sock = sites.client()
    sock.sendall(b"".join(request(WRITE_ZEROES, i, 0, 256 * MIB, NO_HOLE) for i in range(24)))
    with sites.other() as other:
        ask(other, READ, 0, 4096)
        worst = max(ask(other, FLUSH) for _ in range(10))
    context.check(worst < 2, f"24 overlapping WRITE_ZEROES: another group's FLUSH takes {worst:.3f} s at most")
    replies = [harness.receive(sock, 16) for _ in range(24)]
    good = sum(reply[4:8] == bytes(4) for reply in replies)
    context.check(good == 24, f"all of them are answered ({good} of 24 without an error)")
    sock.close()


def strangers(context, sites):
    """250 silent strangers, then a reconnect."""
    address = ("127.0.0.1", sites.pair.port)
    silent = []
    for _ in range(250):
        sock = socket.create_connection(address, timeout=30)
        silent.append(sock)
    sites.pair.sender.stop()
    start = time.monotonic()
    sites.pair.sender.start()
    sites.pair.wait_state("streaming", timeout=30)
    taken = time.monotonic() - start
    context.check(taken < 15, f"250 silent strangers: the sender streams again in {taken:.1f} s")
    for sock in silent:
        sock.close()


def silent(context, sites):
    """A paired sender's certificate on links without a hello."""
    state = context.path("sender-state")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(os.path.join(state, "identity.crt"), os.path.join(state, "identity.key"))
    tls.set_alpn_protocols(["farshore/1"])
    links = []
    for _ in range(100):
        link = tls.wrap_socket(socket.create_connection(("127.0.0.1", sites.pair.port), timeout=10))
        link.recv(8)  # "ready"
        links.append(link)
    try:
        harness.retry(10, "the oldest are closed", lambda: sockets_of(sites.pair.receiver) < 60)
    except harness.Failed:
        pass
    open_now = sockets_of(sites.pair.receiver)
    context.check(open_now < 60, f"100 links without a hello: {open_now} sockets are open")
    context.check(sites.pair.status()["connected"], "the session goes on")
    for link in links:
        link.close()


def sockets_of(daemon):
    folder = f"/proc/{daemon.process.pid}/fd"
    count = 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(os.path.join(folder, name)).startswith("socket:")
        except OSError:
            pass
    return count


def group_of(daemon, name):
    return next(g for g in daemon.cli("status", code=None, timeout=15)["groups"] if g["name"] == name)


def missing(context, sites):
    """One group's disk is missing at start, at either site."""
    pair = sites.pair
    for daemon, image in ((pair.sender, pair.primary("more")),
                          (pair.receiver, context.path("replica-other", "more.img"))):
        if not os.path.exists(image):
            context.say(f"{image} is not there yet")
            continue
        daemon.stop()
        os.rename(image, image + ".away")
        daemon.start()
        other = group_of(daemon, "other")
        context.check(other["state"] == "failed" and "more" in (other["error"] or ""),
                      f"{daemon.role}: the group of a missing disk is {other['state']}: {other['error']}")
        code = daemon.cli_raw("check", timeout=30).returncode
        context.check(code != 0, f"check says so (exit {code})")
        pair.wait_state("streaming", timeout=30)
        os.rename(image + ".away", image)
        harness.retry(30, "the group is served", lambda daemon=daemon: group_of(daemon, "other")["state"] != "failed")
        context.check(True, f"{daemon.role}: served as soon as the disk is back")
    sites.other_is_served("the disk is back")


def join_other(context, sites):
    pair = sites.pair
    token = pair.receiver.cli("invite", "other", "--address", pair.address)["token"]
    pair.sender.cli("join", token)
    harness.retry(60, "other streams", lambda: group_of(pair.sender, "other")["state"] == "streaming")


def test(context):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    if limit[1] < 2048:
        raise harness.Skip("needs 2,048 descriptors")
    sites = Sites(context)
    join_other(context, sites)
    parts = {f.__name__: f for f in (memory, clients, disks, strangers, silent, missing)}
    for name, part in parts.items():
        if context.options.only in ("", name):
            print(f"-- {name}: {part.__doc__}", flush=True)
            part(context, sites)
    for daemon in (sites.pair.sender, sites.pair.receiver):
        context.check(daemon.running, f"the {daemon.role} lives")


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
