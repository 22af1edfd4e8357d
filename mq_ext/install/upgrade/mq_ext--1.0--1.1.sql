\echo Use "ALTER EXTENSION mq_ext UPDATE TO '1.1'" to load this file. \quit

-- What 1.1 adds to 1.0.  The full script of 1.1 says the same; t/028_upgrade
-- compares the two.

-- Topics as tables

CREATE OR REPLACE VIEW mq.topics WITH (security_barrier) AS
SELECT l.topic,
	l.topic_id,
	l.relation::pg_catalog.regclass AS relation,
	pg_catalog.pg_get_userbyid(c.relowner) AS owner,
	l.partitions,
	COALESCE((SELECT pg_catalog.jsonb_object_agg(o.option_name, o.option_value)
			FROM pg_catalog.pg_options_to_table(f.ftoptions) o
			WHERE o.option_name OPERATOR(pg_catalog.<>) ALL ('{topic,partitions,retired}'::text[])),
		'{}'::jsonb) AS config,
	l.state,
	l.size_bytes,
	l.messages_estimate,
	t.created_at,
	COALESCE((SELECT pg_catalog.cardinality(pg_catalog.string_to_array(o.option_value, ','))
			FROM pg_catalog.pg_options_to_table(f.ftoptions) o
			WHERE o.option_name OPERATOR(pg_catalog.=) 'retired'),
		0) AS partitions_retired
FROM mq_internal.list_topics() l
	JOIN mq_internal.topics t ON t.relation OPERATOR(pg_catalog.=) l.relation
	JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation
	JOIN pg_catalog.pg_foreign_table f ON f.ftrelid OPERATOR(pg_catalog.=) l.relation;

-- The life of a topic's files

CREATE FUNCTION mq.delete_records(topic text, partition int, before_offset bigint)
	RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_delete_records';
COMMENT ON FUNCTION mq.delete_records(text, int, bigint)
	IS 'delete the messages of a partition before an offset, at once; returns where the partition begins now';

CREATE FUNCTION mq.purge_topic(topic text)
	RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_purge_topic';
COMMENT ON FUNCTION mq.purge_topic(text)
	IS 'delete all messages of a topic, at once; returns how many offsets that were';

CREATE FUNCTION mq.retire_partition(topic text, partition int)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_retire_partition';
COMMENT ON FUNCTION mq.retire_partition(text, int)
	IS 'close a partition for messages; it goes when its last message has expired, and its number is not used again';

CREATE FUNCTION mq.roll_segment(topic text, part int DEFAULT NULL)
	RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_roll_segment';
COMMENT ON FUNCTION mq.roll_segment(text, int)
	IS 'begin a new segment in each partition whose last one holds messages; returns how many';

CREATE FUNCTION mq.run_retention(topic text DEFAULT NULL, dry_run boolean DEFAULT false)
	RETURNS TABLE (topic_name text, partition int, segments int, freed_bytes bigint)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_run_retention';
COMMENT ON FUNCTION mq.run_retention(text, boolean)
	IS 'remove the segments that retention.ms and retention.bytes do not keep any longer, or only count them';

