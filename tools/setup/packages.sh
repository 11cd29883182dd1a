#!/bin/sh
# Makes sure that the programs a profile needs are on this machine: installs their packages with apt when root,
# otherwise names what is missing and stops.   usage: packages.sh demo|test|bench
set -eu
profile=${1:?profile: demo, test or bench}

# "program package": the program proves that the package is there.
demo="qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
libvirtd libvirt-daemon
virsh libvirt-clients
busybox busybox-static
cpio cpio
setpriv util-linux
curl curl
xz xz-utils"
test="$demo
nbdinfo libnbd-bin
nbdkit nbdkit
radosgw radosgw
ceph-mon ceph-mon
ceph-osd ceph-osd
ceph ceph-common
python3 python3
b3sum b3sum"
bench="$demo
nbdcopy libnbd-bin
qemu-storage-daemon qemu-system-common
borg borgbackup
virtnbdbackup virtnbdbackup
restic restic
zstd zstd
b3sum b3sum
time time
openssl openssl"

case $profile in
  demo) wanted=$demo ;;
  test) wanted=$test ;;
  bench) wanted=$bench ;;
  *) echo "packages.sh: unknown profile '$profile' (demo, test or bench)" >&2; exit 2 ;;
esac

PATH=$PATH:/usr/sbin:/sbin
missing=$(printf '%s\n' "$wanted" | while read -r program package; do
  command -v "$program" >/dev/null 2>&1 || echo "$package"
done | sort -u)
# The QEMU driver of libvirt is a plug-in without a program of its own.
if [ ! -e /usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so ] &&
   [ ! -e /usr/lib/aarch64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so ]; then
  missing="$missing libvirt-daemon-driver-qemu"
fi
# Tests of dumps need a server with the pg_dump of its version: both are in a folder of that version, which is in no PATH.
if [ "$profile" = test ]; then
  set -- /usr/lib/postgresql/*/bin/postgres
  [ -x "$1" ] || missing="$missing postgresql"
fi
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "Missing packages: $missing" >&2
  echo "Install them (Debian, Ubuntu: sudo apt-get install $missing) and try again." >&2
  exit 1
fi
echo "Installing: $missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
case " $missing " in
  *" postgresql "*)
    # The package would make a database cluster and start it; tests start servers of their own.
    no_cluster=/etc/postgresql-common/createcluster.d/casvault-test.conf
    mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' >"$no_cluster"
    trap 'rm -f "$no_cluster"' EXIT
    ;;
esac
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "packages.sh: apt-get failed" >&2
  exit 1
fi
rm -f "$log"
