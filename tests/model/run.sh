#!/bin/bash
# Check each model of configurations.txt, and that each bug that is planted in one is found.
#
#	run.sh [NAME]		all, two at a time; or one
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
	local name=$1 file=$2 optimise=-O2
	shift 2
	[[ "$*" == *BUG_* ]] && optimise=-O1
	rm -rf "${build:?}/$name"
	mkdir -p "$build/$name"
	cp ./*.pml "$build/$name"
	(cd "$build/$name" && spin -a "$@" "$file" >spin.log 2>&1 &&
		"$CC" "$optimise" -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=8000 -o pan pan.c) ||
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

check_sound() {
	local name=$1 file=$2 states
	shift 2
	compile "$name" "$file" "$@"
	search "$name"
	if grep -q 'assertion violated' "$build/$name/out"; then
		echo "violated: model $name: $(grep -m1 'assertion violated' "$build/$name/out")"
		trail "$name" "$file" "$@"
		return 1
	fi
	if ! grep -q 'errors: 0' "$build/$name/out" ||
		grep -qE 'max search depth|Search not completed|reached -DMEMLIM|out of memory|hash-?compact' \
			"$build/$name/out"; then
		tail -20 "$build/$name/out"
		broken "$name: not searched to its end"
	fi
	states=$(figure "$name" 's/^ *\([0-9.e+]*\) states, stored.*/\1/p')
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
		return 1
	fi
	printf '  %-6s %-28s found: %s\n' BUG "$name" "${found:0:60}"
	rm -rf "${build:?}/$name"
}

# The lines that are wanted: kind, name, file, options.
wanted() {
	grep -vE '^(#|$)' configurations.txt | if [[ -n $FULL ]]; then cat; else grep -v '^full '; fi
}

check_one() {
	local kind name file defines
	read -r kind name file defines < <(wanted | awk -v name="$1" '$2 == name')
	[[ -n $name ]] || broken "no model named \"$1\""
	# shellcheck disable=SC2086 # a list of options
	if [[ $kind == bug ]]; then
		check_bug "$name" "$file" $defines
	else
		check_sound "$name" "$file" $defines
	fi
}

command -v spin >/dev/null || broken 'no spin: make proof-deps'
if [[ -n $only ]]; then
	check_one "$only"
	exit
fi
mkdir -p "$build"
wanted | awk '{ print $2 }' | xargs -P 2 -n 1 ./run.sh 2>&1 | tee "$build/log"
status=${PIPESTATUS[2]}
grep -q '^broken: ' "$build/log" && exit 2
awk '$1 == "MODEL" { models++; states += $3 } $1 == "BUG" { bugs++ } END {
	printf "model: %d models searched to their end, %.0f states; %d planted bugs found\n", models, states, bugs }' "$build/log"
exit $((status != 0))
