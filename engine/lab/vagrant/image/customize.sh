#!/bin/sh
# Makes a node of a fresh root file system ($1): services wait for their roles, every container gets a machine id of its own, and a
# boot id at each boot.
set -eu
root=$1
units=$root/etc/systemd/system
install -D -m 0644 "$(dirname "$0")/lab-bootid.service" "$units/lab-bootid.service"
mkdir -p "$units/sysinit.target.wants"
ln -sf ../lab-bootid.service "$units/sysinit.target.wants/lab-bootid.service"
: >"$root/etc/machine-id"
echo '# Nodes know each other by /etc/hosts; there is nobody to ask for other names.' >"$root/etc/resolv.conf"
install -d -m 0700 "$root/root/.ssh"
for unit in haproxy nginx postgresql cron e2scrub_reap prometheus-node-exporter prometheus-postgres-exporter \
  prometheus-process-exporter; do
  rm -f "$units/multi-user.target.wants/$unit.service"
done
for timer in apt-daily apt-daily-upgrade e2scrub_all fstrim; do # nothing of a node leaves the lab, and disks are the host's
  rm -f "$units/timers.target.wants/$timer.timer"
done
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/var/cache/apt/*.bin
