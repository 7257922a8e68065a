#!/bin/bash
# Damage of each kind in a real log: shmlog-cat --verify names it in one clear line, --salvage brings
# every record outside of it, once.
. "$(dirname "$0")/lib.sh"

readonly LOG=$WORK/log VOLUME=0000000001
seq -f 'a %09g and some text that makes it longer' 1 40000 >"$WORK/a"
seq -f 'b %09g and some text that makes it longer' 1 40000 >"$WORK/b"
start_writer "$RING" "$LOG" --max-file 1M
shmlog-push -r "$RING" --wait --name a <"$WORK/a" &
a=$!
shmlog-push -r "$RING" --wait --name b <"$WORK/b"
# Beside the writer: what it writes is sound as far as it is there.
while kill -0 "$a" 2>/dev/null; do
	expect 0 shmlog-cat --verify "$LOG"
done
wait "$a"
expect 0 shmlog-cat --verify "$LOG"
stop_writer

expect 0 shmlog-cat --verify "$LOG"
equal "$(cat "$WORK/out")" "$LOG: sound: $(find "$LOG" -name '*.shmlog' | wc -l) files, $(
	shmlog-cat -o pages "$LOG" | grep -vc SEAL) pages, 80000 records, 0 marked lost, 0 pages missing, 0 bytes bad" \
	"the verdict"
(($(find "$LOG" -name '*.shmlog' | wc -l) >= 4)) || fail "too few files"
shmlog-cat -o raw "$LOG" | sort >"$WORK/all"
sort "$WORK/a" "$WORK/b" | cmp - "$WORK/all" || fail "the log does not hold what was pushed"

# page_of FILE N: number, offset and length of the file's Nth page.
page_of() {
	shmlog-cat -o pages "$1" 2>/dev/null | awk -v n="$2" 'NR == n { print $1, $4, $5 }'
}

# spoil FILE OFFSET: one byte becomes another.
spoil() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "\\x$(printf %x $((byte ^ 0x20)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# without PAGE...: records of the sound log but of these pages, sorted, into $WORK/want.
without() {
	local page
	for page in "$@"; do
		shmlog-cat -o raw --page "$page" "$LOG"
	done | sort >"$WORK/lost"
	comm -23 "$WORK/all" "$WORK/lost" >"$WORK/want"
}

