#!/bin/sh
# Makes a node of a machine that Vagrant booted from a published Debian box: the packages, file systems of their own, root's key, the
# others' names. Safe to repeat.
set -eu
export DEBIAN_FRONTEND=noninteractive
# Services wait for their roles, as in the image of the docker provider
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
# shellcheck disable=SC2086  # names of packages are words
dpkg-query -W $PACKAGES >/dev/null 2>&1 || { apt-get -qq update && apt-get -qq install -y --no-install-recommends $PACKAGES >/dev/null; }
systemctl -q disable haproxy nginx postgresql cron prometheus-node-exporter prometheus-postgres-exporter prometheus-process-exporter 2>/dev/null || :
for disk in $DISKS; do
  place=${disk%%:*} rest=${disk#*:}
  size=${rest%:*} inodes=${rest#*:}
  image=/var/lib/mendbook-lab$(echo "$place" | tr / -).img
  grep -q " $place ext4" /etc/fstab && continue
  truncate -s "$size" "$image"
  mkfs.ext4 -q -F -m 0 -N "$inodes" -O ^has_journal "$image"
  mount -o loop "$image" /mnt
  cp -a "$place/." /mnt/
  umount /mnt
  echo "$image $place ext4 loop,nodev 0 2" >>/etc/fstab
  mount "$place"
done
for host in $HOSTS; do
  grep -q " ${host#*=}\$" /etc/hosts || echo "${host%%=*} ${host#*=}" >>/etc/hosts
done
if [ -n "$KEY" ]; then
  install -d -m 0700 /root/.ssh
  grep -qF "$KEY" /root/.ssh/authorized_keys 2>/dev/null || echo "$KEY" >>/root/.ssh/authorized_keys
fi
