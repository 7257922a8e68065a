#!/bin/bash
# A ring whose name is removed under a running writer and producers: the writer makes it again and
# drains both; nobody loses a record, nobody is told anything.
. "$(dirname "$0")/lib.sh"

readonly rounds=3 lines=20000
corpus $((rounds * lines)) "$WORK/in"
start_writer "$RING" "$WORK/log" --lanes 4 --lane-size 64K --max-file 1M
mkfifo "$WORK/pipe" "$WORK/idle"
shmlog-push -r "$RING" --wait --name busy <"$WORK/pipe" 2>"$WORK/err" &
pusher=$!
exec 3>"$WORK/pipe"

# One that pushed once and stays: it holds its lane in the first ring to the end.
shmlog-push -r "$RING" --name idle <"$WORK/idle" 4>&- &
idler=$!
exec 4>"$WORK/idle"
echo once >&4

inode() {
	stat -c %i "$SHM/shmlog.$RING" 2>/dev/null || echo none
}
is_another() {
	[[ $(inode) != none && $(inode) != "$1" ]]
}

has_moved_on() {
	[[ $(stat_of "$RING" '[.producers[] | select(.name == "busy" and .enqueued > 0)] | length') == 1 ]]
}

# Removed while its producer is at work in it; the next round begins in the new ring.
for ((round = 0; round < rounds; round++)); do
	sed -n "$((round * lines + 1)),$(((round + 1) * lines))p" "$WORK/in" >"$WORK/part"
	head -n 1000 "$WORK/part" >&3
	wait_until 20 has_moved_on
	before=$(inode)
	tail -n +1001 "$WORK/part" >&3 &
	feeder=$!
	rm "$SHM/shmlog.$RING"
	wait_until 20 is_another "$before"
	wait "$feeder"
done
exec 3>&- 4>&-
wait "$pusher" || fail "the push ended with $?: $(cat "$WORK/err")"
wait "$idler" || fail "the idle push ended with $?"

# The writer is killed in the new ring, too: it goes on where it was.
kill_writer
start_writer "$RING" "$WORK/log"
stop_writer
published busy "$WORK/log" >"$WORK/out"
same "$WORK/in" "$WORK/out"
equal "$(published idle "$WORK/log")" once "the idle producer's record"
equal "$(lost "$WORK/log")" 0 "lost records"
sound "$WORK/log"

# What a producer of the removed ring dropped, and did not live to announce, is marked before the
# ring goes: also where no flush is due for long.
start_writer "$RING.b" "$WORK/b" --lanes 2 --lane-size 64K --flush-interval 1h
status=0
shmlog-push -r "$RING.b" --name flood <"$WORK/in" 2>"$WORK/err" || status=$?
equal "$status" 1 "exit code of a push that dropped"
told=$(sed -nE 's/.*: ([0-9]+) of [0-9]+ records were dropped.*/\1/p' "$WORK/err")
rm "$SHM/shmlog.$RING.b"
has_let_go() {
	[[ -e $SHM/shmlog.$RING.b ]] && ! grep -q 'shmlog.*(deleted)' "/proc/$WRITER/maps"
}
wait_until 20 has_let_go
kill_writer # so that no orderly end marks anything
expect 0 shmlog-writer --once -r "$RING.b" -d "$WORK/b"
equal "$(lost "$WORK/b")" "$told" "marked as lost"
