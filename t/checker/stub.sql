-- A log made of tables, with the names of mq_ext: lets the load, the shim and
-- the checker be proved against a plain server.  Slow and simple: who produces
-- to a partition locks it until the end of the transaction.

CREATE SCHEMA mq;
CREATE TABLE mq.part (topic text, partition int, next bigint, PRIMARY KEY (topic, partition));
CREATE TABLE mq.log (topic text, partition int, msg_offset bigint, key text, value text,
	PRIMARY KEY (topic, partition, msg_offset));

CREATE FUNCTION mq.create_topic(topic text, partitions int, config jsonb) RETURNS void
LANGUAGE sql AS $$ INSERT INTO mq.part SELECT $1, p, 0 FROM generate_series(0, $2 - 1) p $$;

CREATE FUNCTION mq.produce(topic text, value text, key text DEFAULT NULL, partition int DEFAULT NULL,
	transactional boolean DEFAULT true, OUT partition_ int, OUT msg_offset bigint)
LANGUAGE plpgsql AS $$
BEGIN
	partition_ := coalesce(partition, abs(hashtext(coalesce(key, '')))
		% (SELECT count(*)::int FROM mq.part p WHERE p.topic = produce.topic));
	UPDATE mq.part p SET next = next + 1 WHERE p.topic = produce.topic AND p.partition = partition_
		RETURNING next - 1 INTO msg_offset;
	INSERT INTO mq.log VALUES (topic, partition_, msg_offset, key, value);
END $$;

CREATE FUNCTION mq.produce_batch(topic text, vals text[], keys text[]) RETURNS bigint
LANGUAGE sql AS $$ SELECT count(p.*) FROM unnest($2, $3) u (v, k), LATERAL mq.produce($1, v, k) p $$;

CREATE FUNCTION mq.fetch_text(topic text, partition int, from_offset bigint, max_messages int, max_bytes int)
RETURNS TABLE (msg_offset bigint, key text, value text)
LANGUAGE sql AS $$
	SELECT msg_offset, key, value FROM mq.log l
	WHERE l.topic = $1 AND l.partition = $2 AND msg_offset >= $3 ORDER BY 1 LIMIT $4 $$;

CREATE FUNCTION mq.fetch(topic text, partition int, from_offset bigint, max_messages int, max_bytes int)
RETURNS TABLE (msg_offset bigint, key bytea, value bytea)
LANGUAGE sql AS $$
	SELECT msg_offset, convert_to(key, 'UTF8'), convert_to(value, 'UTF8')
	FROM mq.fetch_text($1, $2, $3, $4, $5) $$;

CREATE FUNCTION mq.offsets(topic text)
RETURNS TABLE (topic text, partition int, earliest bigint, latest bigint, last_stable bigint)
LANGUAGE sql AS $$ SELECT topic, partition, 0, next, next FROM mq.part p WHERE p.topic = $1 $$;

CREATE FUNCTION mq.last_produced()
RETURNS TABLE (topic text, partition int, base_offset bigint, last_offset bigint)
LANGUAGE sql AS $$ SELECT NULL::text, 0, 0::bigint, 0::bigint WHERE false $$;
