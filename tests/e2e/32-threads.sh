#!/bin/bash
# More threads than lanes; threads that come and go: all publish, in order, and lanes are not used up.
. "$(dirname "$0")/lib.sh"

# THREADS RECORDS: of each thread 0 .. RECORDS - 1, in order.
check_threads() {
	awk -v threads="$1" -v records="$2" '
	$2 != got[$1] + 0 { print "thread " $1 ": record " $2 ", not " got[$1] + 0; bad = 1; exit }
	{ got[$1]++ }
	END {
		for (i = 0; i < threads && !bad; i++)
			if (got[i] != records) { print "thread " i ": " got[i] " records"; bad = 1 }
		exit bad
	}'
}

# many NAME THREADS RECORDS ROUNDS CREATE-OPTION...
many() {
	local ring=$RING.$1 threads=$2 records=$3 rounds=$4
	shift 4
	shmlog-ctl create "$ring" "$@"
	start_writer "$ring" "$WORK/log"
	timeout 60 many_threads "$ring" "$threads" "$records" "$rounds" || fail "$ring: pushes failed"
	wait_until 20 drained "$ring"
	equal "$(stat_of "$ring" '[.enqueued, .dropped, .abandoned] | @csv')" \
		"$((threads * rounds * records)),0,0" "enqueued, dropped, abandoned"
	stop_writer
	published many "$WORK/log" | check_threads $((threads * rounds)) "$records" || fail "$ring"
	rm -r "$WORK/log"
}

many beyond 64 2000 1 --lanes 8
many churn 16 10 60 --lanes 8
many one 16 2000 1 --lanes 1

# The compiled example.
shmlog-ctl create "$RING"
start_writer "$RING" "$WORK/log"
threads "$RING" 4 10000 >"$WORK/told"
stop_writer
dropped=$(grep -c '^dropped' "$WORK/told" || true)
equal "$(published threads "$WORK/log" | wc -l)" $((40000 - dropped)) "records of the example"
published threads "$WORK/log" | awk '{ print $2, $4 }' | sort -s -n -k1,1 >"$WORK/out"
for t in 0 1 2 3; do
	seq 0 9999 | sed "s/^/$t /"
done | grep -vxFf <(sed -n 's/^dropped thread \(.*\) record \(.*\)/\1 \2/p' "$WORK/told") >"$WORK/want"
same "$WORK/want" "$WORK/out"
