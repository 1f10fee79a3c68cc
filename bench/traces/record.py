#!/usr/bin/env python3
"""Records what a real program writes: ext4 over nbdfuse and a loop device on volumes that our own NBD
server serves, every write, zeroing, trim and flush with its time.

    sudo bench/traces/record.py PROGRAM [--out DIR] [--seconds 90] [--seed 1] [...]

DIR is $FARSHORE_TRACES or bench/traces/out; the trace is DIR/PROGRAM (or --name): see recorded.py.
The recording begins when the program's data are loaded. Needs root, nbdfuse, loop devices and the
program; what is missing is said, exit code 77. Packages: deploy/deps.sh bench.
"""

import argparse
import os
import signal
import sys

import recorded
import recorder
import databases
import debian
import file_work
import harness

PROGRAMS = {
    "postgres-tpcb": lambda o: databases.Postgres(o, simple=False),
    "postgres-n": lambda o: databases.Postgres(o, simple=True),
    "mariadb-write-only": lambda o: databases.MariaDB(o, "oltp_write_only"),
    "mariadb-read-write": lambda o: databases.MariaDB(o, "oltp_read_write"),
    "debian": debian.Debian,
    "sqlite-git": file_work.SqliteGit,
    "file-copies": file_work.FileCopies,
    "incompressible": file_work.Incompressible,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=list(PROGRAMS))
    parser.add_argument("--out", default=recorded.folder(), help="the folder of traces")
    parser.add_argument("--name", help="the trace's name; the program's unless told")
    parser.add_argument("--seconds", type=int, default=90)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the working directory behind")
    parser.add_argument("--tps", type=int, default=0, help="transactions a second of a database, 0: all it can")
    group = parser.add_argument_group("postgres")
    group.add_argument("--scale", type=int, default=50, help="pgbench's scale")
    group.add_argument("--clients", type=int, default=8)
    group.add_argument("--checkpoint", type=int, default=30, help="checkpoint_timeout in seconds")
    group.add_argument("--two-volumes", action="store_true", help="data and WAL on a volume each")
    group = parser.add_argument_group("mariadb")
    group.add_argument("--tables", type=int, default=8)
    group.add_argument("--rows", type=int, default=100_000, help="rows a table")
    group.add_argument("--threads", type=int, default=4)
    group.add_argument("--page-size", help="innodb_page_size, e.g. 4k")
    group = parser.add_argument_group("debian")
    group.add_argument("--packages", default=debian.PACKAGES, help="installed by apt, comma-separated")
    group.add_argument("--installed", action="store_true", help="debootstrap before the recording begins")
    group = parser.add_argument_group("file-copies, incompressible, sqlite-git")
    group.add_argument("--source", default="/usr/lib,/usr/share",
                       help="trees that file-copies takes its files from, comma-separated")
    group.add_argument("--megabytes", type=int, default=400,
                       help="data of file-copies before it begins; written by incompressible")
    group.add_argument("--rate", type=float, default=20, help="MB/s of file-copies and incompressible")
    group.add_argument("--rounds", type=int, default=4, help="rounds of sqlite-git")
    return parser.parse_args()


def record(options, context):
    program = PROGRAMS[options.program](options)
    program.need()
    path = os.path.join(options.out, options.name or options.program)
    recording = recorder.Recording(context, path, program.volumes())
    print(f"== {options.program}: setting up", flush=True)
    program.setup(recording)
    recording.begin()
    print("   recording", flush=True)
    program.work(recording)
    recording.end()
    program.close()
    return path, recording.finish(options.program, program.parameters(), program.versions())


def in_own_mounts():
    """Starts over in a mount namespace: one that another process copies meanwhile keeps a volume busy."""
    if os.geteuid() == 0 and "FARSHORE_OWN_MOUNTS" not in os.environ:
        os.environ["FARSHORE_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def main():
    options = arguments()
    in_own_mounts()
    options.long = False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    context = harness.Context(options)
    try:
        path, meta = record(options, context)
    except harness.Skip as reason:
        print(f"SKIPPED: {options.program}: {reason}")
        return harness.SKIPPED
    except harness.Failed as error:
        print(f"FAILED: {options.program}: {error}", file=sys.stderr)
        context.show_logs()
        return 1
    finally:
        context.close()
    print(f"{path}: {meta['bytes_written'] / 1e6:.1f} MB written in {meta['seconds']} s, "
          f"{meta['events']} events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
