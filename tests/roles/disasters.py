"""What happens to a site from outside: cut lines, crashes, put-backs, copies, and histories that end.

Evidence that the product has. Each start compares identity and times of a volume's file with what the state says that
they were left at, and samples digests where a device has no times. So a volume that was put back without the state, or
a state without the volumes, is noticed at that site alone, and what is not proved is compared: the volume, or all of
them. A site that was put back as a whole contradicts itself nowhere: only the other site can tell.
"""
from site_facts import ALL, VOLUMES, Image, blank_site
from world import apart, at, draw, put, released


def restarted(w, s, site):
    """A site that starts: memory is gone, also a token that had just come, and its next partner is told a new life."""
    w = apart(put(w, s, site._replace(log=(), reborn=True)))
    return w._replace(mail=None) if w.mail is not None and w.mail.to == s else w


def cut(w):
    return apart(w)


def crash(w, s):
    return restarted(w, s, at(w, s))


def snapshot(w, s):
    site = at(w, s)._replace(log=())
    return w._replace(snap_a=site) if s == 0 else w._replace(snap_b=site)


def snapped(w, s):
    return w.snap_a if s == 0 else w.snap_b


def put_back(w, s, site):
    """By an operator: what only the newer state had is gone, and so is what a mixture of two moments lacks. Which copy
    of the other site was accepted is forgotten with the state that remembered it."""
    if w.twin is not None and w.twin[0] != s:
        w = w._replace(fed=())
    return released(restarted(w, s, site)._replace(hand=True, lack=True))


def restore(w, s):
    return put_back(w, s, snapped(w, s))


def restore_volume(w, s, volume, rules):
    """One volume is older than the state and the other volume. Undo no longer fits it, so no older point is shown."""
    site, old = at(w, s), snapped(w, s)
    values = tuple(old.image.values[b] if b == volume else site.image.values[b] for b in range(VOLUMES))
    site = site._replace(image=Image(values, site.image.past & old.image.past))
    return put_back(w, s, site if "volume-unseen" in rules.without else unproved(site, 1 << volume))


def restore_state(w, s, rules):
    """The state is older than the volumes."""
    image, old = at(w, s).image, snapped(w, s)
    site = old._replace(image=image)
    return put_back(w, s, site if "state-unseen" in rules.without else unproved(site, ALL)._replace(history=()))


def unproved(site, blocks):
    return site._replace(changed=site.changed | blocks, suspect=True,
                         history=tuple(e._replace(image=None) for e in site.history))


def copy_site(w, s):
    """The site is copied whole and both are started; the original goes on as it was."""
    twin = at(w, s)._replace(log=(), reborn=True)
    return w._replace(twin=(s, twin), turn=0, fed=(0,) if w.session else (), hand=True, lack=True)


def rebuild(w, s):
    """The site is lost, and set up anew with nothing but its name and its place in the group's configuration."""
    w, life = draw(w)
    return put_back(w, s, blank_site(life))


def turn(w):
    """The other copy is the one that reaches the line now. Both went on running."""
    s, other = w.twin
    w = apart(w)
    mail = None if w.mail is not None and w.mail.to == s else w.mail
    return put(w, s, other)._replace(twin=(s, at(w, s)), turn=1 - w.turn, mail=mail, lack=True)


def trim(w, s):
    """The history ends before its newest barrier: retention, a lack of space, damage."""
    site = at(w, s)
    return put(w, s, site._replace(history=site.history[-1:]))._replace(lack=True)
