#!/bin/bash
# Writes that a killed writer had submitted land seconds after its death: its successor must wait for
# them. A loop device whose writes are throttled by a control group makes it so; fence.c looks on.
#
#	fence.sh PROGRAM
set -euo pipefail
readonly program=$1
readonly rate=1000000 # bytes a second
readonly group=shmlog-fence.$$

skip() {
	echo "SKIPPED: fence: $*"
	exit 0
}

(($(id -u) == 0)) || skip "needs root"
if [[ -z ${IN_OWN_MOUNTS:-} ]]; then
	unshare -m true 2>/dev/null || skip "no mount namespace of its own"
	IN_OWN_MOUNTS=1 exec unshare -m "$0" "$@"
fi
type mkfs.ext4 losetup >/dev/null 2>&1 || skip "mkfs.ext4 and losetup are needed"

WORK=$(mktemp -d "${TMPDIR:-/tmp}/shmlog-fence.XXXXXX")
readonly WORK
GROUP= # its directory
LOOP=  # the device, until it is left to the mount

cleanup() {
	local status=$?
	mountpoint -q "$WORK/disk" && umount "$WORK/disk"
	[[ -z $LOOP ]] || losetup -d "$LOOP"
	[[ -z $GROUP ]] || rmdir "$GROUP"
	mountpoint -q "$WORK/blkio" && umount "$WORK/blkio"
	rm -rf "$WORK"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# mounted TYPE OPTION: where a hierarchy of control groups is, if it is.
mounted() {
	awk -v type="$1" -v option="$2" '$3 == type && ("," $4 ",") ~ ("," option ",") { print $2; exit }' /proc/mounts
}

# Version 1: mounted, or to be mounted. Sets GROUP.
throttle_v1() {
	local device=$1 root
	root=$(mounted cgroup blkio)
	if [[ -z $root ]]; then
		mkdir -p "$WORK/blkio"
		mount -t cgroup -o blkio none "$WORK/blkio" 2>/dev/null || return 1
		root=$WORK/blkio
	fi
	[[ -e $root/blkio.throttle.write_bps_device ]] || return 1
	mkdir "$root/$group" 2>/dev/null || return 1
	GROUP=$root/$group
	echo "$device $rate" >"$GROUP/blkio.throttle.write_bps_device"
}

throttle_v2() {
	local device=$1 root
	root=$(mounted cgroup2 '[a-z].*')
	[[ -n $root ]] && grep -qw io "$root/cgroup.controllers" || return 1
	echo +io >"$root/cgroup.subtree_control" 2>/dev/null || return 1
	mkdir "$root/$group" 2>/dev/null || return 1
	GROUP=$root/$group
	echo "$device wbps=$rate" >"$GROUP/io.max"
}

mkdir "$WORK/disk"
truncate -s 64M "$WORK/image"
# Neither a commit of the journal nor the flush of a small file that was truncated may wait for the
# throttled data: they would hold the successor up long before the fence.
mkfs.ext4 -q -O ^has_journal "$WORK/image"
LOOP=$(losetup --find --show "$WORK/image" 2>/dev/null) || { LOOP=; skip "no loop device"; }
device=$(cat "/sys/block/${LOOP#/dev/}/dev")
mount -o noauto_da_alloc "$LOOP" "$WORK/disk" || skip "cannot mount a loop device"
losetup -d "$LOOP" # when it is unmounted
LOOP=
throttle_v1 "$device" || throttle_v2 "$device" || skip "no control group throttles writes here"
"$program" "$WORK/disk" "$GROUP/cgroup.procs"
