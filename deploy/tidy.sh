#!/bin/bash
# clang-tidy over the product's sources. A finding is an error; a NOLINT names the check and the reason.
#
#   deploy/tidy.sh --all              the cheap checks, over all sources of the product: coroutines' captures
#                                     and parameters, use after move, slips of the pen, performance
#   deploy/tidy.sh --changed BASE     all checks of .clang-tidy, over what was changed since the commit BASE
#
# Needs a build with its compile commands and precompiled headers, which it makes first: build/release, or
# FARSHORE_BUILD. About 4 s of CPU a file for the cheap checks.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
build=${FARSHORE_BUILD:-build/release}
tool=clang-tidy-19

cheap="-*
    cppcoreguidelines-avoid-capturing-lambda-coroutines
    cppcoreguidelines-slicing
    cppcoreguidelines-virtual-class-destructor
    misc-coroutine-hostile-raii
    bugprone-use-after-move
    bugprone-suspicious-*
    bugprone-dangling-handle
    bugprone-infinite-loop
    bugprone-sizeof-*
    bugprone-string-*
    performance-*
    -performance-enum-size
    modernize-use-override
    modernize-use-nullptr"

if ! command -v "$tool" >/dev/null; then
    echo "tidy: $tool is missing: \`apt-get install $tool\`, or \`deploy/deps.sh test\`" >&2
    exit 2
fi

checks=()
case "${1:-}" in
--all)
    files=$(git ls-files 'replicator/*.cpp' 'dedupe/*.cpp' 'transport/*.cpp')
    checks=("--checks=$(echo "$cheap" | tr -s ' \n' ',')")
    ;;
--changed)
    [ $# = 2 ] || { echo "tidy: --changed needs a commit" >&2 && exit 2; }
    files=$(git diff --name-only --diff-filter=d "$2" -- 'replicator/*.cpp' 'dedupe/*.cpp' 'transport/*.cpp')
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
if [ -z "$files" ]; then
    echo "tidy: no sources to look at"
    exit 0
fi

[ -f "$build/build.ninja" ] || cmake --preset release >/dev/null
# A precompiled header that is older than what it was made of is refused by the compiler.
# shellcheck disable=SC2046  # names without blanks
ninja -C "$build" $(ninja -C "$build" -t targets all | sed -n 's/^\(CMakeFiles\/.*\.pch\):.*/\1/p') >/dev/null

echo "$files" | xargs -P "$(nproc)" -n 1 \
    "$tool" -p "$build" --quiet --warnings-as-errors='*' "${checks[@]}" 2> >(grep -vE '^[0-9]+ warnings? generated|^Suppressed|^Use -header-filter' >&2)
echo "tidy: no findings in $(echo "$files" | wc -l) file(s)"
