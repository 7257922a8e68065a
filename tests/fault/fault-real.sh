#!/bin/bash
# Faults that the machine itself makes: disks that fill up, that fail, that are read-only; limits;
# kernels that refuse. The whole programs, and producers who keep a journal.
#
#	fault-real.sh [CASE]
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

if [[ -z ${IN_OWN_MOUNTS:-} ]]; then
	if ! unshare -m true 2>"$WORK/unshare.err"; then
		say "SKIPPED: all real faults: no mount namespace: $(cat "$WORK/unshare.err")"
		exit 0
	fi
	# Directories that are still mounted at a failure are empty again once the namespace is gone.
	IN_OWN_MOUNTS=1 TMPDIR=$WORK unshare -m bash "$0" "$@"
	exit
fi

readonly HELPERS=$SHMLOG_BIN/tests/fault
readonly JOURNAL=$WORK/journal DISK=$WORK/disk SMALL=$WORK/small
cases=0
skipped=0

violated() {
	echo "violated: $*" >&2
	sed 's/^/    | /' "$WORK/writer.err" >&2 || true
	exit 1
}

skip() {
	skipped=$((skipped + 1))
	say "SKIPPED: $*"
}

# As lib.sh's, but what does not come is a breach.
fail() {
	violated "$* (line ${BASH_LINENO[0]})"
}

journal() {
	timeout 60 "$HELPERS/journal" "$@"
}

# ---- setting up ----

begin() {
	rm -rf "$JOURNAL" "$WORK/stop" "$WORK/log"
	: >"$WORK/writer.err"
	journal make "$JOURNAL" 4 4000000
}

disk_of_memory() { # SIZE
	mkdir -p "$DISK"
	mount -t tmpfs -o "size=$1" none "$DISK"
}

# A file system on a device in a file on a small disk: room that is promised and not there.
disk_of_file() { # SIZE SIZE_OF_DISK_BELOW
	mkdir -p "$SMALL" "$DISK"
	mount -t tmpfs -o "size=$2" none "$SMALL"
	truncate -s "$1" "$SMALL/image"
	mkfs.ext4 -q -F "$SMALL/image" 2>"$WORK/mkfs.err" &&
		mount -o loop "$SMALL/image" "$DISK" 2>"$WORK/mkfs.err"
}

no_disks() {
	umount "$DISK" 2>/dev/null || true
	umount "$SMALL" 2>/dev/null || true
	rm -f "$SHM/shmlog.$RING"*
}

streams=()
start_streams() { # COUNT
	local producer
	streams=()
	for ((producer = 0; producer < $1; producer++)); do
		journal stream "$JOURNAL" "$RING" "$producer" "$WORK/stop" &
		streams+=($!)
	done
}

stop_streams() {
	touch "$WORK/stop"
	wait "${streams[@]}" || violated "a producer ended with $?"
}

state_is() {
	[[ $(stat_of "$RING" .writer.state) == "$1" ]]
}

written_beyond() {
	(($(stat_of "$RING" .written) > $1))
}

drops_beyond() {
	(($(stat_of "$RING" .dropped) > $1))
}

# The writer ended by itself: its exit code.
await_end() {
	local status=0
	timeout 30 tail --pid="$WRITER" -f /dev/null || violated "the writer does not end"
	wait "$WRITER" || status=$?
	WRITER=
	echo "$status" >"$WORK/status"
}

# ended WANTED...: one of these exit codes, and one line of reason.
ended() {
	local status
	status=$(cat "$WORK/status")
	[[ " $* " == *" $status "* ]] || violated "the writer ended with $status, not $*"
}

# ---- the verdict ----

