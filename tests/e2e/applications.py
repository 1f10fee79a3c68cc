#!/usr/bin/env python3
"""Application-consistent bookmarks of real servers under load. PostgreSQL (data and WAL on two volumes), MariaDB,
Redis, SQLite, a mail store and ext4 run on replicated volumes of one group; every one of them has a hook. Each
`bookmark --app` is opened at the DR site, the servers are started there, and each has everything that it had
acknowledged before the bookmark, nothing that was asked for after it, checks itself clean, and had next to nothing to
replay.

    sudo tests/e2e/applications.py [--long]     --long: 100 bookmarks
"""

import os
import re
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

import harness
import mounts
import postgres
from hook_scripts import MailStore
from hook_servers import MariaDb, Redis, Sqlite

REDO_BYTES_MAX = 1 << 20
FREEZE_MS = {"db": 200, "shop": 200, "files": 300}  # bars, p99 of many; told here


class Place:
    """A replicated volume with ext4, as the applications of the hooks' test take one."""

    def __init__(self, context, pair, name):
        # A mail is a file: the long form delivers more of them than ext4 has inodes by default.
        self.mount = mounts.Mount(context, name, uri=pair.uri(name)).make("-i", "4096")
        self.point = self.mount.point

    def listed(self):
        return []


class Counter(threading.Thread):
    """A client that does step(1), step(2), ... one after another, and knows which were acknowledged."""

    def __init__(self, name, step):
        super().__init__(daemon=True, name=name)
        self.step, self.asked, self.acked, self.stopping, self.failure = step, 0, 0, False, None
        self.start()

    def run(self):
        try:
            while not self.stopping:
                self.asked += 1
                self.step(self.asked)
                self.acked = self.asked
                time.sleep(0.01)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def end(self):
        self.stopping = True
        self.join(60)


class Talker:
    """A client program that answers each line with one."""

    def __init__(self, words):
        self.process = harness.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     text=True, cwd="/")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise harness.Failed("a client ended")
        return answer


