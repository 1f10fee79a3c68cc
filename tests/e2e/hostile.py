#!/usr/bin/env python3
"""A hostile peer against the real daemons: a sender that somebody took over against the receiver, a DR
site that somebody took over against the sender, strangers against both. After each attack the daemon
still runs, another group is unharmed, memory stayed within `memory` and 64 MiB more, and an honest peer
makes both sites equal.

    tests/e2e/hostile.py [--only PART] [--long]
"""

import os
import random
import socket
import subprocess
import threading
import time

import harness
import hostile_peer as hostile
from hostile_stage import MIB, SIZE, Stage, Watch

BEYOND = hostile.MOST


# ---- a hostile sender -------------------------------------------------------------------------------

def ids(stage):
    """Streams that begin where no id may be."""
    def attack():
        for first in (BEYOND, BEYOND - 1, 1 << 63, (1 << 63) - 1):
            session = stage.session()
            try:
                stream, _ = session.begin(first=first)
                session.send_frame(hostile.barrier(stream, first, time_ns=time.time_ns()))
                stage.context.check(session.control.closed_within(3), f"a stream from {first:#x}: the session ends")
            except hostile.Closed:
                pass
            session.close()
    stage.against_receiver("streams from beyond", attack)


def small_frames(stage):
    """Frames of 64 bytes, out of turn, as many as the window takes."""
    def attack():
        session = stage.session()
        stream, first = session.begin()
        try:
            one = hostile.frame(stream, first, 1)
            count = min(session.welcome["window_bytes"], 24 * MIB) // len(one)
            for index in range(1, count):
                frame = hostile.frame(stream, first + index // 4000, 1 + index % 4000)
                session.data[0].sock.sendall(hostile.ENVELOPE.pack(len(frame), hostile.FRAME, 0) + frame)
        except (hostile.Closed, OSError):
            pass
        time.sleep(0.5)
        session.close()
    stage.against_receiver("frames of 64 bytes out of turn", attack)


def open_point(stage):
    where = stage.context.path("run", f"look-{random.randrange(1 << 30)}.nbd")
    opened = stage.pair.receiver.cli("open", "shop", "--nbd", "unix:" + where)
    return opened["id"], f"nbd+unix:///data?socket={where}"


def reads(uri):
    done = subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", "read 0 64k", uri], capture_output=True,
                          text=True, check=False)
    return done.returncode == 0 and "failed" not in done.stdout + done.stderr


def broken_frames(stage):
    """A wrong frame is the sender's fault: points that are open stay open."""
    cases = {
        "checksum of the payload": lambda s, i: hostile.frame(s, i, 0, b"x" * 100, blocks=1, checksum=1),
        "checksum of the header": lambda s, i: hostile.frame(s, i, 0, b"x" * 100, header_checksum=1),
        "interval of another": lambda s, i: hostile.frame(s, i + 9, 0, b"x" * 100),
        "barrier without its frames": lambda s, i: hostile.frame(s, i, 7, kind=2),
        "noise": lambda s, i: os.urandom(300),
    }

    def attack():
        number, uri = open_point(stage)
        for name, make in cases.items():
            session = stage.session()
            if session.refused:
                stage.context.check(False, f"{name}: refused after the one before: {session.refused}")
                continue
            try:
                stream, first = session.begin()
                session.send_frame(make(stream, first))
                session.control.closed_within(1)
            except hostile.Closed:
                pass
            session.close()
            status = stage.pair.status(stage.pair.receiver)
            stage.context.check(status["state"] != "failed", f"{name}: the copy is not given up: {status['state']}")
            stage.context.check(reads(uri), f"{name}: an open point is still served")
        stage.pair.receiver.cli("close", number, code=None)
    stage.against_receiver("broken frames", attack)


def undecodable(stage):
    """A payload that is no payload, in a frame that is right: somebody is told."""
    def attack():
        session = stage.session()
        stream, first = session.begin()
        payload = b"FC" + os.urandom(200)
        session.send_frame(hostile.frame(stream, first, 0, payload, blocks=1, raw_bytes=4096))
        session.send_frame(hostile.barrier(stream, first, [payload], time_ns=time.time_ns(), blocks=1))
        told = []
        try:
            session.control.sock.settimeout(8)
            while not told:
                name, fields = session.control.receive()
                if name == "nak":
                    told.append(fields["complete"])
                elif name == "refusal":
                    told.append(fields["text"])
        except (hostile.Closed, socket.timeout):
            pass
        stage.context.check(told, f"a payload that does not decode is answered: {told}")
        session.close()
    stage.against_receiver("a payload that does not decode", attack)


