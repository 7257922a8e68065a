#!/bin/bash
# Producers are killed by SIGKILL one after the other, in own lanes and in a one-lane ring: the
# writer never stalls, what was published arrives once and in order, no lane or owner id is lost.
. "$(dirname "$0")/lib.sh"

readonly count=${FULL:+1500}

# Of child c: 0 .. n - 1, perhaps n, in order, whole.
check_records() {
	awk 'NR == FNR { published[$1] = $2; next }
	{
		if ($1 in published == 0 || $2 != got[$1] + 0) {
			print "child " $1 ": record " $2 ", not " got[$1] + 0; bad = 1; exit
		}
		if (length($3) != $2 * 37 % 150 || $3 ~ /[^x]/) {
			print "child " $1 ": record " $2 " is torn: " $0; bad = 1; exit
		}
		got[$1]++
	}
	END {
		if (bad) exit 1
		for (child in published) {
			if (got[child] != published[child] && got[child] != published[child] + 1) {
				print "child " child ": " got[child] " records, published " published[child]
				exit 1
			}
			total += got[child]
		}
		print total " records"
	}' "$1" "$2"
}

kill_in() {
	local ring=$1 log=$2
	shift 2
	shmlog-ctl create "$ring" "$@"
	start_writer "$ring" "$log" --max-file 64M
	timeout "${FULL:+600}${FULL:-60}" kill_producers "$ring" "${count:-300}" 42 >"$WORK/journal" ||
		fail "a producer could not publish"
	echo last | timeout 10 shmlog-push --wait -r "$ring" --name last || fail "no lane is left"
	wait_until 20 drained "$ring"
	equal "$(stat_of "$ring" '[.dropped_by.corrupt, .quarantined_lanes] | @csv')" 0,0 \
		"corrupt, quarantined"
	stop_writer
	published victim "$log" >"$WORK/out"
	check_records "$WORK/journal" "$WORK/out" || fail "$ring: the log is not what was published"
	equal "$(published last "$log")" last "the last record"
	sound "$log"
}

kill_in "$RING" "$WORK/own"
rm -r "$WORK/own"
kill_in "$RING.shared" "$WORK/shared" --lanes 1
