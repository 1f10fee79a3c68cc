#!/usr/bin/env python3
"""README.md's "A first set-up with two hosts", done as it stands there.

`cmake --install` into an empty tree; two network namespaces as the hosts, each with its own /srv,
/run, /var/lib and /etc/hosts, so that the TOML blocks and the `farshore` commands of README.md are
used word for word. The daemons are started as their systemd units say: ExecStart, NOTIFY_SOCKET,
capabilities, umask, directories, and a file system that is read-only but for what the units name.

    sudo tests/e2e/first_setup.py [--keep]
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time

import harness
import wan as wide

README = os.path.join(harness.ROOT, "README.md")
DR_NAME = "dr.example.net"
VOLUME_BYTES = 64 << 20
STOP_SECONDS = 10  # what interface and units promise


def readme_section():
    with open(README, encoding="utf-8") as file:
        text = file.read()
    return re.search(r"^## A first set-up with two hosts\n(.*?)^## ", text, re.M | re.S).group(1)


def blocks(section, language):
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


def farshore_commands(section):
    """Every line of the shell blocks that runs `farshore`, without its remark."""
    lines = "".join(blocks(section, "sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("farshore ")]


class Unit:
    """What a systemd unit says, key by key (the last value of a key counts)."""

    def __init__(self, path):
        self.path = path
        with open(path, encoding="utf-8") as file:
            pairs = [line.split("=", 1) for line in file.read().splitlines()
                     if "=" in line and not line.startswith("#")]
        self.values = dict(pairs)

    def __getitem__(self, key):
        return self.values[key]


class Host:
    """A network namespace with directories of its own, bound to their usual places."""

    PLACES = ("srv", "run", "var/lib", "etc/farshore", "root")

    def __init__(self, context, name, netns, installed, peer_address):
        self.context, self.name, self.netns, self.installed = context, name, netns, installed
        self.remarks = ""
        for place in self.PLACES:
            os.makedirs(self.path(place))
        harness.write_text(self.path("etc/hosts"), f"127.0.0.1 localhost\n{peer_address} {DR_NAME}\n")

    def path(self, place):
        return self.context.path(self.name, place.lstrip("/"))

    def words(self, words, setup=""):
        # README's commands name files in the operator's own directory: never in the machine's.
        script = "set -e; for d in srv run var/lib root etc/hosts; do mount --bind $0/$d /$d; done; cd /root; "
        path = f"PATH={self.installed}/usr/bin:{os.environ['PATH']}"
        return ["ip", "netns", "exec", self.netns, "env", path,
                "sh", "-c", script + setup + ' exec "$@"', self.path("")[:-1], *words]

    def run(self, *words, code=0, given=""):
        done = subprocess.run(self.words(words), input=given, capture_output=True, text=True, timeout=60, check=False)
        self.remarks = done.stderr
        shown = " ".join(words)
        print(f"[{self.name}]# {shown if len(shown) < 110 else shown[:107] + '...'}", flush=True)
        for line in (done.stderr + done.stdout).splitlines():
            print("        " + line, flush=True)
        if done.returncode != code:
            raise harness.Failed(f"{shown}: exit {done.returncode}, expected {code}")
        return done.stdout


class UnitDaemon(harness.Daemon):
    """A daemon started as its unit says, as far as that can be done without systemd."""

    def __init__(self, context, role, host, unit):
        super().__init__(context, role, host.path(f"etc/farshore/{role}.toml"), "", name=role)
        self.host, self.unit = host, unit
        for place, key in (("var/lib/", "StateDirectory"), ("run/", "RuntimeDirectory")):
            path = host.path(place + unit[key])
            os.mkdir(path)
            os.chmod(path, int(unit[key + "Mode"], 8))

    def words(self):
        program, option, config = shlex.split(self.unit["ExecStart"])
        assert option == "--config", self.unit["ExecStart"]
        state, runtime = self.unit["StateDirectory"], self.unit["RuntimeDirectory"]
        writable = [f"/var/lib/{state}", f"/run/{runtime}"]
        writable += [p.lstrip("-") for p in self.unit["ReadWritePaths"].split()]
        assert self.unit["ProtectSystem"] == "strict"
        setup = "".join(f"mount --bind {p} {p}; " for p in writable)
        setup += "for d in / /var/lib /run; do mount -o remount,bind,ro $d; done; "
        setup += f"umask {self.unit['UMask']}; "
        setup += f"ulimit -n {self.unit['LimitNOFILE']} 2>&- || true; "  # containers may forbid to raise it
        capabilities = [c.lower().replace("cap_", "+") for c in self.unit["CapabilityBoundingSet"].split()]
        return self.host.words(["setpriv", "--bounding-set=-all," + ",".join(capabilities),
                                "--inh-caps=-all", "--no-new-privs", self.host.installed + program,
                                option, self.host.path(config)], setup)


def install(context):
    """`cmake --install`, as README says, into an empty tree."""
    build = os.path.dirname(os.path.dirname(harness.find("farshore")))
    if not os.path.exists(os.path.join(build, "CMakeCache.txt")):
        raise harness.Skip(f"{build} is no build directory to install from")
    for name in ("farshore-throttle", "farshore-wan"):
        harness.find(name)
    root = context.path("installed")
    done = subprocess.run(["cmake", "--install", build, "--prefix", "/usr"], capture_output=True, text=True,
                          env=dict(os.environ, DESTDIR=root), check=False)
    context.check(done.returncode == 0, f"cmake --install {done.stderr.strip()}")
    wanted = ["bin/farshore-throttle", "share/man/man1/farshore.1", "share/man/man5/farshore.toml.5",
              "share/doc/farshore/examples/sender.toml", "share/doc/farshore/examples/receiver.toml"]
    missing = [name for name in wanted if not os.path.exists(os.path.join(root, "usr", name))]
    context.check(not missing, f"programs, man pages and examples are where README says {missing}")
    return root


def load_units(context, installed):
    units = {}
    for role in ("sender", "receiver"):
        units[role] = unit = Unit(f"{installed}/usr/lib/systemd/system/farshore-{role}.service")
        bbr = "modprobe@tcp_bbr.service"
        context.check(bbr in unit["Wants"] and bbr in unit["After"], f"the {role}'s unit has BBR loaded")
        # Without it, ProtectClock of systemd before 252 forbids every block device.
        context.check("block-* rw" in unit.values.get("DeviceAllow", ""),
                      f"the {role}'s unit allows block devices")
    if not harness.shutil.which("systemd-analyze"):
        context.say("no systemd-analyze here: the units are not verified by it")
        return units
    for role, unit in units.items():
        with open(unit.path, encoding="utf-8") as file:
            text = file.read().replace("=/usr/bin/", f"={installed}/usr/bin/")
        copy = context.path(f"farshore-{role}.service")
        harness.write_text(copy, text)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True,
                              check=False)
        told = [line for line in (done.stdout + done.stderr).splitlines() if "farshore" in line]
        context.check(done.returncode == 0 and not told, f"systemd-analyze verify, {role} {told}")
    return units


def configure(context, section, primary, dr):
    os.makedirs(primary.path("srv/shop"))
    harness.make_image(primary.path("srv/shop/data.img"), VOLUME_BYTES, random_megabytes=8)
    for text in blocks(section, "toml"):
        role, host = ("receiver", dr) if "[receiver]" in text else ("sender", primary)
        path = host.path(f"etc/farshore/{role}.toml")
        harness.write_text(path, text)
        told = host.run("farshore", "config", "check", path)
        context.check(path in told, "config check names the file")


def pair(context, commands, primary, dr):
    invite = next(c for c in commands if "invite" in c)
    join = next(c for c in commands if "join" in c)
    told = primary.run("farshore", "status")
    context.check("unpaired" in told, "before join the sender is unpaired")
    dr.run("farshore", "points", "shop")
    context.check("no recovery point yet" in dr.remarks, "no points is said, not shown as nothing")
    token = dr.run(*invite)
    context.check(len(token.split()) == 1, "invite prints one line, the token")
    primary.run(*join, given=token)


def write_through_nbd(context, section, primary):
    options = re.search(r"driver=nbd,node-name=data,(\S+)", section).group(1)
    context.check("reconnect-delay=" in options and "file." + options.replace(",", ",file.") in section,
                  "README's clients wait for a restart of the sender, alone or behind qemu-nbd")
    primary.run("qemu-io", "--image-opts", "driver=nbd," + options, "-c", "write -P 0x5a 1M 3M",
                "-c", "write -P 0xa5 20M 64k", "-c", "flush")


def operate(context, commands, primary, dr):
    """The commands of README's last block, in its order."""
    answers = {}
    for words in commands:
        if "invite" in words or "join" in words:
            continue
        at_dr = "/run/farshore/receiver.sock" in words
        answers[next(w for w in words[1:] if w.isalpha())] = (dr if at_dr else primary).run(*words)
    context.check(set(answers) >= {"status", "wait", "verify", "points", "open", "check"}, "README runs every command")
    context.check("shop" in answers["status"], "status shows the group")
    context.check("equal" in answers["verify"], "verify finds both sides equal")
    point = answers["wait"].split()[0]
    context.check(point in answers["points"], f"points lists what wait printed ({point})")
    context.check(os.path.exists(dr.path("root/data.qcow2")), "the export is in the operator's own directory")
    return answers["open"]


