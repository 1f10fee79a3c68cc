"""Applications that hooks freeze, real ones, each on an ext4 of its own volume: how to ask for the freeze, and how a
client sees it. `client()` begins something that the freeze stops, in a process of its own; it ends after the thaw."""

import os
import shutil
import sqlite3
import subprocess
import time

import harness
import mounts
from hook_rig import request
from postgres import find_postgres


def need_servers():
    harness.need_root()
    harness.need("losetup", "mkfs.ext4", "sfdisk", "mount", "umount", "fsfreeze", "redis-server", "redis-cli",
                 "mariadbd", "mariadb-install-db", "sqlite3", "setpriv")
    if not os.path.exists("/dev/loop-control"):
        raise harness.Skip("no /dev/loop-control")
    find_postgres()


class Client:
    """A process that the freeze keeps from its end."""

    def __init__(self, words, **options):
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)

    def waits(self, seconds=0.3):
        """Still there after that long."""
        try:
            self.process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            return True

    def end(self, seconds):
        self.process.wait(seconds)
        if self.process.returncode != 0:
            raise harness.Failed(f"a client failed: {self.process.stderr.read()}")


class Volume:
    """A raw file with ext4, mounted by a loop device."""

    def __init__(self, context, name, size):
        self.image = context.path(name + ".img")
        with open(self.image, "wb") as file:
            file.truncate(size)
        mounts.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", self.image)
        self.mount = mounts.Mount(context, name, image=self.image)
        self.device = self.mount.attach()
        mounts.run("mount", self.device, self.mount.point)
        self.point = self.mount.point
        context.on_exit(self.undo)

    def undo(self):
        subprocess.run(["fsfreeze", "--unfreeze", self.point], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", "--lazy", self.point], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["losetup", "-d", self.device], check=False, stderr=subprocess.DEVNULL)

    def listed(self):
        return [{"name": "data", "path": self.image}]


class Application:
    """What the scenarios need of each."""

    type = ""

    def __init__(self, context, volume=None):
        self.context, self.volume = context, volume

    def where(self):
        raise NotImplementedError

    def line(self, **keys):
        volumes = self.volume.listed() if self.volume else []
        return request(**{"name": self.type, "type": self.type, "volumes": volumes, **self.where(), **keys})

    def client(self):
        raise NotImplementedError

    def works(self):
        """Takes a write now."""
        self.client().end(30)
        return True


class FileSystem(Application):
    type = "filesystem"

    def where(self):
        return {"mount": self.volume.point}

    def client(self):
        return Client(["sh", "-c", 'mkdir "$0" && rmdir "$0"', os.path.join(self.volume.point, "written")])


class Sqlite(Application):
    type = "sqlite"

    def __init__(self, context, volume, mode="wal"):
        super().__init__(context, volume)
        self.path = os.path.join(volume.point, f"{mode}.db")
        with sqlite3.connect(self.path) as made:
            made.execute("PRAGMA journal_mode = " + mode)
            made.execute("CREATE TABLE t (a)")
        made.close()

    def where(self):
        return {"file": self.path}

    def client(self):
        return Client(["sqlite3", "-cmd", ".timeout 60000", self.path, "INSERT INTO t VALUES (1)"])

    def reader(self):
        made = sqlite3.connect(self.path)
        made.execute("BEGIN")
        made.execute("SELECT * FROM t").fetchall()
        return made


class Redis(Application):
    type = "redis"

    def __init__(self, context, volume, appendonly=True, port=0, settings=()):
        super().__init__(context, volume)
        self.directory = os.path.join(volume.point, f"redis-{int(appendonly)}-{port}")
        self.socket = context.path(f"redis-{int(appendonly)}-{port}.sock")
        self.port, self.settings = port, [*settings, "--appendonly", "yes" if appendonly else "no"]
        self.log = context.path("redis.log")
        os.makedirs(self.directory)
        context.logs.append(self.log)
        context.on_exit(self.kill)
        self.start()

    def start(self):
        self.process = harness.popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket",
                                      self.socket, "--dir", self.directory, "--save", "", "--requirepass", "secret",
                                      "--logfile", self.log, *self.settings])
        harness.retry(30, "redis", lambda: self.cli("PING") == "PONG")

    def cli(self, *words):
        done = subprocess.run(["redis-cli", "-s", self.socket, "-a", "secret", "--no-auth-warning", *words],
                              capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def where(self):
        where = f"socket={self.socket}" if not self.port else f"host=127.0.0.1 port={self.port}"
        return {"connect": where + " password=secret"}

    def client(self):
        return Client(["redis-cli", "-s", self.socket, "-a", "secret", "--no-auth-warning", "SET", "k", "v"])

    def kill(self):
        self.process.kill()
        self.process.wait()


class MariaDb(Application):
    type = "mariadb"

    def __init__(self, context, volume, options=""):
        super().__init__(context, volume)
        self.data = os.path.join(volume.point, "mariadb")
        self.socket = context.path("mariadb.sock")
        self.log = context.path("mariadb.log")
        self.options, self.process = options, None
        context.logs.append(self.log)
        context.on_exit(self.kill)
        mounts.run("mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=" + self.data,
                   "--auth-root-authentication-method=normal", "--skip-test-db")
        os.chmod(context.directory, 0o777)
        self.start()
        self.sql("CREATE DATABASE d; CREATE TABLE d.t (a INT) ENGINE=InnoDB; "
                 "CREATE USER hook@localhost IDENTIFIED BY 'secret'; "
                 "GRANT RELOAD, PROCESS, BINLOG MONITOR, CONNECTION ADMIN ON *.* TO hook@localhost; "
                 "GRANT CREATE ON mysql.* TO hook@localhost")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = harness.popen(
                ["mariadbd", "--no-defaults", "--user=mysql", "--datadir=" + self.data, "--socket=" + self.socket,
                 "--skip-networking", "--log-bin=binlog", "--innodb-buffer-pool-size=16M",
                 "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=2"], stdout=log, stderr=log, cwd="/")
        harness.retry(60, "MariaDB", lambda: os.path.exists(self.socket) and self.sql("SELECT 1", check=False) == "1")

    def sql(self, text, check=True):
        done = subprocess.run(["mariadb", "--no-defaults", "-uroot", "-S", self.socket, "-N", "-e", text],
                              capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise harness.Failed("mariadb: " + done.stderr)
        return done.stdout.strip()

    def where(self):
        return {"connect": f"socket={self.socket} user=hook password=secret {self.options}"}

    def client(self):
        return Client(["mariadb", "--no-defaults", "-uroot", "-S", self.socket, "-e", "INSERT INTO d.t VALUES (1)"])

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()


class BackupMode:
    """PostgreSQL stops no client: what ends with the freeze is the hook's session. (A release by force has another.)"""

    def __init__(self, server):
        self.server = server
        self.pid = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'farshore-hook'")

    def waits(self):
        return self.server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {self.pid}") == "1"

    def end(self, seconds):
        harness.retry(seconds, "the end of the session of the hook", lambda: not self.waits(), pause=0.01)


class PostgreSql(Application):
    type = "postgresql"

    def __init__(self, context, volume, port=5432):
        super().__init__(context, volume)
        self.programs, self.port = find_postgres(), port
        self.data = os.path.join(volume.point, "pgdata")
        self.socket = context.path("pg")
        self.log = context.path("postgresql.log")
        self.process = None
        for directory in (self.socket, self.data):
            os.makedirs(directory, exist_ok=True)
            shutil.chown(directory, "postgres")
        os.chmod(self.data, 0o700)
        context.logs.append(self.log)
        context.on_exit(self.kill)
        self.run("initdb", "-D", self.data, "-A", "trust", "--no-instructions", "-E", "UTF8", "--no-sync")
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="ascii") as file:
            file.write("local all hook scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n")
        self.start()
        self.sql("CREATE ROLE hook LOGIN PASSWORD 'secret'; GRANT pg_monitor TO hook; "
                 "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO hook")

    def words(self, program, *rest):
        return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups",
                os.path.join(self.programs, program), *rest]

    def run(self, program, *rest):
        done = subprocess.run(self.words(program, *rest), capture_output=True, text=True, check=False, cwd="/")
        if done.returncode != 0:
            raise harness.Failed(f"{program}: {done.stderr}")
        return done.stdout.strip()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = harness.popen(
                self.words("postgres", "-D", self.data, "-k", self.socket, "-c", "listen_addresses=127.0.0.1", "-c",
                           f"port={self.port}", "-c", "shared_buffers=16MB", "-c", "max_connections=20"),
                stdout=log, stderr=log, cwd="/")
        harness.retry(60, "PostgreSQL", self.answers)

    def answers(self):
        try:
            return self.sql("SELECT 1") == "1"
        except harness.Failed:
            return False

    def sql(self, text):
        return self.run("psql", "-h", self.socket, "-p", str(self.port), "-qAtc", text, "-d", "postgres")

    def where(self):
        return {"connect": f"host={self.socket} port={self.port} dbname=postgres user=hook password=secret"}

    def client(self):
        return BackupMode(self)

    def works(self):
        return self.sql("CREATE TABLE IF NOT EXISTS w (a int); INSERT INTO w VALUES (1) RETURNING a") == "1"

    def stop(self, mode):
        self.run("pg_ctl", "stop", "-D", self.data, "-m", mode, "-w")
        self.process.wait(30)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.stop("immediate")


class Threaded:
    """A condition of ours that the freeze holds, as a client."""

    def __init__(self, holds):
        self.holds = holds

    def waits(self, seconds=0.2):
        time.sleep(seconds)
        return self.holds()

    def end(self, seconds):
        harness.retry(seconds, "the thaw", lambda: not self.holds(), pause=0.005)

