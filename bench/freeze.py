#!/usr/bin/env python3
"""What application-consistent bookmarks cost those who work meanwhile.                                        (root)

    bench/freeze.py clients   [--bookmarks 30] [--only db|shop|files|all]   freeze as the clients see it
    bench/freeze.py floor     [--bookmarks 30]   the same bracket of PostgreSQL without us: on files, on `nbdkit file`
    bench/freeze.py lag       [--seconds 180]    lag of the replication with and without a bookmark a minute
    bench/freeze.py rehearsal [--rounds 3]       lag while PostgreSQL is rehearsed at the DR site

One group: PostgreSQL (`db`, data and WAL on two volumes), MariaDB (`shop`), ext4 with a client that writes and syncs
files (`files`). Each has a client that commits one thing after another. `clients` makes bookmarks with the hooks of one
of them, then with all three nested, and takes for each bookmark the longest that a client waited for a commit while it
was under way; without a freeze a commit takes as long as `alone` says, and what is counted has that in it.

Results: bench/results/freeze-NAME.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import applications  # noqa: E402
import figures  # noqa: E402
import harness  # noqa: E402
import mounts  # noqa: E402
import postgres  # noqa: E402
from hook_servers import MariaDb  # noqa: E402

BARS = {"db": 200, "shop": 200, "files": 300, "all": 500}  # ms, p99


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Client(threading.Thread):
    """Commits one thing after another; (begun, took) of each, in seconds."""

    def __init__(self, step):
        super().__init__(daemon=True)
        self.step, self.times, self.stopping, self.failure, self.begun = step, [], False, None, time.monotonic()
        self.start()

    def run(self):
        number = 0
        try:
            while not self.stopping:
                number += 1
                self.begun = time.monotonic()
                self.step(number)
                self.times.append((self.begun, time.monotonic() - self.begun))
                time.sleep(0.002)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def worst(self, begin, end):
        """The longest commit that was under way in that time."""
        return max((took for at, took in list(self.times) if at <= end and at + took >= begin), default=0)

    def end(self):
        self.stopping = True
        self.join(60)
        if self.failure:
            raise harness.Failed(f"a client failed: {self.failure}")


class Stand:
    """The primary's host with its servers. `hooked`: whose hooks the group has, in the order of freezing."""

    ORDER = ("db", "shop", "files")

    def __init__(self, context, hooked):
        mounts.need()
        postgres.find_postgres()
        self.context = context
        self.pair = harness.Pair(context, {"data": "256MiB", "wal": "160MiB", "maria": "256MiB", "files": "256MiB"},
                                 interval="1s", journal="8GiB")
        with open(self.pair.sender.config, "a", encoding="utf-8") as file:
            file.write("".join(self.hook(name) for name in self.ORDER if name in hooked))
        self.pair.start()
        self.database = postgres.Primary(context, self.pair)
        self.database.create()
        self.places = places = {name: applications.Place(context, self.pair, name) for name in ("maria", "files")}
        self.maria = MariaDb(context, places["maria"])
        self.files = places["files"].point
        self.pair.wait_state("streaming", timeout=120)
        self.pair.wait()
        self.database.server.sql("CHECKPOINT")  # what filled the tables is not the first bookmark's to write
        self.clients = self.clients_at_work()

    def hook(self, name):
        path = self.context.path
        kind, where = {
            "db": ("postgresql", f'connect = "host={path("pg-primary")} dbname=postgres user=postgres"'),
            "shop": ("mariadb", f'connect = "socket={path("mariadb.sock")} user=hook password=secret"'),
            "files": ("filesystem", f'mount = "{path("mnt-files")}"')}[name]
        return f'[[group.hook]]\nname = "{name}"\ntype = "{kind}"\n{where}\ntimeout = "20s"\n'

    def clients_at_work(self):
        sql = applications.Talker(self.database.server.client("psql", "-qAt", "postgres"))
        maria = applications.Talker(["mariadb", "--no-defaults", "-uroot", "-S", self.maria.socket, "-N",
                                     "--unbuffered"])

        def write(number):
            with open(os.path.join(self.files, str(number % 1000)), "wb") as file:
                file.write(os.urandom(4096))
                file.flush()
                os.fsync(file.fileno())

        return {"db": Client(lambda n: sql.ask(f"INSERT INTO committed VALUES ({n}) RETURNING id;")),
                "shop": Client(lambda n: maria.ask(f"INSERT INTO d.t VALUES ({n}); SELECT {n};")),
                "files": Client(write)}

    def end(self):
        for client in self.clients.values():
            client.end()

    def compare(self):
        """With nobody at the volumes any more: servers and file systems write without being asked."""
        self.database.server.kill()
        self.maria.kill()
        for mount in (self.database.data, self.database.wal, *(place.mount for place in self.places.values())):
            mount.unmount()
        self.pair.compare()


