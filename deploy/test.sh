#!/bin/bash
# All tests in one command: installs the Debian packages that are missing, builds in release mode and runs
# every CTest but the crash and property sweeps; then builds with ASan + UBSan and runs the unit, property,
# simulation, crash and fuzz smoke tests under them. A warning is an error. Works from any directory, as root
# or with sudo, from a clean clone.
# End-to-end tests that need root (network namespaces, loop devices) are skipped aloud without it.
#
#   deploy/test.sh [--quick]     --quick: the release part only, with the sweeps
#
# About an hour on 2 cores from nothing; far less with ccache. Logs: build/PRESET/ctest.log.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

quick=no
case "${1:-}" in
"") ;;
--quick) quick=yes ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

rm -f build/release/ctest.log build/asan/ctest.log
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
    cmake --preset "$1" -DBUILD_TESTING=ON -DFARSHORE_WERROR=ON >/dev/null && cmake --build "build/$1" --target "$2"
}

# run PRESET [ctest options]
run() {
    local preset=$1
    shift
    ctest --test-dir "build/$preset" --output-on-failure --timeout 900 -j "$(nproc)" "$@" |
        tee "build/$preset/ctest.log"
}

# part PRESET TARGET [ctest options]
part() {
    local preset=$1 target=$2
    shift 2
    stage "$preset: build" build "$preset" "$target" && stage "$preset: tests" run "$preset" "$@"
}

stage "packages" sh -c './deploy/deps.sh build && ./deploy/deps.sh test' || true
if [ "$failed" = 0 ]; then
    if [ "$quick" = yes ]; then
        part release all || true
    else
        part release all -LE '^(crash|property)$' || true
        export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
        part asan tests_alone -L '^(unit|property|sim|crash|golden|fuzz)$' || true
    fi
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
