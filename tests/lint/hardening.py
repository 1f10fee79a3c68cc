#!/usr/bin/env python3
"""The released programs have what cmake/modules.cmake gives them under FARSHORE_HARDEN: position independent, full
RELRO, stack protector, FORTIFY_SOURCE, libstdc++ assertions. Why: a flag that is lost on its way to one target is
seen by nobody.

    tests/lint/hardening.py BIN_DIRECTORY
"""

import os
import re
import shutil
import subprocess
import sys

PROGRAMS = ("farshore", "farshore-sender", "farshore-receiver", "farshore-throttle", "farshore-hook")


def problems_of(name, text):
    """`text`: what `readelf -W -h -l -d --dyn-syms` says."""
    wanted = {
        "is not position independent (PIE)": r"Type:\s+DYN",
        "has no RELRO": r"GNU_RELRO",
        "binds lazily, so that RELRO is not full (-z now)": r"\((FLAGS|FLAGS_1)\).*\b(BIND_)?NOW\b",
        "has no stack protector": r"__stack_chk_fail",
        "has no FORTIFY_SOURCE": r"\b__(?!stack)\w+_chk(@|\b)",
        "has no _GLIBCXX_ASSERTIONS": r"glibcxx_assert_fail",
    }
    found = [f"{name} {what}" for what, pattern in wanted.items() if not re.search(pattern, text)]
    if re.search(r"GNU_STACK\s.*\bRWE\b", text):
        found.append(f"{name} has an executable stack")
    return found


GOOD = """  Type:                              DYN (Position-Independent Executable file)
  GNU_STACK      0x000000 0x0 0x0 0x000000 0x000000 RW  0
  GNU_RELRO      0x1000 0x2000 0x2000 0x1000 0x2000 R   0x1
 0x000000000000001e (FLAGS)              BIND_NOW
   5: 0 0 FUNC    GLOBAL DEFAULT  UND __stack_chk_fail@GLIBC_2.4 (2)
   6: 0 0 FUNC    GLOBAL DEFAULT  UND __memcpy_chk@GLIBC_2.3.4 (3)
   7: 0 0 FUNC    GLOBAL DEFAULT  UND _ZSt21__glibcxx_assert_failPKciS0_S0_@GLIBCXX_3.4.30 (3)
"""


def self_test():
    assert problems_of("x", GOOD) == [], problems_of("x", GOOD)
    for line, word in enumerate(("PIE", None, "no RELRO", "lazily", "stack protector", "FORTIFY", "ASSERTIONS")):
        lines = GOOD.splitlines()
        lines[line] = ""
        said = problems_of("x", "\n".join(lines))
        assert said == [] if word is None else len(said) == 1 and word in said[0], (word, said)
    assert "executable stack" in problems_of("x", GOOD.replace(" RW ", " RWE "))[0]


def main():
    self_test()
    if not shutil.which("readelf"):
        print("skipped: no readelf (package binutils)")
        return 77
    problems = []
    for name in PROGRAMS:
        path = os.path.join(sys.argv[1], name)
        if not os.path.exists(path):
            problems.append(f"{path} is not built")
            continue
        told = subprocess.run(["readelf", "-W", "-h", "-l", "-d", "--dyn-syms", path], capture_output=True, text=True,
                              check=True)
        problems += problems_of(name, told.stdout)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problem(s) in {len(PROGRAMS)} programs; self-test passed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
