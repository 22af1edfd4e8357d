-- large transactions: full batches go to a temporary file and come back, for
-- many partitions, compressed or not, stamped at the append or not

\pset null '(null)'
SELECT mq.create_topic('spill', 12, '{"batch.size": 4096}');
SELECT mq.create_topic('spill.lz4', 12, '{"batch.size": 4096, "compression.type": "lz4"}');
SELECT mq.create_topic('spill.append', 12, '{"batch.size": 4096, "message.timestamp.type": "LogAppendTime", "compression.type": "lz4"}');
CREATE TABLE spill (topic text, partition int, value text);
CREATE VIEW spill_diff AS
WITH logged AS (
	SELECT t.topic, m.partition, m.value
	FROM (VALUES ('spill'), ('spill.lz4'), ('spill.append')) t (topic), generate_series(0, 11) p,
		mq.fetch_text(t.topic, p, 0, max_messages => 100000, max_bytes => 100000000) m)
SELECT (SELECT count(*) FROM (SELECT * FROM logged EXCEPT ALL SELECT * FROM spill) a) AS not_in_table,
	(SELECT count(*) FROM (SELECT * FROM spill EXCEPT ALL SELECT * FROM logged) b) AS not_in_log,
	(SELECT count(*) FROM logged) AS logged;

-- rows and messages, values of different lengths; a message larger than a batch now and then
CREATE FUNCTION spill_some(first int, last int) RETURNS bigint LANGUAGE sql AS $$
	WITH input AS MATERIALIZED (
		SELECT (ARRAY['spill', 'spill.lz4', 'spill.append'])[1 + i % 3] AS topic, i / 3 % 12 AS partition,
			i || repeat(md5(i::text), CASE WHEN i % 997 = 0 THEN 300 ELSE i % 17 END) AS value
		FROM generate_series(first, last) i),
	stored AS (INSERT INTO spill SELECT * FROM input)
	SELECT count(mq.produce(topic, value, partition => partition)) FROM input;
$$;

SET mq.transaction_buffer = '64kB';
SET work_mem = '64MB';	-- temporary files are the messages' alone
SELECT spill_some(1, 20000);
SELECT * FROM spill_diff;

-- batches written before a savepoint, during and after it
BEGIN;
SELECT spill_some(20001, 25000);
SAVEPOINT s1;
SELECT spill_some(25001, 30000);
ROLLBACK TO s1;
SELECT spill_some(30001, 35000);
SAVEPOINT s2;
SELECT spill_some(35001, 40000);
RELEASE s2;
SELECT spill_some(40001, 45000);
COMMIT;
SELECT * FROM spill_diff;

-- the file counts against temp_file_limit; a savepoint undoes what met the limit
SET temp_file_limit = '256kB';
BEGIN;
SELECT spill_some(45001, 45100);
SAVEPOINT s1;
SELECT spill_some(45101, 65000);
ROLLBACK TO s1;
SELECT spill_some(65001, 65010);
COMMIT;
RESET temp_file_limit;
SELECT * FROM spill_diff;

RESET mq.transaction_buffer;
RESET work_mem;
SELECT mq.drop_topic(t) FROM unnest('{spill,spill.lz4,spill.append}'::text[]) t;
DROP VIEW spill_diff;
DROP FUNCTION spill_some;
DROP TABLE spill;
