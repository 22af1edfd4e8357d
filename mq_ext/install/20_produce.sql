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
