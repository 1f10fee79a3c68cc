#!/usr/bin/env python3
"""Sources are plain ASCII without tabs or blanks at line ends. Why: what looks the same is the same."""

import sys

import lint


def check(root):
    problems = []
    for path in lint.files(root, (".hpp", ".cpp", ".py", ".txt", ".cmake", ".sh"),
                           lint.CODE_FOLDERS + ("cmake", "deploy")):
        for number, line in enumerate(lint.read(root, path).split("\n"), 1):
            if not line.isascii():
                problems.append(f"{path}:{number}: not ASCII")
            if "\t" in line:
                problems.append(f"{path}:{number}: tab")
            if line != line.rstrip():
                problems.append(f"{path}:{number}: blank at the end of the line")
    return problems


PLANTS = [
    ({"dedupe/a.cpp": "// caf\u00e9\n"}, "not ASCII"),
    ({"dedupe/a.cpp": "\tint x;\n"}, "tab"),
    ({"tests/a.py": "x = 1 \n"}, "blank"),
    ({"dedupe/a.cpp": "int x;\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
