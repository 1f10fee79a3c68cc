"""Both sites, the line between them, and what the model knows besides."""
from collections import namedtuple

from site_facts import NOTHING, SERVING, Broken, Entry, Generation, blank_site

World = namedtuple("World", (
    "a", "b",            # the two sites
    "session",           # one feeds the other, frames and acknowledgements flow
    "mail",              # a Token on its way; a cut does not take it back
    "waits",             # pasts of what a `wait` acknowledged; those that another one includes are left out
    "snap_a", "snap_b",  # what an operator may put back
    "twin",              # (site, state): a second copy of that site, started; `turn`: which of the two is up now
    "turn",
    "fed",               # which of the two copies the other site has accepted, one after the other
    "drawn",             # names given out
    "writes",            # the blocks of each write
    "hand",              # an operator put something back or copied it
    "lack",              # history or evidence was taken away since both sites last knew that they agree
    "touched"))          # blocks that were written or rolled back since then

# to: the site that may begin `generation` with it, where it follows `parent` and holds `barrier`.
Token = namedtuple("Token", "to generation number parent barrier")

ID_SHIFT = 16  # a barrier's name is its id, if ids are modelled, over a number that is never drawn twice


class Rules:
    """Which events a suite has, and which rules are taken away."""
    SWITCHES = ("points", "moves", "restores", "parts", "clones", "trim", "commit", "steps", "pair", "ids", "exact",
                "rebuild", "anew")

    def __init__(self, switches=(), without=()):
        self.without = frozenset(without)
        assert set(switches) <= set(self.SWITCHES), switches
        for name in self.SWITCHES:
            setattr(self, name, name in switches)

    def and_also(self, switch):
        return Rules([name for name in self.SWITCHES if getattr(self, name) or name == switch], self.without)


def start():
    """Site A serves, B follows, the first copy was made and acknowledged."""
    first, barrier = (Generation(1, 0),), 1
    a = blank_site(1)._replace(role=SERVING, lineage=first, common=barrier, partner=2)
    b = blank_site(2)._replace(lineage=first, common=barrier, partner=1, history=(Entry(barrier, 0, NOTHING),))
    return World(a=a, b=b, session=True, mail=None, waits=(), snap_a=None, snap_b=None, twin=None,
                 turn=0, fed=(), drawn=2, writes=(), hand=False, lack=False, touched=0)


def at(w, s):
    return w.a if s == 0 else w.b


def put(w, s, site):
    return w._replace(a=site) if s == 0 else w._replace(b=site)


def draw(w):
    return w._replace(drawn=w.drawn + 1), w.drawn + 1


def cut_barrier(w, s, rules, above=0):
    """A new barrier of site `s`: its id is above all that the site has seen, and above `above`."""
    w, name = draw(w)
    if not rules.ids:
        return w, name
    site = at(w, s)
    top = max(site.top, above) + 1
    return put(w, s, site._replace(top=top)), top << ID_SHIFT | name


def apart(w):
    """The session has ended, whoever ended it. What was only in memory for it is of no use any more."""
    if w.session:
        w = w._replace(session=False)
    if w.a.log:
        w = w._replace(a=w.a._replace(log=()))
    if w.b.log:
        w = w._replace(b=w.b._replace(log=()))
    return w


def touched(w, blocks, rules):
    return w._replace(touched=w.touched | blocks) if rules.exact else w


def sites(w):
    return (w.a, w.b) if w.twin is None else (w.a, w.b, w.twin[1])


def kept(w):
    """Pasts of all contents that a site shows, can go back to, or has pinned."""
    pasts = []
    for site in sites(w):
        pasts.append(site.image.past)
        pasts += [point.past for point in site.points]
        pasts += [entry.image.past for entry in site.history if entry.image is not None]
    return pasts


def maximal(pasts):
    found = []
    for past in sorted(set(pasts), reverse=True):
        if past and not any(past & other == past for other in found):
            found = [other for other in found if other & past != other] + [past]
    return tuple(sorted(found))


def promise(w, past):
    return w._replace(waits=maximal(w.waits + (past,)))


def released(w):
    """What is gone by the operator's own hand is not asked for any more; what is left of it still is."""
    rest = kept(w)
    return w._replace(waits=maximal([best for wait in w.waits for best in maximal([wait & past for past in rest])]))


def overwritten(w, s, image):
    """Site `s` is about to show `image` instead of what it shows: that must be pinned, unless `image` came after it."""
    before = at(w, s).image.past
    if before & image.past == before:
        return
    if not any(before & point.past == before for site in sites(w) for point in site.points):
        raise Broken("overwritten and not pinned: %s shows %s" % ("AB"[s], at(w, s).image.values))
