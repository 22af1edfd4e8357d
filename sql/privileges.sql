-- who may produce, fetch and look

CREATE ROLE regress_mq_owner;
CREATE ROLE regress_mq_writer;
CREATE ROLE regress_mq_reader;
CREATE ROLE regress_mq_column;
CREATE ROLE regress_mq_monitor IN ROLE pg_monitor;
CREATE ROLE regress_mq_nobody;
SELECT mq.create_topic('priv', 1);
SELECT mq.create_topic('priv.other', 1);
ALTER FOREIGN TABLE mq_topics.priv OWNER TO regress_mq_owner;
GRANT INSERT ON mq_topics.priv TO regress_mq_writer;
GRANT SELECT ON mq_topics.priv TO regress_mq_reader;
GRANT SELECT (key) ON mq_topics.priv TO regress_mq_column;
SELECT mq.produce('priv', 'v');
SELECT mq.produce('priv.other', 'v');

-- one try of everything
CREATE FUNCTION priv_try(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'yes';
EXCEPTION WHEN insufficient_privilege THEN
	RETURN 'no';
WHEN object_not_in_prerequisite_state THEN
	RETURN 'yes';				-- mq.wait() does not like to be here, but came that far
END$$;
CREATE TABLE priv_commands (n serial, command text);
INSERT INTO priv_commands (command) VALUES
	($$SELECT mq.produce('priv', 'v')$$),
	($$SELECT mq.produce('priv', '{}'::jsonb)$$),
	($$SELECT mq.produce('priv', '\x00'::bytea)$$),
	($$SELECT mq.produce('priv', 'v', transactional => false)$$),
	($$SELECT mq.produce_batch('priv', '{v}')$$),
	($$SELECT mq.produce_batch('priv', '{}')$$),
	($$SELECT mq.produce_batch_json('priv', '{1}')$$),
	($$SELECT mq.produce_batch_bytes('priv', '{v}')$$),
	($$SELECT mq.fetch('priv')$$),
	($$SELECT mq.fetch_text('priv', max_messages => 1)$$),
	($$SELECT mq.fetch_json('priv', 0, -1)$$),
	($$SELECT mq.peek('priv')$$),
	($$SELECT mq.offsets('priv')$$),
	($$SELECT mq.offset_at('priv', 0, now())$$),
	($$CALL mq.wait('{priv}', '0')$$),
	($$CALL mq.wait(positions => '{"(priv,0,0)"}', timeout => '0')$$),
	($$SELECT mq.last_produced()$$),
	($$SELECT mq.partition_for('priv', 'k')$$),
	($$SELECT mq.describe_topic('priv')$$),
	($$SELECT mq.topic_config('priv')$$),
	($$SELECT mq.to_text('v'), mq.to_jsonb('1'), mq.version()$$),
	($$SELECT * FROM mq.topics, mq.partitions, mq.segments, mq.transactions$$),
	($$SELECT mq.wal_records(pg_current_wal_flush_lsn())$$),
	($$SELECT * FROM mq_internal.topics$$),
	($$SELECT mq_internal.list_topics()$$);
GRANT SELECT ON priv_commands TO PUBLIC;
SET ROLE regress_mq_owner;
CREATE TEMP TABLE priv_owner AS SELECT n, priv_try(command) AS answer FROM priv_commands;
SET ROLE regress_mq_writer;
CREATE TEMP TABLE priv_writer AS SELECT n, priv_try(command) AS answer FROM priv_commands;
SET ROLE regress_mq_reader;
CREATE TEMP TABLE priv_reader AS SELECT n, priv_try(command) AS answer FROM priv_commands;
SET ROLE regress_mq_monitor;
CREATE TEMP TABLE priv_monitor AS SELECT n, priv_try(command) AS answer FROM priv_commands;
SET ROLE regress_mq_nobody;
CREATE TEMP TABLE priv_nobody AS SELECT n, priv_try(command) AS answer FROM priv_commands;
RESET ROLE;
SELECT c.command, o.answer AS owner, w.answer AS writer, r.answer AS reader, m.answer AS monitor, n.answer AS nobody
FROM priv_commands c JOIN priv_owner o USING (n) JOIN priv_writer w USING (n) JOIN priv_reader r USING (n)
	JOIN priv_monitor m USING (n) JOIN priv_nobody n USING (n) ORDER BY n;

-- views show what one may see
SET ROLE regress_mq_owner;
SELECT topic FROM mq.topics;
SELECT topic, partition FROM mq.partitions;
SELECT DISTINCT topic FROM mq.segments;
SET ROLE regress_mq_writer;
SELECT topic FROM mq.topics;
SELECT count(*) FROM mq.partitions;
SELECT count(*) FROM mq.segments;
SET ROLE regress_mq_reader;
SELECT topic FROM mq.topics;
SET ROLE regress_mq_column;
SELECT topic FROM mq.topics;
-- who sees a topic there may describe it, and no more
SELECT partition, state FROM mq.describe_topic('priv');
SELECT count(*) > 0 AS described FROM mq.topic_config('priv');
SELECT mq.describe_topic('priv.other');
SELECT mq.topic_config('priv.other');
SELECT mq.fetch('priv');
SET ROLE regress_mq_monitor;
SELECT topic FROM mq.topics WHERE topic LIKE 'priv%' ORDER BY 1;
SELECT topic FROM mq.partitions WHERE topic LIKE 'priv%' ORDER BY 1;
SET ROLE regress_mq_nobody;
SELECT count(*) FROM mq.topics;

-- a leaky function sees no row that is not shown
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
	$$BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END$$;
SELECT count(*) FROM mq.topics WHERE pg_temp.leak(topic);
SELECT count(*) FROM mq.topics WHERE pg_temp.leak(created_at::text);

-- what is said to who may not
SELECT mq.produce('priv', 'v');
SELECT mq.fetch('priv');
CALL mq.wait('{priv}');
RESET ROLE;

-- a privilege is taken back between two calls
SET ROLE regress_mq_writer;
SELECT mq.produce('priv', 'v');
RESET ROLE;
REVOKE INSERT ON mq_topics.priv FROM regress_mq_writer;
SET ROLE regress_mq_writer;
SELECT mq.produce('priv', 'v');
RESET ROLE;

-- a role's membership counts
GRANT regress_mq_reader TO regress_mq_nobody;
SET ROLE regress_mq_nobody;
SELECT count(*) > 0 AS reads FROM mq.fetch('priv');
RESET ROLE;

-- a function that runs as its owner produces as its owner
CREATE FUNCTION priv_definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER
	AS $$SELECT count(*) FROM mq.fetch('priv.other')$$;
SET ROLE regress_mq_nobody;
SELECT priv_definer();
SELECT count(*) FROM mq.fetch('priv.other');
RESET ROLE;

DROP FUNCTION priv_definer;
DROP FUNCTION priv_try;
DROP TABLE priv_commands, priv_owner, priv_writer, priv_reader, priv_monitor, priv_nobody;
SELECT count(*) FROM mq.topics WHERE topic LIKE 'priv%';
SELECT mq.drop_topic(t) FROM unnest('{priv,priv.other}'::text[]) t;
DROP FUNCTION pg_temp.leak(text);
DROP ROLE regress_mq_owner, regress_mq_writer, regress_mq_reader, regress_mq_column, regress_mq_monitor, regress_mq_nobody;
