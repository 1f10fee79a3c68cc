"""What the recording of every program shares: volumes served by record_nbd with ext4 on them, the
moment at which recording begins, and the trace's directory.
"""

import datetime
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
for _folder in ("tests/e2e", "bench/wan"):
    sys.path.insert(0, os.path.join(ROOT, _folder))
import harness  # noqa: E402
import mounts  # noqa: E402
from recorded import copy_sparse  # noqa: E402


class Recording:
    """One program's run. `volumes`: name -> bytes. An ext4 is made on each at once (unless `bare`);
    begin() copies the images and starts the recording, finish() completes the trace."""

    def __init__(self, context, path, volumes, bare=False):
        self.context, self.path, self.sizes = context, path, volumes
        self.outcome = {}
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        words = [harness.find("record_nbd"), os.path.join(path, "events"),
                 "unix:" + context.path("record.sock")]
        for name, size in volumes.items():
            harness.make_image(self.live(name), size)
            words.append(f"{name}={self.live(name)}")
        self.server = harness.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        context.on_exit(self._stop)
        self._expect("ready")
        self.mounts = {}
        for name in volumes if not bare else ():
            self.mounts[name] = mounts.Mount(context, name, uri=self.uri(name)).make()
        self.began = None

    def live(self, volume):
        return self.context.path(volume + ".img")

    def uri(self, volume):
        return f"nbd+unix:///{volume}?socket={self.context.path('record.sock')}"

    def point(self, volume):
        """Where the volume is mounted."""
        return self.mounts[volume].point

    def _expect(self, word):
        line = self.server.stdout.readline().strip()
        if not line.startswith(word):
            raise harness.Failed(f"record_nbd answered '{line}', not '{word}'")
        return line

    def _tell(self, command, answer):
        self.server.stdin.write(command + "\n")
        self.server.stdin.flush()
        return self._expect(answer)

    def sync(self):
        for mount in self.mounts.values():
            subprocess.run(["sync", "-f", mount.point], check=True)

    def _copy_images(self, when):
        for name in self.sizes:
            copy_sparse(self.live(name), os.path.join(self.path, f"{when}-{name}.img"))

    def begin(self):
        """Everything after this is recorded; writers wait while the images are copied."""
        self.sync()
        self._tell("hold", "held")
        self._copy_images("before")
        self._tell("record", "recording")
        self._tell("release", "released")
        self.began = time.monotonic()

    def end(self):
        """Nothing after this is recorded."""
        self.sync()
        self._tell("hold", "held")
        seconds = time.monotonic() - self.began
        _, events, written = self._tell("end", "ended").split()
        self._copy_images("after")
        self._tell("release", "released")
        self.outcome.update(seconds=round(seconds, 1), events=int(events), bytes_written=int(written))

    def finish(self, program, parameters, versions):
        """Unmounts, and makes the trace complete by its meta.json."""
        for mount in self.mounts.values():
            mount.unmount()
        self._stop()
        document = {"program": program, "parameters": parameters, "versions": versions,
                    "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                    "volumes": [{"name": n, "size": s} for n, s in self.sizes.items()], **self.outcome}
        with open(os.path.join(self.path, "meta.json"), "w", encoding="ascii") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        return document

    def _stop(self):
        if self.server:
            self.server.stdin.close()
            self.server.wait(30)
            self.server.stdout.close()
            self.server = None


def run(words, **options):
    """A step of a program; its output appears only when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise harness.Failed(f"{' '.join(words[:6])} ...: exit {done.returncode}: "
                             f"{(done.stderr.strip() or done.stdout.strip())[-2000:]}")
    return done.stdout


def version_of(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0]
