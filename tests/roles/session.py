"""What happens while two sites meet and while one feeds the other. Each function is one durable step, or one that a
crash in the middle leaves undone; `lost` is the line cut after the first of two durable writes."""
import meeting
from meeting import kin, meet, shipment
from site_facts import ALL, FENCED, FOLLOWING, SERVING, Barrier, Broken, Image, differing, extended, pinned
from world import apart, at, cut_barrier, draw, overwritten, promise, put, touched


def write(w, s, blocks, rules):
    """One write over `blocks`, and the barrier behind it."""
    number = len(w.writes) + 1
    w, name = cut_barrier(w._replace(writes=w.writes + (blocks,)), s, rules)
    site = at(w, s)
    values = tuple(number if blocks >> b & 1 else v for b, v in enumerate(site.image.values))
    image = Image(values, site.image.past | 1 << number)
    log = site.log
    if w.session and at(w, 1 - s).role == FOLLOWING:
        log += (Barrier(name, blocks, image),)
    return touched(put(w, s, site._replace(image=image, changed=site.changed | blocks, log=log)), blocks, rules)


def ship(w, s, rules):
    """The oldest barrier of the log reaches the follower: durable there, over all volumes at once, and shown."""
    if "barrier-per-volume" in rules.without:
        return ship_in_parts(w, s, rules)
    source, copy = at(w, s), at(w, 1 - s)
    barrier, rest = source.log[0], source.log[1:]
    history = extended(copy, barrier.name, barrier.blocks, barrier.image, rules)
    copy = copy._replace(image=barrier.image, history=history, common=barrier.name, top=max(copy.top, source.top))
    return put(put(w, s, source._replace(log=rest)), 1 - s, copy)


def ship_in_parts(w, s, rules):
    """Only where a rule is taken away: the first volume shows a barrier that the second one does not show yet."""
    source, copy = at(w, s), at(w, 1 - s)
    barrier, rest = source.log[0], source.log[1:]
    image = barrier.image
    if copy.common != barrier.name:
        if barrier.blocks == ALL:
            image = Image((image.values[0],) + copy.image.values[1:], image.past)
            rest = (barrier,) + rest
        history = extended(copy, barrier.name, barrier.blocks, image, rules)
        copy = copy._replace(history=history, common=barrier.name)
    return put(put(w, s, source._replace(log=rest)), 1 - s, copy._replace(image=image))


def unshipped(site):
    blocks = 0
    for barrier in site.log:
        blocks |= barrier.blocks
    return blocks


def acknowledge(w, s, rules):
    """The serving site hears what the follower holds: one write moves `common` and clears the bits that it allows to
    clear. The history spoke of older barriers by way of those bits, so it ends. A `wait` may return."""
    source, copy = at(w, s), at(w, 1 - s)
    history = () if copy.common != source.common else source.history
    source = source._replace(common=copy.common, changed=unshipped(source), history=history, suspect=False)
    w = promise(put(w, s, source), copy.image.past)._replace(lack=False)
    return w._replace(touched=unshipped(source) if rules.exact else 0)


def connect(w, rules, lost=False):
    """The two sites meet. Returns the world after it, or None where the meeting changes nothing."""
    w = apart(w)
    before = (w.a, w.b)
    outcome = meet(w.a, w.b, rules)
    after = settle(w, outcome, rules, lost)
    for s in (0, 1):
        if before[s].role == SERVING and kin(before[s].lineage, before[1 - s].lineage) == meeting.OLDER:
            if at(w if after is None else after, s).role == SERVING:
                raise Broken("%s met a newer generation and goes on serving" % "AB"[s])
    return after


def settle(w, outcome, rules, lost):
    who = outcome.who
    if outcome.word == meeting.TWO_SERVING and w.twin is None:
        raise Broken("two sites serve in one generation")
    if outcome.word in (meeting.CONTRADICTION, meeting.UNRELATED):
        raise Broken("lineages of one group don't fit: %s, %s" % (w.a.lineage, w.b.lineage))
    if outcome.word == meeting.FENCED_NOW:
        if "no-fence" in rules.without:
            return None
        w = put(w, who, at(w, who)._replace(role=FENCED, offer=0))
        return w if lost else heard_of(w, 1 - who)
    if lost and outcome.word != meeting.NOT_USED:
        return None
    if outcome.word == meeting.HANDED_OVER:
        return handed_over(w, who)
    if outcome.word == meeting.NOT_USED:
        source, other = at(w, 1 - who), at(w, who)
        if "void-unwritten" not in rules.without:
            other = other._replace(void=max(other.void, source.given))
            w = put(w, who, other)
        if lost:
            return w
        return put(w, 1 - who, source._replace(role=SERVING, offer=0, given=max(source.given, other.void)))
    if outcome.word == meeting.FOLLOWS:
        return follow(w, who, rules)
    return None


