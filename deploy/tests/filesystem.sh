#!/bin/bash
# A rehearsal of file systems: each volume of the copy, or those that are named, is checked by its own checker, after
# its journal was replayed as at a mount; and the files of a list must be there with their sums. Passed: nothing is
# wrong.
#
#   farshore test GROUP --isolate --run filesystem.sh [--arg=VOLUME ...] [--arg=--sums --arg=VOLUME:FILE]
#
#   VOLUME               check this one (default: all)
#   --sums VOLUME:FILE   FILE, here at the DR site, is as sha256sum prints it, its names below the top of VOLUME; may be
#                        given again
#
# Needs root, nbdfuse (libnbd-bin) and the checkers of the file systems. ext2, ext3, ext4 and XFS have their journal
# replayed first; others are checked as they are (fsck -n).
set -euo pipefail

fail() {
    echo "filesystem: $*" >&2
    exit 1
}

volumes=() sums=()
while [ $# -gt 0 ]; do
    case "$1" in
    --sums) sums+=("$2") && shift ;;
    -*) fail "unknown option $1" ;;
    *) volumes+=("$1") ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || fail "needs root"
[ -z "${FARSHORE_MOUNT:-}" ] || fail "leave --mount out: a file system that is mounted can't be checked"
command -v nbdfuse >/dev/null || fail "nbdfuse is not installed here (libnbd-bin)"
if [ ${#volumes[@]} = 0 ]; then
    read -ra volumes <<<"$FARSHORE_VOLUMES"
fi

uri_of() {
    local name=${1^^}
    name=FARSHORE_URI_${name//[^A-Z0-9]/_}
    [ -n "${!name:-}" ] || fail "there is no volume $1; there are $FARSHORE_VOLUMES"
    echo "${!name}"
}

undo=()
cleanup() {
    local i
    for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
        eval "${undo[i]}" || true
    done
    undo=()
}
trap cleanup EXIT

# Sets `file` to a path at which the volume can be read and written.
show() {
    local at=$FARSHORE_DIR/show-$1
    file=$at/nbd
    [ ! -e "$file" ] || return 0
    mkdir "$at"
    nbdfuse "$at" "$(uri_of "$1")" &
    undo+=("umount '$at'")
    local n=0
    until [ -e "$file" ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || fail "volume $1 is not shown by nbdfuse"
        sleep 0.1
    done
}

check_xfs() {
    # A mount is what replays its log.
    mkdir -p "$FARSHORE_DIR/replay"
    mount -t xfs -o nouuid,loop "$1" "$FARSHORE_DIR/replay" && umount "$FARSHORE_DIR/replay"
    xfs_repair -n "$1"
}

checked=0
for volume in "${volumes[@]}"; do
    show "$volume"
    type=$(blkid -p -o value -s TYPE "$file" || true)
    if [ "$(blkid -p -o value -s USAGE "$file" || true)" != filesystem ]; then
        echo "$volume: no file system (${type:-nothing known})"
        continue
    fi
    case "$type" in
    ext2 | ext3 | ext4)
        # 1: the journal was replayed.
        e2fsck -E journal_only -y "$file" >"$FARSHORE_DIR/log" 2>&1 || [ $? = 1 ] || {
            tail -n 10 "$FARSHORE_DIR/log" >&2
            fail "$volume ($type): its journal can't be replayed"
        }
        check=(e2fsck -n -f "$file")
        ;;
    xfs) check=(check_xfs "$file") ;;
    *) check=(fsck -t "$type" "$file" -- -n) ;;
    esac
    if ! "${check[@]}" >"$FARSHORE_DIR/log" 2>&1; then
        tail -n 15 "$FARSHORE_DIR/log" >&2
        fail "$volume ($type): the checker found damage"
    fi
    echo "$volume ($type): clean"
    checked=$((checked + 1))
done
[ $checked -gt 0 ] || fail "none of the volumes has a file system that is known here"

for entry in ${sums[@]+"${sums[@]}"}; do
    volume=${entry%%:*} list=${entry#*:}
    [ "$volume" != "$entry" ] || fail "--sums is VOLUME:FILE"
    [ -r "$list" ] || fail "--sums: $list can't be read"
    show "$volume"
    mkdir "$FARSHORE_DIR/files"
    mount -o ro,loop "$file" "$FARSHORE_DIR/files"
    undo+=("umount '$FARSHORE_DIR/files'")
    (cd "$FARSHORE_DIR/files" && sha256sum --check --quiet --strict -) <"$list" ||
        fail "$volume: files are not as $list says"
    echo "$volume: $(wc -l <"$list") files as listed"
    cleanup
    rmdir "$FARSHORE_DIR/files" "$FARSHORE_DIR/show-$volume"
done
