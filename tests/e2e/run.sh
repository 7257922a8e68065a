#!/bin/bash
# Run the end-to-end scripts, all or those whose names begin with an argument; one line for each.
set -euo pipefail
cd "$(dirname "$0")"
: "${SHMLOG_BIN:?}"
readonly logs=$SHMLOG_BIN/e2e
readonly timeout_s=${FULL:+900}
mkdir -p "$logs"
failed=0

run_script() {
	local script=$1 name status=0
	local begun=$EPOCHREALTIME
	name=$(basename "$script" .sh)
	timeout --kill-after=10 "${timeout_s:-120}" bash "$script" >"$logs/$name.log" 2>&1 || status=$?
	awk -v name="$name" -v begun="$begun" -v now="$EPOCHREALTIME" -v ok="$status" 'BEGIN {
		printf "  %-6s %-24s %5.1f s\n", ok == 77 ? "SKIPPED" : ok ? "FAILED" : "E2E", name, now - begun }'
	if ((status == 77)); then # it cannot run here, and its last line says why
		tail -n 1 "$logs/$name.log" | sed 's/^/    /'
		return 0
	fi
	((status == 0)) || sed 's/^/    /' "$logs/$name.log" | tail -30 >&2
	return "$status"
}

for script in [0-9]*.sh; do
	for wanted in "${@:-}"; do
		[[ $script != "$wanted"* ]] || run_script "./$script" || failed=1
	done
done
exit "$failed"