def strange_numbers(stage):
    """Every message that a sender may send, each integer at its extremes."""
    extremes = (0, 1, (1 << 31), (1 << 32) - 1, (1 << 63) - 1, 1 << 63, BEYOND)
    runs = [dict(volume=v, block=b, digests=b"\1" * 16) for v in (0, 60000) for b in (0, BEYOND)]
    messages = [("loan_request", dict(id=1, interval=i, lender=lender, runs=runs[:1]))
                for i in extremes for lender in ("bystander", "", "../x", "\x1b]0;x\a")]
    messages += [("loan_request", dict(id=i, interval=1, lender="bystander", runs=runs)) for i in extremes]
    messages += [("digest_request", dict(id=i, unit=u, ranges=[dict(volume=v, offset=o, length=n)]))
                 for i in (0, BEYOND) for u in (0, 4096, BEYOND) for v in (0, 1, 60000)
                 for o in (0, 4096, BEYOND) for n in (0, 4096, BEYOND)]
    messages += [("begin_stream", dict(stream=s, first=f, copy_went_back=True)) for s in (0, 1) for f in extremes]
    messages += [("extent_request", dict(id=i, ranges=[dict(volume=v, offset=o, length=n)]))
                 for i in (0, BEYOND) for v in (0, 60000) for o in (0, BEYOND) for n in (0, 4096, BEYOND)]
    messages += [("changed_request", dict(after=(7, i))) for i in extremes]
    messages += [(name, {}) for name in hostile.MESSAGES]

    def attack():
        session = stage.session(links=0)
        for name, values in messages:
            try:
                session.control.send(name, **values)
                # An answer, or the end; both are right.
                session.control.sock.settimeout(0.02)
                session.control.receive_raw()
            except (hostile.Closed, socket.timeout, TimeoutError):
                pass
            if session.control.closed_within(0.01):
                session.close()
                session = stage.session(links=0)
                if session.refused:
                    time.sleep(0.2)
        session.close()
    stage.against_receiver(f"{len(messages)} messages with strange numbers", attack)


def strange_hellos(stage):
    """Volumes that no operator meant: names, sizes, how many of them."""
    cases = {
        "NUL in a name": [("etc\0", SIZE)],
        "escapes in a name": [("\x1b[2J\x1b]0;owned\a", SIZE)],
        "a way out": [("../../etc/cron.d/x", SIZE)],
        "202 volumes of 8 TiB": [(f"v{i}", 8 << 40) for i in range(202)],
        "too large": [("data", BEYOND)],
        "none": [],
    }
    pair = stage.pair
    made = set(os.listdir(stage.context.path("replica")))

    def attack():
        for name, volumes in cases.items():
            try:
                session = hostile.Sender(pair.port, stage.sender_keys, "shop", volumes, links=0)
                stage.context.check(session.refused, f"hello, {name}: refused: {str(session.refused)[:80]!r}")
                session.close()
            except hostile.Closed:
                pass
        stage.context.check(set(os.listdir(stage.context.path("replica"))) == made, "no image was made")
        stage.context.check("\x1b" not in pair.receiver.log_text(), "no escape sequence in the log")
    stage.against_receiver("strange hellos", attack)


def many_links(stage):
    """Links of a paired sender that never say a word."""
    def attack():
        links, refused = [], 0
        end = time.monotonic() + 15
        while len(links) < 400 and time.monotonic() < end:
            try:
                links.append(hostile.Link.connect(stage.pair.port, stage.sender_keys, timeout=2))
            except (hostile.Closed, OSError):
                refused += 1
                if refused > 20:
                    break
        status = stage.pair.receiver.cli("status", timeout=15)
        time.sleep(3)
        stage.context.check(status["groups"], f"{len(links)} silent links of a paired sender, then refused: "
                                              f"{refused}; status answers")
        open_files = len(os.listdir(f"/proc/{stage.pair.receiver.process.pid}/fd"))
        stage.context.check(open_files < 300, f"{open_files} descriptors open")
        for link in links:
            link.close()
    stage.against_receiver("silent links", attack)


