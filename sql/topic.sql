-- Topics: create, alter, drop, describe.
\set VERBOSITY default
\set SHOW_CONTEXT never
-- other tests may have left some
SELECT count(mq.drop_topic(name)) >= 0 AS none_left FROM mq_internal.topics;

-- a topic is a relation and a row
SELECT mq.create_topic('orders');
SELECT mq.create_topic('orders.eu', partitions => 4, config => '{"segment.ms": 60000, "compression.type": "lz4"}');
SELECT mq.create_topic('orders-eu', 2);
SELECT name, relation::regclass, topic_id IS NOT NULL AS has_id, ever_written,
	database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS here,
	created_at <= now() AS created
	FROM mq_internal.topics ORDER BY name;
SELECT ftrelid::regclass, ftoptions FROM pg_foreign_table ORDER BY ftrelid::regclass::text;
SELECT attname, atttypid::regtype FROM pg_attribute
	WHERE attrelid = 'mq_topics.orders'::regclass AND attnum > 0 ORDER BY attnum;

-- names
SELECT mq.create_topic('63.' || repeat('x', 60)) = ('mq_topics."63_' || repeat('x', 60) || '"')::regclass AS plain_name;
SELECT mq.create_topic('64..' || repeat('x', 60)) AS cut \gset
SELECT length(relname) FROM pg_class WHERE oid = :'cut'::regclass;
SELECT mq.create_topic(repeat('long.name-', 24) || 'nine.nine') AS cut \gset
SELECT length(relname), left(relname, 20) FROM pg_class WHERE oid = :'cut'::regclass;
SELECT mq.create_topic('Upper');
SELECT mq.create_topic('9');
SELECT mq.create_topic('_orders');
SELECT mq.create_topic('');
SELECT mq.create_topic('.');
SELECT mq.create_topic('..');
SELECT mq.create_topic('a b');
SELECT mq.create_topic('a/b');
SELECT mq.create_topic(E'a\nb');
SELECT mq.create_topic('naïve');
SELECT mq.create_topic(repeat('x', 250));
SELECT mq.create_topic('__consumer_offsets');
SELECT mq.create_topic(NULL);

-- twice
SELECT mq.create_topic('orders');
SELECT mq.create_topic('orders', if_not_exists => true);
SELECT mq.create_topic('orders', if_not_exists => NULL);

-- options
SELECT mq.create_topic('bad', 0);
SELECT mq.create_topic('bad', -1);
SELECT mq.create_topic('bad', 16385);
SELECT mq.create_topic('bad', config => '{"segment.byte": 1}');
SELECT mq.create_topic('bad', config => '{"topic": "other"}');
SELECT mq.create_topic('bad', config => '{"cleanup.policy": 1}');
SELECT mq.create_topic('bad', config => '{"segment.byte": null}');
SELECT mq.create_topic('bad', config => '{"segment.bytes": 65535}');
SELECT mq.create_topic('bad', config => '{"segment.bytes": "64kB"}');
SELECT mq.create_topic('bad', config => '{"segment.bytes": ""}');
SELECT mq.create_topic('bad', config => '{"segment.bytes": " 65536"}');
SELECT mq.create_topic('bad', config => '{"segment.bytes": -65536}');
SELECT mq.create_topic('bad', config => '{"segment.bytes": 65536.5}');
SELECT mq.create_topic('bad', config => '{"segment.ms": 99999999999999999999}');
SELECT mq.create_topic('bad', config => '{"segment.ms": true}');
SELECT mq.create_topic('bad', config => '{"compression.type": "zstd"}');
SELECT mq.create_topic('bad', config => '{"compression.type": "LZ4"}');
SELECT mq.create_topic('bad', config => '{"segment.ms": [1]}');
SELECT mq.create_topic('bad', config => '{"segment.ms": {"a": 1}}');
SELECT mq.create_topic('bad', config => '[]');
SELECT mq.create_topic('bad', config => '1');
SELECT mq.create_topic('bad', 3, '{"partitions": 4}');
SELECT count(*) FROM mq_internal.topics WHERE name = 'bad';

-- the number of partitions
SELECT mq.create_topic('p.arg', 3), mq.create_topic('p.both', 3, '{"partitions": "3"}'),
	mq.create_topic('p.config', config => '{"partitions": 5}'),
	mq.create_topic('p.null', NULL, NULL);
