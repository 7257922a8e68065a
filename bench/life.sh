#!/bin/bash
# life.sh - a log that is limited, with and without compression: what it costs the drain, what it
# takes on the disk, and whether everything that it keeps is what was pushed.
#
#	make bench-life [MB=3000] [RATE=200] [ROUNDS=3]
#
# MB megabytes of text found on this machine, and as many of random records, go through
# --max-file 64M --max-volume 256M --max-total 1G, at RATE megabytes a second, ROUNDS times, with
# compression and without it in turns. bench/life.c says what a stall is. Then what is kept must be
# the end of what was pushed, byte for byte; archives must be sound for lz4; and all files together
# may never have taken more than --max-total and one volume. Asserts no time. Exit 1: something of
# that failed.
. "$(dirname "$0")/../tests/e2e/lib.sh"

readonly mb=${MB:-3000} rate=${RATE:-200} rounds=${ROUNDS:-3}
readonly peak_max=$(((1024 + 256) << 20))
life=$SHMLOG_BIN/bench/life

# check KIND: what is kept, against what was pushed.
check() {
	local bytes kept archive
	bytes=$("$life" print "$1" "$WORK/text" "$mb" | wc -c)
	kept=$(shmlog-cat -o raw --source life "$WORK/log" | wc -c)
	((kept > 0)) || fail "nothing was kept"
	cmp <(shmlog-cat -o raw --source life "$WORK/log") \
		<("$life" print "$1" "$WORK/text" "$mb" | tail -c +$((bytes - kept + 1))) ||
		fail "what is kept is not what was pushed"
	sound "$WORK/log"
	while read -r archive; do
		lz4 -tq "$archive" || fail "lz4 does not know $archive"
	done < <(find "$WORK/log" -name '*.lz4')
	awk -v kept="$kept" 'BEGIN { printf " %8.0f", kept / 1e6 }'
}

count() {
	find "$WORK/log" -name "$1" | wc -l
}

# run KIND COMPRESS
run() {
	local ring=$RING.$1.$2 line
	start_writer "$ring" "$WORK/log" --lanes 2 --max-file 64M --max-volume 256M --max-total 1G "--$2"
	line=$("$life" push "$ring" "$WORK/log" "$1" "$WORK/text" "$mb" "$rate")
	shmlog-ctl flush "$ring"
	stop_writer
	echo "$1 $2 $line" >>"$WORK/lines"
	awk -v line="$line" -v kind="$1" -v compress="$2" 'BEGIN { split(line, a, " ")
		printf "%-6s %-12s %8.0f %8.1f %8.1f %8.1f %8.1f %8.0f", kind, compress, a[2],
			a[3] / 1e3, a[4] / 1e3, a[5] / 1e3, a[6] / 1e3, a[7] / 1048576 }'
	((${line##* } <= peak_max)) || fail "at its peak the log took ${line##* } bytes"
	check "$1"
	printf ' %5d %5d\n' "$(count '*.lz4')" "$(count '*.shmlog')"
	rm -r "$WORK/log" "$SHM/shmlog.$ring"
}

corpus 2000000 "$WORK/text"
rm "$WORK/corpus.pool"
printf '%-6s %-12s %8s %35s %8s %8s %11s\n' "" "" "" "drain stood still, ms" "peak" "kept" "files"
printf '%-6s %-12s %8s %8s %8s %8s %8s %8s %8s %5s %5s\n' of "" MB/s p50 p99 p99.9 max MiB MB lz4 plain
for ((round = 0; round < rounds; round++)); do
	for kind in text noise; do
		run "$kind" compress
		run "$kind" no-compress
	done
done

# The median of the rounds, side by side.
median() { # KIND COMPRESS
	awk -v kind="$1" -v compress="$2" '$1 == kind && $2 == compress { print $7 }' "$WORK/lines" |
		sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}
for kind in text noise; do
	awk -v kind="$kind" -v with="$(median $kind compress)" -v without="$(median $kind no-compress)" 'BEGIN {
		printf "%s: p99.9 with compression %.1f ms, without %.1f ms: %.2f times\n",
			kind, with / 1e3, without / 1e3, with / without }'
done
