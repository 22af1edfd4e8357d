-- mq.fetch() in FROM: a scan of the log that must not differ from a call.
SET client_min_messages = warning;
SELECT mq.create_topic('scanned', 2);
SELECT count(mq.produce('scanned', value => CASE WHEN i % 10 <> 3 THEN repeat(chr(97 + i % 26), i * 7 % 300) END,
	key => CASE WHEN i % 4 > 0 THEN 'k' || repeat('x', i * 3 % 200) END, partition => i % 2,
	headers => CASE WHEN i % 5 = 0 THEN '{"a": "b"}'::jsonb END, tags => CASE WHEN i % 3 = 0 THEN ARRAY['t', i::text] END))
FROM generate_series(1, 600) i;
SELECT count(mq.produce('scanned', convert_to('{"n": ' || i || '}', 'UTF8'), 'json', partition => 0)) FROM generate_series(1, 20) i;

-- what is planned
EXPLAIN (COSTS OFF) SELECT value FROM mq.fetch('scanned', 0, 5, 10) WHERE msg_offset > 7;
EXPLAIN (COSTS OFF, VERBOSE) SELECT msg_offset + 1 FROM mq.fetch_text('scanned') ORDER BY ts;
EXPLAIN (COSTS OFF) SELECT count(*) FROM mq.fetch('scanned');
SET mq.enable_fetch_scan = off;
EXPLAIN (COSTS OFF) SELECT value FROM mq.fetch('scanned', 0, 5, 10) WHERE msg_offset > 7;
RESET mq.enable_fetch_scan;
-- what is left to the function scan
EXPLAIN (COSTS OFF) SELECT f FROM mq.fetch('scanned') f;
EXPLAIN (COSTS OFF) SELECT * FROM mq.fetch('scanned') WITH ORDINALITY;
EXPLAIN (COSTS OFF) SELECT * FROM ROWS FROM (mq.fetch('scanned'), generate_series(1, 2));
EXPLAIN (COSTS OFF) SELECT p, value FROM generate_series(0, 1) p, mq.fetch('scanned', p) f;
EXPLAIN (COSTS OFF) SELECT * FROM mq.peek('scanned', 0);
EXPLAIN (COSTS OFF) SELECT value FROM mq.fetch_json('scanned');
BEGIN;
ALTER FUNCTION mq.fetch(text, int, bigint, int, int, interval, text[], text) SET work_mem = '1MB';
EXPLAIN (COSTS OFF) SELECT value FROM mq.fetch('scanned');
ROLLBACK;

BEGIN;
ALTER TYPE mq.message ADD ATTRIBUTE more int;
EXPLAIN (COSTS OFF) SELECT value FROM mq.fetch('scanned');
SELECT msg_offset, more FROM mq.fetch('scanned', 0, 5, 1);
ROLLBACK;
BEGIN;
CREATE FUNCTION pg_temp.same_symbol(text) RETURNS SETOF mq.message AS '$libdir/mq_ext', 'mq_sql_fetch' LANGUAGE C;
EXPLAIN (COSTS OFF) SELECT value FROM pg_temp.same_symbol('scanned');
ROLLBACK;

-- the same rows, whichever way
CREATE FUNCTION pg_temp.both(query text) RETURNS TABLE (same bool, n bigint, sum text) LANGUAGE plpgsql AS $$
DECLARE
	scan text[];
	call text[];
BEGIN
	SET LOCAL mq.enable_fetch_scan = on;
	EXECUTE format('SELECT array_agg(row_to_json(q)::text) FROM (%s) q', query) INTO scan;
	SET LOCAL mq.enable_fetch_scan = off;
	EXECUTE format('SELECT array_agg(row_to_json(q)::text) FROM (%s) q', query) INTO call;
	RETURN QUERY SELECT scan IS NOT DISTINCT FROM call, coalesce(cardinality(scan), 0)::bigint, left(md5(call::text), 8);
