#!/bin/bash
# What is deleted: the oldest files, as the limits say, and no more than that, each with a line and
# counted; never the newest sealed file, nor the one being written. Limits change by HUP.
. "$(dirname "$0")/lib.sh"

kilobytes() {
	seq -f '%0999.0f' "$1" "$2"
}
# numbers LOG PATTERN: of these files, in order.
numbers() {
	find "$WORK/$1" -mindepth 2 -name "$2" | sed -E 's|.*/0*([0-9]+)\..*|\1|' | sort -un | tr '\n' ' '
}
sealed_are() {
	[[ $(numbers log '*.shmlog') == "$1" ]]
}
# on_disk LOG: each file, and what it takes.
on_disk() {
	find "$WORK/$1" -mindepth 2 -type f -printf '%P %b\n' | awk '{ print $1, $2 * 512 }' | sort
}
# What the writer says of what it deletes: file, bytes, limit.
deleted() {
	sed -nE 's|^shmlog-writer: deleted ([^,]*), ([0-9]+) bytes \((.*)\)$|\1 \2 \3|p' "$WORK/writer.err"
}
# What is left is the end of what was pushed.
ends_as() {
	published s "$WORK/$1" >"$WORK/out"
	tail -n "$(wc -l <"$WORK/out")" "$WORK/in" | cmp -s - "$WORK/out" ||
		fail "what is left of $1 is not the end of what was pushed"
	sound "$WORK/$1"
}

: >"$WORK/conf"
start_writer "$RING" "$WORK/log" -c "$WORK/conf" --max-file 1M --max-volume 4M --no-compress
kilobytes 1 16000 >"$WORK/in"
shmlog-push -r "$RING" --wait --name s <"$WORK/in"
shmlog-ctl rotate "$RING"
on_disk log >"$WORK/all"
last=$(numbers log '*.shmlog' | wc -w)
ahead=$(numbers log '*.open' | wc -w) # it counts as well
((last >= 16)) || fail "only $last files"
equal "$(deleted)" "" "deleted without a limit"

# limit FROM OPTION VALUE: by this limit, and once it is reloaded, all goes that is older than FROM.
is_counted() {
	[[ $(stat_of "$RING" '.writer | "\(.deleted_files) \(.deleted_bytes)"') == \
		"$(awk '{ bytes += $2 } END { print NR, bytes }' "$WORK/want")" ]]
}
limit() {
	echo "$2 = $3" >"$WORK/conf"
	kill -HUP "$WRITER"
	wait_until 10 sealed_are "$(seq -s ' ' "$1" "$last") "
	head -n $(($1 - 1)) "$WORK/all" | tail -n +$(($(wc -l <"$WORK/want") + 1)) |
		sed "s/\$/ --$2/" >"$WORK/due"
	cat "$WORK/due" >>"$WORK/want"
	deleted | cmp - "$WORK/want" || fail "what is said of $2: $(deleted)"
	wait_until 10 is_counted
}
: >"$WORK/want"
limit 4 max-files $((last + ahead - 3))
touch -d '2 hours ago' "$WORK"/log/*/000000000[4578].shmlog
limit 6 max-age 1h # the sixth is young: what lies behind it stays
total=$(($(on_disk log | awk '{ n += $2 } END { print n }') - 1))
limit 7 max-total "$total"
ends_as log
[[ ! -e $WORK/log/0000000001 ]] || fail "a volume without files was left"
limit "$last" max-total 1

# The newest sealed file and the one being written stay, whatever the limit.
kilobytes 16001 16001 >"$WORK/more"
shmlog-push -r "$RING" --name s <"$WORK/more"
cat "$WORK/more" >>"$WORK/in"
shmlog-ctl flush "$RING"
stop_writer
equal "$(numbers log '*')" "$last $((last + 1)) " "files left by the lowest limit"
ends_as log

# Deletion and compression at once, while records come.
: >"$WORK/writer.err"
start_writer "$RING.live" "$WORK/live" --max-file 1M --max-volume 2M --max-files 6
shmlog-push -r "$RING.live" --wait --name s <"$WORK/in"
shmlog-ctl rotate "$RING.live"
has_six() {
	(($(numbers live '*.shmlog*' | wc -w) == 6))
}
wait_until 20 has_six
stop_writer
deleted | sort -c || fail "not the oldest first: $(deleted)"
ends_as live
