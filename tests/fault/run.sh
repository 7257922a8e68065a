#!/bin/bash
# All of this suite, or what begins with an argument: a label of faults.c, or "real", "real.CASE".
set -euo pipefail
: "${SHMLOG_BIN:?run by make fault}" "${BUILD:?}" "${MAKE:=make}"
only=${1:-}
here=$(dirname "$0")
worker=

end_worker() {
	[[ -z $worker ]] || kill -KILL "$worker" 2>/dev/null || true
	[[ -z $worker ]] || rm -rf "/dev/shm/shmlog-fault.$worker"
}
trap end_worker EXIT
trap 'exit 130' INT TERM

# simulate BUILD SHARE [ONLY]
simulate() {
	local status=0
	"$1/tests/fault/faults" "$2" "${3:-}" &
	worker=$!
	wait "$worker" || status=$?
	end_worker
	worker=
	return "$status"
}

# Leaks are looked for by a build of its own, over other ways to fail than the first ones.
simulate_with_asan() {
	"$MAKE" --no-print-directory -j2 VARIANT=asan BUILD="$BUILD-asan" "$BUILD-asan/tests/fault/faults" \
		"$BUILD-asan/shmlog-cat" >"$BUILD/fault-asan.log" 2>&1 || { cat "$BUILD/fault-asan.log"; exit 2; }
	echo "fault: with the address sanitizer:"
	simulate "$BUILD-asan" "$1"
}

if [[ $only == real* ]]; then
	only=${only#real}
	exec bash "$here/fault-real.sh" "${only#.}"
fi
if [[ -n $only ]]; then
	simulate "$BUILD" 1 "$only"
elif [[ -n ${FULL:-} ]]; then
	simulate "$BUILD" 1
	simulate_with_asan 8
else
	simulate "$BUILD" 24
	simulate_with_asan 160
fi
[[ -n $only ]] || bash "$here/fault-real.sh"
