-- 50_inspect.sql: views and functions to look at topics and their logs

-- The functions show what the role that reads the view may see, so anybody may
-- call them.

CREATE FUNCTION mq_internal.list_topics()
	RETURNS TABLE (topic text, topic_id uuid, relation oid, partitions int, state text,
	size_bytes bigint, messages_estimate bigint)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_list_topics';
COMMENT ON FUNCTION mq_internal.list_topics()
	IS 'the topics that the caller may see, for mq.topics';

CREATE FUNCTION mq_internal.list_partitions()
	RETURNS TABLE (topic text, partition int, state text, leader_epoch int,
	log_start_offset bigint, last_stable_offset bigint, high_watermark bigint,
	log_end_offset bigint, segments int, size_bytes bigint, oldest_ts timestamptz,
	newest_ts timestamptz, last_append_at timestamptz)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 1000
	AS 'MODULE_PATHNAME', 'mq_sql_list_partitions';
COMMENT ON FUNCTION mq_internal.list_partitions()
	IS 'the partitions that the caller may see, for mq.partitions';

CREATE FUNCTION mq_internal.list_segments()
	RETURNS TABLE (topic text, partition int, base_offset bigint, next_offset bigint,
	file_path text, size_bytes bigint, batches_bytes bigint, min_ts timestamptz,
	max_ts timestamptz, state text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 1000
	AS 'MODULE_PATHNAME', 'mq_sql_list_segments';
COMMENT ON FUNCTION mq_internal.list_segments()
	IS 'the segments that the caller may see, for mq.segments';

CREATE FUNCTION mq_internal.list_transactions()
	RETURNS TABLE (xid xid8, state text, partitions mq.position[], started_at timestamptz,
	blocks_lso boolean)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_list_transactions';
COMMENT ON FUNCTION mq_internal.list_transactions()
	IS 'the transactions in flight that the caller may see, for mq.transactions';

CREATE VIEW mq.topics WITH (security_barrier) AS
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
COMMENT ON VIEW mq.topics
	IS 'topics, one row each; config holds the options that were set';

CREATE VIEW mq.partitions AS
SELECT topic, partition, state, leader_epoch, log_start_offset, last_stable_offset,
	high_watermark, log_end_offset, segments, size_bytes, oldest_ts, newest_ts, last_append_at
FROM mq_internal.list_partitions();
COMMENT ON VIEW mq.partitions
	IS 'partitions of topics, one row each';

CREATE VIEW mq.segments AS
SELECT topic, partition, base_offset, next_offset, file_path, size_bytes, batches_bytes,
	min_ts, max_ts, state
FROM mq_internal.list_segments();
COMMENT ON VIEW mq.segments
	IS 'files of the partitions'' logs, one row per segment';

CREATE VIEW mq.transactions AS
SELECT xid, state, partitions, started_at, blocks_lso
FROM mq_internal.list_transactions();
COMMENT ON VIEW mq.transactions
	IS 'transactions whose messages are in the log and not yet visible';

GRANT SELECT ON mq.topics, mq.partitions, mq.segments, mq.transactions TO PUBLIC;

CREATE FUNCTION mq_internal.library_version()
	RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'mq_sql_library_version';
COMMENT ON FUNCTION mq_internal.library_version()
	IS 'version of the library in use, for mq.version()';

CREATE FUNCTION mq.version()
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (
	SELECT pg_catalog.format('mq_ext %s (SQL %s)', mq_internal.library_version(), e.extversion)
	FROM pg_catalog.pg_extension e
	WHERE e.extname OPERATOR(pg_catalog.=) 'mq_ext');
COMMENT ON FUNCTION mq.version()
	IS 'versions of the library and of the SQL objects';

CREATE FUNCTION mq.wal_records(start_lsn pg_lsn, end_lsn pg_lsn DEFAULT NULL)
	RETURNS TABLE (lsn pg_lsn, end_lsn pg_lsn, xid xid, record_type text, topic_id uuid,
	partition int, base_offset bigint, records int, description text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 1000
	AS 'MODULE_PATHNAME', 'mq_sql_wal_records';
COMMENT ON FUNCTION mq.wal_records(pg_lsn, pg_lsn)
	IS 'records of mq_ext in the write-ahead log';
REVOKE ALL ON FUNCTION mq.wal_records(pg_lsn, pg_lsn) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mq.wal_records(pg_lsn, pg_lsn) TO pg_monitor;
