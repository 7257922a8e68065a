#!/bin/bash
# shmlog-cat beside the writer: never a wrong, torn or misordered record, never a false alarm.
. "$(dirname "$0")/lib.sh"

readonly chunks=20
corpus 400000 "$WORK/in"
split -d -a 2 -n "l/$chunks" "$WORK/in" "$WORK/chunk."
start() {
	start_writer "$RING" "$WORK/log" --max-file 2M --flush-interval 5ms
}

# What is there is a beginning of the input, and never less than before.
shown=0
is_beginning() {
	local size
	size=$(stat -c %s "$WORK/seen")
	cmp -n "$size" "$WORK/seen" "$WORK/in" || fail "a record that was never pushed so"
	((size >= shown)) || fail "records vanished: $size bytes, were $shown"
	shown=$size
}

# look CODES: and the exit code is one of them.
look() {
	local status=0
	shmlog-cat -o raw --source slow "$WORK/log" >"$WORK/seen" 2>"$WORK/look.err" || status=$?
	[[ $status == ["$1"] ]] || fail "exit code $status: $(cat "$WORK/look.err")"
	is_beginning
}

start
shmlog-cat -f -o raw --source slow "$WORK/log" >"$WORK/followed" 2>"$WORK/follow.err" &
follower=$!
mkfifo "$WORK/pipe"
shmlog-push -r "$RING" --wait --name slow <"$WORK/pipe" &
pushers=($!)
shmlog-push -r "$RING" --wait --name fast <"$WORK/in" &
pushers+=($!)
exec 3>"$WORK/pipe"

for ((chunk = 0; chunk < chunks; chunk++)); do
	cat "$(printf '%s/chunk.%02d' "$WORK" "$chunk")" >&3 &
	feeder=$!
	look 0
	if ((chunk % 6 == 5)); then # readers go on over restarts of the writer
		kill_writer
		look 03 # not recovered yet, perhaps
		start
	fi
	look 0
	wait "$feeder"
done
exec 3>&-
for pusher in "${pushers[@]}"; do
	wait "$pusher" || fail "a push failed"
done

followed_all() {
	(($(stat -c %s "$WORK/followed") >= $(stat -c %s "$WORK/in")))
}
wait_until 30 followed_all
kill "$follower"
same "$WORK/in" "$WORK/followed"
[[ ! -s $WORK/follow.err ]] || say "the follower said: $(head -n 5 "$WORK/follow.err")"
stop_writer
look 0
same "$WORK/in" "$WORK/seen"
