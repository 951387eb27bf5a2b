# Becomes the first process of the peers' own mount, network and pid namespaces: makes their Debian root the root,
# starts containerd and dockerd by hand, says when they answer, and waits. Everything dies with this process.
# A chroot would not do: docker's exec would run in the host's root.
#   start.sh ROOT [STATE [OPTION of dockerd…]]: so that they are in nobody's way who uses the same root, their stores lie in
#   the folder STATE, and STATE/share is seen as /mnt.
set -eu
root=$1
state=${2:-}
if [ $# -ge 2 ]; then shift 2; else shift; fi
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
# crun refuses the hybrid layout while the empty cgroup2 mount is there.
if [ -d "$root/sys/fs/cgroup/unified" ]; then umount -l "$root/sys/fs/cgroup/unified"; fi
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
if [ -n "$state" ]; then
    for store in docker containerd containers; do
        mkdir -p "$state/$store" "$root/var/lib/$store"
        mount --bind "$state/$store" "$root/var/lib/$store"
    done
    mkdir -p "$state/share"
    mount --bind "$state/share" "$root/mnt"
fi
cd "$root"
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
ip link set lo up
mkdir -p /run/peers /bench
containerd >/run/peers/containerd.log 2>&1 &
dockerd --containerd /run/containerd/containerd.sock "$@" >/run/peers/dockerd.log 2>&1 &
until docker version >/dev/null 2>&1; do sleep 0.1; done
echo ready
# Whoever started this holds the other end: when it is gone, so are we.
exec cat
