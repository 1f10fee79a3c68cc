#!/usr/bin/env python3
"""PostgreSQL on two replicated volumes over a wide-area line, with everything going wrong.

Data directory and WAL lie on two volumes of one group (ext4 over nbdfuse + loop); the line has a
round trip of 80 ms, 100 Mbit/s and 0.1 % loss. While pgbench runs: kill -9 of the receiver, the line
cut (20 s in the long form), kill -9 of the sender's host processes together with PostgreSQL, all
restarted; more load; a last `farshore wait`; then the primary site dies. At the DR site copies of the
replicas are mounted, PostgreSQL recovers on them, every transaction committed before that wait must
be there, and pg_amcheck must be clean.

    sudo tests/e2e/postgres.py [--long]
"""

import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import harness
import mounts
import wan as wide

SETTINGS = """
listen_addresses = ''
shared_buffers = 64MB
max_wal_size = 96MB
min_wal_size = 32MB
checkpoint_timeout = 30s
max_connections = 20
logging_collector = off
"""


def find_postgres():
    for directory in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True):
        if os.access(os.path.join(directory, "postgres"), os.X_OK):
            return directory
    raise harness.Skip("PostgreSQL is not installed")


class Postgres:
    """A server on given mounts, as user postgres."""

    def __init__(self, context, name, data_mount, wal_mount):
        self.context, self.name = context, name
        self.programs = find_postgres()
        self.data = os.path.join(data_mount.point, "pgdata")
        self.wal = os.path.join(wal_mount.point, "pgwal")
        self.socket = context.path("pg-" + name)
        self.log = context.path(f"postgres-{name}.log")
        self.process = None
        os.makedirs(self.socket, exist_ok=True)
        shutil.chown(self.socket, "postgres")
        context.logs.append(self.log)
        context.on_exit(self.kill)

    def words(self, program, *rest):
        return ["runuser", "-u", "postgres", "--", os.path.join(self.programs, program), *rest]

    def client(self, program, *rest):
        return self.words(program, "-h", self.socket, *rest)

    def init(self, *points):
        for point in points:
            shutil.chown(point, "postgres")
        subprocess.run(self.words("initdb", "-D", self.data, "--waldir", self.wal, "-A", "trust",
                                  "--no-instructions", "--data-checksums", "-E", "UTF8"),
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="ascii") as file:
            file.write(SETTINGS)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = harness.popen(
                ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups",
                 os.path.join(self.programs, "postgres"), "-D", self.data, "-k", self.socket],
                stdout=log, stderr=log, cwd="/")
        harness.retry(60, "PostgreSQL " + self.name, lambda: self.answers() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise harness.Failed(f"PostgreSQL {self.name} ended with {self.process.returncode}")
        return self

    def answers(self):
        done = subprocess.run(self.client("psql", "-qAtc", "SELECT 1", "postgres"), check=False,
                              capture_output=True, cwd="/")
        return done.returncode == 0

    def sql(self, text):
        done = subprocess.run(self.client("psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", text, "postgres"),
                              capture_output=True, text=True, check=False, cwd="/")
        if done.returncode != 0:
            raise harness.Failed("psql: " + done.stderr.strip())
        return done.stdout.strip()

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.process = None

    def kill(self):
        """kill -9 of the server and its children, as a host that dies."""
        if not self.process:
            return
        children = children_of(self.process.pid)
        self.process.kill()
        for pid in children:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


class Committer(threading.Thread):
    """One client that inserts 1, 2, 3 ... each in a transaction of its own, and notes every number
    whose commit was acknowledged: psql prints the row only after the server confirmed the commit."""

    def __init__(self, server, first):
        super().__init__(daemon=True)
        self.server, self.next, self.acknowledged = server, first, first - 1
        self.process = harness.popen(server.client("psql", "-qAt", "postgres"), stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                     cwd="/")
        self.start()

    def run(self):
        try:
            while True:
                self.process.stdin.write(f"INSERT INTO committed VALUES ({self.next}) RETURNING id;\n")
                self.process.stdin.flush()
                if self.process.stdout.readline().strip() != str(self.next):
                    return
                self.acknowledged = self.next
                self.next += 1
        except (OSError, ValueError):
            return

    def end(self):
        """psql with it: killed alone, who started it as another user may leave it at work."""
        for pid in children_of(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.kill()
        self.process.wait()
        self.join(10)
        if self.is_alive():
            raise harness.Failed("a client that was killed goes on")


class Primary:
    """Everything that runs on the primary's host."""

    def __init__(self, context, pair):
        self.context, self.pair = context, pair
        self.data = mounts.Mount(context, "data", uri=pair.uri("data"))
        self.wal = mounts.Mount(context, "wal", uri=pair.uri("wal"))
        self.server = Postgres(context, "primary", self.data, self.wal)
        self.bench = None
        self.committer = None

    def create(self):
        self.data.make()
        self.wal.make()
        self.server.init(self.data.point, self.wal.point)
        self.server.start()
        self.server.sql("CREATE TABLE committed (id int PRIMARY KEY)")
        subprocess.run(self.server.client("pgbench", "-i", "-q", "-s", "2", "postgres"), check=True,
                       stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")

    def start_load(self, first):
        self.bench = harness.popen(
            self.server.client("pgbench", "-n", "-N", "-c", "2", "-R", "60", "-T", "3600", "postgres"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.committer = Committer(self.server, first)

    def die(self):
        """kill -9 of all of it at once; the mounts go lazily."""
        self.pair.sender.kill()
        self.server.kill()
        for process in (self.bench,):
            process.kill()
            process.wait()
        self.committer.end()
        self.data.crash()
        self.wal.crash()
        return self.committer.acknowledged

    def restart(self):
        self.pair.sender.start()
        self.data.mount()
        self.wal.mount()
        self.server.start()


def recover_at_dr(context, pair, promised):
    """Copies of the replicas, mounted; PostgreSQL does its own crash recovery on them."""
    copies = {}
    for volume in ("data", "wal"):
        image = context.path(f"copy-{volume}.img")
        subprocess.run(["cp", "--sparse=always", pair.replica(volume), image], check=True)
        copies[volume] = mounts.Mount(context, "dr-" + volume, image=image).mount()
    server = Postgres(context, "dr", copies["data"], copies["wal"])
    link = os.path.join(server.data, "pg_wal")
    os.unlink(link)  # points at the primary's mount point
    os.symlink(server.wal, link)
    for leftover in glob.glob(os.path.join(server.data, "postmaster.pid")):
        os.unlink(leftover)
    server.start()
    newest, count = (int(x) for x in server.sql("SELECT max(id), count(*) FROM committed").split("|"))
    context.check(newest >= promised, f"committed before the last wait: {promised}, found at the DR site: {newest}")
    context.check(newest == count, f"no gap in the {count} committed numbers")
    history, tellers = server.sql("SELECT (SELECT sum(delta) FROM pgbench_history), "
                                  "(SELECT sum(abalance) FROM pgbench_accounts)").split("|")
    context.check(history == tellers, f"pgbench's balances agree ({history}, {tellers})")
    done = subprocess.run(server.client("pg_amcheck", "--install-missing", "--heapallindexed", "postgres"),
                          capture_output=True, text=True, check=False, cwd="/")
    context.check(done.returncode == 0 and not done.stdout.strip(),
                  f"pg_amcheck is clean {(done.stdout + done.stderr).strip()[:500]}")
    server.stop()
    for volume, mount in copies.items():
        mount.unmount()
        problem = mounts.fsck(context.path(f"copy-{volume}.img"))
        context.check(problem is None, f"fsck of {volume} is clean {problem or ''}")


def storm(context, pair, primary, line):
    """The faults of the issue, in its order. Returns the newest number that must survive."""
    settle = 20 if context.long else 4
    primary.start_load(1)
    time.sleep(settle)
    pair.receiver.kill()
    time.sleep(1)
    pair.receiver.start()
    context.check(primary.committer.is_alive(), "kill -9 of the receiver: the database goes on")
    time.sleep(settle)

    line.command("cut")
    before = primary.committer.acknowledged
    time.sleep(20 if context.long else 10)
    line.command("heal")
    gained = primary.committer.acknowledged - before
    context.check(primary.committer.is_alive() and gained > 10,
                  f"the line was cut: the database goes on ({gained} commits meanwhile)")
    promised = primary.committer.acknowledged
    pair.wait(timeout=60)
    context.say(f"after the cut: wait returned with {promised} commits")

    acknowledged = primary.die()
    primary.restart()
    found = int(primary.server.sql("SELECT max(id) FROM committed"))
    context.check(found >= acknowledged, f"the primary's own crash lost nothing ({acknowledged}, {found})")
    primary.start_load(found + 1)
    time.sleep(settle)
    promised = primary.committer.acknowledged
    point = pair.wait(timeout=90)
    context.check(promised > found and point["applied"], f"last wait with {promised} commits: {point}")
    time.sleep(1)
    lost = primary.die()
    context.say(f"the primary site dies after {lost} commits")
    return promised


def test(context):
    mounts.need()
    harness.need("runuser", "setpriv")
    programs = find_postgres()
    for name in ("pgbench", "pg_amcheck", "initdb"):
        if not os.access(os.path.join(programs, name), os.X_OK):
            raise harness.Skip(f"no {name} beside PostgreSQL")
    reason = wide.why_not()
    if reason:
        raise harness.Skip(reason)
    line = wide.Wan(delay=40, rate=100, loss=0.1, seed=context.options.seed)
    line.__enter__()
    context.on_exit(line.close)
    pair = harness.Pair(context, {"data": "320MiB", "wal": "192MiB"}, line=line, interval="500ms").start()
    primary = Primary(context, pair)
    primary.create()
    pair.wait_state("streaming", timeout=90)
    promised = storm(context, pair, primary, line)
    wire = line.stats()
    context.say(f"on the line: {(wire['ab']['bytes_in'] + wire['ba']['bytes_in']) / 1e6:.1f} MB")
    context.check(pair.receiver.stop() == 0, "the receiver stops cleanly")
    recover_at_dr(context, pair, promised)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
