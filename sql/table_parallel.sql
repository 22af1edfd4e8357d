-- Topics' tables read by several processes: the same rows as by one.
SET client_min_messages = warning;
SELECT mq.create_topic('shared', 3, '{"retention.ms": -1, "segment.bytes": 1048576, "compression.type": "lz4"}');
SELECT count(mq.produce('shared', json_build_object('id', i)::text, key => (i % 97)::text, partition => i % 2,
	ts => timestamptz '2026-01-01 00:00 UTC' + i * interval '1 second', tags => CASE WHEN i % 10 = 0 THEN ARRAY['ten'] END))
FROM generate_series(1, 120000) i;
BEGIN;
SELECT count(mq.produce('shared', 'never', partition => 0)) FROM generate_series(1, 1000) i;
ROLLBACK;
SELECT count(mq.produce('shared', '{"id": 0}', partition => 1)) FROM generate_series(1, 3) i;
CREATE FOREIGN TABLE fields (partition int, msg_offset bigint, id int OPTIONS (json 'id'), value text)
	SERVER mq OPTIONS (partitions '1');
INSERT INTO fields (value) SELECT json_build_object('id', i)::text FROM generate_series(1, 50000) i;
CREATE TABLE keys AS SELECT i::bigint * 1000 AS at FROM generate_series(0, 80) i;
ANALYZE keys;

SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;

-- what is planned: shares of a scan, and never a whole scan in each process
EXPLAIN (COSTS OFF) SELECT sum(length(value)) FROM mq_topics.shared;
EXPLAIN (COSTS OFF) SELECT count(*) FROM mq_topics.shared;
EXPLAIN (COSTS OFF) SELECT count(*), max(length(value)) FROM mq_topics.shared WHERE partition = 1 AND msg_offset >= 30000 AND length(value) > 3;
EXPLAIN (COSTS OFF) SELECT count(s.value) FROM keys k JOIN mq_topics.shared s ON s.msg_offset = k.at;
EXPLAIN (COSTS OFF) SELECT partition, msg_offset FROM mq_topics.shared ORDER BY 1, 2 LIMIT 5;
SET max_parallel_workers_per_gather = 0;
EXPLAIN (COSTS OFF) SELECT sum(length(value)) FROM mq_topics.shared;
RESET max_parallel_workers_per_gather;

-- the same rows
CREATE FUNCTION pg_temp.both(query text) RETURNS TABLE (parallel bool, same bool, n bigint) LANGUAGE plpgsql AS $$
DECLARE
	shares text[];
	whole text[];
	line text;
BEGIN
	parallel := false;
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		parallel := parallel OR line ~ 'Parallel Foreign Scan';
	END LOOP;
	EXECUTE format('SELECT array_agg(q::text ORDER BY q::text) FROM (%s) q', query) INTO shares;
	SET LOCAL max_parallel_workers_per_gather = 0;
	EXECUTE format('SELECT array_agg(q::text ORDER BY q::text) FROM (%s) q', query) INTO whole;
	RESET max_parallel_workers_per_gather;
	same := shares IS NOT DISTINCT FROM whole;
	n := coalesce(cardinality(shares), 0);
	RETURN NEXT;
END $$;
CREATE TEMP TABLE queries AS SELECT * FROM (VALUES
	(1, 'SELECT partition, msg_offset, ts, value, key, tags FROM mq_topics.shared'),
	(2, 'SELECT partition, count(value), min(msg_offset), max(msg_offset), sum(msg_offset), min(ts), max(ts) FROM mq_topics.shared GROUP BY 1'),
	(3, 'SELECT msg_offset, value FROM mq_topics.shared WHERE partition = 1'),
	(4, 'SELECT msg_offset, value FROM mq_topics.shared WHERE partition IN (0, 2) AND msg_offset BETWEEN 16383 AND 40001'),
	(5, 'SELECT msg_offset, value FROM mq_topics.shared WHERE ts >= ''2026-01-01 05:00 UTC'' AND ts < ''2026-01-01 06:00 UTC'''),
	(6, 'SELECT msg_offset, value FROM mq_topics.shared WHERE tags && ARRAY[''ten''] AND key <> ''7'''),
	(7, 'SELECT msg_offset, value FROM mq_topics.shared WHERE msg_offset >= (SELECT max(at) - 20000 FROM keys)'),
	(8, 'SELECT k.at, s.value FROM keys k JOIN mq_topics.shared s ON s.msg_offset = k.at'),
	(9, 'SELECT k.at, count(s.value) FROM keys k LEFT JOIN mq_topics.shared s ON s.msg_offset % 80000 = k.at GROUP BY 1'),
	(10, 'SELECT count(*), count(DISTINCT a.value) FROM mq_topics.shared a JOIN mq_topics.shared b USING (partition, msg_offset)'),
	(11, 'SELECT msg_offset FROM mq_topics.shared WHERE partition = 7'),
	(12, 'SELECT id, value FROM fields WHERE id > 20'),
	(13, 'SELECT k.at, (SELECT sum(length(value)) FROM mq_topics.shared WHERE partition = 0 AND msg_offset >= k.at) FROM keys k WHERE at > 70000 OR at < 2000')
) v(id, query);
SELECT id, q.* FROM queries, LATERAL pg_temp.both(query) q ORDER BY id;
-- by workers alone
SET parallel_leader_participation = off;
SELECT id, q.* FROM queries, LATERAL pg_temp.both(query) q ORDER BY id;
RESET parallel_leader_participation;

