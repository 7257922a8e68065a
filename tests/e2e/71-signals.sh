#!/bin/bash
# What the writer does when it is told: HUP, USR1, USR2, TERM; and what it reads again.
. "$(dirname "$0")/lib.sh"

sealed() {
	find "$WORK/log" -name '*.shmlog' | wc -l
}
has_sealed() {
	(($(sealed) >= $1))
}
push_and_drain() {
	echo "$1" | shmlog-push -r "$RING" --name s
	shmlog-ctl flush "$RING"
}

printf 'flush-interval = 1h\nsync = none\n' >"$WORK/conf"
start_writer "$RING" "$WORK/log" -c "$WORK/conf"
push_and_drain 1

# USR1: flush, roll, sync. Nothing but the signal asks for it.
echo 2 | shmlog-push -r "$RING" --name s
kill -USR1 "$WRITER"
wait_until 10 has_sealed 1
is_settled() {
	[[ $(stat_of "$RING" '[.written, .durable] | @csv') == "$1" ]]
}
wait_until 10 is_settled 2,2 # the file has its name a little before the writer says so

# HUP: read the file again; what cannot be used is said, and nothing changes; roll.
push_and_drain 3
echo 'no-such-key = 1' >"$WORK/conf"
kill -HUP "$WRITER"
wait_until 10 has_sealed 2
grep -q no-such-key "$WORK/writer.err" || fail "the bad key is not named"
printf 'flush-interval = 1ms\nsync = 1ms\n' >"$WORK/conf"
kill -HUP "$WRITER"
echo 4 | shmlog-push -r "$RING" --name s
is_durable() {
	[[ $(stat_of "$RING" .durable) == "$1" ]]
}
wait_until 10 is_durable 4 # by the new intervals: nobody asks

# USR2: its state, on standard error.
kill -USR2 "$WRITER"
tells_state() {
	grep -q "ring $RING, 4 records taken" "$WORK/writer.err"
}
wait_until 10 tells_state

# TERM: what was published is written, whatever the interval.
seq 5 20000 | shmlog-push -r "$RING" --wait --name s
stop_writer
published s "$WORK/log" >"$WORK/out"
seq 1 20000 >"$WORK/want"
same "$WORK/want" "$WORK/out"
equal "$(find "$WORK/log" -name '*.open' | wc -l)" 0 "files left open"
sound "$WORK/log"
