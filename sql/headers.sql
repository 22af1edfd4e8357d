-- headers and tags: SQL's jsonb and the log's ordered pairs of bytes

\pset null '(null)'
SELECT mq.create_topic('headers', 1);
CREATE FUNCTION headers_back(headers jsonb, tags text[] DEFAULT NULL, OUT headers_back jsonb, OUT tags_back text[])
LANGUAGE plpgsql AS $$
DECLARE
	at bigint := (mq.produce('headers', 'v', headers => $1, tags => $2, transactional => false)).msg_offset;
BEGIN
	SELECT m.headers, m.tags INTO headers_back, tags_back FROM mq.fetch('headers', 0, at) m;
END$$;

-- an object of strings; null is a header without a value
SELECT * FROM headers_back('{"a": "1", "empty": "", "ä": "ö", "none": null}');
SELECT * FROM headers_back('{}');
SELECT * FROM headers_back('[]');
SELECT * FROM headers_back(NULL);
SELECT * FROM headers_back('{"": "a key may be empty"}');

-- pairs that an object can hold come back as an object
SELECT * FROM headers_back('[["a", "1"], ["b", "2"]]');

-- keys that repeat keep their order
SELECT * FROM headers_back('[["b", "1"], ["a", "2"], ["b", "3"], ["b", null]]');

-- bytes that are no text are base64, and what looks like it too
SELECT * FROM headers_back('[["a", "b64:/wA="], ["b64:gA==", "key"]]');
SELECT * FROM headers_back('{"a": "b64:/wA="}');
SELECT * FROM headers_back('{"a": "b64:dGV4dA=="}');
SELECT * FROM headers_back('{"a": "b64:YjY0OnRleHQ="}');
SELECT * FROM headers_back('{"a": "b64:"}');
SELECT * FROM headers_back('{"a": "b64"}');

-- what was read can be written back
WITH first AS (SELECT * FROM headers_back('[["b", "b64:/wA="], ["a", "b64:YjY0Og=="], ["a", null], ["", ""]]', '{t}'))
SELECT f.headers_back = s.headers_back AS same_headers, f.tags_back = s.tags_back AS same_tags, s.*
FROM first f, headers_back(f.headers_back, f.tags_back) s;

-- tags, with and without headers
SELECT * FROM headers_back(NULL, '{x}');
SELECT * FROM headers_back('{"a": "1"}', '{x,y,x,"",ä}');
SELECT * FROM headers_back('{"a": "1"}', '{}');

-- a thousand of them
SELECT jsonb_typeof(headers_back), (SELECT count(*) FROM jsonb_each(headers_back)) AS n, array_length(tags_back, 1) AS tags
FROM (SELECT jsonb_object_agg('k' || i, i::text) AS h, array_agg('t' || i) AS t FROM generate_series(1, 1000) i) s,
	headers_back(h, t);

-- as Kafka writes them: ordered, tags behind
SELECT mq.produce('headers', 'v', headers => '[["z", "1"], ["a", "2"], ["z", "3"]]', tags => '{x}', transactional => false) IS NOT NULL AS produced;

-- refused
SELECT mq.produce('headers', 'v', headers => '"text"');
SELECT mq.produce('headers', 'v', headers => 'null');
SELECT mq.produce('headers', 'v', headers => '{"a": 1}');
SELECT mq.produce('headers', 'v', headers => '{"a": {"b": "c"}}');
SELECT mq.produce('headers', 'v', headers => '{"a": ["b"]}');
SELECT mq.produce('headers', 'v', headers => '["a", "b"]');
SELECT mq.produce('headers', 'v', headers => '[["a"]]');
SELECT mq.produce('headers', 'v', headers => '[["a", "b", "c"]]');
SELECT mq.produce('headers', 'v', headers => '[["a", ["b", "c"]]]');
SELECT mq.produce('headers', 'v', headers => '[[1, "b"]]');
SELECT mq.produce('headers', 'v', headers => '[[null, "b"]]');
SELECT mq.produce('headers', 'v', headers => '[{"a": "b"}]');
SELECT mq.produce('headers', 'v', headers => '[["a", "b"], 3]');
SELECT mq.produce('headers', 'v', headers => '{"a": "b64:!"}');
SELECT mq.produce('headers', 'v', headers => '{"a": "b64:YQ"}');
SELECT mq.produce('headers', 'v', headers => '{"mq.tag": "x"}');
SELECT mq.produce('headers', 'v', headers => '[["b64:bXEudGFn", "x"]]');
SELECT mq.produce('headers', 'v', tags => '{a,NULL}');
SELECT mq.produce('headers', 'v', tags => '{{a},{b}}');

-- headers count for the message's size
SELECT mq.produce('headers', 'v', headers => jsonb_build_object('h', repeat('x', 1100000)));

DROP FUNCTION headers_back;
SELECT mq.drop_topic('headers');
