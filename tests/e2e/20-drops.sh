#!/bin/bash
# No writer and a ring too small: pushes return at once, and every drop is told, counted and marked.
. "$(dirname "$0")/lib.sh"

readonly lines=100000
corpus $((3 * lines)) "$WORK/all"
split -d -a 1 -n l/3 "$WORK/all" "$WORK/in."
printf '%0300000d\n' 1 2 >>"$WORK/in.0" # over the record maximum of any ring

# told FILE: "12 of 1000 records were dropped (...)" -> 12
told() {
	sed -nE 's/^shmlog-push: ([0-9]+) of [0-9]+ records were dropped.*/\1/p' "$1"
}

shmlog-ctl create "$RING" --lanes 4 --lane-size 64K
begun=$SECONDS
pushers=()
for n in 0 1 2; do
	timeout 20 shmlog-push -r "$RING" --name "s$n" <"$WORK/in.$n" 2>"$WORK/err.$n" &
	pushers+=($!)
done
for pusher in "${pushers[@]}"; do
	status=0
	wait "$pusher" || status=$?
	equal "$status" 1 "exit code of a push that dropped"
done
((SECONDS - begun < 10)) || fail "pushes into a full ring took $((SECONDS - begun)) s"
dropped=$(($(told "$WORK/err.0") + $(told "$WORK/err.1") + $(told "$WORK/err.2")))
equal "$(stat_of "$RING" .dropped)" "$dropped" "dropped, against what the producers were told"
equal "$(stat_of "$RING" '.dropped_by | add')" "$dropped" "sum of the reasons"
equal "$(stat_of "$RING" .dropped_by.size)" 2 "dropped for their size"
equal "$(grep -c 'longer than' "$WORK/err.0")" 1 "complaints about lines that are too long"
pushed=$(($(cat "$WORK"/in.? | wc -l) - dropped))
equal "$(stat_of "$RING" .enqueued)" "$pushed" "enqueued"
((pushed > 100)) || fail "only $pushed records fit"

start_writer "$RING" "$WORK/log"
wait_until 20 drained "$RING"
stop_writer
equal "$(lost "$WORK/log")" "$dropped" "records that the log's gap marks name"
equal "$(stat_of "$RING" .dropped)" "$dropped" "dropped, afterwards"
for n in 0 1 2; do # nobody drained, so what was published is the beginning of the input
	published "s$n" "$WORK/log" >"$WORK/out.$n"
	head -n "$(wc -l <"$WORK/out.$n")" "$WORK/in.$n" >"$WORK/want.$n"
	same "$WORK/want.$n" "$WORK/out.$n"
	equal "$(wc -l <"$WORK/out.$n")" \
		$(($(wc -l <"$WORK/in.$n") - $(told "$WORK/err.$n"))) "records of s$n"
done
sound "$WORK/log"
