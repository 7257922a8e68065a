#!/bin/bash
# A gap is marked at its place, also if its producer lives on and the writer comes and goes.
. "$(dirname "$0")/lib.sh"

shmlog-ctl create "$RING" --lanes 2 --lane-size 64K
mkfifo "$WORK/pipe"
shmlog-push -r "$RING" --name p <"$WORK/pipe" 2>"$WORK/err" &
pusher=$!
exec 3>"$WORK/pipe"
settled() { # all that went into the pipe was published or dropped
	[[ $(stat_of "$RING" '.enqueued + .dropped') == "$1" ]]
}
seq 1 20000 >&3
wait_until 20 settled 20000
start_writer "$RING" "$WORK/log"
wait_until 20 drained "$RING"
echo after >&3
wait_until 20 settled 20001
wait_until 20 drained "$RING"
dropped=$(stat_of "$RING" .dropped)
((dropped > 1000)) || fail "only $dropped were dropped"
exec 3>&-
status=0
wait "$pusher" || status=$?
equal "$status" 1 "exit code of the push"
stop_writer

# The log in order: 1 .. k, the gap of 20000 - k, "after".
kept=$((20000 - dropped))
shmlog-cat -o json "$WORK/log" >"$WORK/json"
jq -r 'if .lost then "lost \(.lost) \(.reason)" else .message end' "$WORK/json" |
	grep -E '^([0-9]+|after|lost .*)$' >"$WORK/out"
{ seq 1 "$kept"; echo "lost $dropped full"; echo after; } >"$WORK/want"
same "$WORK/want" "$WORK/out"
