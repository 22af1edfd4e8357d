\echo Use "CREATE EXTENSION mq_ext" to load this file. \quit

-- 00_schema.sql: what must be there before the first function: the check of
-- the server, schemas, types, the foreign-data wrapper, the table of topics.
-- Schema mq itself is made by CREATE EXTENSION.

-- Refuses a server without the library, and a schema mq that is somebody's.
CREATE FUNCTION @extschema@.check_install() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mq_sql_check_install';
SELECT @extschema@.check_install();
DROP FUNCTION @extschema@.check_install();

CREATE SCHEMA mq_topics;
COMMENT ON SCHEMA mq_topics IS 'relations of topics; CREATE here and USAGE on server mq let a role create topics';
CREATE SCHEMA mq_internal;
COMMENT ON SCHEMA mq_internal IS 'mq_ext''s own; not for users';

REVOKE ALL ON SCHEMA mq_internal FROM PUBLIC;
GRANT USAGE ON SCHEMA mq TO PUBLIC;
GRANT USAGE ON SCHEMA mq_topics TO PUBLIC;

-- Types

CREATE TYPE mq.position AS (topic text, partition int, msg_offset bigint);
COMMENT ON TYPE mq.position IS 'a place in a partition: the next offset to read';

CREATE TYPE mq.message AS (
	topic text, partition int, msg_offset bigint, ts timestamptz,
	key bytea, value bytea, headers jsonb, tags text[]
);
COMMENT ON TYPE mq.message IS 'a message as stored';

CREATE TYPE mq.message_text AS (
	topic text, partition int, msg_offset bigint, ts timestamptz,
	key text, value text, headers jsonb, tags text[]
);
COMMENT ON TYPE mq.message_text IS 'a message whose key and value are text';

CREATE TYPE mq.message_json AS (
	topic text, partition int, msg_offset bigint, ts timestamptz,
	key text, value jsonb, headers jsonb, tags text[]
);
COMMENT ON TYPE mq.message_json IS 'a message whose key is text and whose value is JSON';

CREATE TYPE mq.produced AS (partition int, msg_offset bigint);
COMMENT ON TYPE mq.produced IS 'where a message went; the offset is null while the transaction is open';

CREATE TYPE mq.produced_range AS (partition int, base_offset bigint, n int);
COMMENT ON TYPE mq.produced_range IS 'where n messages went; the offset is null while the transaction is open';

CREATE TYPE mq.offset_info AS (
	topic text, partition int, earliest bigint, latest bigint, last_stable bigint, max_ts timestamptz
);
COMMENT ON TYPE mq.offset_info IS 'offsets of a partition: log start, high watermark, last stable offset';

-- The foreign-data wrapper: a topic's relation is a foreign table.

CREATE FUNCTION mq_internal.mq_fdw_handler() RETURNS fdw_handler
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'mq_sql_fdw_handler';
COMMENT ON FUNCTION mq_internal.mq_fdw_handler() IS 'handler of foreign-data wrapper mq_fdw';
CREATE FUNCTION mq_internal.mq_fdw_validator(text[], oid) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'mq_sql_fdw_validator';
COMMENT ON FUNCTION mq_internal.mq_fdw_validator(text[], oid) IS 'validator of foreign-data wrapper mq_fdw';
REVOKE ALL ON FUNCTION mq_internal.mq_fdw_handler() FROM PUBLIC;
REVOKE ALL ON FUNCTION mq_internal.mq_fdw_validator(text[], oid) FROM PUBLIC;

CREATE FOREIGN DATA WRAPPER mq_fdw
	HANDLER mq_internal.mq_fdw_handler VALIDATOR mq_internal.mq_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER mq_fdw IS 'topics of mq_ext';
CREATE SERVER mq FOREIGN DATA WRAPPER mq_fdw;
COMMENT ON SERVER mq IS 'the topics of this database; USAGE lets a role create topics';

-- Identity of topics.  Read and written by the library alone, by column number.