# whole DIR [MAY_LOSE]: all that was published is there, drops are marked in number.
whole() {
	local published dropped found absent of_disk of_ring
	shmlog-cat -o raw "$1" >"$WORK/raw" 2>"$WORK/raw.err" || [[ -n ${2:-} ]] ||
		violated "shmlog-cat ended with $?: $(cat "$WORK/raw.err")"
	journal check "$JOURNAL" <"$WORK/raw" >"$WORK/totals" || violated "the log is not what was pushed"
	read -r published dropped found absent <"$WORK/totals"
	shmlog-cat -o json "$1" 2>/dev/null | { grep -a '"lost":' || true; } >"$WORK/marks"
	of_disk=$(jq -s 'map(select(.reason | IN("unsynced", "unwritten")) | .lost) | add // 0' "$WORK/marks")
	of_ring=$(jq -s 'map(select(.reason | IN("unsynced", "unwritten") | not) | .lost) | add // 0' "$WORK/marks")
	((absent <= of_disk)) || violated "$absent records are missing, $of_disk are named"
	((of_disk == 0)) || [[ -n ${2:-} ]] || violated "$of_disk records are named as lost to the disk, $absent are, $(cat "$WORK/marks")"
	((of_ring == dropped)) || violated "$dropped records were dropped, $of_ring are marked"
	say "$case_name: $published published, $found found, $dropped dropped and marked, $absent lost and named"
}

finish() { # DIR [MAY_LOSE]
	timeout 60 shmlog-writer -r "$RING" -d "$1" --once 2>>"$WORK/writer.err" ||
		violated "the clean run ended with $?"
	whole "$@"
}

# ---- cases ----

fill_and_free() {
	start_writer "$RING" "$DISK/log" --flush-interval 5ms --max-file 2M --lane-size 64K
	start_streams 2
	wait_until 20 written_beyond 2000
	head -c 128M /dev/zero >"$DISK/filler" 2>/dev/null || true
	wait_until 20 state_is stalled
	wait_until 20 drops_beyond 1000
	rm "$DISK/filler"
	wait_until 20 state_is running
	stop_streams
	stop_writer
	finish "$DISK/log"
}

case_full_memory_disk() {
	disk_of_memory 64M
	fill_and_free
}

case_full_ext4() {
	if ! disk_of_file 64M 128M; then
		skip "a full ext4: $(head -1 "$WORK/mkfs.err")"
		return
	fi
	fill_and_free
}

# The device below ext4 has no room: writes and syncs fail with EIO, the file system gives up.
case_broken_disk() {
	if ! disk_of_file 64M 16M; then
		skip "a broken disk: $(head -1 "$WORK/mkfs.err")"
		return
	fi
	start_writer "$RING" "$DISK/log" --flush-interval 5ms --max-file 2M --sync page \
		--release durable --stop-timeout 2s
	start_streams 2
	wait_until 20 written_beyond 2000
	head -c 64M /dev/zero >"$SMALL/filler" 2>/dev/null || true
	wait_until 30 drops_beyond 1000
	stop_streams
	kill -TERM "$WRITER" 2>/dev/null || true
	await_end
	ended 0 73 74
	rm "$SMALL/filler"
	mount -o remount,size=128M "$SMALL"
	umount "$DISK"
	e2fsck -fy "$SMALL/image" >"$WORK/fsck" 2>&1 || true
	mount -o loop "$SMALL/image" "$DISK"
	# On such a device ext4 itself says yes to a last sync and loses what it was for, as plain pwrite
	# and fdatasync show, too: what is missing then is named.
	finish "$DISK/log" may-lose
}

case_file_size_limit() {
	local status=0
	shmlog-ctl create "$RING"
	prlimit --fsize=3000000 shmlog-writer -r "$RING" -d "$WORK/log" --flush-interval 5ms \
		2>>"$WORK/writer.err" &
	WRITER=$!
	wait_until 20 writer_runs_or_ended "$RING"
	journal push "$JOURNAL" "$RING" 0 40000 5000
	stop_writer
	whole "$WORK/log"
	# Below the smallest file there is.
	: >"$WORK/writer.err"
	journal push "$JOURNAL" "$RING" 0 100 0
	timeout 20 prlimit --fsize=500000 shmlog-writer -r "$RING" -d "$WORK/log" --flush-interval 5ms \
		2>"$WORK/writer.err" || status=$?
	echo "$status" >"$WORK/status"
	ended 74
	finish "$WORK/log"
}

