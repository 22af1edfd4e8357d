-- counters of partitions and topics, worker processes, mq.stat_reset()

\pset null '(null)'
CREATE ROLE regress_mq_stat_owner;
CREATE ROLE regress_mq_stat_reader;
CREATE ROLE regress_mq_stat_monitor IN ROLE pg_monitor;
CREATE ROLE regress_mq_stat_nobody;
SELECT mq.create_topic('stat', 3);
SELECT mq.create_topic('stat.other', 1);

-- columns as documented
SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'mq' AND table_name LIKE 'stat\_%' AND table_name <> 'stat_progress'
GROUP BY 1 ORDER BY 1;

-- a topic that was never used has its rows
SELECT partition, messages_in, bytes_in, batches_in, messages_out, bytes_out, produce_calls, fetch_calls, produce_time,
	rejected, filtered_out, retention_deleted_messages, retention_deleted_bytes, stats_reset <= now() AS since, reads, read_bytes, read_time
FROM mq.stat_partitions WHERE topic = 'stat' ORDER BY 1;

CREATE VIEW stat_in AS SELECT partition, messages_in, batches_in, produce_calls, rejected
	FROM mq.stat_partitions WHERE topic = 'stat' ORDER BY 1;
CREATE VIEW stat_out AS SELECT partition, messages_out, bytes_out, fetch_calls, filtered_out
	FROM mq.stat_partitions WHERE topic = 'stat' ORDER BY 1;

-- what goes in: counted at commit
BEGIN;
SELECT count(mq.produce('stat', 'value ' || i, partition => 0)) FROM generate_series(1, 5) i;
SELECT * FROM stat_in WHERE partition = 0;
COMMIT;
SELECT * FROM stat_in WHERE partition = 0;

-- one call for a batch, charged to the first partition that it touches
SELECT mq.partition_for('stat', convert_to(k, 'UTF8')), k FROM unnest('{a,b,c}'::text[]) k;
SELECT * FROM mq.produce_batch('stat', '{1,2,3}', '{a,b,c}');
SELECT * FROM stat_in;

-- what is rolled back was not put in
BEGIN;
SELECT mq.produce('stat', 'never', partition => 2);
ROLLBACK;
BEGIN;
SELECT mq.produce('stat', 'first', partition => 2);
SAVEPOINT s;
SELECT mq.produce('stat', 'never', partition => 2) FROM generate_series(1, 2);
SAVEPOINT s2;
SELECT mq.produce('stat', 'never', partition => 2);
ROLLBACK TO s;
SELECT mq.produce('stat', 'second', partition => 2);
SAVEPOINT s3;
SELECT mq.produce('stat', 'third', partition => 2);
RELEASE s3;
COMMIT;
SELECT * FROM stat_in WHERE partition = 2;

-- outside the transaction it was
BEGIN;
SELECT partition FROM mq.produce('stat', 'now', partition => 2, transactional => false);
ROLLBACK;
SELECT * FROM mq.produce_batch('stat', '{1,2,3}', '{a,b,c}', transactional => false);
SELECT * FROM stat_in;

-- bytes are those of the batches in the log
SELECT partition, bytes_in = s.size_bytes AS as_in_the_log FROM mq.stat_partitions
	JOIN (SELECT partition, sum(size_bytes) AS size_bytes FROM mq.segments WHERE topic = 'stat' GROUP BY 1) s USING (partition)
WHERE topic = 'stat' ORDER BY 1;

-- what goes out: given to readers; one call, charged to the first partition read
SELECT count(*), sum(length(value)) FROM mq.fetch_text('stat', 0);
SELECT * FROM stat_out;
SELECT count(*) FROM mq.fetch_text('stat');
SELECT * FROM stat_out;
SELECT count(*) FROM mq.fetch('stat', 0, 0, max_messages => 2);
SELECT count(*) FROM mq.fetch('stat', 1, -1);
SELECT count(*) FROM mq.fetch('stat', 1, -1, max_wait => '10 ms');
SELECT * FROM stat_out;
-- who only looks is given nothing
SELECT count(*) FROM mq.peek('stat', 5);
SELECT count(mq.offset_at('stat', 0, now()));
SELECT * FROM stat_out;
-- but reads
SELECT partition, reads > 0 AS reads, read_bytes > bytes_in AS read_bytes, read_time FROM mq.stat_partitions WHERE topic = 'stat' AND partition = 0;

