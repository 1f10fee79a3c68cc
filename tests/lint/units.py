#!/usr/bin/env python3
"""The systemd units have what a daemon needs that is the storage of others, and that has keys in its memory. Why: what
is lost here is seen on the day on which it is needed.
"""

import os
import re
import sys

import lint

WANTED = {
    "StartLimitIntervalSec": ("0", "systemd gives up after a few ends of a daemon that is the storage"),
    "Restart": ("on-failure|always", "nobody starts it again"),
    "RestartSec": (r"\d+m?s", "it would be restarted without a pause"),
    "LimitCORE": ("0", "a core has the key and the content of volumes in it"),
    "UMask": ("0077", "its files are for root alone"),
    "NoNewPrivileges": ("yes", "nothing it starts may gain rights"),
}


def check(root):
    problems = []
    for role in ("sender", "receiver"):
        path = f"deploy/systemd/farshore-{role}.service"
        if not os.path.exists(os.path.join(root, path)):
            problems.append(f"{path} is missing")
            continue
        text = lint.read(root, path)
        for key, (value, why) in WANTED.items():
            if not re.search(rf"^{key}=({value})$", text, re.M):
                problems.append(f"{path}: no {key}={value}: {why}")
        if not re.search(r"^#?MemoryMax=", text, re.M):
            problems.append(f"{path}: says nothing of MemoryMax=")
        section = text.find("StartLimitIntervalSec")
        if section > text.find("[Service]"):
            problems.append(f"{path}: StartLimitIntervalSec belongs to [Unit]")
    return problems


GOOD = ("[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=on-failure\nRestartSec=1s\nLimitCORE=0\nUMask=0077\n"
        "NoNewPrivileges=yes\n#MemoryMax=1G\n")


def tree(text):
    return {f"deploy/systemd/farshore-{role}.service": text for role in ("sender", "receiver")}


PLANTS = [(tree(GOOD), None), ({}, "is missing"), (tree(GOOD.replace("#MemoryMax=1G", "")), "MemoryMax"),
          (tree(GOOD.replace("StartLimitIntervalSec=0\n", "") + "StartLimitIntervalSec=0\n"), "belongs to")]
PLANTS += [(tree(re.sub(rf"(?m)^{key}=.*\n", "", GOOD)), key) for key in WANTED]

if __name__ == "__main__":
    sys.exit(lint.main(check, PLANTS))
