#!/usr/bin/env python3
"""Many points, many volumes, and points that go while somebody opens them. With real daemons: 600 points (--long:
10,000) are listed, named by age, time and id, and opened; a point of 64 volumes shows one prefix of the writes over
all of them; a point that retention is removing is opened in full or not at all, with exit 10; a `journal` that is full
of what a pinned point holds is said with that point's name, and the point stays good. `--only PART`."""

import contextlib
import datetime
import json
import random
import re
import subprocess
import time

import harness

VOLUMES = 64


@contextlib.contextmanager
def opened(pair, point, name="look"):
    place = "unix:" + pair.context.path("run", name + ".nbd")
    document = pair.receiver.cli("open", pair.group, f"--point={point}", "--nbd", place)
    try:
        yield document
    finally:
        pair.receiver.cli("close", document["id"])


def uris_of(pair, document):
    return [document["uris"][volume] for volume in pair.volumes]


def points_of(pair):
    return pair.receiver.cli("points", pair.group)["points"]


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def started(context, volumes, chains=2, **settings):
    """A pair in sync, and a load on images that were full of content before."""
    pair = harness.Pair(context, volumes, **settings)
    load = harness.Load(pair, chains=chains)
    load.fill()
    pair.start()
    pair.wait_state("streaming")
    pair.wait()
    return pair, load


def end(pair):
    pair.sender.kill()
    pair.receiver.kill()


def timed(function, *words):
    begun = time.monotonic()
    value = function(*words)
    return value, time.monotonic() - begun


def many(context):
    """Thousands of points, a barrier every 10 ms."""
    wanted = 10_000 if context.long else 600
    pair, load = started(context, {"data": "8MiB"}, interval="10ms", receiver_group_lines="", journal="8GiB")
    load.start(rate=400)
    harness.retry(wanted / 10, f"{wanted} points", lambda: pair.status(pair.receiver)["points"] >= wanted, pause=0.5)
    load.finish()
    pair.wait()
    listed, seconds = timed(points_of, pair)
    context.check(len(listed) >= wanted and seconds < 2, f"{len(listed)} points are listed in {seconds:.2f} s")
    ids, times = [int(p["id"]) for p in listed], [p["time"] for p in listed]
    context.check(ids == sorted(ids) and len(set(ids)) == len(ids) and times == sorted(times),
                  "each once, oldest first")
    named(context, pair, load, listed)
    pair.compare()
    end(pair)


