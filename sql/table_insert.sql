-- The topic as a table: INSERT, COPY FROM, what is refused.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SELECT count(mq.drop_topic(name)) >= 0 AS none_left FROM mq_internal.topics;
SELECT mq.create_topic('orders', 3, '{"retention.ms": -1}');
CREATE VIEW shown AS SELECT partition, msg_offset, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value, headers, tags FROM mq_topics.orders;

-- what becomes of a row is what mq.produce() would have made of it
INSERT INTO mq_topics.orders (partition, key, value, headers, tags, ts)
VALUES (1, 'k', 'v', '{"a": "b", "n": null}', '{eu,vip}', '2024-01-01 12:00:00.123987Z'), (2, NULL, NULL, '[["a","1"],["a","2"]]', NULL, '2024-01-01');
SELECT partition, ts, headers, tags FROM mq_topics.orders ORDER BY partition;
SELECT mq.produce('orders', 'by function', 'same key');
INSERT INTO mq_topics.orders (key, value) VALUES ('same key', 'by table');
SELECT count(DISTINCT partition) FROM shown WHERE key = 'same key';
INSERT INTO mq_topics.orders DEFAULT VALUES;
SELECT count(*) FROM mq_topics.orders WHERE key IS NULL AND value IS NULL AND headers IS NULL AND ts > now() - interval '1 hour';

-- RETURNING: the partition is known, the offset is not
INSERT INTO mq_topics.orders (partition, key, value, ts) VALUES (0, 'r', '1', '2024-01-01 12:00:00.123987Z')
RETURNING partition, msg_offset, ts, key, tableoid::regclass;
INSERT INTO mq_topics.orders (key, value) SELECT convert_to('key ' || i, 'UTF8'), 'value' FROM generate_series(1, 3) i
RETURNING partition = mq.partition_for('orders', key) AS by_key, msg_offset, ts > now() - interval '1 minute' AS recent;
WITH put AS (INSERT INTO mq_topics.orders (value) SELECT 'cte' FROM generate_series(1, 5) RETURNING partition)
SELECT count(*), count(partition) FROM put;

-- transactions: seen at the commit, forgotten at a rollback
BEGIN;
INSERT INTO mq_topics.orders (key, value) VALUES ('t', '1');
SAVEPOINT a;
INSERT INTO mq_topics.orders (key, value) VALUES ('t', '2');
ROLLBACK TO a;
INSERT INTO mq_topics.orders (key, value) VALUES ('t', '3');
SELECT value FROM shown WHERE key = 't';
COMMIT;
SELECT value FROM shown WHERE key = 't' ORDER BY value;
SELECT topic, last_offset - base_offset + 1 AS n FROM mq.last_produced();
BEGIN;
INSERT INTO mq_topics.orders (key, value) VALUES ('t', 'never');
ROLLBACK;
SELECT count(*) FROM shown WHERE value = 'never';
-- a statement may read what it writes to
INSERT INTO mq_topics.orders (key, value) SELECT 'copy', value FROM mq_topics.orders WHERE key = 't';
SELECT value FROM shown WHERE key = 'copy' ORDER BY value;
PREPARE put(text) AS INSERT INTO mq_topics.orders (key, value) VALUES ('prepared', convert_to($1, 'UTF8'));
EXECUTE put('a');
EXECUTE put('b');
SELECT value FROM shown WHERE key = 'prepared' ORDER BY value;

-- what a message cannot be
INSERT INTO mq_topics.orders (msg_offset, value) VALUES (7, 'x');
INSERT INTO mq_topics.orders (msg_offset, value) VALUES (NULL, 'x');
INSERT INTO mq_topics.orders (partition, value) VALUES (3, 'x');
INSERT INTO mq_topics.orders (partition, value) VALUES (-1, 'x');
INSERT INTO mq_topics.orders (ts, value) VALUES ('infinity', 'x');
INSERT INTO mq_topics.orders (ts, value) VALUES ('1969-12-31 23:59:59.999Z', 'x');
INSERT INTO mq_topics.orders (headers, value) VALUES ('{"a": 1}', 'x');
INSERT INTO mq_topics.orders (headers, value) VALUES ('{"mq.tag": "x"}', 'x');
INSERT INTO mq_topics.orders (tags, value) VALUES ('{NULL}', 'x');
INSERT INTO mq_topics.orders (value) VALUES (repeat('x', 1048576)::bytea);

