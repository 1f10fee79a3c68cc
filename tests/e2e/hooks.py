#!/usr/bin/env python3
"""farshore-hook against real applications: PostgreSQL, MariaDB, Redis, SQLite, ext4 on a loop device, a guest agent
that is played, scripts. Each is frozen (a client sees it), released with proof, and works again; and is released within
a second when the sender is killed, the guard is killed, the worker is killed, the time is over, it is told to stop.
`--only PART`; `--long`: each kill 100 times."""

import os
import signal
import time

import harness
import hook_rig
from fake_agent import FakeAgent
from hook_rig import Hook, HeldBySender, request
from hook_scripts import MailStore, Script
from hook_servers import (Application, FileSystem, MariaDb, PostgreSql, Redis, Sqlite, Threaded, Volume,
                          need_servers)

MIB = 1 << 20
RELEASE_SECONDS = 1.0


class Guest(Application):
    type = "qemu-guest-agent"

    def __init__(self, context):
        super().__init__(context)
        self.agent = FakeAgent(context)

    def where(self):
        return {"socket": self.agent.path}

    def client(self):
        return Threaded(lambda: self.agent.frozen)

    def works(self):
        return not self.agent.frozen


def released(context, app):
    """The ordinary way."""
    hook = Hook(context, app.line())
    said = hook.frozen()
    begun = time.monotonic()
    context.say(f"{app.type}: {said}")
    client = app.client()
    context.check(client.waits(), f"{app.type}: a client sees the freeze")
    seen_ms = int((time.monotonic() - begun) * 1000)
    said = hook.release()
    context.check(said["event"] == "released" and said["proved"] and said["message"] == "" and
                  said["frozen_ms"] >= seen_ms, f"{app.type}: released with proof: {said}; frozen for {seen_ms} ms")
    client.end(RELEASE_SECONDS)
    context.check(hook.code() == 0 and app.works(), f"{app.type}: it works again")
    return said


def after(context, app, what, act):
    """Frozen; `act` happens; thawed in time. Returns the hook."""
    hook = Hook(context, app.line(timeout_ms=4000 if what == "time" else 60000))
    hook.frozen()
    client = app.client()
    if not client.waits():
        raise harness.Failed(f"{app.type}: a client does not see the freeze")
    begun = act(hook) or time.monotonic()
    client.end(60)
    took = time.monotonic() - begun
    context.check(took < RELEASE_SECONDS, f"{app.type}: released {took:.3f} s after: {what}")
    return hook


def sender_killed(context, app):
    held = HeldBySender(context, app.line())
    client = app.client()
    if not client.waits():
        raise harness.Failed(f"{app.type}: a client does not see the freeze")
    held.kill()
    begun = time.monotonic()
    client.end(60)
    took = time.monotonic() - begun
    context.check(took < RELEASE_SECONDS, f"{app.type}: released {took:.3f} s after: SIGKILL of the sender")
    harness.retry(5, "the end of the hook", lambda: hook_rig.gone(held.pid))


def time_over(hook):
    """The moment when it should be released."""
    said = hook.event()
    if said["event"] != "expired":
        raise harness.Failed(f"time over: {said}")
    return time.monotonic()


def kills(context, app):
    rounds = 100 if context.long else 1
    for _ in range(rounds):
        sender_killed(context, app)
        hook = after(context, app, "input closed", lambda hook: hook.close())
        said = hook.event()
        context.check(said["event"] == "expired" and hook.code() == 3, f"{app.type}: {said}")
        hook = after(context, app, "SIGTERM", lambda hook: os.kill(hook.pid, signal.SIGTERM))
        said = hook.event()
        context.check(said["event"] == "expired" and hook.code() == 3, f"{app.type}: {said}")
        after(context, app, "SIGKILL of the guard", lambda hook: os.kill(hook.pid, signal.SIGKILL))
        hook = after(context, app, "SIGKILL of the worker", lambda hook: os.kill(hook.worker(), signal.SIGKILL))
        said = hook.event()
        context.check(said["event"] == "expired" and "force" in said["message"] and hook.code() == 3,
                      f"{app.type}: {said}")
        hook = after(context, app, "SIGSTOP of the worker and the end of the input",
                     lambda hook: (os.kill(hook.worker(), signal.SIGSTOP), hook.close()) and None)
        said = hook.event()
        context.check(said["event"] == "expired" and "force" in said["message"] and hook.code() == 3,
                      f"{app.type}: {said}")
    hook = after(context, app, "time", time_over)
    context.check(hook.code() == 3, f"{app.type}: exit code 3 when the time is over")
    context.check(app.works(), f"{app.type}: it works after all that")


