# lib.sh: the scratch server, how contestants are timed, how a row is printed.
# Sourced by run.sh after tools/lib.sh, not run.
# shellcheck shell=bash disable=SC2154

# Figures of a build with fault points or assertions say nothing.
refuse_test_build()
{
	local library
	library=$("$pgbin/pg_config" --pkglibdir)/mq_ext.so
	[ -r "$library" ] || die "mq_ext is not installed: run 'make && sudo make install' first"
	if grep -q -e 'mq\.faults' -e ExceptionalCondition "$library"; then
		die "the installed mq_ext is a test build: install one made by plain 'make' first"
	fi
}

start_server()
{
	local data=$scratch/data log=$scratch/server.log
	run_as_user "$pgbin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
		>"$scratch/initdb.log" 2>&1 || { cat "$scratch/initdb.log"; die "initdb failed"; }
	{
		cat "$src/bench/bench.conf"
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$scratch'"
	} >>"$data/postgresql.conf"
	run_as_user "$pgbin/pg_ctl" -D "$data" -l "$log" -w -s start ||
		{ tail -n 20 "$log"; die "the server did not start"; }
}

sql()					# statements; settings of psql after them
{
	local statements=$1
	shift
	run_as_user "$pgbin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$scratch" -U postgres -d postgres \
		"$@" -c "$statements"
}

describe()
{
	local cpu fs
	cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
	fs=$(df --output=fstype "$scratch" | tail -n 1)
	echo "machine:    $(nproc) cores ${cpu:-of unknown make}, $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), data on $fs, Linux $(uname -r)"
	echo "server:     PostgreSQL $(sql 'SHOW server_version'), mq_ext $(sql 'SELECT mq.version()')"
	echo "durability: $(sql "SELECT string_agg(name || '=' || setting, ', ' ORDER BY name) FROM pg_settings
		WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'wal_sync_method')"); both sides wait for the flush of the commit"
	echo "settings:   $(sql "SELECT string_agg(name || '=' || current_setting(name), ', ' ORDER BY name) FROM pg_settings
		WHERE name IN ('shared_buffers', 'max_wal_size', 'checkpoint_timeout', 'autovacuum', 'mq.transaction_buffer', 'mq.append_buffers',
			'max_parallel_workers_per_gather', 'jit')")"
	echo "amount:     scale $scale: $seconds s for each run of pgbench, $rows rows of 100 B, $wide_rows of 1 kB, a log of $deep_rows"
	echo "rounds:     $rounds of each, ours and peer in turn; ours and peer are medians, ratio is the median of the rounds' ratios (lowest to highest)"
}

# Timing

# Runs contestants, which are functions that print one figure, in rounds; who
# goes first changes from round to round, as whoever goes later finds the warmer
# machine.  Prints a line for each round, figures in the order of the arguments.
# With warm=1 a round of which nothing is kept goes before.
race()					# contestant...
{
	local round contestant order line
	local -A got
	for round in $(seq $((1 - ${warm:-0})) "$rounds"); do
		order=("$@")
		if [ $((round % 2)) = 0 ]; then
			order=()
			for contestant; do order=("$contestant" "${order[@]}"); done
		fi
		for contestant in "${order[@]}"; do got[$contestant]=$("$contestant"); done
		line=
		for contestant; do line+="${got[$contestant]:--} "; done
		[ "$round" = 0 ] || echo "$line"
	done >"$scratch/t/race"
}

