"""Two worlds are equal if they differ in nothing but the names that were drawn, or in what no later step can ask for.

Names of generations, barriers and lives are numbered in the order in which they are met. Values are, too. Of the pasts
only the relation counts which of them includes which: for each write the set of contents that came after it, each set
once. A history's entries that nobody can ask for are folded into the next one.
"""


def numbering(fixed):
    table = {0: 0} if fixed else {}
    return lambda name: table.setdefault(name, len(table))


def orientation(site):
    return site.role, len(site.lineage), site.changed, len(site.history), site.trial, len(site.points)


def canonical(w, rules):
    """The rules are the same for both sites, so which of them is called A is a name, too."""
    a, b, snaps, swapped = w.a, w.b, (w.snap_a, w.snap_b), 0
    if orientation(b) > orientation(a):
        a, b, snaps, swapped = b, a, snaps[::-1], 1
    twin = w.twin[1] if w.twin is not None else None
    present = [a, b] + [site for site in snaps + (twin,) if site is not None]
    asked = None if rules.ids else {site.common for site in present}
    numbers = {site.given for site in present} | {site.void for site in present}
    if w.mail is not None:
        numbers.add(w.mail.number)
    rank = {number: place for place, number in enumerate(sorted(numbers))}
    # Lives that are remembered as a partner's, or will be told as one's own.
    lives_told = {site.partner for site in present} | {site.instances[-1] for site in present if not site.reborn}
    # A site that is set up anew shows nothing, and holds no barrier: these two are not like others then.
    barrier, value = numbering(rules.rebuild), numbering(rules.rebuild)
    generation, life, pasts = numbering(False), numbering(False), []

    def form(site):
        if site is None:
            return None
        pasts.append(site.image.past)
        history, folded = [], 0
        for entry in site.history:
            folded |= entry.blocks
            image = entry.image
            if image is None:
                if asked is not None and entry.barrier not in asked:
                    continue
                shows = None
            else:
                pasts.append(image.past)
                shows = tuple([value(v) for v in image.values])
            history.append((barrier(entry.barrier), folded if history else 0, shows))
            folded = 0
        for point in site.points:
            pasts.append(point.past)
        log = []
        for step in site.log:
            pasts.append(step.image.past)
            log.append((step.blocks, tuple([value(v) for v in step.image.values])))
        lives = ()
        if rules.clones:
            lives = (tuple([life(i) for i in site.instances if i in lives_told]), life(site.partner), site.reborn)
        return (site.role, tuple([generation(g.id) for g in site.lineage]), barrier(site.common), site.changed,
                tuple(history), tuple([p.kind for p in site.points]), tuple([value(v) for v in site.image.values]),
                tuple(log), site.trial, generation(site.offer) if site.offer else -1,
                rank[site.given], rank[site.void], site.suspect, lives,
                (site.top, site.common >> 16, tuple([e.barrier >> 16 for e in site.history])) if rules.ids else 0)

    forms = tuple([form(site) for site in (a, b) + snaps + (twin,)])
    mail = None
    if w.mail is not None:
        token = w.mail
        mail = (token.to ^ swapped, generation(token.generation), rank[token.number], generation(token.parent),
                barrier(token.barrier))
    pasts.extend(w.waits)
    return (forms, w.session, mail, len(w.waits), apart_by(pasts), w.hand, w.lack,
            w.touched, None if w.twin is None else (w.twin[0] ^ swapped, tuple([f ^ w.turn for f in w.fed])))


def apart_by(pasts):
    """For each write the contents that came after it, as bits; what all came after, or none, tells nothing."""
    every, some = -1, 0
    for past in pasts:
        every &= past
        some |= past
    rest = some & ~every
    found = set()
    number = 0
    while rest:
        if rest & 1:
            bits = 0
            for past in pasts:
                bits = bits << 1 | (past >> number & 1)
            found.add(bits)
        rest >>= 1
        number += 1
    return tuple(sorted(found))
