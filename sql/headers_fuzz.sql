-- generated headers: what is read means what was written, in its order, and
-- what cannot be headers is refused with 22023

SELECT mq.create_topic('headers_fuzz', 1);

-- a string of headers in hexadecimal, NULL when it has no bytes
CREATE FUNCTION fuzz_hex(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN encode(CASE WHEN t LIKE 'b64:%' THEN decode(substr(t, 5), 'base64') ELSE convert_to(t, 'UTF8') END, 'hex');
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN NULL;
END $$;

-- the pairs of an object, or of an array, as keys and values of type jsonb
CREATE FUNCTION fuzz_list(h jsonb, OUT n bigint, OUT k jsonb, OUT v jsonb) RETURNS SETOF record LANGUAGE sql IMMUTABLE AS $$
	SELECT e.n, to_jsonb(e.k), e.v
	FROM jsonb_each(CASE jsonb_typeof(h) WHEN 'object' THEN h END) WITH ORDINALITY AS e(k, v, n)
	UNION ALL
	SELECT a.n, a.p -> 0, a.p -> 1
	FROM jsonb_array_elements(CASE jsonb_typeof(h) WHEN 'array' THEN h END) WITH ORDINALITY AS a(p, n)
	ORDER BY 1 $$;

CREATE FUNCTION fuzz_pairs(h jsonb, in_order boolean) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT string_agg(p, ' ' ORDER BY CASE WHEN NOT in_order THEN p COLLATE "C" END, n)
	FROM (SELECT n, fuzz_hex(k #>> '{}') || '=' || CASE WHEN v = 'null' THEN 'null' ELSE fuzz_hex(v #>> '{}') END AS p
		FROM fuzz_list(h)) x $$;

CREATE FUNCTION fuzz_good(h jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE jsonb_typeof(h)
		WHEN 'object' THEN true
		WHEN 'array' THEN NOT EXISTS (SELECT FROM jsonb_array_elements(h) p
			WHERE CASE jsonb_typeof(p) WHEN 'array' THEN jsonb_array_length(p) <> 2 ELSE true END)
		ELSE false END
	AND NOT EXISTS (SELECT FROM fuzz_list(h)
		WHERE jsonb_typeof(k) <> 'string' OR jsonb_typeof(v) NOT IN ('string', 'null')
			OR fuzz_hex(k #>> '{}') IS NULL OR fuzz_hex(k #>> '{}') = encode('mq.tag', 'hex')
			OR (jsonb_typeof(v) = 'string' AND fuzz_hex(v #>> '{}') IS NULL)) $$;

CREATE FUNCTION fuzz_string() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT to_jsonb((ARRAY['', 'a', 'b', 'key', 'mq.ta', 'mq.tagg', 'B64:', 'b64', 'ä', '😀', E'\n\t"\\', 'b64:', 'b64:/wA=', 'b64:gIGC',
		'b64:YQ==', 'b64:YjY0Og==', repeat('x', 63), repeat('y', 64), repeat('z', 9000)])[1 + floor(random() * 19)] ||
		CASE WHEN random() < 0.01 THEN '!' ELSE '' END) $$;

-- mostly headers, now and then something else in the place of a string or a pair
CREATE FUNCTION fuzz_any() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	r float := random();
BEGIN
	IF r < 0.80 THEN RETURN fuzz_string(); END IF;
	IF r < 0.98 THEN RETURN 'null'; END IF;
	RETURN ('[1, true, "mq.tag", "b64:YQ", "b64:bXEudGFn", [], {}, ["a"], ["a", "b"], {"a": "b"}, 1e300]'::jsonb) -> floor(random() * 11)::int;
END $$;

CREATE FUNCTION fuzz_headers() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	r float := random();
	n int := floor(random() ^ 2 * 12);
	result jsonb := '[]';
BEGIN
	IF r < 0.4 THEN
		RETURN coalesce((SELECT jsonb_object_agg(fuzz_string() #>> '{}', fuzz_any()) FROM generate_series(1, n)), '{}');
	END IF;
	IF r > 0.98 THEN
		RETURN fuzz_any();
	END IF;
	FOR i IN 1 .. n LOOP
		result := result || CASE WHEN random() < 0.01 THEN jsonb_build_array(fuzz_any())
			ELSE jsonb_build_array(jsonb_build_array(fuzz_string(), fuzz_any())) END;
	END LOOP;
	RETURN result;
END $$;

CREATE TABLE fuzz_cases (n int PRIMARY KEY, h jsonb, state text DEFAULT 'taken');
SELECT setseed(0.4711);
INSERT INTO fuzz_cases (n, h) SELECT i, fuzz_headers() FROM generate_series(1, 2000) i;

DO $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT * FROM fuzz_cases ORDER BY n LOOP
		BEGIN
			PERFORM mq.produce('headers_fuzz', c.n::text, headers => c.h, tags => CASE WHEN c.n % 3 = 0 THEN ARRAY['t', c.n::text] END);
		EXCEPTION WHEN OTHERS THEN
			UPDATE fuzz_cases SET state = SQLSTATE WHERE n = c.n;
		END;
	END LOOP;
END $$;

CREATE TABLE fuzz_read AS
SELECT value::int AS n, headers AS h, tags FROM mq.fetch_text('headers_fuzz', 0, NULL, 1000000, 1000000000);

-- many of each kind
SELECT count(*) FILTER (WHERE state = 'taken') > 500 AS taken, count(*) FILTER (WHERE state = '22023') > 100 AS refused,
	count(*) FILTER (WHERE state NOT IN ('taken', '22023')) AS other
FROM fuzz_cases;
SELECT count(*) FILTER (WHERE jsonb_typeof(h) = 'object') > 100 AS objects,
	count(*) FILTER (WHERE jsonb_typeof(h) = 'array') > 100 AS arrays
FROM fuzz_read;

-- refused is what cannot be headers, and nothing else
SELECT n, state, left(h::text, 200) AS h FROM fuzz_cases WHERE fuzz_good(h) IS DISTINCT FROM (state = 'taken') ORDER BY n LIMIT 5;

-- read is what was written
SELECT n, left(c.h::text, 200) AS written, left(r.h::text, 200) AS read, r.tags
FROM (SELECT * FROM fuzz_cases WHERE state = 'taken') c FULL JOIN fuzz_read r USING (n)
WHERE fuzz_pairs(c.h, jsonb_typeof(r.h) = 'array') IS DISTINCT FROM fuzz_pairs(r.h, jsonb_typeof(r.h) = 'array')
	OR c.n IS NULL OR r.n IS NULL
	OR r.tags IS DISTINCT FROM CASE WHEN n % 3 = 0 THEN ARRAY['t', n::text] END
ORDER BY n LIMIT 5;

-- an array is shown only where an object cannot hold the headers
SELECT n, left(h::text, 200) AS h FROM fuzz_read
WHERE jsonb_typeof(h) = 'array' AND NOT EXISTS (SELECT FROM fuzz_list(h) WHERE k #>> '{}' LIKE 'b64:%' OR v #>> '{}' LIKE 'b64:%')
	AND (SELECT count(*) = count(DISTINCT k) FROM fuzz_list(h))
ORDER BY n LIMIT 5;

DROP TABLE fuzz_cases, fuzz_read;
DROP FUNCTION fuzz_headers, fuzz_any, fuzz_string, fuzz_good, fuzz_pairs, fuzz_list, fuzz_hex;
SELECT mq.drop_topic('headers_fuzz');
