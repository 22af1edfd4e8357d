-- mq.fetch(), fetch_text(), fetch_json(), offsets(), offset_at(), peek(),
-- CALL mq.wait()

\pset null '(null)'
SET timezone = 'UTC';
SELECT mq.create_topic('fetch', 3);
SELECT mq.create_topic('fetch.one', 1);
SELECT count(mq.produce('fetch', format('p%s m%s', i % 3, i / 3), partition => i % 3,
	ts => timestamptz '2024-01-01 00:00+00' + i * interval '1 s'))
FROM generate_series(0, 11) i;

-- one partition from its start, from an offset, from its end
SELECT * FROM mq.fetch_text('fetch', 1);
SELECT msg_offset, value FROM mq.fetch_text('fetch', 1, 2);
SELECT msg_offset, value FROM mq.fetch_text('fetch', 1, from_offset => -1);
SELECT msg_offset, value FROM mq.fetch_text('fetch', 1, 4);

-- all partitions
SELECT partition, msg_offset, value FROM mq.fetch_text('fetch');

-- limits: of messages, of bytes, but one message in any case
SELECT partition, msg_offset FROM mq.fetch('fetch', max_messages => 5);
SELECT partition, msg_offset FROM mq.fetch('fetch', max_bytes => 20);
SELECT partition, msg_offset FROM mq.fetch('fetch', max_bytes => 1);
SELECT count(*) FROM mq.fetch('fetch', max_messages => 2147483647, max_bytes => 2147483647);

-- what a consumer does: on from behind the last message
DO $$
DECLARE
	next bigint := 0;
	m record;
	n int := 0;
BEGIN
	LOOP
		FOR m IN SELECT * FROM mq.fetch('fetch', 2, next, max_messages => 3) LOOP
			next := m.msg_offset + 1;
			n := n + 1;
		END LOOP;
		EXIT WHEN NOT FOUND;
	END LOOP;
	RAISE NOTICE '% messages, next %', n, next;
END$$;

-- tags: any of those asked for
SELECT mq.produce('fetch.one', 'a', tags => '{red}');
SELECT mq.produce('fetch.one', 'b', tags => '{red,green}', headers => '{"k": "v"}');
SELECT mq.produce('fetch.one', 'c');
SELECT mq.produce('fetch.one', 'd', tags => '{blue,"",ä}', headers => '{"green": "mq.tag"}');
SELECT value, headers, tags FROM mq.fetch_text('fetch.one');
SELECT value FROM mq.fetch_text('fetch.one', tags => '{red}');
SELECT value FROM mq.fetch_text('fetch.one', tags => '{green,blue}');
SELECT value FROM mq.fetch_text('fetch.one', tags => '{ä}');
SELECT value FROM mq.fetch_text('fetch.one', tags => '{""}');
SELECT value FROM mq.fetch_text('fetch.one', tags => '{re,redd}');
SELECT value FROM mq.fetch_text('fetch.one', 0, 1, max_messages => 1, tags => '{blue,red}');


-- JSON
SELECT mq.produce('fetch.one', '{"a": {"b": 1}}'::jsonb, 'json', tags => '{json}');
SELECT mq.produce('fetch.one', NULL::jsonb, 'gone', tags => '{json}');
SELECT msg_offset, key, value FROM mq.fetch_json('fetch.one', 0, 4);
SELECT value #>> '{a,b}' AS b FROM mq.fetch_json('fetch.one', tags => '{json}');

-- watermarks
SELECT topic, partition, earliest, latest, last_stable, max_ts FROM mq.offsets('fetch');
SELECT partition, last_stable FROM mq.offsets('fetch', 2);
SELECT mq.create_topic('fetch.empty', 2);
SELECT * FROM mq.offsets('fetch.empty');
SELECT * FROM mq.fetch('fetch.empty');
SELECT * FROM mq.fetch('fetch.empty', 1, 0);
SELECT * FROM mq.peek('fetch.empty');
SELECT mq.offset_at('fetch.empty', 0, now());

-- by time: the first message that is not older
SELECT t, mq.offset_at('fetch', 1, t)
FROM unnest('{2000-01-01, 2024-01-01 00:00:01, 2024-01-01 00:00:01.000001, 2024-01-01 00:00:04,
	2024-01-01 00:00:09.999, 2024-01-01 00:00:10, 2024-01-01 00:00:10.0005, 2100-01-01}'::timestamptz[]) t;
SELECT m.value FROM mq.fetch_text('fetch', 1, mq.offset_at('fetch', 1, '2024-01-01 00:00:07')) m;

