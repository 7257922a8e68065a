#!/bin/bash
# One page with the pictures of all benchmarks: report.html, self-contained, and the raw data, a JSON
# object a line, beside it.
#
#	report.sh PROGRAMS OUTPUT [OPTION...]	PROGRAMS: where the benchmarks were built; OPTIONs of theirs
#	REDRAW=1 report.sh PROGRAMS OUTPUT	the page anew, from data that is there
set -euo pipefail

readonly programs=$1 output=$2
shift 2
readonly benches=(publish drain peers scale)
mkdir -p "$output"

need() {
	command -v "$1" >/dev/null || { echo "report: no $1: make bench-deps installs it" >&2; exit 1; }
}

# ---- data ----

collect() {
	local bench
	for bench in "${benches[@]}"; do
		echo "report: $bench" >&2
		"$programs/$bench" -j "$@" >"$output/$bench.jsonl.part"
		mv "$output/$bench.jsonl.part" "$output/$bench.jsonl"
	done
}

# rows BENCH FILTER...: the rows of one benchmark through jq.
rows() {
	local bench=$1
	shift
	jq -r "$@" "$output/$bench.jsonl"
}

# ---- pictures ----

# plot NAME WIDTH HEIGHT: gnuplot commands from standard input; prints the SVG without its prologue, and
# keeps it as NAME.svg beside the page.
plot() {
	{
		echo "set terminal svg size $2,$3 dynamic font 'sans-serif,12' name '$1' background '#ffffff'"
		echo "set grid ytics lc rgb '#dddddd'; set border 3; set tics nomirror; set key noenhanced"
		echo "set style fill solid 0.8; set style line 1 lc rgb '#1b6ca8'; set style line 2 lc rgb '#888888'"
		echo "set bmargin 4; set errorbars lw 1"
		cat
	} | gnuplot | sed '/<?xml/d; /<!DOCTYPE/d; /^ "http/d' | tee "$output/$1.svg"
}

# block DATA: for the plot command behind it.
block() {
	printf '%s << EOD\n%s\nEOD\n' "\$d" "$1"
}

# A percentile p lies at 1 / (1 - p): nines are equally far from each other.
percentile_axis() {
	echo "set logscale xy; set format y '%.0s%c'; set xrange [2:20000]; set key outside right"
	echo "set xtics ('50%%' 2, '90%%' 10, '99%%' 100, '99.9%%' 1000, '99.99%%' 10000)"
	echo "set ylabel '$1'"
}

# Blocks "# title", then points, of standard input: as one gnuplot command with its data.
lines() {
	awk '/^# / { if (n++) print "EOD"; print "$d" n " << EOD"
			plot = plot (n > 1 ? ", " : "plot ") "$d" n " using 1:2 with lines lw 2 title \"" substr($0, 3) "\""
			next }
		{ print }
		END { print "EOD"; print plot }'
}

readonly points='.[] | select(.[0] < 1) | "\(1 / (1 - .[0])) \([.[1], 1] | max)"'

# What the latency of one row is called.
readonly name_of='if .lane == "shared" then "shared lane" elif .caches == "cold" then "cold caches" else "writer \(.writer)" end'

latency_by_percentile() {
	{
		percentile_axis 'one push, less the clock: ns'
		rows publish 'select(.bytes == 40 and .burst == "20" and .producers == "1" and .clock == "tsc") |
			"# '"\($name_of)"'", (.call_ns | '"$points"'),
			(select(.lane == "own" and .writer == "asleep") |
			"# the floor\(if .caches == "cold" then ", cold caches" else "" end)", (.floor_call_ns | '"$points"'))' | lines
	} | plot latency 1000 420
}

written_by_percentile() {
	{
		percentile_axis 'from publish to written: us'
		rows drain 'select(.bytes and .on == "disk" and .io == "uring" and .producers == 1 and .written_us) |
			"# \(.bytes) B, lane \(.lane_mib) MiB", (.written_us | '"$points"')' | lines
	} | plot written 1000 360
}

