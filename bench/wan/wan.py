#!/usr/bin/env python3
"""Two network namespaces joined by farshore-wan.

As a program: makes the line, prints the names of the namespaces and serves until interrupted.
    sudo bench/wan/wan.py --delay 40 --rate 100 --loss 0.1
    sudo ip netns exec fs0-a ping 10.199.0.2

As a module: `with Wan(program, delay=40, rate=100, loss=0.1) as wan:` then wan.exec_a([...]),
wan.command("set loss 1"), wan.command("cut"), wan.stats(). Delays are one-way milliseconds, rates
Mbit/s, losses percent.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
CLONE_NEWNET = 0x40000000


def why_not():
    """The reason why no line can be made here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "no `ip` program (Debian: iproute2)"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    probe = f"fs-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return "ip netns add: " + made.stderr.strip()
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return None


def find_program(name="farshore-wan"):
    """The built program: $FARSHORE_BIN, then the usual build directories."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    places = [os.environ.get("FARSHORE_BIN", "")]
    places += [os.path.join(root, "build", preset, "bin") for preset in ("release", "dev")]
    for place in places:
        path = os.path.join(place, name)
        if place and os.access(path, os.X_OK):
            return path
    return None


class Wan:
    """The line and its two namespaces, `a` and `b`. Use as a context manager."""

    def __init__(self, program=None, number=None, seed=1, **settings):
        self.program = program or find_program()
        if not self.program:
            raise RuntimeError("farshore-wan is not built (set FARSHORE_BIN)")
        self.number = number
        self.seed = seed
        self.settings = {name.replace("_", "-"): value for name, value in settings.items()}
        self.process = None
        self.directory = None

    def __enter__(self):
        self._claim_namespaces()
        try:
            self.directory = tempfile.mkdtemp(prefix="farshore-wan-")
            self.socket_path = os.path.join(self.directory, "control.sock")
            for name in (self.a, self.b):
                subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
                run_in(name, self._quiet_namespace)
            words = [self.program, "--a", self.a, "--b", self.b, "--a-address", self.address_a,
                     "--b-address", self.address_b, "--control", self.socket_path,
                     "--seed", str(self.seed)]
            for key, value in self.settings.items():
                words += [f"--{key}", str(value)]
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            if self.process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"farshore-wan ended with {self.process.wait()}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _claim_namespaces(self):
        numbers = [self.number] if self.number is not None else range(200)
        for number in numbers:
            made = subprocess.run(["ip", "netns", "add", f"fs{number}-a"], capture_output=True)
            if made.returncode == 0:
                self.number = number
                self.a, self.b = f"fs{number}-a", f"fs{number}-b"
                self.address_a, self.address_b = f"10.199.{number}.1", f"10.199.{number}.2"
                subprocess.run(["ip", "netns", "del", self.b], capture_output=True)
                subprocess.run(["ip", "netns", "add", self.b], check=True)
                return
        raise RuntimeError("no free number for the namespaces")

    @staticmethod
    def _quiet_namespace():
        """No IPv6 chatter on the line: the byte counters show the daemons and nothing else."""
        for scope in ("all", "default"):
            path = f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"
            try:
                with open(path, "w", encoding="ascii") as file:
                    file.write("1")
            except OSError:
                pass

    def exec_a(self, words):
        return ["ip", "netns", "exec", self.a] + list(words)

    def exec_b(self, words):
        return ["ip", "netns", "exec", self.b] + list(words)

    def command(self, text):
        """Sends one command; returns its answer as a dict."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.socket_path)
            connection.sendall(text.encode() + b"\n")
            answer = json.loads(connection.makefile().readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def stats(self):
        return self.command("stats")

    def cpu_seconds(self):
        """Processor time that the emulation has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process.stdout.close()
            self.process = None
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)


def enter_netns(name):
    """Moves the calling thread into a namespace."""
    with open(f"/run/netns/{name}", encoding="ascii") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + name)


def run_in(name, function):
    """Runs function() in a child process inside the namespace; returns its JSON-able result."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            enter_netns(name)
            with os.fdopen(writer, "w") as file:
                json.dump(function(), file)
            status = 0
        except BaseException as error:  # the child must not run the parent's handlers
            print(f"in {name}: {error!r}", file=sys.stderr)
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"a child in {name} failed")
    return json.loads(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("delay", "jitter", "rate", "queue", "loss", "reorder"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--seed", type=int, default=1)
    arguments = vars(parser.parse_args())
    reason = why_not()
    if reason:
        print("SKIPPED: " + reason)
        return SKIPPED
    seed = arguments.pop("seed")
    settings = {name: value for name, value in arguments.items() if value is not None}
    with Wan(seed=seed, **settings) as wan:
        print(f"namespaces {wan.a} ({wan.address_a}) and {wan.b} ({wan.address_b}), "
              f"control {wan.socket_path}; Ctrl-C ends", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while wan.process.poll() is None:
                time.sleep(0.5)
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
