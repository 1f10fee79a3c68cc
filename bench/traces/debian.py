"""A Debian system that is installed and upgraded: debootstrap of the release as it was published, apt
installs packages, then the security and stable updates come in one upgrade. Mirrors and proxies are
those that this machine's apt uses.
"""

import os
import subprocess

import harness
import mounts
from recorder import run, version_of

GIB = 1 << 30
RELEASE = "bookworm"
PACKAGES = "python3,git,vim-nox,openssh-server,postgresql-client-15,build-essential"


def sources():
    """(mirror of the release, lines of its updates), as this machine's apt has them."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)",
                             "Created-By: Packages"], capture_output=True, text=True, check=False)
    mirrors = {}
    for line in listed.stdout.splitlines():
        uri, _, release = line.partition(" ")
        if release == RELEASE or release.startswith(RELEASE + "-"):
            mirrors.setdefault(release, uri)
    if RELEASE not in mirrors:
        raise harness.Skip(f"apt of this machine has no source for {RELEASE}")
    return mirrors.pop(RELEASE), [f"deb {uri} {name} main" for name, uri in sorted(mirrors.items())]


def proxies():
    """apt's proxy settings, as options for apt in the chroot."""
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    return [line for line in dumped.splitlines()
            if line.startswith(("Acquire::http::Proxy ", "Acquire::https::Proxy "))]


def need():
    mounts.need()
    harness.need("debootstrap", "apt-get", "chroot")
    sources()


class System:
    """A Debian below a directory."""

    def __init__(self, context, root):
        self.root = root
        self._mounted = False
        context.on_exit(self.leave)

    def bootstrap(self):
        run(["debootstrap", "--variant=minbase", RELEASE, self.root, sources()[0]])
        with open(os.path.join(self.root, "usr/sbin/policy-rc.d"), "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")  # nothing that is installed may start here
        os.chmod(os.path.join(self.root, "usr/sbin/policy-rc.d"), 0o755)
        with open(os.path.join(self.root, "etc/apt/apt.conf.d/90bench"), "w", encoding="ascii") as file:
            file.write("\n".join(proxies()) + "\n")

    def enter(self):
        subprocess.run(["mount", "-t", "proc", "proc", os.path.join(self.root, "proc")], check=True)
        self._mounted = True

    def leave(self):
        if self._mounted:
            subprocess.run(["umount", os.path.join(self.root, "proc")], check=False)
            self._mounted = False

    def apt(self, *words):
        run(["chroot", self.root, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
             "apt-get", "-q", "-y", "-o", "Dpkg::Options::=--force-confold", *words])

    def install(self, packages):
        self.apt("install", "--no-install-recommends", *packages)

    def upgrade(self):
        with open(os.path.join(self.root, "etc/apt/sources.list.d/updates.list"), "w", encoding="ascii") as file:
            file.write("\n".join(sources()[1]) + "\n")
        self.apt("update")
        self.apt("upgrade")


class Debian:
    """The trace: bootstrap (unless --installed: then it is there before), install, upgrade."""

    def __init__(self, options):
        self.options = options
        self.system = None

    def need(self):
        need()

    def volumes(self):
        return {"root": 4 * GIB}

    def setup(self, recording):
        self.system = System(recording.context, recording.point("root"))
        if self.options.installed:
            self.system.bootstrap()

    def work(self, recording):
        if not self.options.installed:
            self.system.bootstrap()
        self.system.enter()
        self.system.apt("update")
        self.system.install(self.options.packages.split(","))
        self.system.upgrade()
        self.system.leave()

    def close(self):
        pass

    def parameters(self):
        return {"release": RELEASE, "packages": self.options.packages,
                "installed_before": self.options.installed, "seed": self.options.seed}

    def versions(self):
        with open(os.path.join(self.system.root, "etc/debian_version"), encoding="ascii") as file:
            return {"debian": file.read().strip(), "debootstrap": version_of("debootstrap", "--version")}
