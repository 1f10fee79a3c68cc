"""What an operator may say to a site, as its durable steps. `stopped` is a crash between two of them.

Each command pins first and then says all that it has to say in one atomic write, so a crash leaves the site as it was,
with a pin more; after a roll-back to an older point it shows that one, and what was undone is dirty.
"""
from site_facts import (FOLLOWING, HANDING_OVER, SERVING, Broken, Generation, knows, newest, pinned, shared, since,
                        unpinned)
from world import Token, apart, at, draw, overwritten, put, released, touched


def roll_back(w, s, entry, rules):
    """The volumes show an older point again. In the same commit the undone blocks become dirty: the other site has
    cleared them long ago. `common` stays: the site still knows all that it knew, and can be asked by newer barriers."""
    site = at(w, s)
    undone = since(site, entry.barrier, rules)
    overwritten(w, s, entry.image)
    w = touched(w, undone, rules)
    if "trap" in rules.without:
        undone = 0
    site = site._replace(image=entry.image, changed=site.changed | undone)
    if "common-to-fork" in rules.without:
        history = site.history[:[e.barrier for e in site.history].index(entry.barrier) + 1]
        site = site._replace(common=entry.barrier, history=history)
    return put(w, s, site)


def promote(w, s, entry, rules, stopped=False):
    """The site that follows serves, at its newest content or at an older point."""
    w = apart(w)
    if "pin-last" not in rules.without:
        w = put(w, s, pinned(at(w, s), "before"))
    if entry is not None:
        w = roll_back(w, s, entry, rules)
    if stopped:
        return w
    return begin(w, s, 2, rules, at(w, s).common if entry is None else entry.barrier)


def promote_halfway(w, s):
    """Only where a rule is taken away: the role was written, and not yet the generation."""
    return put(apart(w), s, at(w, s)._replace(role=SERVING, log=()))


def begin(w, s, trial, rules, left):
    """One atomic write: role and lineage. `common` and `changed` stay as they are: what an earlier discard left to be
    settled is still to be settled."""
    w, generation = draw(w)
    site = at(w, s)
    changed = site.changed if "cleared" not in rules.without else 0
    lineage = site.lineage + (Generation(generation, left),)
    return put(w, s, site._replace(role=SERVING, lineage=lineage, trial=trial, offer=0,
                                   changed=changed))


def promote_forced(w, s, rules):
    """Where proof is lacking: at a site that offered a token and can't ask, or whose volumes were put back alone."""
    w = apart(w)
    site = at(w, s)
    if site.role == FOLLOWING:
        return begin(put(w, s, pinned(site, "before")), s, 2, rules, site.common)
    if "force-serves-on" in rules.without:
        return put(w, s, site._replace(role=SERVING, offer=0))
    return begin(w, s, 0, rules, site.common)


def commit(w, s, rules):
    """No way back any more: the time before the promotion is left to retention. Evidence is not: which blocks changed
    stays in the history, and `changed` stays."""
    site = unpinned(at(w, s), "before")
    site = site._replace(trial=0, history=tuple(e._replace(image=None) for e in site.history))
    if "commit-settles" in rules.without:
        site = site._replace(changed=0)
    if "commit-forgets" in rules.without:
        site = site._replace(history=())
    return released(put(w, s, site))


def pinned_by_command(site, rules):
    return site if "no-point" in rules.without or "unpinned-command" in rules.without else pinned(site, "kept")


def discard(w, s, rules, stopped=False):
    """A promotion is undone: the site follows the parent again. Content stays until the catch-up, `changed` has it."""
    w = apart(w)
    site = pinned_by_command(at(w, s), rules)
    if stopped:
        return put(w, s, site)
    changed = site.changed if "discard-clears" not in rules.without else 0
    return put(w, s, site._replace(role=FOLLOWING, lineage=site.lineage[:-1], trial=0, changed=changed))


def reverse(w, s, rules, stopped=False):
    """A fenced site follows; what it alone has is pinned."""
    w = apart(w)
    site = pinned_by_command(at(w, s), rules)
    return put(w, s, site if stopped else site._replace(role=FOLLOWING))


def reverse_refused(w, s, rules):
    """`reverse --keep there` where the sites refuse each other: this one will follow the other, whatever life of it
    comes. Its lineage goes back to what both lived through."""
    w = apart(w)
    site, other = at(w, s), at(w, 1 - s)
    site = pinned_by_command(site, rules)
    lineage = shared(site.lineage, other.lineage) if "own-lineage" not in rules.without else site.lineage
    w = put(w, s, site._replace(role=FOLLOWING, lineage=lineage, offer=0, trial=0, partner=0))
    return w._replace(fed=()) if w.twin is not None and w.twin[0] == 1 - s else w


# ---- switchover, at the serving site S and the following site F

def hand_over(w, s):
    """S, durably: no write is taken any more, and the token has a number and names the generation that F may begin."""
    w, token = draw(w)
    site = at(w, s)
    return put(w, s, site._replace(role=HANDING_OVER, offer=token, given=site.given + 1))


def may_send_token(w, s, rules):
    source, copy = at(w, s), at(w, 1 - s)
    if not w.session or source.role != HANDING_OVER or w.mail is not None or copy.role != FOLLOWING:
        return False
    if "unproved" in rules.without:
        return True
    return not source.log and not source.changed and source.common == copy.common


def send_token(w, s):
    """All of S is proved to be applied at F. The token says for which generation and barrier it is good."""
    source = at(w, s)
    return w._replace(mail=Token(1 - s, source.offer, source.given, newest(source), source.common))


def may_use_token(w, rules):
    token = w.mail
    site = at(w, token.to)
    if site.role != FOLLOWING:
        return False
    if "void-used" not in rules.without:
        void = token.number == site.void if "void-newest" in rules.without else token.number <= site.void
        if void:
            return False
    if "old-token" in rules.without:
        return True
    return newest(site) == token.parent and not site.changed and \
        (site.common == token.barrier or "unproved" in rules.without)


def use_token(w, rules):
    """F, in one write: the token's generation, and it serves. S must be known not to serve."""
    s = w.mail.to
    site, other = at(w, s), at(w, 1 - s)
    if other.role == SERVING and knows(site, newest(other)) and not w.hand:
        raise Broken("a token was used while the site that gave it serves")
    changed = site.changed if "cleared" not in rules.without else 0
    site = site._replace(role=SERVING, trial=0, changed=changed,
                         lineage=site.lineage + (Generation(w.mail.generation, w.mail.barrier),))
    return put(apart(w)._replace(mail=None), s, site)
