# untested: written from Microsoft's documentation, never run against a server; try it before you rely on it.
#
# SQL Server from 2022 (Linux or Windows): ALTER SERVER CONFIGURATION SET SUSPEND_FOR_SNAPSHOT_BACKUP, for a hook of type
# `script`. Writes of all databases wait meanwhile. Needs sqlcmd and a file with the password, readable for `user` alone:
#
#   [[group.hook]]
#   name    = "mssql"
#   type    = "script"
#   run     = ["/bin/sh", "/usr/share/farshore/hooks/mssql-suspend-for-snapshot.sh", "tcp:db.example,1433", "farshore",
#              "/etc/farshore/mssql.password"]
#   timeout = "30s"
#
# The login needs ALTER SERVER STATE or CONTROL SERVER. farshore-hook adds the last argument: `freeze`, or `release` when it
# releases by force.
set -eu

server=${1:?the server}
login=${2:?the login}
password_file=${3:?the file with the password}
verb=${4:?freeze or release}
SQLCMDPASSWORD=$(cat "$password_file")
export SQLCMDPASSWORD

sql() {
    sqlcmd -S "$server" -U "$login" -b -l 5 -h -1 -W -Q "SET NOCOUNT ON; $1"
}

suspended() {
    sql "SELECT COUNT(*) FROM sys.dm_server_suspend_status" | tr -d ' \r\n'
}

release() {
    # Nothing suspended is no failure: it is released.
    if [ "$(suspended)" != 0 ]; then
        sql "ALTER SERVER CONFIGURATION SET SUSPEND_FOR_SNAPSHOT_BACKUP = OFF" >&2
    fi
}

case "$verb" in
release)
    release
    exit 0
    ;;
freeze) ;;
*)
    echo "mssql-suspend-for-snapshot.sh: freeze or release, not $verb" >&2
    exit 2
    ;;
esac

echo "fact script untested"
[ "$(suspended)" = 0 ] || {
    echo "a database is suspended already, by somebody else" >&2
    exit 1
}
trap release EXIT
sql "ALTER SERVER CONFIGURATION SET SUSPEND_FOR_SNAPSHOT_BACKUP = ON" >&2
echo "fact databases $(suspended)"
echo frozen
read -r _ || true # "release", or the end of the input
still=$(suspended)
trap - EXIT
release
[ "$still" != 0 ] || {
    echo "it was resumed by somebody else before the release" >&2
    exit 1
}
echo released
