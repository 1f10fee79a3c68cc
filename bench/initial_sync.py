#!/usr/bin/env python3
"""Bytes on the line for the initial sync of a volume that resembles one which the DR site has already.

    sudo bench/initial_sync.py [--mode groups|one-group] [--images DIR]

Two systems of the same Debian release are made by debootstrap in two ext4 images; their package lists
differ such that about a quarter of the second's data isn't in the first. Then, over loopback and TLS
through a relay that counts:

  groups     the first is a group of its own and streaming; the second is added as another group
  one-group  both are volumes of one group; the DR site has a copy of the first when it starts

--images keeps the two images in DIR and uses them again. The result goes to
bench/results/initial-sync-MODE.json.
"""

import argparse
import hashlib
import mmap
import os
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
for folder in ("../tests/e2e", "wan", "traces", "micro"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import debian  # noqa: E402
import figures  # noqa: E402
import harness  # noqa: E402
import mounts  # noqa: E402
import peers  # noqa: E402
import recorded  # noqa: E402

GIB = 1 << 30
COMMON = "python3,git,openssh-server,vim-nox,ca-certificates"
FIRST = "nginx-light,php-cli"
SECOND = "postgresql-client-15,redis-server,cpp,binutils"
NONZERO_BAR, FRAMES_BAR = 0.12, 0.33


def make_system(context, name, path, size, packages):
    """An ext4 image with Debian and the packages."""
    print(f"   making {name}: {','.join(packages)}", flush=True)
    harness.make_image(path, size)
    mount = mounts.Mount(context, "make-" + name, image=path).make()
    system = debian.System(context, mount.point)
    system.bootstrap()
    system.enter()
    system.apt("update")
    system.install(packages)
    system.apt("clean")
    system.leave()
    mount.unmount()


def images(options, context):
    """The two images' paths; made when they aren't there."""
    place = options.images or context.path("images")
    os.makedirs(place, exist_ok=True)
    paths = {}
    for name, own in (("first", options.first), ("second", options.second)):
        paths[name] = os.path.join(place, name + ".img")
        if not os.path.exists(paths[name]):
            part = paths[name] + ".part"
            make_system(context, name, part, options.gigabytes * GIB, (options.common + "," + own).split(","))
            os.rename(part, paths[name])
    return paths


def blocks_of(path):
    """Every block of an image that isn't zero."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        for at in range(0, len(image), recorded.BLOCK):
            block = image[at:at + recorded.BLOCK]
            if block != recorded.ZERO_BLOCK:
                yield block


def describe(context, paths):
    """Non-zero bytes of the second image, the part that the first has too, zstd of it all."""
    known = {hashlib.blake2b(block, digest_size=16).digest() for block in blocks_of(paths["first"])}
    plain = context.path("second-blocks")
    count = fresh = 0
    with open(plain, "wb", buffering=1 << 22) as out:
        for block in blocks_of(paths["second"]):
            out.write(block)
            count += 1
            fresh += hashlib.blake2b(block, digest_size=16).digest() not in known
    frames, _ = peers.zstd_frames(plain)
    os.unlink(plain)
    return {"nonzero_bytes": count * recorded.BLOCK, "fresh_share": fresh / max(count, 1),
            "zstd_frames_bytes": frames}


def sync_as_group(context, paths, settings):
    """Returns (line bytes, counters of the second group, paths of both sides' second image)."""
    os.makedirs(context.path("primary"))
    recorded.copy_sparse(paths["first"], context.path("primary", "first.img"))
    pair = harness.Pair(context, {"first": os.path.getsize(paths["first"])}, line="relay", **settings).start()
    pair.wait_state("streaming", timeout=1800)
    pair.wait(timeout=600)
    recorded.copy_sparse(paths["second"], pair.primary("second"))
    pair.add_group("clone", "second")
    pair.wait_state("streaming", timeout=60)
    pair.wait()
    carried = pair.relay.carried
    pair.group = "clone"
    pair.join()
    pair.wait_state("streaming", timeout=1800)
    pair.wait(timeout=600)
    return pair, pair.relay.carried - carried, context.path("replica-clone", "second.img")


def sync_in_group(context, paths, settings):
    """The same, with both volumes in one group."""
    for folder, names in (("primary", ("first", "second")), ("replica", ("first",))):
        os.makedirs(context.path(folder))
        for name in names:
            recorded.copy_sparse(paths[name], context.path(folder, name + ".img"))
    sizes = {name: os.path.getsize(path) for name, path in paths.items()}
    pair = harness.Pair(context, sizes, line="relay", **settings).start()
    pair.wait_state("streaming", timeout=1800)
    pair.wait(timeout=600)
    return pair, pair.relay.carried, pair.replica("second")


def measure(bench, options):
    context = bench.context
    mounts.need()
    paths = images(options, context)
    about = describe(context, paths)
    print(f"   second image: {about['nonzero_bytes'] / 1e6:.1f} MB not zero, {about['fresh_share'] * 100:.1f} % of "
          f"its blocks not in the first, zstd frames {about['zstd_frames_bytes'] / 1e6:.1f} MB", flush=True)
    run = sync_in_group if options.mode == "one-group" else sync_as_group
    pair, line, replica = run(context, paths, {"interval": "1s", "journal": "8GiB", "memory": options.memory})
    cpu = {d.role: d.cpu_seconds() for d in (pair.sender, pair.receiver)}
    context.check(harness.sha256_of(pair.primary("second")) == harness.sha256_of(replica),
                  "the second volume is the same at both sides")
    bench.details = {**about, "line_bytes": line, "counters": pair.status()["bytes"], "mode": options.mode,
                     "cpu_seconds": cpu, "packages": [options.common, options.first, options.second]}
    for what, base, bar in (("its non-zero bytes", about["nonzero_bytes"], NONZERO_BAR),
                            ("zstd-3 1 MB frames of them", about["zstd_frames_bytes"], FRAMES_BAR)):
        ratio = line / base
        bench.row(f"initial sync of a similar volume ({options.mode}), {line / 1e6:.1f} MB on the line, to {what}",
                  f"{ratio:.3f}x", f"<= {bar}x", ratio <= bar)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("groups", "one-group"), default="groups")
    parser.add_argument("--common", default=COMMON, help="packages of both, comma-separated")
    parser.add_argument("--first", default=FIRST, help="packages of the first only")
    parser.add_argument("--second", default=SECOND, help="packages of the second only")
    parser.add_argument("--gigabytes", type=int, default=2, help="size of each image")
    parser.add_argument("--images", help="folder of the images, kept")
    parser.add_argument("--memory", default="512MiB", help="the daemons' memory setting")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.long, options.scale = True, 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench = figures.Bench("initial-sync-" + options.mode, options)
    try:
        measure(bench, options)
        good = bench.finish(f"bench/initial_sync.py --mode {options.mode}") and not bench.context.failures
        return 0 if good else 1
    except harness.Skip as reason:
        print(f"SKIPPED: {reason}")
        return harness.SKIPPED
    except (harness.Failed, subprocess.SubprocessError, peers.Missing) as error:
        print(f"FAILED: {error}")
        bench.context.show_logs()
        return 1
    finally:
        bench.context.close()


if __name__ == "__main__":
    sys.exit(main())
