#!/usr/bin/env python3
"""Files stay readable: more than 500 lines is printed as a warning, more than 800 fails; lines of more
than 120 characters are counted, 160 fail. Why: one idea a file, and the next reader holds it in the
head."""

import sys

import lint

WARN, FAIL = 500, 800
LINE_WARN, LINE_FAIL = 120, 160


def check(root):
    problems = []
    for path in lint.files(root, (".hpp", ".cpp", ".py")):
        lines = lint.read(root, path).split("\n")
        if len(lines) - 1 > FAIL:
            problems.append(f"{path}: {len(lines) - 1} lines, more than {FAIL}")
        elif len(lines) - 1 > WARN:
            print(f"warning: {path}: {len(lines) - 1} lines, more than {WARN}")
        problems += [f"{path}:{number}: {len(line)} characters" for number, line in enumerate(lines, 1)
                     if len(line) > LINE_FAIL]
        long_lines = sum(LINE_WARN < len(line) <= LINE_FAIL for line in lines)
        if long_lines:
            print(f"warning: {path}: {long_lines} line(s) of more than {LINE_WARN} characters")
    return problems


PLANTS = [
    ({"dedupe/a.cpp": "\n" * 801}, "801 lines"),
    ({"dedupe/a.cpp": "x" * 161 + "\n"}, "161 characters"),
    ({"dedupe/a.cpp": "\n" * 100}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
