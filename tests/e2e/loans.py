#!/usr/bin/env python3
"""What one group has at the DR site, another group of the same pair need not ship: initial sync of a
similar volume, copies while streaming, with the receiver and the sender killed meanwhile and with a
lender that changes or is not what the sender thinks.

    tests/e2e/loans.py
"""

import os
import random
import subprocess
import sys
import threading
import time

import harness

MIB = 1 << 20
SIZE = 64 * MIB
PIECE = 64 << 10
NOVEL_PIECES = 64  # of 1024


def shuffled(content, seed):
    """The pieces of `content` in another order, some of them replaced by new ones."""
    rng = random.Random(seed)
    pieces = [content[at:at + PIECE] for at in range(0, len(content), PIECE)]
    rng.shuffle(pieces)
    for number in rng.sample(range(len(pieces)), NOVEL_PIECES):
        pieces[number] = rng.randbytes(PIECE)
    return b"".join(pieces)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Sites:
    """A pair with two groups: `shop` with volume `gold`, `clone` with volume `copy`."""

    def __init__(self, context):
        self.context = context
        self.pair = harness.Pair(context, {"gold": SIZE}, line="relay")
        self.gold = random.Random(context.options.seed).randbytes(SIZE)
        harness.write_bytes(self.pair.primary("gold"), self.gold)

    def replica(self):
        return self.context.path("replica-clone", "copy.img")

    def write_copy(self, content):
        """All of the copy's volume, through NBD."""
        path = self.context.path("content")
        harness.write_bytes(path, content)
        # nbdcopy would leave out what it knows to be zero; nothing here is.
        subprocess.run(["nbdcopy", "--requests=16", path, self.pair.uri("copy")], check=True)

    def equal(self, what):
        self.pair.wait(timeout=120)
        offset = harness.same_content(self.pair.primary("copy"), self.replica())
        return self.context.check(offset is None, f"{what} (first difference {offset})")


def initial_sync(context, sites):
    pair = sites.pair
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    harness.write_bytes(pair.primary("copy"), shuffled(sites.gold, 1))
    pair.add_group("clone", "copy")
    pair.wait_state("streaming")
    before = pair.relay.carried
    pair.group = "clone"
    pair.join()
    pair.wait_state("streaming", timeout=120)
    sites.equal("a similar volume of another group arrives")
    used = pair.relay.carried - before
    novel = NOVEL_PIECES * PIECE
    context.check(used < novel + SIZE // 20,
                  f"and costs little more than what is new: {used} bytes for {SIZE}, {novel} new")


def while_streaming(context, sites):
    pair = sites.pair
    before = pair.relay.carried
    sites.write_copy(shuffled(sites.gold, 2))
    sites.equal("copies of the other group's content while streaming")
    used = pair.relay.carried - before
    context.check(used < SIZE // 4, f"and they cost {used} bytes for {SIZE}")


def with_kills(context, sites):
    pair = sites.pair
    for round_number in range(4):
        content = shuffled(sites.gold, 10 + round_number)
        writer = threading.Thread(target=sites.write_copy, args=(content,))
        writer.start()
        time.sleep(0.3 * (1 + round_number))
        pair.receiver.kill()
        pair.receiver.start()
        writer.join()
        pair.wait_state("streaming", timeout=60)
        sites.equal(f"receiver killed during copies, round {round_number}")
    sites.write_copy(shuffled(sites.gold, 20))
    pair.sender.kill()
    pair.sender.start()
    pair.wait_state("streaming", timeout=60)
    sites.equal("sender killed after copies")
    damage = [line for line in pair.sender.log_text().splitlines() if "changed by somebody else" in line]
    context.check(not damage, f"no loan was missing when it was needed {damage[:1]}")


def lender_changes(context, sites):
    """Both volumes are written at once; what the index says of the lender is often wrong."""
    pair = sites.pair
    path = context.path("gold-content")
    harness.write_bytes(path, shuffled(sites.gold, 30))
    lender = subprocess.Popen(["nbdcopy", path, pair.uri("gold")])
    sites.write_copy(shuffled(sites.gold, 31))
    context.check(lender.wait() == 0, "the lender is written meanwhile")
    sites.equal("the copy is right though the lender changed")
    pair.group = "shop"
    pair.wait(timeout=120)
    offset = harness.same_content(pair.primary("gold"), pair.replica("gold"))
    context.check(offset is None, f"and so is the lender (first difference {offset})")
    pair.group = "clone"


def wrong_lender(context, sites):
    """The lender's replica is changed behind our back: nothing of it is lent."""
    pair = sites.pair
    gold = read(pair.primary("gold"))
    with open(pair.replica("gold"), "r+b") as file:
        for at in range(0, SIZE, 4096):
            file.seek(at + 100)
            file.write(os.urandom(8))
    sites.write_copy(shuffled(gold, 40))
    sites.equal("the copy is right though the lender's replica was changed by somebody")


def test(context):
    harness.need("nbdcopy")
    sites = Sites(context)
    initial_sync(context, sites)
    while_streaming(context, sites)
    with_kills(context, sites)
    lender_changes(context, sites)
    wrong_lender(context, sites)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
