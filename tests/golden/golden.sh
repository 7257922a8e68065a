#!/bin/bash
# golden.sh MAKE: the golden logs are read as ever, and MAKE still writes the same. Changes nothing.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/v1"
: "${SHMLOG_BIN:?run by make golden, or set it to the build directory}"
readonly CAT=$SHMLOG_BIN/shmlog-cat MAKE=$1
WORK=$(mktemp -d "${TMPDIR:-/tmp}/shmlog-golden.XXXXXX")
readonly WORK
trap 'rm -rf "$WORK"' EXIT
broken=0

complain() {
	echo "golden: $*" >&2
	broken=1
}

# reads EXPECTED CODE OPTION... PATH: what is printed, and how it ends.
reads() {
	local expected=$1 code=$2 status=0
	shift 2
	timeout 20 "$CAT" "$@" >"$WORK/out" 2>"$WORK/err" || status=$?
	cmp -s "$expected" "$WORK/out" || complain "shmlog-cat $*: does not print $expected"
	((status == code)) || complain "shmlog-cat $*: ends with $status, not $code: $(cat "$WORK/err")"
}

for log in plain compressed; do
	reads whole.json 0 -o json $log
	reads whole.pages 0 -o pages $log
	reads $log.verify 0 --verify $log
	reads whole.json 0 --salvage -o json $log
done
reads left.json 3 -o json left
reads left.pages 3 -o pages left
reads left.verify 3 --verify left
reads left.salvage 3 --salvage -o json left
reads recovered.json 0 -o json recovered
reads recovered.pages 0 -o pages recovered
reads recovered.verify 0 --verify recovered
reads recovered.salvage 3 --salvage -o json recovered

cat plain/*/*.shmlog >"$WORK/all"
reads whole.json 0 -o json "$WORK/all"
lz4 -dcm compressed/*/*.lz4 | cmp - "$WORK/all" || complain "the archives are not of the plain files"

mkdir "$WORK/made"
"$MAKE" "$WORK/made"
while read -r file; do
	case $file in
	# Other versions of liblz4 may compress otherwise.
	*.lz4) cmp <(lz4 -dc "$file") <(lz4 -dc "$WORK/made/$file") ;;
	*) cmp "$file" "$WORK/made/$file" ;;
	esac || complain "$file: is written otherwise now: see README.md"
done < <(find . -path './*/*' -type f)
cmp <(cd "$WORK/made" && find . -type f | sort) <(find . -path './*/*' -type f | sort) ||
	complain "other files are written"
exit "$broken"
