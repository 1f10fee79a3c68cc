"""Both daemons with many groups of many small sparse volumes, and writers of bulk data to some of them."""

import os
import random
import socket
import struct
import threading
import time

import harness

MIB = 1 << 20
LOST = "the order of writes is no longer kept"
WRITE = 1


def hand_shake(path, export):
    """An NBD client in the transmission phase, simple replies."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(path)
    harness.receive(sock, 18)
    name = export.encode()
    sock.sendall(struct.pack("!I", 3) + b"IHAVEOPT" + struct.pack("!II", 1, len(name)) + name)
    harness.receive(sock, 10)
    return sock


class ManyGroups:
    """Groups g0, g1, ..., each with volumes v0, v1, ...; all are paired and in sync after start()."""

    def __init__(self, context, groups, volumes_each, size, memory="512MiB", interval="1s", verify=False):
        self.context, self.names, self.size = context, [f"g{i}" for i in range(groups)], size
        self.volumes = [f"v{i}" for i in range(volumes_each)]
        for name in ("primary", "replica", "run"):
            os.makedirs(context.path(name), exist_ok=True)
        self.address = f"127.0.0.1:{harness.free_port()}"
        self.sender = self._daemon("sender")
        self.receiver = self._daemon("receiver")
        settings = f'interval = "{interval}"\nspool = "1GiB"\nverify_encoding = {str(verify).lower()}\n'
        sender = [f'[sender]\nstate = "{context.path("sender-state")}"\ncontrol = "{self.sender.control}"\n'
                  f'memory = "{memory}"\n']
        receiver = [f'[receiver]\nstate = "{context.path("receiver-state")}"\nlisten = "{self.address}"\n'
                    f'control = "{self.receiver.control}"\nmemory = "{memory}"\n']
        for group in self.names:
            sender.append(f'[[group]]\nname = "{group}"\npeer = "{self.address}"\n{settings}')
            for volume in self.volumes:
                with open(self.primary(group, volume), "wb") as file:
                    file.truncate(size)
                sender.append(f'[[group.volume]]\nname = "{volume}"\npath = "{self.primary(group, volume)}"\n'
                              f'nbd = "unix:{self.nbd_socket(group, volume)}"\n')
            receiver.append(f'[[group]]\nname = "{group}"\nreplica = "{context.path("replica", group)}"\n'
                            f'journal = "1GiB"\nretain = ["all 1h"]\n')
            os.makedirs(context.path("replica", group), exist_ok=True)
        harness.write_text(self.sender.config, "".join(sender))
        harness.write_text(self.receiver.config, "".join(receiver))

    def _daemon(self, role):
        return harness.Daemon(self.context, role, self.context.path(role + ".toml"),
                              self.context.path("run", role + ".sock"))

    def primary(self, group, volume):
        return self.context.path("primary", f"{group}-{volume}.img")

    def replica(self, group, volume):
        return self.context.path("replica", group, volume + ".img")

    def nbd_socket(self, group, volume):
        return self.context.path("run", f"{group}-{volume}.nbd")

    def client(self, group, volume):
        return hand_shake(self.nbd_socket(group, volume), volume)

    def start(self, patience=300):
        self.receiver.start(timeout=patience)
        self.sender.start(timeout=patience)
        for group in self.names:
            token = self.receiver.cli("invite", group, "--address", self.address)["token"]
            self.sender.cli("join", given=token)
        harness.retry(patience, "all groups stream", self.all_stream, pause=0.5)
        return self

    def states(self):
        return [g["state"] for g in self.sender.cli("status", timeout=60)["groups"]]

    def all_stream(self):
        return all(state == "streaming" for state in self.states())

    def losses(self, group):
        return [line.strip() for line in self.sender.log_text().splitlines()
                if f"group {group}: {LOST}" in line]


class BulkWriter:
    """Writes of 256 KiB to all volumes of a group in turns, at a rate, half of it compressible."""

    REQUEST = 256 << 10
    DEPTH = 8

    def __init__(self, pair, group, bytes_per_second, seed=1):
        self.pair, self.group, self.rate, self.seed = pair, group, bytes_per_second, seed
        self.written, self.seconds, self.error = 0, 0.0, None
        self.stop_asked = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        return self

    def finish(self):
        """Bytes a second that were written."""
        self.stop_asked.set()
        self.thread.join()
        if self.error:
            raise harness.Failed(f"the writer of {self.group}: {self.error}")
        return self.written / self.seconds

    def _run(self):
        began = time.monotonic()
        try:
            self._write(began)
        except (OSError, harness.Failed) as error:
            self.error = error
        self.seconds = time.monotonic() - began

    def _write(self, began):
        chance = random.Random(self.seed)
        content = b"".join(chance.randbytes(64 << 10) + chance.randbytes(64) * 1024 for _ in range(256))
        clients = [self.pair.client(self.group, volume) for volume in self.pair.volumes]
        places = self.pair.size // self.REQUEST
        while not self.stop_asked.is_set():
            due = began + self.written / self.rate
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            for sock in clients:
                batch = []
                for cookie in range(self.DEPTH // len(clients)):
                    start = chance.randrange(0, len(content) - self.REQUEST) & ~511
                    header = struct.pack("!IHHQQI", 0x25609513, 0, WRITE, cookie,
                                         chance.randrange(places) * self.REQUEST, self.REQUEST)
                    batch += [header, content[start:start + self.REQUEST]]
                sock.sendall(b"".join(batch))
                self.written += len(batch) // 2 * self.REQUEST
            for sock in clients:
                harness.receive(sock, 16 * (self.DEPTH // len(clients)))
        for sock in clients:
            sock.close()
