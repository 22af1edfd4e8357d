-- views: topics, partitions, segments, transactions; version, wal_records

\pset null '(null)'
SELECT mq.create_topic('inspect', 2, '{"segment.bytes": 65536, "compression.type": "none"}');
SELECT mq.create_topic('inspect.empty', 1);
SELECT count(mq.produce('inspect', repeat('x', 1000), partition => 0,
	ts => timestamptz '2024-01-01' + i * interval '1 s')) FROM generate_series(1, 100) i;
SELECT pg_current_wal_insert_lsn() AS lsn \gset
SELECT count(mq.produce('inspect', repeat('x', 1000), partition => 0,
	ts => timestamptz '2024-01-02' + i * interval '1 s')) FROM generate_series(1, 100) i;

-- columns as documented
SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'mq' AND table_name IN ('topics', 'partitions', 'segments', 'transactions')
GROUP BY 1 ORDER BY 1;

SELECT topic, topic_id IS NOT NULL AS has_id, relation, owner = current_user AS mine, partitions, config,
	state, size_bytes > 200000 AS large, messages_estimate, created_at <= now() AS created
FROM mq.topics WHERE topic LIKE 'inspect%' ORDER BY topic;

SELECT topic, partition, state, leader_epoch, log_start_offset, last_stable_offset, high_watermark,
	log_end_offset, segments > 1 AS rolled, size_bytes > 200000 AS large,
	oldest_ts AT TIME ZONE 'UTC' AS oldest_ts, newest_ts AT TIME ZONE 'UTC' AS newest_ts, last_append_at <= now() AS appended
FROM mq.partitions WHERE topic LIKE 'inspect%' ORDER BY 1, 2;

-- segments follow one another and end at the log's end; sizes add up
SELECT count(*) > 1 AS rolled, min(base_offset), max(next_offset),
	count(*) FILTER (WHERE state = 'active') AS active, count(*) FILTER (WHERE state = 'closed') = count(*) - 1 AS others_closed,
	bool_and(size_bytes > 0 AND batches_bytes > 0 AND batches_bytes % 48 = 0) AS sizes,
	bool_and(min_ts <= max_ts) AS times
FROM mq.segments WHERE topic = 'inspect';
SELECT bool_and(base_offset = before) AS no_holes
FROM (SELECT base_offset, lag(next_offset, 1, 0::bigint) OVER (ORDER BY base_offset) AS before FROM mq.segments WHERE topic = 'inspect') s;
SELECT bool_and(pg_size_bytes((pg_stat_file(file_path)).size::text) = size_bytes) AS files_as_told,
	bool_and(file_path LIKE 'pg_mq/%/' || (SELECT topic_id FROM mq.topics WHERE topic = 'inspect') || '/0/%.log') AS paths
FROM mq.segments WHERE topic = 'inspect';
SELECT (SELECT sum(size_bytes + batches_bytes) FROM mq.segments WHERE topic = 'inspect')
	= (SELECT size_bytes FROM mq.partitions WHERE topic = 'inspect' AND partition = 0) AS partition_adds_up,
	(SELECT sum(size_bytes) FROM mq.partitions WHERE topic = 'inspect')
	= (SELECT size_bytes FROM mq.topics WHERE topic = 'inspect') AS topic_adds_up;

-- the views and the functions say the same
SELECT count(*) FROM mq.partitions p JOIN mq.offsets('inspect') o USING (topic, partition)
WHERE (p.log_start_offset, p.high_watermark, p.last_stable_offset) = (o.earliest, o.latest, o.last_stable);

-- nothing is in flight
SELECT * FROM mq.transactions;

-- our records in WAL
SELECT record_type, w.partition, base_offset, records, w.lsn >= :'lsn' AS after, w.end_lsn > w.lsn AS length,
	xid IS NOT NULL AS has_xid, description LIKE '%' || t.topic_id || '%' AS described
FROM mq.wal_records(:'lsn') w JOIN mq.topics t USING (topic_id)
WHERE t.topic = 'inspect' AND record_type = 'APPEND' ORDER BY w.lsn;
SELECT count(*) FROM mq.wal_records(:'lsn', end_lsn => :'lsn');
SELECT count(*) > 0 AS from_elsewhere FROM mq.wal_records(:'lsn'::pg_lsn + 1);
\set VERBOSITY terse
SELECT mq.wal_records('0/0');
SELECT mq.wal_records(NULL);
SELECT mq.wal_records(:'lsn', '0/1');
DO $$BEGIN PERFORM mq.wal_records('FFFFFFFF/0'); EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLERRM; END$$;
DO $$BEGIN PERFORM mq.wal_records(pg_current_wal_flush_lsn(), 'FFFFFFFF/0'); EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLERRM; END$$;

-- library and script agree
SELECT mq.version(), mq.version() = format('mq_ext %1$s (SQL %1$s)', extversion) AS same
FROM pg_extension WHERE extname = 'mq_ext';

-- how functions are marked, and that everything has its comment
SELECT provolatile AS volatile, proparallel AS parallel, proisstrict AS strict,
	string_agg(DISTINCT proname, ' ' ORDER BY proname) AS functions
FROM pg_proc WHERE pronamespace IN ('mq'::regnamespace, 'mq_internal'::regnamespace) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace IN ('mq'::regnamespace, 'mq_internal'::regnamespace) AND proretset AND prorows = 1000 AND proname !~ '^(list_|wal_)';
SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend d
WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mq_ext')
	AND deptype = 'e' AND obj_description(objid, classid::regclass::name) IS NULL;

-- a search_path full of traps changes nothing
CREATE SCHEMA inspect_trap;
CREATE FUNCTION inspect_trap.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$SELECT 'trapped'$$;
CREATE FUNCTION inspect_trap.oid_eq(oid, oid) RETURNS boolean LANGUAGE sql AS $$SELECT false$$;
CREATE OPERATOR inspect_trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = inspect_trap.oid_eq);
SET search_path = inspect_trap, pg_catalog;
SELECT mq.version() LIKE 'mq_ext %' AS not_trapped;
SELECT count(*) FROM mq.topics WHERE topic LIKE 'inspect%';
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA inspect_trap CASCADE;
RESET client_min_messages;

SELECT mq.drop_topic(t) FROM unnest('{inspect,inspect.empty}'::text[]) t;
SELECT count(*) FROM mq.topics WHERE topic LIKE 'inspect%';
SELECT count(*) FROM mq.segments WHERE topic LIKE 'inspect%';
