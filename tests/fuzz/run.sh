#!/bin/bash
# Run fuzz targets for some seconds each, two at a time, from a fixed seed.
#
#	run.sh BUILD SECONDS TARGET...
#
# New inputs go to BUILD/found/TARGET, what breaks a target to BUILD/broken/.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly build=$1 seconds=$2
shift 2
readonly options=(-seed=1 -max_len=1024 -len_control=0 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1
	-close_fd_mask=1)
FUZZ_DIRECTORY=$(mktemp -d /dev/shm/shmlog-fuzz-XXXXXX)
export FUZZ_DIRECTORY
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
trap 'rm -rf "$FUZZ_DIRECTORY"' EXIT

# The last value of a figure that libFuzzer printed: stat NAME LOG, or of its status line.
stat() {
	sed -n "s/^stat::$1: *//p" "$2" | tail -1
}
status() {
	sed -n "s/^#.* $1: \([0-9]*\).*/\1/p" "$2" | tail -1
}

# The runs of a target are short; so are the ways of running it twice at once.
fuzz_one() {
	local target=$1 log=$build/$1.log dictionary=tests/fuzz/dict/$1.dict more=()
	mkdir -p "$build/found/$target" "$build/broken"
	[[ ! -e $dictionary ]] || more=(-dict="$dictionary")
	if "$build/tests/fuzz/fuzz_$target" "${options[@]}" ${more[@]+"${more[@]}"} \
		-max_total_time="$seconds" -artifact_prefix="$build/broken/$target-" \
		"$build/found/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1 </dev/null; then
		printf '  fuzz %-10s %8s executions, %5s features, %4s new inputs, %4s MiB\n' "$target" \
			"$(stat number_of_executed_units "$log")" "$(status ft "$log")" \
			"$(stat new_units_added "$log")" "$(stat peak_rss_mb "$log")"
		return
	fi
	grep -a -m3 -E 'violated: |ERROR: |runtime error: ' "$log" || tail -5 "$log"
	echo "violated: fuzz: $target breaks:$(sed -n 's/^.*Test unit written to/ /p' "$log")"
	return 1
}

failed=0
while (($# > 0)); do
	jobs=()
	for target in "${@:1:2}"; do
		fuzz_one "$target" &
		jobs+=($!)
	done
	for job in "${jobs[@]}"; do
		wait "$job" || failed=1
	done
	shift ${#jobs[@]}
done
exit "$failed"