def strangers(stage):
    """Silent connections without a key: a paired sender still gets in."""
    pair = stage.pair
    pair.sender.stop()
    watch = Watch(pair.receiver)
    held, ended = [], threading.Event()

    def hold():
        while not ended.is_set():
            try:
                held.append(socket.create_connection(("127.0.0.1", pair.port), timeout=1))
            except OSError:
                pass
            ended.wait(0.015)  # some 65 a second
    for _ in range(250):
        try:
            held.append(socket.create_connection(("127.0.0.1", pair.port), timeout=1))
        except OSError:
            break
    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    time.sleep(1)
    began = time.monotonic()
    pair.sender.start()
    try:
        harness.retry(45, "a paired sender connects", lambda: pair.status()["connected"])
        took = time.monotonic() - began
    except harness.Failed:
        took = 99
    ended.set()
    thread.join()
    for sock in held:
        sock.close()
    stage.context.check(took < 15, f"250 silent strangers and 65 more a second: connected after {took:.1f} s")
    stage.lives(pair.receiver, "silent strangers", watch.end())
    stage.honest("silent strangers")


# ---- a hostile DR site ------------------------------------------------------------------------------

def welcome(control, hello, **values):
    fields = dict(version=1, features=0, receiver=b"evil" * 4, window_bytes=16 * MIB, digest_key=b"k" * 32,
                  clock_ms=hostile.now_ms())
    fields.update(values)
    control.send("welcome", **fields)


def answer(control, seconds=3, **replies):
    """Says stream_ready and plays along; `replies[NAME]` is called with each message NAME."""
    control.sock.settimeout(0.2)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            name, fields = hostile.decode(*control.receive_raw())
        except hostile.Closed as error:
            if "timed out" in str(error):
                continue
            raise
        if name == "begin_stream":
            control.send("stream_ready", stream=int.from_bytes(fields["stream"], "little"))
        if name in replies:
            replies[name](control, fields)


def positions(stage):
    """A welcome that is ahead of everything."""
    for value in (BEYOND, BEYOND - 1, 1 << 63, (1 << 63) - 1):
        def serve(server, control, hello, value=value):
            welcome(control, hello, durable=(7, value), applied=(7, value), point=value)
            answer(control)
        stage.against_sender(f"a welcome at {value:#x}", serve)


def acknowledgements(stage):
    """What was never sent is acknowledged."""
    for value in (BEYOND, (1 << 63) - 1, 1 << 40):
        def serve(server, control, hello, value=value):
            welcome(control, hello)

            def lie(link, begin):
                stream = int.from_bytes(begin["stream"], "little")
                link.send("ack", durable=(stream, value), applied=(stream, value), point=value,
                          journaled_bytes=BEYOND)
            answer(control, begin_stream=lie)
        stage.against_sender(f"an acknowledgement of {value:#x}", serve)


def follows(server, control, hello, **replies):
    """A DR site that seems good: everything is zero there, barriers are acknowledged."""
    lock = threading.Lock()

    def say(name, **values):
        with lock:
            control.send(name, **values)
    server.on_barrier[hello["session"]] = lambda stream, interval, taken: say(
        "ack", durable=(stream, interval), applied=(stream, interval), point=interval, journaled_bytes=taken)
    answer(control, seconds=30, digest_request=lambda _, r: say("digest_reply", **hostile.all_zero(r)),
           extent_request=lambda _, r: say("extent_reply", **hostile.all_holes(r)), **replies)


