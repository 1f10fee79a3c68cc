"""A trace through the real daemons: both on loopback with a relay that counts the line's bytes (TLS
and all, both directions), the trace replayed through the NBD socket, both sides compared at the end.
"""

import json
import os
import subprocess
import threading
import time

import harness
import recorded


LOST = "the order of writes is no longer kept"  # the sender's words in its log


def words_of(log):
    """Of each loss of order: what the sender said."""
    return [line for line in log.splitlines() if LOST in line]


class Sampler(threading.Thread):
    """Asks the sender for its status twice a second: lag and states while a replay runs."""

    def __init__(self, pair, pause=0.5):
        super().__init__(daemon=True)
        self.pair, self.pause = pair, pause
        self.lags, self.states = [], {}
        self._ending = threading.Event()
        self.start()

    def run(self):
        while not self._ending.wait(self.pause):
            try:
                status = self.pair.status()
            except (harness.Failed, subprocess.SubprocessError):
                continue
            self.lags.append(status["lag"]["seconds"])
            self.states[status["state"]] = self.states.get(status["state"], 0) + 1

    def end(self):
        self._ending.set()
        self.join(30)
        values = sorted(self.lags) or [0.0]
        return {"p50": values[len(values) // 2], "p99": values[int(len(values) * 0.99)],
                "max": values[-1], "samples": len(self.lags)}


def reset_peak(daemon):
    """Makes VmHWM begin anew."""
    with open(f"/proc/{daemon.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def peak_bytes(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def start_pair(context, trace, line="relay", seeded=False, **settings):
    """A pair whose volumes are as before the trace, streaming, with nothing left to send. `seeded`:
    the DR site has copies already, so that only digests cross the line."""
    for folder in ("primary", "replica"):
        os.makedirs(context.path(folder), exist_ok=True)
    for name, _ in trace.volumes:
        recorded.copy_sparse(trace.image("before", name), context.path("primary", name + ".img"))
        if seeded:
            recorded.copy_sparse(trace.image("before", name), context.path("replica", name + ".img"))
    settings = {"interval": "1s", "spool": "8GiB", "journal": "16GiB", **settings}
    pair = harness.Pair(context, dict(trace.volumes), line=line, **settings).start()
    pair.wait_state("streaming", timeout=1800)
    pair.wait(timeout=600)
    return pair


def replayer(pair, trace, speed):
    """The words that replay the trace on the pair's volumes; speed 0 is as fast as it goes."""
    pace = ["--speed", str(speed)] if speed else ["--fast"]
    return [harness.find("replay_nbd"), trace.events_path, *(pair.uri(v) for v, _ in trace.volumes), *pace]


def replay(pair, trace, speed):
    """Replays, waits until the DR site shows all of it; returns what that cost."""
    daemons = {"sender": pair.sender, "receiver": pair.receiver}
    for daemon in daemons.values():
        reset_peak(daemon)
    counters, carried = pair.status()["bytes"], pair.relay.carried if pair.relay else 0
    cpu = {role: daemon.cpu_user_and_system() for role, daemon in daemons.items()}
    losses = pair.sender.log_text().count(LOST)
    sampler, began = Sampler(pair), time.monotonic()
    done = subprocess.run(replayer(pair, trace, speed), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed("the replay failed: " + done.stderr.strip())
    replayed = time.monotonic() - began
    lag = sampler.end()
    pair.wait(timeout=1200)
    ended = pair.status()
    for role, daemon in daemons.items():
        cpu[role] = [round(now - then, 2) for now, then in zip(daemon.cpu_user_and_system(), cpu[role])]
    return {"replay": json.loads(done.stdout), "replay_seconds": replayed,
            "seconds_until_wait_returned": time.monotonic() - began,
            "counters": {key: ended["bytes"][key] - counters[key] for key in counters},
            "line_bytes": pair.relay.carried - carried if pair.relay else None,
            "cpu_seconds": {role: round(sum(both), 2) for role, both in cpu.items()},
            "cpu_user_and_system": cpu,
            "peak_bytes": {role: peak_bytes(daemon) for role, daemon in daemons.items()},
            "order_lost": pair.sender.log_text().count(LOST) - losses,
            "why_lost": words_of(pair.sender.log_text())[losses:],
            "lag_seconds": lag, "states": sampler.states, "state_at_end": ended["state"]}


def compare(context, pair, trace):
    """By SHA-256: primary against replica, and the primary against the trace's own end."""
    for name, _ in trace.volumes:
        live, replica = harness.sha256_of(pair.primary(name)), harness.sha256_of(pair.replica(name))
        context.check(live == replica, f"{trace.name}: volume {name} is the same at both sides")
        if live != harness.sha256_of(trace.image("after", name)):
            context.check(False, f"{trace.name}: volume {name} is not what the recorded program left behind: "
                          "record the trace anew")
