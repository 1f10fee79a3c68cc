#!/usr/bin/env python3
"""A model of the roles of two sites, checked over all histories up to a length.

Clients, an operator, the line, crashes and disasters act in any order; equal states are counted once. From every state
one more thing must hold: that some commands lead to two equal sites. RULES.md has the rules in words and what was
found; each of them that can be taken away is (suites.py, MUTATIONS), and must then be caught.

Boundaries. Two sites: a third one would follow whom it is told to, and is not modelled. A catch-up and a barrier are
applied as a whole or not at all, which the product has from its undo. One write is one barrier. A power cut at the
serving site is a put-back to a moment of the same life, with dirty bits that cover it. Times, sizes and retention by
age are not here.

    roles_model.py [--length N] [--mutations N] [--quick] [--table FILE]
"""
import argparse
import sys
import time

from histories import folds_truly, run, walk
from suites import MUTATIONS, SUITES, WALKS
from world import Rules


def check_suites(quick, length):
    """All rules in force: nothing breaks."""
    failed = 0
    for name, suite in SUITES.items():
        most = length if length is not None else suite.quick if quick else suite.full
        began = time.process_time()
        states, broken = run(Rules(suite.switches.split()), most, suite.begin)
        print("%-18s length %2d%s: %7d states, %5.1f s: %s" % (
            name, most, " behind %d" % len(suite.begin) if suite.begin else "", states, time.process_time() - began,
            "no rule broken" if broken is None else "BROKEN: " + " > ".join(broken)), flush=True)
        failed += broken is not None
    return failed


def check_walks(quick):
    """Histories far longer than those of the suites; the same ones each time."""
    failed = 0
    for switches, few, many, length in WALKS:
        rules, count, began = Rules(switches.split()), few if quick else many, time.process_time()
        broken = [path for path in (walk(rules, length, seed) for seed in range(count)) if path is not None]
        print("%5d walks of %d events, %5.1f s: %s" % (
            count, length, time.process_time() - began,
            "no rule broken" if not broken else "BROKEN: " + " > ".join(broken[0])), flush=True)
        failed += bool(broken)
    return failed


def check_folding(quick):
    """The model's own shortcut: nothing is missed by following up equal states once."""
    failed = 0
    for name, suite in SUITES.items():
        if not folds_truly(Rules(suite.switches.split()), 3 if quick else 4, suite.begin):
            print("%s: states are taken for equal, and their futures differ" % name)
            failed += 1
    return failed


def check_mutations(most):
    """One rule away: something breaks, within the length that the table says."""
    failed = 0
    for name, mutation in MUTATIONS.items():
        length = mutation.length if most is None else most
        rules = Rules(mutation.switches.split(), [name])
        states, broken = run(rules, length, mutation.begin)
        found = "NOT caught in %d states" % states if broken is None else "caught: " + " > ".join(broken)
        print("without %-18s (%s): %s" % (name, mutation.words, found), flush=True)
        failed += broken is None
    return failed


def main():
    parser = argparse.ArgumentParser(description="Checks the rules of two sites' roles over all histories.")
    parser.add_argument("--length", type=int, metavar="N", help="of the histories, in all suites")
    parser.add_argument("--mutations", type=int, metavar="N",
                        help="of the histories without single rules, each until it is caught")
    parser.add_argument("--quick", action="store_true", help="shorter histories: half a minute")
    parser.add_argument("--table", metavar="FILE", help="write what two sites do when they meet, and end")
    arguments = parser.parse_args()
    if arguments.table:
        import table
        print("%d lines" % table.write(arguments.table))
        return 0
    failed = check_suites(arguments.quick, arguments.length)
    failed += check_walks(arguments.quick) + check_folding(arguments.quick) + check_mutations(arguments.mutations)
    print("%d suites, %d rules taken away: %d failed" % (len(SUITES), len(MUTATIONS), failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
