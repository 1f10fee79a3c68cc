#!/usr/bin/env python3
"""Takes the handling of faults out, one at a time, and demands that a test fails for it.

    python3 tests/mutations.py                 # all of tests/mutations.toml
    python3 tests/mutations.py NAME...         # some of them
    python3 tests/mutations.py --list          # names, with the faults of docs/faults.md
    python3 tests/mutations.py --build build/dev

Each entry of the table replaces one text of one file, however its lines are broken; its target is built and the test
cases that its filter names are run. A test that fails, crashes or hangs has caught the mutation. One that passes is a
test that doesn't show what docs/faults.md says of it: the mutation SURVIVED. What can't be applied or doesn't compile
is an error.

First all filters are run on the source as it is: they must match a test case, and pass. Sources are put back after each
entry, on Ctrl-C and SIGTERM too; the targets are built from them at the end, else by the next build. After a SIGKILL
`git diff` shows the mutation that was in place. The working tree and the build directory must not be used by others
meanwhile.

Exit code: 0 all were caught, 1 some survived, 2 something is wrong with an entry, 130 interrupted.
"""

import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "mutations.toml"
FIELDS = ("name", "fault", "file", "find", "replace", "target", "test")
HANG_SECONDS = 120
MATCHED = re.compile(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed")
CAUGHT, SURVIVED, ERROR = "caught", "SURVIVED", "error"


def pattern(text):
    """Matches the text however the formatter breaks its lines."""
    return re.compile(r"\s*".join(re.escape(c) for c in text if not c.isspace()))


def load():
    """The entries, and what is wrong with them."""
    with open(TABLE, "rb") as f:
        entries = tomllib.load(f).get("mutation", [])
    faults = " ".join((ROOT / "docs" / "faults.md").read_text().split())
    problems, names = [], set()
    for number, e in enumerate(entries, 1):
        name = e.get("name", f"entry {number}")
        if sorted(e) != sorted(FIELDS) or not all(isinstance(v, str) for v in e.values()):
            problems.append(f"{name}: its fields are not {', '.join(FIELDS)}, texts all")
            continue
        if name in names:
            problems.append(f"{name}: stands twice in the table")
        names.add(name)
        if e["fault"] not in faults:
            problems.append(f"{name}: docs/faults.md has no words \"{e['fault']}\"")
        if e["find"] == e["replace"]:
            problems.append(f"{name}: replaces a text by itself")
        path = ROOT / e["file"]
        count = len(pattern(e["find"]).findall(path.read_text())) if path.is_file() else 0
        if count != 1:
            problems.append(f"{name}: {e['file']} has its text {count} times, not once")
    return entries, problems


def run(command, seconds=None):
    """Exit code and output; None: it hangs. The whole process group ends with it."""
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=seconds)
            return process.returncode, out
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class Tree:
    """The source and its build directory."""

    def __init__(self, build, jobs):
        self.build_directory = build
        self.jobs = jobs

    def build(self, targets):
        return run(["ninja", f"-j{self.jobs}", "-C", self.build_directory, *targets])

    def test(self, entry):
        binary = str(ROOT / self.build_directory / "bin" / entry["target"])
        return run([binary, f"-tc={entry['test']}"], HANG_SECONDS)

    @contextlib.contextmanager
    def mutated(self, entry):
        path = ROOT / entry["file"]
        before = path.read_bytes()
        try:
            path.write_text(pattern(entry["find"]).sub(lambda _: entry["replace"], before.decode()))
            yield
        finally:
            path.write_bytes(before)


def tail(text, lines=15):
    return "\n".join("    " + line for line in text.rstrip().split("\n")[-lines:])


def check_unmutated(tree, entries):
    """What is wrong before anything was changed."""
    code, out = tree.build(sorted({e["target"] for e in entries}))
    if code != 0:
        return [f"the source does not build as it is\n{tail(out)}"]
    problems, known = [], {}
    for e in entries:
        what = (e["target"], e["test"])
        if what not in known:
            code, out = tree.test(e)
            found = MATCHED.search(out)
            known[what] = ("hangs" if code is None else f"fails, exit code {code}\n{tail(out)}" if code != 0 else
                           "" if found and int(found[2]) > 0 else "matches no test case")
        if known[what]:
            problems.append(f"{e['name']}: without the mutation {e['target']} -tc=\"{e['test']}\" {known[what]}")
    return problems


def try_one(tree, entry):
    """Verdict, and words."""
    with tree.mutated(entry):
        code, out = tree.build([entry["target"]])
        if code != 0:
            return ERROR, f"does not build\n{tail(out)}"
        code, out = tree.test(entry)
    if code == 0:
        return SURVIVED, f"{entry['target']} -tc=\"{entry['test']}\" passes without the handling of: {entry['fault']}"
    if code is None:
        return CAUGHT, "hangs"
    return CAUGHT, f"killed by signal {-code}" if code < 0 else ""


def chosen_of(entries, names):
    unknown = set(names) - {e["name"] for e in entries}
    if unknown:
        sys.exit(f"no such entries: {', '.join(sorted(unknown))}")
    return [e for e in entries if not names or e["name"] in names]


def interrupted(*_):
    raise KeyboardInterrupt


def run_all(tree, entries):
    problems = check_unmutated(tree, entries)
    if problems:
        print("\n".join(problems))
        return 2
    verdicts = {}
    for e in entries:
        began = time.monotonic()
        verdict, words = try_one(tree, e)
        verdicts[e["name"]] = verdict
        print(f"{verdict:8} {e['name']} ({time.monotonic() - began:.0f} s){': ' + words if words else ''}", flush=True)
    tree.build(sorted({e["target"] for e in entries}))
    of = {v: [name for name, got in verdicts.items() if got == v] for v in (CAUGHT, SURVIVED, ERROR)}
    print(", ".join(f"{len(names)} {v}" for v, names in of.items()))
    return 2 if of[ERROR] else 1 if of[SURVIVED] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names and faults, nothing is run")
    parser.add_argument("--build", default="build/release", help="configured build directory (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="of ninja (%(default)s)")
    options = parser.parse_args()
    entries, problems = load()
    if problems:
        print("\n".join(problems))
        return 2
    entries = chosen_of(entries, options.names)
    if options.list:
        print("\n".join(f"{e['name']:36} {e['fault']}" for e in entries))
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    return run_all(Tree(options.build, options.jobs), entries)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
