#!/usr/bin/env python3
"""Draws README's chart from what bench/wan_bytes.py measured.

    bench/chart.py [--out docs/bytes-on-the-line.svg] [RESULT.json ...]

Without results: bench/results/wan-bytes-*.json. One group of bars a trace, each bar a share of what the
program wrote: our line, zstd-3 over the folded intervals (frames; one stream with a 128 MB window), and the
best of the image programs where it was measured. Traces and figures that are not in the results are not drawn.
"""

import argparse
import glob
import json
import os
import sys
from xml.sax.saxutils import escape

ROOT = os.path.dirname(os.path.abspath(__file__))
BARS = (("Farshore, every second, on the line", "#1f6f8b"),
        ("zstd-3 of the same intervals, 1 MB frames", "#c9ccd1"),
        ("zstd-3 of the same intervals, one stream, 128 MB window", "#9aa0a8"),
        ("best of rsync, restic, borg, casync: once, between the images", "#d9a441"))
WIDTH, LABEL, SCALE_WIDTH = 900, 190, 560
BAR, GAP, GROUP_GAP, TOP = 15, 3, 16, 112


def shares(result):
    """Our share of what was written, and the others' (None: not measured)."""
    details, written = result["details"], result["trace"]["bytes_written"]
    beside = details["beside"]
    peers = list(details.get("images", {}).values())
    values = [details["ours"]["line_bytes"],
              beside.get("zstd-3, 1 MB frames", {}).get("bytes"),
              beside.get("zstd-3, one stream, 128 MB window", {}).get("bytes"),
              min(peers) if peers else None]
    return [None if value is None else value / written for value in values]


def text(x, y, words, size=13, anchor="start", colour="#222"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
            f"{escape(words)}</text>")


def draw(rows):
    """`rows`: (name, shares)."""
    largest = max(share for _, values in rows for share in values if share is not None)
    scale = SCALE_WIDTH / largest
    parts, y = [], TOP
    for name, values in rows:
        drawn = [(share, colour) for share, (_, colour) in zip(values, BARS) if share is not None]
        parts.append(text(LABEL - 10, y + len(drawn) * (BAR + GAP) / 2 + 4, name, anchor="end"))
        for share, colour in drawn:
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{max(share * scale, 1):.1f}" height="{BAR}" '
                         f'fill="{colour}"/>')
            parts.append(text(LABEL + share * scale + 6, y + BAR - 3, f"{share * 100:.1f} %", size=11))
            y += BAR + GAP
        y += GROUP_GAP
    head = [text(16, 24, "Bytes on the line for what a program wrote (= 100 %)", size=16)]
    for number, (words, colour) in enumerate(BARS):
        head.append(f'<rect x="16" y="{36 + number * 17}" width="12" height="12" fill="{colour}"/>')
        head.append(text(34, 46 + number * 17, words, size=12))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" '
            'font-family="sans-serif"><rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(head + parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(ROOT, "..", "docs", "bytes-on-the-line.svg"))
    parser.add_argument("results", nargs="*")
    options = parser.parse_args()
    rows = []
    for path in options.results or sorted(glob.glob(os.path.join(ROOT, "results", "wan-bytes-*.json"))):
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        rows.append((result["trace"]["program"], shares(result)))
    if not rows:
        print("no results: run bench/wan_bytes.py first")
        return 1
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(draw(rows))
    print(f"{options.out}: {', '.join(name for name, _ in rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
