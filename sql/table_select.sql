-- The topic as a table: SELECT, what is pushed down, what EXPLAIN shows.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SELECT count(mq.drop_topic(name)) >= 0 AS none_left FROM mq_internal.topics;
SELECT mq.create_topic('events', 3, '{"batch.size": 1024, "retention.ms": -1}');
-- batches of a few messages each, times that do not rise, tags here and there
SELECT count(mq.produce('events', 'value ' || i, CASE WHEN i % 3 > 0 THEN 'key ' || i END,
	tags => CASE i % 4 WHEN 1 THEN '{eu}'::text[] WHEN 2 THEN '{us,vip}' WHEN 3 THEN '{eu,vip}' END,
	headers => CASE WHEN i % 5 = 0 THEN '{"h": "x"}'::jsonb END,
	partition => i % 3,
	ts => '2024-01-01 00:00:00Z'::timestamptz + (i + (i * 7) % 20) * interval '1 ms'))
FROM generate_series(0, 299) i;
BEGIN;
SELECT mq.produce('events', 'never', partition => 0);
ROLLBACK;
SELECT mq.produce('events', 'after the gap', partition => 0, ts => '2024-01-01 00:00:01Z');
SELECT mq.produce('events', NULL::text, 'tombstone', partition => 1, ts => '2024-01-02');

SELECT partition, msg_offset, ts, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value, headers, tags
FROM mq_topics.events WHERE msg_offset < 2 OR msg_offset >= 100;
SELECT partition, count(*), min(msg_offset), max(msg_offset) FROM mq_topics.events GROUP BY partition ORDER BY partition;
SELECT count(*) FROM mq_topics.events;
SELECT count(value), count(key), count(headers), count(tags) FROM mq_topics.events;
-- the whole row, and the table it comes from
SELECT e FROM mq_topics.events e WHERE partition = 1 AND msg_offset = 100;
SELECT DISTINCT tableoid::regclass FROM mq_topics.events;

-- what is pushed, and what stays a filter
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE partition = 1;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE partition IN (0, 2) AND msg_offset BETWEEN 10 AND 20;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE 100 < msg_offset AND ts >= now() - interval '1 hour' AND ts < current_date;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE tags && '{eu}' AND length(value) > 3;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE tags && '{eu}' AND tags && '{vip}';
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE msg_offset = random() * 10;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE msg_offset + 0 = 1 OR partition = 1;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE msg_offset = partition;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE partition = ALL ('{1}') AND partition <> 2;
EXPLAIN (COSTS OFF, VERBOSE) SELECT key FROM mq_topics.events e WHERE msg_offset >= (SELECT 5);
EXPLAIN (COSTS OFF, FORMAT JSON) SELECT count(*) FROM mq_topics.events WHERE partition = 2;

-- the order of the log needs no sort
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events WHERE partition = 1 AND msg_offset > 5 ORDER BY msg_offset LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events ORDER BY partition, msg_offset LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events ORDER BY msg_offset LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM mq_topics.events ORDER BY partition, msg_offset DESC LIMIT 3;
SELECT partition, msg_offset FROM mq_topics.events WHERE partition = 1 AND msg_offset > 5 ORDER BY msg_offset LIMIT 3;
SELECT partition, msg_offset FROM mq_topics.events WHERE msg_offset > 98 ORDER BY partition, msg_offset;