CREATE TABLE mq_internal.topics (
	relation oid CONSTRAINT topics_pkey PRIMARY KEY,
	topic_id uuid NOT NULL CONSTRAINT topics_topic_id_key UNIQUE,
	name text COLLATE "C" NOT NULL CONSTRAINT topics_name_key UNIQUE,
	database_oid oid NOT NULL,
	ever_written boolean NOT NULL,
	created_at timestamptz NOT NULL
);
COMMENT ON TABLE mq_internal.topics IS 'which folder of pg_mq belongs to which topic';
COMMENT ON COLUMN mq_internal.topics.relation IS 'the topic''s foreign table';
COMMENT ON COLUMN mq_internal.topics.topic_id IS 'name of the folder';
COMMENT ON COLUMN mq_internal.topics.name IS 'the topic''s name, also an option of the foreign table';
COMMENT ON COLUMN mq_internal.topics.database_oid IS 'the database that the folder belongs to; another one than this after CREATE DATABASE ... TEMPLATE';
COMMENT ON COLUMN mq_internal.topics.ever_written IS 'true once a transaction with messages has committed: the folder must be there';
COMMENT ON COLUMN mq_internal.topics.created_at IS 'when the topic was created';
REVOKE ALL ON TABLE mq_internal.topics FROM PUBLIC;

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

-- 20_produce.sql: writing messages

CREATE FUNCTION mq.produce(
	topic text,
	value text,
	key text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	tags text[] DEFAULT NULL,
	partition int DEFAULT NULL,
	ts timestamptz DEFAULT NULL,
	transactional boolean DEFAULT true)
	RETURNS mq.produced
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
	AS 'MODULE_PATHNAME', 'mq_sql_produce';
COMMENT ON FUNCTION mq.produce(text, text, text, jsonb, text[], int, timestamptz, boolean)
	IS 'write a text message, visible when the transaction commits';

CREATE FUNCTION mq.produce(
	topic text,
	value jsonb,
	key text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	tags text[] DEFAULT NULL,
	partition int DEFAULT NULL,
	ts timestamptz DEFAULT NULL,
	transactional boolean DEFAULT true)
	RETURNS mq.produced
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
	AS 'MODULE_PATHNAME', 'mq_sql_produce_json';
COMMENT ON FUNCTION mq.produce(text, jsonb, text, jsonb, text[], int, timestamptz, boolean)
	IS 'write a JSON message, visible when the transaction commits';

CREATE FUNCTION mq.produce(
	topic text,
	value bytea,
	key bytea DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	tags text[] DEFAULT NULL,
	partition int DEFAULT NULL,
	ts timestamptz DEFAULT NULL,
	transactional boolean DEFAULT true)
	RETURNS mq.produced
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10
	AS 'MODULE_PATHNAME', 'mq_sql_produce_bytes';
COMMENT ON FUNCTION mq.produce(text, bytea, bytea, jsonb, text[], int, timestamptz, boolean)
	IS 'write a message of bytes, visible when the transaction commits';

CREATE FUNCTION mq.produce_batch(
	topic text,
	vals text[],
	keys text[] DEFAULT NULL,
	headers jsonb[] DEFAULT NULL,
	transactional boolean DEFAULT true)
	RETURNS SETOF mq.produced_range
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 100 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_produce_batch';
COMMENT ON FUNCTION mq.produce_batch(text, text[], text[], jsonb[], boolean)
	IS 'write an array of text messages, one result row per partition';

CREATE FUNCTION mq.produce_batch_json(
	topic text,
	vals jsonb[],
	keys text[] DEFAULT NULL,
	headers jsonb[] DEFAULT NULL,
	transactional boolean DEFAULT true)
	RETURNS SETOF mq.produced_range
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 100 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_produce_batch_json';
COMMENT ON FUNCTION mq.produce_batch_json(text, jsonb[], text[], jsonb[], boolean)
	IS 'write an array of JSON messages, one result row per partition';

CREATE FUNCTION mq.produce_batch_bytes(
	topic text,
	vals bytea[],
	keys bytea[] DEFAULT NULL,
	headers jsonb[] DEFAULT NULL,
	transactional boolean DEFAULT true)
	RETURNS SETOF mq.produced_range
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 100 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_produce_batch_bytes';
COMMENT ON FUNCTION mq.produce_batch_bytes(text, bytea[], bytea[], jsonb[], boolean)
	IS 'write an array of messages of bytes, one result row per partition';

CREATE FUNCTION mq.last_produced()
	RETURNS TABLE (topic text, partition int, base_offset bigint, last_offset bigint)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_last_produced';
COMMENT ON FUNCTION mq.last_produced()
	IS 'offsets of the last committed produce of this session';

