#!/usr/bin/env python3
"""What serving a trace through NBD costs by itself: the part of a sender's CPU that no codec can save.

    bench/cpu_floor.py TRACE... [--speed N]

Each trace (made by bench/traces/record.py) is replayed at its recorded pace against `nbdkit file`, which
only serves the images; against a sender without a peer, which tracks changes besides; and against a sender
whose receiver is on this machine, over TLS. Each begins with the images as they were before. CPU seconds of
the serving process, user and system, for each GB that the trace writes. Results: bench/results/cpu-floor-TRACE.json.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import harness  # noqa: E402
import pair_replay  # noqa: E402
import recorded  # noqa: E402
import trace_bench  # noqa: E402

BAR = 2.0


def cpu_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    tick = os.sysconf("SC_CLK_TCK")
    return [int(fields[11]) / tick, int(fields[12]) / tick]


def copies(context, trace):
    os.makedirs(context.path("primary"), exist_ok=True)
    for name, _ in trace.volumes:
        recorded.copy_sparse(trace.image("before", name), context.path("primary", name + ".img"))
    os.sync()


def replay(trace, uris, pids, speed):
    """User and system seconds that the processes take for the trace."""
    before = [cpu_of(pid) for pid in pids]
    words = [harness.find("replay_nbd"), trace.events_path, *uris, "--speed", str(speed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Failed("the replay failed: " + done.stderr.strip())
    after = [cpu_of(pid) for pid in pids]
    return [sum(now[i] - then[i] for now, then in zip(after, before)) for i in (0, 1)]


def nbdkit(context, trace, speed):
    harness.need("nbdkit")
    copies(context, trace)
    servers, uris = [], []
    for number, (name, _) in enumerate(trace.volumes):
        socket = context.path(f"nbdkit{number}.sock")
        server = harness.popen(["nbdkit", "-f", "-U", socket, "file", context.path("primary", name + ".img")])
        context.on_exit(server.kill)
        harness.retry(10, "nbdkit", lambda path=socket: os.path.exists(path))
        servers.append(server)
        uris.append(f"nbd+unix:///?socket={socket}")
    return replay(trace, uris, [server.pid for server in servers], speed)


def unpaired(context, trace, speed):
    copies(context, trace)
    pair = harness.Pair(context, dict(trace.volumes), interval="1s").start(join=False)
    return replay(trace, [pair.uri(name) for name, _ in trace.volumes], [pair.sender.process.pid], speed)


def paired(context, trace, speed):
    pair = pair_replay.start_pair(context, trace, seeded=True)
    used = replay(trace, [pair.uri(name) for name, _ in trace.volumes], [pair.sender.process.pid], speed)
    pair.wait(timeout=600)
    return used


WAYS = (("nbdkit file", nbdkit), ("the sender without a peer", unpaired), ("the sender, replicating", paired))


def measure(bench, options, trace):
    gigabytes = trace.meta["bytes_written"] / 1e9
    for name, way in WAYS:
        inner = harness.Context(options)
        bench.context.on_exit(inner.close)
        user, system = way(inner, trace, options.speed)
        inner.close()
        each = (user + system) / gigabytes
        bench.details[name] = {"user": user, "system": system, "written": trace.meta["bytes_written"]}
        what = f"{trace.name}: CPU of {name} (user {user:.1f} s, system {system:.1f} s)"
        if way is paired:
            bench.row(what, f"{each:.1f} core-s/GB written", f"<= {BAR} core-s/GB written", each <= BAR)
        else:
            print(f"       {what}: {each:.1f} core-s/GB written", flush=True)


def main():
    options = trace_bench.arguments(
        __doc__, lambda parser: parser.add_argument("--speed", type=float, default=1.0))
    return trace_bench.run_all(options, "cpu-floor", "cpu_floor.py", measure)


if __name__ == "__main__":
    sys.exit(main())