def freeze_of(bench, which, count):
    context = harness.Context(bench.options)
    bench.context.on_exit(context.close)
    stand = Stand(context, Stand.ORDER if which == "all" else (which,))
    watched = Stand.ORDER if which == "all" else (which,)
    time.sleep(3)
    alone = {name: [took * 1000 for _, took in stand.clients[name].times] for name in watched}
    waits, hooks = [], []
    for number in range(count):
        begin = time.monotonic()
        made = stand.pair.sender.cli("bookmark", "shop", f"b-{number}", "--app", timeout=90)
        end = time.monotonic()
        if made["kind"] != "app":
            raise harness.Failed(f"bookmark {number}: {made['why_not_app']}")
        time.sleep(0.5)
        waits.append(max(stand.clients[name].worst(begin, end) for name in watched) * 1000)
        hooks.append({h["name"]: h["freeze_ms"] for h in made["hooks"]})
    stand.end()
    p99 = percentile(waits, 0.99)
    bench.details[which] = {
        "waits_ms": [round(w, 1) for w in waits], "hooks_ms": hooks,
        "alone": {name: {"p50_ms": round(statistics.median(all_), 2), "p99_ms": round(percentile(all_, 0.99), 2)}
                  for name, all_ in alone.items()}}
    commits = ", ".join(f"{name} {percentile(all_, 0.99):.0f}" for name, all_ in alone.items())
    bench.row(f"{which}: longest wait of a client, p99 of {count} bookmarks (p99 of a commit alone, ms: {commits})",
              f"{p99:.0f} ms, median {statistics.median(waits):.0f}", f"<= {BARS[which]} ms", p99 <= BARS[which])
    context.close()


def clients(bench):
    for which in (bench.options.only or "db,shop,files,all").split(","):
        freeze_of(bench, which, bench.options.bookmarks)


