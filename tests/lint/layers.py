#!/usr/bin/env python3
"""The direction of dependence: every include against layers.json, and the CMake links against it too.
Asio headers stand in replicator/base/async.hpp only; a .cpp of a shell folder may add a part of Asio
that is used nowhere else. Why: a layer that can't see the one above it can't come to depend on it."""

import json
import os
import re
import sys

import lint

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers.json")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def folder_of(path, folders):
    return next((name for name, row in folders.items() if path.startswith(row["path"] + "/")), None)


def check_include(path, name, target, quoted, table):
    folders = table["folders"]
    if quoted:
        other = folder_of(target, folders)
        if other is None:
            return f"includes \"{target}\", which is no product header by its path from the root"
        if other != name and other not in folders[name]["may"]:
            return f"folder {name} may not include {other} (\"{target}\")"
    for library, rule in table["libraries"].items():
        if quoted or not re.match(rule["match"], target):
            continue
        if path in rule.get("headers", []):
            continue
        if "headers" in rule and path.endswith(".hpp"):
            return f"<{target}>: {library} headers stand in {', '.join(rule['headers'])} only"
        if name not in rule["in"]:
            return f"<{target}>: folder {name} may not use {library}"
    shown = target if quoted else f"<{target}>"
    if shown in table["forbidden"].get(name, []):
        return f"{shown}: forbidden in {name}"
    return None


def check_cmake(root, table):
    path = os.path.join(root, "CMakeLists.txt")
    if not os.path.exists(path):
        return []
    problems, folders = [], table["folders"]
    text = lint.read(root, "CMakeLists.txt")
    for call in re.finditer(r"farshore_module\((\w+)\s+(\S+)\s*([^)]*)\)", text):
        name, directory, rest = call.groups()
        words = rest.split()
        deps = words[1:words.index("LIBS")] if "LIBS" in words else words[1:]
        linked = {d for d in deps if d != "ASIO"}
        row = folders.get(name)
        if row is None or row["path"] != directory:
            problems.append(f"CMakeLists.txt: module {name} ({directory}) is not in layers.json")
            continue
        reachable = linked.union(*[set(folders[d]["may"]) for d in linked if d in folders])
        # What is linked is in the row; what is in the row is linked, or comes with what is.
        if not linked <= set(row["may"]) <= reachable:
            problems.append(f"CMakeLists.txt: module {name} links {sorted(linked)}, its row says "
                            f"{sorted(row['may'])}")
    return problems


def check(root):
    with open(TABLE, encoding="utf-8") as file:
        table = json.load(file)
    problems = check_cmake(root, table)
    for path in lint.files(root, (".hpp", ".cpp"), ("replicator", "dedupe", "transport")):
        name = folder_of(path, table["folders"])
        if name is None:
            problems.append(f"{path}: in no folder of layers.json")
            continue
        text = lint.without_comments(lint.read(root, path), keep_strings=True)
        for match in INCLUDE.finditer(text):
            problem = check_include(path, name, match.group(2), match.group(1) == '"', table)
            if problem:
                problems.append(f"{path}:{lint.line_of(text, match.start())}: {problem}")
    return problems


PLANTS = [
    ({"replicator/base/a.hpp": '#include "replicator/storage/b.hpp"\n'}, "may not include storage"),
    ({"dedupe/a.cpp": "#include <thread>\n"}, "forbidden in dedupe"),
    ({"transport/a.hpp": "#include <asio/write.hpp>\n"}, "async.hpp only"),
    ({"replicator/log/a.cpp": "#include <asio/write.hpp>\n"}, "may not use asio"),
    ({"replicator/session/a.cpp": '#include "clock.hpp"\n'}, "no product header"),
    ({"replicator/util/a.hpp": "\n"}, "in no folder"),
    ({"CMakeLists.txt": "farshore_module(format replicator/format DEPS base storage)\n"}, "its row says"),
    ({"replicator/session/a.cpp": '#include "transport/link.hpp"\n// #include "replicator/daemon/x.hpp"\n'},
     None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
