#!/usr/bin/env python3
"""A TODO names its issue: TODO(#12). Why: what nobody tracks is not going to be done."""

import re
import sys

import lint

MARK = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")


def check(root):
    problems = []
    for path in lint.files(root, (".hpp", ".cpp", ".py", ".sh", ".txt"), lint.CODE_FOLDERS + ("deploy",)):
        if path.startswith("tests/lint/"):
            continue
        text = lint.read(root, path)
        problems += [f"{path}:{lint.line_of(text, m.start())}: {m.group(1)} without an issue number"
                     for m in MARK.finditer(text)]
    return problems


PLANTS = [
    ({"dedupe/a.cpp": "// TODO later\n"}, "TODO without"),
    ({"dedupe/a.cpp": "// FIXME\n"}, "FIXME without"),
    ({"dedupe/a.cpp": "// TODO(#12): later\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
