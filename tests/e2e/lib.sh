# lib.sh - what the end-to-end scripts share. Sourced; SHMLOG_BIN names the build directory.
#
# A script works in $WORK, a directory of its own, with rings whose names begin with $RING. Both and
# all programs that it started are gone when it ends, however it ends. Nothing here sleeps to let
# something happen: wait_until asks, in short steps, and gives up loudly.

# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C
: "${SHMLOG_BIN:?run by make e2e, or set it to the build directory}"
export PATH=$SHMLOG_BIN:$SHMLOG_BIN/tests/e2e:$SHMLOG_BIN/docs/examples:$PATH

readonly SHM=${SHMLOG_SHM_DIR:-/dev/shm}
readonly FULL=${FULL:-}
SCRIPT=$(basename "$0" .sh)
readonly SCRIPT
readonly RING=e2e.$SCRIPT.$$
WORK=$(mktemp -d "${TMPDIR:-/tmp}/shmlog-e2e.XXXXXX")
readonly WORK
WRITER= # process id of the writer that runs

cleanup() {
	local status=$? pids
	mapfile -t pids < <(jobs -p)
	((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>"$WORK/kill" || true
	((${#pids[@]} == 0)) || kill -CONT "${pids[@]}" 2>"$WORK/kill" || true
	wait || true
	if ((status != 0)) && [[ -s $WORK/writer.err ]]; then
		sed 's/^/    /' "$WORK/writer.err" # standard error is off, see below
	fi
	[[ ! -d $WORK/disk ]] || umount "$WORK/disk" || true
	rm -rf "$SHM/shmlog.$RING"* "$WORK"
	exit "$status"
} 2>/dev/null
trap cleanup EXIT
trap 'exit 130' INT TERM

say() {
	echo "$SCRIPT: $*"
}

fail() {
	echo "$SCRIPT: FAILED: $* (line ${BASH_LINENO[0]} of ${BASH_SOURCE[1]##*/})" >&2
	exit 1
}

# wait_until SECONDS COMMAND...: until COMMAND succeeds.
wait_until() {
	local deadline=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		((SECONDS < deadline)) || fail "waited in vain for: $*"
		sleep 0.01
	done
}

# ---- rings and writers ----

# stat_of RING FILTER: what shmlog-stat says about it.
stat_of() {
	shmlog-stat -j -r "$1" | jq -r ".rings[0] | $2"
}

writer_is_alive() {
	[[ $(stat_of "$1" '.writer.alive and .writer.pid == '"$2" 2>/dev/null) == true ]]
}

drained() {
	[[ $(stat_of "$1" .pending) == 0 ]]
}

# start_writer RING DIR [OPTION...]: and wait until it is at work.
start_writer() {
	local ring=$1 directory=$2
	shift 2
	# Without the script's pipes: their readers wait for an end that only the script gives.
	shmlog-writer -r "$ring" -d "$directory" "$@" 2>>"$WORK/writer.err" 3>&- &
	WRITER=$!
	wait_until 20 writer_runs_or_ended "$ring"
	kill -0 "$WRITER" 2>/dev/null || fail "the writer did not start"
}

writer_runs_or_ended() {
	! kill -0 "$WRITER" 2>/dev/null || writer_is_alive "$1" "$WRITER"
}

# stop_writer: by TERM, which drains; it must end well.
stop_writer() {
	local status=0
	kill -TERM "$WRITER"
	wait "$WRITER" || status=$?
	WRITER=
	((status == 0)) || fail "the writer ended with $status"
}

kill_writer() {
	kill -KILL "$WRITER"
	wait "$WRITER" 2>/dev/null || true
	WRITER=
}

# ---- what commands answer ----

# timeout(1) runs no functions; those that call programs bound them themselves.
bounded() {
	if declare -F "$1" >/dev/null; then
		"$@"
	else
		timeout 20 "$@"
	fi
}

# expect CODE COMMAND...: its exit code; its output stays in $WORK/out and $WORK/err.
expect() {
	local want=$1 got=0
	shift
	bounded "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || got=$?
	if ((got != want)); then
		sed 's/^/    /' "$WORK/out" "$WORK/err" | head -20 >&2
		fail "exit code $got, not $want: $*"
	fi
}

# refused CODE PATTERN COMMAND...: exit code, no output, one clear line that matches PATTERN.
refused() {
	local code=$1 pattern=$2
	shift 2
	expect "$code" "$@"
	[[ ! -s $WORK/out ]] || fail "output in spite of an error: $*"
	(($(wc -l <"$WORK/err") == 1)) ||
		fail "not one line, but: $(cat "$WORK/err") for: $*"
	grep -qE -- "$pattern" "$WORK/err" || fail "\"$(cat "$WORK/err")\" lacks /$pattern/ for: $*"
}

equal() {
	[[ $1 == "$2" ]] || fail "$3: $1, not $2"
}

same() {
	cmp "$1" "$2" || fail "$1 and $2 differ"
}

# ---- real text ----

# corpus LINES OUT: so many lines of text found on this machine; lines that are in UTF-8, over and
# over if there are not enough.
corpus() {
	local pool=$WORK/corpus.pool
	if [[ ! -e $pool ]]; then
		find /usr/include /usr/share/common-licenses /usr/share/doc /usr/share/perl* \
			/usr/lib/gcc /var/lib/dpkg/info -type f \( -name '*.h' -o -name copyright \
			-o -name '*.list' -o -name '*.pm' -o -path '*/common-licenses/*' \) \
			-print0 2>/dev/null | sort -z | xargs -0 cat 2>/dev/null | tr -d '\000' |
			awk 'length <= 4000' | head -n 1000000 >"$pool" || true
		[[ -s $pool ]] || fail "no text on this machine"
	fi
	while cat "$pool"; do :; done 2>/dev/null | head -n "$1" >"$2" || true
}

# published SOURCE DIR: what the log holds of a source, one record a line.
published() {
	shmlog-cat -o raw --source "$1" "$2"
}

# sound DIR: nothing of the log is damaged or missing.
sound() {
	shmlog-cat -o pages "$1" >"$WORK/pages" 2>"$WORK/pages.err" ||
		fail "exit code $? for a sound log: $(cat "$WORK/pages.err")"
	[[ ! -s $WORK/pages.err ]] || fail "complaints about a sound log: $(cat "$WORK/pages.err")"
	shmlog-cat --verify "$1" >"$WORK/verdict" 2>"$WORK/verdict.err" ||
		fail "verify ends with $?: $(cat "$WORK/verdict.err")"
}

# lost DIR: records that the gap marks name.
lost() {
	shmlog-cat -o json "$1" | { grep -a '"lost":' || true; } | jq -s 'map(.lost) | add // 0'
}
