"""Programs that work on files: SQLite and git, copies of files, and data that nothing compresses."""

import os
import platform
import random
import shutil
import sqlite3
import subprocess
import time

import harness
import mounts
from recorder import run, version_of

MIB, GIB = 1 << 20, 1 << 30


class SqliteGit:
    """Rounds of: transactions on two SQLite databases (WAL, and rollback journal), and work with git
    on a generated source tree: edits, commits, a clone, gc."""

    FILES, ROWS = 1500, 40_000

    def __init__(self, options):
        self.options = options
        self.chance = random.Random(options.seed)
        self.words = [self._word() for _ in range(4000)]

    def need(self):
        mounts.need()
        harness.need("git")

    def volumes(self):
        return {"home": 2 * GIB}

    def _word(self):
        return "".join(self.chance.choice("etaoinshrdlucmfwypvbgkqjxz") for _ in range(self.chance.randint(2, 11)))

    def _line(self):
        return "    " * self.chance.randint(0, 3) + " ".join(self.chance.choices(self.words, k=8)) + ";\n"

    def setup(self, recording):
        self.home = recording.point("home")
        for mode in ("wal", "delete"):
            base = self._open(mode)
            base.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, note TEXT, amount INT)")
            base.execute("CREATE INDEX item_name ON item (name)")
            base.executemany("INSERT INTO item (name, note, amount) VALUES (?, ?, ?)",
                             (self._row() for _ in range(self.ROWS)))
            base.commit()
            base.close()
        self.tree = os.path.join(self.home, "project")
        for number in range(self.FILES):
            path = os.path.join(self.tree, f"part{number % 40:02}", f"file{number:04}.c")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as file:
                file.writelines(self._line() for _ in range(self.chance.randint(20, 400)))
        self._git("init", "-q", "-b", "main")
        self._commit("begin")

    def _open(self, mode):
        base = sqlite3.connect(os.path.join(self.home, mode + ".sqlite"))
        base.execute("PRAGMA journal_mode=" + mode)
        return base

    def _row(self):
        return (" ".join(self.chance.choices(self.words, k=2)), self._line(), self.chance.randrange(10**6))

    def _git(self, *words, directory=None):
        run(["git", "-c", "user.name=bench", "-c", "user.email=bench@example.net", "-c", "gc.auto=0",
             "-C", directory or self.tree, *words])

    def _commit(self, text):
        self._git("add", "-A")
        self._git("commit", "-q", "-m", text)

    def work(self, recording):
        for number in range(self.options.rounds):
            for mode, count in (("wal", 2500), ("delete", 400)):
                self._transactions(mode, count)
            for step in range(8):
                self._edit(60)
                self._commit(f"round {number} step {step}")
            clone = os.path.join(self.home, f"clone{number}")
            run(["git", "clone", "-q", "--no-hardlinks", self.tree, clone])
            self._git("gc", "-q")
            recording.sync()
            if number % 2:
                shutil.rmtree(clone)

    def _transactions(self, mode, count):
        base = self._open(mode)
        for _ in range(count):
            for _ in range(3):
                base.execute("UPDATE item SET amount = amount + ? WHERE id = ?",
                             (self.chance.randrange(1000), self.chance.randint(1, self.ROWS)))
            base.execute("INSERT INTO item (name, note, amount) VALUES (?, ?, ?)", self._row())
            base.execute("DELETE FROM item WHERE id = ?", (self.chance.randint(1, self.ROWS),))
            base.commit()
        base.close()

    def _edit(self, files):
        for number in self.chance.sample(range(self.FILES), files):
            path = os.path.join(self.tree, f"part{number % 40:02}", f"file{number:04}.c")
            with open(path, encoding="ascii") as file:
                lines = file.readlines()
            for _ in range(5):
                lines.insert(self.chance.randint(0, len(lines)), self._line())
            with open(path, "w", encoding="ascii") as file:
                file.writelines(lines)

    def close(self):
        pass

    def parameters(self):
        return {"rounds": self.options.rounds, "files": self.FILES, "rows": self.ROWS, "seed": self.options.seed}

    def versions(self):
        return {"sqlite": sqlite3.sqlite_version, "git": version_of("git", "--version")}