def look(context, opened, primary, dr):
    uri = re.search(r"nbd\+unix:\S+", opened).group(0)
    dr.run("nbdcopy", uri, dr.path("copy.img"))
    same = harness.same_content(primary.path("srv/shop/data.img"), dr.path("copy.img")) is None
    context.check(same, "the opened point is what the primary has")
    same = harness.same_content(primary.path("srv/shop/data.img"), dr.path("srv/replica/shop/data.img"))
    context.check(same is None, "and so is the replica image")
    dr.run("farshore", "close", opened.split()[0])
    for host in (primary, dr):
        told = host.run("farshore", "check")
        context.check(told.startswith("FARSHORE OK"), f"check at the {host.name}")


def stop(context, daemon):
    began = time.monotonic()
    code = daemon.stop()
    seconds = time.monotonic() - began
    context.check(code == 0 and seconds < STOP_SECONDS,
                  f"SIGTERM ends the {daemon.role} with 0 within {STOP_SECONDS} s ({code}, {seconds:.1f} s)")
    context.check(" error" not in daemon.log_text(), f"no errors in the {daemon.role}'s log")


def restart(context, primary, sender, receiver):
    """In the reverse order of what README says, since hosts boot as they like."""
    sender.start()
    receiver.start()
    harness.retry(15, "streaming after a restart", lambda: json.loads(
        primary.run("farshore", "--json", "status"))["groups"][0]["state"] == "streaming", pause=0.5)
    stop(context, sender)
    stop(context, receiver)