# dots NAME SCALE XLABEL SERIES...: a line a row, from "label" and median, low, high of each series.
# SCALE: log for ratios, linear from 0 for rates.
dots() {
	local name=$1 scale=$2 label=$3 data count i command=plot
	shift 3
	data=$(cat)
	count=$(wc -l <<<"$data")
	for ((i = 0; i < $#; i++)); do
		command+=" \$d using $((2 + 3 * i)):(\$0 + $i * 0.3):$((3 + 3 * i)):$((4 + 3 * i))"
		((i)) || command+=':ytic(1)'
		command+=" with xerrorbars ls $((i + 1)) pt 7 ps 0.7 lw 1.5 title '${*:i + 1:1}',"
	done
	{
		echo "set xlabel '$label'; set yrange [$count:-1]; set lmargin 44; set grid xtics ytics lc rgb '#dddddd'"
		echo "set key outside top right horizontal; set ytics noenhanced"
		[[ $scale = log ]] && echo "set logscale x" || echo "set xrange [0:*]"
		block "$data"
		echo "${command%,}"
	} | plot "$name" 1000 $((110 + 22 * count))
}

readonly spread='map(tostring) | join(" ")'

push_beside_floor() {
	rows publish 'select(.lane and .producers == "1") |
		"\"\(.lane) lane, \(.bytes) B x \(.burst), \(.clock), writer \(.writer)\(if .caches == "as they are" then "" else ", " + .caches end)\" \(.ratio | '"$spread"')"' |
		dots beside log 'a push, times the floor' 'median, and 8 of 10 rounds'
}

beside_each_other() {
	rows publish 'select(.beside_ratio) |
		"\"\(.lane) lane, \(.producers)\" \(.beside_ratio | '"$spread"')"' |
		dots pairs log 'a push beside those of another producer, times the same alone' 'median, and 8 of 10 rounds'
}

throughput() {
	rows drain 'select(.bytes) |
		"\"\(.bytes) B, \(.producers) producer\(if .producers > 1 then "s" else "" end), lane \(.lane_mib) MiB, \(.io), \(.on)\" \(.gb_s | '"$spread"') \(.raw_gb_s | '"$spread"')"' |
		dots throughput linear 'GB/s on disk, until durable' shmlog 'raw writer'
}

race() {
	rows drain 'select(.runner) | "\"\(.records / 1e6) million, \(.runner)\" \(.million_records_s | '"$spread"')"' |
		dots race linear 'million records of 40 bytes a second, until synced' 'median, and 8 of 10 rounds'
}

# peer_bars NAME FIELD YLABEL
peer_bars() {
	{
		echo "set ylabel '$3'; set logscale y; unset key; set xtics noenhanced font ',10'; set offsets 0.5,0.5,0,0"
		block "$(rows peers 'select(.peer) | "\"\(.peer)\" \(.'"$2 | $spread"')"')"
		echo "plot \$d using 0:2:3:4:(0.6):xtic(1) with boxerrorbars ls 1, \$d using 0:2:(sprintf(\$2 < 10 ? '%.2f' : '%.0f', \$2)) with labels offset 2.3,0.6"
	} | plot "$1" 490 360
}

# growth NAME GROWS FIELD YLABEL: GROWS is how the row's title begins.
growth() {
	local data title
	title=$(rows scale -s '[.[] | select((.grows // "") | startswith("'"$2"'"))][0].grows')
	data=$(rows scale 'select((.grows // "") | startswith("'"$2"'")) | "\(.n) \(.'"$3 | $spread"')"')
	{
		echo "set ylabel '$4'; set xlabel '$title'; set logscale x; unset key; set yrange [0:*]; set format x '%.0f'; set offsets graph 0.05, graph 0.05, graph 0.1, 0"
		block "$data"
		echo "plot \$d using 1:2:3:4 with yerrorlines ls 1 lw 2 pt 7 ps 0.6"
	} | plot "$1" 490 300
}

# ---- the page ----

# table BENCH SELECTION: its rows; what has a spread as "median (low .. high)", percentiles left out.
table() {
	rows "$1" -s 'def cell: if type == "array" then "\(.[0]) <small>(\(.[1]) .. \(.[2]))</small>" else tostring end;
		def keys_of: to_entries | map(select(.key != "bench" and
			((.value | type) != "array" or (.value[0] | type) != "array")));
		[.[] | '"$2"'] | if length == 0 then "" else
		"<table><tr>" + (.[0] | keys_of | map("<th>\(.key)</th>") | add) + "</tr>" +
		(map("<tr>" + (keys_of | map("<td>\(.value | cell)</td>") | add) + "</tr>") | add) + "</table>" end'
}

# section TITLE TEXT
section() {
	echo "<h2>$1</h2><p>$2</p>"
}

data() {
	echo "<details><summary>figures</summary>$(table "$1" "$2")</details>"
}

page() {
	cat <<-'END'
		<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>shmlog: benchmarks</title><style>
		body{font:15px/1.5 sans-serif;max-width:1020px;margin:2em auto;padding:0 1em;color:#222}
		svg{max-width:100%;height:auto}table{border-collapse:collapse;font-size:12px;display:block;overflow-x:auto}
		td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}small{color:#777}
		.pair{display:grid;grid-template-columns:1fr 1fr;gap:1em}</style><h1>shmlog: benchmarks</h1>
		<p>Ratios of one run are the result; nanoseconds and gigabytes belong to the machine. Bars and points are medians,
		the thin lines span 8 of 10 rounds.</p><ul>
	END
	for bench in "${benches[@]}"; do
		rows "$bench" 'select(.machine) | "<li>\(.bench): \(.machine), \(.date), load \(.load), one line between the processors \(.line_ns[0]) ns before, \(.line_ns[1]) ns after</li>"'
	done
	echo '</ul>'
	section 'What a push costs' 'Beside the floor: read the counter, copy header and record into a plain ring of the same size.'
	push_beside_floor
	section 'Latency by percentile' 'Single pushes of 40 bytes, 20 each 200 us, the program busy in between.'
	latency_by_percentile
	section 'Two producers' 'Bursts of 2,000 that begin at the same time.'
	beside_each_other
	data publish 'select(.lane)'
	section 'To the disk' 'As fast as there is room, until all is durable; beside a raw writer of as many bytes in equal pages.'
	throughput
	section 'From publish to written' 'Of a second, slow producer, while the first takes all the room there is.'
	written_by_percentile
	data drain 'select(.bytes)'
	section 'Beside a bare ring' 'Records of 40 bytes until synced; the bare ring loses what it holds when somebody dies.'
	race
	data drain 'select(.runner)'
	section 'Beside others' 'Left: bursts of 20 each 200 us. Right: a flood of 40-byte records until synced. They promise different things: see what each was asked to do.'
	echo '<div class="pair">'
	peer_bars bursts burst_ns 'ns of a record in a burst'
	peer_bars floods flood_million_s 'million records a second in the file'
	echo '</div>'
	data peers 'select(.peer)'
	section 'As work grows' 'What grows and what stays.'
	echo '<div class="pair">'
	growth lanes 'lanes bound' push_ratio 'push, times the floor'
	growth drains 'lanes bound' drain_cpu_us 'writer, CPU us for 2,000 records'
	growth idle 'lanes bound' idle_percent 'idle writer, % of a CPU'
	growth memory 'lanes bound' writer_mib 'writer, MiB'
	growth processes processes million_records_s 'million records a second'
	growth lane 'lane, MiB' million_records_s 'million records a second'
	growth rate 'log' gb_s 'GB a second, the last step'
	growth pages 'log' read_page_ms 'open and read a page, ms'
	growth start 'ring of 4 lanes, MiB' first_us 'process start to first record, us'
	echo '</div>'
	data scale 'select(.grows == "lanes bound")'
	data scale 'select(.grows == "processes" or .grows == "lane, MiB")'
	data scale 'select((.grows // "") | startswith("log,"))'
	data scale 'select(.grows == "ring of 4 lanes, MiB")'
	echo "<p>Raw data beside this page:"
	for bench in "${benches[@]}"; do echo "<a href=\"$bench.jsonl\">$bench.jsonl</a>"; done
	echo '</p></html>'
}

need jq
need gnuplot
[[ ${REDRAW:-} ]] || collect "$@"
page >"$output/report.html.part"
mv "$output/report.html.part" "$output/report.html"
echo "report: $output/report.html" >&2
