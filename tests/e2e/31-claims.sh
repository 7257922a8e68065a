#!/bin/bash
# Claims that are left open or given up cost nobody a record, and stall nobody.
. "$(dirname "$0")/lib.sh"

for lanes in 32 1; do # own lanes, and the shared one
	ring=$RING.$lanes
	shmlog-ctl create "$ring" --lanes "$lanes"
	start_writer "$ring" "$WORK/$lanes"

	# Killed with a claim open in front of 100 records: the 100 arrive.
	status=0
	claims "$ring" left-open >"$WORK/want" 2>"$WORK/err" || status=$?
	equal "$status" 137 "exit code: $(cat "$WORK/err")"
	equal "$(wc -l <"$WORK/want")" 100 "records behind the claim"
	wait_until 20 drained "$ring"

	# Claims of the maximum that are given up, and nothing else in the lane.
	for manner in abort abort-burst; do
		timeout 60 claims "$ring" "$manner" >>"$WORK/want" || fail "$manner in $ring"
	done
	wait_until 20 drained "$ring"
	stop_writer
	published claims "$WORK/$lanes" >"$WORK/out"
	same "$WORK/want" "$WORK/out"
	sound "$WORK/$lanes"
done
# A claim whose owner is dead, in a lane that somebody else holds by now: it must not stall him.
ring=$RING.next
shmlog-ctl create "$ring" --lanes 2
claims "$ring" left-open >"$WORK/want" 2>"$WORK/err" || true
mkfifo "$WORK/pipe"
shmlog-push -r "$ring" --name next <"$WORK/pipe" &
exec 3>"$WORK/pipe"
echo behind >&3
holds_lane() {
	[[ $(stat_of "$ring" '.producers[] | select(.lane == 1 and .alive) | [.name, .enqueued] | @csv') == \
		'"next",1' ]]
}
wait_until 10 holds_lane
start_writer "$ring" "$WORK/next"
wait_until 10 drained "$ring"
published next "$WORK/next" >"$WORK/out"
equal "$(cat "$WORK/out")" behind "record of the next holder, who lives"
published claims "$WORK/next" >"$WORK/out"
same "$WORK/want" "$WORK/out"
exec 3>&-
stop_writer
equal "$(stat_of "$ring" .abandoned)" 1 "abandoned claims"
equal "$(stat_of "$RING.32" .abandoned)" 1 "abandoned claims in own lanes"
