#!/bin/bash
# Full volumes are compressed by hand: what lz4 reads back is what was sealed, whatever kills it.
. "$(dirname "$0")/lib.sh"

readonly LINES=${FULL:+1000000}
readonly KILLS=${FULL:+300}

# make_log DIR: of standard input, in small files and volumes, nothing compressed.
make_log() {
	shmlog-ctl create "$RING" --lanes 1
	start_writer "$RING" "$1" --max-file 1M --max-volume 4M --no-compress
	shmlog-push -r "$RING" --wait
	stop_writer
	shmlog-ctl remove "$RING"
}

names() {
	(cd "$1" && find . -name '*.shmlog*' | sort)
}

corpus "${LINES:-300000}" "$WORK/text"
make_log "$WORK/sealed" <"$WORK/text"
newest=$(find "$WORK/sealed" -mindepth 1 -type d | sort | tail -1)
newest=${newest##*/}
((10#$newest >= 3)) || fail "the log has only $newest volumes"

say 'what lz4 reads back is what was sealed'
cp -a "$WORK/sealed" "$WORK/log"
expect 0 shmlog-writer --archive -d "$WORK/log"
[[ ! -s $WORK/out && ! -s $WORK/err ]] || fail "it said: $(cat "$WORK/out" "$WORK/err")"
while read -r name; do
	lz4 -qt "$WORK/log/$name" || fail "$name is no good LZ4 file"
	lz4 -qdc "$WORK/log/$name" | cmp - "$WORK/sealed/${name%.lz4}" || fail "$name differs"
	[[ $(stat -c %y "$WORK/log/$name") == $(stat -c %y "$WORK/sealed/${name%.lz4}") ]] ||
		fail "$name is not as old as its original"
done < <(names "$WORK/log" | grep 'lz4$')
equal "$(names "$WORK/log" | grep -c 'lz4$')" \
	"$(names "$WORK/sealed" | grep -vc "/$newest/")" 'archives'
equal "$(names "$WORK/log" | grep 'shmlog$')" \
	"$(names "$WORK/sealed" | grep "/$newest/")" 'the newest volume stays'
shmlog-cat -o raw "$WORK/log" | cmp - "$WORK/text"
mapfile -t archives < <(names "$WORK/log" | grep 'lz4$')
(cd "$WORK/log" && lz4 -qdc -m "${archives[@]}" && cat "$newest"/*.shmlog) | shmlog-cat -o raw - |
	cmp - "$WORK/text"

say 'killed at any moment, it loses nothing and doubles nothing'
killed=0
for ((i = 0; i < ${KILLS:-25}; i++)); do
	((i % 10 > 0)) || { rm -rf "$WORK/log" && cp -a "$WORK/sealed" "$WORK/log"; }
	shmlog-writer --archive -d "$WORK/log" 2>>"$WORK/archive.err" &
	pid=$!
	sleep "0.0$((RANDOM % 4))$((RANDOM % 10))"
	if kill -KILL "$pid" 2>>"$WORK/kill"; then killed=$((killed + 1)); fi
	wait "$pid" 2>>"$WORK/kill" || true
	shmlog-cat -o raw "$WORK/log" | cmp - "$WORK/text" || fail "after kill $killed"
done
((killed > 0)) || fail 'it was never killed'
expect 0 shmlog-writer --archive -d "$WORK/log"
equal "$(names "$WORK/log" | grep -v 'lz4$')" \
	"$(names "$WORK/sealed" | grep "/$newest/")" 'nothing is left half done'
[[ ! -s $WORK/archive.err ]] || fail "it said: $(cat "$WORK/archive.err")"

say 'a writer that starts again finds its records in an archive'
shmlog-ctl create "$RING"
shmlog-push -r "$RING" --wait <<<one
expect 0 shmlog-writer -r "$RING" -d "$WORK/again" --once
shmlog-push -r "$RING" --wait <<<two
expect 0 shmlog-writer -r "$RING" -d "$WORK/again" --once
mkdir "$WORK/again/0000000002"
: >"$WORK/again/0000000001/0000000009.shmlog.lz4.tmp"
expect 0 shmlog-writer --archive -d "$WORK/again"
equal "$(names "$WORK/again" | grep -vc 'lz4$' || true)" 0 'files not compressed'
shmlog-push -r "$RING" --wait <<<three
expect 0 shmlog-writer -r "$RING" -d "$WORK/again" --once
expect 0 shmlog-cat -o raw "$WORK/again"
equal "$(paste -sd' ' "$WORK/out")" 'one two three' 'the records'
shmlog-ctl remove "$RING"

say 'what cannot be compressed stays'
tr -d '\n' </dev/urandom | head -c 6000000 >"$WORK/noise" || true # tr: its pipe is closed
make_log "$WORK/noisy" < <(fold -b -w 8000 "$WORK/noise")
names "$WORK/noisy" >"$WORK/before"
expect 0 shmlog-writer --archive -d "$WORK/noisy"
names "$WORK/noisy" | cmp - "$WORK/before"

say 'what it refuses'
start_writer "$RING" "$WORK/log"
refused 75 'another writer has it.*stop it first' shmlog-writer --archive -d "$WORK/log"
stop_writer
refused 69 'cannot open it' shmlog-writer --archive -d "$WORK/nowhere"
[[ ! -e $WORK/nowhere ]] || fail 'it was made'
mkdir "$WORK/empty"
refused 65 'holds no log' shmlog-writer --archive -d "$WORK/empty"
[[ -z $(ls -A "$WORK/empty") ]] || fail 'something was made in it'
name=$(names "$WORK/log" | grep 'lz4$' | head -1)
cp "$WORK/sealed/${name%.lz4}" "$WORK/log/${name%.lz4}"
echo text >"$WORK/log/$name"
refused 1 "${name#./}\": holds something else" shmlog-writer --archive -d "$WORK/log"