# damaged PATTERN...: in $WORK/bad as many findings as patterns, each in a line.
damaged() {
	expect 3 shmlog-cat --verify "$WORK/bad"
	(($(wc -l <"$WORK/err") == $#)) || fail "not $# findings, but: $(cat "$WORK/err")"
	(($(wc -l <"$WORK/out") == 1)) || fail "not one verdict: $(cat "$WORK/out")"
	local pattern
	for pattern in "$@"; do
		grep -qE -- "$pattern" "$WORK/err" || fail "$(cat "$WORK/err") lacks /$pattern/"
	done
}

# salvaged CODE: what can be read of $WORK/bad is $WORK/want.
salvaged() {
	expect "$1" shmlog-cat --salvage -o raw "$WORK/bad"
	sort "$WORK/out" | cmp - "$WORK/want" || fail "salvage does not bring what is whole"
}

begin() {
	say "$1"
	rm -rf "$WORK/bad"
	cp -r "$LOG" "$WORK/bad"
}

mapfile -t files < <(cd "$LOG" && find . -name '*.shmlog' | sort)
readonly second=$WORK/bad/${files[1]} third=$WORK/bad/${files[2]}
read -r page offset length < <(page_of "$LOG/${files[1]}" 3)
read -r first _ < <(page_of "$LOG/${files[1]}" 1)
read -r next _ < <(page_of "$LOG/${files[2]}" 1)

begin "a byte of a page"
spoil "$second" $((offset + 130))
damaged "${files[1]#./}\": bytes $offset to $((offset + length - 1)) are damaged: page $page is lost"
without "$page"
salvaged 3
expect 3 shmlog-cat --verify "$second"
expect 0 shmlog-cat --verify "$third"

begin "a page of zeros"
dd if=/dev/zero of="$second" bs=4096 seek=$((offset / 4096)) count=$((length / 4096)) conv=notrunc status=none
damaged "bytes $offset to $((offset + length - 1)) are damaged: page $page is lost"
without "$page"
salvaged 3

begin "a FILE page: the salt still stands in it"
spoil "$second" 300
damaged "${files[1]#./}\": bytes 0 to [0-9]+ are damaged: page $first is lost"
without "$first"
salvaged 3

begin "a file that is cut off"
truncate -s $((offset + 1000)) "$second"
damaged "${files[1]#./}\": bytes $offset to $((offset + 999)) are damaged: pages? .*$((next - 1)).* lost, and its SEAL page"
# shellcheck disable=SC2046
without $(seq "$page" $((next - 1)))
salvaged 3

begin "a file that is gone"
rm "$second"
damaged "${files[2]#./}\": pages $first to $((next - 1)) are missing before it"
# shellcheck disable=SC2046
without $(seq "$first" $((next - 1)))
salvaged 0

begin "the oldest file: that is retention"
rm "$WORK/bad/${files[0]}"
expect 0 shmlog-cat --verify "$WORK/bad"

begin "two files with each other's names"
mv "$second" "$WORK/x"
mv "$third" "$second"
mv "$WORK/x" "$third"
damaged "${files[1]#./}\": is file 3 of volume 1" "${files[2]#./}\": is file 2 of volume 1"
cp "$WORK/all" "$WORK/want"
salvaged 0
shmlog-cat --salvage -o raw "$WORK/bad" >"$WORK/out"
shmlog-cat -o raw "$LOG" | cmp - "$WORK/out" || fail "salvage out of order"

begin "a copy under another number"
cp "$second" "$WORK/bad/$VOLUME/0000009999.shmlog"
damaged '0000009999.shmlog": is file 2 of volume 1 by its FILE page'
salvaged 0

begin "an archive"
lz4 -q -B5 -BI --content-size --rm "$second" "$second.lz4"
expect 0 shmlog-cat --verify "$WORK/bad"
salvaged 0

# What becomes of a log beside its readers: archives take the place of files, the oldest are deleted.
keep_house() {
	local file
	for file in "${files[@]}"; do
		lz4 -q -B5 -BI --content-size "$WORK/bad/$file" "$WORK/bad/$file.lz4.tmp"
		mv "$WORK/bad/$file.lz4.tmp" "$WORK/bad/$file.lz4"
		rm "$WORK/bad/$file"
	done
	for file in "${files[@]:0:3}"; do
		rm "$WORK/bad/$file.lz4"
	done
}

for _ in 1 2 3; do
	begin "files that are compressed and deleted meanwhile"
	keep_house &
	house=$!
	while kill -0 "$house" 2>/dev/null; do
		expect 0 shmlog-cat --verify "$WORK/bad"
		expect 0 shmlog-cat --salvage -o pages "$WORK/bad"
	done
	wait "$house"
done

begin "an archive of something else"
rm "$second"
lz4 -q "$WORK/a" "$second.lz4"
damaged "${files[1]#./}.lz4\": bytes .* are damaged: pages $first to $((next - 1)) are lost, no page in it can be proven"
# shellcheck disable=SC2046
without $(seq "$first" $((next - 1)))
salvaged 3

begin "a block of an archive: at least all other files are read"
lz4 -q -B5 -BI --content-size --rm "$second" "$second.lz4"
spoil "$second.lz4" $(($(stat -c %s "$second.lz4") * 2 / 3))
damaged "${files[1]#./}.lz4\": "
expect 3 shmlog-cat --salvage -o raw "$WORK/bad"
sort "$WORK/out" >"$WORK/found"
comm -23 "$WORK/found" "$WORK/all" | cmp - /dev/null || fail "records that nobody pushed"
comm -23 "$WORK/want" "$WORK/found" | cmp - /dev/null || fail "records of other files are not there"

say "what is no log, and what cannot be read"
mkdir "$WORK/empty"
refused 1 'neither a log directory' shmlog-cat --verify "$WORK/empty"
refused 1 'No such file' shmlog-cat --verify "$WORK/nowhere"
refused 65 'neither a log directory' shmlog-cat --salvage "$WORK/empty"
refused 64 'not standard input' shmlog-cat --verify -
refused 64 'not with --ring' shmlog-cat --salvage -r "$RING"

# A writer is killed, and a page of its open file decays before the next one starts. What was behind
# it is cut off, but kept: whether the ring is still there, which knows that it was released and so
# does not have it written again, or not.
say "a page of a file that is not recovered"
start_writer "$RING.2" "$WORK/left" --max-file 64M
seq -f 'c %09g and some text that makes it longer' 1 40000 >"$WORK/c"
shmlog-push -r "$RING.2" --wait --name c <"$WORK/c"
wait_until 20 drained "$RING.2"
kill_writer
open=$(find "$WORK/left" -name '*.open' | sort | head -n 1)
read -r page offset length < <(page_of "$open" 3)
shmlog-cat -o raw --page "$page" "$WORK/left" | sort >"$WORK/lost"
sort "$WORK/c" | comm -23 - "$WORK/lost" >"$WORK/want"
(($(wc -l <"$WORK/lost") > 0)) || fail "an empty page"
spoil "$open" $((offset + 130))
rm -rf "$WORK/bad"
cp -r "$WORK/left" "$WORK/bad"
damaged "not recovered: no writer holds it, and [1-9][0-9]* bytes lie behind its last good page"
salvaged 3

for ring in "$RING.3" "$RING.2"; do
	say "... and recovered, $([[ $ring == "$RING.2" ]] && echo "with its ring" || echo "with another ring")"
	directory=$WORK/bad
	[[ $ring != "$RING.2" ]] || directory=$WORK/left
	start_writer "$ring" "$directory"
	stop_writer
	[[ -s ${open/left/${directory##*/}}.torn ]] || fail "nothing was kept"
	expect 0 shmlog-cat --verify "$directory"
	shmlog-cat -o raw "$directory" | sort | comm -13 - "$WORK/want" >"$WORK/cut"
	[[ -s $WORK/cut ]] || fail "nothing was cut off"
	[[ $directory == "$WORK/bad" ]] || { rm -rf "$WORK/bad" && cp -r "$directory" "$WORK/bad"; }
	salvaged 3
done

# What was only cut short by the kill is written again, and shown once.
say "a writer that is killed under load"
start_writer "$RING.4" "$WORK/killed"
shmlog-push -r "$RING.4" --wait --name c <"$WORK/c" &
pusher=$!
for _ in 1 2 3; do
	kill_writer
	start_writer "$RING.4" "$WORK/killed"
done
wait "$pusher"
stop_writer
rm -rf "$WORK/bad"
cp -r "$WORK/killed" "$WORK/bad"
expect 0 shmlog-cat --verify "$WORK/bad"
sort "$WORK/c" >"$WORK/want"
salvaged 0
