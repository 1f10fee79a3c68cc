#!/usr/bin/env python3
"""Every state of session/status.hpp has a row in the table of truth of docs/operations.md ("What each word proves") and
is judged by `farshore check` (cli/check.cpp); every row names a state that there is. Why: a state that nobody can prove
or deny is a word, and one that the monitor does not know is "unknown" on the day it comes.
"""

import re
import sys

import lint

STATUS, PAGE, CHECK = "replicator/session/status.hpp", "docs/operations.md", "replicator/cli/check.cpp"
TITLE = "## What each word proves"
COLUMNS = 4


def states_of(text):
    """enum name -> enumerators."""
    text = lint.without_comments(text)
    return {m.group(1): re.findall(r"[a-z_]+", m.group(2))
            for m in re.finditer(r"enum class (\w+_state)\s*:[^{]*\{([^}]*)\}", text)}


def rows_of(page):
    """side ("sender", "receiver") -> first cells of its rows; and rows that lack something."""
    begin = page.find(TITLE)
    if begin < 0:
        return {}, [f"{PAGE}: no section \"{TITLE[3:]}\""]
    end = page.find("\n## ", begin + 1)
    rows, problems, side = {}, [], None
    for line in page[begin:end if end > 0 else None].splitlines():
        if line.startswith("### "):
            side = "sender" if "sender" in line else "receiver" if "receiver" in line else None
        cells = [c.strip() for c in line.strip().strip("|").split("|")] if line.startswith("|") else []
        name = re.match(r"`(\w+)`", cells[0]) if cells else None
        if not name:
            continue
        if len(cells) != COLUMNS or not all(cells):
            problems.append(f"{PAGE}: the row of {cells[0]} has not {COLUMNS} cells with something in each")
        if side:
            rows.setdefault(side, set()).add(name.group(1))
    return rows, problems


def check(root):
    states = states_of(lint.read(root, STATUS))
    rows, problems = rows_of(lint.read(root, PAGE))
    judged = set(re.findall(r'"([a-z_]+)"', lint.read(root, CHECK)))
    for enum, names in states.items():
        side = enum.removesuffix("_state")
        there = rows.get(side, set())
        problems += [f"{PAGE}: {side} state {n} has no row under \"{TITLE[3:]}\"" for n in names if n not in there]
        problems += [f"{PAGE}: {n} is no state of the {side}" for n in sorted(there - set(names))]
        problems += [f"{CHECK}: does not judge the {side} state {n}" for n in names if n not in judged]
    if set(states) != {"sender_state", "receiver_state"}:
        problems.append(f"{STATUS}: expected sender_state and receiver_state, found {sorted(states)}")
    return problems


ENUMS = "enum class sender_state : int { idle, // b\n busy };\nenum class receiver_state : int { empty };\n"
ROW = "| `{}` | a | b | c |\n"
GOOD = f"{TITLE}\n### At the sender\n{ROW.format('idle')}{ROW.format('busy')}### At the receiver\n{ROW.format('empty')}"
JUDGE = '"idle" "busy" "empty"'


def tree(enums=ENUMS, page=GOOD, judge=JUDGE):
    return {STATUS: enums, PAGE: page, CHECK: judge}


PLANTS = [
    (tree(), None),
    (tree(enums=ENUMS.replace("busy", "busy, lost")), "sender state lost has no row"),
    (tree(page=GOOD + ROW.format("gone")), "gone is no state of the receiver"),
    (tree(page=GOOD.replace("| `busy` | a | b | c |", "| `busy` | a | | c |")), "4 cells"),
    (tree(judge='"idle" "empty"'), "does not judge the sender state busy"),
    (tree(page="nothing"), "no section"),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