END $$;
SELECT same, n FROM (VALUES
	(1, $$SELECT * FROM mq.fetch('scanned', max_messages => 10000)$$),
	(2, $$SELECT * FROM mq.fetch_text('scanned', max_messages => 10000)$$),
	(3, $$SELECT * FROM mq.fetch_json('scanned', 0, 300)$$),
	(4, $$SELECT value, key, topic, tags FROM mq.fetch_text('scanned', 1, 17, 100)$$),
	(5, $$SELECT tags, headers, headers FROM mq.fetch_text('scanned', tags => '{3,9,33}')$$),
	(6, $$SELECT FROM mq.fetch('scanned', 1, 250)$$),
	(7, $$SELECT length(value) AS l, count(*) FROM mq.fetch('scanned', max_messages => 10000) WHERE key IS NOT NULL GROUP BY 1 ORDER BY 1$$),
	(8, $$SELECT a.msg_offset, b.value FROM mq.fetch('scanned', 0, 10, 50) a JOIN mq.fetch_text('scanned', 1, 20, 50) b USING (msg_offset)$$),
	(9, $$SELECT i, (SELECT count(*) FROM mq.fetch('scanned', 0, NULL, 10000) WHERE msg_offset < i) FROM generate_series(0, 400, 50) i$$),
	(10, $$SELECT i, (SELECT string_agg(value, ',') FROM mq.fetch_text('scanned', i % 2, i)) AS v FROM generate_series(0, 3) i$$),
	(11, $$SELECT value FROM mq.fetch_text('scanned', (SELECT 1), (SELECT max(2)), 4)$$),
	(12, $$SELECT value FROM mq.fetch_text('scanned', 0, 5, 3) UNION ALL SELECT value FROM mq.fetch_text('scanned', 1, 5, 3)$$),
	(13, $$SELECT m.value, m FROM mq.fetch_text('scanned', 0, 5, 3) m WHERE m IS DISTINCT FROM NULL$$),
	(14, $$SELECT g, f.value FROM generate_series(1, 4) g LEFT JOIN mq.fetch_text('scanned', 0, NULL, 50) f ON f.msg_offset = g AND f.key LIKE 'k%'$$),
	(15, $$SELECT DISTINCT ON (length(value)) value, msg_offset FROM mq.fetch('scanned', 1) ORDER BY length(value), msg_offset DESC$$),
	(16, $$SELECT value FROM mq.fetch('scanned', 0, -1)$$),
	(17, $$SELECT array_agg(value ORDER BY msg_offset DESC) FROM mq.fetch_text('scanned', 1)$$)
) v(id, query), LATERAL pg_temp.both(query) ORDER BY id;

