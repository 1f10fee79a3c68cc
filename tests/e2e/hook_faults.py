#!/usr/bin/env python3
"""What farshore-hook does when an application is wrong, down, restarted while frozen, hangs, or lies, and what it
refuses to freeze. `--only PART`."""

import json
import os
import random
import signal
import socket
import subprocess
import time

import harness
import mounts
from fake_agent import FakeAgent
from hook_rig import Hook, children_of, gone, refused, request
from hook_scripts import Script
from hook_servers import FileSystem, MariaDb, PostgreSql, Redis, Sqlite, Volume, need_servers

MIB = 1 << 20


def not_proved(context, hook, words, what):
    said = hook.release()
    context.check(said["event"] == "released" and not said["proved"] and words in said["message"] and
                  hook.code() == 0, f"{what}: {said}")


def fault_filesystem(context):
    """Mounts that must not be frozen; others that freeze and thaw."""
    app = FileSystem(context, Volume(context, "data", 64 * MIB))
    other = Volume(context, "other", 64 * MIB)
    point = app.volume.point
    inside = os.path.join(point, "inside")
    os.mkdir(inside)
    refused(context, app.line(mount=inside), "is no mount point", "a directory")
    refused(context, app.line(mount=point + "x"), "No such file", "a path that is not there")
    refused(context, app.line(never=[os.path.join(inside, "not/yet")]), "could stop what has to release it", "never")
    refused(context, app.line(volumes=[]), "no volume of the group", "no volumes")
    refused(context, app.line(volumes=other.listed()), "no volume of the group", "another volume")
    refused(context, app.line(volumes=[{"name": "data", "path": "/not/there"}]), "volume data", "a missing volume")
    image = os.path.join(inside, "v.img")
    with open(image, "wb") as file:
        file.truncate(MIB)
    refused(context, app.line(outside=True, volumes=[{"name": "v", "path": image}]),
            "could stop what has to release it", "a volume's file on the mount")
    refused(context, app.line(mount="/", outside=True), ["could stop"], "the root, which has the program")
    refused(context, request(type="filesystem", mount="/proc", outside=True), ["/proc"], "proc")
    hook = Hook(context, app.line(volumes=[], outside=True))
    context.check(hook.frozen()["facts"]["group_device"] == "not checked", "outside = true is told")
    context.check(hook.release()["proved"], "and proved all the same")
    nested(context, app, inside)
    others_freeze(context, app)
    partition(context)


def partition(context):
    """A volume with a partition table, and the file system of a partition."""
    image, point = context.path("disk.img"), context.path("mnt-part")
    os.mkdir(point)
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["sfdisk", "--quiet", image], input="label: gpt\nstart=2048, size=65536\n", text=True, check=True)
    device = mounts.run("losetup", "--find", "--show", "--offset", str(MIB), "--sizelimit", str(32 * MIB), image)
    context.on_exit(lambda: subprocess.run(["losetup", "-d", device], check=False))
    mounts.run("mkfs.ext4", "-q", "-F", device)
    mounts.run("mount", device, point)
    context.on_exit(lambda: subprocess.run(["umount", "--lazy", point], check=False))
    line = request(type="filesystem", mount=point, volumes=[{"name": "disk", "path": image}])
    hook = Hook(context, line)
    hook.frozen()
    context.check(hook.release()["proved"], "a partition of a volume")
    copy = context.path("copy.img")
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    mounts.run("mkfs.ext4", "-q", "-F", "-E", f"offset={MIB}", copy, "32M")
    refused(context, {**line, "volumes": [{"name": "disk", "path": copy}]}, "no volume of the group",
            "the same partition with another file system")


def nested(context, app, inside):
    """What must not be frozen is on a file system whose image is on the mount."""
    image = os.path.join(inside, "nested.img")
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    mounts.run("mkfs.ext4", "-q", "-F", image)
    below = mounts.Mount(context, "nested", image=image)
    device = below.attach()
    mounts.run("mount", device, below.point)
    refused(context, app.line(never=[below.point]), "could stop what has to release it", "never, through a loop device")
    mounts.run("umount", below.point)
    mounts.run("losetup", "-d", device)


