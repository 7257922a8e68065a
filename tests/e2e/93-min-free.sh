#!/bin/bash
# Less is free than --min-free: no log is begun there; one that is there stalls until there is room
# again, drops exactly what the ring cannot hold, and says all of it once; or makes room, if it may.
. "$(dirname "$0")/lib.sh"

if [[ -z ${IN_OWN_MOUNTS:-} ]]; then
	if ! unshare -m true 2>"$WORK/unshare.err"; then
		say "no mount namespace of its own: $(cat "$WORK/unshare.err")"
		exit 77
	fi
	IN_OWN_MOUNTS=1 unshare -m bash "$0"
	exit
fi

mkdir "$WORK/disk"
mount -t tmpfs -o size=32M none "$WORK/disk"
readonly log=$WORK/disk/log
: >"$WORK/conf"
start() {
	: >"$WORK/writer.err"
	start_writer "$RING" "$log" -c "$WORK/conf" --max-file 1M --max-volume 2M "$@"
}
reload() {
	printf '%s\n' "$@" >"$WORK/conf"
	kill -HUP "$WRITER"
}
kilobytes() {
	seq -f '%0999.0f' "$1" "$2"
}
free() {
	echo $(($(stat -f -c '%a * %S' "$WORK/disk")))
}
# fill BYTES: somebody else leaves so much.
fill() {
	fallocate -l $(($(free) - $1)) "$WORK/disk/filler"
}
state_is() {
	[[ $(stat_of "$RING" .writer.state) == "$1" ]]
}
# told TIMES PATTERN: by the writer.
told() {
	(($(grep -cE -- "$2" "$WORK/writer.err") == $1)) || fail "not told $1 times: $2"
}
# at_its_place PUSHED: each record of source s stands at its number, or is in a GAP at that place.
at_its_place() {
	shmlog-cat -o json --source s "$log" | jq -r '.lost // "=" + .message' | awk -v all="$1" '
		/^=/ { n++; if (substr($0, 2) + 0 != n) { print "record " n " is " $0; exit 1 } next }
		{ n += $1 }
		END { if (n != all) { print n " records, not " all; exit 1 } }' || fail "not all at their places"
}

# No log is begun where there is no room for one.
shmlog-ctl create "$RING"
refused 73 'no room for a log: 0 bytes may be taken, .*--min-free' \
	shmlog-writer -r "$RING" -d "$log" --min-free 1G
equal "$(find "$log" -mindepth 1 ! -name lock)" "" "what was made in spite of it"
kilobytes 1 10 | shmlog-push -r "$RING" --name s
start --min-free 1G --stop-timeout 10ms # but what a ring holds is waited for
wait_until 10 state_is stalled
stop_status=0
kill -TERM "$WRITER"
wait "$WRITER" || stop_status=$?
equal "$stop_status" 73 "exit status of a writer that was stalled to its end"

# A disk that somebody fills while one producer logs, and frees again.
start --min-free 8M --no-compress --flush-interval 5ms
mkfifo "$WORK/pipe"
shmlog-push -r "$RING" --name s <"$WORK/pipe" 2>"$WORK/push.err" &
pusher=$!
exec 4>"$WORK/pipe"
tried=10
push() { # COUNT more
	kilobytes $((tried + 1)) $((tried + $1)) >&4
	tried=$((tried + $1))
	wait_until 20 is_tried
}
is_tried() {
	[[ $(stat_of "$RING" '.enqueued + .dropped') == "$tried" ]]
}
push 500
wait_until 10 drained "$RING"
fill $((7 << 20))
push 8000
wait_until 10 state_is stalled
shmlog-stat -r "$RING" | grep -qw stalled || fail "the table does not show the stall"
equal "$(stat_of "$RING" .writer.stalls)" 2 "stalls, the first one included"
dropped=$(stat_of "$RING" .dropped)
((dropped > 1000)) || fail "only $dropped dropped: the ring was not full"
(($(free) >= 6 << 20)) || fail "the log has begun a file below --min-free"
rm "$WORK/disk/filler"
wait_until 10 drained "$RING"
wait_until 10 state_is running
! shmlog-stat -r "$RING" | grep -qw stalled || fail "the table still shows a stall"
push 500
equal "$(stat_of "$RING" '[.dropped, .writer.stalls] | @csv')" "$dropped,2" "dropped, stalls, after the stall"
exec 4>&-
! wait "$pusher" || fail "a push that dropped has ended with 0"
grep -q "$dropped of" "$WORK/push.err" || fail "the producer was told: $(cat "$WORK/push.err")"
shmlog-ctl flush "$RING"
told 1 'no room on disk, the ring keeps what it can: .*--min-free'
told 1 'there is room on disk again'
equal "$(grep -c room "$WORK/writer.err")" 2 "lines in all"
equal "$(lost "$log")" "$dropped" "marked as lost"
at_its_place "$tried"
stop_writer
sound "$log"
say "$dropped of $tried dropped, all at their place"

# A log that is there is gone on with. It stalls with the first record, until the limit is lowered.
echo 'min-free = 1G' >"$WORK/conf"
start --no-compress
kilobytes $((tried + 1)) $((tried + 1)) | shmlog-push -r "$RING" --name s
wait_until 10 state_is stalled
reload 'min-free = 8M'
wait_until 10 drained "$RING"
at_its_place $((tried + 1))
stop_writer

# 8 MiB may be taken. They are room enough for 12 if they are compressed: nothing is deleted.
kilobytes 1 12000 >"$WORK/in"
rm -r "$log"
fill $((16 << 20))
echo 'compress = no' >"$WORK/conf"
start --min-free 8M
shmlog-push -r "$RING" --wait --name c <"$WORK/in" &
pusher=$!
wait_until 20 state_is stalled
reload 'compress = yes'
wait "$pusher" || fail "a push failed"
stop_writer
told 0 ': deleted '
published c "$log" >"$WORK/out"
same "$WORK/in" "$WORK/out"

# With --on-full delete-oldest the oldest make room: nothing stalls, and no more goes than has to.
rm -r "$log"
start --min-free 8M --no-compress --on-full delete-oldest
stalls=$(stat_of "$RING" .writer.stalls)
shmlog-push -r "$RING" --wait --name d <"$WORK/in"
shmlog-ctl flush "$RING"
equal "$(stat_of "$RING" .writer.stalls)" "$stalls" "stalls where the oldest may go"
stop_writer
told 0 'no room on disk'
sed -n 's/.*: deleted //p' "$WORK/writer.err" >"$WORK/deleted"
sort -c "$WORK/deleted" || fail "not the oldest first"
! grep -v ' (--on-full delete-oldest)$' "$WORK/deleted" || fail "deleted for another reason"
(($(wc -l <"$WORK/deleted") >= 4)) || fail "hardly anything was deleted: $(cat "$WORK/deleted")"
(($(free) >= 8 << 20 && $(free) < 11 << 20)) || fail "$(free) bytes are free"
published d "$log" >"$WORK/out"
tail -n "$(wc -l <"$WORK/out")" "$WORK/in" | cmp - "$WORK/out"
sound "$log"