-- what a topic cannot do
UPDATE mq_topics.orders SET value = 'x';
UPDATE mq_topics.orders SET value = 'x' WHERE false;
DELETE FROM mq_topics.orders WHERE partition = 1;
MERGE INTO mq_topics.orders o USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT (value) VALUES ('x');
INSERT INTO mq_topics.orders (value) VALUES ('x') ON CONFLICT (msg_offset) DO NOTHING;
INSERT INTO mq_topics.orders (value) VALUES ('x') ON CONFLICT (msg_offset) DO UPDATE SET value = 'y';
INSERT INTO mq_topics.orders (key, value) VALUES ('conflict', 'none') ON CONFLICT DO NOTHING;
SELECT value FROM shown WHERE key = 'conflict';
SELECT is_insertable_into FROM information_schema.tables WHERE table_name = 'orders' AND table_schema = 'mq_topics';
EXPLAIN (COSTS OFF) INSERT INTO mq_topics.orders (value) VALUES ('not inserted');
BEGIN READ ONLY;
INSERT INTO mq_topics.orders (value) VALUES ('x');
ROLLBACK;

-- COPY
COPY mq_topics.orders (partition, key, value, headers, tags, ts) FROM STDIN;
0	copied	text	{"h": "v"}	{a,b}	2024-01-01 00:00:00Z
1	copied	\\x6869	\N	\N	2024-01-01 00:00:00Z
2	copied	\N	\N	\N	\N
\.
COPY mq_topics.orders (key, value) FROM STDIN (FORMAT csv);
copied,one
copied,"two, three"
\.
SELECT partition, value, headers, tags FROM shown WHERE key = 'copied' ORDER BY value, partition;
COPY mq_topics.orders (partition, value) FROM STDIN;
0	good
9	bad
\.
COPY mq_topics.orders (msg_offset, value) FROM STDIN;
1	x
\.
SELECT count(*) FROM shown WHERE value IN ('good', 'bad', 'x');
COPY mq_topics.orders TO STDOUT;
COPY (SELECT value FROM shown WHERE key = 'copied' AND value IS NOT NULL ORDER BY value) TO STDOUT;

-- through views, with and without a check
CREATE VIEW eu AS SELECT * FROM mq_topics.orders WHERE partition = 1 WITH CHECK OPTION;
INSERT INTO eu (partition, key, value) VALUES (1, 'eu', 'good');
INSERT INTO eu (partition, key, value, ts) VALUES (2, 'eu', 'bad', '2024-01-01');
SELECT convert_from(value, 'UTF8') FROM eu WHERE key = 'eu';
CREATE ROLE regress_mq_table_writer;
GRANT INSERT ON eu TO regress_mq_table_writer;
SET ROLE regress_mq_table_writer;
INSERT INTO eu (partition, key, value) VALUES (1, 'eu', 'through the view');
INSERT INTO mq_topics.orders (value) VALUES ('x');
COPY mq_topics.orders (value) FROM STDIN;
\.
RESET ROLE;
GRANT INSERT (key, value) ON mq_topics.orders TO regress_mq_table_writer;
SET ROLE regress_mq_table_writer;
INSERT INTO mq_topics.orders (key, value) VALUES ('column', 'privileges');
INSERT INTO mq_topics.orders (partition, value) VALUES (1, 'x');
RESET ROLE;

-- more than a transaction keeps in memory
SET mq.transaction_buffer = '64kB';
BEGIN;
INSERT INTO mq_topics.orders (key, value) SELECT 'large', repeat('x', 1000)::bytea FROM generate_series(1, 1000);
COMMIT;
SELECT count(*), min(length(value)), max(length(value)) FROM mq_topics.orders WHERE key = 'large';
RESET mq.transaction_buffer;
-- values that were stored apart from their rows
CREATE TABLE source (value bytea);
ALTER TABLE source ALTER COLUMN value SET STORAGE EXTERNAL;
INSERT INTO source SELECT convert_to(repeat('toast', 2000), 'UTF8') FROM generate_series(1, 3);
INSERT INTO mq_topics.orders (key, value) SELECT 'toast', value FROM source;
SELECT count(*), bool_and(value = convert_to(repeat('toast', 2000), 'UTF8')) FROM mq_topics.orders WHERE key = 'toast';

-- a topic made in the same transaction
BEGIN;
SELECT mq.create_topic('young');
INSERT INTO mq_topics.young (value) VALUES ('x');
COMMIT;
SELECT count(*) FROM mq_topics.young;

DROP VIEW shown, eu;
DROP TABLE source;
DROP OWNED BY regress_mq_table_writer;
DROP ROLE regress_mq_table_writer;
SELECT count(mq.drop_topic(name)) FROM mq_internal.topics;
