# untested: written from Oracle's documentation, never run against a server; try it before you rely on it.
#
# Oracle Database: hot backup mode, for a hook of type `script`. Runs by sh, as a user that may
# `sqlplus / as sysdba` (the group dba):
#
#   [[group.hook]]
#   name    = "oracle"
#   type    = "script"
#   run     = ["/bin/sh", "/usr/share/farshore/hooks/oracle-hot-backup.sh", "ORCL", "/opt/oracle/product/19c/dbhome_1"]
#   user    = "oracle"
#   timeout = "60s"
#
# Data files, control files, redo logs and the archive must all be on volumes of the group. farshore-hook adds the last
# argument: `freeze`, or `release` when it releases by force.
set -eu

ORACLE_SID=${1:?the SID}
ORACLE_HOME=${2:?ORACLE_HOME}
verb=${3:?freeze or release}
export ORACLE_SID ORACLE_HOME
PATH="$ORACLE_HOME/bin:$PATH"

sql() {
    sqlplus -S / as sysdba <<END
whenever sqlerror exit failure
set heading off feedback off pagesize 0
$1
exit
END
}

release() {
    # No file in backup mode is no failure: it is released.
    if [ "$(sql "select count(*) from v\$backup where status = 'ACTIVE';" | tr -d ' \t\n')" != 0 ]; then
        sql "alter database end backup;" >&2
    fi
    sql "alter system archive log current;" >&2
}

case "$verb" in
release)
    release
    exit 0
    ;;
freeze) ;;
*)
    echo "oracle-hot-backup.sh: freeze or release, not $verb" >&2
    exit 2
    ;;
esac

echo "fact script untested"
trap release EXIT
sql "alter database begin backup;" >&2
echo "fact scn $(sql "select current_scn from v\$database;" | tr -d ' \t\n')"
echo "fact dbid $(sql "select dbid from v\$database;" | tr -d ' \t\n')"
echo frozen
read -r _ || true # "release", or the end of the input
trap - EXIT
release
echo released