CREATE FUNCTION mq.verify(topic text DEFAULT NULL, part int DEFAULT NULL)
	RETURNS TABLE (topic_name text, partition int, base_offset bigint, status text,
	bad_offset bigint, detail text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_verify';
COMMENT ON FUNCTION mq.verify(text, int)
	IS 'read every byte of a topic''s log, or of all topics, and say what is damaged';

CREATE FUNCTION mq_internal.list_progress()
	RETURNS TABLE (pid int, operation text, topic text, partition int, phase text, done bigint,
	total bigint, started_at timestamptz)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 10
	AS 'MODULE_PATHNAME', 'mq_sql_list_progress';
COMMENT ON FUNCTION mq_internal.list_progress()
	IS 'long work on topics that the caller may see, for mq.stat_progress';

CREATE VIEW mq.stat_progress AS
SELECT pid, operation, topic, partition, phase, done, total, started_at
FROM mq_internal.list_progress();
COMMENT ON VIEW mq.stat_progress
	IS 'long work on topics that is going on: done and total are bytes';

GRANT SELECT ON mq.stat_progress TO PUBLIC;

-- Statistics

-- The functions show what the role that reads the view may see, so anybody may
-- call them.

CREATE FUNCTION mq_internal.list_stat_partitions()
	RETURNS TABLE (topic text, partition int, messages_in bigint, bytes_in bigint, batches_in bigint,
	messages_out bigint, bytes_out bigint, produce_calls bigint, fetch_calls bigint,
	produce_time double precision, rejected bigint, filtered_out bigint,
	retention_deleted_messages bigint, retention_deleted_bytes bigint, stats_reset timestamptz,
	reads bigint, read_bytes bigint, read_time double precision, gone boolean)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 1000
	AS 'MODULE_PATHNAME', 'mq_sql_list_stat_partitions';
COMMENT ON FUNCTION mq_internal.list_stat_partitions()
	IS 'counters of the partitions that the caller may see, for mq.stat_partitions';

CREATE FUNCTION mq_internal.list_workers()
	RETURNS TABLE (pid int, worker_type text, state text, wait_reason text,
	busy_time double precision, last_error text, last_error_at timestamptz, restarts bigint)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10 ROWS 3
	AS 'MODULE_PATHNAME', 'mq_sql_list_workers';
COMMENT ON FUNCTION mq_internal.list_workers()
	IS 'the worker processes, for mq.stat_workers';

CREATE VIEW mq.stat_partitions AS
SELECT topic, partition, messages_in, bytes_in, batches_in, messages_out, bytes_out,
	produce_calls, fetch_calls, produce_time, rejected, filtered_out,
	retention_deleted_messages, retention_deleted_bytes, stats_reset, reads, read_bytes, read_time
FROM mq_internal.list_stat_partitions()
WHERE NOT gone;
COMMENT ON VIEW mq.stat_partitions
	IS 'what went in and out of the partitions of topics since stats_reset; times in milliseconds';

CREATE VIEW mq.stat_topics AS
SELECT topic,
	pg_catalog.sum(messages_in)::bigint AS messages_in,
	pg_catalog.sum(bytes_in)::bigint AS bytes_in,
	pg_catalog.sum(batches_in)::bigint AS batches_in,
	pg_catalog.sum(messages_out)::bigint AS messages_out,
	pg_catalog.sum(bytes_out)::bigint AS bytes_out,
	pg_catalog.sum(produce_calls)::bigint AS produce_calls,
	pg_catalog.sum(fetch_calls)::bigint AS fetch_calls,
	pg_catalog.sum(produce_time) AS produce_time,
	pg_catalog.sum(rejected)::bigint AS rejected,
	pg_catalog.sum(filtered_out)::bigint AS filtered_out,
	pg_catalog.sum(retention_deleted_messages)::bigint AS retention_deleted_messages,
	pg_catalog.sum(retention_deleted_bytes)::bigint AS retention_deleted_bytes,
	pg_catalog.max(stats_reset) AS stats_reset
FROM mq_internal.list_stat_partitions()
GROUP BY topic;
COMMENT ON VIEW mq.stat_topics
	IS 'what went in and out of topics: the sums over their partitions';

CREATE VIEW mq.stat_workers AS
SELECT pid, worker_type, state, wait_reason, busy_time, last_error, last_error_at, restarts
FROM mq_internal.list_workers();
COMMENT ON VIEW mq.stat_workers
	IS 'the worker processes of this server, one row for each kind';

GRANT SELECT ON mq.stat_partitions, mq.stat_topics, mq.stat_workers TO PUBLIC;

CREATE FUNCTION mq.stat_reset(topic text DEFAULT NULL)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100
	AS 'MODULE_PATHNAME', 'mq_sql_stat_reset';
COMMENT ON FUNCTION mq.stat_reset(text)
	IS 'set the counters of a topic to zero, or of all in this database; for its owner';
