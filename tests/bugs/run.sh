#!/bin/bash
# Proof that the suites can fail: each patch in this directory plants one bug into a copy of the
# sources; the command on its line "Found by:" must then say "violated: ..." and fail. A patch that
# does not apply, a copy that does not build and a suite that breaks for another reason are failures
# of this script.
#
#	run.sh [NAME]
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${MAKE:=make}" "${BUILD:=build/release}"

# The tree as it is, with its objects, so that only what the patch touches is compiled again.
copy_tree() {
	rm -rf "$1"
	mkdir -p "$1/$BUILD"
	cp -a Makefile .clang-format include lib writer tools bench tests docs packaging "$1"
	cp -a "$BUILD/." "$1/$BUILD"
}

find_bug() {
	local name=$1 patch=tests/bugs/$1.patch copy=build/bugs/$1 command
	command=$(sed -n 's/^Found by: make //p' "$patch")
	[[ -n $command ]] || { echo "bugs: $name: no line \"Found by: make ...\""; return 1; }
	copy_tree "$copy"
	patch -s -p1 --fuzz=0 -d "$copy" <"$patch" || { echo "bugs: $name: does not apply"; return 1; }
	"$MAKE" -C "$copy" all >"$copy/log" 2>&1 || { cat "$copy/log"; return 1; }
	# shellcheck disable=SC2086 # goals and variables
	if "$MAKE" -C "$copy" $command >"$copy/log" 2>&1; then
		echo "bugs: $name: not found by make $command"
		return 1
	fi
	grep -m1 -a 'violated: ' "$copy/log" >"$copy/found" ||
		{ tail -30 "$copy/log"; echo "bugs: $name: make $command failed, but not for that"; return 1; }
	echo "bugs: $name: found: $(cut -c1-150 "$copy/found")"
	rm -rf "$copy"
}

# Two at a time: most of what a suite does is waiting.
if [[ ${1:-} == --one ]]; then
	find_bug "$2"
	exit
fi
export MAKE BUILD
# shellcheck disable=SC2086 # a pattern, perhaps
printf '%s\n' tests/bugs/${1:-*}.patch | sed 's|.*/||; s|\.patch$||' |
	xargs -P 2 -I{} tests/bugs/run.sh --one {}