def test(context):
    harness.need_root()
    harness.need("qemu-io", "nbdcopy", "setpriv", "cmake", "mount")
    reason = wide.why_not()
    if reason:
        raise harness.Skip(reason)
    installed = install(context)
    units = load_units(context, installed)
    line = wide.Wan(harness.find("farshore-wan"), delay=5)
    context.on_exit(line.close)
    line.__enter__()
    primary = Host(context, "primary", line.a, installed, line.address_b)
    dr = Host(context, "dr", line.b, installed, line.address_b)
    if subprocess.run(dr.words(["true"]), capture_output=True, check=False).returncode != 0:
        raise harness.Skip("directories can't be bound to other places here")
    section = readme_section()
    commands = farshore_commands(section)
    configure(context, section, primary, dr)
    receiver = UnitDaemon(context, "receiver", dr, units["receiver"])
    sender = UnitDaemon(context, "sender", primary, units["sender"])
    receiver.start()
    sender.start()
    context.check(True, "both daemons told NOTIFY_SOCKET that they are ready")
    pair(context, commands, primary, dr)
    write_through_nbd(context, section, primary)
    look(context, operate(context, commands, primary, dr), primary, dr)
    stop(context, sender)
    stop(context, receiver)
    restart(context, primary, sender, receiver)


if __name__ == "__main__":
    sys.exit(harness.main(test, __doc__))
