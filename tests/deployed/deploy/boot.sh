#!/bin/sh
# Process 1 of new namespaces (`machine.py`): makes a root folder of its own, installs the project there, and becomes
# systemd. Takes LAYERS, ROOT, SITE, SCRIPTS and PYTHON from its environment.
#
# systemd empties /tmp, among other things, when it boots: nothing of this machine may be reached but read-only.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$LAYERS"
mkdir "$LAYERS/upper" "$LAYERS/work" "$LAYERS/root"
mount -t overlay -o "lowerdir=/,upperdir=$LAYERS/upper,workdir=$LAYERS/work" overlay "$LAYERS/root"
cd "$LAYERS/root"

mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

# Under names that service users may read: the tree, what it imports, and Python may lie in somebody's home.
mkdir opt/tree opt/site-packages opt/python opt/scripts old
mount -o bind,ro "$ROOT" opt/tree
mount -o bind,ro "$SITE" opt/site-packages
mount -o bind,ro "$SCRIPTS" opt/scripts
mount -o bind,ro "$PYTHON" opt/python
pivot_root . old
umount --lazy /old
# As systemd expects it: what it mounts for a service reaches that service.
mount --make-rshared /

echo /opt/python/lib > /etc/ld.so.conf.d/python.conf
ldconfig
/opt/python/bin/python3 -m venv --without-pip /opt/reram-fleet
printf '%s\n' /opt/tree /opt/tree/proto /opt/site-packages \
    > "$(echo /opt/reram-fleet/lib/python3*/site-packages)/installed.pth"
for script in /opt/scripts/*; do
    if head -n 1 "$script" | grep -aq '^#!.*python'; then
        sed '1s|.*|#!/opt/reram-fleet/bin/python|' "$script" > "/opt/reram-fleet/bin/${script##*/}"
        chmod 0755 "/opt/reram-fleet/bin/${script##*/}"
    fi
done
# As on a fresh machine, services start when they are told to.
rm -f /etc/systemd/system/*.wants/prometheus*.service /etc/systemd/system/*.wants/postgresql.service

exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal
