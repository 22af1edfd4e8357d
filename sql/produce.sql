-- mq.produce(): what is written is what is read, when it becomes visible,
-- where it goes

\pset null '(null)'
SELECT mq.create_topic('produce', 4);
SELECT mq.create_topic('produce.one', 1);

-- nothing is visible before commit, not even to the transaction itself
BEGIN;
SELECT mq.produce('produce.one', 'first');
SELECT count(*) FROM mq.fetch('produce.one');
SELECT earliest, latest, last_stable FROM mq.offsets('produce.one');
COMMIT;
SELECT partition, msg_offset, key, value, headers, tags FROM mq.fetch_text('produce.one');
SELECT earliest, latest, last_stable FROM mq.offsets('produce.one');
SELECT * FROM mq.last_produced();

-- a rolled back message never was, and leaves no gap
BEGIN;
SELECT mq.produce('produce.one', 'never');
ROLLBACK;
SELECT mq.produce('produce.one', 'second');
SELECT msg_offset, value FROM mq.fetch_text('produce.one');
SELECT * FROM mq.last_produced();

-- three kinds of values; an unknown literal is text
SELECT mq.produce('produce.one', '{"b": 1, "a": [true, null, "ä"]}'::jsonb, 'json key');
SELECT mq.produce('produce.one', '\x00ff'::bytea, '\xfe'::bytea);
SELECT mq.produce('produce.one', 'text', key => 'key');
SELECT mq.produce('produce.one', '', key => '');
SELECT mq.produce('produce.one', 'a value without a key', key => NULL);
SELECT mq.produce('produce.one', NULL::text, key => 'tombstone of text');
SELECT mq.produce('produce.one', NULL::jsonb, key => 'tombstone of jsonb');
SELECT mq.produce('produce.one', NULL::bytea, key => 'tombstone of bytea');
SELECT mq.produce('produce.one', 'null'::jsonb, key => 'a JSON null is a value');
SELECT msg_offset, key, value FROM mq.fetch('produce.one', 0, 2);
SELECT msg_offset, mq.to_text(key) AS key, mq.to_text(value) AS value
FROM mq.fetch('produce.one', 0, 2) WHERE msg_offset <> 3;

-- untyped parameters, as a driver sends them
PREPARE untyped AS SELECT mq.produce($1, $2, $3);
EXECUTE untyped('produce.one', 'prepared', 'k');
DEALLOCATE untyped;

-- partitions: Kafka's hash of the key, or as told
SELECT key, mq.partition_for('produce', key::bytea)
FROM (VALUES ('21'), ('foobar'), ('a-little-bit-long-string'), ('a-little-bit-longer-string'),
	('lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8'), ('abc'), ('')) v(key);
SELECT key, (mq.produce('produce', 'v', key)).partition
FROM (VALUES ('21'), ('foobar'), ('a-little-bit-long-string'), ('abc'), ('')) v(key);
SELECT mq.produce('produce', 'told', 'abc', partition => 1);
SELECT partition, count(*) FROM mq.fetch('produce') GROUP BY 1 ORDER BY 1;
SELECT partition, key FROM mq.fetch_text('produce', 1);

-- messages without a key stay together within a transaction
BEGIN;
SELECT count(DISTINCT (mq.produce('produce', 'v')).partition) FROM generate_series(1, 50);
ROLLBACK;
SELECT mq.partition_for('produce', NULL);

-- timestamps: milliseconds, rounded down; the clock's time by default
SELECT (mq.produce('produce.one', 'time', ts => ts)).msg_offset
FROM (VALUES (timestamptz '2001-02-03 04:05:06.789999+00'), ('1970-01-01 00:00:00+00'),
	('1999-12-31 23:59:59.9999+00')) v(ts);
SELECT value, ts AT TIME ZONE 'UTC' AS ts FROM mq.fetch_text('produce.one', 0, 12);
BEGIN;
SELECT clock_timestamp() AS before \gset
SELECT mq.produce('produce.one', 'now');
COMMIT;
SELECT value, ts BETWEEN timestamptz :'before' - interval '1 ms' AND clock_timestamp() AS is_now
FROM mq.fetch_text('produce.one', 0, 15);

-- LogAppendTime: the server's time whatever the producer says
SELECT mq.create_topic('produce.append', 1, '{"message.timestamp.type": "LogAppendTime"}');
SELECT mq.produce('produce.append', 'v', ts => '2001-01-01');
SELECT ts > now() - interval '1 hour' AS appended_now FROM mq.fetch('produce.append');

-- not transactional: at once, with its offset, and it survives
BEGIN;
SELECT mq.produce('produce.one', 'stays', transactional => false);
SELECT msg_offset, value FROM mq.fetch_text('produce.one', 0, 16);
SELECT mq.produce('produce.one', 'goes');
ROLLBACK;
SELECT msg_offset, value FROM mq.fetch_text('produce.one', 0, 16);

-- but not into a topic that may never be
BEGIN;
SELECT mq.create_topic('produce.unborn', 1);
SELECT mq.produce('produce.unborn', 'v', transactional => false);
ROLLBACK;

-- a transactional message goes into a topic of the same transaction
BEGIN;
SELECT mq.create_topic('produce.new', 1);
SELECT mq.produce('produce.new', 'v');
COMMIT;
SELECT value FROM mq.fetch_text('produce.new');

