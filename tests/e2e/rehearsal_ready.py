#!/usr/bin/env python3
"""The ready scripts of deploy/tests as rehearsals: a PostgreSQL of two volumes under load, a MariaDB, file systems and
a guest are started and checked on a copy, pass when they are good and fail when they are not. After each of them
nothing may be left. `--only postgresql`, `mariadb`, `filesystem`, `guest`."""

import os
import shutil
import subprocess
import sys
import time

import guest as guests
import harness
import mounts
import postgres
from rehearsed import Traces, make_file_system, started

READY = os.path.join(harness.ROOT, "deploy", "tests")


def ready(name, *arguments):
    return ["--run", os.path.join(READY, name), *[f"--arg={argument}" for argument in arguments]]


def postgresql(context):
    """deploy/tests/postgresql.sh on a running server of two volumes."""
    mounts.need()
    programs = postgres.find_postgres()
    pair = started(context, {"data": "320MiB", "wal": "192MiB"}, interval="500ms")
    primary = postgres.Primary(context, pair)
    primary.create()
    pair.wait_state("streaming", timeout=120)
    primary.start_load(1)
    time.sleep(3)
    pair.wait(timeout=120)
    traces = Traces(context, pair, "receiver-state")
    words = ready("postgresql.sh", "data/pgdata", "--wal", "wal/pgwal", "--bin", programs, "--query",
                  "SELECT 1/(count(*) > 0)::int, 'committed' FROM committed")
    begun = time.monotonic()
    done = pair.receiver.cli("test", "shop", *words, "--mount", "--isolate", "--name", "postgresql", timeout=280)
    context.check(done["passed"] and "pg_amcheck: clean" in done["message"] and "1|committed" in done["message"],
                  f"PostgreSQL, under load at the primary, passes in {time.monotonic() - begun:.0f} s: "
                  f"{done['message']}")
    traces.none("PostgreSQL")
    wrong = pair.receiver.cli("test", "shop", *words, "--arg=--query", "--arg=SELECT 1/0", "--arg=--no-amcheck",
                              "--mount", code=1, timeout=280)
    context.check("division by zero" in wrong["message"], "a query that fails, fails it")
    traces.none("PostgreSQL that fails")


def mariadb(context):
    """deploy/tests/mariadb.sh on a running server."""
    mounts.need()
    harness.need("mariadbd", "mariadb-install-db", "mariadb-check")
    pair = started(context, {"data": "320MiB"}, interval="500ms")
    mount = mounts.Mount(context, "primary", uri=pair.uri("data")).make()
    data = os.path.join(mount.point, "db")
    os.makedirs(data)
    shutil.chown(data, "mysql", "mysql")
    mounts.run("mariadb-install-db", "--no-defaults", "--datadir=" + data, "--user=mysql",
               "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=16M",
               "--tmpdir=" + data)
    mounts.run("sync", "-f", mount.point)  # the installation does not: a power cut would damage its tables
    sock = context.path("run", "mariadb.sock")
    os.chmod(context.path("run"), 0o777)
    server = harness.popen(["setpriv", "--reuid", "mysql", "--regid", "mysql", "--init-groups", "mariadbd",
                            "--no-defaults", "--datadir=" + data, "--socket=" + sock, "--skip-networking",
                            "--innodb-log-file-size=16M", "--tmpdir=" + data], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    context.on_exit(server.kill)

    def sql(text):
        return subprocess.run(["mariadb", "--no-defaults", "--socket=" + sock, "-uroot", "-e", text],
                              capture_output=True, text=True, check=False).returncode == 0

    harness.retry(60, "MariaDB answers", lambda: sql("SELECT 1"))
    if not sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT PRIMARY KEY, b VARCHAR(200)) ENGINE=InnoDB;"
               "INSERT INTO shop.t SELECT seq, repeat('x', 200) FROM shop.seq_1_to_20000"):
        raise harness.Failed("MariaDB takes no data")
    pair.wait(timeout=120)
    traces = Traces(context, pair, "receiver-state")
    words = ready("mariadb.sh", "data/db", "--query", "SELECT count(*) FROM shop.t", "--set",
                  "innodb-log-file-size=16M")
    done = pair.receiver.cli("test", "shop", *words, "--mount", "--isolate", timeout=280)
    context.check(done["passed"] and "mariadb-check: clean" in done["message"] and "\n20000\n" in done["message"],
                  f"MariaDB passes: {done['message']}")
    traces.none("MariaDB")
    wrong = pair.receiver.cli("test", "shop", *words, "--arg=--query", "--arg=SELECT * FROM shop.none", "--mount",
                              code=1, timeout=280)
    context.check("doesn't exist" in wrong["message"], "a query that fails, fails it")
    traces.none("MariaDB that fails")
    server.terminate()
    server.wait(60)
    mount.unmount()


