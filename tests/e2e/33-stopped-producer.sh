#!/bin/bash
# A producer that is stopped in the middle delays nobody in another lane; it goes on where it was.
. "$(dirname "$0")/lib.sh"

corpus 2000000 "$WORK/in"
head -n 100000 "$WORK/in" >"$WORK/short"
start_writer "$RING" "$WORK/log"
for round in 1 2 3; do
	# However fast it is: its input does not end before it was stopped.
	mkfifo "$WORK/gate$round"
	shmlog-push -r "$RING" --wait --name "stopped$round" < <(cat "$WORK/in" "$WORK/gate$round") &
	stopped=$!
	has_begun() {
		(($(stat_of "$RING" "[.producers[] | select(.pid == $stopped) | .enqueued] | add // 0") > 0))
	}
	wait_until 10 has_begun
	kill -STOP "$stopped"
	timeout 20 shmlog-push -r "$RING" --wait --name "lively$round" <"$WORK/short" ||
		fail "a neighbour is delayed"
	timeout 20 shmlog-ctl flush "$RING" || fail "the writer is delayed"
	published "lively$round" "$WORK/log" >"$WORK/out"
	same "$WORK/short" "$WORK/out"
	kill -CONT "$stopped"
	: >"$WORK/gate$round"
	wait "$stopped" || fail "the push failed"
done
stop_writer
for round in 1 2 3; do
	published "stopped$round" "$WORK/log" >"$WORK/out"
	same "$WORK/in" "$WORK/out"
done
