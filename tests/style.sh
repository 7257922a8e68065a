#!/bin/bash
# The rules of the house that a machine can check. Prints what breaks one; exits 1 then.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
shopt -s nullglob

readonly sources=(include/*.h lib/*.[ch] writer/*.[ch] tools/*.[ch] docs/examples/*.c bench/*.[ch] bench/*.cc tests/*/*.[ch])
readonly scripts=(.ci/run bench/*.sh tests/*.sh tests/*/*.sh)
broken=0

complain() {
	echo "style: $1" >&2
	broken=1
}

# complain_lines RULE: every line of standard input breaks it.
complain_lines() {
	local line
	while read -r line; do
		complain "$line: $1"
	done
}

# includes PATTERN FILE...: lines of FILEs that include one of our headers that match PATTERN.
includes() {
	local pattern=$1
	shift
	grep -HnE "^#include \"($pattern)\"" "$@" /dev/null
}

# headers_of DIRECTORY: an alternative of its headers' names.
headers_of() {
	local names=("$1"/*.h)
	local IFS='|'
	echo "${names[*]##*/}"
}

check_layout() {
	local source
	for source in "${sources[@]}"; do
		clang-format "$source" | cmp -s - "$source" || complain "$source: run make format"
	done
	shellcheck -x -P SCRIPTDIR "${scripts[@]}" || complain "shellcheck is not content"
}

check_marks() {
	grep -HnE '\b(TODO|FIXME|XXX)\b' "${sources[@]}" "${scripts[@]}" Makefile |
		grep -v '^tests/style.sh' | complain_lines 'finish it or leave it out'
	grep -HnP '[^\x00-\x7f]' "${sources[@]}" | complain_lines 'ASCII only'
	grep -HnE '[[:space:]]+$' "${sources[@]}" "${scripts[@]}" Makefile | complain_lines 'trailing space'
}

check_directions() {
	local writer tools lib
	writer=$(headers_of writer)
	tools=$(headers_of tools)
	lib=$(headers_of lib)
	includes "$writer|$tools|.*(writer|tools)/.*" lib/*.[ch] |
		complain_lines 'the library knows neither writer nor tools'
	includes "$tools|.*tools/.*" writer/*.[ch] | grep -v '"cli.h"' |
		complain_lines 'the writer does not know the tools'
	includes "$writer|.*writer/.*" tools/*.[ch] | complain_lines 'the tools do not know the writer'
	includes "$writer|$tools|.*(writer|tools)/.*" bench/*.[ch] |
		complain_lines 'benchmarks start the programs, they are not built of them'
	# These two stand on the public interface; text helpers know nothing of rings and logs.
	includes "$lib" tools/cat.c tools/push.c | grep -vE '"(base|text|utf8|moment|units).h"' |
		complain_lines 'uses the public interface alone'
	grep -HnE '^#include "' lib/*_layout.h | grep -vE '"(atomic|[a-z]*_layout).h"' |
		complain_lines 'layouts include layouts'
}

check_atomics() {
	grep -HnE '__(atomic|sync)_|stdatomic|_Atomic|\bvolatile\b' "${sources[@]}" |
		grep -vE '^lib/atomic.h|^include/|^tests/|__asm__ volatile|volatile sig_atomic_t' | complain_lines 'only lib/atomic.h does that'
}

# "MO a <- b" and "MO a -> b", each label once: a.
labels() {
	grep -ohE 'MO [a-z_0-9]+:[A-Z] (<-|->) [a-z_0-9]+:[A-Z]' "$@" | sort -u
}

check_memory_order() {
	local document=docs/MEMORY_ORDER.md
	[[ -e $document ]] || { complain "$document is missing"; return; }
	comm -3 <(labels lib/*.[ch] writer/*.[ch] tools/*.[ch]) <(labels "$document") |
		complain_lines "stands in only one of the sources and $document"
}

check_points() {
	comm -3 <(grep -ohE '\bPOINT\([a-z_]+\)' writer/*.c | tr -d '()' | sed 's/^POINT//' | sort -u) \
		<(sed -n 's/^| \(`[^|]*\) |.*/\1/p' docs/TRACING.md | grep -oE '[a-z_]+' | sort -u) |
		complain_lines 'a point of the writer that stands in only one of writer/ and docs/TRACING.md'
}

check_layout
check_marks
check_directions
check_atomics
check_memory_order
check_points
exit "$broken"
