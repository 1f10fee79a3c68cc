#!/bin/bash
# A rehearsal of a virtual machine: QEMU boots it from the copy until it answers. Passed: it answered in time.
#
#   farshore test GROUP --isolate --timeout 15m --run guest.sh --arg=--console --arg='login:'
#
#   --volume VOLUME      the disk it boots from (default: the first); the group's others are attached behind it
#   --console REGEX      answered: a line of its serial console matches (the guest needs console=ttyS0)
#   --port N             answered: the guest's TCP port N says something (SSH, SMTP, a database); --console may be left
#                        out then
#   --send TEXT          with --port: say this first, as to an HTTP server: 'GET / HTTP/1.0\r\n\r\n'
#   --memory SIZE        (default: 1G)
#   --bios FILE          firmware, such as /usr/share/ovmf/OVMF.fd for a guest that boots by UEFI
#   --kernel FILE, --initrd FILE, --append TEXT   boot this kernel instead of the disk's own loader
#   --qemu PROGRAM       (default: qemu-system-x86_64)
#   --accel kvm|tcg      (default: kvm where /dev/kvm can be opened, else tcg, which emulates and takes several times
#                        longer; a DR site that is a virtual machine itself may have a /dev/kvm that boots nothing)
#
# The guest sees no network but QEMU's own, and reaches nothing through it. Needs qemu-system-x86. What the guest
# writes is dropped with the copy.
set -euo pipefail

fail() {
    echo "guest: $*" >&2
    exit 1
}

first='' console='' port='' send='' memory=1G bios='' kernel='' initrd='' append='' qemu=qemu-system-x86_64 accel=''
while [ $# -gt 0 ]; do
    case "$1" in
    --volume) first=$2 ;;
    --console) console=$2 ;;
    --port) port=$2 ;;
    --send) send=$2 ;;
    --memory) memory=$2 ;;
    --bios) bios=$2 ;;
    --kernel) kernel=$2 ;;
    --initrd) initrd=$2 ;;
    --append) append=$2 ;;
    --qemu) qemu=$2 ;;
    --accel) accel=$2 ;;
    *) fail "unknown option $1" ;;
    esac
    shift 2 || fail "the last option lacks its value"
done
[ -n "$console$port" ] || fail "how does the guest answer? Give --console REGEX or --port N"
command -v "$qemu" >/dev/null || fail "$qemu is not installed here"

uri_of() {
    local name=${1^^}
    name=FARSHORE_URI_${name//[^A-Z0-9]/_}
    [ -n "${!name:-}" ] || fail "there is no volume $1; there are $FARSHORE_VOLUMES"
    echo "${!name}"
}
read -ra volumes <<<"$FARSHORE_VOLUMES"
first=${first:-${volumes[0]}}
drives=(-drive "file=$(uri_of "$first"),format=raw,if=virtio,cache=writeback")
for volume in "${volumes[@]}"; do
    [ "$volume" = "$first" ] || drives+=(-drive "file=$(uri_of "$volume"),format=raw,if=virtio,cache=writeback")
done

words=("$qemu" -nodefaults -no-reboot -display none -m "$memory" "${drives[@]}"
    -chardev "file,id=console,path=$FARSHORE_DIR/console" -serial chardev:console)
if [ -z "$accel" ]; then
    accel=tcg
    [ ! -w /dev/kvm ] || accel=kvm
fi
case "$accel" in
kvm) words+=(-accel kvm -cpu host) ;;
tcg) words+=(-accel tcg) ;;
*) fail "--accel $accel: kvm or tcg" ;;
esac
[ -z "$bios" ] || words+=(-bios "$bios")
[ -z "$kernel" ] || words+=(-kernel "$kernel")
[ -z "$initrd" ] || words+=(-initrd "$initrd")
[ -z "$append" ] || words+=(-append "$append")
here=10022 # the network is ours alone with --isolate
if [ -n "$port" ]; then
    words+=(-nic "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:$here-:$port")
else
    words+=(-nic none)
fi
: >"$FARSHORE_DIR/console"
"${words[@]}" >"$FARSHORE_DIR/qemu.log" 2>&1 &
guest=$!
# So that the result of one that never answers says how far it came.
tail -n +1 -f --pid=$guest "$FARSHORE_DIR/console" | sed -u 's/\r//g' &

# QEMU takes the connection before the guest does: only what is said counts.
says_something() {
    local byte=''
    exec 3<>"/dev/tcp/127.0.0.1/$here" || return 1
    [ -z "$send" ] || printf '%b' "$send" >&3
    IFS= read -r -n 1 -t 2 byte <&3 || true
    exec 3>&-
    [ -n "$byte" ]
}

answered() {
    [ -z "$console" ] || grep -aqE -- "$console" "$FARSHORE_DIR/console" || return 1
    [ -z "$port" ] || (says_something) 2>/dev/null
}

began=$SECONDS
until answered; do
    if ! kill -0 "$guest" 2>/dev/null; then
        answered && break
        tail -n 5 "$FARSHORE_DIR/qemu.log" >&2
        fail "the guest ended before it answered"
    fi
    sleep 0.5
done
kill "$guest" 2>/dev/null || true
wait "$guest" 2>/dev/null || true
echo "the guest answered after $((SECONDS - began)) s"
