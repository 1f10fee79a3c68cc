"""All histories of two sites up to a length: what may happen next, what must hold then, and a way out of it."""
import random

import commands
import disasters
import meeting
import session
from canonical import canonical
from meeting import meet
from site_facts import (ALL, FENCED, FOLLOWING, HANDING_OVER, SERVING, SOURCES, VOLUMES, Broken, newest, older_point)
from world import apart, at, kept, start


def events(w, rules):
    """(name, function without arguments) of all that may happen next; a function may return None: nothing changes."""
    for s in (0, 1):
        yield from site_events(w, s, rules)
        if rules.restores or rules.parts:
            yield from put_backs(w, s, rules)
    if w.mail is not None and commands.may_use_token(w, rules):
        yield "%s uses the token" % "AB"[w.mail.to], lambda: commands.use_token(w, rules)
    if w.session:
        yield "cut", lambda: disasters.cut(w)
    else:
        yield "connect", lambda: session.connect(w, rules)
        if rules.steps or rules.moves:
            yield "connect, cut in the middle", lambda: session.connect(w, rules, lost=True)
    if rules.clones:
        if w.twin is None:
            yield "copy A", lambda: disasters.copy_site(w, 0)
            yield "copy B", lambda: disasters.copy_site(w, 1)
        else:
            yield "the other copy", lambda: disasters.turn(w)


def site_events(w, s, rules):
    site, other, n = at(w, s), at(w, 1 - s), "AB"[s]
    if site.role == SERVING:
        for blocks in range(1, ALL + 1 if rules.pair else ALL):
            yield "write %s%d" % (n, blocks), lambda b=blocks: session.write(w, s, b, rules)
        if site.trial:
            if rules.commit:
                yield "commit " + n, lambda: commands.commit(w, s, rules)
            if site.trial == 2:
                yield "discard " + n, lambda: commands.discard(w, s, rules)
                if rules.steps:
                    yield "discard %s, crash" % n, lambda: commands.discard(w, s, rules, stopped=True)
        if rules.moves and w.session and other.role == FOLLOWING:
            yield "hand over from " + n, lambda: commands.hand_over(w, s)
    if w.session and site.role in SOURCES and other.role == FOLLOWING:
        if site.log:
            yield "ship from " + n, lambda: session.ship(w, s, rules)
        if site.common != other.common or site.changed != session.unshipped(site):
            yield "ack to " + n, lambda: session.acknowledge(w, s, rules)
    if site.role == HANDING_OVER:
        if commands.may_send_token(w, s, rules):
            yield "token from " + n, lambda: commands.send_token(w, s)
        yield "promote --force " + n, lambda: commands.promote_forced(w, s, rules)
        if "serves-unasked" in rules.without:
            yield "crash " + n, lambda: disasters.crash(w, s)._replace(
                **{"ab"[s]: site._replace(role=SERVING, offer=0, log=())})
    if rules.rebuild and site.lineage and other.lineage:
        yield "rebuild " + n, lambda: disasters.rebuild(w, s)
    if site.role == FOLLOWING and site.lineage:
        yield from promotions(w, s, site, n, rules)
        if rules.trim and len(site.history) > 1:
            yield "trim " + n, lambda: disasters.trim(w, s)
    elif rules.trim and site.role == SERVING and len(site.history) > 1:
        yield "trim " + n, lambda: disasters.trim(w, s)
    if site.role == FENCED:
        yield "reverse " + n, lambda: commands.reverse(w, s, rules)
        if rules.steps:
            yield "reverse %s, crash" % n, lambda: commands.reverse(w, s, rules, stopped=True)
    if speaks(w, s, rules):
        yield "reverse --keep there " + n, lambda: commands.reverse_refused(w, s, rules)
    if (w.mail is not None and w.mail.to == s) or (rules.clones and not site.reborn):
        yield "crash " + n, lambda: disasters.crash(w, s)


def promotions(w, s, site, n, rules):
    if site.suspect:
        yield "promote --force " + n, lambda: commands.promote_forced(w, s, rules)
        return
    yield "promote " + n, lambda: commands.promote(w, s, None, rules)
    if "split-write" in rules.without:
        yield "promote %s, crash" % n, lambda: commands.promote_halfway(w, s)
    elif rules.steps:
        yield "promote %s, crash" % n, lambda: commands.promote(w, s, None, rules, stopped=True)
    entry = older_point(site) if rules.points else None
    if entry is not None:
        yield "promote --point " + n, lambda: commands.promote(w, s, entry, rules)
        if rules.steps:
            yield "promote --point %s, crash" % n, lambda: commands.promote(w, s, entry, rules, stopped=True)


def put_backs(w, s, rules):
    n = "AB"[s]
    if disasters.snapped(w, s) is None or rules.anew:
        yield "snapshot " + n, lambda: disasters.snapshot(w, s)
    if disasters.snapped(w, s) is None:
        return
    if rules.restores:
        yield "restore " + n, lambda: disasters.restore(w, s)
    if rules.parts:
        for volume in range(VOLUMES):
            yield "restore volume %s%d" % (n, volume), lambda v=volume: disasters.restore_volume(w, s, v, rules)
        yield "restore state " + n, lambda: disasters.restore_state(w, s, rules)