def others_freeze(context, app):
    point = app.volume.point
    mounts.run("fsfreeze", "--freeze", point)
    refused(context, app.line(), "frozen already by somebody else", "frozen by somebody else")
    client = app.client()
    context.check(client.waits(), "and left so")
    mounts.run("fsfreeze", "--unfreeze", point)
    client.end(5)
    hook = Hook(context, app.line())
    hook.frozen()
    mounts.run("fsfreeze", "--unfreeze", point)
    time.sleep(0.1)
    mounts.run("fsfreeze", "--freeze", point)
    not_proved(context, hook, "thawed by somebody else", "thawed and frozen again by somebody else")
    context.check(app.works(), "it works again")
    context.check(sorted(os.listdir(point)) == ["inside", "lost+found"], "and no probe is left on it")


def fault_script(context):
    """Scripts that end early, lie, hang, print without end, fork, leave files open."""
    refused(context, Script(context, before="echo broken >&2; exit 4").line(), ["exit code 4", "broken"], "exit 4")
    refused(context, request(type="script", run=["/not/there"]), ["127", "No such file"], "no such program")
    refused(context, request(type="script", run=["/bin/true"], user="no-such-user"), "no user", "no such user")
    app = Script(context, before="yes")
    refused(context, app.line(), "prints more than it may", "output without end")
    app = Script(context, before="sleep 60")
    hook = Hook(context, app.line(timeout_ms=500))
    said = hook.event()
    context.check(said["event"] == "expired" and "force" in said["message"] and app.works() and app.forced() and
                  hook.code() == 3, f"a script that hangs before it is frozen: {said}")
    app = Script(context, during="exit 0")
    hook = Hook(context, app.line())
    hook.frozen()
    time.sleep(0.2)
    not_proved(context, hook, "ended with exit code 0 before", "ended while frozen")
    app = Script(context, code=5)
    hook = Hook(context, app.line())
    hook.frozen()
    not_proved(context, hook, "", "exit code 5 after \"released\"")
    context.check(app.forced(), "and released by force")
    app = Script(context, after="sleep 60")
    hook = Hook(context, app.line(timeout_ms=5000))
    hook.frozen()
    hook.tell({"command": "release"})
    said = hook.event()
    context.check(said["event"] == "expired" and app.works() and app.forced(), f"hangs in its release: {said}")
    stays(context)


def stays(context):
    """What a script forks is killed with it; files that it leaves open keep nobody waiting."""
    app = Script(context, during="sleep 1234 & echo $! >STATE.child; trap '' TERM".replace("STATE", "$0"))
    hook = Hook(context, app.line())
    hook.frozen()
    child = int(harness.retry(5, "the child", lambda: whole_line(app.path + ".child")))
    begun = time.monotonic()
    said = hook.release()
    context.check(said["proved"] and time.monotonic() - begun < 1, f"a child holds its output: {said}")
    harness.retry(5, "the end of the child", lambda: gone(child))