-- each condition, pushed, finds what it finds in a copy
CREATE TABLE copied AS SELECT * FROM mq_topics.events;
CREATE TABLE conditions (condition text);
INSERT INTO conditions
SELECT c || ' ' || o || ' ' || v FROM unnest(ARRAY['=', '<', '<=', '>', '>=']) o,
	(VALUES ('partition', '1'), ('partition', '1::bigint'), ('partition', '-1'), ('partition', '2::smallint'), ('partition', '5000000000'),
		('msg_offset', '0'), ('msg_offset', '-1'), ('msg_offset', '50'), ('msg_offset', '100'), ('msg_offset', '102'), ('msg_offset', '7::smallint'),
		('msg_offset', '9223372036854775807'), ('msg_offset', '-9223372036854775808'), ('msg_offset', 'NULL::bigint'), ('partition', 'NULL::int'),
		('ts', '''2024-01-01 00:00:00.1Z'''), ('ts', '''2024-01-01 00:00:00.1004Z'''), ('ts', '''2024-01-01 00:00:00.099999Z'''),
		('ts', '''2024-01-01 00:00:00Z'''), ('ts', '''infinity'''), ('ts', '''-infinity'''), ('ts', '''2024-01-02''::date'), ('ts', '''2024-01-01 00:00:01''::timestamp'),
		('ts', '''294276-12-31 23:59:59.999999Z'''), ('ts', '''4714-11-24 00:00:00Z BC'''), ('ts', '''1969-12-31 23:59:59.999Z'''), ('ts', 'NULL::timestamptz'), ('ts', 'now()'),
		('ts', '''5874897-01-01''::date'), ('ts', '''infinity''::date'), ('ts', '''-infinity''::timestamp'), ('ts', '''4714-11-24 BC''::date')) w(c, v);
INSERT INTO conditions VALUES ('partition IN (0, 2)'), ('partition = ANY (''{1,1,NULL,7,-3}'')'), ('partition = ANY (NULL::int[])'), ('partition = ANY (''{}''::int[])'),
	('partition = ANY (''{0,2}''::bigint[])'), ('partition = ANY (''{{0,1},{1,0}}''::smallint[])'), ('partition IN (0, 1) AND partition > 0'), ('partition = 0 AND partition = 1'),
	('tags && ''{eu}'''), ('tags && ''{eu,vip}'''), ('tags && ''{}'''), ('tags && ''{NULL}'''), ('tags && ''{NULL,us}'''), ('tags && NULL'), ('tags && ''{{eu,x},{y,z}}'''), ('tags && ''{e}'''),
	('ts = ANY (ARRAY[''2024-01-02''::timestamptz])'), ('''5874897-01-01''::date > ts'), ('ts BETWEEN ''4714-11-24 BC''::date AND ''5874897-01-01''::date'),
	('''{us}'' && tags'), ('tags && ''{eu}'' AND tags && ''{vip}'''), ('3 > partition AND 10 >= msg_offset'),
	('msg_offset BETWEEN 10 AND 20'), ('msg_offset BETWEEN 20 AND 10'), ('msg_offset > 3 AND msg_offset < 5'), ('msg_offset >= 5 AND msg_offset = 5 AND partition = 2'),
	('ts >= ''2024-01-01 00:00:00.05Z'' AND ts < ''2024-01-01 00:00:00.06Z'''), ('ts BETWEEN ''2024-01-01 00:00:00.06Z'' AND ''2024-01-01 00:00:00.05Z'''),
	('ts >= ''2024-01-01 00:00:00.2Z'' AND partition = 1 AND msg_offset > 60 AND tags && ''{vip}'' AND length(key) > 6'),
	('ts <= ''infinity'' AND ts > ''-infinity'''), ('partition = 1 OR msg_offset = 3'), ('NOT partition = 1');
DO $$
DECLARE
	c text;
	differ bigint;
	found bigint;
	empty int := 0;
BEGIN
	FOR c IN SELECT condition FROM conditions LOOP
		EXECUTE format('SELECT count(*) FROM ((SELECT * FROM mq_topics.events WHERE %1$s) EXCEPT ALL SELECT * FROM copied WHERE %1$s) d', c) INTO differ;
		EXECUTE format('SELECT count(*) - (SELECT count(*) FROM copied WHERE %1$s) FROM mq_topics.events WHERE %1$s', c) INTO found;
		IF differ <> 0 OR found <> 0 THEN
			RAISE WARNING '% finds others: %, %', c, differ, found;
		END IF;
		EXECUTE format('SELECT (count(*) = 0)::int FROM copied WHERE %1$s', c) INTO found;
		empty := empty + found;
	END LOOP;
	RAISE NOTICE '% conditions, % of which find nothing', (SELECT count(*) FROM conditions), empty;
END $$;

-- times that timestamptz cannot say in this time zone lie behind all that it can
SET timezone = 'America/Los_Angeles';
SELECT count(*) = (SELECT count(*) FROM mq_topics.events) AS all FROM mq_topics.events WHERE ts <= '294276-12-31 23:59:59'::timestamp;
SELECT count(*) FROM mq_topics.events WHERE ts >= '294276-12-31 23:59:59'::timestamp OR ts = '294276-12-31 23:59:59'::timestamp;
SELECT count(*) FROM mq_topics.events WHERE ts >= '294276-12-31 23:59:59'::timestamp;
SELECT count(*) FROM mq_topics.events WHERE ts = '294276-12-31 23:59:59'::timestamp;
SET timezone = 'Asia/Tokyo';
SELECT count(*) = (SELECT count(*) FROM mq_topics.events) AS all FROM mq_topics.events WHERE ts >= '4714-11-24 BC'::timestamp;
SELECT count(*) FROM mq_topics.events WHERE ts < '4714-11-24 BC'::timestamp;
SELECT count(*) FROM mq_topics.events WHERE ts = '4714-11-24 BC'::timestamp;
SET timezone = 'UTC';

-- parameters: of prepared statements, of functions, of joins
PREPARE page(int, bigint, int) AS SELECT msg_offset FROM mq_topics.events WHERE partition = $1 AND msg_offset > $2 ORDER BY msg_offset LIMIT $3;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE page(1, 2, 3);
EXECUTE page(1, 2, 3);
EXECUTE page(2, 98, 3);
EXECUTE page(NULL, 98, 3);
RESET plan_cache_mode;
-- counted by the log, or row by row
EXPLAIN (COSTS OFF) SELECT count(*) + 1, count(*) * 2 FROM mq_topics.events WHERE msg_offset >= 100 AND partition IN (0, 2);
SELECT count(*) + 1 = (SELECT count(*) + 1 FROM copied WHERE msg_offset >= 100 AND partition IN (0, 2)) AS plus_one,
	count(*) * 2 = (SELECT 2 * count(*) FROM copied WHERE msg_offset >= 100 AND partition IN (0, 2)) AS twice
FROM mq_topics.events WHERE msg_offset >= 100 AND partition IN (0, 2);
SELECT count(*) = (SELECT count(*) FROM copied WHERE key IS NULL) AS same FROM mq_topics.events WHERE key IS NULL;
SELECT count(*) FILTER (WHERE partition = 1) = (SELECT count(*) FROM copied WHERE partition = 1) AS same FROM mq_topics.events;
SELECT count(*) FROM mq_topics.events WHERE false;
SELECT count(*) FROM mq_topics.events WHERE msg_offset < 0;
SELECT count(*) FROM mq_topics.events HAVING count(*) < 0;
SELECT n > 0 AS some FROM (SELECT count(*) AS n FROM mq_topics.events OFFSET 0) c;
SELECT count(*) = (SELECT count(*) FROM mq_topics.events) AS same FROM (SELECT key FROM mq_topics.events) e;
SELECT DISTINCT count(*) OVER () = (SELECT count(*) FROM mq_topics.events) AS same FROM mq_topics.events;
PREPARE several(int[], text[]) AS SELECT count(*) FROM mq_topics.events WHERE partition = ANY ($1) AND tags && $2;
EXECUTE several('{0,1}', '{us}');
EXECUTE several('{2}', NULL);
-- a condition counts as of the first row, and not at all where there is none
CREATE FUNCTION wanted() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN current_setting(''test.wanted'')::int; END';
SET test.wanted = 1;
BEGIN;
DECLARE late CURSOR FOR SELECT DISTINCT partition FROM mq_topics.events WHERE partition = wanted();
SET LOCAL test.wanted = 2;
FETCH 2 FROM late;
COMMIT;
PREPARE guarded(int) AS SELECT count(value) FROM mq_topics.events WHERE $1 <> 0 AND partition = 1 / $1;
PREPARE fixed(bigint, int, smallint[], int) AS SELECT count(value) FROM mq_topics.events WHERE partition = $1 AND partition >= $2 AND partition = ANY ($3) AND partition IN (1, $4);
SET plan_cache_mode = force_generic_plan;
EXECUTE guarded(0);
EXECUTE guarded(1);
EXECUTE fixed(1, 1, '{0,1}', 2);
EXECUTE fixed(0, 1, '{0,1}', 2);
RESET plan_cache_mode;
-- what cannot be compared says so, as for any table
CREATE FOREIGN TABLE collated (value bytea, tags text[] COLLATE "C") SERVER mq;
CREATE TABLE others (tags text[] COLLATE "POSIX");
SELECT * FROM collated c JOIN others o ON c.tags && o.tags;
INSERT INTO others VALUES ('{a}');
INSERT INTO collated VALUES ('x', '{a}');
SELECT * FROM collated c JOIN others o ON c.tags && o.tags;
DROP FOREIGN TABLE collated;
DROP TABLE others;
CREATE TABLE positions (p int, o bigint);
INSERT INTO positions VALUES (0, 3), (1, 100), (2, 99), (2, 1000), (NULL, 1), (7, 0);
ANALYZE positions;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT p, o, e.ts FROM positions JOIN mq_topics.events e ON e.partition = p AND e.msg_offset = o;
SELECT p, o, e.ts FROM positions JOIN mq_topics.events e ON e.partition = p AND e.msg_offset = o ORDER BY p;
SELECT p, o, e.ts FROM positions LEFT JOIN mq_topics.events e ON e.partition = p AND e.msg_offset = o ORDER BY p;
EXPLAIN (COSTS OFF) SELECT p, o, e.n FROM positions, LATERAL (SELECT count(*) AS n FROM mq_topics.events WHERE partition = p AND msg_offset >= o) e;
SELECT p, o, e.n FROM positions, LATERAL (SELECT count(*) AS n FROM mq_topics.events WHERE partition = p AND msg_offset >= o) e ORDER BY p, o;
SELECT p, (SELECT max(msg_offset) FROM mq_topics.events WHERE partition = p) FROM positions ORDER BY p, o;
RESET enable_hashjoin;
RESET enable_mergejoin;
SELECT count(*) FROM mq_topics.events a JOIN mq_topics.events b USING (partition, msg_offset);
SELECT count(*) FROM mq_topics.events WHERE (partition, msg_offset) IN (SELECT p, o FROM positions);

-- cursors: forwards, and backwards through what core keeps
BEGIN READ ONLY;
DECLARE c SCROLL CURSOR FOR SELECT partition, msg_offset FROM mq_topics.events WHERE msg_offset > 97;
FETCH 2 FROM c;
FETCH LAST FROM c;
FETCH PRIOR FROM c;
FETCH FIRST FROM c;
MOVE BACKWARD ALL IN c;
FETCH 1 FROM c;
DECLARE plain NO SCROLL CURSOR FOR SELECT msg_offset FROM mq_topics.events WHERE partition = 2;
FETCH 1 FROM plain;
FETCH PRIOR FROM plain;
ROLLBACK;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT convert_from(value, 'UTF8') FROM mq_topics.events WHERE partition = 2 AND msg_offset < 2;
COMMIT;
FETCH ALL FROM held;
CLOSE held;

-- the end is fixed when the scan starts
BEGIN;
DECLARE early CURSOR FOR SELECT partition, msg_offset FROM mq_topics.events WHERE msg_offset >= 100;
SELECT * FROM mq.produce('events', 'late', partition => 2, transactional => false);
FETCH ALL FROM early;
SELECT partition, msg_offset FROM mq_topics.events WHERE msg_offset >= 100;
-- one's own messages are not there before the commit
SELECT mq.produce('events', 'pending', partition => 2);
SELECT count(*) FROM mq_topics.events WHERE partition = 2 AND msg_offset >= 100;
COMMIT;
SELECT count(*) FROM mq_topics.events WHERE partition = 2 AND msg_offset >= 100;

-- loops that commit as they go
CREATE PROCEDURE count_slowly(INOUT n int DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR r IN SELECT msg_offset FROM mq_topics.events WHERE partition = 0 LOOP
		n := n + 1;
		IF n % 40 = 0 THEN COMMIT; END IF;
	END LOOP;
END $$;
CALL count_slowly();
DO $$
BEGIN
	FOR i IN 1..50 LOOP
		BEGIN
			PERFORM 1 / (msg_offset - 20) FROM mq_topics.events WHERE partition = 1;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;

-- locks on rows do nothing, as for any foreign table
SELECT msg_offset FROM mq_topics.events WHERE partition = 0 AND msg_offset < 2 FOR UPDATE;
SELECT e.msg_offset, p FROM mq_topics.events e JOIN positions ON p = e.partition AND o = e.msg_offset WHERE p = 1 FOR UPDATE OF e;

-- unbounded scans may be refused
SET mq.require_bound = on;
SELECT count(*) FROM mq_topics.events;
SELECT count(*) FROM mq_topics.events WHERE partition = 1 AND tags && '{eu}';
EXPLAIN (COSTS OFF) SELECT count(*) FROM mq_topics.events;
SELECT count(*) FROM mq_topics.events WHERE msg_offset >= 100;
SELECT count(*) FROM mq_topics.events WHERE ts < '2024-01-02';
RESET mq.require_bound;

-- through a view the owner's privilege counts, and columns have their own
CREATE ROLE regress_mq_table_reader;
CREATE VIEW seen AS SELECT partition, count(*) AS n FROM mq_topics.events WHERE ts < '2024-01-02' GROUP BY partition;
GRANT SELECT ON seen TO regress_mq_table_reader;
SET ROLE regress_mq_table_reader;
SELECT * FROM seen ORDER BY partition;
SELECT count(*) FROM mq_topics.events;
RESET ROLE;
GRANT SELECT (partition, msg_offset) ON mq_topics.events TO regress_mq_table_reader;
SET ROLE regress_mq_table_reader;
SELECT count(msg_offset) FROM mq_topics.events WHERE partition = 1;
SELECT count(value) FROM mq_topics.events;
RESET ROLE;

-- what is below the log's start is not there, and says nothing
SELECT mq.delete_records('events', 0, 90);
SELECT min(msg_offset), count(*) FROM mq_topics.events WHERE partition = 0;
SELECT count(*) FROM mq_topics.events WHERE partition = 0 AND msg_offset < 90;

-- compressed batches, many partitions, an empty topic
SELECT mq.create_topic('packed', 1, '{"compression.type": "lz4"}');
SELECT count(mq.produce('packed', repeat('x', i))) FROM generate_series(1, 300) i;
SELECT count(*), sum(length(value)), min(length(value)), max(length(value)) FROM mq_topics.packed;
SELECT length(value) FROM mq_topics.packed WHERE msg_offset BETWEEN 124 AND 128;
SELECT bool_and(value = repeat('x', (msg_offset + 1)::int)::bytea) FROM mq_topics.packed;
SELECT mq.create_topic('many', 100);
SELECT * FROM mq_topics.many;
SELECT count(mq.produce('many', 'x', partition => i % 100)) FROM generate_series(1, 250) i;
SELECT count(*), count(DISTINCT partition) FROM mq_topics.many;
SELECT count(*) FROM mq_topics.many a JOIN mq_topics.many b USING (partition, msg_offset);
SELECT partition, count(*) FROM mq_topics.many WHERE partition IN (0, 50, 99) GROUP BY partition ORDER BY partition;

DROP VIEW seen;
SELECT count(mq.drop_topic(name)) FROM mq_internal.topics;
DROP OWNED BY regress_mq_table_reader;
DROP ROLE regress_mq_table_reader;
DROP PROCEDURE count_slowly;
DROP FUNCTION wanted;
DROP TABLE copied, conditions, positions;
