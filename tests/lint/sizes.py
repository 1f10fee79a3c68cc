#!/usr/bin/env python3
"""One idea a file, and the next reader holds it in the head: at most 500 lines a file, 70 a function and 25 fields a
class of the product (tests and benches may tell a story in one function), 100 characters a line.

Longer lines, up to 120, are for the rows of tables and pictures in comments: a comment line whose text is set in or
apart by two blanks or more. Prose is broken at 100 like code. Python, whose words are the page of a test, has 120.

EXCEPTIONS names what may be larger, and why; one that is no longer needed is a problem too."""

import re
import sys

import lint

FILE_LINES, FUNCTION_LINES, CLASS_FIELDS = 500, 70, 25
LINE, ROW, PYTHON_LINE = 100, 120, 120
PRODUCT = ("replicator", "dedupe", "transport")

# "PATH", "PATH function NAME" or "PATH class NAME": why.
EXCEPTIONS = {
    "replicator/nbd/connection.hpp class connection":
        "one client's connection: what it reads, what it writes and its jobs share one thread and one life",
    "replicator/sender/sender_session.cpp function sender_session::dispatch":
        "one case for each message; each is two or three lines",
    "replicator/sender/site_link.hpp class site_link": "the life of one site's sessions, with what each of them needs",
    "replicator/session/status.hpp class sender_group_status":
        "the document of `status`: a field for each thing that it shows",
}

ROW_OF_A_TABLE = re.compile(r"\s*//[/!]?( {2,}|.*\S {2,}\S)")
TYPE = re.compile(r"(?:template\s*<.*>\s*)?(?:class|struct|union)\s+(?:alignas\([^)]*\)\s*)?([\w:]+)[^()]*$", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:.*\\\n)*.*", re.MULTILINE)
NO_FIELD = re.compile(r"(using|typedef|friend|static|template|enum|class|struct|union|public|private|protected)\b")


def closing(text, start):
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(text) - 1


def is_body(head):
    """Whether a brace after `head` opens a function, not a value."""
    plain = head.rstrip()
    if "(" not in plain or re.search(r"[=,(]$", plain):
        return False
    # `: a_(1), b_` of a constructor: the brace holds the value of b_.
    return not (re.search(r"\)\s*(noexcept\s*)?:[^:]", plain) and re.search(r"[\w>]$", plain))


def parts(text, first, last):
    """(kind, name, start of its head, opening, closing brace) of functions and classes between two places, those
    inside namespaces and classes too; kind "value" is a braced value of a declaration."""
    head = at = first
    while at < last:
        if text[at] in ";}":
            head = at + 1
        elif text[at] == "{":
            words, end = text[head:at], closing(text, at)
            named = TYPE.search(words.strip())
            if re.match(r"\s*(inline\s+)?namespace\b|\s*extern\s", words):
                yield from parts(text, at + 1, end)
                head = end + 1
            elif re.match(r"\s*enum\b", words):
                head = end + 1
            elif named:
                yield "class", named.group(1), head, at, end
                yield from parts(text, at + 1, end)
            elif is_body(words):
                name = re.search(r"([\w:~]+|operator\W+)\s*\(", re.sub(r"\[\[.*?\]\]|\w+_TEST\b", "", words))
                yield "function", name.group(1) if name else "?", head, at, end
                head = end + 1
            else:
                yield "value", "", head, at, end
            at = end
        at += 1


def fields(text, opening, end):
    """How many the class between the two braces declares itself."""
    body, at = "", opening + 1
    for kind, _, _, inner, stop in parts(text, opening + 1, end):
        if inner < at:
            continue  # inside what was passed already
        body += text[at:inner] + (";" if kind == "function" else "")
        at = stop + 1
    body += text[at:end]
    count = 0
    for statement in re.sub(r"\b(public|private|protected)\s*:(?!:)", ";", body).split(";"):
        plain = re.sub(r"\[\[.*?\]\]|\balignas\([^)]*\)|\bmutable\b", "", statement).strip()
        while re.search(r"<[^<>]*>", plain):
            plain = re.sub(r"<[^<>]*>", "", plain)
        plain = re.sub(r"=[^,]*", "", plain)
        if plain and not NO_FIELD.match(plain) and "(" not in plain and re.search(r"\w\s+[*&]?\s*\w", plain):
            count += plain.count(",") + 1
    return count


