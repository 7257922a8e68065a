#!/bin/bash
# shmlog-ctl and shmlog-stat against a live writer; removal; sizes of records.
. "$(dirname "$0")/lib.sh"

start_writer "$RING" "$WORK/log" --flush-interval 1h --sync none
grep -qx "$RING" <(shmlog-ctl list) || fail "the ring is not listed"

# flush: what was published before it is durable after it, however lazy the writer.
seq 1 1000 | shmlog-push -r "$RING" --name s
shmlog-ctl flush "$RING"
equal "$(stat_of "$RING" '[.written, .durable, .pending] | @csv')" 1000,1000,0 "after flush"

# rotate: a new file.
sealed() {
	find "$WORK/log" -name '*.shmlog' | wc -l
}
equal "$(sealed)" 0 "sealed files"
shmlog-ctl rotate "$RING"
echo more | shmlog-push -r "$RING" --name s
shmlog-ctl flush "$RING"
wait_until 10 test -n "$(find "$WORK/log" -name '*.shmlog')"
{ seq 1 1000; echo more; } >"$WORK/want"
published s "$WORK/log" >"$WORK/out"
same "$WORK/want" "$WORK/out"

# level: less urgent records are left out, and counted nowhere.
shmlog-ctl level "$RING" error
echo info | shmlog-push -r "$RING" --level info --name level
echo error | shmlog-push -r "$RING" --level error --name level
shmlog-ctl level "$RING" 7
echo debug | shmlog-push -r "$RING" --level debug --name level
shmlog-ctl flush "$RING"
equal "$(published level "$WORK/log" | tr '\n' ' ')" "error debug " "records by level"
equal "$(stat_of "$RING" .dropped)" 0 "dropped"

# Records of no bytes, of the maximum, and one byte more.
max=$(stat_of "$RING" .record_max)
head -c "$max" /dev/zero | tr '\0' m >"$WORK/max"
{ echo; cat "$WORK/max"; echo; echo; } | shmlog-push -r "$RING" --name sizes
refused_size=0
{ cat "$WORK/max"; echo m; } | shmlog-push -r "$RING" --name sizes 2>"$WORK/err" || refused_size=$?
equal "$refused_size" 1 "exit code for a record over the maximum"
grep -q "$max" "$WORK/err" || fail "the maximum is not named: $(cat "$WORK/err")"
{ cat "$WORK/max"; echo m; } | shmlog-push -r "$RING" --name sizes --truncate
printf 'no newline' | shmlog-push -r "$RING" --name sizes
printf 'a\0b\n' | shmlog-push -r "$RING" --name sizes
shmlog-ctl flush "$RING"
{ echo; cat "$WORK/max"; echo; echo; cat "$WORK/max"; printf '\nno newline\na\0b\n'; } >"$WORK/want"
published sizes "$WORK/log" >"$WORK/out"
same "$WORK/want" "$WORK/out"
equal "$(stat_of "$RING" .dropped_by.size)" 1 "dropped for its size"

# stat: who publishes; all rings; -w.
mkfifo "$WORK/pipe"
shmlog-push -r "$RING" --name lives <"$WORK/pipe" &
exec 3>"$WORK/pipe"
echo hello >&3
lives() {
	[[ $(stat_of "$RING" '.producers[] | select(.name == "lives") | .alive') == "$1" ]]
}
wait_until 10 lives true
equal "$(stat_of "$RING" '.producers[] | select(.name == "lives") | [.enqueued, .dropped] | @csv')" 1,0 \
	"counts of a producer"
refused 75 "$RING" shmlog-ctl remove "$RING"
exec 3>&-
wait_until 10 lives false
shmlog-stat -j | jq -e --arg ring "$RING" '.schema == "shmlog-stat/1" and (.rings | map(.name) | index($ring) != null)' \
	>/dev/null || fail "the ring is not in the list of all"
shmlog-stat -p -r "$RING" >"$WORK/out"
grep -q "^$RING .*$WRITER" "$WORK/out" || fail "no line with the ring and its writer"
{ shmlog-stat -j -w1 -r "$RING" || true; } | head -n 2 | jq -s 'length' >"$WORK/out"
equal "$(cat "$WORK/out")" 2 "rounds of -w1"

# Without a writer flush and rotate say so; removal asks for what is not drained.
stop_writer
refused 69 'no writer' shmlog-ctl flush "$RING"
refused 69 'no writer' shmlog-ctl rotate "$RING"
echo undrained | shmlog-push -r "$RING"
refused 75 'force' shmlog-ctl remove "$RING"
expect 0 shmlog-ctl remove --force "$RING"
grep -q lost "$WORK/err" || fail "the loss is not named"
refused 69 'no such ring' shmlog-ctl remove "$RING"

# A ring that is removed under a waiting producer, and none that comes instead.
shmlog-ctl create "$RING" --lanes 1 --lane-size 64K
seq 1 100000 | shmlog-push -r "$RING" --wait 2>"$WORK/err" &
pusher=$!
is_full() {
	(($(stat_of "$RING" .enqueued) > 500))
}
wait_until 10 is_full
shmlog-ctl remove --force "$RING" 2>"$WORK/lost"
status=0
wait "$pusher" || status=$?
equal "$status" 69 "exit code of a push into a ring that was removed"
