-- 55_stat.sql: counters of partitions and topics, worker processes

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