# Prints the row of two contestants of the last race, and keeps it in $tsv.
# A goal ">= x" is for figures of which more is better, "< x" for the others;
# in both cases the ratio is ours / peer.
report()				# work, peer, unit, goal, number of ours, number of peer
{
	awk -v row="$current" -v work="$1" -v peer_name="$2" -v unit="$3" -v goal="$4" -v a="${5:-1}" -v b="${6:-2}" '
		function sort(x, n,    i, j, t) {
			for (i = 2; i <= n; i++)
				for (j = i; j > 1 && x[j] < x[j - 1]; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
		}
		function median(x, n) { return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2 }
		function figure(x) { return sprintf(x < 100 ? "%.1f" : "%.0f", x) }
		$a + 0 > 0 && $b + 0 > 0 { n++; ours[n] = $a + 0; peer[n] = $b + 0; ratio[n] = $a / $b }
		BEGIN { OFS = "\t" }
		END {
			if (n == 0) { print row, work, peer_name, unit, "", "", "", "", "", goal, "failed", 0; exit }
			sort(ours, n); sort(peer, n); sort(ratio, n)
			split(goal, g, " ")
			r = median(ratio, n)
			met = goal == "" ? "" : g[1] == ">=" ? (r >= g[2] + 0 ? "yes" : "no") : (r < g[2] + 0 ? "yes" : "no")
			print row, work, peer_name, unit, figure(median(ours, n)), figure(median(peer, n)),
				sprintf("%.3f", r), sprintf("%.3f", ratio[1]), sprintf("%.3f", ratio[n]), goal, met, n
		}' "$scratch/t/race" | tee -a "$tsv" | table_rows
}

table_head()
{
	echo "| work | against | ours | peer | ratio | goal | met |"
	echo "|---|---|---|---|---|---|---|"
}

# Lines of the summary as lines of a Markdown table.
table_rows()
{
	awk -F '\t' '
		$1 == "row" { next }
		$11 == "failed" { printf "| %s | %s | failed | | | %s | |\n", $2, $3, $10; next }
		{ printf "| %s | %s | %s %s | %s %s | %.2f (%.2f to %.2f) | %s | %s |\n", $2, $3, $5, $4, $6, $4, $7, $8, $9, $10, $11 }'
}

# Contestants are made of these

# A script for pgbench, from standard input.
script()				# name
{
	cat >"$scratch/t/$1.sql"
}

# One run of pgbench; prints transactions per second.  A script that fails
# prints nothing, and the row has failed.
tps()					# script, clients, arguments of pgbench
{
	local name=$1 c=$2
	shift 2
	[ -e "$scratch/t/$name.sql" ] || cp "$src/bench/$name.sql" "$scratch/t/$name.sql"
	run_as_user "$pgbin/pgbench" -h "$scratch" -U postgres -n -M prepared -f "$scratch/t/$name.sql" \
		-c "$c" -j "$((c < 2 ? 1 : 2))" "$@" postgres 2>"$scratch/pgbench.err" >"$scratch/pgbench.out"
	if grep -q -e aborted -e ERROR "$scratch/pgbench.err"; then
		grep -m 3 -e aborted -e ERROR "$scratch/pgbench.err" | sed 's/^/  /' >&2
		return
	fi
	sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$scratch/pgbench.out"
}

# Runs the statement so many times in one session, after a first time that
# does not count; prints how often it would run in a second.
per_second()				# times, statement, statements before
{
	local args=()
	for _ in $(seq "$1"); do args+=(-c "$2"); done
	run_as_user "$pgbin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$scratch" -U postgres -d postgres \
		${3:+-c "$3"} -c "$2" -c '\timing on' "${args[@]}" |
		awk -v n="$1" '$1 == "Time:" { ms += $2; found++ } END { if (found == n) printf "%.3f\n", n * 1000 / ms }'
}

# An empty topic, empty tables, nothing dirty.
fresh()
{
	sql "SELECT mq.drop_topic(t, if_exists => true) FROM unnest('{bench,bench_text}'::text[]) t" >/dev/null 2>&1
	# the janitor removes the files, which must not happen during a measurement
	for _ in $(seq 100); do
		[ -n "$(find "$scratch/data/pg_mq" -mindepth 2 -maxdepth 2 2>/dev/null)" ] || break
		sleep 0.1
	done
	sql "SELECT mq.create_topic('bench', partitions => 1)" >/dev/null
	sql "CREATE FOREIGN TABLE bench_text (value text) SERVER mq OPTIONS (topic 'bench_text', partitions '1')"
	sql 'DROP TABLE IF EXISTS bench_heap, bench_bytes, bench_keyed;
		CREATE TABLE bench_heap (value text);
		CREATE TABLE bench_bytes (value bytea);
		CREATE TABLE bench_keyed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text)' 2>/dev/null
	sql 'CHECKPOINT'
}

# A message as pgbench's variable: digits, so that it is the same as text and
# as bytes.
digits()				# how many
{
	printf "%0${1}d" 7
}
