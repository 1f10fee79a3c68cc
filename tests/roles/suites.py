"""What is enumerated, and which rules are taken away.

A suite has switches (which events there are), the lengths of its histories in the quick and in the full run, and the
events that come before all of them. Few switches at a time keep long histories cheap; which of them can meet in one
fault was decided by what they touch, and suites with many switches go as far as time allows.
"""
from collections import namedtuple

Suite = namedtuple("Suite", "words switches quick full begin", defaults=((),))

# Both sites were promoted by hand: B from generation 1, to which it was put back, A from generation 2 to 3.
THREE_BACK = ("write A1", "ship from A", "ack to A", "snapshot B", "promote B", "write B2", "connect", "reverse A",
              "connect", "ack to B", "cut", "promote A", "write A1", "connect", "reverse B", "connect", "ack to A",
              "restore B", "write A2", "promote B", "write B1")
# A offered its role and was told by force to serve on, while B was promoted.
BOTH_FORCED = ("write A1", "ship from A", "hand over from A", "cut", "promote B", "promote --force A", "write A1")
# A token comes late, after another one was given up.
LATE_TOKEN = ("hand over from A", "token from A", "cut", "connect", "connect")
# A was served in another life since its snapshot, and both sites live in a third generation.
OLD_LIFE = ("snapshot A", "crash A", "promote B", "connect", "reverse A", "connect", "promote A", "connect",
            "reverse B", "connect")
# Site B has lost the barrier that A remembers, and another copy of A has cut one with the same id.
SAME_ID = ("snapshot B", "copy A", "write A1", "ship from A", "ack to A", "restore B", "the other copy", "connect",
           "write A2", "ship from A", "the other copy")
# Site B can't tell any more what it changed after the barrier that A's snapshot knows.
TRIMMED = ("snapshot A", "write A1", "ship from A", "write A2", "ship from A", "trim B")

SUITES = {
    "failover": Suite("promote, points, discard, commit, reverse; measured", "points commit steps exact", 7, 9),
    "switchover": Suite("hand-over, tokens, force; measured", "moves steps exact", 7, 9),
    "both": Suite("the two together", "points commit steps moves", 6, 8),
    "histories": Suite("histories that end anywhere", "trim points commit", 7, 9),
    "volumes": Suite("writes over both volumes", "pair points moves", 6, 8),
    "put back": Suite("sites put back as a whole, set up anew", "restores rebuild points", 5, 7),
    "put back, moved": Suite("the same around a switchover", "restores moves", 5, 7),
    "put back, trimmed": Suite("the same with histories that end", "restores trim points", 5, 7),
    "in parts": Suite("one volume or the state put back alone", "parts restores points commit", 5, 7),
    "in parts, moved": Suite("the same around a switchover", "parts moves", 5, 7),
    "copied": Suite("a site copied whole, both started", "clones points", 5, 7),
    "copied, moved": Suite("the same around a switchover", "clones moves", 5, 6),
    "copied, put back": Suite("copies and put-backs", "clones restores rebuild", 5, 6),
    "ids": Suite("barrier ids that are used again", "ids restores points", 5, 7),
    "same id": Suite("two barriers with one id", "ids clones restores", 4, 5, SAME_ID),
    "old life": Suite("a life of before comes back", "clones restores", 4, 5, OLD_LIFE),
    "three back": Suite("split brain, three generations back", "points commit moves", 5, 8, THREE_BACK),
    "both forced": Suite("split brain after a force", "points commit moves", 5, 8, BOTH_FORCED),
    "late token": Suite("a second switchover, the first token still on its way", "moves steps", 5, 8, LATE_TOKEN),
    "all": Suite("everything at once", "points moves restores parts clones trim commit steps pair ids rebuild", 3, 5),
}

