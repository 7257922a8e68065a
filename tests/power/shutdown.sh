#!/bin/bash
# A real file system loses its power under load: what its journal had not kept is gone. Then it is
# mounted again, shmlog recovers, and what shmlog_sync() had confirmed must be there.
#
#	shutdown.sh xfs|ext4		FULL=1: more rounds; SEED=n: others
#
# Exits with 77 and a line "SKIPPED: ..." where the machine does not allow it.
. "$(dirname "$0")/../e2e/lib.sh"

readonly FS=$1
readonly LOAD=$SHMLOG_BIN/tests/power/load
ROUNDS=4
[[ -z $FULL ]] || ROUNDS=40
readonly ROUNDS
RANDOM=${SEED:-1}

skip() {
	echo "SKIPPED: power: $FS: $*"
	exit 77
}

violated() {
	echo "violated: $FS: $*" >&2
	exit 1
}

if [[ -z ${IN_OWN_MOUNTS:-} ]]; then
	((EUID == 0)) || skip "only root may mount"
	unshare -m true 2>"$WORK/err" || skip "no mount namespace: $(cat "$WORK/err")"
	command -v "mkfs.$FS" >/dev/null || skip "no mkfs.$FS: make proof-deps"
	IN_OWN_MOUNTS=1 unshare -m bash "$0" "$FS"
	exit
fi

mount_disk() {
	mount -o loop "$WORK/image" "$WORK/disk"
}

make_disk() {
	local -A options=([xfs]=-q [ext4]=-qF)
	truncate -s 320M "$WORK/image"
	"mkfs.$FS" "${options[$FS]}" "$WORK/image" >"$WORK/err" 2>&1 || skip "$(cat "$WORK/err")"
	mkdir "$WORK/disk"
	mount_disk 2>"$WORK/err" || skip "cannot be mounted: $(cat "$WORK/err")"
}

unmounted() {
	umount "$WORK/disk" 2>"$WORK/umount.err"
}

# marked DIR: records that the log says the disk has lost.
marked() {
	shmlog-cat -o json "$1" 2>"$WORK/cat.err" |
		jq -s 'map(select(.reason == "unsynced" or .reason == "unwritten") | .lost) | add // 0'
}

has_journal() {
	[[ -s $WORK/journal.$1 ]]
}

# round N SYNC RELEASE IO RING: the last says what becomes of it.
round() {
	local n=$1 log=$WORK/disk/log.$1 load status=0 marks=
	start_writer "$RING.$n" "$log" --sync "$2" --release "$3" --io "$4" --max-file 1M \
		--max-volume 3M --roll-age 70ms --lanes 8 --flush-interval 5ms
	"$LOAD" run "$RING.$n" "$WORK/journal.$n" 3>&- &
	load=$!
	wait_until 10 has_journal "$n"
	sleep "0.$((RANDOM % 9))$((RANDOM % 10))" # the moment of the cut, nothing waits for it
	"$LOAD" shutdown "$WORK/disk" "$WORK/journal.$n"
	[[ $5 == gone ]] || sleep 0.1 # ... and some life after it
	kill -KILL "$load"
	wait "$load" 2>/dev/null || true
	kill_writer
	wait_until 20 unmounted # what the killed ones had under way ends first
	mount_disk
	[[ $5 != gone ]] || { shmlog-ctl remove "$RING.$n" --force; shmlog-ctl create "$RING.$n"; }
	shmlog-writer --once -r "$RING.$n" -d "$log" 2>>"$WORK/writer.err" ||
		violated "recovery ended with $?: $(tail -3 "$WORK/writer.err")"
	shmlog-cat -o raw "$log" >"$WORK/out" 2>"$WORK/cat.err" || status=$?
	((status == 0 || status == 3)) || violated "shmlog-cat ended with $status: $(cat "$WORK/cat.err")"
	[[ $5 == gone || $status != 0 ]] || marks=$(marked "$log")
	"$LOAD" check "$WORK/journal.$n" "$marks" <"$WORK/out" >"$WORK/figures" || exit 1
	echo "power: $FS round $n ($2, $3, $4, ring $5): $(cat "$WORK/figures")${marks:+, marked $marks}"
	shmlog-ctl remove "$RING.$n" --force
	rm -rf "$log" "$WORK/journal.$n"*
}

make_disk
syncs=(page 20ms 5ms)
releases=(written durable)
ios=(auto pwrite)
rings=(gone survives)
for ((n = 1; n <= ROUNDS; n++)); do
	round "$n" "${syncs[n % 3]}" "${releases[n / 2 % 2]}" "${ios[n / 3 % 2]}" "${rings[n % 2]}"
done
echo "power: $FS: $ROUNDS shutdowns under load, durable records lost 0"
