#!/bin/bash
# Check each model of configurations.txt, and that each bug that is planted in one is found.
#
#	run.sh [NAME]
#
# A sound model must be searched to its end: a search cut short (depth, memory, time) is a failure.
# FULL=1 adds the lines that say "full".
set -uo pipefail
cd "$(dirname "$0")" || exit 2
: "${BUILD:=../../build/release}" "${CC:=cc}" "${FULL:=}"
readonly build=$BUILD/tests/model
readonly only=${1:-}

broken() {
	echo "broken: model: $1" >&2
	exit 2
}

# compile NAME FILE DEFINES...: a directory with the checker.
compile() {
	local name=$1 file=$2
	shift 2
	rm -rf "${build:?}/$name"
	mkdir -p "$build/$name"
	cp ./*.pml "$build/$name" &&
		(cd "$build/$name" && spin -a "$@" "$file" >spin.log 2>&1 &&
			"$CC" -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=8000 -o pan pan.c) ||
		broken "$name: cannot be compiled: $(tail -1 "$build/$name/spin.log")"
}

# Nothing may be cut short: depth 3,000,000, 8 GB, one hour.
search() {
	(cd "$build/$1" && timeout 3600 ./pan -m3000000 -E >out 2>&1)
}

figure() {
	sed -n "$2" "$build/$1/out" | head -1
}

# The last steps of the counterexample, and where it ended.
trail() {
	local name=$1 file=$2
	shift 2
	(cd "$build/$name" && spin -t -p -g "$@" "$file" 2>/dev/null | grep -v 'goto\|^ *starting\|(1)]' |
		tail -60)
}

total_states=0
total_models=0
total_bugs=0
failed=0

check_sound() {
	local name=$1 file=$2 states
	shift 2
	compile "$name" "$file" "$@"
	search "$name"
	if grep -q 'assertion violated' "$build/$name/out"; then
		echo "violated: model $name: $(grep -m1 'assertion violated' "$build/$name/out")"
		trail "$name" "$file" "$@"
		failed=1
		return
	fi
	if ! grep -q 'errors: 0' "$build/$name/out" ||
		grep -qE 'max search depth|Search not completed|reached -DMEMLIM|out of memory|hash-?compact' \
			"$build/$name/out"; then
		tail -20 "$build/$name/out"
		broken "$name: not searched to its end"
	fi
	states=$(figure "$name" 's/^ *\([0-9.e+]*\) states, stored.*/\1/p')
	total_states=$(awk "BEGIN { printf \"%.0f\", $total_states + $states }")
	total_models=$((total_models + 1))
	printf '  %-6s %-28s %12.0f states %8s s %8.0f MB\n' MODEL "$name" "$states" \
		"$(figure "$name" 's/^pan: elapsed time \([0-9.e+-]*\) seconds/\1/p')" \
		"$(figure "$name" 's/^ *\([0-9.]*\).total actual memory usage/\1/p')"
	rm -rf "${build:?}/$name"
}

check_bug() {
	local name=$1 file=$2 found
	shift 2
	compile "$name" "$file" "$@"
	search "$name"
	found=$(sed -n 's/^pan:[0-9]*: assertion violated \(.*\) (at depth.*/\1/p' "$build/$name/out" | head -1)
	if [[ -z $found ]]; then
		echo "violated: model $name: the planted bug was not found"
		failed=1
		return
	fi
	total_bugs=$((total_bugs + 1))
	printf '  %-6s %-28s found: %s\n' BUG "$name" "${found:0:60}"
	rm -rf "${build:?}/$name"
}

command -v spin >/dev/null || broken 'no spin: make proof-deps'
while read -r kind name file defines; do
	[[ -z $kind || $kind == '#'* ]] && continue
	[[ $kind == full && -z $FULL ]] && continue
	[[ -n $only && $name != "$only" ]] && continue
	# shellcheck disable=SC2086 # a list of options
	if [[ $kind == bug ]]; then
		check_bug "$name" "$file" $defines
	else
		check_sound "$name" "$file" $defines
	fi
done <configurations.txt
((total_models + total_bugs > 0)) || broken "no model named \"$only\""
echo "model: $total_models models searched to their end, $total_states states; $total_bugs planted bugs found"
exit "$failed"
