#!/bin/sh
# Farshore in one command: installs the Debian packages it needs, builds the programs in release mode
# (build/release) and runs `farshore demo`; options are passed on, see `farshore demo --help`. Works
# from any directory, as root or with sudo, from a clean clone.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/deploy/deps.sh" build
echo "demo: builds the programs in $root/build/release"
(
    cd "$root"
    # A tree that test.sh configured keeps its tests.
    [ -f build/release/CMakeCache.txt ] || cmake --preset release -DBUILD_TESTING=OFF >/dev/null
    cmake --build build/release --target farshore farshore-sender farshore-receiver farshore-throttle
)
exec "$root/build/release/bin/farshore" demo "$@"