def verify_results(stage):
    """Ranges that nobody asked about, while the operator waits for `verify`."""
    items = [dict(volume=0, offset=0, length=1 << 63), dict(volume=60000, offset=0, length=4096),
             dict(volume=0, offset=BEYOND, length=BEYOND), dict(volume=0, offset=4096, length=1)]

    sessions = []

    def serve(server, control, hello):
        sessions.append((hello, control))
        welcome(control, hello)
        follows(server, control, hello)

    def during(server):
        stage.pair.wait_state("streaming", timeout=30)
        for item in items:
            done = subprocess.Popen([harness.find("farshore"), "--socket", stage.pair.sender.control, "verify", "shop"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            hello, control = [x for x in sessions if x[0]["group"] == "shop"][-1]
            acknowledge = server.on_barrier[hello["session"]]

            def lie(stream, interval, taken, item=item, acknowledge=acknowledge, control=control):
                control.send("verify_result", interval=interval, items=[item])
                acknowledge(stream, interval, taken)
            server.on_barrier[hello["session"]] = lie
            time.sleep(1.5)
            done.terminate()
            done.wait()
            harness.retry(20, "another session", lambda: stage.pair.sender.running and stage.pair.status()["connected"])
    stage.against_sender("verify results that nobody asked for", serve, during=during)


def strange_answers(stage):
    """Every message that a DR site may send, out of place and with strange numbers."""
    messages = [("nak", dict(damage_count=BEYOND, complete=True, blocks=[dict(volume=60000, block=BEYOND)])),
                ("nak", dict(damage_count=1, complete=False)),
                ("digest_reply", dict(id=BEYOND, zero_bits=b"\xff" * 100, digests=b"x" * 1600)),
                ("digest_reply", dict(id=1)),
                ("loan_reply", dict(id=1, granted=b"\xff" * 100, first=BEYOND, slots=1)),
                ("loan_reply", dict(id=0, granted=b"\xff", first=0, slots=0)),
                ("extent_reply", dict(id=BEYOND, parts=[dict(covered=BEYOND, extents=BEYOND)])),
                ("changed_reply", dict(known=True, runs=[dict(volume=60000, first=BEYOND, count=BEYOND)], more=True)),
                ("stream_ready", dict(stream=1)),
                ("verify_result", dict(interval=0, items=[])),
                ("notice", dict(text="\x1b]0;owned\a\nforged line\r\n")),
                ("welcome", dict(version=1)), ("hello", dict(group="shop")), ("ack", {})]
    turn = [0]

    def serve(server, control, hello):
        welcome(control, hello, damaged=turn[0] % 3 == 2, damage_count=turn[0] * (1 << 40))
        name, values = messages[turn[0] % len(messages)]
        turn[0] += 1

        def lie(link, begin):
            link.send("stream_ready", stream=int.from_bytes(begin["stream"], "little"))
            link.send(name, **values)
        answer(control, seconds=0.5, begin_stream=lie, digest_request=lambda link, r: link.send(
            "digest_reply", id=r["id"], zero_bits=b"", digests=b""))
    stage.against_sender("strange answers", serve, seconds=15)
    stage.context.check("\x1b" not in stage.pair.sender.log_text(), "no escape sequence in the sender's log")
    stage.context.check("\nforged line" not in stage.pair.sender.log_text(), "no forged line in the sender's log")


def refusals(stage):
    """A refusal with words that a terminal would obey."""
    def serve(server, control, hello):
        control.send("refusal", code=6, text="\x1b[2J\x1b]0;owned\a\nall is well")
        control.closed_within(1)
    stage.against_sender("a refusal with escape sequences", serve)
    check = stage.pair.sender.cli_raw("check")
    stage.context.check("\x1b" not in stage.pair.sender.log_text() + check.stdout + check.stderr,
                        "no escape sequence in log or check")


def takes_nothing(stage):
    """A DR site that lets itself be sent and never acknowledges."""
    def serve(server, control, hello):
        welcome(control, hello, window_bytes=BEYOND)
        answer(control, seconds=6)
    stage.against_sender("a window without end and no acknowledgement", serve, seconds=6)


RECEIVER = [ids, small_frames, broken_frames, undecodable, strange_numbers, strange_hellos, many_links, strangers]
SENDER = [positions, acknowledgements, verify_results, strange_answers, refusals, takes_nothing]


def test(context):
    harness.need("qemu-io")
    stage = Stage(context)
    for part in RECEIVER + SENDER:
        if context.options.only in ("", part.__name__):
            began = time.monotonic()
            part(stage)
            context.say(f"{part.__name__}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__))