-- not immutable: the number of partitions may grow
CREATE FUNCTION mq.partition_for(topic text, key bytea)
	RETURNS int
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10
	AS 'MODULE_PATHNAME', 'mq_sql_partition_for';
COMMENT ON FUNCTION mq.partition_for(text, bytea)
	IS 'the partition that messages with this key go to';

-- 30_consume.sql: reading messages without a group

CREATE FUNCTION mq.fetch(
	topic text,
	partition int DEFAULT NULL,
	from_offset bigint DEFAULT NULL,
	max_messages int DEFAULT 100,
	max_bytes int DEFAULT 1048576,
	max_wait interval DEFAULT '0',
	tags text[] DEFAULT NULL,
	on_damage text DEFAULT 'error')
	RETURNS SETOF mq.message
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_fetch';
COMMENT ON FUNCTION mq.fetch(text, int, bigint, int, int, interval, text[], text)
	IS 'read messages from an offset on, key and value as bytes';

CREATE FUNCTION mq.fetch_text(
	topic text,
	partition int DEFAULT NULL,
	from_offset bigint DEFAULT NULL,
	max_messages int DEFAULT 100,
	max_bytes int DEFAULT 1048576,
	max_wait interval DEFAULT '0',
	tags text[] DEFAULT NULL,
	on_damage text DEFAULT 'error')
	RETURNS SETOF mq.message_text
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_fetch_text';
COMMENT ON FUNCTION mq.fetch_text(text, int, bigint, int, int, interval, text[], text)
	IS 'read messages from an offset on, key and value as text';

CREATE FUNCTION mq.fetch_json(
	topic text,
	partition int DEFAULT NULL,
	from_offset bigint DEFAULT NULL,
	max_messages int DEFAULT 100,
	max_bytes int DEFAULT 1048576,
	max_wait interval DEFAULT '0',
	tags text[] DEFAULT NULL,
	on_damage text DEFAULT 'error')
	RETURNS SETOF mq.message_json
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_fetch_json';
COMMENT ON FUNCTION mq.fetch_json(text, int, bigint, int, int, interval, text[], text)
	IS 'read messages from an offset on, value as jsonb';

CREATE FUNCTION mq.offsets(topic text, partition int DEFAULT NULL)
	RETURNS SETOF mq.offset_info
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_offsets';
COMMENT ON FUNCTION mq.offsets(text, int)
	IS 'where a topic''s partitions begin and end';

CREATE FUNCTION mq.offset_at(topic text, partition int, at_time timestamptz)
	RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100
	AS 'MODULE_PATHNAME', 'mq_sql_offset_at';
COMMENT ON FUNCTION mq.offset_at(text, int, timestamptz)
	IS 'offset of the first message that is not older than a time';

CREATE FUNCTION mq.peek(
	topic text,
	n int DEFAULT 10,
	partition int DEFAULT NULL,
	from_end boolean DEFAULT true)
	RETURNS SETOF mq.message_text
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100 ROWS 10
	AS 'MODULE_PATHNAME', 'mq_sql_peek';
COMMENT ON FUNCTION mq.peek(text, int, int, boolean)
	IS 'look at the newest or oldest messages';

CREATE PROCEDURE mq.wait(
	topics text[] DEFAULT NULL,
	timeout interval DEFAULT '30 s',
	positions mq.position[] DEFAULT NULL,
	INOUT ready boolean DEFAULT NULL)
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'mq_sql_wait';
COMMENT ON PROCEDURE mq.wait(text[], interval, mq.position[], boolean)
	IS 'sleep without a snapshot until there are messages past the positions';

CREATE FUNCTION mq.to_text(value bytea)
	RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5
	AS 'MODULE_PATHNAME', 'mq_sql_to_text';
COMMENT ON FUNCTION mq.to_text(bytea)
	IS 'a message''s key or value as text';

CREATE FUNCTION mq.to_jsonb(value bytea)
	RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10
	AS 'MODULE_PATHNAME', 'mq_sql_to_jsonb';
COMMENT ON FUNCTION mq.to_jsonb(bytea)
	IS 'a message''s key or value as jsonb';

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
			WHERE o.option_name OPERATOR(pg_catalog.<>) ALL ('{topic,partitions}'::text[])),
		'{}'::jsonb) AS config,
	l.state,
	l.size_bytes,
	l.messages_estimate,
	t.created_at
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
