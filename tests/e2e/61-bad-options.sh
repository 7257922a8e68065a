#!/bin/bash
# Options and values that are wrong: exit 64 and one clear line; configuration that is wrong: 78.
. "$(dirname "$0")/lib.sh"

shmlog-ctl create "$RING"

# Values that are no sizes, times, counts, levels.
for value in -1 '' 1.5M 1e3 x 0x10 99999999999999999999 ' 1' 64KB; do
	refused 64 '--lane-size' shmlog-ctl create "$RING.b" --lane-size "$value"
	refused 64 'max-file' shmlog-writer -r "$RING" -d "$WORK/log" --max-file "$value"
	refused 64 'lanes' shmlog-writer -r "$RING" -d "$WORK/log" --lanes "$value"
	refused 64 '--lanes' shmlog-ctl create "$RING.b" --lanes "$value"
done
for value in 0 -1 1.5 x 100000; do
	refused 64 '--watch' shmlog-stat "--watch=$value"
done
for value in -1s '' 1.5s 1 x 1parsec 99999999999d; do
	refused 64 'roll-age' shmlog-writer -r "$RING" -d "$WORK/log" --roll-age "$value"
	refused 64 'flush-interval' shmlog-writer -r "$RING" -d "$WORK/log" --flush-interval "$value"
done
for value in 0 100 32K 3G 96K; do # no power of two, too small, too large
	refused 64 '64K' shmlog-ctl create "$RING.b" --lane-size "$value"
done
for value in 0 257; do
	refused 64 '--lanes' shmlog-ctl create "$RING.b" --lanes "$value"
	refused 64 'lanes' shmlog-writer -r "$RING.b" -d "$WORK/log" --lanes "$value"
done
refused 64 'max-file' shmlog-writer -r "$RING" -d "$WORK/log" --max-file 0
for value in 8 -1 loud ''; do
	refused 64 '--level' shmlog-push -r "$RING" --level "$value"
	refused 64 'LEVEL' shmlog-ctl level "$RING" -- "$value"
done
for value in 999 -1 '' 01000 rw 0; do
	refused 64 '--mode-bits' shmlog-ctl create "$RING.b" --mode-bits "$value"
done
refused 64 'no such group' shmlog-ctl create "$RING.b" --group no-such-group
refused 64 'no such clock' shmlog-ctl create "$RING.b" --clock sundial
refused 64 'io' shmlog-writer -r "$RING" -d "$WORK/log" --io telepathy
[[ ! -e $SHM/shmlog.$RING.b ]] || fail "a ring was made in spite of errors"

# Options and arguments that there are not.
for program in push stat cat ctl writer; do
	expect 64 "shmlog-$program" --no-such-option
	grep -q "no-such-option" "$WORK/err" || fail "the option is not named: $(cat "$WORK/err")"
	expect 0 "shmlog-$program" --help
	expect 0 "shmlog-$program" --version
	grep -qE '[0-9]+\.[0-9]+\.[0-9]+' "$WORK/out" || fail "no version"
done
expect 64 shmlog-push
expect 64 shmlog-push -r "$RING" extra
expect 64 shmlog-stat extra
expect 64 shmlog-cat
refused 64 'no such command' shmlog-ctl fly "$RING"
refused 64 'missing' shmlog-ctl create
refused 64 'too many' shmlog-ctl create "$RING.b" extra
expect 64 shmlog-writer -r "$RING"

# Configuration files.
config() {
	printf '%s\n' "$@" >"$WORK/config"
	refused 78 "$WORK/config" shmlog-writer -r "$RING" -d "$WORK/log" -c "$WORK/config"
}
config 'no-such-key = 1'
config 'max-file = many'
config 'max-file = -1'
config 'flush-interval = 1'
config 'this is no configuration'
refused 78 "$WORK/none" shmlog-writer -r "$RING" -d "$WORK/log" -c "$WORK/none"
SHMLOG_MAX_FILE=many refused 78 'SHMLOG_MAX_FILE|max-file' shmlog-writer -r "$RING" -d "$WORK/log"

# A geometry that does not fit the ring that there is, naming both.
refused 78 '4.*32|32.*4' shmlog-writer -r "$RING" -d "$WORK/log" --lanes 4
[[ ! -e $WORK/log ]] || [[ -z $(find "$WORK/log" -name '*.shmlog*') ]] || fail "a log was begun"
