-- what mq.fetch() and its relatives refuse, and what they say

SELECT mq.create_topic('errors', 2);
SELECT mq.produce('errors', v, partition => 0) FROM unnest('{a,b,c}'::text[]) v;

-- offsets: good from the start to the end of the log
SELECT count(*) FROM mq.fetch('errors', 0, 3);
SELECT mq.fetch('errors', 0, 4);
SELECT mq.fetch('errors', 0, -2);
SELECT mq.fetch('errors', 0, 9223372036854775807);
SELECT mq.fetch('errors', 0, -9223372036854775808);
SELECT mq.fetch('errors', 1, 1);
DO $$BEGIN PERFORM mq.fetch('errors', 0, 4); EXCEPTION WHEN SQLSTATE 'MQ005' THEN RAISE NOTICE 'MQ005'; END$$;
SELECT mq.fetch('errors', from_offset => 0);

-- partitions
SELECT mq.fetch('errors', 2);
SELECT mq.fetch('errors', -1);
SELECT mq.fetch('errors', -1, -1);
SELECT mq.offsets('errors', 2);
SELECT mq.offset_at('errors', -1, now());
SELECT mq.peek('errors', partition => 2147483647);

-- topics
SELECT mq.fetch('error');
SELECT mq.fetch('');
SELECT mq.fetch('mq_topics.errors');
SELECT mq.offsets('no such topic');
SELECT mq.peek('no such topic');
SELECT mq.offset_at('no such topic', 0, now());
CALL mq.wait('{errors,no such topic}');

-- limits
SELECT mq.fetch('errors', max_messages => 0);
SELECT mq.fetch('errors', max_messages => -1);
SELECT mq.fetch('errors', max_bytes => 0);
SELECT mq.fetch('errors', max_wait => '-1 ms');
SELECT mq.peek('errors', 0);

-- words
SELECT mq.fetch('errors', on_damage => 'ignore');
SELECT mq.fetch('errors', tags => '{}');
SELECT mq.fetch('errors', tags => '{a,NULL}');
SELECT mq.fetch('errors', tags => '{{a,b}}');

-- times
SELECT mq.offset_at('errors', 0, 'infinity');
SELECT mq.offset_at('errors', 0, '-infinity');

-- nulls where there must be a value
SELECT mq.fetch(NULL);
SELECT mq.fetch('errors', max_messages => NULL);
SELECT mq.fetch('errors', max_bytes => NULL);
SELECT mq.fetch('errors', max_wait => NULL);
SELECT mq.fetch('errors', on_damage => NULL);
SELECT mq.offsets(NULL);
SELECT mq.offset_at('errors', NULL, now());
SELECT mq.offset_at('errors', 0, NULL);
SELECT mq.peek('errors', NULL);
SELECT mq.peek('errors', from_end => NULL);

-- bytes that are no text, text that is no JSON
SELECT mq.produce('errors', 'not json', partition => 1);
SELECT mq.produce('errors', '\x6162c328'::bytea, partition => 1);
SELECT mq.produce('errors', '{"a": "\u0000"}', partition => 1);
SELECT value FROM mq.fetch_text('errors', 1);
SELECT value FROM mq.fetch_json('errors', 1);
SELECT value FROM mq.fetch_json('errors', 1, 2);
SELECT key, value FROM mq.fetch_text('errors', 1, 0, max_messages => 1);
SELECT value FROM mq.peek('errors', 2, 1);
SELECT mq.to_text('\x6162c328');
SELECT mq.to_text('\x610062');
SELECT mq.to_jsonb('{"a": 1,}');
SELECT mq.to_jsonb('\xff');
SELECT mq.to_text(NULL) IS NULL AS null_text, mq.to_jsonb(NULL) IS NULL AS null_jsonb,
	mq.to_text('') = '' AS empty_text;

-- mq.wait()
CALL mq.wait();
CALL mq.wait('{}');
CALL mq.wait('{errors,NULL}');
CALL mq.wait('{errors}', NULL);
CALL mq.wait('{errors}', '-1 s');
CALL mq.wait(positions => '{NULL}');
CALL mq.wait(positions => '{"(errors,0,)"}');
CALL mq.wait(positions => '{"(,0,0)"}');
CALL mq.wait(positions => '{"(errors,2,0)"}');
CALL mq.wait(positions => '{"(errors,-1,0)"}');
CALL mq.wait(positions => '{"(errors,0,4)"}');
CALL mq.wait(positions => '{"(errors,0,-2)"}');

SELECT mq.drop_topic('errors');
