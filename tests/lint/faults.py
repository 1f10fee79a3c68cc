#!/usr/bin/env python3
"""Every test that docs/faults.md names is there: `- **fault**: folder/file_test "words" (M); ...` names a file below
tests/unit, or tests/FOLDER/..., and words of it. Why: a fault whose test was renamed away looks handled and is not.
"""

import glob
import os
import re
import sys

import lint

PAGE = "docs/faults.md"
ENTRY = re.compile(r"^- \*\*(.+?)\*\*:\s+(.+?)(?=\n\S|\n\n|\Z)", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"([a-z_]+/[a-z_]+)((?:(?:, | and | )?\"[^\"]+\"(?: \([^)]*\))*)*)")
FOLDERS = ("tests/unit/", "tests/")


def words_of(text):
    """C++ text with its neighbouring string literals joined and all white space as one blank."""
    return re.sub(r'" ?"', "", " ".join(text.split()))


def check(root):
    if not os.path.exists(os.path.join(root, PAGE)):
        return []
    problems, entries = [], ENTRY.findall(lint.read(root, PAGE))
    if not entries:
        problems.append(f"{PAGE}: has no entry \"- **fault**: tests\"")
    for fault, tests in entries:
        tests = re.sub(r"`[^`]*`|\b(?:tests|bench)/[\w/.]+", "", " ".join(tests.split()))
        for name, quoted in NAMED.findall(tests):
            paths = [p for folder in FOLDERS for p in glob.glob(os.path.join(root, folder + name + "*.cpp"))]
            if not paths:
                problems.append(f"{PAGE}: {name} is not there ({fault})")
                continue
            text = "\n".join(words_of(lint.read(root, os.path.relpath(p, root))) for p in paths)
            problems += [f"{PAGE}: {name} has no \"{words}\" ({fault})" for words in re.findall(r'"([^"]+)"', quoted)
                         if words.removesuffix("...").strip() not in text]
    return problems


PAGE_TEXT = ("# Faults\n\n- **a, b**:\n  base/a_test \"one two\" (M),\n"
             "  \"three ...\"; `tests/e2e/x.py`, tests/lint/y.py (M)\n")
TESTS = 'TEST_CASE("a: one "\n          "two") {}\nTEST_CASE("three four") {}\n'

PLANTS = [
    ({PAGE: PAGE_TEXT, "tests/unit/base/a_test.cpp": TESTS}, None),
    ({PAGE: PAGE_TEXT, "tests/unit/base/b_test.cpp": TESTS}, "base/a_test is not there"),
    ({PAGE: PAGE_TEXT, "tests/unit/base/a_test.cpp": TESTS.replace("four", "").replace("three", "3")}, "\"three ...\""),
    ({PAGE: "- **c**: crash/c \"x\"\n", "tests/crash/c_test.cpp": '"x"'}, None),
    ({PAGE: "| c | crash/c |\n"}, "has no entry"),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
