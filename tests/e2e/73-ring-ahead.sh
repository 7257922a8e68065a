#!/bin/bash
# The disk loses its end, the ring survives (its host lives on): the next writer names exactly what
# is gone, at its place, and once; records after it follow.
. "$(dirname "$0")/lib.sh"

start_writer "$RING" "$WORK/log" --sync none
for ((i = 0; i < 20; i++)); do
	seq $((i * 10)) $((i * 10 + 9)) | shmlog-push -r "$RING" --name me
	shmlog-ctl flush "$RING"
done
shmlog-cat -o pages "$WORK/log" >"$WORK/pages"
kill_writer
# A page's line: number, kind, file, offset, length, ...
end=$(awk '$2 == "DATA" && ++n == 8 { print $4 + $5 }' "$WORK/pages")
truncate -s "$end" "$WORK"/log/*/*.shmlog.open

for ((i = 0; i < 3; i++)); do
	start_writer "$RING" "$WORK/log"
	shmlog-ctl flush "$RING"
	kill_writer
done
start_writer "$RING" "$WORK/log"
echo after | shmlog-push -r "$RING" --name me
stop_writer

published me "$WORK/log" >"$WORK/out"
kept=$(($(wc -l <"$WORK/out") - 1))
((kept > 0 && kept < 200)) || fail "nothing was cut off"
{ seq 0 $((kept - 1)); echo after; } | cmp - "$WORK/out"
equal "$(lost "$WORK/log")" $((200 - kept)) "records named as lost"
sound "$WORK/log"
say "$((200 - kept)) of 200 records lost by the disk, all named"