def long_lines(path, lines):
    python = path.endswith(".py")
    for number, line in enumerate(lines, 1):
        most = PYTHON_LINE if python else ROW if ROW_OF_A_TABLE.match(line) else LINE
        if len(line) > most:
            yield f"{path}:{number}: {len(line)} characters, more than {most}"


def large_parts(path, text):
    """(name of the exception, problem)."""
    for kind, name, head, opening, end in parts(text, 0, len(text)):
        start = lint.line_of(text, head + len(text[head:]) - len(text[head:].lstrip()))
        if kind == "function":
            lines = lint.line_of(text, end) - start + 1
            if lines > FUNCTION_LINES:
                yield f"{path} function {name}", f"{path}:{start}: {name} has {lines} lines, more than {FUNCTION_LINES}"
        elif kind == "class":
            count = fields(text, opening, end)
            if count > CLASS_FIELDS:
                yield f"{path} class {name}", f"{path}:{start}: {name} has {count} fields, more than {CLASS_FIELDS}"


def check(root):
    problems, large = [], []
    for path in lint.files(root, (".hpp", ".cpp", ".py")):
        text = lint.read(root, path)
        lines = text.split("\n")
        problems += long_lines(path, lines)
        if len(lines) - 1 > FILE_LINES:
            large.append((path, f"{path}: {len(lines) - 1} lines, more than {FILE_LINES}"))
        if path.split("/")[0] in PRODUCT and not path.endswith(".py"):
            large += large_parts(path, DIRECTIVE.sub("", lint.without_comments(text)))
    problems += [problem for name, problem in large if name not in EXCEPTIONS]
    if root == lint.ROOT:
        problems += [f"tests/lint/sizes.py: the exception `{name}` is not needed any more"
                     for name in sorted(set(EXCEPTIONS) - {name for name, _ in large})]
    return problems


LONG = "result<>  session::run(int a) {\n" + "    step();\n" * 70 + "}\n"
MANY = "class many {\n  public:\n    many() : a_{0} {}\n    int f(int, int);\n  private:\n"
FIELDS = "".join(f"    std::map<int, int> m{n}_; // one\n" for n in range(24)) + "    function<int(int)> f_ = {};\n"
PLANTS = [
    ({"dedupe/a.cpp": "\n" * 501}, "501 lines"),
    ({"tests/a.py": "\n" * 501}, "501 lines"),
    ({"dedupe/a.cpp": "int x; // " + "x" * 91 + "\n"}, "101 characters"),
    ({"dedupe/a.cpp": "// " + "x" * 98 + "\n"}, "101 characters"),
    ({"dedupe/a.cpp": "//   name   " + "x" * 109 + "\n"}, "121 characters"),
    ({"dedupe/a.cpp": "\n" * 500 + "//   name   " + "x" * 108 + "\n"}, "501 lines"),
    ({"dedupe/a.cpp": "//   name   " + "x" * 108 + "\n" * 500}, None),
    ({"dedupe/a.cpp": "namespace x {\n" + LONG + "}\n"}, "session::run has 72 lines"),
    ({"dedupe/a.cpp": LONG.replace("    step();\n", "", 2)}, None),
    ({"dedupe/a.cpp": "a::a(int b)\n    : c_(b), d_{b}, e_(f({b})) {\n" + "    g();\n" * 70 + "}\n"}, "a::a has 73"),
    ({"dedupe/a.hpp": "struct s {\n    auto g() -> int {\n" + "    x{1};\n" * 70 + "    }\n};\n"}, "g has 72 lines"),
    ({"dedupe/a.cpp": "namespace {\nint a() {}\n}\ntask<void> s::b(int c) {\n" + "    if (x) {\n    }\n" * 35 + "}\n"},
     "s::b has 72 lines"),
    ({"tests/a.cpp": LONG}, None),
    ({"dedupe/a.cpp": "constexpr int table[] = {\n" + "    1,\n" * 80 + "};\n"}, None),
    ({"dedupe/a.hpp": MANY + FIELDS + "    int x_ = 0, y_{1};\n};\n"}, "many has 27 fields"),
    ({"dedupe/a.hpp": MANY + FIELDS + "    struct { int b; } in_;\n    enum class e { a, b };\n    e e_;\n};\n"},
     "many has 26 fields"),
    ({"dedupe/a.hpp": MANY + FIELDS + "    static int count;\n    using x = int;\n    void g();\n};\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
