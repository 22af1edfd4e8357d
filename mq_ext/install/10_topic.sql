-- 10_topic.sql: topics: create, alter, drop, describe.

CREATE FUNCTION mq.create_topic(
	topic text,
	partitions int DEFAULT NULL,
	config jsonb DEFAULT '{}',
	if_not_exists boolean DEFAULT false)
	RETURNS regclass
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_create_topic';
COMMENT ON FUNCTION mq.create_topic(text, int, jsonb, boolean)
	IS 'create a topic and return its relation; needs CREATE on schema mq_topics and USAGE on server mq';

CREATE FUNCTION mq.alter_topic(topic text, config jsonb)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_alter_topic';
COMMENT ON FUNCTION mq.alter_topic(text, jsonb)
	IS 'change options of a topic; null resets an option to its default';

CREATE FUNCTION mq.drop_topic(topic text, if_exists boolean DEFAULT false, force boolean DEFAULT false)
	RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_drop_topic';
COMMENT ON FUNCTION mq.drop_topic(text, boolean, boolean)
	IS 'drop a topic and its messages at commit; false if there was none';

CREATE FUNCTION mq.describe_topic(topic text)
	RETURNS TABLE (partition int, state text, log_start_offset bigint, high_watermark bigint,
		last_stable_offset bigint, segments int, size_bytes bigint,
		oldest_ts timestamptz, newest_ts timestamptz)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 10
	AS 'MODULE_PATHNAME', 'mq_sql_describe_topic';
COMMENT ON FUNCTION mq.describe_topic(text) IS 'partitions of a topic';

CREATE FUNCTION mq.topic_config(topic text)
	RETURNS TABLE (name text, value text, source text, is_default boolean, description text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100 ROWS 10
	AS 'MODULE_PATHNAME', 'mq_sql_topic_config';
COMMENT ON FUNCTION mq.topic_config(text) IS 'options of a topic that are in force, and where they come from';

CREATE FUNCTION mq.add_partitions(topic text, count int)
	RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000
	AS 'MODULE_PATHNAME', 'mq_sql_add_partitions';
COMMENT ON FUNCTION mq.add_partitions(text, int)
	IS 'add partitions to a topic and return their new number; keys then map to other partitions';