SET mq.default_partitions = 6;
SELECT mq.create_topic('p.default'), mq.create_topic('p.reset', config => '{"partitions": null}');
RESET mq.default_partitions;
SELECT c.topic, count(*) FROM (VALUES ('p.arg'), ('p.both'), ('p.config'), ('p.null'), ('p.default'), ('p.reset')) c(topic),
	mq.describe_topic(c.topic) GROUP BY 1 ORDER BY 1;

-- what is in force
SELECT * FROM mq.topic_config('orders.eu');
SELECT * FROM mq.describe_topic('orders.eu');

-- altering
SELECT mq.alter_topic('orders.eu', '{"segment.ms": null, "segment.bytes": "1048576", "compression.type": "none"}');
SELECT name, value, source, is_default FROM mq.topic_config('orders.eu');
SELECT mq.alter_topic('orders.eu', '{"segment.ms": null, "message.timestamp.type": "LogAppendTime", "batch.size": 1024}');
SELECT mq.alter_topic('orders.eu', '{}');
SELECT name, value FROM mq.topic_config('orders.eu') WHERE NOT is_default;
SELECT mq.alter_topic('orders.eu', '{"batch.size": 2048, "cleanup.policy": 1}');
SELECT mq.alter_topic('orders.eu', '{"batch.size": 2048, "segment.bytes": 1}');
SELECT mq.alter_topic('orders.eu', NULL);
SELECT mq.alter_topic('orders.eu', '[]');
SELECT mq.alter_topic(NULL, '{}');
SELECT mq.alter_topic('ordres', '{}');
SELECT name, value FROM mq.topic_config('orders.eu') WHERE NOT is_default;
SET mq.max_message_bytes = 2000000;
SELECT value, source FROM mq.topic_config('orders.eu') WHERE name = 'max.message.bytes';
SELECT mq.alter_topic('orders.eu', '{"max.message.bytes": 1024}');
SELECT value, source FROM mq.topic_config('orders.eu') WHERE name = 'max.message.bytes';
RESET mq.max_message_bytes;

-- partitions
SELECT mq.add_partitions('orders.eu', 2);
SELECT mq.alter_topic('orders.eu', '{"partitions": 8}');
SELECT mq.alter_topic('orders.eu', '{"partitions": 8}');
SELECT mq.alter_topic('orders.eu', '{"partitions": 7}');
SELECT mq.alter_topic('orders.eu', '{"partitions": null}');
SELECT mq.add_partitions('orders.eu', 0);
SELECT mq.add_partitions('orders.eu', NULL);
SELECT mq.add_partitions('orders.eu', 16377);
SELECT mq.add_partitions('orders.eu', 2147483647);
SELECT count(*) FROM mq.describe_topic('orders.eu');

-- rollback of each
BEGIN;
SELECT mq.create_topic('rolled');
SELECT mq.alter_topic('orders.eu', '{"batch.size": 4096}');
SELECT mq.add_partitions('orders-eu', 1);
SELECT mq.drop_topic('orders');
SELECT count(*) FROM mq.describe_topic('rolled');
SELECT value FROM mq.topic_config('orders.eu') WHERE name = 'batch.size';
SELECT count(*) FROM mq.describe_topic('orders-eu');
SELECT count(*) FROM mq.describe_topic('orders');
ROLLBACK;
SELECT count(*) FROM mq.describe_topic('rolled');
SELECT value FROM mq.topic_config('orders.eu') WHERE name = 'batch.size';
SELECT count(*) FROM mq.describe_topic('orders-eu');
SELECT count(*) FROM mq.describe_topic('orders');

-- in a subtransaction
BEGIN;
SAVEPOINT s;
SELECT mq.create_topic('sub');
SELECT count(*) FROM mq.describe_topic('sub');
ROLLBACK TO s;
SELECT mq.create_topic('sub', 2);
SELECT mq.drop_topic('p.arg');
SAVEPOINT t;
SELECT mq.drop_topic('sub');
ROLLBACK TO t;
SELECT count(*) FROM mq.describe_topic('sub');
COMMIT;
SELECT count(*) FROM mq.describe_topic('sub');
SELECT mq.drop_topic('p.arg');

