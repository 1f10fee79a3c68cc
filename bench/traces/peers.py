"""What others need for the same change: zstd over the folded intervals (a pipe that folds), and
programs that compare the volumes' images before and after. Each returns bytes, or raises Missing.
"""

import os
import resource
import shutil
import subprocess

PIECE = 1 << 20


class Missing(Exception):
    """The peer isn't installed."""


def _need(*programs):
    for name in programs:
        if not shutil.which(name):
            raise Missing(f"{name} is not installed (deploy/deps.sh bench)")


def _run(words, **options):
    done = subprocess.run(words, check=False, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:4])}: exit {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


def _counted(command, path):
    """(bytes that a shell command writes when it reads `path`, CPU seconds of it)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = _run(["bash", "-c", f"set -o pipefail; {command} <\"$0\" | wc -c", path])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int(text), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def zstd_frames(path):
    """zstd -3, independent frames of 1 MiB."""
    _need("zstd", "split")
    return _counted(f"split -b {PIECE} --filter='zstd -q -3 -c' -", path)


def zstd_stream(path, window_log):
    """zstd -3, one stream with long matching over 2^window_log bytes."""
    _need("zstd")
    return _counted(f"zstd -q -3 --long={window_log} -c", path)


def size_below(directory):
    total = 0
    for folder, _, names in os.walk(directory):
        total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
    return total


def rsync(pairs, work):
    """Sent and received by rsync -z (zstd) in place, one call a volume, through a local pipe."""
    _need("rsync")
    shell = os.path.join(work, "local-shell")
    with open(shell, "w", encoding="ascii") as file:
        file.write('#!/bin/sh\nshift\nexec "$@"\n')  # drops the host name
    os.chmod(shell, 0o755)
    total = 0
    for before, after in pairs:
        target = os.path.join(work, "target.img")
        _run(["cp", "--sparse=always", before, target])
        text = _run(["rsync", "-e", shell, "--inplace", "-z", "--zc=zstd", "--no-whole-file", "--ignore-times",
                     "--stats", after, "local:" + target])
        for line in text.splitlines():
            if line.startswith(("Total bytes sent:", "Total bytes received:")):
                total += int(line.split(":")[1].replace(",", ""))
        os.unlink(target)
    return total


def _grown(store, steps):
    """Bytes by which a store grows in the second step, summed over the volumes' (before, after)."""
    total = 0
    for first, second in steps:
        first()
        size = size_below(store)
        second()
        total += size_below(store) - size
    return total


def restic(pairs, work):
    """Growth of a restic repository by the image after, once it has the one before."""
    _need("restic")
    store = os.path.join(work, "restic")
    environment = dict(os.environ, RESTIC_PASSWORD="bench", RESTIC_REPOSITORY=store,
                       RESTIC_CACHE_DIR=os.path.join(work, "restic-cache"))
    _run(["restic", "init", "-q"], env=environment)

    def backup(path, number):
        with open(path, "rb") as file:
            _run(["restic", "backup", "-q", "--compression", "auto", "--stdin", "--stdin-filename",
                  f"volume{number}.img"], env=environment, stdin=file)
    return _grown(store, _steps(pairs, backup))


def borg(pairs, work):
    """Growth of a borg repository, zstd,3."""
    _need("borg")
    store = os.path.join(work, "borg")
    environment = dict(os.environ, BORG_BASE_DIR=os.path.join(work, "borg-home"),
                       BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
    _run(["borg", "init", "-e", "none", store], env=environment)
    names = iter(range(1000))

    def backup(path, number):
        with open(path, "rb") as file:
            _run(["borg", "create", "--compression", "zstd,3", "--stdin-name", f"volume{number}.img",
                  f"{store}::{next(names)}", "-"], env=environment, stdin=file)
    return _grown(store, _steps(pairs, backup))


def casync(pairs, work):
    """New chunks in a casync store that has those of the image before."""
    _need("casync")
    store = os.path.join(work, "casync.castr")
    os.makedirs(store)

    def make(path, number):
        _run(["casync", "make", "--store=" + store, os.path.join(work, f"{number}.caibx"), path])
    return _grown(store, _steps(pairs, make))


def _steps(pairs, function):
    return [(lambda b=before, n=number: function(b, n), lambda a=after, n=number: function(a, n))
            for number, (before, after) in enumerate(pairs)]


IMAGE_PEERS = {"rsync -z zstd": rsync, "restic": restic, "borg zstd,3": borg, "casync": casync}
