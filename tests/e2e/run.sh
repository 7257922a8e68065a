#!/bin/bash
# Run the end-to-end scripts, all or those whose names begin with an argument, two at a time; one line
# for each.
set -euo pipefail
cd "$(dirname "$0")"
: "${SHMLOG_BIN:?}"
logs=$SHMLOG_BIN/e2e
timeout_s=120
[[ -z ${FULL:-} ]] || timeout_s=900
export logs timeout_s
mkdir -p "$logs"

run_script() {
	local script=$1 name status=0
	local begun=$EPOCHREALTIME
	name=$(basename "$script" .sh)
	timeout --kill-after=10 "$timeout_s" bash "$script" >"$logs/$name.log" 2>&1 || status=$?
	awk -v name="$name" -v begun="$begun" -v now="$EPOCHREALTIME" -v ok="$status" 'BEGIN {
		printf "  %-6s %-24s %5.1f s\n", ok == 77 ? "SKIPPED" : ok ? "FAILED" : "E2E", name, now - begun }'
	if ((status == 77)); then # it cannot run here, and its last line says why
		tail -n 1 "$logs/$name.log" | sed 's/^/    /'
		return 0
	fi
	((status == 0)) || sed 's/^/    /' "$logs/$name.log" | tail -30 >&2
	return "$status"
}

scripts=()
for script in [0-9]*.sh; do
	for wanted in "${@:-}"; do
		[[ $script != "$wanted"* ]] || scripts+=("./$script")
	done
done
export -f run_script
((${#scripts[@]} == 0)) || printf '%s\n' "${scripts[@]}" | xargs -P 2 -I '{}' bash -c 'run_script {}' ||
	exit 1
