#!/bin/bash
# A rehearsal of MariaDB: the server is started on the mounted copy, lets InnoDB's recovery finish, mariadb-check reads
# every table, and then your queries run. Passed: all of it went well.
#
#   farshore test GROUP --mount --isolate --run mariadb.sh --arg=data/mysql [--arg=OPTION ...]
#
#   VOLUME/DIR           the data directory, below the volume's file system; VOLUME alone: its top
#   --query SQL          must succeed, and what it prints is kept with the result; may be given again
#   --set NAME=VALUE     a setting that this server needs (innodb_page_size=8k); may be given again
#
# Needs root and --mount. The server reaches no network, knows no passwords here, starts no events and no replication,
# and takes none of the primary's settings.
set -euo pipefail

fail() {
    echo "mariadb: $*" >&2
    exit 1
}

data=''
queries=() settings=()
while [ $# -gt 0 ]; do
    case "$1" in
    --query) queries+=("$2") && shift ;;
    --set) settings+=("--$2") && shift ;;
    -*) fail "unknown option $1" ;;
    *) data=$1 ;;
    esac
    shift
done
[ -n "$data" ] || fail "which data directory? Give VOLUME/DIR as the first argument"
[ -n "${FARSHORE_MOUNT:-}" ] || fail "the copy is not mounted: farshore test needs --mount"
[ "$(id -u)" = 0 ] || fail "needs root: the server runs as the owner of its files"
data=$FARSHORE_MOUNT/$data
[ -e "$data/ibdata1" ] || fail "$data is no data directory of MariaDB: ibdata1 is not there"
PATH=$PATH:/usr/sbin:/sbin
for program in mariadbd mariadb mariadb-check mariadb-admin; do
    command -v "$program" >/dev/null || fail "$program is not installed here"
done
uid=$(stat -c %u "$data")
gid=$(stat -c %g "$data")
[ "$uid" != 0 ] || fail "$data belongs to root, whom MariaDB refuses to run as"
chown "$uid:$gid" "$FARSHORE_DIR"
cd "$FARSHORE_DIR"
socket=$FARSHORE_DIR/server.sock

setpriv --reuid "$uid" --regid "$gid" --clear-groups mariadbd --no-defaults --datadir="$data" \
    --socket="$socket" --pid-file="$FARSHORE_DIR/server.pid" --tmpdir="$FARSHORE_DIR" --skip-networking \
    --skip-grant-tables --skip-slave-start --event-scheduler=DISABLED --skip-log-bin \
    ${settings[@]+"${settings[@]}"} >server.log 2>&1 &
server=$!
client() { # --no-defaults has to be the first option
    local program=$1
    shift
    "$program" --no-defaults --socket="$socket" "$@"
}
until client mariadb-admin ping >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || {
        tail -n 15 server.log >&2
        fail "the server does not start"
    }
    sleep 0.2
done
grep -iE 'crash recovery|Starting final batch|Recovered' server.log | tail -n 5 || true
if ! client mariadb-check --all-databases --check --silent >check.log 2>&1 ||
    [ -s check.log ]; then
    tail -n 15 check.log >&2
    fail "mariadb-check found damage"
fi
echo "mariadb-check: clean"
for query in ${queries[@]+"${queries[@]}"}; do
    echo "$query"
    client mariadb -N -B -e "$query" || fail "the query failed: $query"
done
client mariadb-admin shutdown || fail "the server does not stop"
wait "$server" || fail "the server ended with $?"
echo "MariaDB: started, checked, stopped"
