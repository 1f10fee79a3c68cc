#!/usr/bin/env python3
"""PostgreSQL, started on points of the past. The server runs under pgbench on two replicated volumes (ext4 over nbdfuse
and loop devices); one client notes when each of its commits was acknowledged. Then random points of the last seconds
(--long: 20 of the last ten minutes) are opened writable while the load goes on; PostgreSQL recovers on each, everything
committed before the point must be there and nothing of after, pgbench's sums must agree, and pg_amcheck must be clean.

    sudo tests/e2e/postgres_points.py [--long]
"""

import bisect
import datetime
import glob
import os
import random
import subprocess
import sys
import time

import harness
import mounts
import postgres

SLACK = 0.05  # seconds between a barrier's cut and the moment that its point is named by


class TimedCommitter(postgres.Committer):
    """Notes when each number was asked for and when its commit was acknowledged."""

    def __init__(self, server, first):
        self.asked, self.acked = [], []
        super().__init__(server, first)

    def run(self):
        try:
            while True:
                self.asked.append(time.time())
                self.process.stdin.write(f"INSERT INTO committed VALUES ({self.next}) RETURNING id;\n")
                self.process.stdin.flush()
                if self.process.stdout.readline().strip() != str(self.next):
                    return
                self.acked.append(time.time())
                self.acknowledged = self.next
                self.next += 1
        except (OSError, ValueError):
            return

    def committed_before(self, moment):
        """Numbers 1..n were acknowledged by then."""
        return bisect.bisect_left(list(self.acked), moment)

    def asked_before(self, moment):
        return bisect.bisect_right(list(self.asked), moment)


class OpenedPoint:
    """A point that is open for writing, its file systems mounted and PostgreSQL started on it."""

    def __init__(self, context, pair, point, number):
        self.context, self.pair, self.mounts = context, pair, {}
        place = "unix:" + context.path("run", f"p{number}.nbd")
        self.document = pair.receiver.cli("open", pair.group, "--point", point, "--writable", "--space", "1GiB",
                                          "--nbd", place)
        for volume, uri in self.document["uris"].items():
            self.mounts[volume] = mounts.Mount(context, f"{volume}-{number}", uri=uri).mount()
        self.server = postgres.Postgres(context, f"point-{number}", self.mounts["data"], self.mounts["wal"])
        link = os.path.join(self.server.data, "pg_wal")
        os.unlink(link)  # leads to the primary's mount point
        os.symlink(self.server.wal, link)
        for leftover in glob.glob(os.path.join(self.server.data, "postmaster.pid")):
            os.unlink(leftover)
        with open(os.path.join(self.server.data, "postgresql.conf"), "a", encoding="ascii") as file:
            file.write("recovery_init_sync_method = syncfs\n")  # one sync, not one a file through FUSE
        self.server.start()

    def close(self):
        self.server.stop()
        for mount in self.mounts.values():
            mount.unmount()
        self.pair.receiver.cli("close", self.document["id"])


def started(context):
    """A primary under load, and everything of its preparation at the DR site."""
    pair = harness.Pair(context, {"data": "320MiB", "wal": "192MiB"}, interval="500ms", journal="8GiB").start()
    primary = postgres.Primary(context, pair)
    primary.create()
    pair.wait_state("streaming", timeout=90)
    pair.wait()
    primary.start_load(1)
    primary.committer.end()  # ours notes the times
    primary.server.sql("TRUNCATE committed")
    primary.committer = TimedCommitter(primary.server, 1)
    return pair, primary


def check_point(context, pair, committer, point, number):
    moment = datetime.datetime.fromisoformat(point["time"].replace("Z", "+00:00")).timestamp()
    begun = time.monotonic()
    at = OpenedPoint(context, pair, point["id"], number)
    seconds = time.monotonic() - begun
    promised, possible = committer.committed_before(moment), committer.asked_before(moment + SLACK)
    found, count = (int(x) for x in at.server.sql("SELECT coalesce(max(id), 0), count(*) FROM committed").split("|"))
    age = time.time() - moment
    context.check(promised <= found <= possible and found == count,
                  f"point {point['id']}, {age:.0f} s old, PostgreSQL runs on it after {seconds:.1f} s: {promised} "
                  f"committed before it, {found} there, {possible} begun")
    history, accounts = at.server.sql("SELECT (SELECT coalesce(sum(delta), 0) FROM pgbench_history), "
                                      "(SELECT sum(abalance) FROM pgbench_accounts)").split("|")
    done = subprocess.run(at.server.client("pg_amcheck", "--install-missing", "--heapallindexed", "postgres"),
                          capture_output=True, text=True, check=False, cwd="/")
    context.check(history == accounts and done.returncode == 0 and not done.stdout.strip(),
                  f"its sums agree ({history}, {accounts}), pg_amcheck is clean "
                  f"{(done.stdout + done.stderr).strip()[:500]}")
    at.close()


def unmounted(mount):
    """False: what the server left behind still uses it."""
    try:
        mount.unmount()
    except harness.Failed:
        return False
    return True


def test(context):
    mounts.need()
    harness.need("runuser", "setpriv")
    programs = postgres.find_postgres()
    for name in ("pgbench", "pg_amcheck", "initdb"):
        if not os.access(os.path.join(programs, name), os.X_OK):
            raise harness.Skip(f"no {name} beside PostgreSQL: install postgresql")
    pair, primary = started(context)
    first = time.time()
    time.sleep(600 if context.long else 10)
    listed = [p for p in pair.receiver.cli("points", pair.group)["points"]
              if datetime.datetime.fromisoformat(p["time"].replace("Z", "+00:00")).timestamp() > first]
    chosen = random.Random(context.options.seed).sample(listed, 20 if context.long else 3)
    for number, point in enumerate(chosen):
        check_point(context, pair, primary.committer, point, number)
    context.check(primary.committer.is_alive() and primary.bench.poll() is None, "the primary worked all the time")
    status = pair.status()
    context.check(status["state"] == "streaming" and not status["error"], f"replication too, lag {status['lag']}")
    primary.committer.end()
    primary.server.kill()  # pgbench goes with it
    for mount in (primary.data, primary.wal):
        harness.retry(30, f"{mount.point} is left by PostgreSQL's processes", lambda m=mount: unmounted(m))
    pair.compare()


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
