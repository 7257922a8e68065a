#!/bin/bash
# What shmlog-cat offers: formats, counts, pages, sources, levels, standard input, one file.
. "$(dirname "$0")/lib.sh"

seq 1 5000 >"$WORK/a"
printf 'empty lines:\n\n\n\033[31mred\ttab\\\nno UTF-8: \377\nsch\303\266n\n' >"$WORK/b"
start_writer "$RING" "$WORK/log"
shmlog-push -r "$RING" --wait --name a <"$WORK/a"
shmlog-push -r "$RING" --wait --name b --level error <"$WORK/b"
stop_writer

published a "$WORK/log" >"$WORK/out"
same "$WORK/a" "$WORK/out"
published b "$WORK/log" >"$WORK/out"
same "$WORK/b" "$WORK/out"

# Order of time over both: b came second.
cat "$WORK/a" "$WORK/b" >"$WORK/want"
shmlog-cat -o raw "$WORK/log" >"$WORK/out"
same "$WORK/want" "$WORK/out"
shmlog-cat -o raw -n 7 "$WORK/log" >"$WORK/out"
tail -n 7 "$WORK/want" | cmp - "$WORK/out" || fail "-n 7"
shmlog-cat -o raw --level error "$WORK/log" >"$WORK/out"
same "$WORK/b" "$WORK/out"

# JSON: valid, complete, the bytes come back.
shmlog-cat -o json --source b "$WORK/log" >"$WORK/json"
equal "$(jq -s 'map(select(.source == "b" and .level and .pid > 0)) | length' "$WORK/json")" 6 "objects"
equal "$(jq -r 'select(.message) | .time' "$WORK/json" | grep -cE '^[0-9-]{10}T[0-9:]{8}\.[0-9]{9}')" 5 \
	"times to the nanosecond"
jq -j 'select(.message) | .message + "\n"' "$WORK/json" >"$WORK/out"
grep -av 'no UTF-8' "$WORK/b" | cmp - "$WORK/out" || fail "messages"
equal "$(jq -r 'select(.message_base64) | .message_base64' "$WORK/json" | base64 -d | od -An -tx1 | tr -d ' \n')" \
	"$(printf 'no UTF-8: \377' | od -An -tx1 | tr -d ' \n')" "bytes that are not UTF-8"

# Text: one line a record, nothing that steers a terminal.
shmlog-cat "$WORK/log" >"$WORK/out"
((!$(tr -d '\n\t\040-\176\200-\377' <"$WORK/out" | wc -c))) || fail "control characters in text"
((!$(grep -c $'\xff' "$WORK/out" || true))) || fail "bytes in text that are not UTF-8"
equal "$(grep -c 'red' "$WORK/out")" 1 "the red line"

# Pages, one file, a stream of sealed files.
shmlog-cat -o pages "$WORK/log" >"$WORK/out"
[[ -s $WORK/out ]] || fail "no pages"
file=$(find "$WORK/log" -name '*.shmlog' | sort | head -n 1)
shmlog-cat -o raw "$file" >"$WORK/out"
same "$WORK/want" "$WORK/out"
find "$WORK/log" -name '*.shmlog' | sort | xargs cat | shmlog-cat -o raw - >"$WORK/out"
same "$WORK/want" "$WORK/out"
expect 0 shmlog-cat --page 1 -o raw "$WORK/log"

# A full device is an error, not a shorter log.
status=0
shmlog-cat -o raw "$WORK/log" >/dev/full 2>"$WORK/err" || status=$?
equal "$status" 74 "exit code for a full device"