-- times need not rise
SELECT mq.create_topic('fetch.time', 1);
SELECT (mq.produce('fetch.time', s, ts => timestamptz '2024-01-01' + s::int * interval '1 s')).partition
FROM unnest('{5,3,9,7,8}'::text[]) s;
SELECT s, mq.offset_at('fetch.time', 0, timestamptz '2024-01-01' + s * interval '1 s')
FROM generate_series(2, 10) s;

-- for humans: from either end, bytes that are no text escaped
SELECT partition, msg_offset, value FROM mq.peek('fetch', 4);
SELECT partition, msg_offset, value FROM mq.peek('fetch', 4, from_end => false);
SELECT partition, msg_offset, value FROM mq.peek('fetch', 2, 1);
SELECT partition, msg_offset, value FROM mq.peek('fetch', 2, 1, false);
SELECT count(*) FROM mq.peek('fetch', 2147483647);
SELECT mq.produce('fetch.time', '\x61ff00c3a462'::bytea, '\x80'::bytea);
SELECT key, value FROM mq.peek('fetch.time', 1);

-- many batches, any of them a start
SELECT mq.create_topic('fetch.many', 1, '{"batch.size": 4096, "compression.type": "lz4"}');
DO $$BEGIN
	FOR i IN 1..200 LOOP
		PERFORM mq.produce('fetch.many', (i * 10 + j)::text, repeat('k', 100)) FROM generate_series(0, 9) j;
		COMMIT;
	END LOOP;
END$$;
SELECT count(*) FILTER (WHERE n <> 1) AS wrong, count(*) AS tried
FROM (SELECT o, (SELECT count(*) FROM mq.fetch_text('fetch.many', 0, o, max_messages => 1) m
		WHERE m.msg_offset = o AND m.value::int = o + 10) AS n
	FROM generate_series(0, 1999, 7) o) s;

-- a wait that is met at once, and one that is not
SELECT count(*) FROM mq.fetch('fetch.time', 0, 0, max_wait => '1 hour');
SELECT count(*) FROM mq.fetch('fetch.time', 0, -1, max_wait => '10 ms');
SELECT count(*) FROM mq.fetch('fetch.time', tags => '{none}', max_wait => '10 ms');
SET mq.max_sql_wait = '10 ms';
SELECT count(*) FROM mq.fetch('fetch.time', 0, -1, max_wait => '100 years');
RESET mq.max_sql_wait;

-- CALL mq.wait()
CALL mq.wait('{fetch.time}', '10 ms');
CALL mq.wait(topics => '{fetch.time,fetch}', timeout => '0');
CALL mq.wait(positions => '{"(fetch.time,0,5)"}');
CALL mq.wait(positions => '{"(fetch.time,0,6)"}', timeout => '10 ms');
CALL mq.wait(positions => '{"(fetch.time,0,-1)"}', timeout => '10 ms');
CALL mq.wait('{fetch}', positions => '{"(fetch.time,0,6)","(fetch,1,3)"}');
BEGIN;
CALL mq.wait('{fetch.time}', '10 ms');
SELECT 1 AS the_transaction_goes_on;
COMMIT;
DO $$
DECLARE
	ready boolean;
BEGIN
	CALL mq.wait(positions => ARRAY[('fetch', 0, 0)::mq.position], ready => ready);
	RAISE NOTICE 'ready: %, %', ready, (SELECT count(*) FROM mq.fetch('fetch', 0));
END$$;

-- it refuses where it would hold a snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL mq.wait('{fetch}', '10 ms');
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT 1;
CALL mq.wait('{fetch}', '10 ms');
ROLLBACK;
CREATE FUNCTION fetch_waits() RETURNS boolean LANGUAGE plpgsql AS
	$$DECLARE ready boolean; BEGIN CALL mq.wait('{fetch}', '10 ms', ready => ready); RETURN ready; END$$;
SELECT fetch_waits();
DROP FUNCTION fetch_waits;

-- reading needs no right to write
BEGIN READ ONLY;
SELECT count(*) FROM mq.fetch('fetch');
SELECT count(*) FROM mq.peek('fetch');
CALL mq.wait('{fetch}', '10 ms');
COMMIT;

-- in the select list, in a cursor, joined
SELECT (mq.fetch_text('fetch', 0)).value;
BEGIN;
DECLARE c CURSOR FOR SELECT value FROM mq.fetch_text('fetch', 0);
FETCH 2 FROM c;
MOVE LAST FROM c;
FETCH BACKWARD 1 FROM c;
COMMIT;
SELECT o.partition, m.value
FROM mq.offsets('fetch') o, LATERAL mq.fetch_text('fetch', o.partition, o.last_stable - 1) m;

SELECT mq.drop_topic(t) FROM unnest('{fetch,fetch.one,fetch.empty,fetch.time,fetch.many}'::text[]) t;
RESET timezone;
