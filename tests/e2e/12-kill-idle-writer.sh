#!/bin/bash
# A ring without a writer keeps what was published; the next writer puts it on disk, once.
. "$(dirname "$0")/lib.sh"

shmlog-ctl create "$RING"
seq 1 1000 >"$WORK/in"
shmlog-push -r "$RING" --name early <"$WORK/in" || fail "no room in an empty ring"
equal "$(stat_of "$RING" '[.enqueued, .written, .pending] | @csv')" 1000,0,1000 "counts"

# Also without a writer, shmlog-cat shows what is there, and takes nothing.
for _ in 1 2; do
	shmlog-cat -o raw --source early -r "$RING" >"$WORK/out"
	same "$WORK/in" "$WORK/out"
done

for _ in 1 2 3 4 5; do # killed before, while and after it drains
	start_writer "$RING" "$WORK/log"
	kill_writer
done
start_writer "$RING" "$WORK/log"
stop_writer
published early "$WORK/log" >"$WORK/out"
same "$WORK/in" "$WORK/out"

# --once: what is there now, and end.
shmlog-push -r "$RING" --name late <"$WORK/in"
expect 0 shmlog-writer --once -r "$RING" -d "$WORK/log"
published late "$WORK/log" >"$WORK/out"
same "$WORK/in" "$WORK/out"
expect 69 shmlog-writer --once -r "$RING.none" -d "$WORK/log.none"
