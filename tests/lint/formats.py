#!/usr/bin/env python3
"""Every format header is described in docs/formats*.md or docs/protocol.md by its path, and every
format header that these pages name exists. Why: a format without its page is known to one program."""

import glob
import os
import re
import sys

import lint

# Building blocks of formats, not formats.
NOT_FORMATS = {"endian.hpp", "change.hpp", "position.hpp"}


def check(root):
    pages = sorted(glob.glob(os.path.join(root, "docs", "formats*.md"))
                   + glob.glob(os.path.join(root, "docs", "protocol.md")))
    text = "".join(lint.read(root, os.path.relpath(page, root)) for page in pages)
    headers = {os.path.basename(p) for p in lint.files(root, (".hpp",), ("replicator/format",))}
    problems = []
    for name in sorted(headers - NOT_FORMATS):
        if f"format/{name}" not in text:
            problems.append(f"replicator/format/{name}: not named in docs/formats*.md or docs/protocol.md")
    for name in sorted(set(re.findall(r"format/(\w+\.hpp)", text)) - headers):
        problems.append(f"docs: replicator/format/{name} is described, but there is no such header")
    return problems


PLANTS = [
    ({"replicator/format/frame.hpp": "\n", "docs/formats.md": "nothing\n"}, "not named"),
    ({"replicator/format/frame.hpp": "\n", "docs/formats.md": "`format/frame.hpp` `format/gone.hpp`\n"},
     "no such header"),
    ({"replicator/format/frame.hpp": "\n", "docs/formats.md": "`replicator/format/frame.hpp`\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
