#!/bin/bash
# The main job on real text: many processes publish at once, one writer puts it on disk, and every
# record is read back and compared, byte for byte. Run by make demo; leaves nothing behind.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
: "${SHMLOG_BIN:?run make demo}"
export PATH=$SHMLOG_BIN:$SHMLOG_BIN/docs/examples:$PATH

readonly ring=demo-$$
work=$(mktemp -d "${TMPDIR:-/tmp}/shmlog-demo.XXXXXX")
readonly work
readonly sources=(headers packages documents licenses)
readonly threads=4 records=50000

cleanup() {
	local status=$? pids
	mapfile -t pids < <(jobs -p)
	((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "${SHMLOG_SHM_DIR:-/dev/shm}/shmlog.$ring" "$work"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() {
	printf '\n== %s\n' "$*"
}

fail() {
	echo "demo: FAILED: $*" >&2
	exit 1
}

# real_text FILE FIND-ARGUMENT...: lines of files on this machine, some 200,000 of them.
real_text() {
	local out=$1
	shift
	find "$@" -type f -print0 2>/dev/null | sort -z | xargs -0 cat 2>/dev/null | tr -d '\000' |
		awk 'length <= 4000' | head -n 200000 >"$work/once" || true
	[[ -s $work/once ]] || cp README.md "$work/once"
	# What there is little of is published again and again.
	while cat "$work/once"; do :; done 2>/dev/null | head -n 200000 >"$out" || true
}

writer_is_at_work() {
	shmlog-stat -j -r "$ring" 2>/dev/null | jq -e '.rings[0].writer.alive' >/dev/null
}

# The writer tells through the ring that it is there; asked at most 20 seconds long.
wait_for_writer() {
	for ((i = 0; i < 2000; i++)); do
		! writer_is_at_work || return 0
		kill -0 "$writer" 2>/dev/null || fail "the writer did not start"
		sleep 0.01
	done
	fail "the writer is not at work"
}

collect_text() {
	real_text "$work/headers" /usr/include -name '*.h'
	real_text "$work/packages" /var/lib/dpkg/info -name '*.list'
	real_text "$work/documents" /usr/share/doc -name copyright
	real_text "$work/licenses" /usr/share/common-licenses
}

publish() {
	local source pids=()
	for source in "${sources[@]}"; do
		shmlog-push -r "$ring" --wait --name "$source" <"$work/$source" &
		pids+=($!)
	done
	threads "$ring" "$threads" "$records" >"$work/told" &
	pids+=($!)
	for pid in "${pids[@]}"; do
		wait "$pid" || fail "a producer failed"
	done
}

compare_text() {
	local source
	for source in "${sources[@]}"; do
		shmlog-cat -o raw --source "$source" "$work/log" >"$work/back"
		cmp "$work/$source" "$work/back" || fail "$source came back changed"
		printf '%-10s %8d records, %9d bytes: identical\n' "$source" \
			"$(wc -l <"$work/back")" "$(stat -c %s "$work/back")"
	done
}

# Each thread's numbers in order, but for those that it was told were dropped.
compare_threads() {
	shmlog-cat -o raw --source threads "$work/log" >"$work/back"
	sed -n 's/^dropped //p' "$work/told" >"$work/dropped"
	for ((t = 0; t < threads; t++)); do
		seq -f "thread $t record %.0f" 0 $((records - 1)) | grep -vxFf "$work/dropped" >"$work/want"
		grep "^thread $t " "$work/back" | cmp "$work/want" - || fail "thread $t came back changed"
	done
	printf '%-10s %8d records of %d threads: identical (%d dropped, as told)\n' threads \
		"$(wc -l <"$work/back")" "$threads" "$(wc -l <"$work/dropped")"
}

step "collecting text"
collect_text
wc -lc "${sources[@]/#/$work/}" | sed "s|$work/||"

step "starting shmlog-writer, then ${#sources[@]} shmlog-push and a program of $threads threads at once"
shmlog-writer -r "$ring" -d "$work/log" --max-file 8M &
writer=$!
wait_for_writer
begun=$EPOCHREALTIME
publish
shmlog-ctl flush "$ring"
awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "published and durable in %.1f s\n", b - a }'

step "shmlog-stat -p"
shmlog-stat -p -r "$ring"

step "stopping the writer, reading everything back"
kill -TERM "$writer"
wait "$writer" || fail "the writer ended with $?"
compare_text
compare_threads
shmlog-ctl remove "$ring"
step "every published record came back, once, in its source's order"
