#!/bin/bash
# Full volumes become archives that lz4 knows, beside the writer and by hand: nobody who reads notices,
# what cannot be compressed stays, and the child that compresses is modest and dies with its writer.
. "$(dirname "$0")/lib.sh"

# names LOG PATTERN: of its files.
names() {
	(cd "$WORK/$1" && find . -name "$2" | sort)
}
# Nothing sealed is left before the newest volume, but in $WORK/stays.
is_archived() {
	local newest
	newest=$(find "$WORK/$1" -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
	names "$1" '*.shmlog' | grep -v "^./${newest##*/}/" | cmp -s - "$WORK/stays" &&
		[[ -z $(names "$1" '*.tmp') ]]
}
: >"$WORK/stays"

# Text, then noise, then text; each begins a file. Its sealed files are kept in $WORK/before.
noise() {
	head -c 3000000 /dev/urandom | tr '\n' ' ' | fold -b -w 9999
	echo
}
corpus 60000 "$WORK/in"
noise >"$WORK/noise.in"
start_writer "$RING" "$WORK/log" --max-file 1M --max-volume 3M --no-compress
shmlog-push -r "$RING" --wait --name s <"$WORK/in"
shmlog-ctl rotate "$RING"
shmlog-push -r "$RING" --wait --name noise <"$WORK/noise.in"
shmlog-ctl rotate "$RING"
shmlog-push -r "$RING" --wait --name s <"$WORK/in"
stop_writer
cp -al "$WORK/log" "$WORK/before"
cp -al "$WORK/log" "$WORK/hand"
has_noise() {
	[[ -n $(shmlog-cat -o raw -n 1 --source noise "$1" | head -c 1) ]]
}
while read -r name; do
	! has_noise "$WORK/log/$name" || echo "$name"
done < <(names log '*.shmlog') >"$WORK/noisy"
(($(wc -l <"$WORK/noisy") >= 3)) || fail "too few files of noise"

# The writer's child archives them, while a follower stands still in the first file: he misses nothing.
mkfifo "$WORK/followed"
shmlog-cat -f -o raw --source s "$WORK/log" >"$WORK/followed" 2>"$WORK/follow.err" &
exec 4<"$WORK/followed"
dd bs=1000 count=1 iflag=fullblock status=none <&4 >"$WORK/seen"
cp "$WORK/noisy" "$WORK/stays"
start_writer "$RING" "$WORK/log" --max-file 1M --max-volume 3M
echo last | shmlog-push -r "$RING" --wait --name s
shmlog-ctl flush "$RING" # from now on this run has a file of its own
wait_until 60 is_archived log
refused 75 "$WORK/log" shmlog-writer --archive -d "$WORK/log"
cat "$WORK/in" "$WORK/in" >"$WORK/want"
echo last >>"$WORK/want"
timeout 30 head -c $(($(stat -c %s "$WORK/want") - 1000)) <&4 >>"$WORK/seen"
same "$WORK/want" "$WORK/seen"
exec 4<&-
stop_writer

# Each is a sound archive of what the file was, and tells its size.
archives=$(names log '*.lz4' | wc -l)
((archives >= 6)) || fail "only $archives archives"
while read -r archive; do
	original=$WORK/before/${archive%.lz4}
	archive=$WORK/log/$archive
	lz4 -tq "$archive" || fail "lz4 does not know $archive"
	lz4 -dcq "$archive" | cmp - "$original" || fail "$archive is not what the file was"
	lz4 --list "$archive" >"$WORK/list"
	awk 'NR == 2 && $1 == 1 && $2 == "LZ4Frame" && $5 + 0 > 0 { ok = 1 } END { exit !ok }' "$WORK/list" ||
		fail "not one frame that tells its size: $(cat "$WORK/list")"
	[[ ! $archive -ot $original && ! $archive -nt $original ]] || fail "$archive has another time"
done < <(names log '*.lz4')

# The archives alone, one after the other, are what the log says of these files.
mkdir "$WORK/sealed"
while read -r archive; do
	mkdir -p "$WORK/sealed/${archive%/*}"
	ln "$WORK/before/${archive%.lz4}" "$WORK/sealed/${archive%/*}"
done < <(names log '*.lz4')
for format in json raw; do
	# The files of noise are missing: 3.
	expect 3 shmlog-cat -o $format "$WORK/sealed"
	mv "$WORK/out" "$WORK/want"
	lz4 -dcmq "$WORK"/log/*/*.lz4 | shmlog-cat -o $format - >"$WORK/out" 2>"$WORK/err" || true
	same "$WORK/want" "$WORK/out"
done
published noise "$WORK/log" >"$WORK/out"
same "$WORK/noise.in" "$WORK/out"
sound "$WORK/log"
say "$archives archives, $(wc -l <"$WORK/noisy") files of noise as they were"

# By hand: the same, said how far it is if somebody asks; the newest volume stays.
expect 0 shmlog-writer --archive -d "$WORK/hand" --progress
grep -qE '([0-9]+)/\1 files, ([0-9]+)/\2 MB' "$WORK/err" || fail "no progress: $(cat "$WORK/err")"
is_archived hand || fail "not archived by hand: $(names hand '*.shmlog')"
expect 0 shmlog-writer --archive -d "$WORK/hand"
[[ ! -s $WORK/err ]] || fail "more than nothing to say: $(cat "$WORK/err")"
published s "$WORK/hand" >"$WORK/out"
cat "$WORK/in" "$WORK/in" | same - "$WORK/out"
sound "$WORK/hand"
mkdir "$WORK/nothing"
refused 65 "$WORK/nothing" shmlog-writer --archive -d "$WORK/nothing"
refused 69 "$WORK/none" shmlog-writer --archive -d "$WORK/none"
[[ -z $(ls -A "$WORK/nothing") && ! -e $WORK/none ]] || fail "something was made where no log is"

# A child that nobody lets say its last word stays, and can be looked at. It ends with its writer.
mkfifo "$WORK/mute"
exec 5<>"$WORK/mute"
head -c 65536 /dev/zero >&5
cp -al "$WORK/before" "$WORK/child"
shmlog-writer -r "$RING.child" -d "$WORK/child" --io pwrite --progress 2>&5 3>&- &
WRITER=$!
wait_until 20 writer_runs_or_ended "$RING.child"
echo last | shmlog-push -r "$RING.child" --name s
child=
has_child() {
	child=$(stat_of "$RING.child" .writer.archiver_pid)
	[[ $child != null ]]
}
wait_until 30 has_child
wait_until 60 is_archived child
read -r -a about <"/proc/$child/stat"
equal "${about[1]} ${about[3]} ${about[18]} ${about[40]}" "(shmlog-archive) $WRITER 19 5" \
	"name, parent, nice value and SCHED_IDLE of the child"
equal "$(ionice -p "$child")" idle "its I/O class"
is_gone() {
	[[ ! -e /proc/$child || $(cut -d ' ' -f 3 "/proc/$child/stat") == Z ]]
}
! is_gone || fail "the child has ended although it had something to say"
kill_writer
wait_until 10 is_gone
