#!/bin/busybox sh
# First process of a lab guest: loads the drivers, then runs the workload on the second serial port and a shell on the
# first one. Everything that lasts is on the disks.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/mod/$module"; done </mod/order
# Disks in the order of their names: sd and vd never mix in one lab guest.
disks=""
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  disks=$(ls -d /sys/block/vd* /sys/block/sd* 2>/dev/null | sed 's,.*/,/dev/,' | sort)
  [ -n "$disks" ] && break
  sleep 0.2
done
stty -F /dev/ttyS1 raw -echo 2>/dev/null
/workload /dev/ttyS1 $disks </dev/null >/dev/null 2>&1 &
echo "lab guest is up: $(uname -r), disks: $(echo $disks)"
while true; do setsid -c sh </dev/ttyS0 >/dev/ttyS0 2>&1; sleep 1; done
