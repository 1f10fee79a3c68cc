#!/usr/bin/env python3
"""Every format header is named in docs/formats*.md or docs/protocol.md (`NAME.hpp`, with or without its
folder), and every header that these pages name so exists. Why: a format without its page is known to one program."""

import glob
import os
import re
import sys

import lint

# Building blocks of formats, not formats.
NOT_FORMATS = {"endian.hpp", "change.hpp", "position.hpp"}


NAMED = re.compile(r"`(?:(?:replicator/)?format/)?(\w+\.hpp)`")


def check(root):
    pages = sorted(glob.glob(os.path.join(root, "docs", "formats*.md"))
                   + glob.glob(os.path.join(root, "docs", "protocol.md")))
    named = {name for page in pages for name in NAMED.findall(lint.read(root, os.path.relpath(page, root)))}
    headers = {os.path.basename(p) for p in lint.files(root, (".hpp",), ("replicator/format",))}
    problems = [f"replicator/format/{name}: not named in docs/formats*.md or docs/protocol.md"
                for name in sorted(headers - NOT_FORMATS - named)]
    problems += [f"docs: {name} is described, but replicator/format/ has no such header"
                 for name in sorted(named - headers)]
    return problems


PLANTS = [
    ({"replicator/format/frame.hpp": "\n", "docs/formats.md": "nothing\n"}, "not named"),
    ({"replicator/format/frame.hpp": "\n", "docs/formats.md": "`format/frame.hpp` `format/gone.hpp`\n"},
     "no such header"),
    ({"replicator/format/frame.hpp": "\n", "docs/formats.md": "`replicator/format/frame.hpp`\n"}, None),
]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
