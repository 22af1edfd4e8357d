#!/bin/bash
# run.sh [single|bulk]: what producing costs beside what PostgreSQL
# itself takes for the same bytes with the same durability.  make bench runs
# both.  See bench/README.md for how, docs/benchmarks.md for results.
#
# Measures the installed build in a scratch cluster of its own, as the caller
# or, if that is root, as postgres.  ROUNDS (5), SECONDS_EACH (4), ROWS
# (1000000) and CLIENTS ("1 8 32") change the amount of work.
set -u
# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-4}
rows=${ROWS:-1000000}
clients=${CLIENTS:-1 8 32}
scratch=
child=

# shellcheck disable=SC2317,SC2329  # called by the trap
cleanup()
{
	trap '' INT TERM HUP
	[ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null
	remove_scratch "$scratch"
}

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
		WHERE name IN ('shared_buffers', 'max_wal_size', 'checkpoint_timeout', 'autovacuum', 'mq.transaction_buffer', 'jit')")"
	echo "rounds:     $rounds of each, ours and peer in turn; ours and peer are medians, ratio is the median of the rounds' ratios (lowest to highest)"
}

# Reads "ours peer" lines, one for each round, more is better; prints the table's row.
row()					# work, unit, goal
{
	awk -v work="$1" -v unit="$2" -v goal="$3" '
		function sort(a, n,    i, j, t) {
			for (i = 2; i <= n; i++)
				for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
		}
		function median(a, n) { return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2 }
		NF == 2 && $1 > 0 && $2 > 0 { n++; ours[n] = $1; peer[n] = $2; ratio[n] = $1 / $2 }
		END {
			if (n == 0) { printf "| %s | failed | failed | | %s |\n", work, goal; exit 1 }
			sort(ours, n); sort(peer, n); sort(ratio, n)
			printf "| %s | %.0f %s | %.0f %s | %.2f (%.2f to %.2f) | %s |\n", work,
				median(ours, n), unit, median(peer, n), unit, median(ratio, n), ratio[1], ratio[n], goal
		}'
}

# One run of pgbench; prints transactions per second.
tps()					# script, clients, value
{
	local c=$2
	run_as_user "$pgbin/pgbench" -h "$scratch" -U postgres -n -M prepared -f "$src/bench/$1.sql" -D "value=$3" \
		-c "$c" -j "$((c < 2 ? 1 : 2))" -T "$seconds" postgres 2>>"$scratch/pgbench.log" |
		sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

# One message, one commit.
single()
{
	local bytes c r value
	for bytes in 100 1000; do
		value=$(printf "%0${bytes}d" 7)
		for c in $clients; do
			fresh
			for r in $(seq "$rounds"); do
				# whoever goes second finds the warmer machine
				if [ $((r % 2)) = 1 ]; then
					ours=$(tps produce "$c" "$value")
					peer=$(tps insert "$c" "$value")
				else
					peer=$(tps insert "$c" "$value")
					ours=$(tps produce "$c" "$value")
				fi
				echo "$ours $peer $(tps returning "$c" "$value")"
			done >"$scratch/t/single"
			cut -d ' ' -f 1,2 "$scratch/t/single" |
				row "produce $bytes B, autocommit, $c clients / INSERT into a bare heap" /s '>= 1.0'
			cut -d ' ' -f 1,3 "$scratch/t/single" |
				row "the same / INSERT ... RETURNING" /s ''
		done
	done
}

# An empty topic, an empty table, nothing dirty.
fresh()
{
	sql "SELECT mq.drop_topic('bench', if_exists => true)" >/dev/null 2>&1
	# the janitor removes the files, which must not happen during a measurement
	for _ in $(seq 100); do
		[ -n "$(find "$scratch/data/pg_mq" -mindepth 2 -maxdepth 2 2>/dev/null)" ] || break
		sleep 0.1
	done
	sql "SELECT mq.create_topic('bench', partitions => 1)" >/dev/null
	sql 'DROP TABLE IF EXISTS bench_heap; CREATE TABLE bench_heap (value text)' 2>/dev/null
	sql 'CHECKPOINT'
}

# Runs one statement, which is one transaction, as cold as the others; prints rows per second.
bulk_rate()				# statement
{
	fresh
	# an untimed scan brings its input back into the caches
	run_as_user "$pgbin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$scratch" -U postgres -d postgres \
		-c 'SELECT count(value) FROM bench_source' -c '\timing on' -c "$1" |
		awk -v rows="$rows" '$1 == "Time:" { printf "%.0f\n", rows / ($2 / 1000) }'
}

# A million messages, one commit.
bulk()
{
	local r ours copy insert
	sql "CREATE TABLE bench_source (value text);
		INSERT INTO bench_source SELECT lpad(i::text, 100, '0') FROM generate_series(1, $rows) i;
		COPY bench_source TO '$scratch/t/source.txt'" || die "could not make the input"
	sql 'VACUUM (FREEZE, ANALYZE) bench_source'
	for r in $(seq 0 "$rounds"); do
		ours=$(bulk_rate "SELECT count(mq.produce('bench', value)) FROM bench_source")
		copy=$(bulk_rate "COPY bench_heap FROM '$scratch/t/source.txt'")
		insert=$(bulk_rate 'INSERT INTO bench_heap SELECT value FROM bench_source')
		# the first round makes WAL files that the others use again
		[ "$r" = 0 ] || echo "$ours $copy $insert"
	done >"$scratch/t/bulk"
	cut -d ' ' -f 1,2 "$scratch/t/bulk" | row "produce $rows x 100 B, one transaction / COPY FROM a file" 'rows/s' '>= 2.3'
	cut -d ' ' -f 1,3 "$scratch/t/bulk" | row "the same / INSERT ... SELECT" 'rows/s' '>= 2.7'
}

leave_caller
what=${1:-all}
case $what in
	single | bulk | all) ;;
	*) die "usage: $0 [single|bulk]" ;;
esac
refuse_test_build
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
make_scratch mq_bench
start_server
sql 'CREATE EXTENSION mq_ext' || die "CREATE EXTENSION failed"
describe
echo
echo "| work | ours | peer | ratio | goal |"
echo "|---|---|---|---|---|"
[ "$what" = bulk ] || single
[ "$what" = single ] || bulk
