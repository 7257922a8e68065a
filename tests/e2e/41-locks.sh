#!/bin/bash
# One writer a ring, one a directory; another log's directory needs --adopt after a kill.
. "$(dirname "$0")/lib.sh"

seq 1 1000 >"$WORK/a"
seq 1001 2000 >"$WORK/b"
start_writer "$RING" "$WORK/one"
shmlog-push -r "$RING" --wait --name s <"$WORK/a"
refused 75 "$RING.*$WRITER" shmlog-writer -r "$RING" -d "$WORK/two"
refused 75 "$WORK/one" shmlog-writer -r "$RING.b" -d "$WORK/one"
writer_is_alive "$RING" "$WRITER" || fail "the first writer is gone"
rm -f "$SHM/shmlog.$RING.b"

# After a kill, another directory would lose or double what the first log holds of the last window.
kill_writer
shmlog-push -r "$RING" --wait --name s <"$WORK/b"
refused 78 "$WORK/one.*$WORK/two|$WORK/two.*$WORK/one" shmlog-writer -r "$RING" -d "$WORK/two"
start_writer "$RING" "$WORK/two" --adopt
stop_writer
{ published s "$WORK/one"; published s "$WORK/two"; } >"$WORK/out"
cat "$WORK/a" "$WORK/b" >"$WORK/want"
same "$WORK/want" "$WORK/out"

# After a clean end any directory will do.
shmlog-push -r "$RING" --wait --name s <"$WORK/a"
start_writer "$RING" "$WORK/three"
stop_writer
published s "$WORK/three" >"$WORK/out"
same "$WORK/a" "$WORK/out"

# Back into an earlier log: what the ring was drained into later says who pushes, not the old one.
shmlog-ctl create "$RING.c" --lanes 2 # one own lane: both have it, one after the other
echo in-one | shmlog-push -r "$RING.c" --name first
start_writer "$RING.c" "$WORK/four"
stop_writer
mkfifo "$WORK/lines"
shmlog-push -r "$RING.c" --name second <"$WORK/lines" &
exec 4>"$WORK/lines"
start_writer "$RING.c" "$WORK/five"
echo in-two >&4
is_written() {
	[[ $(published second "$1") == "$2" ]]
}
wait_until 10 is_written "$WORK/five" in-two
kill_writer
start_writer "$RING.c" "$WORK/four" --adopt
echo in-one-again >&4
wait_until 10 is_written "$WORK/four" in-one-again
exec 4>&-
stop_writer
equal "$(published first "$WORK/four")" in-one "the first one's records"
