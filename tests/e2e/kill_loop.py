#!/usr/bin/env python3
"""Under load: random kill -9 of either daemon, line cuts, half-open lines, freezes. After each round
of faults the pair must come back by itself, `wait` must return, and the opened newest point must be
a prefix of the writes that holds all that was waited for; at the end all images are equal.

    tests/e2e/kill_loop.py [--seconds 60] [--seed 1]      (soak: --seconds 1800)
"""

import random
import sys
import time

import harness


class Faults:
    """Each method does one fault and leaves the pair on its way back."""

    def __init__(self, pair, chance):
        self.pair, self.chance = pair, chance

    def pause(self, low, high):
        time.sleep(self.chance.uniform(low, high))

    def kill_sender(self):
        self.pair.sender.kill()
        self.pause(0, 0.5)
        self.pair.sender.start()

    def kill_receiver(self):
        self.pair.receiver.kill()
        self.pause(0, 0.5)
        self.pair.receiver.start()

    def kill_both(self):
        self.pair.sender.kill()
        self.pair.receiver.kill()
        for daemon in self.chance.sample([self.pair.sender, self.pair.receiver], 2):
            daemon.start()

    def restart_receiver(self):
        self.pair.context.check(self.pair.receiver.stop() == 0, "receiver stops cleanly under load")
        self.pair.receiver.start()

    def cut(self):
        self.pair.relay.cut()
        self.pause(0.2, 3)
        self.pair.relay.heal()

    def half_open(self):
        self.pair.relay.half_open()
        self.pause(0.2, 3)
        self.pair.relay.heal()

    def hiccup(self):
        self.pair.relay.reset_connections()

    def freeze_receiver(self):
        self.pair.receiver.freeze()
        self.pause(0.2, 3)
        self.pair.receiver.thaw()

    def cut_and_kill(self):
        self.pair.relay.cut()
        self.pause(0, 1)
        self.pair.receiver.kill()
        self.pause(0, 0.5)
        self.pair.relay.heal()
        self.pair.receiver.start()


def one_round(pair, load, faults, chance, number):
    context = pair.context
    names = [n for n in dir(Faults) if not n.startswith("_") and n != "pause"]
    chosen = [chance.choice(names) for _ in range(chance.randint(1, 3))]
    context.say(f"round {number}: {', '.join(chosen)}")
    for name in chosen:
        time.sleep(chance.uniform(0.1, 1))
        getattr(faults, name)()
    floor = load.snapshot(f"round-{number}")
    begun = time.monotonic()
    point = pair.wait(timeout=90)
    context.say(f"round {number}: wait took {time.monotonic() - begun:.1f} s, state "
                f"{pair.status()['state']}, {sum(load.newest())} writes")
    if load.process.poll() is not None:
        load.finish()
        raise harness.Failed("the load ended early")
    opened = pair.receiver.cli("open", pair.group, "--point", str(point["point"]), "--nbd",
                               "unix:" + context.path("run", f"point-{number}.nbd"))
    load.check([opened["uris"][v] for v in pair.volumes],
               f"round {number}: the point is a prefix with all that was waited for", floor)
    pair.receiver.cli("close", str(opened["id"]))


def test(context):
    seconds = context.options.seconds or (1800 if context.long else 60)
    chance = random.Random(context.options.seed)
    pair = harness.Pair(context, {"data": "48MiB", "wal": "16MiB"}, line="relay", spool="64MiB")
    load = harness.Load(pair, seed=context.options.seed, chains=2)
    load.fill()
    pair.start()
    load.start(rate=400)
    faults = Faults(pair, chance)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and not context.failures:
        number += 1
        one_round(pair, load, faults, chance, number)
    context.say(f"load: {load.finish()}")
    pair.compare(f"after {number} rounds of faults the replicas equal the primary")
    load.check([pair.replica(v) for v in pair.volumes],
               "the replicas hold exactly the writes that were answered", load.snapshot(), exact=True)
    status = pair.receiver.cli("status")["groups"][0]
    context.check(status["error"] is None, f"the receiver reports no error ({status['error']})")


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
