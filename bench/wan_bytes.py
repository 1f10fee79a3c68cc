#!/usr/bin/env python3
"""Bytes on the line for recorded traces, through the real daemons, beside what others need.

    bench/wan_bytes.py TRACE...  [--speed N | --fast] [--no-peers] [--interval 1s]

A TRACE is a directory made by bench/traces/record.py, or its name below $FARSHORE_TRACES (default
bench/traces/out); `all` means every trace there. Each goes through a pair of daemons on loopback over
TLS: initial sync of the volumes as they were before, then the events at their recorded pace, `wait`,
and both sides compared by SHA-256. Beside it on the same trace: zstd over the folded intervals, and
rsync, restic, borg and casync between the volumes before and after. Results go to
bench/results/wan-bytes-TRACE.json and, as a table, to standard output.

Words: written: what the program wrote. folded: 4 KiB blocks that an interval changed, once each (the
bench's count cuts by time only, the sender's also by size). line: all bytes that the relay carried
between the daemons, both directions, TLS included.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import figures  # noqa: E402
import harness  # noqa: E402
import pair_replay  # noqa: E402
import peers  # noqa: E402
import recorded  # noqa: E402

OLTP = ("postgres-tpcb", "postgres-n", "mariadb-write-only", "mariadb-read-write")
LONG_BARS = {"mariadb-write-only": 0.45, "postgres-n": 0.75, "debian": 0.90, "file-copies": 0.10}
IMAGE_BAR, RAW_BAR = 0.60, 1.005
CPU_BARS = {"sender": 2.0, "receiver": 1.0}
STREAMS = (("zstd-3, 1 MB frames", peers.zstd_frames),
           ("zstd-3, one stream, 128 MB window", lambda path: peers.zstd_stream(path, 27)),
           ("zstd-3, one stream, 1 GB window", lambda path: peers.zstd_stream(path, 30)))
LONG = STREAMS[1][0]
DEFAULTS = {"speed": 1.0, "interval": "1s", "fold_seconds": 1.0, "memory": "512MiB"}


def fold(trace, path, seconds):
    """Writes the folded blocks of all intervals in order; returns counts in bytes."""
    blocks = unchanged = 0
    with open(path, "wb", buffering=1 << 22) as out:
        for changed in trace.intervals(seconds):
            for _, _, old, new in changed:
                out.write(new)
                unchanged += old == new
            blocks += len(changed)
    return {"folded": blocks * recorded.BLOCK, "folded_without_a_change": unchanged * recorded.BLOCK}


def streams(trace, options, context):
    """The fold of the bench's own, and zstd over it."""
    path = context.path("folded")
    out = fold(trace, path, options.fold_seconds)
    for name, function in STREAMS:
        try:
            size, cpu = function(path)
            out[name] = {"bytes": size, "cpu_seconds": round(cpu, 2)}
        except peers.Missing as reason:
            print(f"SKIPPED: {name}: {reason}", flush=True)
    os.unlink(path)
    return out


def image_peers(trace, context):
    pairs = [(trace.image("before", name), trace.image("after", name)) for name, _ in trace.volumes]
    out = {}
    for name, function in peers.IMAGE_PEERS.items():
        work = context.path("peer")
        os.makedirs(work)
        try:
            out[name] = function(pairs, work)
        except peers.Missing as reason:
            print(f"SKIPPED: {name}: {reason}", flush=True)
        shutil.rmtree(work)
    return out


def bars(trace, ours, beside, images):
    """Rows (what, value, bar, ok) of this trace's bars."""
    name, rows, line = trace.meta["program"], [], ours["line_bytes"]
    written = trace.meta["bytes_written"]

    def row(what, value, bar, unit="x"):
        rows.append({"what": f"{trace.name}: {what}", "value": f"{value:.3f}{unit}", "bar": f"<= {bar}{unit}",
                     "ok": value <= bar})
    if name in LONG_BARS and LONG in beside:
        row(f"line to {LONG}", line / beside[LONG]["bytes"], LONG_BARS[name])
    if name == "incompressible":
        row("line to folded bytes", line / ours["counters"]["folded"], RAW_BAR)
    if name in OLTP and images:
        best = min(images, key=images.get)
        row(f"line to the best image peer ({best})", line / images[best], IMAGE_BAR)
    rows.append({"what": f"{trace.name}: the order of writes was lost", "value": f"{ours['order_lost']} times",
                 "bar": "0 times", "ok": ours["order_lost"] == 0})
    for role, bar in CPU_BARS.items():
        row(f"CPU of the {role}", ours["cpu_seconds"][role] / (written / 1e9), bar, " core-s/GB written")
    return rows


