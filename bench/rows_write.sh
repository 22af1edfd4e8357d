# rows_write.sh: the rows about producing.  Each is a function row_<name>;
# contestants are functions that print one figure.  Sourced by run.sh.
# shellcheck shell=bash disable=SC2154,SC2317,SC2329

# One message, one commit.
row_single()
{
	local bytes c value
	single_ours() { tps produce "$c" -T "$seconds" -D "value=$value"; }
	single_peer() { tps insert "$c" -T "$seconds" -D "value=$value"; }
	single_returning() { tps returning "$c" -T "$seconds" -D "value=$value"; }
	for bytes in 100 1000; do
		value=$(digits "$bytes")
		for c in $clients; do
			fresh
			warm=1 race single_ours single_peer single_returning
			report "produce $bytes B, autocommit, $c clients" 'INSERT into a bare heap' /s '>= 1.0'
			report 'the same' 'INSERT ... RETURNING' /s '' 1 3
		done
	done
}

# A million rows and the file that COPY reads, each once.
make_source()
{
	sql "CREATE TABLE IF NOT EXISTS bench_source AS
		SELECT t AS value, t::bytea AS bytes FROM generate_series(1, $rows) i, lpad(i::text, 100, '0') t;
		COPY bench_source (value) TO '$scratch/t/source.txt'" 2>/dev/null || die "could not make the input"
	sql 'VACUUM (FREEZE, ANALYZE) bench_source'
}

# Runs one statement, which is one transaction, as cold as the others; prints
# rows per second.
bulk_rate()				# statement
{
	fresh
	# an untimed scan brings its input back into the caches
	cat "$scratch/t/source.txt" >/dev/null
	run_as_user "$pgbin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$scratch" -U postgres -d postgres \
		-c 'SELECT count(value), count(bytes) FROM bench_source' -c '\timing on' -c "$1" >"$scratch/t/bulk" &&
		awk -v rows="$rows" '$1 == "Time:" { printf "%.0f\n", rows / ($2 / 1000) }' "$scratch/t/bulk"
}

# A million messages, one commit.
row_bulk()
{
	bulk_produce() { bulk_rate "SELECT count(mq.produce('bench', value)) FROM bench_source"; }
	bulk_insert() { bulk_rate 'INSERT INTO mq_topics.bench (value) SELECT bytes FROM bench_source'; }
	heap_copy() { bulk_rate "COPY bench_heap FROM '$scratch/t/source.txt'"; }
	heap_insert() { bulk_rate 'INSERT INTO bench_bytes SELECT bytes FROM bench_source'; }
	make_source
	# the first round makes WAL files that the others use again
	warm=1 race bulk_produce bulk_insert heap_copy heap_insert
	report "SELECT mq.produce(...) of $rows x 100 B, one transaction" 'COPY FROM a file into a bare heap' rows/s '>= 2.5' 1 3
	report 'the same' 'INSERT ... SELECT into a bare heap' rows/s '>= 3' 1 4
	report "INSERT ... SELECT of $rows x 100 B into the topic's table" 'COPY FROM a file into a bare heap' rows/s '>= 2.5' 2 3
	report 'the same' 'INSERT ... SELECT into a bare heap' rows/s '>= 3' 2 4
}

# COPY on both sides: the same file, the same type.
row_copy()
{
	copy_topic() { bulk_rate "COPY mq_topics.bench (value) FROM '$scratch/t/source.txt'"; }
	copy_heap() { bulk_rate "COPY bench_bytes FROM '$scratch/t/source.txt'"; }
	copy_topic_text() { bulk_rate "COPY bench_text FROM '$scratch/t/source.txt'"; }
	copy_heap_text() { bulk_rate "COPY bench_heap FROM '$scratch/t/source.txt'"; }
	make_source
	warm=1 race copy_topic copy_heap copy_topic_text copy_heap_text
	report "COPY $rows x 100 B FROM a file into the topic's table" 'into a bare heap' rows/s '>= 1.5'
	report 'the same, both with a column of type text' 'into a bare heap' rows/s '>= 1.5' 3 4
}

# A hundred messages, one commit.
row_batch()
{
	local c value array
	batch_ours() { tps produce_batch "$c" -T "$seconds" -D "array=$array"; }
	batch_values() { tps insert_100 "$c" -T "$seconds" -D "value=$value"; }
	batch_unnest() { tps insert_unnest "$c" -T "$seconds" -D "array=$array"; }
	batch_scripts
	value=$(digits 100)
	array="{$(printf "$value,%.0s" $(seq 99))$value}"
	for c in 1 8; do
		fresh
		warm=1 race batch_ours batch_values batch_unnest
		report "produce_batch of 100 x 100 B, $c clients" 'INSERT of 100 rows, primary key' /s '>= 3'
		report 'the same' 'INSERT ... SELECT unnest(array), primary key' /s '' 1 3
	done
}

batch_scripts()
{
	script produce_batch <<<"SELECT mq.produce_batch('bench', :array::text[]);"
	script insert_100 <<<"INSERT INTO bench_keyed (value) VALUES $(printf '(:value),%.0s' $(seq 99))(:value);"
	script insert_unnest <<<'INSERT INTO bench_keyed (value) SELECT unnest(:array::text[]);'
}

# WAL and files for each message.  The files are counted as long as they are,
# after a checkpoint; a table with its index.
row_bytes()
{
	local value array each n
	bytes_ours() { bytes_written "$each_ours"; }
	bytes_peer() { bytes_written "$each_peer"; }
	size_ours() { cut -d ' ' -f 1 "$scratch/t/size.$each_ours"; }
	size_peer() { cut -d ' ' -f 1 "$scratch/t/size.$each_peer"; }
	batch_scripts
	script insert_keyed <<<'INSERT INTO bench_keyed (value) VALUES (:value);'
	value=$(digits 100)
	array="{$(printf "$value,%.0s" $(seq 99))$value}"
	for each in 1 100; do
		each_ours=produce each_peer=insert_keyed n=$byte_rows
		[ "$each" = 1 ] || each_ours=produce_batch each_peer=insert_100
		rounds=1 race bytes_ours bytes_peer
		report "WAL for a message of 100 B, $each in a transaction" 'heap with primary key' B '< 1'
		rounds=1 race size_ours size_peer
		report "files for a message of 100 B, $each in a transaction" 'heap with primary key' B '< 1'
	done
}

# Prints the bytes of WAL for each message; leaves those of the files in size.<script>.
bytes_written()				# script
{
	local before after size
	fresh
	before=$(sql 'SELECT pg_current_wal_insert_lsn()')
	[ -n "$(tps "$1" 1 -t $((n / each)) -D "value=$value" -D "array=$array")" ] || return
	after=$(sql "SELECT pg_current_wal_insert_lsn() - '$before'")
	sql CHECKPOINT
	case $1 in
		produce*) size=$(sql "SELECT sum(size_bytes) FROM mq.partitions WHERE topic = 'bench'") ;;
		*) size=$(sql "SELECT pg_total_relation_size('bench_keyed')") ;;
	esac
	awk -v size="$size" -v n="$n" 'BEGIN { print size / n }' >"$scratch/t/size.$1"
	awk -v wal="$after" -v n="$n" 'BEGIN { print wal / n }'
}