def speaks(w, s, rules):
    """Whether the operator has to say at `s` which site is kept: only while the sites refuse each other."""
    if w.session:
        return False
    word, who = meet(w.a, w.b, rules)
    return word in (meeting.SPLIT_BRAIN, meeting.TWO_SERVING) or \
        (word in (meeting.UNKNOWN_ANCESTRY, meeting.CLONE) and who == s)


def judge(w):
    a, b = w.a, w.b
    if a.role == b.role == SERVING:
        if newest(a) == newest(b) and w.twin is None:
            raise Broken("two sites serve in one generation")
        if w.session:
            raise Broken("two sites serve in one session")
    for source, copy in ((a, b), (b, a)):
        if w.session and source.role in SOURCES and copy.role == FOLLOWING and not source.log:
            if copy.image.values != source.image.values:
                raise Broken("in sync, and different: %s, %s" % (source.image.values, copy.image.values))
        if source.role == SERVING and not w.hand:
            one_moment(w, source.image)
    rest = kept(w)
    for wait in w.waits:
        if not any(wait & past == wait for past in rest):
            raise Broken("acknowledged, and nowhere any more")


def one_moment(w, image):
    """Each volume shows the last of the writes that the content came after: one moment of the whole group."""
    for block in range(VOLUMES):
        last = 0
        for number, written in enumerate(w.writes, 1):
            if image.past >> number & 1 and written >> block & 1:
                last = number
        if image.values[block] != last:
            raise Broken("volumes of two moments are served: %s" % (image.values,))


def check(w, rules):
    """What must hold, and a way out, whichever site it keeps."""
    judge(w)
    if mend(w, rules, 0):
        mend(w, rules, 1)


def mend(w, rules, side):
    """What an operator does, whatever happened: at the end both sites are equal. Where there is a choice between the
    sites, `side` is taken; returns whether there was one."""
    w = apart(w)._replace(twin=None, mail=None)  # a copy is stopped by its owner
    choice = False
    for _ in range(10):
        word, who = meet(w.a, w.b, rules)
        if word in (meeting.SPLIT_BRAIN, meeting.TWO_SERVING):
            w, choice = commands.reverse_refused(w, side, rules), True
        elif word in (meeting.UNKNOWN_ANCESTRY, meeting.CLONE):
            w = commands.reverse_refused(w, who, rules)
        elif word == meeting.WAITS:
            w = commands.reverse(w, who, rules)
        elif word == meeting.NO_SOURCE:
            w, choice = mend_no_source(w, rules, side), True
        else:
            w = session.connect(w, rules) or w
        if w.session and w.a.image.values == w.b.image.values:
            return choice
    raise Broken("no way out: %s / %s" % (w.a, w.b))


def mend_no_source(w, rules, side):
    """Promote a proved site; else free a fenced one, which then may be; else promote one whose proof is lacking."""
    order = (side, 1 - side)
    for s in order:
        if at(w, s).role == FOLLOWING and at(w, s).lineage and not at(w, s).suspect:
            return commands.promote(w, s, None, rules)
    for s in order:
        if at(w, s).role == FENCED:
            return commands.reverse(w, s, rules)
    return commands.promote_forced(w, side if at(w, side).lineage else 1 - side, rules)


def play(names, rules):
    """The world after a history that is given by the names of its events. Sites may be put back in it, also where the
    suite goes on without that."""
    w, rules = start(), rules.and_also("restores")
    for name in names:
        w = dict(events(w, rules))[name]()
    return w


def run(rules, length, begin=()):
    """All histories up to `length` behind the events `begin`, equal states once. Returns (states, None or the history
    that broke a rule)."""
    first = play(begin, rules)
    level, seen = [(first, None)], {canonical(first, rules)}
    for _ in range(length):
        following = []
        for w, path in level:
            for name, act in events(w, rules):
                try:
                    after = act()
                    if after is None:
                        continue
                    form = canonical(after, rules)
                    if form in seen:
                        continue
                    seen.add(form)
                    check(after, rules)
                except Broken as why:
                    return len(seen), told((name, path)) + [str(why)]
                following.append((after, (name, path)))
        level = following
    return len(seen), None


def walk(rules, length, seed):
    """One long history by chance. Returns None or the history that broke a rule."""
    chance, w, path = random.Random(seed), start(), []
    for _ in range(length):
        name, act = chance.choice(list(events(w, rules)))
        path.append(name)
        try:
            w = act() or w
            check(w, rules)
        except Broken as why:
            return path + [str(why)]
    return None


def forms(rules, length, begin, key):
    """The canonical forms of all worlds that histories up to `length` lead to, where worlds with one `key` are taken
    for one."""
    level = [play(begin, rules)]
    seen, found = {key(level[0])}, {canonical(level[0], rules)}
    for _ in range(length):
        following = []
        for w in level:
            for _, act in events(w, rules):
                after = act()
                if after is not None and key(after) not in seen:
                    seen.add(key(after))
                    found.add(canonical(after, rules))
                    following.append(after)
        level = following
    return found


def folds_truly(rules, length, begin=()):
    """Whether it makes no difference that worlds of one canonical form are followed up only once: else such worlds have
    different futures, and some histories are never seen."""
    return forms(rules, length, begin, lambda w: canonical(w, rules)) == \
        forms(rules, length, begin, lambda w: w._replace(drawn=0))


def told(path):
    """The names of a history that is linked from its end."""
    names = []
    while path is not None:
        names.append(path[0])
        path = path[1]
    return names[::-1]
