#!/bin/bash
# A rehearsal of PostgreSQL: the server is started on the mounted copy, lets its own recovery finish, pg_amcheck reads
# every table and index, and then your queries run. Passed: all of it went well.
#
#   farshore test GROUP --mount --isolate --run postgresql.sh --arg=data/15/main [--arg=OPTION ...]
#
#   VOLUME/DIR           the data directory, below the volume's file system; VOLUME alone: its top
#   --wal VOLUME/DIR     where pg_wal is, if it is a link to another volume
#   --query SQL          must succeed, and what it prints is kept with the result; may be given again. A query that
#                        must find something fails by itself: SELECT 1/count(*) FROM orders
#   --database NAME      where queries run (default: postgres)
#   --set NAME=VALUE     a setting that this cluster needs (shared_preload_libraries=...); may be given again
#   --bin DIR            PostgreSQL's programs (default: by PG_VERSION, /usr/lib/postgresql/VERSION/bin)
#   --no-amcheck         leave pg_amcheck out
#
# Needs root and --mount. The server reaches no network, archives nothing, and takes none of the primary's settings.
# Tablespaces outside the data directory are not found on the copy: the server would not see them.
set -euo pipefail

fail() {
    echo "postgresql: $*" >&2
    exit 1
}

data='' wal='' bin='' database=postgres amcheck=yes
queries=() settings=()
while [ $# -gt 0 ]; do
    case "$1" in
    --wal) wal=$2 && shift ;;
    --query) queries+=("$2") && shift ;;
    --database) database=$2 && shift ;;
    --set) settings+=("$2") && shift ;;
    --bin) bin=$2 && shift ;;
    --no-amcheck) amcheck=no ;;
    -*) fail "unknown option $1" ;;
    *) data=$1 ;;
    esac
    shift
done
[ -n "$data" ] || fail "which data directory? Give VOLUME/DIR as the first argument"
[ -n "${FARSHORE_MOUNT:-}" ] || fail "the copy is not mounted: farshore test needs --mount"
[ "$(id -u)" = 0 ] || fail "needs root: the server runs as the owner of its files"
data=$FARSHORE_MOUNT/$data
[ -r "$data/PG_VERSION" ] || fail "$data is no data directory of PostgreSQL: PG_VERSION is not there"
version=$(cat "$data/PG_VERSION")
bin=${bin:-/usr/lib/postgresql/$version/bin}
[ -x "$bin/postgres" ] || fail "PostgreSQL $version is not installed here ($bin)"
uid=$(stat -c %u "$data")
gid=$(stat -c %g "$data")
[ "$uid" != 0 ] || fail "$data belongs to root, whom PostgreSQL refuses to run as"
owner() { setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"; }
chown "$uid:$gid" "$FARSHORE_DIR"
cd "$FARSHORE_DIR"

if [ -n "$wal" ]; then
    [ -d "$FARSHORE_MOUNT/$wal" ] || fail "--wal: $FARSHORE_MOUNT/$wal is no directory"
    [ -L "$data/pg_wal" ] || fail "--wal: $data/pg_wal is no link"
    ln -sfn "$FARSHORE_MOUNT/$wal" "$data/pg_wal"
fi
[ -d "$data/pg_wal" ] || fail "$data/pg_wal leads nowhere: name its volume with --wal VOLUME/DIR"
rm -f "$data/postmaster.pid" # of the primary's server
for tablespace in "$data"/pg_tblspc/*; do
    [ ! -L "$tablespace" ] || [ -d "$tablespace/" ] ||
        fail "a tablespace lies outside the copy: $(readlink "$tablespace")"
done

{
    echo "listen_addresses = ''"
    echo "unix_socket_directories = '$FARSHORE_DIR'"
    echo "archive_mode = off"
    echo "recovery_init_sync_method = syncfs"
    for setting in ${settings[@]+"${settings[@]}"}; do
        echo "${setting%%=*} = '${setting#*=}'"
    done
} >server.conf
echo "local all all trust" >hba.conf
: >ident.conf
chown "$uid:$gid" ./*.conf

cleanup() {
    owner "$bin/pg_ctl" -D "$data" -m immediate -s stop >/dev/null 2>&1 || true
}
trap cleanup EXIT
export PGHOST=$FARSHORE_DIR PGUSER=${PGUSER:-postgres} PGDATABASE=$database PGCONNECT_TIMEOUT=10
files="-c config_file=$FARSHORE_DIR/server.conf -c hba_file=$FARSHORE_DIR/hba.conf"
if ! owner "$bin/pg_ctl" -D "$data" -w -t 3600 -s -l server.log start -o \
    "$files -c ident_file=$FARSHORE_DIR/ident.conf"; then
    tail -n 15 server.log >&2 || true
    fail "the server does not start"
fi
grep -E 'redo (starts|done)|not properly shut down|consistent recovery' server.log || true
if [ "$amcheck" = yes ]; then
    owner "$bin/pg_amcheck" --all --install-missing --jobs=2 >amcheck.log 2>&1 || {
        tail -n 15 amcheck.log >&2
        fail "pg_amcheck found damage"
    }
    echo "pg_amcheck: clean"
fi
for query in ${queries[@]+"${queries[@]}"}; do
    echo "$query"
    owner "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -c "$query" || fail "the query failed: $query"
done
owner "$bin/pg_ctl" -D "$data" -w -t 600 -s -m fast stop || fail "the server does not stop"
trap - EXIT
echo "PostgreSQL $version: started, checked, stopped"
