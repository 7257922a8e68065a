#!/bin/bash
# Replay the corpora: no libFuzzer, no time limit but the replayer's own.
#
#	replay.sh BUILD TARGET...
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly build=$1
shift
FUZZ_DIRECTORY=$(mktemp -d /dev/shm/shmlog-fuzz-XXXXXX)
export FUZZ_DIRECTORY
trap 'rm -rf "$FUZZ_DIRECTORY"' EXIT

failed=0
for target; do
	printf '  %-6s fuzz %-10s ' TEST "$target"
	"$build/tests/fuzz/replay_$target" "tests/fuzz/corpus/$target" 2>"$FUZZ_DIRECTORY/log" || {
		failed=1
		echo
		cat "$FUZZ_DIRECTORY/log"
	}
done
exit "$failed"