-- several topics in one statement, in one transaction
BEGIN;
SELECT topic, (mq.produce(topic, value, partition => 0)).partition
FROM (VALUES ('produce', 'a'), ('produce.one', 'b'), ('produce', 'c'), ('produce.new', 'd')) v(topic, value);
COMMIT;
SELECT topic, partition, last_offset - base_offset + 1 AS n FROM mq.last_produced() ORDER BY 1, 2;

-- reading is not by snapshot: REPEATABLE READ does not repeat
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM mq.fetch('produce.new');
SELECT mq.produce('produce.new', 'meanwhile', transactional => false);
SELECT count(*) FROM mq.fetch('produce.new');
COMMIT;

-- a deferred trigger produces while its transaction commits
CREATE TABLE produce_rows (id int);
CREATE FUNCTION produce_row() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN PERFORM mq.produce('produce.new', NEW.id::text); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER produce_row AFTER INSERT ON produce_rows
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION produce_row();
BEGIN;
INSERT INTO produce_rows VALUES (1), (2);
SELECT mq.produce('produce.new', 'before');
COMMIT;
SELECT value FROM mq.fetch_text('produce.new', 0, 3);
DROP TABLE produce_rows;
DROP FUNCTION produce_row;

-- a cursor produces as it is read
BEGIN;
DECLARE c CURSOR FOR SELECT mq.produce('produce.new', i::text) FROM generate_series(1, 100) i;
FETCH 2 FROM c;
COMMIT;
SELECT value FROM mq.fetch_text('produce.new', 0, 6);

-- more than the transaction buffer holds; values of a million bytes
SET mq.transaction_buffer = '64kB';
BEGIN;
SELECT count(mq.produce('produce.new', i || repeat('x', 1000))) FROM generate_series(1, 2000) i;
SELECT mq.produce('produce.new', repeat('y', 1000000));
COMMIT;
RESET mq.transaction_buffer;
SELECT count(*), sum(length(value)), min(msg_offset), max(msg_offset)
FROM mq.fetch_text('produce.new', 0, 8, max_messages => 10000, max_bytes => 100000000);
SELECT mq.produce('produce.new', repeat('z', 1100000));
SELECT mq.produce('produce.new', 'v', key => repeat('z', 1100000));

-- one place of call, where the topic, the role, a setting and the topic's life change in between
DO $$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY '{produce,produce.one,produce}'::text[] LOOP
		PERFORM mq.produce(t, 'to ' || t, partition => 0);
	END LOOP;
END$$;
SELECT t, value FROM unnest('{produce,produce.one}'::text[]) t, mq.fetch_text(t, 0, (SELECT latest - 1 FROM mq.offsets(t) WHERE partition = 0));
CREATE ROLE regress_mq_nobody;
GRANT USAGE ON SCHEMA mq TO regress_mq_nobody;
SELECT mq.produce('produce.one', 'v', partition => 0), set_config('role', CASE i WHEN 1 THEN 'regress_mq_nobody' ELSE 'none' END, true)
FROM generate_series(0, 2) i;
SELECT mq.produce('produce.one', repeat('x', 2000), partition => 0), set_config('mq.max_message_bytes', '1024', true)
FROM generate_series(0, 2) i;
SELECT mq.produce('produce.one', 'v', partition => 0), set_config('transaction_read_only', 'on', true)
FROM generate_series(0, 2) i;
BEGIN;
DO $$
BEGIN
	FOR i IN 1..3 LOOP
		IF i = 3 THEN
			PERFORM mq.drop_topic('produce.one');
		END IF;
		PERFORM mq.produce('produce.one', 'v' || i, partition => 0);
	END LOOP;
END$$;
ROLLBACK;
REVOKE ALL ON SCHEMA mq FROM regress_mq_nobody;
DROP ROLE regress_mq_nobody;

-- prepared for later is refused, and nothing is kept
BEGIN;
SELECT mq.produce('produce.new', 'prepared');
PREPARE TRANSACTION 'mq';
SELECT count(*) FROM pg_prepared_xacts;
SELECT last_stable FROM mq.offsets('produce.new');

-- not in a transaction that only reads
BEGIN READ ONLY;
SELECT mq.produce('produce.new', 'v');
ROLLBACK;
BEGIN READ ONLY;
SELECT mq.produce('produce.new', 'v', transactional => false);
ROLLBACK;

SELECT mq.drop_topic(t) FROM unnest('{produce,produce.one,produce.append,produce.new}'::text[]) t;

-- the time is the clock's at each call, within a statement too
SELECT mq.create_topic('clock');
DO $$
BEGIN
	FOR i IN 1..3000 LOOP
		PERFORM mq.produce('clock', extract(epoch FROM clock_timestamp())::text);
	END LOOP;
END $$;
SELECT count(*), count(*) FILTER (WHERE ts < date_trunc('milliseconds', to_timestamp(value::float8))) AS before_the_call,
	count(*) FILTER (WHERE ts > clock_timestamp()) AS in_the_future
FROM mq.fetch_text('clock', max_messages => 3000);
SELECT mq.drop_topic('clock');