def named(context, pair, load, listed):
    """One point by its id, by its time and by an age."""
    last = None
    for index in (0, len(listed) // 3, len(listed) - 1):
        point = listed[index]
        begun = time.monotonic()
        with opened(pair, point["id"]) as document:
            seconds = time.monotonic() - begun
            context.check(document["point"] == point["id"] and seconds < 2,
                          f"point {index} of {len(listed)} is open by its id in {seconds:.2f} s")
            prefix = load.check(uris_of(pair, document), "and shows a prefix of the writes")
        context.check(prefix and (last is None or prefix >= last), f"a later one than those before: {prefix}")
        last = prefix
        newest = [p for p in listed if p["time"] == point["time"]][-1]
        with opened(pair, point["time"]) as document:
            context.check(document["point"] == newest["id"], f"by {point['time']} it is the same one")
    age = 2
    before = datetime.datetime.now(datetime.timezone.utc)
    with opened(pair, f"-{age}s") as document:
        there = {p["id"]: p["time"] for p in listed}
        shown = moment(there[document["point"]])
        following = [moment(p["time"]) for p in listed if moment(p["time"]) > shown]
        asked = before - datetime.timedelta(seconds=age)
        slack = datetime.timedelta(seconds=0.5)
        context.check(shown <= asked + slack and (not following or following[0] >= asked - slack),
                      f"-{age}s is the newest point that was {age} s old: {shown.time()}")
    said = pair.receiver.cli("open", pair.group, "--point=-30d", "--nbd", "unix:" + pair.context.path("run", "x.nbd"),
                             code=10)["error"]["message"]
    context.check(listed[0]["id"] in said, f"older than all: {said}")


def wide(context):
    """A point of a group of 64 volumes."""
    pair, load = started(context, {f"v{n:02}": "1MiB" for n in range(VOLUMES)}, interval="300ms")
    load.start(rate=400)
    time.sleep(8 if context.long else 3)
    floor = load.snapshot()
    proved = pair.wait()
    time.sleep(1)
    load.finish()
    pair.wait()
    listed = points_of(pair)
    for what, point in (("an early one", listed[len(listed) // 3]["id"]), ("the one of wait", str(proved["point"]))):
        with opened(pair, point) as document:
            context.check(len(document["uris"]) == VOLUMES, f"{what}: {VOLUMES} volumes are served")
            load.check(uris_of(pair, document), f"{what}: all of them show one prefix of the writes",
                       floor=floor if point == str(proved["point"]) else None)
    pair.compare(f"{VOLUMES} replicas equal the primary")
    end(pair)


def race(context):
    """Opening what thinning removes, and what `forget` removes at the same moment."""
    pair, load = started(context, {"data": "8MiB"}, interval="50ms", retain=["all 2s"])
    load.start(rate=200)
    chance = random.Random(context.options.seed)
    prefixes = {}
    thinned(context, pair, load, chance, prefixes)
    forgotten(context, pair, load, chance, prefixes)
    load.finish()
    shown = [prefixes[point] for point in sorted(prefixes)]
    context.check(None not in shown and shown == sorted(shown),
                  f"each of the {len(shown)} open ones shows its own prefix of the writes")
    status = pair.status(pair.receiver)
    context.check(status["error"] is None and status["state"] == "following", "nothing is wrong with the group")
    pair.compare()
    end(pair)


def attempt(context, pair, load, point, prefixes, while_open):
    """Opens a point that may be going. True: it was there and stayed good; False: exit 10, in words."""
    place = pair.context.path("run", "race.nbd")
    done = pair.receiver.cli_raw("--json", "open", pair.group, "--point", point, "--nbd", "unix:" + place)
    if done.returncode == 10 and f"no point {point}" in done.stdout + done.stderr:
        return False
    if done.returncode != 0:
        raise harness.Failed(f"open of point {point}: exit {done.returncode}: {done.stdout} {done.stderr}")
    while_open()  # rules go on meanwhile
    prefixes[int(point)] = checked(context, load, f"nbd+unix:///data?socket={place}", point)
    pair.receiver.cli("close", json.loads(done.stdout)["id"])
    return True


def thinned(context, pair, load, chance, prefixes):
    """Points that the rules let go at their next turn, opened one after the other until they are gone."""
    outcomes, gone = {True: 0, False: 0}, 10 if context.long else 1
    until = time.monotonic() + (60 if context.long else 3)
    while time.monotonic() < until or outcomes[False] < gone:
        doomed = [p["id"] for p in points_of(pair)][:20]
        chance.shuffle(doomed)
        for point in doomed:
            pause = chance.choice((0, 0, 0.2))
            there = attempt(context, pair, load, point, prefixes, lambda seconds=pause: time.sleep(seconds))
            outcomes[there] += 1
            if not there:
                break
        if time.monotonic() > until + 120:
            break
    context.check(outcomes[True] >= 2 and outcomes[False] >= gone,
                  f"points that rules remove: {outcomes[True]} opened in full, {outcomes[False]} gone with exit 10")


def forgotten(context, pair, load, chance, prefixes):
    """`forget` and `open` of one point at once: one of them wins, and the other says so."""
    outcomes = {True: 0, False: 0}
    for _ in range(100 if context.long else 12):
        point = points_of(pair)[-2]["id"]
        words = [harness.find("farshore"), "--socket", pair.receiver.control, "forget", pair.group, "--point", point]
        forget = harness.popen(["sh", "-c", f"sleep {chance.random() * 0.02:.4f}; exec " + " ".join(words)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.random() * 0.1)
        # It stays open until forget has answered, however late that was begun.
        there = attempt(context, pair, load, point, prefixes, lambda late=forget: late.wait(30))
        outcomes[there] += 1
        code = forget.wait(30)
        if code != (11 if there else 0):  # busy: it is open
            context.check(False, f"point {point}: opened: {there}, and forget's exit is {code}")
    context.check(True, f"against forget: {outcomes[True]} opened, {outcomes[False]} forgotten, never both")


def checked(context, load, uri, point):
    """The prefix that a point shows; said only when it shows none."""
    words = load.words("check") + ["--filled", uri]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        context.check(False, f"point {point} is no prefix of the writes: {done.stderr.strip()}")
        return None
    return json.loads(done.stdout)["prefix"]


def full(context):
    """A `journal` full of what a pinned point holds."""
    for keeper in ("pinned", "open") if context.long else ("pinned",):
        child = harness.Context(context.options)
        child.failures, child.logs = context.failures, context.logs
        context.on_exit(child.close)
        pair, load = started(child, {"data": "8MiB"}, interval="200ms", journal="64MiB")
        point = str(pair.wait()["point"])
        place = child.path("run", "held.nbd")
        document = None
        if keeper == "pinned":
            pair.receiver.cli("pin", pair.group, "--point", point)
        else:
            document = pair.receiver.cli("open", pair.group, "--point", point, "--nbd", "unix:" + place)
        load.start()
        seen = said_of_full(pair, point)
        context.check(bool(seen), f"the journal is full, and the {keeper} point {point} is named: {seen}")
        load.finish()
        if keeper == "pinned":
            document = pair.receiver.cli("open", pair.group, "--point", point, "--nbd", "unix:" + place)
        prefix = load.check([document["uris"]["data"]], "the point is good nevertheless")
        context.check(prefix is None or not any(prefix), "and shows what was there before the load")
        pair.receiver.cli("close", document["id"])
        if keeper == "pinned":
            pair.receiver.cli("unpin", pair.group, "--point", point)
        pair.wait_state("streaming", timeout=60)
        pair.compare("let go, replication goes on and the replica equals the primary")
        end(pair)


def said_of_full(pair, point):
    """The error of the receiver's status that names the point, once there is one."""
    named_point = re.compile(rf"point {point} of \S+ is pinned|open points hold it: .*point {point}\b")
    seen = set()

    def said():
        error = pair.status(pair.receiver)["error"] or ""
        seen.add(error)
        return named_point.search(error) and error
    try:
        return harness.retry(60, "a full journal", said, pause=0.3)
    except harness.Failed:
        pair.context.say(f"seen: {sorted(seen)}")
        return ""


def test(context):
    harness.run_parts(context, {"many": many, "wide": wide, "race": race, "full": full})


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
