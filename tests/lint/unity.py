#!/usr/bin/env python3
"""Names in the unnamed namespaces of files that the sanitizers' build compiles as one differ. Why: the clash shows in
that build alone, after half an hour, and which files are neighbours changes with every file that is added.

The neighbours are those of CMake's unity build over `file(GLOB)`: the files of a folder in their order, without those
that cmake/modules.cmake lists in `compiled_alone`, so many at a time as CMAKE_UNITY_BUILD_BATCH_SIZE says. Functions of
one name clash here only if both could take the same arguments, or are called with a literal: any two are a problem."""

import os
import re
import sys

import lint

RECIPE = "cmake/modules.cmake"
FOLDERS = ("replicator", "dedupe", "transport", "tests/unit", "tests/sim")
TYPE = re.compile(r"(?:struct|class|enum class|enum|union) (\w+)[^;]*$|using (\w+) =")
OTHER = re.compile(r"(?!TEST|namespace|using|return)[a-z][\w:<>,&* ]*?[ *&](\w+)(?:\[[^\]]*\])?(?:\(| = |\{|;)")


def names(text):
    """{name: line} of what the file's unnamed namespaces, and its static functions, declare at the left margin."""
    found, inside = {}, False
    lines = zip(text.splitlines(), lint.without_comments(text).splitlines())
    for number, (written, line) in enumerate(lines, 1):
        if line.startswith("namespace {"):
            inside = True
        elif written.startswith("} // namespace"):  # a bare brace at the margin ends a function or a type
            inside = False
        elif inside or line.startswith("static "):
            hit = TYPE.match(line) or OTHER.match(re.sub(r"^template <[^>]*> ", "", line))
            if hit:
                found.setdefault(next(g for g in hit.groups() if g), number)
    return found


def check(root):
    recipe = lint.read(root, RECIPE)
    alone = set(re.search(r"set\(compiled_alone(.*?)\)", recipe, re.DOTALL).group(1).split())
    batch = int(re.search(r"CMAKE_UNITY_BUILD_BATCH_SIZE (\d+)", recipe).group(1))
    folders = {}
    for path in lint.files(root, (".cpp",), FOLDERS):
        if path not in alone:
            folders.setdefault(os.path.dirname(path), []).append(path)
    problems = []
    for paths in folders.values():
        for start in range(0, len(paths), batch):
            seen = {}
            for path in paths[start:start + batch]:
                for name, line in names(lint.read(root, path)).items():
                    other = seen.setdefault(name, path)
                    if other != path:
                        problems.append(f"{path}:{line}: {other} has a {name} too, and both are compiled as one under "
                                        f"sanitizers: rename one, or add a file to compiled_alone in {RECIPE}")
    return problems


def plant(second, alone=""):
    return {RECIPE: f"set(CMAKE_UNITY_BUILD_BATCH_SIZE 2)\nset(compiled_alone{alone})\n",
            "replicator/log/a.cpp": "namespace farshore {\nnamespace {\n\nint at(int x) {\n    return x;\n}\n\n"
                                    "} // namespace\n} // namespace farshore\n",
            "replicator/log/b.cpp": second}


PLANTS = [
    (plant("namespace {\nwall_time at(long x) { return x; }\n} // namespace\n"), "has a at too"),
    (plant("namespace {\nconstexpr int at = 3;\n} // namespace\n"), "has a at too"),
    (plant("static int at(int x) { return x; }\n"), "has a at too"),
    (plant("namespace {\nint first() {\n    return 1;\n}\nint at(long x) { return x; }\n} // namespace\n"),
     "has a at too"),
    (plant("namespace {\nstruct at {\n    int x;\n};\n} // namespace\n"), "has a at too"),
    (plant("namespace {\nint at_most(int x) { return x; }\n} // namespace\n"), None),
    (plant("namespace {\n} // namespace\nint at(int x) { return x; }\n"), None),
    (plant("namespace {\nint at(long x) { return x; }\n} // namespace\n", " replicator/log/b.cpp"), None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
