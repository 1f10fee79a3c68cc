"""What the end-to-end tests share: both daemons with generated configurations in a temporary
directory, the CLI, a load that can be checked, and clean-up that always happens.

A test is a function of a Context; `main(function)` parses the usual options, prints what was
checked, shows the daemons' logs on failure and returns 0, 1 or 77 (skipped, said aloud).
"""

import argparse
import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench", "wan"))
import relay as relays  # noqa: E402
import wan as wide  # noqa: E402
from contents import make_image, same_content, sha256_of, size_of, write_bytes, write_text  # noqa: E402, F401
from outcomes import Failed, Skip, need, need_root  # noqa: E402, F401
from site_ca import SiteCa  # noqa: E402
from sockets import free_port, receive  # noqa: E402, F401

SKIPPED = 77
PR_SET_PDEATHSIG = 1


# A daemon whose home thread waits for a disk aborts (replicator/base/blocking.hpp).
os.environ.setdefault("FARSHORE_CHECK_HOME", "1")


def find(name):
    path = wide.find_program(name)
    if not path:
        raise Skip(f"{name} is not built (FARSHORE_BIN={os.environ.get('FARSHORE_BIN', '')})")
    return path


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def popen(words, **options):
    """A child that ends when the test ends, however it ends."""
    return subprocess.Popen(words, preexec_fn=_die_with_parent, **options)


def retry(seconds, what, function, pause=0.1):
    """Calls function() until it returns something true."""
    end = time.monotonic() + seconds
    while True:
        value = function()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


class Context:
    """One test run: options, directory, things to undo, failures."""

    def __init__(self, options):
        self.options = options
        self.long = options.long
        self.directory = tempfile.mkdtemp(prefix="farshore-e2e-")
        os.chmod(self.directory, 0o755)
        self.failures = []
        self.logs = []
        self._undo = []

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def check(self, condition, text):
        print(("ok      " if condition else "FAILED  ") + text, flush=True)
        if not condition:
            self.failures.append(text)
        return condition

    def say(self, text):
        print("        " + text, flush=True)

    def on_exit(self, function):
        """Called at the end, last added first."""
        self._undo.append(function)

    def close(self):
        while self._undo:
            try:
                self._undo.pop()()
            except Exception:  # one failed clean-up must not keep the others from running
                traceback.print_exc()
        if self.options.keep:
            print("kept: " + self.directory)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def show_logs(self, lines=40):
        for path in self.logs:
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    tail = file.readlines()[-lines:]
                print(f"---- {path} (last {len(tail)} lines)\n" + "".join(tail), flush=True)


