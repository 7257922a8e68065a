#!/bin/bash
# A log's directory that somebody has been at: files that are foreign, empty, missing, twice, or
# something else; that may not be read or deleted; a volume that disappears. Each is told in one line,
# everything else goes on, and what is not the log's stays.
. "$(dirname "$0")/lib.sh"

kilobytes() {
	seq -f '%0999.0f' "$1" "$2"
}
# name VOLUME FILE [SUFFIX]
name() {
	printf '%s/log/%010d/%010d.shmlog%s' "$WORK" "$1" "$2" "${3-}"
}
has_files() {
	(($(find "$WORK/log" -path '*/0*/*.shmlog*' -type f | sed 's|.*/||; s|\..*||' | sort -u | wc -l) == $1))
}
# told_once PATTERN: by the writer.
told_once() {
	(($(grep -cE -- "$1" "$WORK/writer.err") == 1)) || fail "not told once: $1"
}

kilobytes 1 8000 >"$WORK/in"
start_writer "$RING" "$WORK/log" --max-file 1M --max-volume 2M --no-compress
shmlog-push -r "$RING" --wait --name s <"$WORK/in"
stop_writer
[[ -e $(name 5 9) ]] || fail "too few files: $(ls "$WORK"/log/*)"

# Somebody was there.
echo notes >"$WORK/log/0000000001/notes.txt"
mkdir "$WORK/log/attic"
cp "$(name 1 1)" "$WORK/log/attic"
: >"$(name 1 2)"
rm "$(name 2 3)"
cp "$(name 2 4)" "$(name 3 4)"
rm "$(name 3 5)"
echo something else | lz4 -q >"$(name 3 6 .lz4)"
rm "$(name 4 7)"
no_files() { # what has a file's name, and is none
	mkdir "$(name 3 5)"
	ln -s "$WORK/in" "$(name 4 7)"
}
no_files
# Empty, a directory, a link, another archive.
expect 1 shmlog-writer --archive -d "$WORK/log"
sed -E 's|.*/log/0*([0-9]+)/0*([0-9]+)\.[^:]*: ([^;,]*).*|\1 \2 \3|' "$WORK/err" | sort >"$WORK/out"
cat >"$WORK/want" <<'END'
1 2 not a sound sealed file
3 5 not a regular file
3 6 holds something else than the sealed file beside it
4 7 not a regular file
END
same "$WORK/want" "$WORK/out"
[[ -s $(name 1 1 .lz4) && -s $(name 2 4 .lz4) && -s $(name 3 4 .lz4) && -s $(name 4 8 .lz4) ]] ||
	fail "the others were not compressed"

# A writer that goes on here goes through all that is a file, and passes by what is none. (With that
# at its end, where it would go on, it does not start.)
rmdir "$(name 3 5)"
rm "$(name 4 7)"
: >"$WORK/conf"
start_writer "$RING" "$WORK/log" -c "$WORK/conf" --max-file 1M --max-volume 2M --no-compress
no_files
kilobytes 8001 8100 >"$WORK/more"
shmlog-push -r "$RING" --wait --name s <"$WORK/more"
shmlog-ctl rotate "$RING"
echo 'max-files = 2' >"$WORK/conf"
kill -HUP "$WRITER"
wait_until 10 has_files 2
told_once "0000000005.shmlog: a log file's name, but not a file in a volume \(2 such names\): left alone"
for path in "$WORK"/log/{0000000001/notes.txt,attic/0000000001.shmlog} "$(name 3 5)" "$(name 4 7)" \
	"$WORK/in"; do
	[[ -e $path ]] || fail "$path is gone, and was not the log's"
done
published s "$WORK/log" >"$WORK/out" || (($? == 3)) # a directory and a link are damage
cat "$WORK/in" "$WORK/more" | tail -n "$(wc -l <"$WORK/out")" | cmp - "$WORK/out"

# The volume being written disappears: what was in it is lost, what comes is kept.
: >"$WORK/writer.err"
echo lost | shmlog-push -r "$RING" --name s
shmlog-ctl flush "$RING"
rm -rf "$WORK"/log/0*
shmlog-ctl rotate "$RING"
echo kept | shmlog-push -r "$RING" --name s
stop_writer
told_once 'cannot seal a file.*No such file'
equal "$(grep -vc ': deleted ' "$WORK/writer.err")" 1 "lines about a volume that has disappeared"
published s "$WORK/log" >"$WORK/out"
equal "$(cat "$WORK/out")" kept "what is left"

# Files that may not be read or deleted: told, the others are compressed, and logging goes on. What
# hindered is not remembered.
user=()
if (($(id -u) == 0)); then # whom nothing hinders
	chmod 755 "$WORK"
	cp "$SHMLOG_BIN"/shmlog-{writer,push,ctl} "$WORK"
	mkdir "$WORK/mine"
	chown 54321:54321 "$WORK/mine"
	user=(setpriv --reuid=54321 --regid=54321 --clear-groups env PATH="$WORK")
fi
push_mine() {
	"${user[@]}" shmlog-push -r "$RING.mine" --wait --name s <"$1"
	"${user[@]}" shmlog-ctl flush "$RING.mine"
}
echo 'compress = no' >"$WORK/conf"
chmod 644 "$WORK/conf"
: >"$WORK/writer.err"
"${user[@]}" shmlog-writer -r "$RING.mine" -d "$WORK/mine" -c "$WORK/conf" --max-file 1M --max-volume 2M \
	2>>"$WORK/writer.err" 3>&- &
WRITER=$!
wait_until 20 writer_runs_or_ended "$RING.mine"
push_mine "$WORK/in"
readonly forbidden=$WORK/mine/0000000002/0000000003.shmlog
chmod 0 "$forbidden"
chmod 555 "$WORK/mine/0000000001"
: >"$WORK/conf"
kill -HUP "$WRITER"
tells() {
	grep -qE -- "$1" "$WORK/writer.err"
}
wait_until 20 tells '0000000001.shmlog.lz4.tmp": create: Permission denied'
wait_until 20 tells '0000000003.shmlog": open: Permission denied'
wait_until 20 test -e "$WORK/mine/0000000003/0000000005.shmlog.lz4"
echo 'max-files = 2' >"$WORK/conf"
kill -HUP "$WRITER"
wait_until 20 tells '0000000001.shmlog: cannot delete it: Permission denied; nothing newer is deleted'
push_mine "$WORK/more"
chmod 755 "$WORK/mine/0000000001"
"${user[@]}" shmlog-ctl rotate "$RING.mine" # a seal is a reason to look again
has_gone() {
	[[ ! -e $forbidden ]]
}
wait_until 20 has_gone
stop_writer
told_once 'cannot delete it'
