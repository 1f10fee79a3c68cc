#!/usr/bin/env python3
"""Every state of session/status.hpp has a row in the table of truth of docs/operations.md ("What each word proves") and
is judged by `farshore check` (cli/check.cpp); every row names a state that there is. Why: a state that nobody can prove
or deny is a word, and one that the monitor does not know is "unknown" on the day it comes.

The table of receiver/receiver_cases.hpp is drawn in docs/protocol.md, row by row, and each of its phases is explained
there. Why: who reads the page to understand a log must not read another table than the one that runs.
"""

import re
import sys

import lint

STATUS, PAGE, CHECK = "replicator/session/status.hpp", "docs/operations.md", "replicator/cli/check.cpp"
TITLE = "## What each word proves"
CASES, DRAWN = "replicator/receiver/receiver_cases.hpp", "docs/protocol.md"
CASES_TITLE = "## A group at the DR site"
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


def section_of(page, title):
    begin = page.find(title)
    end = page.find("\n## ", begin + 1)
    return page[begin:end if end > 0 else None] if begin >= 0 else ""


def check_cases(source, page):
    source, section = lint.without_comments(source), section_of(page, CASES_TITLE)
    phases = re.search(r"enum class group_phase\s*:[^{]*\{([^}]*)\}", source)
    coded = re.findall(r"\{p::(\w+),\s*e::(\w+),\s*\{p::(\w+),\s*(\w+)\}\}", source)
    drawn = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \| `(\w+)` \|$", section, re.M)
    explained = re.findall(r"^\| `(\w+)` \| [^|`]+ \|$", section, re.M)
    problems = [] if section else [f"{DRAWN}: no section \"{CASES_TITLE[3:]}\""]
    problems += [f"{DRAWN}: does not draw the case {' '.join(c)}" for c in coded if c not in drawn]
    problems += [f"{DRAWN}: {CASES} has no case {' '.join(d)}" for d in drawn if d not in coded]
    names = re.findall(r"[a-z_]+", phases.group(1)) if phases else []
    problems += [f"{DRAWN}: does not explain the phase {n}" for n in names if n not in explained]
    problems += [f"{DRAWN}: {n} is no phase of a group" for n in explained if n not in names]
    return problems if coded else problems + [f"{CASES}: no table was found"]


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
    return problems + check_cases(lint.read(root, CASES), lint.read(root, DRAWN))


ENUMS = "enum class sender_state : int { idle, // b\n busy };\nenum class receiver_state : int { empty };\n"
ROW = "| `{}` | a | b | c |\n"
GOOD = f"{TITLE}\n### At the sender\n{ROW.format('idle')}{ROW.format('busy')}### At the receiver\n{ROW.format('empty')}"
JUDGE = '"idle" "busy" "empty"'


TABLE = "enum class group_phase : int { idle, // a\n gone };\nx = {\n    {p::idle, e::stop, {p::gone, none}},\n};\n"
DRAWING = f"{CASES_TITLE} (x)\n| `idle` | a |\n| `gone` | b |\n\n| `idle` | `stop` | `gone` | `none` |\n"


def tree(enums=ENUMS, page=GOOD, judge=JUDGE, cases=TABLE, drawing=DRAWING):
    return {STATUS: enums, PAGE: page, CHECK: judge, CASES: cases, DRAWN: drawing}


PLANTS = [
    (tree(), None),
    (tree(enums=ENUMS.replace("busy", "busy, lost")), "sender state lost has no row"),
    (tree(page=GOOD + ROW.format("gone")), "gone is no state of the receiver"),
    (tree(page=GOOD.replace("| `busy` | a | b | c |", "| `busy` | a | | c |")), "4 cells"),
    (tree(judge='"idle" "empty"'), "does not judge the sender state busy"),
    (tree(page="nothing"), "no section"),
    (tree(drawing=DRAWING.replace("`gone` | `none`", "`idle` | `none`")), "does not draw the case idle stop gone none"),
    (tree(drawing=DRAWING + "| `gone` | `stop` | `gone` | `none` |\n"), "has no case gone stop gone none"),
    (tree(drawing=DRAWING.replace("| `gone` | b |\n", "")), "does not explain the phase gone"),
    (tree(cases="", drawing="nothing"), "no table was found"),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
