#!/bin/bash
# A small disk that somebody else fills while the writer is at work, and frees again: nothing that was
# published is lost, what did not fit into the ring is counted and marked, and the log goes on.
. "$(dirname "$0")/lib.sh"

if [[ -z ${IN_OWN_MOUNTS:-} ]]; then
	if ! unshare -m true 2>"$WORK/unshare.err"; then
		say "no mount namespace of its own: $(cat "$WORK/unshare.err")"
		exit 77
	fi
	IN_OWN_MOUNTS=1 unshare -m bash "$0"
	exit
fi

mkdir "$WORK/disk"
mount -t tmpfs -o size=24M none "$WORK/disk"
readonly lines=1000000
corpus "$lines" "$WORK/in"
start_writer "$RING" "$WORK/disk/log" --flush-interval 5ms
state_is() {
	[[ $(stat_of "$RING" .writer.state) == "$1" ]]
}

# The default file is larger than the disk: a smaller one is made.
head -n 1000 "$WORK/in" | shmlog-push -r "$RING" --wait --name s
shmlog-ctl flush "$RING"
equal "$(stat_of "$RING" .durable)" 1000 "durable on a disk smaller than --max-file"
stop_writer
start_writer "$RING" "$WORK/disk/log" --flush-interval 5ms --max-file 2M

# Full: the ring takes what it can, the rest is told to the producer.
head -c 30M /dev/zero >"$WORK/disk/filler" 2>/dev/null || true
status=0
tail -n +1001 "$WORK/in" | shmlog-push -r "$RING" --name s 2>"$WORK/err" || status=$?
equal "$status" 1 "exit code of a push that dropped"
told=$(sed -nE 's/.*: ([0-9]+) of [0-9]+ records were dropped.*/\1/p' "$WORK/err")
equal "$(stat_of "$RING" .dropped)" "$told" "dropped"
wait_until 10 state_is stalled

# Room again: it goes on by itself.
rm "$WORK/disk/filler"
wait_until 20 drained "$RING"
wait_until 10 state_is running
echo after | shmlog-push -r "$RING" --wait --name late
stop_writer
grep -q "no room on disk" "$WORK/writer.err" || fail "the full disk is not told"
grep -q "there is room on disk again" "$WORK/writer.err" || fail "the room is not told"

equal "$(lost "$WORK/disk/log")" "$told" "marked as lost"
published s "$WORK/disk/log" >"$WORK/out"
equal "$(wc -l <"$WORK/out")" "$((lines - told))" "records"
# A part of the input, in its order.
awk 'BEGIN { i = 0 } NR == FNR { part[n++] = $0; next } i < n && $0 "" == part[i] "" { i++ } END { exit i < n }' \
	"$WORK/out" "$WORK/in" || fail "records that were never pushed so"
equal "$(published late "$WORK/disk/log")" after "what came later"
sound "$WORK/disk/log"
