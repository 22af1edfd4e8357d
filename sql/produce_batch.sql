-- mq.produce_batch() and its twins

\pset null '(null)'
SELECT mq.create_topic('batch', 4);
SELECT mq.create_topic('batch.one', 1);

-- one row for each partition; offsets are not known before commit
SELECT * FROM mq.produce_batch('batch.one', '{a,b,NULL,""}');
SELECT * FROM mq.produce_batch('batch', '{1,2,3,4}', '{21,foobar,abc,21}');
SELECT msg_offset, key, value FROM mq.fetch_text('batch.one');
SELECT partition, msg_offset, key, value FROM mq.fetch_text('batch');
SELECT * FROM mq.last_produced() ORDER BY partition;

-- at once, with offsets
BEGIN;
SELECT * FROM mq.produce_batch('batch', '{5,6,7,8}', '{21,foobar,abc,21}', transactional => false);
ROLLBACK;
SELECT partition, msg_offset, key, value FROM mq.fetch_text('batch') WHERE msg_offset > 0;

-- JSON and bytes, headers for each message
SELECT * FROM mq.produce_batch_json('batch.one', ARRAY['{"n": 1}', NULL, '[]']::jsonb[],
	'{x,NULL,z}', ARRAY['{"h": "1"}', NULL, '[["h", "1"], ["h", "2"]]']::jsonb[]);
SELECT msg_offset, key, value, headers FROM mq.fetch_json('batch.one', 0, 4);
SELECT * FROM mq.produce_batch_bytes('batch.one', ARRAY['\x00', '\xff', NULL]::bytea[], ARRAY['\x01', NULL, '']::bytea[]);
SELECT msg_offset, key, value FROM mq.fetch('batch.one', 0, 7);

-- empty is nothing, with and without a transaction
SELECT * FROM mq.produce_batch('batch.one', '{}');
SELECT * FROM mq.produce_batch('batch.one', '{}', '{}', '{}', transactional => false);
SELECT last_stable FROM mq.offsets('batch.one');

-- from a query
SELECT r.* FROM (SELECT array_agg(i::text ORDER BY i) AS vals FROM generate_series(1, 10000) i) a,
	mq.produce_batch('batch.one', a.vals) r;
SELECT count(*), sum(value::int), min(msg_offset), max(msg_offset)
FROM mq.fetch_text('batch.one', 0, 10, max_messages => 100000, max_bytes => 100000000);

-- a savepoint takes its batch along
BEGIN;
SAVEPOINT s1;
SELECT * FROM mq.produce_batch('batch.one', '{not}');
ROLLBACK TO s1;
SELECT * FROM mq.produce_batch('batch.one', '{but}');
COMMIT;
SELECT msg_offset, value FROM mq.fetch_text('batch.one', 0, 10010);

-- one message too large fails them all
SELECT * FROM mq.produce_batch('batch.one', ARRAY['small', repeat('x', 1100000)]);
SELECT last_stable FROM mq.offsets('batch.one');

-- arguments that do not fit
SELECT * FROM mq.produce_batch('batch.one', '{a,b}', '{k}');
SELECT * FROM mq.produce_batch('batch.one', '{a}', '{k,l}', transactional => false);
SELECT * FROM mq.produce_batch('batch.one', '{a,b}', headers => '{}');
SELECT * FROM mq.produce_batch('batch.one', '{{a,b},{c,d}}');
SELECT * FROM mq.produce_batch('batch.one', '{a,b}', '{{a,b}}');
SELECT * FROM mq.produce_batch('batch.one', NULL);
SELECT * FROM mq.produce_batch(NULL, '{a}');
SELECT * FROM mq.produce_batch('batch.one', '{a}', transactional => NULL);
SELECT * FROM mq.produce_batch('no.topic', '{a}');
SELECT * FROM mq.produce_batch('batch.one', '{a}', headers => '{"3"}');
SELECT * FROM mq.produce_batch_json('batch.one', '{"{}"}', '{a,b}');
SELECT * FROM mq.produce_batch_bytes('batch.one', '{a}', '{}');
BEGIN READ ONLY;
SELECT * FROM mq.produce_batch('batch.one', '{a}');
ROLLBACK;
SELECT last_stable FROM mq.offsets('batch.one');

-- an array need not begin at 1
SELECT * FROM mq.produce_batch('batch.one', '[5:6]={e,f}', '[0:1]={k,l}');
SELECT key, value FROM mq.fetch_text('batch.one', 0, 10011);

SELECT mq.drop_topic(t) FROM unnest('{batch,batch.one}'::text[]) t;
