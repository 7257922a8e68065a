#!/bin/bash
# --since and --until over a log of many files: what is passed by without being read hides nothing,
# plain, compressed by others, and through a pipe.
. "$(dirname "$0")/lib.sh"

# Three bursts, further apart than the second that a reader leaves on either side of a time.
corpus 30000 "$WORK/in"
start_writer "$RING" "$WORK/log" --max-file 1M --no-compress
for burst in 1 2 3; do
	((burst == 1)) || sleep 2.5
	sed -n "$((burst * 10000 - 9999)),$((burst * 10000))p" "$WORK/in" |
		shmlog-push -r "$RING" --wait --name "burst $burst"
	shmlog-ctl rotate "$RING"
done
stop_writer
(($(find "$WORK/log" -name '*.shmlog' | wc -l) >= 3)) || fail "too few files"
sound "$WORK/log"

shmlog-cat -o json "$WORK/log" >"$WORK/all"
awk -F '"' 'NR % 3000 == 1500 { print $4 }' "$WORK/all" >"$WORK/times"

# What the records say between any two of these times: nanoseconds compare as text.
wanted=()
for from in 1 4 7; do
	for to in 2 5 9; do
		since=$(sed -n "${from}p" "$WORK/times") until=$(sed -n "${to}p" "$WORK/times")
		[[ ! $since > $until ]] || continue
		awk -F '"' -v since="$since" -v until="$until" '$4 >= since && $4 <= until' \
			"$WORK/all" >"$WORK/want.$from.$to"
		wanted+=("$from $to $since $until")
	done
done
((${#wanted[@]} == 6)) || fail "${#wanted[@]} ranges"

# check WHAT COMMAND...: it shows just that.
check() {
	local what=$1 from to since until
	shift
	for range in "${wanted[@]}"; do
		read -r from to since until <<<"$range"
		"$@" --since "$since" --until "$until" -o json >"$WORK/out"
		cmp -s "$WORK/want.$from.$to" "$WORK/out" || fail "$what, from $since to $until"
	done
}

check "plain" shmlog-cat "$WORK/log"
find "$WORK/log" -name '*.shmlog' | sort | xargs cat >"$WORK/stream"
piped() { shmlog-cat - "$@" < <(cat "$WORK/stream"); }
check "through a pipe" piped
check "in one file" shmlog-cat "$WORK/stream"
if command -v lz4 >"$WORK/which"; then
	find "$WORK/log" -name '*.shmlog' -exec lz4 -q --rm -m {} +
	check "compressed" shmlog-cat "$WORK/log"
	unpacked() { lz4 -dcm "$WORK"/log/*/*.lz4 | shmlog-cat - "$@"; }
	check "unpacked into a pipe" unpacked
fi
