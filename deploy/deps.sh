#!/bin/sh
# Installs the Debian 12 packages that Farshore needs and that are missing; says which. Runs apt-get
# as root, or through sudo. Does nothing, and needs no rights, when nothing is missing.
#
#   deploy/deps.sh build   to build it and to run `farshore demo`
#   deploy/deps.sh test    what its tests use besides (NBD clients, PostgreSQL, fio, ...)
#   deploy/deps.sh guest   QEMU, a kernel and busybox, for tests/e2e/guest.py (the kernel goes to /boot)
#   deploy/deps.sh bench   what bench/traces and the peers of bench/wan_bytes.py use besides
set -eu

build="clang-19 lld-19 cmake ninja-build
    libasio-dev libspdlog-dev libfmt-dev libxxhash-dev libzstd-dev libbrotli-dev libssl-dev libsqlite3-dev
    libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libsmartcols-dev
    libpq-dev libmariadb-dev libhiredis-dev libblkid-dev libmount-dev
    libnbd-dev libnbd-bin libarchive-dev qemu-utils e2fsprogs mount util-linux fuse3 procps"
test="binutils clang-format-19 clang-tidy-19 libclang-rt-19-dev doctest-dev librapidcheck-dev libbenchmark-dev
    nbdkit fdisk libarchive-tools fio postgresql-15 postgresql-client-15 mariadb-server redis-server sqlite3 iproute2
    python3 chromium"
guest="qemu-system-x86 linux-image-cloud-amd64 busybox-static"
bench="mariadb-server sysbench debootstrap restic borgbackup casync rsync git zstd sqlite3 openssl
    libnbd-dev libnbd-bin fuse3 e2fsprogs postgresql-15 postgresql-client-15 python3"

case "${1:-}" in
build) wanted="$build" ;;
test) wanted="$test" ;;
guest) wanted="$guest" ;;
bench) wanted="$bench" ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

missing=""
for package in $wanted; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "deps: all packages to $1 are there"
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing packages and neither root nor sudo:$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "deps: apt-get installs$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# Tests and benches start their own databases; a fresh package shall not start one for the machine.
if [ "$1" != build ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $as_root mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" |
        $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
policy=/usr/sbin/policy-rc.d
if [ "$1" != build ] && [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold $missing