-- a gather that is started again, one that is left early, one that is left open
SET enable_material = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT * FROM pg_temp.both('SELECT g, count(*), sum(s.msg_offset) FROM generate_series(1, 3) g
	LEFT JOIN (SELECT msg_offset FROM mq_topics.shared WHERE length(value) > 5 OFFSET 0) s ON s.msg_offset % 3 = g - 1
	GROUP BY 1');
RESET enable_material;
RESET enable_hashjoin;
RESET enable_mergejoin;
SELECT count(*) FROM (SELECT value FROM mq_topics.shared WHERE length(value) > 5 LIMIT 10) q;
EXPLAIN (COSTS OFF) SELECT g, n FROM generate_series(1, 3) g,
	LATERAL (SELECT count(*) AS n FROM (SELECT value FROM mq_topics.shared WHERE length(value) > 5 LIMIT g * 30000) q) x;
SELECT g, n FROM generate_series(1, 3) g,
	LATERAL (SELECT count(*) AS n FROM (SELECT value FROM mq_topics.shared WHERE length(value) > 5 LIMIT g * 30000) q) x;
BEGIN;
DECLARE c CURSOR FOR SELECT value FROM mq_topics.shared WHERE length(value) > 5;
MOVE 100 IN c;
SELECT mq.delete_records('shared', 0, 20000);
MOVE ALL IN c;
COMMIT;
SELECT * FROM pg_temp.both('SELECT partition, msg_offset, value FROM mq_topics.shared');

-- more partitions than are kept open
SELECT mq.create_topic('wide', 70);
SELECT count(mq.produce('wide', i::text, partition => i % 70)) FROM generate_series(1, 7000) i;
SELECT mq.alter_topic('wide', '{"retention.ms": -1}');
SELECT * FROM pg_temp.both('SELECT partition, msg_offset, value FROM mq_topics.wide');
SELECT messages_out, fetch_calls FROM mq.stat_topics WHERE topic = 'wide';
SELECT mq.drop_topic('wide');

-- a type's input function that may not run in a worker
CREATE FUNCTION note_id(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('my.last', i::text, true); RETURN true; END $$;
CREATE DOMAIN noted AS int CHECK (note_id(VALUE));
ALTER FOREIGN TABLE fields ADD COLUMN also noted[] OPTIONS (json 'ids');
SELECT * FROM pg_temp.both('SELECT sum(id), count(also) FROM fields');
ALTER FOREIGN TABLE fields DROP COLUMN also;
SELECT * FROM pg_temp.both('SELECT sum(id) FROM fields');
DROP DOMAIN noted;
DROP FUNCTION note_id;

-- an error of one is an error of all
\set VERBOSITY sqlstate
SELECT sum(1 / nullif(msg_offset - 40000, 0) + 1 / (msg_offset - 50000)) FROM mq_topics.shared;
\set VERBOSITY default
SELECT count(value) FROM mq_topics.shared;

-- calls of the statistics are scans, whoever has read
SELECT mq.stat_reset('shared');
SELECT count(value) FROM mq_topics.shared;
SELECT messages_out, fetch_calls FROM mq.stat_topics WHERE topic = 'shared';
SET parallel_leader_participation = off;
SELECT count(value) FROM mq_topics.shared;
SELECT messages_out, fetch_calls FROM mq.stat_topics WHERE topic = 'shared';

SELECT mq.drop_topic('shared'), mq.drop_topic('fields');
DROP TABLE keys;