def heard_of(w, s):
    """The other site knows of this one's promotion: it can't be discarded any more."""
    site = at(w, s)
    return put(w, s, site._replace(trial=1)) if site.trial == 2 else w


def handed_over(w, s):
    """The token of `s` was used. Nothing of `s` may be missing there: this is what a switchover promises."""
    site, other = at(w, s), at(w, 1 - s)
    if site.image.past & other.image.past != site.image.past and not w.hand:
        raise Broken("a switchover lost a write: %s against %s" % (site.image.values, other.image.values))
    return put(w, s, site._replace(role=FOLLOWING, offer=0, lineage=other.lineage))


def introduced(w, rules):
    """Each site durably remembers the life of the other that it now works with."""
    if not rules.clones:
        return w
    for s in (0, 1):
        site = at(w, s)
        if site.reborn:
            w, life = draw(w)
            w = put(w, s, site._replace(instances=site.instances + (life,), reborn=False))
    return w._replace(a=w.a._replace(partner=w.b.instances[-1]), b=w.b._replace(partner=w.a.instances[-1]))


def one_copy_only(w, s):
    """A site was copied and started twice. A copy that comes while the original is away can't be told from its
    restart; but once another one was accepted, the one of before must not be."""
    if w.twin is None:
        return w
    if w.twin[0] == 1 - s and w.turn in w.fed[:-1]:
        raise Broken("a copy of a site was accepted again after another one")
    return w._replace(fed=w.fed + (w.turn,)) if w.fed[-1:] != (w.turn,) else w


def follow(w, s, rules):
    """A catch-up of site `s`: its own things are pinned first, then one commit shows all of it. A cut or a crash before
    that commit leaves `s` as it was, with a pin more."""
    w = introduced(heard_of(one_copy_only(w, s), 1 - s), rules)
    source, copy = at(w, 1 - s), at(w, s)
    shipped = shipment(source, copy, rules)
    blocks = shipped.ours | shipped.theirs
    measure(w, shipped, rules)
    if not blocks and copy.common == source.common and copy.lineage == source.lineage:
        return shown(w, copy, source)._replace(session=True)
    lost = source.suspect and "suspect-unpinned" not in rules.without
    if (shipped.theirs or lost) and "no-point" not in rules.without \
            and "unpinned-catch-up" not in rules.without:
        copy = pinned(copy, "kept")
    w = put(w, s, copy)
    above = copy.top if "ids-go-back" not in rules.without else 0
    w, barrier = cut_barrier(w, 1 - s, rules, above)
    image = Image(tuple(source.image.values[b] if blocks >> b & 1 else v for b, v in enumerate(copy.image.values)),
                  source.image.past)
    shown(w, copy._replace(image=image), source)
    overwritten(w, s, source.image)
    changed = differing(copy.image, image) | copy.changed
    history = extended(copy, barrier, changed, image, rules)
    copy = copy._replace(image=image, history=history, common=barrier, changed=0, lineage=source.lineage, trial=0,
                         suspect=False, top=max(copy.top, at(w, 1 - s).top))
    return put(w, s, copy)._replace(session=True)


def shown(w, copy, source):
    """The world as it is, if both sites show the same."""
    if copy.image.values != source.image.values:
        raise Broken("a catch-up left the sites different: serving %s, following %s" %
                     (source.image.values, copy.image.values))
    return w


def measure(w, shipped, rules):
    """Never more than the rule allows, against what really happened: blocks that were written or rolled back since both
    sites last knew a barrier to be held by both. Everything only where evidence was taken away since."""
    if shipped.base is None:
        if not w.lack:
            raise Broken("everything is compared, and no evidence was lost")
    elif rules.exact and (shipped.ours | shipped.theirs) & ~w.touched:
        raise Broken("shipped more than was touched: blocks %s of %s" %
                     (bin(shipped.ours | shipped.theirs), bin(w.touched)))
