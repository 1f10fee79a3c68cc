"""What two sites do when they meet, as lines of text for another implementation to be held against.

RULES.md has the format. All pairs of lineages up to DEPTH generations are there, as they come about: two histories
share a beginning, and each goes on from some barrier of it. A generation leaves its parent two barriers after it began,
or one where the other site's lineage leaves later or earlier. Pairs that differ in names alone are one pair: the shared
generations have the first ids, then those of the first site.

`at` and `acked` decide nothing but what is shipped, so they are given where one site follows the other, in all
combinations that the barriers of the two lineages allow.
"""
from itertools import product

import meeting
from meeting import meet, shipment
from site_facts import FENCED, FOLLOWING, HANDING_OVER, SERVING, Entry, Generation, blank_site, shared
from world import Rules

DEPTH = 4
STRANGER = 99  # a life or an offer that the other site has never heard of
RULES = Rules(["clones"])


def grown(lineage, first_id, count, step):
    """`lineage` with `count` generations more; the first of them leaves `step` barriers after its parent began."""
    for number in range(count):
        left = lineage[-1].left if lineage else 0
        lineage += (Generation(first_id + number, left + (step if number == 0 else 2) if lineage else 0),)
    return lineage


def lineages():
    """Pairs of lineages, canonical."""
    yield (), ()
    for depth in range(DEPTH + 1):
        both = grown((), 1, depth, 2)
        for more_a, more_b in product(range(DEPTH + 1 - depth), repeat=2):
            steps = [(1, 2)[: 2 if more else 1] for more in (more_a, more_b)]
            for step_a, step_b in product(*steps) if depth else ((1, 1),):
                yield grown(both, depth + 1, more_a, step_a), grown(both, depth + 1 + more_a, more_b, step_b)
    one, two, three = Generation(1, 0), Generation(2, 2), Generation(3, 4)
    yield (one, two), (one, Generation(2, 1))            # the same generation, left elsewhere
    yield (one, two), (two, one)                         # another order
    yield (one, two, three), (one, three)                # one left out
    yield (one, two), (two,)


def roles(lineage, other):
    """(role, offer, whether its partner was another life) of a site with this lineage that meets that one."""
    for role in (SERVING, FOLLOWING, FENCED):
        if lineage or role == FOLLOWING:
            yield role, 0, False
    if lineage:
        known = len(shared(lineage, other))
        if len(other) > known == len(lineage):
            yield HANDING_OVER, other[known].id, False
        yield HANDING_OVER, STRANGER, False
        yield FOLLOWING, 0, True
        yield FENCED, 0, True


def site(lineage, role, offer, stranger):
    return blank_site(1)._replace(lineage=lineage, role=role, offer=offer, partner=STRANGER if stranger else 1)


def last(lineage, other):
    """The highest barrier number that matters: one after the newest fork of either."""
    return max([generation.left for generation in lineage + other] + [0]) + 1


def name(lineage, number):
    """Barriers of two lineages with one number are the same one where both were in the same generation then."""
    return [g.id for g in lineage if g.left < number or g.left == 0][-1] * 100 + number


def contents(lineage, other):
    """(site's fields, its `at` and `acked` as text): what the content shows and from which barriers it can count."""
    if not lineage:
        yield {}, "0 0"
        return
    for acked in range(1, last(lineage, other) + 1):
        common = name(lineage, acked)
        yield {"common": common}, "%d %d" % (acked + 1, acked)
        history = tuple(Entry(name(lineage, number), 0, None) for number in range(1, acked + 1))
        yield {"common": common, "history": history}, "%d %d+" % (acked, acked)


def word(lineage):
    return ",".join("%d:%d" % generation for generation in lineage) if lineage else "-"


def role_word(role, offer, stranger):
    return role + ("@%d" % offer if offer else "") + ("~" if stranger else "")


def lines():
    for lineage_a, lineage_b in lineages():
        for role_a, role_b in product(roles(lineage_a, lineage_b), roles(lineage_b, lineage_a)):
            a, b = site(lineage_a, *role_a), site(lineage_b, *role_b)
            outcome = meet(a, b, RULES)
            left = "%s %s" % (role_word(*role_a), word(lineage_a))
            right = "%s %s" % (role_word(*role_b), word(lineage_b))
            who = "-" if outcome.who is None else "ab"[outcome.who]
            if outcome.word != meeting.FOLLOWS:
                yield "%s * * %s * * -> %s:%s" % (left, right, outcome.word, who)
                continue
            for (more_a, text_a), (more_b, text_b) in product(contents(lineage_a, lineage_b),
                                                              contents(lineage_b, lineage_a)):
                pair = a._replace(**more_a), b._replace(**more_b)
                base = shipment(pair[1 - outcome.who], pair[outcome.who], RULES).base
                yield "%s %s %s %s -> %s:%s %s" % (left, text_a, right, text_b, outcome.word, who,
                                                   "everything" if base is None else "since=%d" % (base % 100))


def write(path):
    """Returns the number of lines. Each is there once, in the order in which it was found."""
    found = dict.fromkeys(lines())
    with open(path, "w", encoding="ascii") as file:
        file.write("# role lineage at acked, of two sites -> outcome:who [what is shipped]; see RULES.md\n")
        file.writelines(line + "\n" for line in found)
    return len(found)