-- tags
SELECT mq.produce('stat.other', i::text, tags => ARRAY[CASE WHEN i % 3 = 0 THEN 'x' ELSE 'y' END]) FROM generate_series(1, 9) i;
SELECT value FROM mq.fetch_text('stat.other', tags => '{x}');
SELECT messages_out, fetch_calls, filtered_out FROM mq.stat_topics WHERE topic = 'stat.other';

-- the topic as a table: a command is one call
INSERT INTO mq_topics.stat_other (partition, value) SELECT 0, 'by insert' FROM generate_series(1, 4);
SELECT messages_in, produce_calls FROM mq.stat_topics WHERE topic = 'stat.other';
SELECT count(*), count(value) FROM mq_topics.stat_other;
SELECT messages_out, fetch_calls, filtered_out FROM mq.stat_topics WHERE topic = 'stat.other';

-- messages that are refused, and the error that says so
SELECT mq.alter_topic('stat', '{"max.message.bytes": 1024}');
SELECT mq.produce('stat', repeat('x', 2000), partition => 1);
SELECT mq.produce('stat', repeat('x', 2000), partition => 1, transactional => false);
SELECT mq.produce('stat', repeat('x', 2000), key => 'c');
SELECT mq.produce('stat', repeat('x', 2000));
SELECT mq.produce_batch('stat', ARRAY['small', repeat('x', 2000), repeat('x', 2000)], '{c,c,c}');
SELECT mq.produce('stat', 'no such partition', partition => 3);
SELECT mq.produce('stat', 'no such header', headers => '1');
DO $$
BEGIN
	PERFORM mq.produce('stat', repeat('x', 2000), partition => 1);
EXCEPTION WHEN program_limit_exceeded THEN
	RAISE NOTICE 'caught %', SQLERRM;
END$$;
SELECT partition, rejected FROM stat_in;
-- at commit, as a whole
\set VERBOSITY sqlstate
SET mq.min_free_disk = '2147483647kB';
BEGIN;
SELECT mq.produce('stat', 'no space', partition => p) FROM generate_series(1, 2) p;
COMMIT;
SELECT mq.produce('stat', 'no space', partition => 2, transactional => false);
RESET mq.min_free_disk;
\set VERBOSITY default
SELECT partition, rejected FROM stat_in;
SELECT rejected, messages_in FROM mq.stat_topics WHERE topic = 'stat';

-- times
SET ROLE regress_mq_stat_nobody;
SET mq.track_io_timing = on;
RESET ROLE;
SET mq.track_io_timing = on;
SELECT count(mq.produce('stat.other', repeat('x', 1000))) FROM generate_series(1, 100);
SELECT count(*) FROM mq.fetch('stat.other', 0, 0);
SELECT produce_time BETWEEN 0.001 AND 60000 AS produce_time, read_time BETWEEN 0.001 AND 60000 AS read_time
FROM mq.stat_partitions WHERE topic = 'stat.other';
RESET mq.track_io_timing;
SELECT produce_time FROM mq.stat_topics WHERE topic = 'stat';

-- a topic is the sum of its partitions
SELECT t.topic, t.produce_time = p.produce_time AND t.stats_reset = p.stats_reset AS times,
	(t.messages_in, t.bytes_in, t.batches_in, t.messages_out, t.bytes_out, t.produce_calls, t.fetch_calls, t.rejected, t.filtered_out)
	= (p.messages_in, p.bytes_in, p.batches_in, p.messages_out, p.bytes_out, p.produce_calls, p.fetch_calls, p.rejected, p.filtered_out) AS counts
