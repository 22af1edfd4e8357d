-- life.sql: deleting messages, retention, rolling segments, retiring partitions

SET client_min_messages = warning;
SELECT mq.create_topic('life', 2, '{"segment.bytes": 65536, "retention.ms": 3600000}');

-- segments of about 64 messages
SELECT count(mq.produce('life', rpad('', 1000, 'x'), partition => 0)) FROM generate_series(1, 300);
SELECT count(mq.produce('life', 'y', partition => 1)) FROM generate_series(1, 10);
SELECT count(*) > 3 AS several FROM mq.segments WHERE topic = 'life' AND partition = 0;

-- delete_records
SELECT mq.delete_records('life', 0, 100);
SELECT partition, earliest, last_stable FROM mq.offsets('life');
SELECT min(base_offset) > 0 AND min(base_offset) <= 100 AS first_are_gone FROM mq.segments WHERE topic = 'life' AND partition = 0 AND state <> 'deleting';
SELECT count(*), min(msg_offset) FROM mq.fetch('life', 0, NULL, 1000, 10000000);
SELECT mq.delete_records(topic => 'life', partition => 0, before_offset => 50);
SELECT mq.delete_records('life', 1, 10);
SELECT count(*) FROM mq.fetch('life', 1);
\set VERBOSITY sqlstate
SELECT count(*) FROM mq.fetch('life', 0, 99);
\set VERBOSITY default
SELECT mq.delete_records('life', 0, 301);
SELECT mq.delete_records('life', 0, -2);
SELECT mq.delete_records('life', 2, 0);
SELECT mq.delete_records('life', -1, 0);
SELECT mq.delete_records('lief', 0, 0);
SELECT mq.delete_records('life', 0, NULL);
SELECT mq.delete_records('life', NULL, 0);
SELECT mq.delete_records(NULL, 0, 0);
SELECT mq.delete_records('life', 0, -1);
SELECT partition, earliest, latest, last_stable FROM mq.offsets('life');
SELECT count(*) AS segments, sum(size_bytes) AS bytes FROM mq.segments WHERE topic = 'life' AND partition = 0 AND state <> 'deleting';

-- not part of the transaction
SELECT count(mq.produce('life', 'z', partition => 0)) FROM generate_series(1, 5);
BEGIN;
SELECT mq.delete_records('life', 0, 302);
ROLLBACK;
SELECT earliest FROM mq.offsets('life', 0);
BEGIN READ ONLY;
SELECT mq.delete_records('life', 0, 303);
ROLLBACK;

-- a topic without files
SELECT mq.create_topic('unused');
SELECT mq.delete_records('unused', 0, -1), mq.purge_topic('unused'), mq.roll_segment('unused');
SELECT * FROM mq.run_retention('unused');
SELECT count(*) FROM mq.segments WHERE topic = 'unused';

-- purge, TRUNCATE
SELECT mq.purge_topic('life');
SELECT mq.purge_topic('life');
SELECT count(mq.produce('life', 'z', partition => p)) FROM generate_series(0, 1) p;
TRUNCATE mq_topics.life;
SELECT partition, earliest, last_stable FROM mq.offsets('life');
BEGIN;
TRUNCATE mq_topics.life;
COMMIT;
SELECT mq.purge_topic('none');
SELECT (mq.produce('life', 'after', partition => 0)).partition;
SELECT msg_offset, value FROM mq.fetch_text('life', 0);

-- roll_segment
SELECT mq.roll_segment('life', 0);
SELECT mq.roll_segment('life', 0);
SELECT mq.roll_segment('life');
SELECT count(mq.produce('life', 'z', partition => p)) FROM generate_series(0, 1) p;
SELECT mq.roll_segment('life');
SELECT partition, base_offset, next_offset, state FROM mq.segments WHERE topic = 'life' AND state <> 'deleting' ORDER BY 1, 2;
SELECT mq.roll_segment('life', 2);
SELECT mq.roll_segment('none');

-- retention by time
SELECT mq.create_topic('aged', 1, '{"segment.bytes": 65536, "retention.ms": 3600000}');
SELECT count(mq.produce('aged', rpad('', 1000, 'x'), ts => now() - interval '2 h')) FROM generate_series(1, 100);
SELECT count(mq.produce('aged', rpad('', 1000, 'x'))) FROM generate_series(1, 100);
SELECT topic_name, partition, segments, freed_bytes > 60000 AS freed FROM mq.run_retention('aged', dry_run => true);
SELECT earliest FROM mq.offsets('aged');
SELECT topic_name, partition, segments, freed_bytes > 60000 AS freed FROM mq.run_retention('aged');
SELECT earliest > 0 AND earliest <= 100 AS moved, last_stable FROM mq.offsets('aged');
SELECT * FROM mq.run_retention('aged');
SELECT count(*), min(msg_offset) = (SELECT earliest FROM mq.offsets('aged')) AS from_start, max(msg_offset) FROM mq.fetch('aged', 0, NULL, 1000, 10000000);