class Site:
    """The primary's host with all of its applications under load."""

    def __init__(self, context):
        self.context = context
        sizes = {"data": "256MiB", "wal": "160MiB", "maria": "256MiB", "files": "512MiB" if context.long else "96MiB"}
        self.pair = harness.Pair(context, sizes, interval="500ms", journal="8GiB")
        with open(self.pair.sender.config, "a", encoding="utf-8") as file:
            file.write(self.hooks())
        self.pair.start()
        self.database = postgres.Primary(context, self.pair)
        self.database.create()
        self.places = {name: Place(context, self.pair, name) for name in ("maria", "files")}
        self.maria = MariaDb(context, self.places["maria"])
        self.redis = Redis(context, self.places["files"])
        self.sqlite = Sqlite(context, self.places["files"])
        self.mail = MailStore(context, self.places["files"])
        os.makedirs(os.path.join(self.mail.store, "tmp"), exist_ok=True)
        self.pair.wait_state("streaming", timeout=90)
        self.pair.wait()
        self.counters = {}
        self.load()

    def hooks(self):
        """In the order of freezing; the file system last, since the others write to it as they become still."""
        path = self.context.path
        files = path("mnt-files")
        script = os.path.join(harness.ROOT, "deploy", "hooks", "maildir.sh")
        text = ""
        for name, kind, where in (
                ("db", "postgresql", f'connect = "host={path("pg-primary")} dbname=postgres user=postgres"'),
                ("shop", "mariadb", f'connect = "socket={path("mariadb.sock")} user=hook password=secret"'),
                ("cache", "redis", f'connect = "socket={path("redis-1-0.sock")} password=secret"'),
                ("local", "sqlite", f'file = "{files}/wal.db"'),
                ("mail", "script", f'run = ["{script}", "{files}/mail"]'),
                ("files", "filesystem", f'mount = "{files}"')):
            text += f'[[group.hook]]\nname = "{name}"\ntype = "{kind}"\n{where}\ntimeout = "20s"\n'
        return text

    def load(self):
        server = self.database.server
        sql = Talker(server.client("psql", "-qAt", "postgres"))
        maria = Talker(["mariadb", "--no-defaults", "-uroot", "-S", self.maria.socket, "-N", "--unbuffered"])
        redis = Talker(["redis-cli", "-s", self.redis.socket, "-a", "secret", "--no-auth-warning"])
        local = sqlite3.connect(self.sqlite.path, check_same_thread=False, timeout=60)

        def insert(n):
            local.execute("INSERT INTO t VALUES (?)", (n,))
            local.commit()

        def deliver(n):
            mine = f"{self.mail.lock}.{n}"
            with open(mine, "w", encoding="ascii") as file:
                file.write("delivery\n")
            while True:
                try:
                    os.link(mine, self.mail.lock)
                    break
                except FileExistsError:
                    time.sleep(0.005)
            temporary = os.path.join(self.mail.store, "tmp", str(n))
            with open(temporary, "w", encoding="ascii") as file:
                file.write(f"message {n}\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, os.path.join(self.mail.store, "new", str(n)))
            os.unlink(self.mail.lock)
            os.unlink(mine)

        self.counters = {
            "db": Counter("db", lambda n: sql.ask(f"INSERT INTO committed VALUES ({n}) RETURNING id;")),
            "shop": Counter("shop", lambda n: maria.ask(f"INSERT INTO d.t VALUES ({n}); SELECT {n};")),
            "cache": Counter("cache", lambda n: redis.ask(f"SET counter {n}")),
            "local": Counter("local", insert),
            "mail": Counter("mail", deliver),
        }

    def promised(self):
        return {name: c.acked for name, c in self.counters.items()}

    def possible(self):
        return {name: c.asked for name, c in self.counters.items()}


class Copy:
    """A bookmark, opened for writing at the DR site, and what its servers find there."""

    def __init__(self, site, name, number):
        self.site, self.context, self.number = site, site.context, number
        context, pair = self.context, site.pair
        self.opened = pair.receiver.cli("open", pair.group, "--point", name, "--writable", "--space", "1GiB", "--nbd",
                                        "unix:" + context.path("run", f"c{number}.nbd"))
        self.mounts = {volume: mounts.Mount(context, f"{volume}-{number}", uri=uri).mount()
                       for volume, uri in self.opened["uris"].items()}

    def postgresql(self):
        server = postgres.Postgres(self.context, f"copy-{self.number}", self.mounts["data"], self.mounts["wal"])
        link = os.path.join(server.data, "pg_wal")
        os.unlink(link)  # leads to the primary's mount point
        os.symlink(server.wal, link)
        for leftover in ("postmaster.pid",):
            if os.path.exists(os.path.join(server.data, leftover)):
                os.unlink(os.path.join(server.data, leftover))
        server.start()
        found = int(server.sql("SELECT coalesce(max(id), 0) FROM committed"))
        checked = subprocess.run(server.client("pg_amcheck", "--install-missing", "--heapallindexed", "postgres"),
                                 capture_output=True, text=True, check=False, cwd="/")
        with open(server.log, encoding="utf-8") as file:
            log = file.read()
        place = r"([0-9A-F]+)/([0-9A-F]+)"
        begun, ended = re.search("redo starts at " + place, log), re.search("redo done at " + place, log)
        redo = 0
        if begun and ended:
            redo = (int(ended[1], 16) << 32 | int(ended[2], 16)) - (int(begun[1], 16) << 32 | int(begun[2], 16))
        server.stop()
        return found, checked.returncode == 0 and redo <= REDO_BYTES_MAX, f"redo of {redo} bytes"

    def mariadb(self):
        data, socket = os.path.join(self.mounts["maria"].point, "mariadb"), self.context.path(f"m{self.number}.sock")
        log = self.context.path(f"m{self.number}.log")
        with open(log, "ab") as file:
            process = harness.popen(["mariadbd", "--no-defaults", "--user=mysql", "--datadir=" + data, "--socket=" +
                                     socket, "--skip-networking", "--innodb-buffer-pool-size=16M",
                                     "--innodb-log-file-size=16M"], stdout=file, stderr=file, cwd="/")
        words = ["mariadb", "--no-defaults", "-uroot", "-S", socket, "-N", "-e"]

        def sql(text):
            return subprocess.run(words + [text], capture_output=True, text=True, check=False)
        harness.retry(60, "MariaDB on the copy", lambda: sql("SELECT 1").stdout.strip() == "1")
        found = int(sql("SELECT coalesce(max(a), 0) FROM d.t").stdout.strip() or 0)
        checked = subprocess.run(["mariadb-check", "--no-defaults", "-uroot", "-S", socket, "--check", "d"],
                                 capture_output=True, text=True, check=False)
        process.terminate()
        process.wait(60)
        return found, checked.returncode == 0 and "OK" in checked.stdout, checked.stdout.strip()[-60:]

    def redis(self):
        directory = os.path.join(self.mounts["files"].point, os.path.basename(self.site.redis.directory))
        socket = self.context.path(f"r{self.number}.sock")
        process = harness.popen(["redis-server", "--port", "0", "--unixsocket", socket, "--dir", directory, "--save",
                                 "", "--appendonly", "yes", "--logfile", self.context.path(f"r{self.number}.log")])

        def cli(*words):
            return subprocess.run(["redis-cli", "-s", socket, *words], capture_output=True, text=True,
                                  check=False).stdout.strip()
        harness.retry(30, "Redis on the copy", lambda: cli("PING") == "PONG")
        found = int(cli("GET", "counter") or 0)
        process.kill()
        process.wait()
        return found, True, ""

    def sqlite(self):
        path = os.path.join(self.mounts["files"].point, os.path.basename(self.site.sqlite.path))
        with sqlite3.connect(path) as made:
            found = made.execute("SELECT coalesce(max(a), 0) FROM t").fetchone()[0]
            sound = made.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        made.close()
        return found, sound, ""

    def mail(self):
        new = os.path.join(self.mounts["files"].point, "mail", "new")
        numbers = sorted(int(name) for name in os.listdir(new))
        whole = all(open(os.path.join(new, str(n)), encoding="ascii").read() == f"message {n}\n" for n in numbers)
        return (numbers[-1] if numbers else 0), whole and numbers == list(range(1, len(numbers) + 1)), ""

    def close(self):
        for mount in self.mounts.values():
            harness.retry(120, f"{mount.point} to be left", lambda m=mount: unmounted(m))
        self.site.pair.receiver.cli("close", self.opened["id"])


def unmounted(mount):
    try:
        mount.unmount()
    except harness.Failed:
        return False
    return True


def check(site, number, freezes):
    context, name = site.context, f"app-{number}"
    promised = site.promised()
    made = site.pair.sender.cli("bookmark", site.pair.group, name, "--app", timeout=90)
    possible = site.possible()
    for hook in made["hooks"]:
        freezes.setdefault(hook["name"], []).append(hook["freeze_ms"])
    if not context.check(made["kind"] == "app", f"{name}: kind {made['kind']}: {made['why_not_app']}"):
        return
    copy = Copy(site, name, number)
    for what, look in (("db", copy.postgresql), ("shop", copy.mariadb), ("cache", copy.redis),
                       ("local", copy.sqlite), ("mail", copy.mail)):
        found, sound, words = look()
        context.check(promised[what] <= found <= possible[what] and sound,
                      f"{name}, {what}: {promised[what]} acknowledged before it, {found} there, {possible[what]} asked "
                      f"for; checks {'clean' if sound else 'FAILED'} {words}")
    copy.close()


def need():
    mounts.need()
    harness.need("runuser", "setpriv", "redis-server", "redis-cli", "sqlite3", "mariadbd", "mariadb-install-db",
                 "mariadb-check")
    programs = postgres.find_postgres()
    if not os.access(os.path.join(programs, "pg_amcheck"), os.X_OK):
        raise harness.Skip("no pg_amcheck: install postgresql")


def test(context):
    need()
    site = Site(context)
    freezes = {}
    for number in range(100 if context.long else 2):
        time.sleep(0.5)
        check(site, number, freezes)
    for name, times in freezes.items():
        worst = statistics.quantiles(times, n=100)[-1] if len(times) > 1 else times[0]
        context.say(f"freeze of {name}: median {statistics.median(times):.0f} ms, p99 {worst:.0f} ms"
                    f" (bar {FREEZE_MS.get(name, '-')} ms)")
    for name, counter in site.counters.items():
        context.check(counter.is_alive() and counter.failure is None, f"{name} worked all the time {counter.failure}")
        counter.end()
    status = site.pair.status()
    context.check(status["state"] == "streaming" and not status["error"], f"replication too: lag {status['lag']}")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
