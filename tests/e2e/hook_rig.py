"""farshore-hook as its sender sees it: a process with two pipes. And the worker that it has."""

import json
import os
import select
import signal
import subprocess
import sys
import time

import harness

# Holds the pipes of a hook and does nothing else; killed in the place of a sender.
SENDER = """
import json, subprocess, sys, time
hook = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
hook.stdin.write(sys.argv[2].encode() + b"\\n")
hook.stdin.flush()
print(json.dumps({"pid": hook.pid, "said": json.loads(hook.stdout.readline())}), flush=True)
time.sleep(3600)
"""


def request(**keys):
    made = {"version": 1, "name": "app", "timeout_ms": 60000, "group": "shop", "bookmark": "before",
            "outside": False, "volumes": [], "never": []}
    made.update(keys)
    return {key: value for key, value in made.items() if value is not None}


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def gone(pid):
    """Ended; a zombie, too."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


class Hook:
    """One process of it, with its request sent."""

    def __init__(self, context, line, **options):
        self.log = context.path("hook.log")
        if self.log not in context.logs:
            context.logs.append(self.log)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([harness.find("farshore-hook")], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log, **options)
        context.on_exit(self.end)
        self.pid, self.kept = self.process.pid, b""
        self.tell(line)

    def tell(self, line):
        text = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def event(self, timeout=60):
        """The next event; None at the end of its output."""
        end = time.monotonic() + timeout
        out = self.process.stdout.fileno()
        poll = select.poll()  # in the long form there are more files than select() takes
        poll.register(out, select.POLLIN)
        while b"\n" not in self.kept:
            if not poll.poll(max(0, end - time.monotonic()) * 1000):
                raise harness.Failed(f"farshore-hook said nothing for {timeout} s")
            piece = os.read(out, 65536)
            if not piece:
                return None
            self.kept += piece
        line, self.kept = self.kept.split(b"\n", 1)
        return json.loads(line)

    def frozen(self):
        said = self.event()
        if not said or said["event"] != "frozen":
            raise harness.Failed(f"not frozen: {said}")
        return said

    def release(self):
        self.tell({"command": "release"})
        return self.event()

    def close(self):
        self.process.stdin.close()

    def worker(self):
        return children_of(self.pid)[0]

    def code(self, timeout=60):
        code = self.process.wait(timeout)
        self.process.stdin.close()
        return code

    def end(self):
        for pid in [self.pid] if self.process.poll() is None else []:
            os.kill(pid, signal.SIGTERM)  # it releases; SIGKILL would leave that to its worker
            self.process.wait(30)


class HeldBySender:
    """A hook whose pipes another process holds, to be killed."""

    def __init__(self, context, line):
        self.process = harness.popen([sys.executable, "-c", SENDER, harness.find("farshore-hook"), json.dumps(line)],
                                     stdout=subprocess.PIPE)
        context.on_exit(self.process.kill)
        told = json.loads(self.process.stdout.readline())
        self.pid, self.said = told["pid"], told["said"]

    def kill(self):
        self.process.kill()
        self.process.wait()


def refused(context, line, words, what):
    """The hook says `failed`, with these words, and exits 1."""
    hook = Hook(context, line)
    said = hook.event()
    words = [words] if isinstance(words, str) else words
    context.check(said and said["event"] == "failed" and all(word in said["message"] for word in words) and
                  hook.code() == 1, f"{what}: {said}")
