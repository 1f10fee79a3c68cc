# untested: written from QEMU's and Microsoft's documentation, never run against Exchange; try it before you rely on it.
#
# Exchange (or any application with a VSS writer) in a Windows guest of libvirt: the QEMU guest agent of Windows freezes by
# VSS, which has Exchange flush its databases. For a hook of type `script`, where libvirt has the agent's socket (else use the
# type qemu-guest-agent). VSS itself gives up after 10 s: keep `timeout` of all hooks behind this one below that.
#
#   [[group.hook]]
#   name    = "exchange"
#   type    = "script"
#   run     = ["/bin/sh", "/usr/share/farshore/hooks/exchange-vss-guest-agent.sh", "exchange-guest"]
#   timeout = "60s"
#
# farshore-hook adds the last argument: `freeze`, or `release` when it releases by force.
set -eu

guest=${1:?the libvirt domain}
verb=${2:?freeze or release}

agent() {
    virsh --connect qemu:///system qemu-agent-command "$guest" --timeout 5 "{\"execute\":\"$1\"}"
}

release() {
    virsh --connect qemu:///system domfsthaw "$guest" >&2
}

case "$verb" in
release)
    release
    exit 0
    ;;
freeze) ;;
*)
    echo "exchange-vss-guest-agent.sh: freeze or release, not $verb" >&2
    exit 2
    ;;
esac

echo "fact script untested"
case "$(agent guest-fsfreeze-status)" in
*thawed*) ;;
*)
    echo "the guest is frozen already, by somebody else" >&2
    exit 1
    ;;
esac
trap release EXIT
virsh --connect qemu:///system domfsfreeze "$guest" >&2
echo "fact guest $guest"
echo frozen
read -r _ || true # "release", or the end of the input
still=$(agent guest-fsfreeze-status)
trap - EXIT
release
case "$still" in
*frozen*) echo released ;;
*)
    echo "VSS had given up before the release" >&2
    exit 1
    ;;
esac
