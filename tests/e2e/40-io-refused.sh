#!/bin/bash
# Where io_uring is refused the writer takes pwritev2, says why, and works.
. "$(dirname "$0")/lib.sh"

corpus 20000 "$WORK/in"
for error in EPERM ENOSYS; do
	: >"$WORK/writer.err"
	refuse_io_uring "$error" shmlog-writer -r "$RING" -d "$WORK/$error" 2>"$WORK/writer.err" &
	WRITER=$!
	wait_until 20 writer_runs_or_ended "$RING"
	equal "$(stat_of "$RING" .writer.io)" pwrite "the writer's io"
	equal "$(grep -c io_uring "$WORK/writer.err")" 1 "lines about io_uring"
	shmlog-push -r "$RING" --wait --name s <"$WORK/in"
	stop_writer
	published s "$WORK/$error" >"$WORK/out"
	same "$WORK/in" "$WORK/out"
	rm "$SHM/shmlog.$RING"
	# Asked for by name, it is an error.
	expect 78 refuse_io_uring "$error" shmlog-writer -r "$RING" -d "$WORK/$error" --io uring
	rm -f "$SHM/shmlog.$RING"
done

# Asked for by name, pwrite says nothing.
: >"$WORK/writer.err"
start_writer "$RING" "$WORK/asked" --io pwrite
equal "$(stat_of "$RING" .writer.io)" pwrite "the writer's io"
stop_writer
equal "$(grep -c io_uring "$WORK/writer.err" || true)" 0 "lines about io_uring"
