#!/bin/bash
# make install: an installed tree that C and C++ programs build against, shared and static.
. "$(dirname "$0")/lib.sh"

cd "$(dirname "$0")/../.."
"${MAKE:-make}" --no-print-directory -s install BUILD="$(realpath --relative-to=. "$SHMLOG_BIN")" PREFIX=/opt/shmlog DESTDIR="$WORK/root" \
	>"$WORK/make" 2>&1 || fail "make install: $(cat "$WORK/make")"
readonly prefix=$WORK/root/opt/shmlog
for file in bin/shmlog-{writer,push,cat,stat,ctl} include/shmlog.h include/shmlog_reader.h \
	lib/libshmlog.a lib/libshmlog.so lib/pkgconfig/shmlog.pc; do
	[[ -e $prefix/$file ]] || fail "$file is not installed"
done

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$WORK/root
cat >"$WORK/user.c" <<'END'
#include <shmlog.h>
#include <shmlog_reader.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog_reader_options reading = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct shmlog *log;

	(void)reading;
	options.name = argv[argc - 1];
	if (shmlog_attach(argv[1], &options, &log) < 0)
		return puts(shmlog_reason()), 1;
	if (shmlog_try_push(log, argv[2], 5) < 0)
		return 1;
	shmlog_detach(&log);
	return shmlog_reader_open("/nowhere", NULL, &reader) < 0 ? 0 : 1;
}
END
cp "$WORK/user.c" "$WORK/user.cc"
shmlog-ctl create "$RING"
pushed=0
build_and_run() {
	"$@" -o "$WORK/user" || fail "does not build: $*"
	LD_LIBRARY_PATH=$prefix/lib "$WORK/user" "$RING" hello user || fail "does not run: $*"
	pushed=$((pushed + 1))
}
read -ra shared < <(pkg-config --cflags --libs shmlog)
read -ra static < <(pkg-config --static --cflags --libs shmlog)
build_and_run cc -std=c11 -Wall -Wextra -pedantic -Werror "$WORK/user.c" "${shared[@]}"
readelf -d "$WORK/user" | grep -q 'NEEDED.*libshmlog\.so\.0' || fail "not linked by its soname"
for std in 11 14 17 20; do
	build_and_run c++ -std=c++$std -Wall -Wextra -pedantic -Werror "$WORK/user.cc" "${shared[@]}"
done
build_and_run cc "$WORK/user.c" -Wl,-Bstatic "${static[@]}" -Wl,-Bdynamic
readelf -d "$WORK/user" | grep 'NEEDED.*libshmlog' && fail "linked with the shared library"
build_and_run cc -static "$WORK/user.c" "${static[@]}"
equal "$(stat_of "$RING" .enqueued)" "$pushed" "records of the programs that were built"

# Only what the headers promise is visible.
nm -D --defined-only "$prefix/lib/libshmlog.so" | awk '{ print $3 }' | sed 's/@.*//' |
	grep -vE '^(shmlog_|SHMLOG_)' && fail "symbols that nobody promised"
nm --defined-only --extern-only "$prefix/lib/libshmlog.a" | awk 'NF == 3 { print $3 }' |
	grep -vE '^shmlog_' && fail "symbols in the archive that nobody promised"
true