def filesystem(context):
    """deploy/tests/filesystem.sh."""
    mounts.need()
    pair = started(context)
    primary = make_file_system(context, pair)
    sums = context.path("sums")
    harness.write_text(sums, mounts.run("sha256sum", os.path.join(primary.point, "kept")).split()[0] + "  kept\n")
    traces = Traces(context, pair, "farshore-test-")
    words = ready("filesystem.sh", "--sums", "data:" + sums)
    done = pair.receiver.cli("test", "shop", *words, "--isolate")
    context.check(done["passed"] and "data (ext4): clean" in done["message"] and "1 files as listed" in done["message"]
                  and "my-wal: no file system" in done["message"], f"passes: {done['message']}")
    traces.none("file systems")
    with open(os.path.join(primary.point, "kept"), "w", encoding="ascii") as file:
        file.write("changed!\n")
    mounts.run("sync", "-f", primary.point)
    pair.wait()
    wrong = pair.receiver.cli("test", "shop", *words, code=1)
    context.check("files are not as" in wrong["message"] and "kept: FAILED" in wrong["message"],
                  "a file that changed fails it")
    traces.none("file systems that fail")
    primary.unmount()
    damage = subprocess.run(["qemu-io", "-f", "raw", "-c", "write -P 0xff 2048 8192", "-c", "flush", pair.uri("data")],
                            capture_output=True, text=True, check=False)
    context.check(damage.returncode == 0, "the group descriptors are written over")
    pair.wait()
    broken = pair.receiver.cli("test", "shop", *ready("filesystem.sh", "data"), code=1)
    context.check("the checker found damage" in broken["message"] or "can't be replayed" in broken["message"],
                  "and that is found")
    traces.none("damaged file systems")


def guest(context):
    """deploy/tests/guest.sh: a Debian kernel and busybox, booted from the copy."""
    harness.need("qemu-system-x86_64", "mkfs.ext4")
    parts = guests.Parts()
    first = context.path("first.cpio.gz")
    guests.make_first(parts, first)
    os.makedirs(context.path("primary"))
    guests.make_disk(context, parts, context.path("primary", "disk.img"), 64)
    pair = started(context, {"disk": "64MiB"})
    traces = Traces(context, pair, "farshore-test-")
    boot = ["--accel", parts.accelerator, "--kernel", parts.kernel, "--initrd", first, "--append",
            "console=ttyS0 quiet farshore=look"]
    done = pair.receiver.cli("test", "shop", *ready("guest.sh", *boot, "--console", "GUEST writes", "--memory", "256M"),
                             "--isolate", "--timeout", "4m", timeout=280)
    context.check(done["passed"] and "the guest answered" in done["message"], f"a guest boots: {done['message']}")
    traces.none("a guest")
    never = pair.receiver.cli("test", "shop", *ready("guest.sh", *boot, "--console", "no such words"), "--timeout",
                              "3m", code=1, timeout=280)
    context.check("ended before it answered" in never["message"], "one that does not answer fails")
    traces.none("a guest that fails")


def test(context):
    """What one part lacks does not keep the others from running."""
    parts = {"postgresql": postgresql, "mariadb": mariadb, "filesystem": filesystem, "guest": guest}
    lacking = {}
    for name, part in parts.items():
        try:
            harness.run_parts(context, {name: part})
        except harness.Skip as reason:
            lacking[name] = str(reason)
            print(f"SKIPPED {name}: {reason}")
    if lacking and (len(lacking) == len(parts) or context.options.only):
        raise harness.Skip("; ".join(lacking.values()))


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