class Daemon:
    """farshore-sender or farshore-receiver."""

    def __init__(self, context, role, config, control, name=None, netns=None):
        self.context, self.role, self.config, self.control = context, role, config, control
        self.name = name or role
        self.netns = netns
        self.log = context.path(self.name + ".log")
        self.process = None
        context.logs.append(self.log)
        context.on_exit(self.kill)

    def words(self):
        words = [find("farshore-" + self.role), "--config", self.config]
        return ["ip", "netns", "exec", self.netns] + words if self.netns else words

    def start(self, wait_ready=True, timeout=30):
        notify_path = self.context.path(self.name + ".notify")
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(notify_path)
            notify.settimeout(0.1)
            environment = dict(os.environ, NOTIFY_SOCKET=notify_path)
            with open(self.log, "ab") as log:
                self.process = popen(self.words(), stdout=log, stderr=log, env=environment)
            if wait_ready:
                self._wait_ready(notify, timeout)
        return self

    def _wait_ready(self, notify, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                if b"READY=1" in notify.recv(4096):
                    return
            except socket.timeout:
                pass
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode} before it was ready")
        raise Failed(f"{self.name} was not ready within {timeout} s")

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL."""
        if self.running:
            self.process.kill()
        if self.process:
            self.process.wait()
            self.process = None

    def stop(self, timeout=20):
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        return sum(self.cpu_user_and_system())

    def cpu_user_and_system(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        tick = os.sysconf("SC_CLK_TCK")
        return int(fields[11]) / tick, int(fields[12]) / tick

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def cli(self, *words, code=0, timeout=90, given=None):
        """Runs the CLI with --json against this daemon; returns the (last) document. `code`: the
        exit code that must come, or None for any. `given`: its standard input."""
        done = self.cli_raw("--json", *words, timeout=timeout, given=given)
        documents = [json.loads(line) for line in _documents(done.stdout)]
        if code is not None and done.returncode != code:
            raise Failed(f"farshore {' '.join(words)}: exit {done.returncode}, expected {code}: "
                         f"{done.stdout.strip()} {done.stderr.strip()}")
        return documents[-1] if documents else {}

    def cli_raw(self, *words, timeout=90, given=None):
        return subprocess.run([find("farshore"), "--socket", self.control, *words], input=given or "",
                              capture_output=True, text=True, timeout=timeout, check=False)


def _documents(text):
    """JSON documents of an output: one a line, or one over many lines."""
    try:
        json.loads(text)
        return [text]
    except ValueError:
        return [line for line in text.splitlines() if line.strip()]


class Pair:
    """A sender and a receiver with one group. `volumes`: name -> size. The primary's images are
    made when absent. `line`: None (direct), "relay", or a started wan.Wan."""

    def __init__(self, context, volumes, line=None, group="shop", interval="200ms", spool="1GiB",
                 sender_lines="", group_lines="", receiver_lines="", receiver_group_lines="",
                 journal="4GiB", memory="512MiB", retain=("all 1h",), trust=None):
        self.trust = trust or getattr(context.options, "trust", "pinned")
        self.ca = SiteCa(context) if self.trust == "ca" else None
        self.context, self.group, self.volumes = context, group, volumes
        self.wan = line if isinstance(line, wide.Wan) else None
        self.relay = None
        # Benches measure the product as it is; tests let the encoder check itself.
        self.settings = dict(verify_encoding=getattr(context.options, "verify_encoding", False),
                             interval=interval, spool=spool, sender_lines=sender_lines, group_lines=group_lines,
                             receiver_lines=receiver_lines, receiver_group_lines=receiver_group_lines,
                             journal=journal, memory=memory, retain=list(retain))
        for name in ("primary", "replica", "run"):
            os.makedirs(context.path(name), exist_ok=True)
        for name, size in volumes.items():
            if not os.path.exists(self.primary(name)):
                make_image(self.primary(name), size_of(size))
        self.port = 7420 if self.wan else free_port()
        self.listen = f"{self.wan.address_b if self.wan else '127.0.0.1'}:{self.port}"
        self.address = self.listen
        if line == "relay":
            self.relay = relays.Relay(("127.0.0.1", self.port)).start()
            context.on_exit(self.relay.close)
            self.address = f"127.0.0.1:{self.relay.port}"
        self.sender = self._daemon("sender", self.wan.a if self.wan else None)
        self.receiver = self._daemon("receiver", self.wan.b if self.wan else None)
        self.write_configs()

    def _daemon(self, role, netns):
        return Daemon(self.context, role, self.context.path(role + ".toml"),
                      self.context.path("run", role + ".sock"), netns=netns)

    def primary(self, volume):
        return self.context.path("primary", volume + ".img")

    def replica(self, volume):
        return self.context.path("replica", volume + ".img")

    def nbd_socket(self, volume):
        return self.context.path("run", volume + ".nbd")

    def uri(self, volume):
        return f"nbd+unix:///{volume}?socket={self.nbd_socket(volume)}"

    def write_configs(self, **changes):
        s = self.settings
        s.update(changes)
        path = self.context.path
        sender = (f'[sender]\nstate = "{path("sender-state")}"\ncontrol = "{self.sender.control}"\n'
                  f'memory = "{s["memory"]}"\n{s["sender_lines"]}\n[[group]]\n'
                  f'name = "{self.group}"\npeer = "{self.address}"\ninterval = "{s["interval"]}"\n'
                  f'spool = "{s["spool"]}"\n{s["group_lines"]}\n'
                  f'verify_encoding = {str(s["verify_encoding"]).lower()}\n')
        for volume in self.volumes:
            sender += (f'[[group.volume]]\nname = "{volume}"\npath = "{self.primary(volume)}"\n'
                       f'nbd = "unix:{self.nbd_socket(volume)}"\n')
        receiver = (f'[receiver]\nstate = "{path("receiver-state")}"\nlisten = "{self.listen}"\n'
                    f'control = "{self.receiver.control}"\nmemory = "{s["memory"]}"\n'
                    f'{s["receiver_lines"]}\n[[group]]\nname = "{self.group}"\n'
                    f'replica = "{path("replica")}"\njournal = "{s["journal"]}"\n'
                    f'retain = {json.dumps(s["retain"])}\n{s["receiver_group_lines"]}\n')
        if self.ca:
            sender += self.ca.tls_lines("primary", ["DNS:primary.test"])
            receiver += self.ca.tls_lines("dr", ["DNS:dr.test", "IP:127.0.0.1"])
        write_text(self.sender.config, sender)
        write_text(self.receiver.config, receiver)

    def start(self, join=True):
        self.receiver.start()
        self.sender.start()
        if join:
            self.join()
        return self

    def join(self):
        if self.ca:
            return  # the CA vouches for both
        token = self.receiver.cli("invite", self.group, "--address", self.address)["token"]
        self.sender.cli("join", given=token)

    def add_group(self, name, volume):
        """A second group of one volume, whose image is there, in both configurations; both daemons are
        restarted. It is not joined: set `group` to it and call join()."""
        path = self.context.path
        with open(self.sender.config, "a", encoding="utf-8") as file:
            file.write(f'\n[[group]]\nname = "{name}"\npeer = "{self.address}"\n'
                       f'interval = "{self.settings["interval"]}"\nspool = "{self.settings["spool"]}"\n'
                       f'verify_encoding = {str(self.settings["verify_encoding"]).lower()}\n'
                       f'[[group.volume]]\nname = "{volume}"\npath = "{self.primary(volume)}"\n'
                       f'nbd = "unix:{self.nbd_socket(volume)}"\n')
        with open(self.receiver.config, "a", encoding="utf-8") as file:
            file.write(f'\n[[group]]\nname = "{name}"\nreplica = "{path("replica-" + name)}"\n'
                       f'journal = "{self.settings["journal"]}"\nretain = ["all 1h"]\n')
        os.makedirs(path("replica-" + name), exist_ok=True)
        self.sender.stop()
        self.receiver.stop()
        self.receiver.start()
        self.sender.start()

    def status(self, daemon=None):
        """The group's entry of `status --json` (the sender's unless told)."""
        document = (daemon or self.sender).cli("status", self.group, timeout=15)
        return next(g for g in document["groups"] if g["name"] == self.group)

    def wait_state(self, *states, timeout=60, daemon=None):
        seen = []

        def reached():
            seen[:] = [self.status(daemon)["state"]]
            return seen[0] in states
        try:
            retry(timeout, f"state {'/'.join(states)}", reached)
        except Failed as error:
            raise Failed(f"{error}; is {json.dumps(self.status(daemon))}") from None
        return seen[0]

    def wait(self, timeout=60, durable=False):
        words = ["wait", self.group, "--timeout", f"{timeout}s"] + ["--durable"] * durable
        return self.sender.cli(*words, timeout=timeout + 20)

    def compare(self, what="replicas equal the primary"):
        """After the writers stopped: wait, then compare every volume."""
        self.wait()
        different = {v: same_content(self.primary(v), self.replica(v)) for v in self.volumes}
        bad = {v: offset for v, offset in different.items() if offset is not None}
        return self.context.check(not bad, what + (f" (first differences {bad})" if bad else ""))


class Load:
    """farshore-load on the volumes of a pair, in the background."""

    def __init__(self, pair, seed=1, chains=2, filled=False, volumes=None):
        self.pair, self.seed, self.chains, self.filled = pair, seed, chains, filled
        self.volumes = list(volumes or pair.volumes)
        self.progress = pair.context.path(f"progress-{seed}")
        self.process = None
        self.outcome = {}
        pair.context.on_exit(self.kill)

    def words(self, verb):
        return [find("farshore-load"), verb, "--seed", str(self.seed), "--chains", str(self.chains)]

    def fill(self):
        """Content in the primary images before the daemons start."""
        for index, volume in enumerate(self.volumes):
            subprocess.run(self.words("fill") + ["--volume", str(index), self.pair.primary(volume)],
                           check=True)
        self.filled = True

    def start(self, seconds=0, writes=0, rate=0, retry_seconds=60):
        words = self.words("write") + ["--progress", self.progress, "--retry", str(retry_seconds)]
        for name, value in (("--seconds", seconds), ("--writes", writes), ("--rate", rate)):
            words += [name, str(value)] if value else []
        words += ["--resume"] if os.path.exists(self.progress) else []
        words += [self.pair.uri(v) for v in self.volumes]
        self.process = popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self

    def finish(self, stop=True, timeout=120):
        """Ends the load (or waits for its own end); returns its counts."""
        if stop and self.process.poll() is None:
            self.process.terminate()
        out, err = self.process.communicate(timeout=timeout)
        if self.process.returncode != 0:
            raise Failed("the load failed: " + err.strip())
        self.outcome = json.loads(out)
        return self.outcome

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def newest(self):
        """The newest answered write of each chain, now."""
        try:
            with open(self.progress, "rb") as file:
                data = file.read(8 * self.chains)
            return list(struct.unpack(f"<{self.chains}Q", data))
        except (OSError, struct.error):
            return [0] * self.chains

    def snapshot(self, name="floor"):
        """Keeps the present progress in a file, for check(floor=...)."""
        path = f"{self.progress}-{name}"
        with open(path, "wb") as file:
            file.write(struct.pack(f"<{self.chains}Q", *self.newest()))
        return path

    def check(self, sources, what, floor=None, exact=False):
        """Are these images a prefix of the writes, on all volumes?"""
        words = self.words("check") + (["--filled"] if self.filled else [])
        words += ["--floor", floor] if floor else []
        words += ["--exact"] if exact else []
        done = subprocess.run(words + list(sources), capture_output=True, text=True, check=False)
        text = what + ("" if done.returncode == 0 else ": " + done.stderr.strip())
        self.pair.context.check(done.returncode == 0, text)
        return json.loads(done.stdout)["prefix"] if done.returncode == 0 else None


def run_parts(context, parts):
    """The parts of a test that need nothing of each other, {name: part}: each on a fresh context, or the one of
    `--only` alone."""
    for name, part in parts.items():
        if context.options.only in ("", name):
            context.say(f"-- {name}" + (f": {part.__doc__}" if part.__doc__ else ""))
            child = Context(context.options)
            try:
                part(child)
            finally:
                context.failures += child.failures
                if child.failures:
                    child.show_logs()
                child.close()


def main(test, description, programs=("farshore", "farshore-sender", "farshore-receiver", "farshore-load")):
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the long form, not for CI")
    parser.add_argument("--seconds", type=float, help="length of the loop, where there is one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only the part of this name, where there are parts")
    parser.add_argument("--keep", action="store_true", help="leave the directory behind")
    parser.add_argument("--trust", choices=["pinned", "ca"], default=os.environ.get("FARSHORE_TRUST", "pinned"),
                        help="how the sites know each other: by invite and join, or by a CA of the site")
    parser.set_defaults(verify_encoding=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    context = Context(options)
    atexit.register(context.close)
    start = time.monotonic()
    try:
        for name in programs:
            find(name)
        test(context)
    except Skip as reason:
        print(f"SKIPPED: {reason}")
        return SKIPPED
    except (Failed, subprocess.SubprocessError, AssertionError) as error:
        context.check(False, f"{type(error).__name__}: {error}")
        traceback.print_exc()
    if context.failures:
        context.show_logs()
    print(f"{'FAILED' if context.failures else 'passed'} in {time.monotonic() - start:.1f} s")
    for text in context.failures:
        print("  - " + text)
    return 1 if context.failures else 0
