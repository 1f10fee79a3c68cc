#!/bin/bash
# All tests in one command: installs the Debian packages that are missing; builds the programs in release mode and
# runs the simulation, the crash and property sweeps, the lints and every end-to-end test; builds with ASan + UBSan
# and runs the unit and fuzz smoke tests under them, and the sweeps in part. A warning is an error. Works from any
# directory, as root or with sudo, from a clean clone. End-to-end tests that need root (network namespaces, loop
# devices) are skipped aloud without it. The unit tests without sanitizers: `ctest --preset release`.
#
#   deploy/test.sh [--quick]     --quick: the release part only
#
# Logs: build/PRESET/ctest.log, build/asan/build.log. The end-to-end tests leave a core idle most of the
# time: the sanitizers' build takes what they leave.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

quick=no
case "${1:-}" in
"") ;;
--quick) quick=yes ;;
*)
    sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

rm -f build/release/ctest.log build/asan/ctest.log
beside=""
trap '[ -z "$beside" ] || kill -- "-$beside" 2>/dev/null || true' EXIT
summary=()
failed=0

# stage NAME COMMAND...: runs it, keeps its time and outcome.
stage() {
    local name=$1 begun=$SECONDS outcome=passed
    shift
    echo "==== $name"
    "$@" || outcome=FAILED
    [ "$outcome" = passed ] || failed=1
    summary+=("$(printf '%-34s %-7s %4d s' "$name" "$outcome" $((SECONDS - begun)))")
    [ "$outcome" = passed ]
}

build() {
    local quick_sanitizers=OFF
    [ "$1" = release ] || quick_sanitizers=ON # the release build has the sweeps whole
    cmake --preset "$1" -DBUILD_TESTING=ON -DFARSHORE_WERROR=ON -DFARSHORE_SANITIZE_QUICK=$quick_sanitizers >/dev/null &&
        cmake --build "build/$1" --target "$2"
}

# run PRESET [ctest options]
run() {
    local preset=$1
    shift
    ctest --test-dir "build/$preset" --output-on-failure --timeout 900 -j "$(nproc)" "$@" |
        tee -a "build/$preset/ctest.log"
}

# begin_beside COMMAND...: in a process group of its own, and only while nothing else wants a core.
begin_beside() {
    mkdir -p build/asan
    export -f build
    setsid chrt --idle 0 bash -c 'set -euo pipefail; "$@"' _ "$@" >build/asan/build.log 2>&1 &
    beside=$!
}

# end_beside: what it was at is begun anew by who goes on, at the usual priority.
end_beside() {
    kill -- "-$beside" 2>/dev/null || true
    wait "$beside" || true
    beside=""
}

release_part() {
    stage "release: build" build release tests_of_release || return
    stage "release: tests" run release -L '^(property|sim|crash|golden|lint)$' || true
    # How fast the line of the tests can be is measured alone.
    stage "release: speed of the line" run release -R '^e2e_wan_selftest$' || true
    [ "$quick" = yes ] || begin_beside build asan tests_alone
    stage "release: end-to-end tests" run release -L '^e2e$' -E '^e2e_wan_selftest$' || true
}

asan_part() {
    export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
    end_beside
    stage "asan: build, the rest" build asan tests_alone || return
    stage "asan: tests" run asan -L '^(unit|property|sim|crash|golden|fuzz)$'
}

stage "packages" sh -c './deploy/deps.sh build && ./deploy/deps.sh test' || true
if [ "$failed" = 0 ]; then
    release_part || true
    [ -z "$beside" ] || asan_part || true
fi

echo
echo "==== summary"
printf '%s\n' "${summary[@]}"
for preset in release asan; do
    log=build/$preset/ctest.log
    [ -f "$log" ] || continue
    grep -E '^[0-9]+% tests passed|Total Test time' "$log" | sed "s/^/$preset: /"
    grep -E '\((Skipped|Failed|Timeout|SEGFAULT|Not Run)\)$|\*\*\*Skipped' "$log" |
        grep -E '^[[:space:]]*[0-9]+ - ' | sort -u | sed "s/^[[:space:]]*/$preset: /" || true
done
if [ "$failed" != 0 ]; then
    echo "FAILED"
    exit 1
fi
echo "all passed"