def table(trace, ours, beside, images):
    """Markdown: every way's bytes, in MB and against what was written."""
    written, counters = trace.meta["bytes_written"], ours["counters"]
    lines = [("written by the program", written, ""),
             (f"folded, {recorded.BLOCK // 1024} KiB blocks, counted from the trace", beside["folded"], ""),
             ("folded, by the sender's counter", counters["folded"], ""),
             ("encoded, by the sender's counter", counters["encoded"], ""),
             ("on the wire, by the sender's counter", counters["wire"], ""),
             ("**on the line, counted there**", ours["line_bytes"],
              "CPU s {sender:.1f} + {receiver:.1f}".format(**ours["cpu_seconds"]))]
    lines += [(f"folded, {name}", beside[name]["bytes"], f"CPU s {beside[name]['cpu_seconds']:.1f}")
              for name, _ in STREAMS if name in beside]
    lines += [(f"images: {name}", size, "") for name, size in images.items()]
    print(f"\n### {trace.name}\n\n| | MB | of written | line / this | |\n| --- | --- | --- | --- | --- |")
    for what, size, note in lines:
        print(f"| {what} | {size / 1e6:.1f} | {size / max(written, 1):.3f} | "
              f"{ours['line_bytes'] / max(size, 1):.3f} | {note} |")
    lag, peak = ours["lag_seconds"], ours["peak_bytes"]
    print(f"\nLag p50 {lag['p50']:.2f} s, p99 {lag['p99']:.2f} s, max {lag['max']:.2f} s; peak memory sender "
          f"{peak['sender'] / 2**20:.0f} MiB, receiver {peak['receiver'] / 2**20:.0f} MiB; states "
          f"{ours['states']}; replay {ours['replay_seconds']:.0f} s, at most "
          f"{ours['replay']['late_seconds']:.2f} s late.\n")


def versions():
    found = {"python": platform.python_version()}
    for name, words in (("zstd", "zstd --version"), ("rsync", "rsync --version"), ("restic", "restic version"),
                        ("borg", "borg --version"), ("casync", "casync --version")):
        if shutil.which(name):
            done = subprocess.run(words.split(), capture_output=True, text=True, check=False)
            found[name] = (done.stdout or done.stderr).strip().splitlines()[0]
    daemon = subprocess.run([harness.find("farshore"), "--version"], capture_output=True, text=True, check=False)
    found["farshore"] = daemon.stdout.strip()
    return found


def save(options, trace, rows, details):
    words = [trace.name] + ["--seeded"] * options.seeded + ["--fast"] * (options.speed == 0)
    for name, usual in DEFAULTS.items():
        if getattr(options, name) not in (usual, 0):
            words += ["--" + name.replace("_", "-"), str(getattr(options, name))]
    document = {"name": "wan-bytes-" + trace.name, "command": "bench/wan_bytes.py " + shlex.join(words),
                "seed": options.seed, "scale": 1, "counts": True,
                "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "machine": figures.machine(), "versions": versions(), "trace": trace.meta,
                "rows": rows, "details": details}
    os.makedirs(options.results, exist_ok=True)
    with open(os.path.join(options.results, document["name"] + ".json"), "w", encoding="ascii") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def bench(trace, options, context):
    """One trace; True when both sides are equal and every bar is met."""
    pair = pair_replay.start_pair(context, trace, seeded=options.seeded, interval=options.interval,
                                  memory=options.memory)
    ours = pair_replay.replay(pair, trace, options.speed)
    pair_replay.compare(context, pair, trace)
    for daemon in (pair.sender, pair.receiver):
        daemon.stop()
    for place in ("primary", "replica", "receiver-state"):
        shutil.rmtree(context.path(place), ignore_errors=True)  # room for the peers
    beside = streams(trace, options, context)
    images = image_peers(trace, context) if options.peers else {}
    rows = bars(trace, ours, beside, images)
    table(trace, ours, beside, images)
    for row in rows:
        print(f"{'ok    ' if row['ok'] else 'MISSED'} {row['what']}: {row['value']} (bar: {row['bar']})")
    save(options, trace, rows, {"ours": ours, "beside": beside, "images": images})
    return not context.failures and all(row["ok"] for row in rows)


def run(name, options):
    """None when skipped."""
    context = harness.Context(options)
    try:
        return bench(recorded.Trace(name), options, context)
    except harness.Skip as reason:
        print(f"SKIPPED: {name}: {reason}")
        return None
    except (harness.Failed, recorded.Damaged, RuntimeError) as error:
        print(f"FAILED: {name}: {error}")
        context.show_logs()
        return False
    finally:
        context.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", metavar="TRACE")
    parser.add_argument("--speed", type=float, default=1.0, help="1: at the recorded pace")
    parser.add_argument("--fast", dest="speed", action="store_const", const=0, help="as fast as it goes")
    parser.add_argument("--no-peers", dest="peers", action="store_false",
                        help="leave out the slow part: rsync, restic, borg, casync")
    parser.add_argument("--interval", default="1s", help="the group's interval")
    parser.add_argument("--fold-seconds", type=float, default=1.0, help="the bench's own fold")
    parser.add_argument("--memory", default="512MiB", help="the daemons' memory setting")
    parser.add_argument("--seeded", action="store_true", help="the DR site has copies before the pair starts")
    parser.add_argument("--results", default=figures.RESULTS, help="folder of the JSON results")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.long = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = options.traces
    if names == ["all"]:
        names = sorted(n for n in os.listdir(recorded.folder())
                       if os.path.exists(os.path.join(recorded.folder(), n, "meta.json")))
    outcomes = [run(name, options) for name in names]
    if all(outcome is None for outcome in outcomes):
        return harness.SKIPPED
    return 1 if False in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
