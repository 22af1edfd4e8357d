# rows_read.sh: the rows about reading and waiting.  Each is a function
# row_<name>; contestants are functions that print one figure.  Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2317,SC2329

# The same messages in a topic, a bare heap and a heap with a key, at rest.
fill()					# rows, bytes of each
{
	fresh
	sql "INSERT INTO bench_bytes SELECT lpad(i::text, $2, '0')::bytea FROM generate_series(1, $1) i;
		DROP TABLE bench_keyed;
		CREATE TABLE bench_keyed (id bigint, value bytea);
		INSERT INTO bench_keyed SELECT row_number() OVER () - 1, value FROM bench_bytes;
		ALTER TABLE bench_keyed ADD PRIMARY KEY (id)" || die "could not fill the tables"
	sql "SELECT count(mq.produce('bench', value)) FROM bench_bytes" >/dev/null
	sql 'VACUUM (FREEZE, ANALYZE) bench_bytes'
	sql 'VACUUM (FREEZE, ANALYZE) bench_keyed'
	sql 'CHECKPOINT'
}

# Everything, in one statement.
row_scan()
{
	local n bytes what serial=
	scan_ours() { per_second 5 "SELECT $what FROM mq_topics.bench" "$serial"; }
	scan_peer() { per_second 5 "SELECT $what FROM bench_bytes" "$serial"; }
	for bytes in 100 1000; do
		n=$rows
		[ "$bytes" = 100 ] || n=$wide_rows
		fill "$n" "$bytes"
		for what in 'count(*)' 'sum(length(value))'; do
			serial=
			race scan_ours scan_peer
			report "SELECT $what of $n x $bytes B" 'a heap, parallel as it comes' /s '>= 1.5'
			serial='SET max_parallel_workers_per_gather = 0'
			race scan_ours scan_peer
			report 'the same' 'a heap, max_parallel_workers_per_gather = 0' /s ''
		done
	done
}

# A thousand at a time, from the first to the last and again.
row_fetch()
{
	fetch_ours() { tps fetch_1000 1 -T "$seconds" -D "rows=$rows" -D from=0; }
	fetch_peer() { tps range_1000 1 -T "$seconds" -D "rows=$rows" -D from=0; }
	count_ours() { tps fetch_count 1 -T "$seconds" -D "rows=$rows" -D from=0; }
	count_peer() { tps range_count 1 -T "$seconds" -D "rows=$rows" -D from=0; }
	script fetch_1000 <<-'SQL'
		\set from (:from + 1000) % :rows
		SELECT msg_offset, value FROM mq.fetch('bench', 0, :from, 1000);
	SQL
	script range_1000 <<-'SQL'
		\set from (:from + 1000) % :rows
		SELECT id, value FROM bench_keyed WHERE id >= :from ORDER BY id LIMIT 1000;
	SQL
	script fetch_count <<-'SQL'
		\set from (:from + 1000) % :rows
		SELECT max(msg_offset), sum(length(value)) FROM mq.fetch('bench', 0, :from, 1000);
	SQL
	script range_count <<-'SQL'
		\set from (:from + 1000) % :rows
		SELECT max(id), sum(length(value)) FROM (SELECT id, value FROM bench_keyed WHERE id >= :from ORDER BY id LIMIT 1000) r;
	SQL
	fill "$rows" 100
	warm=1 race fetch_ours fetch_peer
	report 'fetch of 1,000 x 100 B, rows to the client' 'index range scan of a heap' /s '>= 1.5'
	warm=1 race count_ours count_peer
	report 'fetch of 1,000 x 100 B, summed in the server' 'index range scan of a heap' /s '>= 1.5'
}

# The same place in a long log and in a short one.
row_depth()
{
	local place lo
	depth_long() { lo=$(from_place "$deep_rows"); tps fetch_long 1 -T "$seconds" -D "lo=$lo"; }
	depth_short() { lo=$(from_place 10000); tps fetch_short 1 -T "$seconds" -D "lo=$lo"; }
	long_log deep "$deep_rows"
	long_log shallow 10000
	sql CHECKPOINT
	script fetch_long <<-'SQL'
		\set from random(:lo, :lo + 1000)
		SELECT msg_offset, value FROM mq.fetch('deep', 0, :from, 100);
	SQL
	script fetch_short <<-'SQL'
		\set from random(:lo, :lo + 1000)
		SELECT msg_offset, value FROM mq.fetch('shallow', 0, :from, 100);
	SQL
	for place in head middle tail; do
		warm=1 race depth_long depth_short
		report "fetch of 100 x 100 B at the $place of $deep_rows" 'of 10000' /s '>= 0.97'
	done
	sql "SELECT mq.drop_topic('deep'), mq.drop_topic('shallow')" >/dev/null
}

