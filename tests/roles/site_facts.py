"""What one site of a group keeps, and what it can say of itself.

A site has volumes (`image`) and a state about them. Both are durable, but two different things on two different disks:
either can be put back without the other, so no rule may read a fact of the state out of the volumes or the other way
round. Decisions rest on what `Site` has besides `image`; what its content came after, only the model knows.

Barriers, generations, tokens and instances have names that nobody else draws (in the product: random numbers; a
barrier is named by its stream and its id). Names are compared for being the same, never for being older.
"""
from collections import namedtuple

VOLUMES = 2  # of one block each: a barrier is over both, a put-back may be of one
ALL = (1 << VOLUMES) - 1

SERVING, FOLLOWING, HANDING_OVER, FENCED = "serving", "following", "handing_over", "fenced"
SOURCES = (SERVING, HANDING_OVER)  # who is, or may become again, the one whose content counts

# left: the barrier of its parent at which it began; for reports and for finding contradictions, no decision to ship or
# not to ship rests on it.
Generation = namedtuple("Generation", "id left")

# What volumes hold. values: the write that each block shows. past: set of bits, the writes that this content came
# after; the model's own truth, by which "kept" and "newer" are judged, never a rule.
Image = namedtuple("Image", "values past")

# A barrier that a following site can go back to. blocks: what changed at this site since the entry before it. image is
# None where the history names the barrier and its blocks only (its undo may be gone).
Entry = namedtuple("Entry", "barrier blocks image")

# Written at the serving site in this session, not yet shipped: a barrier over all volumes.
Barrier = namedtuple("Barrier", "name blocks image")

# Pinned content. kind: `before` (a promotion, until `commit`) or `kept` (diverged, discarded).
Point = namedtuple("Point", "kind past")

Site = namedtuple("Site", (
    "role",       # written durably before it takes effect
    "lineage",    # Generations, oldest first; empty: a site that never had the group
    "common",     # newest barrier that this site durably remembers as held by both
    "changed",    # blocks that may differ from what the barrier `common` has: the dirty map
    "history",    # Entries, oldest first; evidence only while the last one is `common`
    "points",     # pinned
    "image",      # the volumes
    "log",        # Barriers in memory: only in a session
    "trial",      # of a promotion: 2 may be discarded, 1 the other site has heard of it, 0 committed
    "offer",      # handing_over: the token, which is the name of the generation that the other site may begin
    "given",      # number of the newest token that this site gave
    "void",       # up to this number this site has sworn never to use a token of the other's
    "suspect",    # volumes or state were put back without the other: no promotion without --force
    "instances",  # the names of this site's lives that its state remembers
    "reborn",     # started since the newest of them: the next partner is told a new one
    "partner",    # instance of the other site that it last followed or fed
    "top"))       # highest barrier id ever seen

NOTHING = Image((0,) * VOLUMES, 0)


def blank_site(instance):
    """A site without a copy: it follows from the beginning, and is never promoted."""
    return Site(role=FOLLOWING, lineage=(), common=0, changed=0, history=(), points=(), image=NOTHING, log=(), trial=0,
                offer=0, given=0, void=0, suspect=False, instances=(instance,), reborn=False, partner=0, top=0)


def newest(site):
    """The id of the generation that the site lives in; 0: none."""
    return site.lineage[-1].id if site.lineage else 0


def knows(site, generation):
    return any(known.id == generation for known in site.lineage)


def shared(lineage, other):
    """The generations that both sites lived through."""
    count = 0
    for mine, theirs in zip(lineage, other):
        if mine != theirs:
            break
        count += 1
    return lineage[:count]


def counted_from(site):
    """The barriers from which the site can say what it changed, newest first."""
    if site.history and site.history[-1].barrier == site.common:
        return [entry.barrier for entry in reversed(site.history)]
    return [site.common]


def since(site, barrier, rules):
    """The blocks that this site may have changed since it held `barrier`; None: it can't say.

    The dirty map counts from `common`. The history says what came before, but only while its end is `common`: once the
    other site has acknowledged something to a serving site the map was cleared by it, and speaks of older barriers no
    more.
    """
    same = (lambda a, b: a >> 16 == b >> 16) if "ids-as-names" in rules.without else int.__eq__
    if same(barrier, site.common):
        return site.changed
    if site.history and site.history[-1].barrier == site.common:
        blocks = site.changed
        for entry in reversed(site.history):
            if same(entry.barrier, barrier):
                return blocks
            blocks |= entry.blocks
        if "short-history" in rules.without:
            return blocks
    return None


def differing(image, other):
    return sum(1 << block for block in range(VOLUMES) if image.values[block] != other.values[block])


def pinned(site, kind):
    """The site with its content kept as a point."""
    point = Point(kind, site.image.past)
    return site if point in site.points else site._replace(points=site.points + (point,))


def unpinned(site, kind):
    return site._replace(points=tuple(p for p in site.points if p.kind != kind))


def extended(site, barrier, blocks, image, rules):
    """The history of a following site with one more barrier under undo; where it had none that leads up to `common`, it
    begins there."""
    history = site.history
    if not history or history[-1].barrier != site.common:
        history = (Entry(site.common, 0, None),)
    if barrier >> 16 and barrier >> 16 <= history[-1].barrier >> 16:
        raise Broken("barrier ids went back in a history")
    return history + (Entry(barrier, blocks, image if rules.points else None),)


def older_point(site):
    """The newest point of the history that shows something else than the volumes do now."""
    for entry in reversed(site.history):
        if entry.image is not None and entry.image != site.image:
            return entry
    return None


class Broken(Exception):
    """A rule of the model does not hold."""
