# boot.sh DIR NAME CGROUPS: starts systemd as the first process of a machine of its
# own, whose files are those of this machine with a layer in memory over them.
# It runs in a mount namespace of its own, so that nothing of this outlives it.
set -eu
dir=$1 name=$2 cgroups=$3

# In a cgroup of its own, below which systemd makes its own.
mkdir "$cgroups/$name"
echo $$ >"$cgroups/$name/cgroup.procs"

mount -t tmpfs -o mode=755,size=2g "$name" "$dir"
cd "$dir"
mkdir root work dev upper
mount -t overlay "$name" -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" root
# What this machine starts and mounts at boot is not wanted there.
find root/etc/systemd/system -mindepth 1 -delete
rm -f root/usr/sbin/policy-rc.d root/etc/fstab root/etc/mtab
ln -s /proc/self/mounts root/etc/mtab
tr -d - </proc/sys/kernel/random/uuid >root/etc/machine-id
echo "$name" >root/etc/hostname

# nspawn's own traces on this machine.
mkdir -p /run/systemd/nspawn
mount -t tmpfs "$name" /run/systemd/nspawn

# Nodes of its own: a chmod in there must not reach this machine's.
for node in fuse autofs; do
	mknod -m 600 "dev/$node" c $(stat -c '%Hr %Lr' "/dev/$node")
done

# By default nspawn forbids what kmsfs does on a real machine (secret memory,
# keys), and what systemd does for DeviceAllow= (bpf).
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --directory=root --machine="$name" \
	--register=no --keep-unit --settings=no --link-journal=no --console=pipe \
	--private-network --capability=all --system-call-filter='@keyring bpf memfd_secret' \
	--bind="$dir/dev/fuse:/dev/fuse" --bind="$dir/dev/autofs:/dev/autofs" \
	--boot systemd.unit=multi-user.target
