#!/bin/bash
# Ring names and segments that are wrong: one clear line, the right exit code, nothing hangs.
. "$(dirname "$0")/lib.sh"

# Every program says the same of a name.
refused_by_all() {
	local code=$1 pattern=$2 ring=$3
	refused "$code" "$pattern" shmlog-push -r "$ring"
	refused "$code" "$pattern" shmlog-cat -r "$ring"
	refused "$code" "$pattern" shmlog-ctl flush "$ring"
	refused "$code" "$pattern" shmlog-ctl remove "$ring"
	if [[ $4 == with-json ]]; then
		refused "$code" "$pattern" shmlog-stat -r "$ring"
	fi
}

name_of() {
	head -c "$1" /dev/zero | tr '\0' n
}

refused_by_all 64 'empty' '' with-json
refused_by_all 64 'a/b' 'a/b' with-json
refused_by_all 64 'dot' '.hidden' with-json
refused_by_all 64 'only' 'with space' with-json
refused_by_all 64 'only' $'new\nline' with-json
refused_by_all 64 '201' "$(name_of 201)" with-json
refused_by_all 69 'no such ring' "$RING.none" with-json
refused 64 'only' shmlog-ctl create 'a/b'
refused 64 'only' shmlog-writer -r 'a/b' -d "$WORK/log"
expect 0 shmlog-ctl create "$(name_of $((200 - ${#RING} - 1)))" # a name of any length up to 200
rm "$SHM/shmlog.$(name_of $((200 - ${#RING} - 1)))"
expect 0 shmlog-ctl create "$RING"
refused 73 'exists' shmlog-ctl create "$RING"

# Segments. segment NAME: a good one to spoil; poke NAME OFFSET BYTES: spoil it.
segment() {
	cp --sparse=always "$SHM/shmlog.$RING" "$SHM/shmlog.$RING.$1"
}
poke() {
	printf '%b' "$3" | dd of="$SHM/shmlog.$RING.$1" bs=1 seek="$2" conv=notrunc status=none
}
spoiled() {
	refused 65 "$RING.$1.*$2" shmlog-push -r "$RING.$1"
	refused 65 "$RING.$1" shmlog-stat -r "$RING.$1"
	refused 65 "$RING.$1" shmlog-cat -r "$RING.$1"
	refused 65 "$RING.$1" shmlog-ctl flush "$RING.$1"
	refused 65 "$RING.$1" shmlog-writer -r "$RING.$1" -d "$WORK/log"
	[[ -e $SHM/shmlog.$RING.$1 ]] || fail "$1 was removed"
	rm "$SHM/shmlog.$RING.$1"
}

segment version && poke version 8 '\x63'
spoiled version '99.*1|1.*99' # naming both versions
segment magic && poke magic 0 'x'
spoiled magic ''
segment feature && poke feature 23 '\x80'
spoiled feature ''
segment lanes && poke lanes 40 '\xff\xff\xff\xff'
spoiled lanes ''
segment offset && poke offset 64 '\xff\xff\xff\xff'
spoiled offset ''
segment short && truncate -s -4096 "$SHM/shmlog.$RING.short"
spoiled short ''
segment shorter && truncate -s 100 "$SHM/shmlog.$RING.shorter"
spoiled shorter ''
: >"$SHM/shmlog.$RING.empty"
spoiled empty ''
truncate -s 40M "$SHM/shmlog.$RING.zeros"
spoiled zeros ''
seq 1 100000 >"$SHM/shmlog.$RING.text"
spoiled text ''

# Things that are no files; opening them must not hang.
mkfifo "$SHM/shmlog.$RING.fifo"
refused 65 "$RING.fifo" shmlog-push -r "$RING.fifo"
refused 65 "$RING.fifo" shmlog-stat -r "$RING.fifo"
mkdir "$SHM/shmlog.$RING.dir"
refused 65 "$RING.dir" shmlog-push -r "$RING.dir"
ln -s "$SHM/shmlog.$RING" "$SHM/shmlog.$RING.link"
shmlog-push -r "$RING.link" </dev/null 2>"$WORK/err" && fail "a symbolic link was followed"
rm -r "$SHM/shmlog.$RING.fifo" "$SHM/shmlog.$RING.dir" "$SHM/shmlog.$RING.link"

# What is left: the good ring works on.
echo fine | shmlog-push -r "$RING"
equal "$(stat_of "$RING" .enqueued)" 1 "enqueued"