-- messages: kept by a rolled back drop, gone after drop and re-creation
SELECT mq.produce('sub', 'a', partition => 1);
BEGIN;
SELECT mq.drop_topic('sub');
ROLLBACK;
SELECT ever_written FROM mq_internal.topics WHERE name = 'sub';
SELECT partition, msg_offset, value FROM mq.fetch_text('sub');
BEGIN;
SELECT mq.drop_topic('sub');
SELECT mq.create_topic('sub', 1);
SELECT * FROM mq.fetch_text('sub');
SELECT mq.produce('sub', 'b');
COMMIT;
SELECT partition, msg_offset, value FROM mq.fetch_text('sub');
BEGIN;
SELECT mq.produce('sub', 'c');
SELECT mq.alter_topic('sub', '{"partitions": 2}');
SELECT mq.produce('sub', 'd', partition => 1);
SELECT mq.drop_topic('sub');
COMMIT;
SELECT mq.drop_topic('sub');

-- made and used by one transaction that fails
BEGIN;
SELECT mq.create_topic('short.lived');
SELECT mq.produce('short.lived', 'x', transactional => false);
ROLLBACK;
BEGIN;
SELECT mq.create_topic('short.lived');
SELECT mq.produce('short.lived', 'x');
ROLLBACK;
SELECT mq.fetch('short.lived');

-- nor is anything appended at once to what a transaction has added and may take back
SELECT mq.create_topic('grown', 1);
BEGIN;
SELECT * FROM mq.produce('grown', 'before', transactional => false);
SAVEPOINT s;
SELECT mq.add_partitions('grown', 1);
SELECT mq.produce('grown', 'x', partition => 1, transactional => false);
ROLLBACK TO s;
SELECT * FROM mq.produce('grown', 'taken back', transactional => false);
SAVEPOINT s;
SELECT mq.add_partitions('grown', 1);
RELEASE s;
SAVEPOINT s;
SELECT mq.produce_batch('grown', '{x}', transactional => false);
ROLLBACK TO s;
SELECT mq.produce('grown', 'with the transaction', partition => 1);
ROLLBACK;
SELECT mq.add_partitions('grown', 1);
SELECT * FROM mq.produce('grown', 'after', partition => 1, transactional => false);
SELECT partition, msg_offset, value FROM mq.fetch_text('grown');
SELECT mq.drop_topic('grown');

-- marks of a transaction that rolls back are rolled back with it
SELECT mq.create_topic('mark');
BEGIN;
SAVEPOINT s;
SELECT mq.produce('mark', 'x');
ROLLBACK TO s;
COMMIT;
SELECT ever_written FROM mq_internal.topics WHERE name = 'mark';
SELECT * FROM mq.describe_topic('mark');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT mq.produce('mark', 'x');
SELECT mq.produce('mark', 'y');
COMMIT;
SELECT ever_written FROM mq_internal.topics WHERE name = 'mark';

-- dropping
SELECT mq.drop_topic('ordrs');
SELECT mq.drop_topic('nothing like any of them');
SELECT mq.drop_topic('ordrs', if_exists => true);
SELECT mq.drop_topic(NULL);
CREATE VIEW on_topic AS SELECT * FROM mq_topics.orders;
SELECT mq.drop_topic('orders');
DROP VIEW on_topic;
SELECT mq.drop_topic('orders', force => true);
SELECT to_regclass('mq_topics.orders');

-- read-only
BEGIN READ ONLY;
SELECT mq.create_topic('ro');
ROLLBACK;
BEGIN READ ONLY;
SELECT mq.alter_topic('mark', '{}');
ROLLBACK;
BEGIN READ ONLY;
SELECT mq.drop_topic('mark', if_exists => true);
ROLLBACK;
BEGIN READ ONLY;
SELECT mq.add_partitions('mark', 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM mq.describe_topic('mark');
COMMIT;

-- everything at once
SELECT count(mq.create_topic('many.' || i)) FROM generate_series(1, 50) i;
SELECT count(*) FROM mq_internal.topics WHERE name LIKE 'many.%';
SELECT count(mq.drop_topic(name)) FROM mq_internal.topics;
SELECT count(*) FROM mq_internal.topics;
SELECT count(*) FROM pg_foreign_table;