long_log()				# topic, messages
{
	local left=$2 n
	sql "SELECT mq.create_topic('$1', partitions => 1)" >/dev/null
	while [ "$left" -gt 0 ]; do
		n=$((left > 1000000 ? 1000000 : left))
		sql "SELECT count(mq.produce('$1', '$(digits 100)')) FROM generate_series(1, $n)" >/dev/null
		left=$((left - n))
	done
}

from_place()				# messages in the log
{
	case $place in
		head) echo 0 ;;
		middle) echo $(($1 / 2)) ;;
		tail) echo $(($1 - 1200)) ;;
	esac
}

# Produce and fetch, with and without an old snapshot.  In both cases as much
# load has run before; in one the snapshot is older than all of it.
row_pinned()
{
	local c=8
	pinned_with() { pinned_run pin; }
	pinned_without() { pinned_run; }
	script produce_fetch <<-'SQL'
		SELECT mq.produce('bench', :value::text);
		SELECT f.msg_offset, f.value FROM mq.offsets('bench', 0) o, mq.fetch('bench', 0, greatest(o.last_stable - 10, 0), 10) f;
	SQL
	warm=1 race pinned_with pinned_without
	report "produce and fetch, $c clients, under a snapshot older than the load" 'without' /s '>= 0.97'
}

pinned_run()				# pin or nothing
{
	local held expected=0
	fresh
	if [ -n "${1:-}" ]; then
		pin_snapshot
		expected=1
	fi
	tps produce_fetch "$c" -T $((2 * seconds)) -D "value=$(digits 100)" >"$scratch/t/load"
	held=$(sql "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pin' AND backend_xmin IS NOT NULL")
	[ "$held" != "$expected" ] || tps produce_fetch "$c" -T "$seconds" -D "value=$(digits 100)"
	[ $expected = 0 ] || unpin_snapshot
}

# A session that holds an old snapshot and does nothing, until its input ends.
pin_snapshot()
{
	rm -f "$scratch/t/pin"
	run_as_user mkfifo "$scratch/t/pin"
	run_as_user sh -c "exec '$pgbin/psql' -X -q -h '$scratch' -U postgres \
		-d 'dbname=postgres application_name=pin' <'$scratch/t/pin'" >/dev/null 2>&1 &
	exec 7>"$scratch/t/pin"
	echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;' >&7
	for _ in $(seq 100); do
		[ "$(sql "SELECT state FROM pg_stat_activity WHERE application_name = 'pin'")" != 'idle in transaction' ] || return 0
		sleep 0.1
	done
	return 1
}

unpin_snapshot()
{
	exec 7>&-
	wait
}

# From the commit of a message until a sleeping consumer has it.
row_wake()
{
	wake_ours() { wake_run mq; }
	wake_peer() { wake_run notify; }
	run_as_user cc -O2 -Wall -Wextra -I "$("$pgbin/pg_config" --includedir)" -o "$scratch/t/wake" "$src/bench/wake.c" \
		-L "$("$pgbin/pg_config" --libdir)" -lpq -lpthread || return
	warm=1 race wake_ours wake_peer
	# each figure is "p50/p99/median of the commit"; awk takes the number before the slash
	report "wake-up of a sleeper, $wake_rate messages/s, p50" 'LISTEN/NOTIFY' us '< 1'
	sed -i -E 's#[0-9.]+/([0-9.]+)#\1#g' "$scratch/t/race"
	report 'the same, p99' 'LISTEN/NOTIFY' us '< 1'
}

wake_run()				# mq or notify
{
	fresh
	sql 'DROP TABLE IF EXISTS bench_queue; CREATE TABLE bench_queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text)' 2>/dev/null
	run_as_user "$scratch/t/wake" "host=$scratch user=postgres dbname=postgres" "$1" "$wake_rate" $((wake_rate * seconds))
}