-- beyond work_mem, forward and back
SET work_mem = '64kB';
SELECT mq.create_topic('long', 2);
SELECT count(mq.produce('long', repeat(chr(97 + i % 26), i * 7 % 600), partition => i % 2)) FROM generate_series(1, 3000) i;
SELECT same, n FROM pg_temp.both($$SELECT * FROM mq.fetch('long', max_messages => 10000, max_bytes => 10000000)$$);
SELECT same, n FROM pg_temp.both($$SELECT a.msg_offset, b.msg_offset, b.value FROM generate_series(1, 3) g(msg_offset) CROSS JOIN mq.fetch_text('long', max_messages => 10000, max_bytes => 10000000) b, mq.fetch('long', 0, 1, 1) a$$);
CREATE FUNCTION pg_temp.walk(query text, moves int[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c refcursor;
	move int;
	got text;
	result text := '';
BEGIN
	OPEN c SCROLL FOR EXECUTE query;
	FOREACH move IN ARRAY moves LOOP
		FETCH RELATIVE move FROM c INTO got;
		result := result || coalesce(got, '-') || ' ';
	END LOOP;
	CLOSE c;
	RETURN result;
END $$;
SELECT every(scan = call) AS same, count(DISTINCT scan) > 15 AS many
FROM (SELECT array_agg((n * 7919 % 1211 - 550) * CASE n % 3 WHEN 0 THEN 1 WHEN 1 THEN 3 ELSE 7 END) AS moves, walk
	FROM generate_series(1, 25) walk, LATERAL generate_series(walk, walk + 30) n GROUP BY walk) w,
	LATERAL (SELECT set_config('mq.enable_fetch_scan', 'on', false), pg_temp.walk($$SELECT msg_offset || '/' || length(value) || left(value, 1) FROM mq.fetch_text('long', max_messages => 10000, max_bytes => 10000000)$$, moves) AS scan) s,
	LATERAL (SELECT set_config('mq.enable_fetch_scan', 'off', false), pg_temp.walk($$SELECT msg_offset || '/' || length(value) || left(value, 1) FROM mq.fetch_text('long', max_messages => 10000, max_bytes => 10000000)$$, moves) AS call) c;
RESET mq.enable_fetch_scan;
BEGIN;
DECLARE c CURSOR FOR SELECT partition, msg_offset FROM mq.fetch('long', max_messages => 10000, max_bytes => 10000000);
FETCH 2 FROM c;
FETCH BACKWARD 2 FROM c;
MOVE 2400 IN c;
FETCH BACKWARD 2 FROM c;
MOVE ALL IN c;
FETCH BACKWARD 2 FROM c;
MOVE BACKWARD ALL IN c;
FETCH 1 FROM c;
COMMIT;
SET temp_file_limit = '16kB';
SELECT count(value) FROM mq.fetch('long', max_messages => 10000, max_bytes => 10000000);
RESET temp_file_limit;
RESET work_mem;
SELECT count(value) FROM mq.fetch('long', max_messages => 10000, max_bytes => 10000000);

-- bytes that are no text fail before the first row, needed or not
SELECT mq.create_topic('no_text', 1);
SELECT count(mq.produce('no_text', v)) FROM unnest(ARRAY['\x61', '\xff']::bytea[]) v;
SELECT value FROM mq.fetch_text('no_text') LIMIT 1;
SELECT count(*) FROM mq.fetch_text('no_text');
SELECT value FROM mq.fetch_text('no_text', max_messages => 1);
SELECT mq.produce('no_text', '\x62'::bytea, '\xfe'::bytea);
SELECT count(*) FROM mq.fetch_text('no_text', 0, 2);

-- a result is read once: what is produced meanwhile comes with the next call
CREATE FUNCTION pg_temp.add(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
	$$SELECT $1 FROM mq.produce('growing', 'more', transactional => false)$$;
SELECT mq.create_topic('growing', 1);
SELECT count(mq.produce('growing', 'x', transactional => false)) FROM generate_series(1, 2);
SET enable_material = off;
SELECT g, count(*) FROM generate_series(1, 3) g, mq.fetch('growing') f WHERE pg_temp.add(f.msg_offset + g) >= 0 GROUP BY g ORDER BY g;
RESET enable_material;
SELECT count(*) FROM mq.fetch('growing');

-- parameters; each execution fetches anew
PREPARE part(int, bigint) AS SELECT partition, count(*), min(msg_offset) FROM mq.fetch('scanned', $1, $2, 20) GROUP BY 1;
SET plan_cache_mode = force_generic_plan;
EXECUTE part(0, 7);
EXECUTE part(1, 9);
EXPLAIN (COSTS OFF) EXECUTE part(1, 9);
DEALLOCATE part;
RESET plan_cache_mode;

-- many at a time, some not read to their end
SELECT (SELECT value FROM mq.fetch_text('scanned', 0, 1) LIMIT 1) = (SELECT value FROM mq.fetch_text('scanned', 0, 1, 1)) AS same
FROM mq.fetch('scanned', 0, NULL, 3) a, mq.fetch('scanned', 1, NULL, 2) b;

-- errors, in the order of a call
SELECT value FROM mq.fetch(NULL);
SELECT value FROM mq.fetch('no such topic');
SELECT value FROM mq.fetch('scanned', 7);
SELECT value FROM mq.fetch('scanned', 0, 100000);
SELECT value FROM mq.fetch('scanned', max_messages => 0);
SELECT value FROM mq.fetch('scanned', from_offset => 1);
SELECT value FROM mq.fetch_json('scanned', 0, 3, 1);
SELECT count(*) FROM mq.fetch_json('scanned', 0, 3, 1);
SELECT value FROM mq.fetch('no such topic') WHERE false;
EXPLAIN (COSTS OFF) SELECT value FROM mq.fetch('no such topic');

-- privileges are those of the caller, on the function too
CREATE ROLE regress_fetch_scan;
GRANT USAGE ON SCHEMA mq TO regress_fetch_scan;
CREATE VIEW shown AS SELECT value FROM mq.fetch_text('scanned', 0, 5, 1);
GRANT SELECT ON shown TO regress_fetch_scan;
BEGIN;
REVOKE EXECUTE ON FUNCTION mq.fetch(text, int, bigint, int, int, interval, text[], text) FROM PUBLIC;
SET ROLE regress_fetch_scan;
SAVEPOINT a;
SELECT value FROM mq.fetch('scanned');
ROLLBACK TO a;
SELECT value FROM mq.fetch_text('scanned');
ROLLBACK TO a;
SELECT * FROM shown;
ROLLBACK;

-- one after another in a statement, it needs no more memory than one
SELECT max(used) - min(used) < 1000000 AS no_more FROM (
	SELECT CASE WHEN i % 10000 = 0 THEN (SELECT sum(total_bytes) FROM pg_backend_memory_contexts) END AS used,
		(SELECT length(topic) + length(value) FROM mq.fetch('scanned', 0, i % 3 + 5, 1))
	FROM generate_series(1, 40000) i OFFSET 0) q;

-- counted as the function it stands for
BEGIN;
SET LOCAL track_functions = 'all';
SELECT count(*) FROM mq.fetch('scanned', 0, 5, 1);
SELECT count(*) FROM mq.fetch('scanned', 0, 5, 1);
SELECT funcname, calls FROM pg_stat_xact_user_functions WHERE schemaname = 'mq' AND funcname = 'fetch';
COMMIT;

DROP VIEW shown;
DROP OWNED BY regress_fetch_scan;
DROP ROLE regress_fetch_scan;
SELECT mq.drop_topic(t) FROM unnest('{scanned,long,growing,no_text}'::text[]) t;
