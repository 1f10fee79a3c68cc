"""What two sites do when they meet, and what is shipped: pure functions of what each of them says.

RULES.md has both as closed tables; the export for other implementations (table.py) is made by these functions.
"""
from collections import namedtuple

from site_facts import ALL, FENCED, HANDING_OVER, SOURCES, counted_from, knows, shared, since

# word: the row of the table. who: index of the site that acts on it, or that an operator has to speak to.
Outcome = namedtuple("Outcome", "word who")

CONTRADICTION = "contradiction"          # refused; different things are told of one generation
UNRELATED = "unrelated"                  # refused
TWO_SERVING = "two_serving"              # refused; can't come about by our own steps
SPLIT_BRAIN = "split_brain"              # refused; `reverse --keep there` at one of them
UNKNOWN_ANCESTRY = "unknown_ancestry"    # refused; `reverse --keep there` at `who`
CLONE = "clone"                          # refused by `who`; `reverse --keep there` at `who` accepts the newcomer
FENCED_NOW = "fenced"                    # `who` takes no write any more
WAITS = "waits"                          # `who` was fenced before: `reverse`
HANDED_OVER = "handed_over"              # `who` hears that its token was used: it follows
NOT_USED = "not_used"                    # `who` swears not to use the token, then the other serves again
FOLLOWS = "follows"                      # `who` follows
NO_SOURCE = "no_source"                  # connected; `promote`
REFUSED = (CONTRADICTION, UNRELATED, TWO_SERVING, SPLIT_BRAIN, UNKNOWN_ANCESTRY, CLONE)

SAME, OLDER, NEWER, FORKED, STRANGE, CONTRADICTING = "same", "older", "newer", "forked", "strange", "contradicting"
BACKWARDS = {SAME: SAME, OLDER: NEWER, NEWER: OLDER, FORKED: FORKED}


def kin(mine, theirs):
    """How one lineage stands to another one."""
    if mine == theirs:
        return SAME
    both = shared(mine, theirs)
    ids = {generation.id for generation in theirs}
    if any(generation.id in ids for generation in mine[len(both):]):
        return CONTRADICTING
    if both == mine:
        return OLDER
    if both == theirs:
        return NEWER
    return FORKED if both else STRANGE


def yields(older, who, newer):
    """A source that meets a newer generation never serves on in its own: it follows if it offered that generation."""
    if older.role == HANDING_OVER and knows(newer, older.offer):
        return Outcome(HANDED_OVER, who)
    return Outcome(FENCED_NOW, who)


def meet(a, b, rules):
    """First match wins."""
    how = kin(a.lineage, b.lineage)
    if how == CONTRADICTING:
        return Outcome(CONTRADICTION, None)
    if how == STRANGE:
        return Outcome(UNRELATED, None)
    if a.role in SOURCES and b.role in SOURCES:
        if how == SAME:
            return Outcome(TWO_SERVING, None)
        if how == OLDER:
            return yields(a, 0, b)
        if how == NEWER:
            return yields(b, 1, a)
        return Outcome(SPLIT_BRAIN, None)
    if a.role in SOURCES:
        return meet_source(a, 0, b, how, rules)
    if b.role in SOURCES:
        return meet_source(b, 1, a, BACKWARDS[how], rules)
    return Outcome(NO_SOURCE, None)


def meet_source(source, source_is, other, how, rules):
    """`how`: the source's lineage to the other's."""
    stranger = (rules.clones and other.partner and other.partner not in source.instances
                and "no-pin" not in rules.without)
    if "clone-first" in rules.without and stranger:
        return Outcome(CLONE, 1 - source_is)
    if how == OLDER:
        return yields(source, source_is, other)
    if how == FORKED:
        return Outcome(UNKNOWN_ANCESTRY, 1 - source_is)
    if stranger:
        return Outcome(CLONE, 1 - source_is)
    if source.role == HANDING_OVER:
        return Outcome(NOT_USED, 1 - source_is)
    if other.role == FENCED:
        return Outcome(WAITS, 1 - source_is)
    return Outcome(FOLLOWS, 1 - source_is)


# base: the barrier from which both sites count, None: there is none. ours, theirs: what the serving and the following
# site changed since.
Shipment = namedtuple("Shipment", "base ours theirs")


def shipment(serving, following, rules):
    """What is compared and shipped when `following` follows `serving`: what either changed since the newest barrier
    from which both can count. Everything, if there is none."""
    for base in counted_from(serving) if "one-question" not in rules.without else (serving.common, following.common):
        ours, theirs = since(serving, base, rules), since(following, base, rules)
        if ours is not None and theirs is not None:
            if base == serving.common != following.common and "ahead" in rules.without:
                theirs = following.changed
            if base == following.common != serving.common and "behind" in rules.without:
                ours = serving.changed
            return Shipment(base, ours, theirs if "one-sided" not in rules.without else 0)
    if "older-copy" in rules.without or "older-copy-trimmed" in rules.without:
        return Shipment(following.common, serving.changed, following.changed)
    return Shipment(None, ALL, ALL)