def whole_line(path):
    """The line of a file, None before its end is there: a shell makes a file before it writes to it."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    return text.strip() if text.endswith("\n") else None


class SlowVolume:
    """ext4 on a disk that can be made to stand still."""

    def __init__(self, context):
        self.socket = context.path("disk.sock")
        self.disk = harness.popen(["nbdkit", "--foreground", "--unix", self.socket, "memory", "64M"])
        context.on_exit(self.disk.kill)
        context.on_exit(lambda: self.disk.send_signal(signal.SIGCONT))
        harness.retry(10, "nbdkit", lambda: os.path.exists(self.socket))
        mount = mounts.Mount(context, "slow", uri=f"nbd+unix:///?socket={self.socket}")
        device = mount.attach()
        mounts.run("mkfs.ext4", "-q", "-F", device)
        mounts.run("mount", device, mount.point)
        self.point = mount.point
        context.on_exit(lambda: subprocess.run(["umount", "--lazy", mount.point], check=False))

    def listed(self):
        return []


def fault_anywhen(context):
    """A file system on a disk that is slow at times; sender, guard or worker end at any moment: never left frozen."""
    mounts.need()
    harness.need("nbdkit")
    app = FileSystem(context, SlowVolume(context))
    chance = random.Random(context.options.seed)
    ends = {"input closed": lambda hook: hook.close(), "SIGKILL of the guard": lambda hook: hook.process.kill(),
            "SIGKILL of the worker": lambda hook: [os.kill(pid, signal.SIGKILL) for pid in children_of(hook.pid)]}
    for number in range(500 if context.long else 12):
        with open(os.path.join(app.volume.point, "dirty"), "wb") as file:
            file.write(os.urandom(chance.randrange(1, 4 * MIB)))
        hook = Hook(context, app.line(outside=True))
        time.sleep(chance.uniform(0, 0.1))
        slow = chance.random() < 0.5
        if slow:
            app.volume.disk.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0, 0.1))
        worker = children_of(hook.pid)
        what = chance.choice(list(ends)) if worker else "input closed"
        ends[what](hook)
        time.sleep(chance.uniform(0, 1.2) if slow else 0)
        app.volume.disk.send_signal(signal.SIGCONT)
        harness.retry(20, "the end of the hook's processes after: " + what,
                      lambda: all(gone(pid) for pid in [hook.pid, *worker]))
        client = app.client()
        context.check(not client.waits(10), f"{number}: not frozen after: {what}{' on a slow disk' if slow else ''}")
        client.end(1)


def fault_guest(context):
    """Agents that hang, lie, refuse, say nonsense, or are not there."""
    def line(agent, **keys):
        return request(type="qemu-guest-agent", socket=agent.path, **keys)

    for fault, words in (("refuses", "failed to freeze"), ("nothing", "frozen no file system"), ("lies", "thawed"),
                         ("garbage", "no JSON"), ("endless", "too long")):
        agent = FakeAgent(context, fault)
        refused(context, line(agent), words, "an agent: " + fault)
        context.check(not agent.frozen, "and nothing is frozen")
    agent = FakeAgent(context, "silent")
    hook = Hook(context, line(agent, timeout_ms=500))
    context.check(hook.event()["event"] in ("expired", "failed"), "an agent that says nothing")
    agent = FakeAgent(context, "hangs")
    hook = Hook(context, line(agent, timeout_ms=500))
    said = hook.event()
    context.check(said["event"] == "expired" and "a thaw was sent" in said["message"], f"an agent that hangs: {said}")
    agent.go_on.set()
    context.check(agent.wait_thawed(5), "the thaw waits for it")
    agent = FakeAgent(context)
    agent.frozen = True
    refused(context, line(agent), "frozen already", "frozen by somebody else")
    context.check(agent.frozen and not agent.thaws, "and left so")
    agent.frozen = False
    hook = Hook(context, line(agent))
    hook.frozen()
    agent.frozen = False
    not_proved(context, hook, "the guest is thawed", "thawed in between")
    refused(context, request(type="qemu-guest-agent", socket=context.path("no.sock")), "No such file", "no agent")


def fault_sqlite(context):
    volume = Volume(context, "data", 64 * MIB)
    app = Sqlite(context, volume)
    refused(context, app.line(file=volume.point + "/not.db"), "No such file", "no such database")
    refused(context, app.line(volumes=[]), "no volume of the group", "outside")
    with open(volume.point + "/text.db", "w", encoding="ascii") as file:
        file.write("this is no database" * 100)
    refused(context, app.line(file=volume.point + "/text.db"), "not a database", "no database")
    reader = app.reader()
    app.works()
    hook = Hook(context, app.line())
    said = hook.frozen()
    context.check(int(said["facts"]["wal_bytes"]) > 0 and hook.release()["proved"], f"with a reader: {said}")
    reader.close()
    hook = Hook(context, app.line())
    said = hook.frozen()
    context.check(said["facts"]["wal_bytes"] == "0" and hook.release()["proved"], f"without one: {said}")
    hook = Hook(context, app.line())
    hook.frozen()
    os.rename(app.path, app.path + ".old")
    subprocess.run(["cp", app.path + ".old", app.path], check=True)
    not_proved(context, hook, "was replaced", "another file of the name")
    writer = subprocess.Popen(["sqlite3", app.path], stdin=subprocess.PIPE, text=True)
    writer.stdin.write("BEGIN IMMEDIATE;\n")
    writer.stdin.flush()
    time.sleep(0.3)
    hook = Hook(context, app.line(timeout_ms=800))
    said = hook.event()
    context.check(said["event"] in ("expired", "failed"), f"a writer that never ends: {said}")
    writer.kill()


def fault_redis(context):
    volume = Volume(context, "data", 64 * MIB)
    app = Redis(context, volume)
    bad = app.where()["connect"].replace("secret", "wrong")
    refused(context, app.line(connect=bad), ["AUTH", "WRONGPASS"], "a wrong password")
    refused(context, app.line(connect="socket=/not/there"), "No such file", "down")
    refused(context, app.line(connect="socket=/not/there colour=1"), "\"colour\"", "an unknown word")
    refused(context, app.line(volumes=[]), "no volume of the group", "outside")
    app.cli("CLIENT", "PAUSE", "20000", "WRITE")
    refused(context, app.line(), "paused already", "paused by somebody else")
    app.cli("CLIENT", "UNPAUSE")
    hook = Hook(context, app.line())
    hook.frozen()
    app.cli("CLIENT", "UNPAUSE")
    app.works()
    app.cli("CLIENT", "PAUSE", "20000", "WRITE")
    not_proved(context, hook, "pause of Redis ended", "unpaused and paused again by somebody else")
    hook = Hook(context, app.line())
    hook.frozen()
    app.kill()
    app.start()
    not_proved(context, hook, "", "restarted while frozen")
    context.check(app.works(), "it works again")
    hook = Hook(context, app.line(timeout_ms=5000))
    hook.frozen()
    os.kill(app.process.pid, signal.SIGSTOP)
    said = hook.event()
    os.kill(app.process.pid, signal.SIGCONT)
    context.check(said["event"] == "expired" and app.works(), f"a server that stands still: {said}")
    far = Redis(context, volume, port=free_port())
    hook = Hook(context, far.line())
    said = hook.frozen()
    context.check(said["freeze_ms"] >= 2000 and hook.release()["proved"], f"by TCP, appendfsync everysec: {said}")
    far.cli("CONFIG", "SET", "appendfsync", "no")
    refused(context, far.line(), "nobody can tell", "by TCP, appendfsync no")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def fault_mariadb(context):
    app = MariaDb(context, Volume(context, "data", 512 * MIB))
    bad = app.where()["connect"].replace("secret", "wrong")
    refused(context, app.line(connect=bad), "Access denied", "a wrong password")
    refused(context, app.line(connect="socket=/not/there user=hook"), "/not/there", "down")
    refused(context, app.line(volumes=[]), "no volume of the group", "outside")
    hook = Hook(context, app.line())
    hook.frozen()
    ours = app.sql("SELECT id FROM information_schema.processlist WHERE user = 'hook'")
    app.sql(f"KILL CONNECTION {ours}")
    not_proved(context, hook, "gone", "its session was killed")
    hook = Hook(context, app.line())
    hook.frozen()
    app.kill()
    app.start()
    not_proved(context, hook, "", "restarted while frozen")
    context.check(app.works(), "it works again")
    app.sql("CREATE TABLE d.m (a INT) ENGINE=MyISAM")
    holder = subprocess.Popen(["mariadb", "--no-defaults", "-uroot", "-S", app.socket, "-e",
                               "LOCK TABLES d.m WRITE; SELECT SLEEP(30)"], stdout=subprocess.DEVNULL)
    harness.retry(10, "the holder", lambda: "SLEEP" in app.sql("SHOW FULL PROCESSLIST"))
    hook = Hook(context, app.line(timeout_ms=1000))
    said = hook.event()
    context.check(said["event"] in ("expired", "failed"), f"a lock that is held half way: {said}")
    harness.retry(2, "the end of our session",
                  lambda: app.sql("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'hook'") == "0")
    holder.kill()


def fault_postgresql(context):
    volume = Volume(context, "data", 512 * MIB)
    app = PostgreSql(context, volume, free_port())
    bad = app.where()["connect"].replace("secret", "wrong")
    refused(context, app.line(connect=bad), "password authentication failed", "a wrong password")
    refused(context, app.line(connect="host=/not/there"), "/not/there", "down")
    refused(context, app.line(volumes=[]), "the data directory", "outside")
    far = f"host=127.0.0.1 port={app.port} dbname=postgres user=postgres"
    hook = Hook(context, app.line(volumes=[], connect=far))
    said = hook.frozen()
    context.check("not checked" in said["facts"]["files"] and hook.release()["proved"], f"by TCP: {said}")
    hook = Hook(context, app.line())
    hook.frozen()
    app.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'farshore-hook'")
    time.sleep(0.2)
    not_proved(context, hook, "gone", "its session was ended")
    for mode in ("fast", "immediate"):
        hook = Hook(context, app.line())
        hook.frozen()
        app.stop(mode)
        app.start()
        not_proved(context, hook, "restarted", f"restarted while frozen ({mode})")
    hook = Hook(context, app.line())
    hook.frozen()
    app.stop("fast")
    not_proved(context, hook, "", "down while frozen")
    app.start()
    elsewhere(context, app)


def elsewhere(context, app):
    """A tablespace and a WAL that are not on the group's volumes."""
    place = context.path("tablespace")
    os.mkdir(place)
    subprocess.run(["chown", "postgres", place], check=True)
    app.sql(f"CREATE TABLESPACE away LOCATION '{place}'")
    refused(context, app.line(), ["tablespace away", "no volume of the group"], "a tablespace elsewhere")
    hook = Hook(context, app.line(outside=True))
    context.check(hook.frozen()["facts"]["files"].startswith("not checked") and hook.release()["proved"],
                  "outside = true is told")
    app.sql("DROP TABLESPACE away")
    app.stop("fast")
    wal = context.path("wal")
    subprocess.run(["mv", app.data + "/pg_wal", wal], check=True)
    os.symlink(wal, app.data + "/pg_wal")
    app.start()
    refused(context, app.line(), ["the WAL", "no volume of the group"], "a WAL elsewhere")


def kept_waiting(context):
    """Nobody reads what the hook says, and the hook does not wait for that."""
    app = Script(context)
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 65536)
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    process = subprocess.Popen([harness.find("farshore-hook")], stdin=subprocess.PIPE, stdout=write)
    process.stdin.write(json.dumps(app.line()).encode() + b"\n")
    process.stdin.flush()
    context.check(process.wait(20) == 3 and app.works(), "a full pipe: released at once")
    os.close(read)
    os.close(write)


PARTS = {"script": fault_script, "guest": fault_guest, "sqlite": fault_sqlite, "filesystem": fault_filesystem,
         "redis": fault_redis, "postgresql": fault_postgresql, "mariadb": fault_mariadb, "pipe": kept_waiting,
         "anywhen": fault_anywhen}


def test(context):
    need_servers()
    harness.run_parts(context, PARTS)


if __name__ == "__main__":
    raise SystemExit(harness.main(test, __doc__, programs=["farshore-hook"]))
