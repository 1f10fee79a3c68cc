"""Databases under load: PostgreSQL with pgbench, MariaDB with sysbench. The tables are loaded before
the recording begins; the servers run as processes of their own with everything on the volumes.
"""

import os
import shutil

import harness
import mounts
import postgres as servers
from recorder import run, version_of

MIB, GIB = 1 << 20, 1 << 30
POSTGRES_SETTINGS = """
shared_buffers = 256MB
max_wal_size = 1GB
min_wal_size = 80MB
checkpoint_timeout = {checkpoint}s
"""


class Postgres:
    """pgbench: TPC-B-like, or -N (no updates of the small hot tables)."""

    def __init__(self, options, simple):
        self.options, self.simple = options, simple
        self.server = None

    def need(self):
        mounts.need()
        harness.need("runuser", "setpriv")
        servers.find_postgres()

    def volumes(self):
        size = GIB * 2 + self.options.scale * 24 * MIB
        return {"data": size, "wal": 3 * GIB} if self.options.two_volumes else {"data": size}

    def setup(self, recording):
        data = recording.mounts["data"]
        wal = recording.mounts.get("wal", data)
        self.server = servers.Postgres(recording.context, "recorded", data, wal)
        self.server.init(*{data.point, wal.point})
        with open(os.path.join(self.server.data, "postgresql.conf"), "a", encoding="ascii") as file:
            file.write(POSTGRES_SETTINGS.format(checkpoint=self.options.checkpoint))
        self.server.start()
        run(self.server.client("pgbench", "-i", "-q", "-s", str(self.options.scale), "postgres"), cwd="/")
        self.server.sql("CHECKPOINT")

    def work(self, recording):
        words = ["-n", "-c", str(self.options.clients), "-j", "2", "-T", str(self.options.seconds),
                 f"--random-seed={self.options.seed}", *(["-R", str(self.options.tps)] * (self.options.tps > 0)),
                 "postgres"]
        text = run(self.server.client("pgbench", *(["-N"] * self.simple), *words), cwd="/")
        recording.outcome["transactions"] = _number_after(text, "number of transactions actually processed:")

    def close(self):
        self.server.stop()

    def parameters(self):
        o = self.options
        return {"scale": o.scale, "clients": o.clients, "tps": o.tps, "seconds": o.seconds, "seed": o.seed,
                "checkpoint_seconds": o.checkpoint, "two_volumes": o.two_volumes}

    def versions(self):
        return {"postgres": version_of(os.path.join(servers.find_postgres(), "postgres"), "--version")}


class MariaDB:
    """sysbench oltp_write_only or oltp_read_write on InnoDB with its default settings, but for the
    size of the buffer pool."""

    def __init__(self, options, workload):
        self.options, self.workload = options, workload
        self.data = self.socket = self.process = self.log = None

    def need(self):
        mounts.need()
        harness.need("mariadbd", "mariadb-install-db", "mariadb-admin", "sysbench")

    def volumes(self):
        return {"data": 2 * GIB + self.options.tables * self.options.rows * 1000}

    def setup(self, recording):
        context, point = recording.context, recording.point("data")
        self.data, self.socket = os.path.join(point, "mysql"), context.path("mariadb", "sock")
        self.log = context.path("mariadb.log")
        context.logs.append(self.log)
        for path in (self.data, os.path.dirname(self.socket)):
            os.makedirs(path)
            shutil.chown(path, "mysql", "mysql")
        run(["mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=" + self.data,
             "--auth-root-authentication-method=normal", "--skip-test-db", *self._page_size()])
        context.on_exit(self._kill)
        self._start()
        run(["mariadb-admin", "--no-defaults", "-S", self.socket, "create", "sbtest"])
        run(self._sysbench("--threads=2", "prepare"))
        self.close()  # a clean stop: no page of the load is written after the recording's begin
        self._start()

    def _page_size(self):
        size = self.options.page_size
        return [f"--innodb-page-size={size}"] if size else []

    def _start(self):
        with open(self.log, "ab") as log:
            self.process = harness.popen(
                ["mariadbd", "--no-defaults", "--user=mysql", "--datadir=" + self.data,
                 "--socket=" + self.socket, "--skip-networking", "--innodb-buffer-pool-size=256M",
                 "--pid-file=" + self.socket + ".pid", *self._page_size()],
                stdout=log, stderr=log)
        harness.retry(120, "MariaDB", lambda: self._answers() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise harness.Failed(f"MariaDB ended with {self.process.returncode}: see {self.log}")

    def _answers(self):
        try:
            run(["mariadb-admin", "--no-defaults", "-S", self.socket, "ping"])
        except harness.Failed:
            return False
        return True

    def _sysbench(self, *words):
        o = self.options
        return ["sysbench", self.workload, "--db-driver=mysql", "--mysql-user=root", "--mysql-db=sbtest",
                "--mysql-socket=" + self.socket, f"--tables={o.tables}", f"--table-size={o.rows}",
                f"--rand-seed={o.seed}", *words]

    def work(self, recording):
        text = run(self._sysbench(f"--threads={self.options.threads}", f"--time={self.options.seconds}",
                                  f"--rate={self.options.tps}", "run"))
        recording.outcome["transactions"] = _number_after(text, "transactions:")

    def close(self):
        self.process.terminate()
        self.process.wait(300)
        self.process = None

    def _kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def parameters(self):
        o = self.options
        return {"tables": o.tables, "rows": o.rows, "threads": o.threads, "tps": o.tps, "seconds": o.seconds,
                "seed": o.seed, "page_size": o.page_size or "default"}

    def versions(self):
        return {"mariadb": version_of("mariadbd", "--version"), "sysbench": version_of("sysbench", "--version")}


def _number_after(text, words):
    return int(text.split(words, 1)[1].split()[0])
