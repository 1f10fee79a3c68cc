"""Shared frame of the lint rules. A rule is a script with `check(root) -> [problem, ...]` and
`PLANTS`: little trees with a violation, each with the words that the problem must contain (or None
for a tree that is good). Every run first proves on them that the rule can fail.

    tests/lint/RULE.py [ROOT]
"""

import os
import re
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE_FOLDERS = ("replicator", "dedupe", "transport", "tests", "bench")
NOT_OURS = {"build", ".git", "__pycache__"}


def files(root, suffixes, folders=CODE_FOLDERS):
    """Paths relative to root, sorted."""
    found = []
    for folder in folders:
        for here, inner, names in os.walk(os.path.join(root, folder)):
            inner[:] = [d for d in inner if d not in NOT_OURS]
            found += [os.path.relpath(os.path.join(here, n), root) for n in names
                      if n.endswith(suffixes)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
                   re.DOTALL)


def without_comments(text, keep_strings=False):
    """C++ text with comments (and strings) blanked; line numbers stay."""
    def blank(match):
        piece = match.group(0)
        if keep_strings and not piece.startswith("/"):
            return piece
        if piece.startswith("'") and re.match(r"\w", text[match.start() - 1:match.start()] or " "):
            return piece  # a digit separator, not a character
        return re.sub(r"[^\n]", " ", piece)
    return TOKEN.sub(blank, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def self_test(check, plants):
    for tree, words in plants:
        with tempfile.TemporaryDirectory() as root:
            for path, text in tree.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            problems = check(root)
        if words is None:
            assert not problems, f"self-test: a good tree was refused: {problems}"
        else:
            assert any(words in p for p in problems), \
                f"self-test: the planted violation ({words}) was not found: {problems}"


def main(check, plants):
    self_test(check, plants)
    problems = check(os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problem(s); self-test passed on {len(plants)} planted trees")
    return 1 if problems else 0