def worker_killed_at_release(context, app):
    """The sender waits for "released": it gets that, without proof."""
    hook = Hook(context, app.line())
    hook.frozen()
    os.kill(hook.worker(), signal.SIGSTOP)
    hook.tell({"command": "release"})
    time.sleep(0.1)
    os.kill(hook.worker(), signal.SIGKILL)
    said = hook.event()
    context.check(said["event"] == "released" and not said["proved"] and "force" in said["message"] and
                  hook.code() == 0, f"{app.type}: worker killed at the release: {said}")
    context.check(app.works(), f"{app.type}: it works again")


def whole(context, app):
    released(context, app)
    kills(context, app)
    worker_killed_at_release(context, app)


def filesystem(context):
    whole(context, FileSystem(context, Volume(context, "data", 64 * MIB)))


def sqlite(context):
    volume = Volume(context, "data", 64 * MIB)
    for mode in ("wal", "delete"):
        whole(context, Sqlite(context, volume, mode))


def redis(context):
    volume = Volume(context, "data", 64 * MIB)
    for appendonly in (True, False):
        whole(context, Redis(context, volume, appendonly))


def mariadb(context):
    whole(context, MariaDb(context, Volume(context, "data", 512 * MIB)))


def read_lock(context):
    """MariaDB by FLUSH TABLES WITH READ LOCK, as MySQL is frozen."""
    whole(context, MariaDb(context, Volume(context, "data", 512 * MIB), "freeze=read-lock"))


def postgresql(context):
    whole(context, PostgreSql(context, Volume(context, "data", 512 * MIB)))


def guest(context):
    whole(context, Guest(context))


def script(context):
    whole(context, Script(context))


def unprivileged(context):
    whole(context, Script(context, user="nobody"))


def mail(context):
    """The mail store of deploy/hooks/maildir.sh."""
    app = MailStore(context, Volume(context, "data", 64 * MIB))
    said = released(context, app)
    context.check(said["facts"] == {}, "facts of the release")
    kills(context, app)
    harness.retry(5, "the end of the scripts' files", lambda: not [name for name in os.listdir(app.store)
                                                                   if "hook" in name or "lock" in name])


def protocol(context):
    """What is no request and no command."""
    good = request(type="script", run=["/bin/true"])
    for line, words in (({**good, "colour": 1}, "\"colour\" is unknown"), ({**good, "type": "oracle"}, "oracle"),
                        ({key: value for key, value in good.items() if key != "run"}, "\"run\" is missing"),
                        (b"nonsense\n", "not JSON"), (b"\n", "not JSON"), (b"x" * 1_100_000, "too long")):
        hook_rig.refused(context, line, words, "a bad request")
    hook = Hook(context, b"")
    hook.close()
    said = hook.event()
    context.check(said["event"] == "failed" and hook.code() == 1, f"no request: {said}")
    app = Script(context)
    hook = Hook(context, app.line())
    hook.frozen()
    hook.tell({"command": "hold"})
    said = hook.event()
    context.check(said["event"] == "expired" and hook.code() == 3 and app.works(), f"no command: {said}")
    hook = Hook(context, app.line())
    hook.tell({"command": "release"})
    said = hook.event()
    context.check(said["event"] in ("expired", "failed") and app.works(), f"release before frozen: {said}")


PARTS = {"protocol": protocol, "script": script, "unprivileged": unprivileged, "mail": mail,
         "guest": guest, "sqlite": sqlite,
         "filesystem": filesystem, "redis": redis, "postgresql": postgresql, "mariadb": mariadb,
         "read_lock": read_lock}


def test(context):
    need_servers()
    harness.run_parts(context, PARTS)


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__, programs=["farshore-hook"]))