# Without CAP_IPC_LOCK memory that is locked counts: buffers cannot be registered.
case_locked_memory_limit() {
	prlimit --memlock=65536 setpriv --bounding-set -ipc_lock shmlog-writer -r "$RING" -d "$WORK/log" --flush-interval 5ms 2>>"$WORK/writer.err" &
	WRITER=$!
	wait_until 20 writer_runs_or_ended "$RING"
	say "$case_name: $(stat_of "$RING" .writer.io)"
	journal push "$JOURNAL" "$RING" 0 20000 5000
	stop_writer
	whole "$WORK/log"
}

# The segments' directory is full: rings are refused, lanes are not had, nobody gets SIGBUS.
case_full_shared_memory() {
	mkdir -p "$SMALL"
	mount -t tmpfs -o size=3M none "$SMALL"
	(
		trap 'jobs -p | xargs -r kill -KILL 2>/dev/null' EXIT # its writer is its own
		export SHMLOG_SHM_DIR=$SMALL
		refused 73 'no room' shmlog-ctl create "$RING" --lanes 256
		refused 73 'no room' shmlog-writer -r "$RING" -d "$WORK/log" --lanes 256
		expect 0 shmlog-ctl create "$RING" --lanes 8 --lane-size 1M
		head -c 64M /dev/zero >"$SMALL/filler" 2>/dev/null || true
		shmlog-writer -r "$RING" -d "$WORK/log" --flush-interval 5ms 2>>"$WORK/writer.err" &
		writer=$!
		producers=()
		for producer in 0 1 2 3; do
			journal push "$JOURNAL" "$RING" "$producer" 3000 0 &
			producers+=($!)
		done
		wait "${producers[@]}" || violated "a producer ended with $?"
		expect 0 shmlog-stat -r "$RING"
		expect 0 shmlog-cat -r "$RING"
		kill -TERM "$writer"
		wait "$writer" || violated "the writer ended with $?"
		finish "$WORK/log"
	) || exit 1
	# Not even the shared part of a ring: nothing is left behind.
	rm "$SMALL/shmlog.$RING"
	head -c 64M /dev/zero >"$SMALL/filler" 2>/dev/null || true
	SHMLOG_SHM_DIR=$SMALL refused 73 'no room' shmlog-ctl create "$RING" --lanes 1
	equal "$(find "$SMALL" -name 'shmlog.*' | wc -l)" 0 "rings left behind"
}

# Setup flags of newer kernels are unknown, step by step; buffers are refused; at last all of it.
case_old_kernels() {
	local knows buffers features
	# flags that are known : buffers : features : the back end that is found
	for rung in ffffffff:yes:ffffffff:uring 380:yes:ffffffff:uring 0:yes:ffffffff:uring \
		ffffffff:no:ffffffff:uring 0:no:ffffffff:uring ffffffff:yes:0:pwrite; do
		IFS=: read -r knows buffers features backend <<<"$rung"
		begin
		rm -f "$SHM/shmlog.$RING"
		FAULT_URING_KNOWS=$knows FAULT_URING_BUFFERS=$buffers FAULT_URING_FEATURES=$features \
			LD_PRELOAD=$HELPERS/old_kernel.so shmlog-writer -r "$RING" -d "$WORK/log" \
			--flush-interval 5ms 2>>"$WORK/writer.err" &
		WRITER=$!
		wait_until 20 writer_runs_or_ended "$RING"
		grep -q '^uring: setup' "$WORK/writer.err" || {
			kill_writer
			skip "old kernels: the writer cannot be preloaded"
			return
		}
		equal "$(stat_of "$RING" .writer.io)" "$backend" "the back end where $rung is known"
		journal push "$JOURNAL" "$RING" 0 20000 5000
		stop_writer
		whole "$WORK/log"
	done
}

