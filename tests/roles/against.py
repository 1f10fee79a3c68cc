#!/usr/bin/env python3
"""Holds a program's tables against the model's: writes the export, and runs the program's test on it.

    against.py UNIT_ROLES
"""
import os
import subprocess
import sys
import tempfile

import table


def main():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "meetings.txt")
        print("%d pairs of sites" % table.write(path))
        return subprocess.run([sys.argv[1], "-ts=model_table"], check=False,
                              env={**os.environ, "FARSHORE_ROLES_TABLE": path}).returncode


if __name__ == "__main__":
    sys.exit(main())
