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
	expect 0 shmlog-cat --verify "$WORK/$lanes"
done
equal "$(stat_of "$RING.32" .abandoned)" 1 "abandoned claims in own lanes"
