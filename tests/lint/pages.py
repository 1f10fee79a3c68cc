#!/usr/bin/env python3
"""Pages for people: lines of at most 120 characters but in code and for a link alone; every relative link leads to a
file, and to a heading if it names one; every decision has a date and a status and stands in the index; what
architecture.md and CONTRIBUTING.md name is there, files and words of files. Why: a row that does not fit the window is
not read, and a place that is gone costs the reader more than none.
"""

import glob
import os
import re
import sys

import lint

COLUMNS_MAX = 120
SINGLE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DECISIONS, INDEX = "docs/decisions", "docs/decisions/README.md"
# Where every name in backquotes that looks like a path is one; paths are of the root, of these folders, or of a target.
GUIDES = ("docs/architecture.md", "CONTRIBUTING.md")
ROOTS = ("", "replicator", "tests")

LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^()\s]+)\)")
LINK_ALONE = re.compile(r"\s*(?:[-*] )?\[[^\]]*\]\([^()\s]+\)[.,;:]?|\s*(?:[-*] )?<?https?://\S+")
PLACE = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]+)`")
WORD_OF_PLACE = re.compile(r"`(\w+)`\s+of\s+`((?:[\w-]+/)+[\w-]+\.\w+)`")
NOT_IN_TREE = re.compile(r"STATE/|build/|state/|undo/|rollback/|[\w.-]+/[a-z]*\*$")
STATUS = re.compile(r"^Date: (\d{4}-\d\d-\d\d)\. Status: \S.*\.$", re.MULTILINE)


def prose_lines(text):
    """(number, line, title of the section) of what is neither in a fence nor indented as code."""
    fenced, title = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            title = line[3:] if line.startswith("## ") else title
            yield number, line, title


def without_code(text):
    """Fences, indented lines and words in backquotes are blanked, so that what looks like a link there is none."""
    kept = {number: line for number, line, _ in prose_lines(text)}
    lines = [kept.get(n, "") for n in range(1, text.count("\n") + 2)]
    return re.sub(r"`[^`\n]*`", "", "\n".join(lines))


def anchors(text):
    """Of the headings, as a forge makes them."""
    found, seen = set(), {}
    for _, line, _ in prose_lines(text):
        heading = re.match(r"#{1,6} (.*)", line)
        if not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).strip().lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(name if name not in seen else f"{name}-{seen[name]}")
        seen[name] = seen.get(name, 0) + 1
    return found


def check_lines(page, text):
    return [f"{page}:{number}: {len(line)} characters, more than {COLUMNS_MAX}"
            for number, line, _ in prose_lines(text)
            if len(line) > COLUMNS_MAX and not LINK_ALONE.fullmatch(line)]


def check_links(root, page, text):
    problems = []
    bare = without_code(text)
    for match in LINK.finditer(bare):
        target, _, anchor = match.group(1).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
        where = f"{page}:{lint.line_of(bare, match.start())}"
        if not os.path.exists(os.path.join(root, path)):
            problems.append(f"{where}: {target} is not there")
        elif anchor and anchor not in anchors(lint.read(root, path)):
            problems.append(f"{where}: {path} has no heading #{anchor}")
    return problems


def check_places(root, page, text):
    """`capture/epochs.hpp`, `tests/crash/capture_*`, `capture/capture_group`: one file at least; `cut` of
    `sender/sender_group.cpp`: the word is in it."""
    def found(name):
        return [path for folder in ROOTS for end in ("", ".hpp", ".py")
                for path in glob.glob(os.path.join(root, folder, name + end))]
    problems = [f"{page}: {name} is not there" for name in sorted(set(PLACE.findall(text)))
                if not NOT_IN_TREE.match(name) and not found(name)]
    for word, name in sorted(set(WORD_OF_PLACE.findall(text))):
        files = [os.path.relpath(path, root) for path in found(name)]
        if files and not any(re.search(rf"\b{word}\b", lint.read(root, path)) for path in files):
            problems.append(f"{page}: {name} has no {word}")
    return problems


def check_decisions(root):
    records = sorted(os.path.basename(p) for p in glob.glob(os.path.join(root, DECISIONS, "[0-9]*.md")))
    index = lint.read(root, INDEX) if os.path.exists(os.path.join(root, INDEX)) else ""
    dates = dict(re.findall(r"^\| \[\d+\]\((\S+\.md)\) \| (\S+) \|", index, re.MULTILINE))
    problems = []
    for name in records:
        status = STATUS.search(lint.read(root, f"{DECISIONS}/{name}"))
        if not status:
            problems.append(f"{DECISIONS}/{name}: no line \"Date: YYYY-MM-DD. Status: ....\"")
        if name not in dates:
            problems.append(f"{DECISIONS}/{name}: does not stand in the index")
        elif status and dates[name] != status.group(1):
            problems.append(f"{DECISIONS}/{name}: is of {status.group(1)}, in the index of {dates[name]}")
    return problems


def check(root):
    pages = [p for p in SINGLE if os.path.exists(os.path.join(root, p))] + lint.files(root, (".md",), ("docs",))
    problems = check_decisions(root)
    for page in pages:
        text = lint.read(root, page)
        problems += check_lines(page, text) + check_links(root, page, text)
        problems += check_places(root, page, text) if page in GUIDES else []
    return problems


LONG = "word " * 25
RECORD = "# 1. Why\n\nDate: 2026-01-31. Status: holds.\n"
ROW = "| [1](0001-why.md) | 2026-01-31 | Why |\n"


def decision(record=RECORD, index=ROW):
    return {f"{DECISIONS}/0001-why.md": record, INDEX: index}


PLANTS = [
    ({"docs/a.md": LONG + "\n"}, "docs/a.md:1: 125 characters"),
    ({"README.md": "| " + LONG + " |\n"}, "README.md:1"),
    ({"docs/a.md": f"```\n{LONG}\n```\n    {LONG}\n[x]({'y' * 130}.md)\n", f"docs/{'y' * 130}.md": ""}, None),
    ({"docs/a.md": "see [b](b.md)\n"}, "b.md is not there"),
    ({"docs/a.md": "see [the\nb](b.md#one-two)\n", "docs/b.md": "# One\n"}, "docs/b.md has no heading #one-two"),
    ({"docs/a.md": "[b](../README.md#what-it-does-1), [c](#here)\n`[x](y)` [w](https://e.org/#f)\n## Here\n",
      "README.md": "# What it does\n## What `it` does?\n"}, None),
    (decision(), None),
    (decision(record="# 1. Why\n\n2026-01-31\n"), "no line"),
    (decision(index="nothing\n"), "does not stand in the index"),
    (decision(index=ROW.replace("31", "30")), "in the index of 2026-01-30"),
    ({"CONTRIBUTING.md": "`capture/gone.hpp`\n"}, "capture/gone.hpp is not there"),
    ({"CONTRIBUTING.md": "`gone` of\n`capture/a.hpp`\n", "replicator/capture/a.hpp": "begone\n"}, "a.hpp has no gone"),
    ({"CONTRIBUTING.md": "`f` of `capture/a.hpp`, `capture/a`, `tests/unit/a_*`, `build/x`\n",
      "replicator/capture/a.hpp": "f()", "tests/unit/a_test.cpp": ""}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
