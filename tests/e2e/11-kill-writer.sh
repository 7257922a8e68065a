#!/bin/bash
# The writer is killed by SIGKILL and started again, over and over: nothing is lost or doubled.
. "$(dirname "$0")/lib.sh"

readonly kills=${FULL:+50}
readonly lines=${FULL:+1000000}
corpus $((4 * ${lines:-250000})) "$WORK/all"
split -d -a 1 -n l/4 "$WORK/all" "$WORK/in."

start_writer "$RING" "$WORK/log" --max-file 8M
pushers=()
for n in 0 1 2 3; do
	shmlog-push -r "$RING" --wait --name "s$n" <"$WORK/in.$n" &
	pushers+=($!)
done

# Kill it where it has got on: after so many more records were written, while producers push.
written_beyond() {
	(($(stat_of "$RING" .written) >= $1))
}
step=$((4 * ${lines:-250000} / (${kills:-8} + 2)))
for ((i = 1; i <= ${kills:-8}; i++)); do
	wait_until 60 written_beyond $((i * step))
	kill_writer
	start_writer "$RING" "$WORK/log" --max-file 8M
done

for pusher in "${pushers[@]}"; do
	wait "$pusher" || fail "a push failed"
done
wait_until 30 drained "$RING"
equal "$(stat_of "$RING" '[.enqueued, .written, .dropped, .abandoned] | @csv')" \
	"$((4 * ${lines:-250000})),$((4 * ${lines:-250000})),0,0" "enqueued, written, dropped, abandoned"
stop_writer
for n in 0 1 2 3; do
	published "s$n" "$WORK/log" >"$WORK/out.$n"
	same "$WORK/in.$n" "$WORK/out.$n"
done
equal "$(lost "$WORK/log")" 0 "records marked as lost"
sound "$WORK/log"
