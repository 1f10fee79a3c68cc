#!/usr/bin/env python3
"""A format's bytes stand three times: in the table of its header's comment, on its page, and in the struct that is
written. All three say the same offsets, sizes and names, and no table has a hole. Why: who writes a second reader has
only the tables, and a table that a formatter broke looks whole.

Compared are rows whose offset and size are numbers; varints and lists behind them are for the eye. A struct ends its
names as it likes in the unit (`_ns`). Structs are those whose names end in _disk, and `envelope`."""

import glob
import os
import re
import sys

import lint

FOLDERS = ("replicator", "dedupe", "transport")
IN_COMMENT = re.compile(r"^\s*//[/!]?\s+(\d+)\s+(\d+)(?!\S)\s*(\w*)")
ON_PAGE = re.compile(r"^\| (\d+) \| (\d+) \| (\w+) \|")
STRUCT = re.compile(r"^struct (\w+_disk|envelope) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^ +([\w:<>, ]+?) (\w+)(?:\{\})?;", re.MULTILINE)
PARTS = {"identity_disk", "times_disk"}  # one field of others, named as such in their tables
SIZES = {"std::uint8_t": 1, "le16": 2, "le32": 4, "le64": 8, "std::byte": 1, "char": 1}


def tables(lines, row):
    """[(number of the first line, [(offset, size, name)])]; one begins at each offset 0."""
    found = []
    for number, line in enumerate(lines, 1):
        match = row.match(line)
        if match:
            offset, size, name = int(match.group(1)), int(match.group(2)), match.group(3)
            if offset == 0:
                found.append((number, []))
            if found:
                found[-1][1].append((offset, size, name))
    return [(number, rows) for number, rows in found if len(rows) > 1]


def holes(where, found):
    for number, rows in found:
        for (offset, size, name), after in zip(rows, rows[1:]):
            if offset + size != after[0]:
                yield f"{where}:{number}: {name} ends at {offset + size}, the next row begins at {after[0]}"


def nearest(rows, others):
    return max(others, key=lambda other: len(set(rows) & set(other[2])), default=None)


def differences(what, rows, others):
    """What `rows` lacks or has more than the table that is most like it."""
    best = nearest(rows, others)
    if best is None or not set(rows) & set(best[2]):
        return f"{what}: the table that begins with {rows[0][2]}, {rows[1][2]} stands nowhere else"
    if rows == best[2]:
        return None
    apart = sorted(set(rows) ^ set(best[2]))
    words = ", ".join(f"{name} ({size} at {offset})" for offset, size, name in apart)
    return f"{what}: differs from {best[0]}:{best[1]} in {words}"


def size_of(kind, known):
    array = re.fullmatch(r"std::array<(.+), (\w+)>", kind)
    if array:
        count = array.group(2)
        return size_of(array.group(1), known) * (int(count) if count.isdigit() else known[count])
    return SIZES[kind] if kind in SIZES else known[kind]


def structs(text, known):
    """[(line, [(offset, size, name)])] of a source; `known` grows by what it finds."""
    for name, value in re.findall(r"constexpr \S+ (\w+) = (\d+)\b", text):
        known.setdefault(name, int(value))
    for name, kind in re.findall(r"^using (\w+) = (std::array<(?:char|std::byte), .*>);", text, re.MULTILINE):
        known[name] = size_of(kind, known)
    found = []
    for match in STRUCT.finditer(text):
        rows, at = [], 0
        for kind, name in FIELD.findall(match.group(2)):
            size = size_of(kind, known)
            rows.append((at, size, re.sub(r"_ns$", "", name)))
            at += size
        known[match.group(1)] = at
        if match.group(1) not in PARTS:
            found.append((lint.line_of(text, match.start()), rows))
    return found


def check(root):
    problems, headers, pages, known = [], [], [], {}
    for path in lint.files(root, (".hpp",), FOLDERS):
        found = tables(lint.read(root, path).split("\n"), IN_COMMENT)
        problems += holes(path, found)
        headers += [(path, number, rows) for number, rows in found]
    for page in sorted(glob.glob(os.path.join(root, "docs", "formats*.md"))
                       + glob.glob(os.path.join(root, "docs", "protocol.md"))):
        path = os.path.relpath(page, root)
        found = tables(lint.read(root, path).split("\n"), ON_PAGE)
        problems += holes(path, found)
        pages += [(path, number, rows) for number, rows in found]
    problems += [differences(f"{p}:{n}", rows, pages) for p, n, rows in headers]
    problems += [differences(f"{p}:{n}", rows, headers) for p, n, rows in pages]
    for path in lint.files(root, (".hpp",), FOLDERS) + lint.files(root, (".cpp",), FOLDERS):
        try:
            found = structs(lint.without_comments(lint.read(root, path)), known)
        except KeyError as word:
            problems.append(f"{path}: the size of {word} is not known here")
            continue
        problems += [differences(f"{path}:{n}", rows, headers) for n, rows in found]
    return [p for p in problems if p]


TABLE = "//   off size name      meaning\n//     0    4 magic     \"X\"\n//     4    2 version   1\n"
REST = "//     6    2 flags     zero\n//                       else refused\n//     8    8 checksum\n"
PAGE = "| off | size | name | meaning |\n| --- | --- | --- | --- |\n| 0 | 4 | magic | |\n| 4 | 2 | version | |\n"
PAGE_REST = "| 6 | 2 | flags | |\n| 8 | 8 | checksum | |\n"
CODE = ("struct x_disk {\n    std::array<char, 4> magic;\n    le16 version;\n    le16 flags;\n    le64 checksum;\n};\n")
H, P, C = "replicator/format/x.hpp", "docs/formats.md", "replicator/format/x.cpp"
PLANTS = [
    ({H: TABLE + REST, P: PAGE + PAGE_REST, C: CODE}, None),
    ({H: TABLE + REST, P: PAGE + PAGE_REST.replace("flags", "marks")}, "differs from docs/formats.md:3 in flags"),
    ({H: TABLE + REST, P: PAGE + PAGE_REST.replace("| 8 | 8 |", "| 8 | 4 |")}, "checksum (4 at 8)"),
    ({H: TABLE + REST.replace("    6    2 flags", "refused 6    2 flags"), P: PAGE + PAGE_REST}, "version ends at 6"),
    ({H: TABLE + REST}, "stands nowhere else"),
    ({P: PAGE + PAGE_REST}, "stands nowhere else"),
    ({H: TABLE + REST, P: PAGE + PAGE_REST, C: CODE.replace("le16 flags", "le32 flags")}, "x.cpp:1: differs"),
    ({H: TABLE + REST, P: PAGE + PAGE_REST, C: CODE.replace("checksum", "checksum_ns")}, None),
    ({H: TABLE + REST, P: PAGE + PAGE_REST, C: CODE.replace("le64 checksum", "le64 sum")}, "sum (8 at 8)"),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
