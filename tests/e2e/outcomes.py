"""How an end-to-end test ends early, and what it asks for first."""

import os
import shutil


class Skip(Exception):
    """The test can't run here; the text says why."""


class Failed(Exception):
    """A step that everything after it needs did not work."""


def need(*programs):
    for name in programs:
        if not shutil.which(name):
            raise Skip(f"no program {name}")


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")