-- all of it, the active segment too
SELECT mq.alter_topic('aged', '{"retention.ms": 0}');
SELECT pg_sleep(0.01);
SELECT sum(segments) > 0 AS some FROM mq.run_retention('aged');
SELECT earliest, last_stable FROM mq.offsets('aged');
SELECT (mq.produce('aged', 'goes on')).partition;
SELECT mq.alter_topic('aged', '{"retention.ms": -1}');
SELECT msg_offset, value FROM mq.fetch_text('aged', 0);

-- by size
SELECT mq.alter_topic('aged', '{"retention.bytes": 131072}');
SELECT count(mq.produce('aged', rpad('', 1000, 'x'))) FROM generate_series(1, 400);
SELECT sum(segments) > 1 AS some FROM mq.run_retention();
SELECT sum(size_bytes) BETWEEN 131072 AND 131072 + 70000 AS kept FROM mq.segments WHERE topic = 'aged' AND state <> 'deleting';
SELECT mq.run_retention('none');
SELECT mq.run_retention('aged', NULL);
SELECT * FROM mq.topic_config('aged') WHERE name LIKE 'retention%';
SELECT mq.alter_topic('aged', '{"retention.ms": -2}');
SELECT mq.alter_topic('aged', '{"retention.bytes": "many"}');

-- retiring
SELECT mq.create_topic('closing', 3);
SELECT count(mq.produce('closing', 'x', partition => p)) FROM generate_series(0, 2) p;
BEGIN;
SELECT mq.retire_partition('closing', 1);
SELECT mq.produce('closing', 'x', partition => 1);
ROLLBACK;
SELECT (mq.produce('closing', 'x', partition => 1)).partition;
SELECT mq.retire_partition('closing', 1);
SELECT partition, state FROM mq.describe_topic('closing');
SELECT topic, partitions, partitions_retired, config FROM mq.topics WHERE topic = 'closing';
SELECT mq.produce('closing', 'x', partition => 1);
SELECT count(*) FROM mq.fetch('closing', 1);
SELECT mq.retire_partition('closing', 1);
SELECT mq.retire_partition('closing', 3);
SELECT mq.retire_partition('closing', -1);
SELECT mq.retire_partition('closing', NULL);
SELECT mq.retire_partition('none', 0);
SELECT bool_and(mq.partition_for('closing', i::text::bytea) IN (0, 2)) AS elsewhere,
	count(DISTINCT mq.partition_for('closing', i::text::bytea)) FROM generate_series(1, 100) i;
SELECT count(mq.produce('closing', 'k', key => i::text)), count(mq.produce('closing', 'n')) FROM generate_series(1, 200) i;
SELECT last_stable FROM mq.offsets('closing', 1);
SELECT mq.delete_records('closing', 1, -1);
SELECT segments FROM mq.run_retention('closing');
SELECT partition, state FROM mq.describe_topic('closing');
SELECT count(*) FROM mq.fetch('closing', 1);
SELECT partition FROM mq.offsets('closing');
SELECT mq.add_partitions('closing', 1);
SELECT partition FROM mq.offsets('closing');
SELECT mq.retire_partition('closing', 0);
SELECT mq.retire_partition('closing', 3);
SELECT mq.retire_partition('closing', 2);
SELECT (mq.produce('closing', 'x', key => 'k')).partition;

-- who may
CREATE ROLE life_reader;
CREATE ROLE life_cleaner;
GRANT SELECT, INSERT ON mq_topics.life TO life_reader;
GRANT TRUNCATE ON mq_topics.life TO life_cleaner;
SET ROLE life_reader;
SELECT mq.delete_records('life', 0, -1);
SELECT mq.purge_topic('life');
TRUNCATE mq_topics.life;
SELECT mq.roll_segment('life');
SELECT mq.run_retention('life');
SELECT * FROM mq.run_retention();
SELECT mq.retire_partition('life', 0);
SET ROLE life_cleaner;
SELECT mq.delete_records('life', 0, -1) > 0 AS deleted;
SELECT mq.purge_topic('life') > 0 AS purged;
TRUNCATE mq_topics.life;
SELECT mq.roll_segment('life');
RESET ROLE;

SELECT mq.drop_topic(t) FROM unnest('{life, unused, aged, closing}'::text[]) t;
DROP ROLE life_reader, life_cleaner;
