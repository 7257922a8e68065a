#!/bin/bash
# Take over what fuzzing found into the corpora: as few inputs as reach everything, besides those
# that found a bug, which are called bug-*.
#
#	minimise.sh BUILD TARGET...
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly build=$1
shift
FUZZ_DIRECTORY=$(mktemp -d /dev/shm/shmlog-fuzz-XXXXXX)
export FUZZ_DIRECTORY
trap 'rm -rf "$FUZZ_DIRECTORY"' EXIT

for target; do
	corpus=tests/fuzz/corpus/$target
	merged=$build/merged/$target
	rm -rf "$merged"
	mkdir -p "$merged" "$build/found/$target" "$corpus"
	"$build/tests/fuzz/fuzz_$target" -set_cover_merge=1 -max_len=512 -close_fd_mask=1 "$merged" "$corpus" \
		"$build/found/$target" >"$build/merge-$target.log" 2>&1
	find "$corpus" -type f ! -name 'bug-*' -delete
	cp "$merged"/* "$corpus"
	echo "$corpus: $(find "$corpus" -type f | wc -l) inputs, $(du -bs "$corpus" | cut -f1) bytes"
done