# Long histories by chance, where the enumeration ends: (switches, how many in the quick and in the full run, length).
WALKS = (("points moves restores parts clones trim commit steps pair ids rebuild anew", 150, 2000, 40),
         ("points moves restores trim commit ids anew", 100, 1000, 40),
         ("points moves commit steps pair exact", 100, 1000, 40))

# length: of the histories that are tried, behind `begin`; it is caught in one of them.
Mutation = namedtuple("Mutation", "words switches length begin", defaults=((),))

MUTATIONS = {
    # what is shipped
    "one-sided": Mutation("only the serving site's evidence counts", "", 2),
    "ahead": Mutation("what the copy changed after our common barrier is not asked", "restores", 4),
    "behind": Mutation("what we changed after the old primary's common barrier is not counted", "restores", 5),
    "older-copy": Mutation("a copy that does not know our common barrier is believed", "restores", 5),
    "one-question": Mutation("only the two common barriers are tried, not all of both histories", "", 6),
    "ids-as-names": Mutation("barriers with the same id are taken for the same", "ids clones restores", 2, SAME_ID),
    "ids-go-back": Mutation("a catch-up begins above the serving site's ids only", "ids restores", 4),
    # pins and commands
    "no-point": Mutation("nothing is pinned before it is overwritten", "", 2),
    "unpinned-command": Mutation("`reverse` and `discard` leave it to the catch-up to pin", "points commit", 5),
    "unpinned-catch-up": Mutation("the catch-up leaves it to the commands to pin", "restores", 4),
    "cleared": Mutation("a promotion clears what is still to be settled", "", 4),
    "discard-clears": Mutation("a discard does", "", 3),
    "trap": Mutation("an older point: the blocks undone do not become dirty", "points", 4),
    "common-to-fork": Mutation("an older point: the newer barriers are forgotten", "points exact", 4),
    "pin-last": Mutation("the volumes are rolled back before the pin", "points steps", 3),
    "split-write": Mutation("role and lineage of a promotion are two writes", "", 1),
    "no-fence": Mutation("an old primary that meets a newer generation goes on", "", 1),
    # switchover
    "void-unwritten": Mutation("S serves again, and F has not sworn never to use the token", "moves", 5),
    "void-used": Mutation("F uses a void token", "moves", 5),
    "void-newest": Mutation("F remembers only the newest void token", "moves", 4, LATE_TOKEN),
    "old-token": Mutation("F does not ask for which generation and barrier a token was given", "moves", 5),
    "unproved": Mutation("the token is sent before the last barrier is proved to be applied", "moves", 4),
    "force-serves-on": Mutation("`promote --force` at S does not begin a generation", "moves", 4),
    "serves-unasked": Mutation("S serves again after a crash without asking F", "moves", 4),
    # volumes or state put back alone
    "volume-unseen": Mutation("a volume that was put back alone is not noticed", "parts", 5),
    "state-unseen": Mutation("a state that was put back alone is not noticed", "parts", 3),
    "suspect-unpinned": Mutation("the copy is not pinned where the serving site's volumes are unproved", "parts", 5),
    # clones
    "no-pin": Mutation("the life of the other site is not remembered", "clones", 5),
    "clone-first": Mutation("a stranger is refused before it is fenced", "clones restores", 1,
                            OLD_LIFE + ("restore A",)),
    # histories that end
    "short-history": Mutation("a history that does not reach back tells what it has", "trim restores", 2, TRIMMED),
    "older-copy-trimmed": Mutation("a copy whose history was trimmed is believed", "trim restores", 2, TRIMMED),
    # two volumes
    "barrier-per-volume": Mutation("a barrier is counted when one volume shows it", "pair", 3),
    # commit
    "commit-settles": Mutation("`commit` clears what the other site lacks", "commit", 3),
    "commit-forgets": Mutation("`commit` drops what the history proves", "commit", 4),
    # split brain
    "own-lineage": Mutation("`reverse --keep there` does not go back to the shared lineage", "points commit moves", 1,
                            THREE_BACK),
}
