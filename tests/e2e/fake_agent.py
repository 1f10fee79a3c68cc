"""A QEMU guest agent behind QEMU's socket, as far as a hook sees them: one client at a time, commands in order, and
what an earlier client left is answered to the next one. Its faults are asked for by name."""

import json
import os
import socket
import threading
import time


class FakeAgent:
    """`fault`: "hangs" (in the freeze, until `go_on`), "refuses", "nothing" (freezes none), "lies" (says that it froze
    and did not), "garbage", "endless", "silent"."""

    def __init__(self, context, fault="", count=2):
        self.path = context.path(f"agent-{fault or 'good'}.sock")
        self.fault, self.count, self.frozen, self.thaws = fault, count, False, 0
        self.go_on = threading.Event()
        self.left = b""
        self.listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener.bind(self.path)
        self.listener.listen(4)
        context.on_exit(self.listener.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                left, self.left = self.left, b""
                self.tell(client, left)
                try:
                    self.talk(client)
                except OSError:
                    pass

    def tell(self, client, answer):
        try:
            client.sendall(answer)
        except OSError:
            self.left = answer  # the next client's to pass over

    def talk(self, client):
        kept = b""
        while True:
            piece = client.recv(4096)
            if not piece:
                return
            kept += piece
            while b"\n" in kept:
                line, kept = kept.split(b"\n", 1)
                answer = self.answer(line)
                self.tell(client, answer)

    def answer(self, line):
        delimited = line.startswith(b"\xff")
        asked = json.loads(line.lstrip(b"\xff"))
        name = asked["execute"]
        if self.fault == "silent":
            return b""
        if name == "guest-sync-delimited":
            if not delimited:
                return b'{"error": {"class": "GenericError", "desc": "out of step"}}\n'
            return b"\xff" + json.dumps({"return": asked["arguments"]["id"]}).encode() + b"\n"
        if name == "guest-info":
            return b'{"return": {"version": "7.2.0", "supported_commands": []}}\n'
        if name == "guest-fsfreeze-status":
            return json.dumps({"return": "frozen" if self.frozen else "thawed"}).encode() + b"\n"
        if name == "guest-fsfreeze-freeze":
            return self.freeze()
        if name == "guest-fsfreeze-thaw":
            self.thaws += 1
            count, self.frozen = self.count if self.frozen else 0, False
            return json.dumps({"return": count}).encode() + b"\n"
        return b'{"error": {"class": "CommandNotFound", "desc": "no such command"}}\n'

    def freeze(self):
        if self.fault == "refuses":
            return b'{"error": {"class": "GenericError", "desc": "failed to freeze /\\nreally"}}\n'
        if self.fault == "nothing":
            return b'{"return": 0}\n'
        if self.fault == "garbage":
            return b"}}}\n"
        if self.fault == "endless":
            return b"[" * 300000
        if self.fault == "hangs":
            self.go_on.wait(60)
        self.frozen = self.fault != "lies"
        return json.dumps({"return": self.count}).encode() + b"\n"

    def wait_thawed(self, seconds):
        end = time.monotonic() + seconds
        while self.frozen or not self.thaws:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True
