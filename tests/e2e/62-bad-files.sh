#!/bin/bash
# Logs that are damaged, cut, empty, foreign, missing or forbidden: shmlog-cat says so, gives what
# is sound, and never crashes or hangs.
. "$(dirname "$0")/lib.sh"

corpus 120000 "$WORK/in"
start_writer "$RING" "$WORK/good" --max-file 1M
shmlog-push -r "$RING" --wait --name s <"$WORK/in"
stop_writer
sound "$WORK/good"
files=$(find "$WORK/good" -name '*.shmlog' | wc -l)
((files >= 3)) || fail "only $files files"

# copy: a log to spoil in $WORK/log; nth N: one of its files.
copy() {
	rm -rf "$WORK/log"
	cp -r "$WORK/good" "$WORK/log"
}
nth() {
	find "$WORK/log" -name '*.shmlog' | sort | sed -n "${1}p"
}

# What comes out is lines of the input in their order, and the exit code is 3.
damaged() {
	local what=$1 status=0
	timeout 20 shmlog-cat -o raw --source s "$WORK/log" >"$WORK/out" 2>"$WORK/err" || status=$?
	equal "$status" 3 "exit code for a log with $what"
	[[ -s $WORK/err ]] || fail "nothing said about $what"
	diff --speed-large-files "$WORK/in" "$WORK/out" >"$WORK/diff" || true
	! grep -q '^>' "$WORK/diff" || fail "records that were never pushed, with $what"
}

flip() { # FILE OFFSET: one bit
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# A bit anywhere in a page: header, records, length, checksum.
for offset in 4096 4100 4110 4200 9000 100000; do
	copy && flip "$(nth 2)" "$offset"
	damaged "a bit flipped at $offset"
	(($(wc -l <"$WORK/out") > 60000)) || fail "only $(wc -l <"$WORK/out") records left"
done
copy && flip "$(nth 2)" 50
damaged "a bit flipped in a FILE page"
copy && truncate -s -5000 "$(nth 2)"
damaged "a file that was cut"
copy && truncate -s 100 "$(nth 2)"
damaged "a file that was cut to nearly nothing"
copy && : >"$(nth 2)"
damaged "an empty file"
copy && rm "$(nth 2)"
damaged "a missing file"
copy && head -c 300000 /dev/urandom >"$(nth 2)"
damaged "a foreign file"
copy && truncate -s +64K "$(nth 2)" # it may be 1M already
damaged "zeros behind the end"
copy && mkdir "$WORK/log/0000000009" && cp "$(nth 2)" "$WORK/log/0000000009"
damaged "a number that is there twice"
equal "$(wc -l <"$WORK/err")" 1 "lines about a number that is there twice"
same "$WORK/in" "$WORK/out"
copy && second=$(nth 2) && mv "$WORK/in" "$second.lz4" && cp "$second.lz4" "$WORK/in" && rm "$second"
damaged "text that is named like an archive"
equal "$(wc -l <"$WORK/err")" 1 "lines about text that is named like an archive"
grep -q "$(basename "$second").lz4" "$WORK/err" || fail "the archive is not named: $(cat "$WORK/err")"

# Removed under who follows it and has read all: one line, and the end.
copy
rm "$WORK/out"
shmlog-cat -f -o raw --source s "$WORK/log" >"$WORK/out" 2>"$WORK/err" &
follower=$!
wait_until 20 cmp -s "$WORK/in" "$WORK/out"
rm -r "$WORK/log"
status=0
wait "$follower" || status=$?
equal "$status" 74 "exit code for a log that was removed"
equal "$(wc -l <"$WORK/err")" 1 "lines about a log that was removed"
grep -q removed "$WORK/err" || fail "not told: $(cat "$WORK/err")"

# Single files and things that are no log.
refused 65 "$WORK/in" shmlog-cat "$WORK/in"
: >"$WORK/empty"
expect 65 shmlog-cat "$WORK/empty"
mkdir "$WORK/nothing"
expect 65 shmlog-cat "$WORK/nothing"
refused 74 "$WORK/none" shmlog-cat "$WORK/none"
status=0
shmlog-cat -o raw - <"$WORK/in" >"$WORK/out" 2>"$WORK/err" || status=$?
equal "$status" 65 "exit code for text on standard input"
status=0
head -c 1000000 /dev/urandom | shmlog-cat -o raw - >"$WORK/out" 2>"$WORK/err" || status=$?
equal "$status" 65 "exit code for noise on standard input"

# A directory that may not be entered or written.
if (($(id -u) == 0)); then
	as_nobody() {
		timeout 20 setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	}
	chmod 755 "$WORK"
	mkdir -m 700 "$WORK/private"
	cp -r "$WORK/good" "$WORK/private/log"
	refused 77 "$WORK/private/log" as_nobody "$SHMLOG_BIN/shmlog-cat" "$WORK/private/log"
	copy && chmod -R a+rX "$WORK/log" && chmod 0 "$(nth 2)"
	expect 3 as_nobody "$SHMLOG_BIN/shmlog-cat" -o raw --source s "$WORK/log"
	equal "$(wc -l <"$WORK/err")" 1 "lines about a file that may not be read"
	grep -q "$(basename "$(nth 2)").*Permission denied" "$WORK/err" ||
		fail "not told: $(cat "$WORK/err")"
	(($(wc -l <"$WORK/out") > 60000)) || fail "only $(wc -l <"$WORK/out") records left"
fi
