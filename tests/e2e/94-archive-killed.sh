#!/bin/bash
# Archiving is killed at any moment, and a writer goes on behind archives: nothing is lost, nothing
# is there twice.
. "$(dirname "$0")/lib.sh"

readonly KILLS=${FULL:+300}

# names DIR: of its log files.
names() {
	(cd "$1" && find . -name '*.shmlog*' | sort)
}

corpus 300000 "$WORK/text"
start_writer "$RING" "$WORK/sealed" --max-file 1M --max-volume 4M --no-compress
shmlog-push -r "$RING" --wait <"$WORK/text"
stop_writer
shmlog-ctl remove "$RING"
newest=$(find "$WORK/sealed" -mindepth 1 -type d | sort | tail -n 1)
names "$WORK/sealed" | grep "/${newest##*/}/" >"$WORK/stays"
names "$WORK/sealed" | grep -v "/${newest##*/}/" | sed 's/$/.lz4/' | sort - "$WORK/stays" >"$WORK/want"

killed=0
for ((i = 0; i < ${KILLS:-25}; i++)); do
	((i % 10 > 0)) || { rm -rf "$WORK/log" && cp -a "$WORK/sealed" "$WORK/log"; }
	shmlog-writer --archive -d "$WORK/log" 2>>"$WORK/archive.err" &
	pid=$!
	sleep "0.0$((RANDOM % 4))$((RANDOM % 10))"
	if kill -KILL "$pid" 2>>"$WORK/kill"; then killed=$((killed + 1)); fi
	wait "$pid" 2>>"$WORK/kill" || true
	expect 0 shmlog-cat -o raw "$WORK/log"
	cmp "$WORK/text" "$WORK/out" || fail "after kill $killed"
done
((killed > 0)) || fail 'it was never killed'
expect 0 shmlog-writer --archive -d "$WORK/log"
names "$WORK/log" | cmp - "$WORK/want" || fail 'something is left half done'
[[ ! -s $WORK/archive.err ]] || fail "it said: $(cat "$WORK/archive.err")"
shmlog-cat -o raw "$WORK/log" | cmp - "$WORK/text"
say "killed $killed times"

# The newest file that has begun is an archive; a ring goes on where it says.
shmlog-ctl create "$RING"
shmlog-push -r "$RING" --wait <<<one
expect 0 shmlog-writer -r "$RING" -d "$WORK/again" --once
mkdir "$WORK/again/0000000002"
expect 0 shmlog-writer --archive -d "$WORK/again"
: >"$WORK/again/0000000001/0000000009.shmlog.lz4.tmp"
shmlog-push -r "$RING" --wait <<<two
expect 0 shmlog-writer -r "$RING" -d "$WORK/again" --once
equal "$(names "$WORK/again" | grep -c 'lz4')" 1 'archives'
expect 0 shmlog-cat -o raw "$WORK/again"
equal "$(paste -sd' ' "$WORK/out")" 'one two' 'the records'
expect 0 shmlog-cat -o pages "$WORK/again"
equal "$(awk '$2 != "SEAL" { print $1 }' "$WORK/out" | sort -n | uniq -d)" '' 'numbers that are there twice'

# Another archive than its original: neither is touched, and it is said.
name=$(grep 'lz4$' "$WORK/want" | head -n 1)
cp "$WORK/sealed/${name%.lz4}" "$WORK/log/${name%.lz4}"
echo text >"$WORK/log/$name"
refused 1 "${name#./}\": holds something else" shmlog-writer --archive -d "$WORK/log"
same "$WORK/sealed/${name%.lz4}" "$WORK/log/${name%.lz4}"
equal "$(cat "$WORK/log/$name")" text 'the other'
