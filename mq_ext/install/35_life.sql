-- 35_life.sql: the life of a topic's files: deleting, retention, retiring partitions

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
