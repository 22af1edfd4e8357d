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