class FileCopies:
    """Trees and large files copied inside a volume, and to the other volume of the group."""

    LARGE = 64 * MIB

    def __init__(self, options):
        self.options = options
        self.taken = 0

    def need(self):
        mounts.need()
        harness.need("tar")

    def volumes(self):
        size = 4 * self.options.megabytes * MIB + GIB // 2
        return {"first": size, "second": size}

    def setup(self, recording):
        first = recording.point("first")
        limit = self.options.megabytes * MIB
        for source in self.options.source.split(","):
            self._take(source, os.path.join(first, "tree" + source.replace("/", "-")), limit * 3 // 4)
        with open(os.path.join(first, "large"), "wb") as file:
            words = ["tar", "-C", first, "--exclude=large", "-cf", "-", "."]
            with subprocess.Popen(words, stdout=subprocess.PIPE) as tar:
                left = min(self.LARGE, limit // 4)
                while left > 0 and (piece := tar.stdout.read(min(left, MIB))):
                    file.write(piece)
                    left -= len(piece)
                tar.kill()

    def _take(self, source, target, limit):
        """Regular files below `source`, in order, until `limit` bytes are taken from all sources."""
        for folder, inner, names in os.walk(source):
            inner.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                if self.taken >= limit:
                    return
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                copy = os.path.join(target, os.path.relpath(path, source))
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                shutil.copyfile(path, copy)
                self.taken += os.path.getsize(copy)

    def work(self, recording):
        first, second = recording.point("first"), recording.point("second")
        trees = [name for name in sorted(os.listdir(first)) if name.startswith("tree")]
        pace = Pace(recording, self.options.rate)
        for target in (os.path.join(first, "copies"), second):
            for name in trees:
                shutil.copytree(os.path.join(first, name), os.path.join(target, name), copy_function=pace.copy)
            pace.copy(os.path.join(first, "large"), os.path.join(target, "large-copy"))
        recording.sync()

    def close(self):
        pass

    def parameters(self):
        return {"source": self.options.source, "rate": self.options.rate, "megabytes": self.options.megabytes,
                "bytes_taken": self.taken, "seed": self.options.seed}

    def versions(self):
        return {"python": platform.python_version()}


class Pace:
    """Holds a program to a rate of written bytes: a sync and a pause after every few megabytes."""

    STEP = 8 * MIB

    def __init__(self, recording, megabytes_per_second):
        self.recording, self.rate = recording, megabytes_per_second * 1e6
        self.done = self.synced = 0
        self.begun = time.monotonic()

    def written(self, count):
        self.done += count
        if self.done - self.synced >= self.STEP:
            self.synced = self.done
            self.recording.sync()
            time.sleep(max(0.0, self.done / self.rate - (time.monotonic() - self.begun)))

    def copy(self, source, target):
        with open(source, "rb") as old, open(target, "wb") as new:
            while piece := old.read(self.STEP):
                new.write(piece)
                new.flush()
                self.written(len(piece))
        shutil.copystat(source, target)
        return target


class Incompressible:
    """Files of encrypted data, written one after another and synced."""

    FILE = 32 * MIB

    def __init__(self, options):
        self.options = options

    def need(self):
        mounts.need()
        harness.need("openssl")

    def volumes(self):
        return {"data": 2 * self.options.megabytes * MIB + GIB // 4}

    def setup(self, recording):
        os.makedirs(os.path.join(recording.point("data"), "files"))

    def work(self, recording):
        pace = Pace(recording, self.options.rate)
        for number in range(max(1, self.options.megabytes * MIB // self.FILE)):
            path = os.path.join(recording.point("data"), "files", f"{number:04}")
            key = f"{self.options.seed:032x}{number:032x}"
            words = ["openssl", "enc", "-aes-256-ctr", "-K", key, "-iv", "0" * 32]
            with open(path, "wb") as file:
                encrypt(words, file, self.FILE, pace)

    def close(self):
        pass

    def parameters(self):
        return {"megabytes": self.options.megabytes, "rate": self.options.rate, "seed": self.options.seed}

    def versions(self):
        return {"openssl": version_of("openssl", "version")}


def encrypt(words, file, size, pace):
    """Writes `size` bytes of an endless filter over /dev/zero into `file` at a pace."""
    with open("/dev/zero", "rb") as zeroes, \
            subprocess.Popen(words, stdin=zeroes, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        for _ in range(size // MIB):
            piece = child.stdout.read(MIB)
            if len(piece) < MIB:
                raise harness.Failed(f"{words[0]} ended early, exit {child.wait()}: run it by hand to see why")
            file.write(piece)
            file.flush()
            pace.written(MIB)
        child.kill()
