#!/bin/bash
# A million real lines of four processes, while files roll at 8 MiB: all come back byte for byte.
. "$(dirname "$0")/lib.sh"

readonly lines=250000 # of each source
corpus $((4 * lines)) "$WORK/all"
split -d -a 1 -l "$lines" "$WORK/all" "$WORK/in."

start_writer "$RING" "$WORK/log" --max-file 8M
pushers=()
for n in 0 1 2 3; do
	shmlog-push -r "$RING" --wait --name "s$n" <"$WORK/in.$n" &
	pushers+=($!)
done
for pusher in "${pushers[@]}"; do
	wait "$pusher" || fail "a push failed"
done
wait_until 30 drained "$RING"
shmlog-ctl flush "$RING"

shmlog-stat -j -r "$RING" >"$WORK/stat"
for counter in enqueued written durable; do
	equal "$(jq ".rings[0].$counter" "$WORK/stat")" $((4 * lines)) "$counter"
done
equal "$(jq -c '.rings[0] | [.dropped, .pending, .abandoned]' "$WORK/stat")" '[0,0,0]' \
	"dropped, pending, abandoned"
equal "$(jq '[.rings[0].producers[].enqueued] | add' "$WORK/stat")" $((4 * lines)) \
	"enqueued of all producers"
stop_writer

for n in 0 1 2 3; do
	published "s$n" "$WORK/log" >"$WORK/out.$n"
	same "$WORK/in.$n" "$WORK/out.$n"
done
equal "$(find "$WORK/log" -name '*.open' | wc -l)" 0 "files left open"
files=$(find "$WORK/log" -name '*.shmlog' | wc -l)
((files >= $(stat -c %s "$WORK/all") / (8 << 20))) || fail "only $files files: they did not roll"
find "$WORK/log" -name '*.shmlog' -size +8M | grep . && fail "files larger than --max-file"
sound "$WORK/log"
say "$((4 * lines)) records in $files files"