class Nbdkit:
    """`nbdkit file` over an image, for the same clients' way to the disk as ours."""

    def __init__(self, context, name, image):
        socket = context.path(f"nbdkit-{name}.sock")
        self.process = harness.popen(["nbdkit", "-f", "-U", socket, "file", image], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        context.on_exit(self.end)
        harness.retry(10, "nbdkit", lambda: os.path.exists(socket))
        self.uri = f"nbd+unix:///?socket={socket}"

    def end(self):
        self.process.kill()
        self.process.wait()


def floor_on(bench, where, count):
    context = harness.Context(bench.options)
    bench.context.on_exit(context.close)
    disks = []
    for name, mebibytes in (("data", 256), ("wal", 160)):
        image = context.path(f"{name}.img")
        harness.make_image(image, mebibytes << 20, random_megabytes=0)
        over = {"uri": Nbdkit(context, name, image).uri} if where == "nbdkit" else {"image": image}
        disks.append(mounts.Mount(context, name, **over).make())
    server = postgres.Postgres(context, "bare", *disks)
    server.init(*(disk.point for disk in disks))
    server.start()
    server.sql("CREATE TABLE committed (id int PRIMARY KEY)")
    subprocess.run(server.client("pgbench", "-i", "-q", "-s", "2", "postgres"), check=True, stderr=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, cwd="/")
    server.sql("CHECKPOINT")
    sql, bracket = (applications.Talker(server.client("psql", "-qAt", "postgres")) for _ in range(2))
    client = Client(lambda n: sql.ask(f"INSERT INTO committed VALUES ({n}) RETURNING id;"))
    time.sleep(3)
    waits = []
    for number in range(count):
        begin = time.monotonic()
        bracket.ask(f"SELECT pg_backup_start('b-{number}', true);")
        bracket.ask("SELECT lsn FROM pg_backup_stop(false);")
        end = time.monotonic()
        time.sleep(0.5)
        waits.append(client.worst(begin, end) * 1000)
    client.end()
    context.close()
    return waits


def floor(bench):
    for where in ("files", "nbdkit"):
        waits = floor_on(bench, where, bench.options.bookmarks)
        bench.details[where] = {"waits_ms": [round(w, 1) for w in waits]}
        bench.row(f"db without us, on {where}: longest wait of a client, p99 of {len(waits)} brackets",
                  f"{percentile(waits, 0.99):.0f} ms, median {statistics.median(waits):.0f}", "none: a floor", True)


class Lag:
    """Of the group, four times a second."""

    def __init__(self, pair):
        self.pair, self.seen, self._stop = pair, [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.25):
            self.seen.append(self.pair.status()["lag"]["seconds"])

    def end(self):
        self._stop.set()
        self._thread.join()
        return self.seen


def lag(bench):
    stand = Stand(bench.context, Stand.ORDER)
    seconds, seen = bench.options.seconds, {False: [], True: []}
    for busy in (False, True, True, False):
        watch, number, begin = Lag(stand.pair), 0, time.monotonic()
        while time.monotonic() - begin < seconds / 2:
            if busy and time.monotonic() - begin >= 60 * number:
                stand.pair.sender.cli("bookmark", "shop", f"at-{time.time():.0f}", "--app", timeout=90)
                number += 1
            time.sleep(0.25)
        seen[busy].append(watch.end())
    stand.end()
    without, beside = ([percentile(one, 0.99) for one in seen[which]] for which in (False, True))
    bench.details = {"without_p99_s": without, "with_p99_s": beside}
    noise = max(without) + max(0.5, max(without) - min(without))
    bench.row("lag, p99, with a bookmark of three hooks a minute (without: "
              + ", ".join(f"{one:.2f}" for one in without) + " s)", f"{max(beside):.2f} s",
              f"<= {noise:.2f} s, the noise without", max(beside) <= noise)
    stand.compare()


def rehearsal(bench):
    stand = Stand(bench.context, ("db",))
    script = os.path.join(os.path.dirname(ROOT), "deploy", "tests", "postgresql.sh")
    seen, took = [], []
    for number in range(bench.options.rounds):
        stand.pair.sender.cli("bookmark", "shop", f"nightly-{number}", "--app", timeout=90)
        watch = Lag(stand.pair)
        done = stand.pair.receiver.cli(
            "test", "shop", "--point", f"nightly-{number}", "--mount", "--isolate", "--run", script,
            *[f"--arg={word}" for word in ("data/pgdata", "--wal", "wal/pgwal", "--bin", postgres.find_postgres())],
            timeout=300)
        seen += watch.end()
        took.append(done["seconds"])
        bench.context.check(done["passed"], f"rehearsal {number} passed in {done['seconds']} s")
    stand.end()
    bench.details = {"seconds": took, "lag": {"p50": percentile(seen, 0.5), "max": max(seen)}}
    bench.row(f"lag, p99, while PostgreSQL is rehearsed ({statistics.median(took):.0f} s each)",
              f"{percentile(seen, 0.99):.2f} s", "<= 3 s", percentile(seen, 0.99) <= 3)
    left = subprocess.run(["pgrep", "-f", "farshore-test-"], capture_output=True, text=True, check=False).stdout
    bench.row("processes left behind", str(len(left.split())), "0", not left)
    stand.compare()


BENCHES = {"clients": clients, "floor": floor, "lag": lag, "rehearsal": rehearsal}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument("--bookmarks", type=int, default=30)
    parser.add_argument("--only", help="clients: db, shop, files, all; apart by commas")
    parser.add_argument("--seconds", type=float, default=180, help="lag: of each, with and without")
    parser.add_argument("--rounds", type=int, default=3, help="rehearsals")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.long, options.scale = False, 1
    options.verify_encoding, options.trust = False, "pinned"
    bench = figures.Bench(f"freeze-{options.what}", options)
    try:
        BENCHES[options.what](bench)
        return 0 if bench.finish(" ".join(["bench/freeze.py", *sys.argv[1:]])) and not bench.context.failures else 1
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return harness.SKIPPED
    except harness.Failed as error:
        print(f"FAILED: {error}")
        bench.context.show_logs()
        return 1
    finally:
        bench.context.close()


if __name__ == "__main__":
    sys.exit(main())