case_refused_io_uring() {
	local error
	for error in EPERM ENOSYS; do
		begin
		rm -f "$SHM/shmlog.$RING"
		refuse_io_uring "$error" shmlog-writer -r "$RING" -d "$WORK/log" 2>>"$WORK/writer.err" &
		WRITER=$!
		wait_until 20 writer_runs_or_ended "$RING"
		journal push "$JOURNAL" "$RING" 0 20000 5000
		stop_writer
		whole "$WORK/log"
	done
}

# From none at all up to enough: a reason, or a log that is whole.
case_few_descriptors() {
	local limit status started=0
	shmlog-ctl create "$RING"
	for limit in 3 4 5 6 7 8 9 10 11 12 13 14 16 20; do
		journal push "$JOURNAL" "$RING" 0 50 0
		status=0
		: >"$WORK/writer.err"
		timeout 20 prlimit --nofile="$limit" shmlog-writer -r "$RING" -d "$WORK/log" --once \
			--stop-timeout 1s 2>"$WORK/writer.err" || status=$?
		if ((status == 0)); then
			started=$((started + 1))
		elif ((status == 127)) && grep -q 'shared librar' "$WORK/writer.err"; then
			continue # not even the program could be loaded
		else
			echo "$status" >"$WORK/status"
			ended 73 74 78
			grep -q '^shmlog-writer: .*' "$WORK/writer.err" || violated "no reason with $limit descriptors"
		fi
	done
	((started > 0)) || violated "20 descriptors are not enough"
	finish "$WORK/log"
}

# What is open can be written, nothing can be made or renamed; then it can again.
case_immutable_directory() {
	disk_of_memory 64M
	start_writer "$RING" "$DISK/log" --flush-interval 5ms --max-file 1M --lane-size 64K
	start_streams 1
	wait_until 20 written_beyond 1000
	if ! chattr -R +i "$DISK/log" 2>"$WORK/chattr.err"; then
		stop_streams
		stop_writer
		skip "an immutable directory: $(head -1 "$WORK/chattr.err")"
		return
	fi
	wait_until 20 drops_beyond 1000
	kill -0 "$WRITER" || violated "the writer has ended"
	chattr -R -i "$DISK/log"
	stop_streams
	wait_until 20 drained "$RING"
	stop_writer
	finish "$DISK/log"
}

# Whoever removes the log loses it; the writer ends or goes on, and the next one works.
case_removed_directory() {
	start_writer "$RING" "$WORK/log" --flush-interval 5ms --max-file 1M --stop-timeout 2s
	journal push "$JOURNAL" "$RING" 0 2000 5000
	shmlog-ctl flush "$RING"
	rm -r "$WORK/log"
	journal push "$JOURNAL" "$RING" 0 20000 0
	kill -TERM "$WRITER" 2>/dev/null || true
	await_end
	ended 0 69 73 74
	rm -f "$JOURNAL"
	journal make "$JOURNAL" 4 100000
	timeout 60 shmlog-writer -r "$RING" -d "$WORK/other" --once --adopt 2>>"$WORK/writer.err" ||
		violated "the next writer ended with $?"
	journal push "$JOURNAL" "$RING" 0 1000 0
	timeout 60 shmlog-writer -r "$RING" -d "$WORK/other" --once 2>>"$WORK/writer.err" ||
		violated "the writer after it ended with $?"
	shmlog-cat -o raw "$WORK/other" | tail -n 1000 >"$WORK/raw"
	journal check "$JOURNAL" <"$WORK/raw" >"$WORK/totals" || violated "what came later is not there"
	read -r _ _ found _ <"$WORK/totals"
	equal "$found" 1000 "records after a removed log"
	rm -rf "$WORK/other"
}

for case_name in $(declare -F | sed -n 's/^declare -f case_//p'); do
	[[ $case_name == "${1:-}"* ]] || continue
	begin
	"case_$case_name"
	no_disks
	cases=$((cases + 1))
done
((cases > 0)) || {
	say "no case begins with ${1:-}"
	exit 2
}
say "$((cases - skipped)) real faults, $skipped skipped"
