#!/bin/bash
# Rings and directories of others: 77; rings that are shared with a group work. Needs root.
. "$(dirname "$0")/lib.sh"

if (($(id -u) != 0)); then
	say "needs root"
	exit 77
fi

# The programs where everybody may run them.
chmod 755 "$WORK"
cp "$SHMLOG_BIN"/shmlog-{push,cat,stat,ctl,writer} "$WORK"
as() { # USER GROUP PROGRAM ARGUMENT...
	local uid=$1 gid=$2 program=$3
	shift 3
	timeout 20 setpriv --reuid="$uid" --regid="$gid" --clear-groups "$WORK/$program" "$@"
}
readonly me=54321 other=54322 group=54399

# Mine alone.
as $me $me shmlog-ctl create "$RING"
equal "$(stat -c %a,%u "$SHM/shmlog.$RING")" 600,$me "mode and owner"
refused 77 "$RING" as $other $other shmlog-push -r "$RING"
refused 77 "$RING" as $other $other shmlog-stat -r "$RING"
refused 77 "$RING" as $other $other shmlog-cat -r "$RING"
refused 77 "$RING" as $other $other shmlog-writer -r "$RING" -d "$WORK/log"
expect 0 shmlog-stat -r "$RING" # root may look

# Made by a stranger for all to fall into: not trusted, whatever its mode.
chmod 666 "$SHM/shmlog.$RING"
refused 77 "$RING" as $other $other shmlog-push -r "$RING"
chown $other "$SHM/shmlog.$RING"
refused 77 "$RING" as $me $me shmlog-push -r "$RING"
rm "$SHM/shmlog.$RING"

# A group's.
as $me $group shmlog-ctl create "$RING" --mode-bits 0660 --group $group
echo one | as $other $group shmlog-push -r "$RING"
refused 77 "$RING" as $other $other shmlog-push -r "$RING"
equal "$(stat_of "$RING" .enqueued)" 1 "enqueued"
rm "$SHM/shmlog.$RING"

# Directories that may not be written or made.
mkdir -m 755 "$WORK/roots"
refused 77 "$WORK/roots" as $me $me shmlog-writer -r "$RING" -d "$WORK/roots/log"
refused 77 "$WORK/roots" as $me $me shmlog-writer -r "$RING" -d "$WORK/roots"
