# Becomes the first process of the peers' own mount, network and pid namespaces: makes their Debian root the root,
# starts containerd and dockerd by hand, says when they answer, and waits. Everything dies with this process.
# A chroot would not do: docker's exec would run in the host's root.
#   start.sh ROOT [STATE]: so that docker is in nobody's way who uses the same root, its stores lie in the folder STATE,
#   and STATE/share is seen as /mnt; `fresh` as STATE: its stores are in memory.
set -eu
root=$1
state=${2:-}
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
# crun refuses the hybrid layout while the empty cgroup2 mount is there.
if [ -d "$root/sys/fs/cgroup/unified" ]; then umount -l "$root/sys/fs/cgroup/unified"; fi
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
case $state in
"") ;;
fresh)
    mkdir -p "$root/var/lib/docker" "$root/var/lib/containerd"
    mount -t tmpfs tmpfs "$root/var/lib/docker"
    mount -t tmpfs tmpfs "$root/var/lib/containerd"
    ;;
*)
    mkdir -p "$state/docker" "$state/containerd" "$state/share" "$root/var/lib/docker" "$root/var/lib/containerd"
    mount --bind "$state/docker" "$root/var/lib/docker"
    mount --bind "$state/containerd" "$root/var/lib/containerd"
    mount --bind "$state/share" "$root/mnt"
    ;;
esac
cd "$root"
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
ip link set lo up
mkdir -p /run/peers /bench
containerd >/run/peers/containerd.log 2>&1 &
dockerd --containerd /run/containerd/containerd.sock >/run/peers/dockerd.log 2>&1 &
until docker version >/dev/null 2>&1; do sleep 0.1; done
echo ready
exec sleep infinity
