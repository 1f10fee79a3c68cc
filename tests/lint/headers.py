#!/usr/bin/env python3
"""Every header compiles alone, with the product's warnings as errors. Why: an include list that needs
luck breaks at the next file that includes in another order.

    tests/lint/headers.py --build DIR     (DIR has compile_commands.json)

Headers that reach replicator/base/async.hpp are compiled with it precompiled, the others bare: the
precompiled header shows them nothing that they don't include themselves. A header that its own .cpp
includes first is proved by the ordinary build and left out, unless that build precompiles more than
the header asks for."""

import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

import lint

ASYNC = "replicator/base/async.hpp"
# Folders that the build compiles without a precompiled header (farshore_module without ASIO).
BARE_FOLDERS = ("replicator/format/", "replicator/storage/", "replicator/capture/", "replicator/log/",
                "replicator/replica/", "replicator/config/", "replicator/hook/", "dedupe/", "bench/", "tests/e2e/")
QUOTED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
EXTRA = ["-std=c++23", "-fsyntax-only", "-x", "c++-header", "-Wno-pragma-once-outside-header", "-Werror",
         "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wnon-virtual-dtor", "-Wno-sign-conversion"]


def compiler_of(build):
    """Compiler and the include and define flags of any file of the product that uses Asio."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    entry = next(e for e in entries if e["file"].endswith("replicator/base/async.cpp"))
    words = shlex.split(entry["command"])
    compiler = next(w for w in words if not w.endswith("ccache"))
    flags, index = [], 0
    while index < len(words):
        if words[index] in ("-I", "-isystem"):
            flags += words[index:index + 2]
            index += 1
        elif words[index].startswith(("-I", "-D", "-isystem")):
            flags.append(words[index])
        index += 1
    return compiler, flags


def reaches_async(root, path, known):
    if path == ASYNC:
        return True
    if path not in known:
        known[path] = False
        full = os.path.join(root, path)
        if os.path.exists(full):
            known[path] = any(reaches_async(root, inner, known)
                              for inner in QUOTED.findall(lint.read(root, path)))
    return known[path]


def proved_by_build(root, path, known):
    """Its own .cpp includes it before all else, and sees no precompiled header that it doesn't."""
    source = path[:-len(".hpp")] + ".cpp"
    full = os.path.join(root, source)
    if not os.path.exists(full):
        return False
    first = re.search(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', lint.read(root, source), re.MULTILINE)
    precompiled = not path.startswith(BARE_FOLDERS)
    return bool(first) and first.group(1) == path and (
        not precompiled or reaches_async(root, path, known))


def compile_all(root, paths, compiler, flags, jobs):
    known, problems = {}, []
    with tempfile.TemporaryDirectory() as directory:
        pch = os.path.join(directory, "async.pch")
        base = [compiler] + [f for f in flags if not f.startswith("-I" + lint.ROOT)] + ["-I" + root]
        have_pch = os.path.exists(os.path.join(root, ASYNC))
        if have_pch:
            words = [w for w in EXTRA if w != "-fsyntax-only"]
            subprocess.run(base + words + [os.path.join(root, ASYNC), "-o", pch], check=True)

        def compile_one(path):
            helped = have_pch and path != ASYNC and reaches_async(root, path, known)
            use = ["-include-pch", pch] if helped else []
            done = subprocess.run(base + EXTRA + use + [os.path.join(root, path)], capture_output=True,
                                  text=True, check=False)
            return f"{path}: does not compile alone\n{done.stderr[:2000]}" if done.returncode else None

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            left = [p for p in paths if not proved_by_build(root, p, known)]
            problems = [p for p in pool.map(compile_one, left) if p]
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    compiler, flags = compiler_of(options.build)

    def check(root):
        folders = ("replicator", "dedupe", "transport", "bench/wan", "tests/e2e")
        return compile_all(root, lint.files(root, (".hpp",), folders), compiler, flags, options.jobs)

    plants = [
        ({"dedupe/a.hpp": "#pragma once\nstd::string x();\n"}, "does not compile alone"),
        ({"dedupe/a.hpp": "#pragma once\n#include <string>\nstd::string x();\n"}, None),
    ]
    sys.argv = sys.argv[:1]
    return lint.main(check, plants)


if __name__ == "__main__":
    sys.exit(main())