FROM mq.stat_topics t JOIN
	(SELECT topic, sum(messages_in) messages_in, sum(bytes_in) bytes_in, sum(batches_in) batches_in, sum(messages_out) messages_out,
		sum(bytes_out) bytes_out, sum(produce_calls) produce_calls, sum(fetch_calls) fetch_calls, sum(rejected) rejected,
		sum(filtered_out) filtered_out, sum(produce_time) produce_time, max(stats_reset) stats_reset
	FROM mq.stat_partitions GROUP BY 1) p USING (topic)
WHERE t.topic LIKE 'stat%' ORDER BY 1;

-- who sees and who may reset
ALTER FOREIGN TABLE mq_topics.stat OWNER TO regress_mq_stat_owner;
GRANT SELECT ON mq_topics.stat_other TO regress_mq_stat_reader;
CREATE FUNCTION stat_try(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'yes';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END$$;
\set show_seen 'SELECT (SELECT string_agg(topic, \',\' ORDER BY topic) FROM mq.stat_topics WHERE topic LIKE \'stat%\') AS topics, (SELECT count(*) FROM mq.stat_partitions WHERE topic LIKE \'stat%\') AS partitions, (SELECT string_agg(worker_type, \',\' ORDER BY worker_type) FROM mq.stat_workers) AS workers, (SELECT count(state) FROM mq.stat_workers) AS states, (SELECT count(restarts) FROM mq.stat_workers) AS restarts'
\set try_reset 'SELECT stat_try(\'SELECT mq.stat_reset(\'\'stat\'\')\') AS one, stat_try(\'SELECT mq.stat_reset()\') AS all_of_them'
SET ROLE regress_mq_stat_nobody;
:show_seen;
:try_reset;
SET ROLE regress_mq_stat_reader;
:show_seen;
:try_reset;
SET ROLE regress_mq_stat_monitor;
:show_seen;
:try_reset;
SET ROLE regress_mq_stat_owner;
:show_seen;
:try_reset;
RESET ROLE;
SELECT messages_in, messages_out, rejected FROM mq.stat_topics WHERE topic LIKE 'stat%' ORDER BY topic;

-- a reset of one topic, of all
SELECT max(stats_reset) AS before FROM mq.stat_topics \gset
SELECT mq.produce('stat', 'after the reset', partition => 1);
SELECT mq.stat_reset('stat.other');
SELECT topic, messages_in, produce_time, fetch_calls, stats_reset > :'before' AS later FROM mq.stat_topics WHERE topic LIKE 'stat%' ORDER BY 1;
SELECT partition, bool_and(reads + read_bytes + read_time = 0) FROM mq.stat_partitions WHERE topic = 'stat.other' GROUP BY 1;
SELECT mq.stat_reset(topic => NULL);
SELECT topic, messages_in, produce_calls, stats_reset > :'before' AS later FROM mq.stat_topics WHERE topic LIKE 'stat%' ORDER BY 1;
SELECT mq.produce('stat', 'on it goes', partition => 1);
SELECT * FROM stat_in;
SELECT mq.stat_reset('stat.none');
SELECT mq.stat_reset('stats');

-- worker processes: one row for each kind
SELECT worker_type, pid IS NOT NULL AS runs, state IN ('active', 'idle') AS state, wait_reason <> '' AS reason,
	busy_time >= 0 AS busy, last_error, last_error_at, restarts
FROM mq.stat_workers;
SELECT w.worker_type, a.backend_type FROM mq.stat_workers w JOIN pg_stat_activity a USING (pid) ORDER BY 1;

-- a topic that is dropped takes its counters along
SELECT mq.drop_topic('stat.other');
SELECT count(*) FROM mq.stat_topics WHERE topic = 'stat.other';
SELECT mq.create_topic('stat.other');
SELECT mq.produce('stat.other', 'new');
SELECT messages_in, messages_out FROM mq.stat_topics WHERE topic = 'stat.other';

DROP VIEW stat_in, stat_out;
DROP FUNCTION stat_try;
SELECT mq.drop_topic(t) FROM unnest('{stat,stat.other}'::text[]) t;
DROP ROLE regress_mq_stat_owner, regress_mq_stat_reader, regress_mq_stat_monitor, regress_mq_stat_nobody;
