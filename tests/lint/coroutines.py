#!/usr/bin/env python3
"""No capturing lambda is itself a coroutine. Why: the captures live in the lambda object, which is
often gone at the first suspension; a member or free function takes what it needs by value."""

import re
import sys

import lint

INTRODUCER = re.compile(r"\[([^\[\]]*)\]\s*(?:<[^>]*>\s*)?(?:\(|\{|mutable\b|->)")


def matching(text, start, opening, closing):
    depth = 0
    for index in range(start, len(text)):
        if text[index] == opening:
            depth += 1
        elif text[index] == closing:
            depth -= 1
            if depth == 0:
                return index
    return len(text)


def lambdas(text):
    """(start of the introducer, captures, start and end of the body) of every lambda."""
    for match in INTRODUCER.finditer(text):
        before = text[:match.start()].rstrip()
        if before and (before[-1].isalnum() or before[-1] in "_)]"):
            if not re.search(r"\b(return|co_return|co_await|case|else)$", before):
                continue  # an index
        at = match.end() - 1
        if text[at] == "(":
            at = matching(text, at, "(", ")") + 1
        body = re.compile(r"[^;{}()]*(?:\([^;{}()]*\)[^;{}()]*)*\{").match(text, at if text[at:at + 1] != "{" else at)
        if body:
            start = body.end() - 1
            yield match.start(), match.group(1).strip(), start, matching(text, start, "{", "}")


def check(root):
    problems = []
    for path in lint.files(root, (".hpp", ".cpp")):
        text = lint.without_comments(lint.read(root, path))
        found = list(lambdas(text))
        for start, captures, first, last in found:
            body = text[first:last]
            for _, _, inner_first, inner_last in found:  # an inner lambda's keywords are its own
                if first < inner_first and inner_last <= last:
                    body = body[:inner_first - first] + " " * (inner_last - inner_first) + \
                        body[inner_last - first:]
            if captures and re.search(r"\bco_(await|return|yield)\b", body):
                problems.append(f"{path}:{lint.line_of(text, start)}: capturing lambda [{captures}] "
                                "is a coroutine")
    return problems


PLANTS = [
    ({"transport/a.cpp": "void f() { spawn([this]() -> task<void> { co_await g(); }); }\n"}, "[this]"),
    ({"transport/a.cpp": "auto x = [a, &b](int c) mutable { if (c) { co_return; } };\n"}, "[a, &b]"),
    ({"transport/a.cpp": "auto x = [&] { co_await y; };\n"}, "[&]"),
    ({"transport/a.cpp": "task<int> g() { auto v = a[i]; co_await h([x] { return x; });\n"
      "  spawn([]() -> task<void> { co_return; }); }\n// [this] { co_await }\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
