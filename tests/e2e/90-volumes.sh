#!/bin/bash
# Files and volumes end by size, by age, when somebody asks, and with a full index; their numbers only
# grow, over restarts and kills, too; and the next file is made ahead.
. "$(dirname "$0")/lib.sh"

# files LOG [SUFFIX]: "<volume>/<file>" of each file with the suffix, in the order of the log.
files() {
	(cd "$WORK/$1" && find . -path "./*/*.shmlog${2-}" | sed -E 's|^\./||; s|\..*||' | sort)
}
sealed() {
	files "$1" | wc -l
}
has_sealed() {
	(($(sealed "$1") >= $2))
}
push() {
	shmlog-push -r "$RING.$1" --wait --name s
	shmlog-ctl flush "$RING.$1"
}
kilobytes() {
	seq -f '%0999.0f' "$1"
}

# By size: a file takes what fits, a volume as many files as fit.
corpus 250000 "$WORK/in"
start_writer "$RING.size" "$WORK/size" --max-file 1M --max-volume 4M --no-compress
push size <"$WORK/in"
stop_writer
published s "$WORK/size" >"$WORK/out"
same "$WORK/in" "$WORK/out"
find "$WORK/size" -name '*.shmlog' -size +1M | grep . && fail "files larger than --max-file"
count=$(sealed size)
((count >= 12)) || fail "only $count files"
seq "$count" | awk '{ printf "%010d/%010d\n", ($1 + 3) / 4, $1 }' >"$WORK/want"
files size >"$WORK/got"
same "$WORK/want" "$WORK/got"
say "$count files by size, 4 to a volume"

# Ahead: a file half full has its successor made, which has not begun.
start_writer "$RING.ahead" "$WORK/ahead" --max-file 1M
kilobytes 300 | push ahead
equal "$(files ahead .open)" 0000000001/0000000001 "files before half of the first is full"
kilobytes 400 | push ahead
two_are_open() {
	(($(files ahead .open | wc -l) == 2))
}
wait_until 10 two_are_open
readonly ahead=$WORK/ahead/0000000001/0000000002.shmlog.open
is_made() {
	(($(stat -c %s "$ahead") == 1 << 20))
}
wait_until 10 is_made # it has its name a little before its room
equal "$(od -An -tu8 -N 8 "$ahead" | tr -d ' ')" 0 "first bytes of the file made ahead"

# Numbers that a killed writer or one that has ended had reached are not given again.
last_begun() {
	shmlog-cat -o pages "$WORK/ahead" 2>"$WORK/pages.err" | awk '$2 == "FILE" { n = $3 } END { print n + 0 }'
}
last=$(last_begun)
for end in kill_writer stop_writer kill_writer stop_writer; do
	$end
	start_writer "$RING.ahead" "$WORK/ahead" --max-file 1M
	kilobytes 600 | push ahead
	now=$(last_begun)
	((now > last)) || fail "file $now after file $last, with $end"
	last=$now
done
stop_writer
sound "$WORK/ahead"
files ahead >"$WORK/got"
sort -u -t / -k 2 "$WORK/got" | cmp - "$WORK/got" || fail "a number twice, or out of order"

# By age: nobody asks, nothing is pushed. A volume that is too old takes no further file.
start_writer "$RING.age" "$WORK/age" --roll-age 50ms
for n in 1 2 3; do
	echo "$n" | push age
	wait_until 10 has_sealed age "$n"
done
equal "$(files age | tr '\n' ' ')" \
	"0000000001/0000000001 0000000001/0000000002 0000000001/0000000003 " "files by age"
stop_writer
start_writer "$RING.volume" "$WORK/volume" --volume-age 50ms --no-compress
for n in 1 2 3; do
	echo "$n" | push volume
	wait_until 10 has_sealed volume "$n"
done
stop_writer
equal "$(files volume | tr '\n' ' ')" \
	"0000000001/0000000001 0000000002/0000000002 0000000003/0000000003 " "volumes by age"

# When asked: by shmlog-ctl, which waits for it, and by HUP. An empty file does not end.
start_writer "$RING.asked" "$WORK/asked"
echo 1 | push asked
shmlog-ctl rotate "$RING.asked"
equal "$(sealed asked)" 1 "sealed after a rotate"
shmlog-ctl rotate "$RING.asked"
equal "$(sealed asked)" 1 "sealed after a rotate with nothing new"
echo 2 | push asked
kill -HUP "$WRITER"
wait_until 10 has_sealed asked 2
stop_writer
sound "$WORK/asked"

# With a full index: 8000 pages, however small.
start_writer "$RING.index" "$WORK/index" --max-file 64M --sync none
pages_each "$RING.index" 8100
stop_writer
equal "$(shmlog-cat -o pages "$WORK/index" | awk '$2 != "SEAL" { n[$3]++ } END { print n["0000000001"], n["0000000002"] }')" \
	"8000 102" "pages of the two files"
published pages "$WORK/index" | cmp - <(seq 8100)
sound "$WORK/index"
