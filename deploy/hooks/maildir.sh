#!/bin/sh
# A Maildir store with an index, for a hook of type `script`: delivery is stopped by a lock file, and what was delivered
# is on disk. For delivery agents that take the dotlock STORE/.farshore-delivery.lock around each delivery and update of
# the index, such as: dotlockfile -l -r 100 /srv/mail/.farshore-delivery.lock deliver ...; readers are not stopped.
#
#   [[group.hook]]
#   name = "mail"
#   type = "script"
#   run  = ["/usr/share/farshore/hooks/maildir.sh", "/srv/mail"]
#
# farshore-hook adds the last argument: `freeze`, or `release` when it releases by force.
set -eu

store=${1:?the directory of the mail store}
verb=${2:?freeze or release}
lock="$store/.farshore-delivery.lock"

release() {
    # Only the lock that a hook made.
    if [ -f "$lock" ] && grep -q '^farshore-hook ' "$lock"; then
        rm -f "$lock"
    fi
    rm -f "$store"/.farshore-hook.* # of a freeze that was killed while it waited
}

case "$verb" in
release)
    release
    exit 0
    ;;
freeze) ;;
*)
    echo "maildir.sh: freeze or release, not $verb" >&2
    exit 2
    ;;
esac
[ -d "$store" ] || {
    echo "maildir.sh: no directory $store" >&2
    exit 1
}

# The lock has its content from the first moment: it is linked into place. A delivery that has it is waited for.
mine="$store/.farshore-hook.$$"
trap release EXIT
trap 'exit 1' HUP INT TERM
printf 'farshore-hook %s %s\n' "$FARSHORE_BOOKMARK" "$$" >"$mine"
until ln "$mine" "$lock" 2>/dev/null; do
    sleep 0.05
done
rm -f "$mine"
# Messages, the names that make them delivered, and the index.
sync -f "$store"
echo "fact store $store"
echo "fact new_messages $(find "$store" -path '*/new/*' -type f | wc -l)"
echo frozen
read -r _ || true # "release", or the end of the input
release
echo released
