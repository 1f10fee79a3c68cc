#!/usr/bin/env python3
"""Every C++ source has the form that clang-format 19 gives it by .clang-format. Why: nobody reads or writes a change
of form beside a change of meaning. Another version of the formatter breaks lines elsewhere, so only this one counts,
and without it the rule fails: a rule that is skipped in silence is none."""

import os
import shutil
import subprocess
import sys

import lint

TOOL = "clang-format-19"
AT_ONCE = 40  # files for one process, so that two cores have work


def check(root):
    if shutil.which(TOOL) is None:
        return [f"{TOOL} is missing: `apt-get install {TOOL}`, or `deploy/deps.sh test`"]
    style = f"--style=file:{os.path.join(lint.ROOT, '.clang-format')}"
    paths = lint.files(root, (".hpp", ".cpp"))
    running = [subprocess.Popen([TOOL, "--dry-run", style, *paths[at:at + AT_ONCE]], cwd=root, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for at in range(0, len(paths), AT_ONCE)]
    problems = []
    for process in running:
        said = process.communicate()[1]
        if process.returncode:
            problems.append(f"{TOOL} failed: {said}")
        where = [line.split(": warning:")[0] for line in said.splitlines() if ": warning:" in line]
        for path in dict.fromkeys(w.rsplit(":", 2)[0] for w in where):
            lines = [w.rsplit(":", 2)[1] for w in where if w.rsplit(":", 2)[0] == path]
            problems.append(f"{path}: not formatted at line {', '.join(dict.fromkeys(lines))}; "
                            f"`{TOOL} -i {path}`")
    return problems


PLANTS = [
    ({"dedupe/a.cpp": "int  a;\n"}, "dedupe/a.cpp: not formatted at line 1"),
    ({"dedupe/a.hpp": "void f() {\n  g();\n}\n"}, "not formatted"),
    ({"dedupe/a.cpp": "int a;\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
