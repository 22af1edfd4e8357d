-- verify: arguments, privileges, sound logs; stat_progress. Damage is in t/

\pset null '(null)'
SELECT mq.create_topic('verify', 3, '{"segment.bytes": 65536, "compression.type": "lz4"}');
SELECT mq.create_topic('verify.plain', 1, '{"segment.bytes": 65536, "batch.size": 1024}');
SELECT mq.create_topic('verify.empty', 1);

-- a log without files has nothing to verify
SELECT * FROM mq.verify('verify');
SELECT * FROM mq.verify('verify', 0);

SELECT count(mq.produce('verify', (SELECT string_agg(md5(i || ' ' || j), repeat('z', 100)) FROM generate_series(1, 20) j),
	key => 'k' || i, headers => '{"h": "x"}', tags => '{t}', partition => 0)) FROM generate_series(1, 500) i;
SELECT mq.produce('verify', NULL::text, key => 'tombstone', partition => 1);
DO $$BEGIN
	FOR i IN 1 .. 300 LOOP
		PERFORM mq.produce('verify.plain', repeat('x', i));
		IF i % 3 = 0 THEN COMMIT; END IF;
		IF i % 7 = 0 THEN ROLLBACK; END IF;
	END LOOP;
END$$;
SELECT mq.produce('verify.plain', repeat('y', 100000));
SELECT mq.produce('verify.plain', 'at once', transactional => false);

-- one row for each segment
SELECT topic_name, partition, count(*) > 1 AS several, min(base_offset), string_agg(DISTINCT status, ' ') AS status,
	count(bad_offset) AS bad, count(detail) AS details
FROM mq.verify('verify') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) AS different
FROM mq.verify('verify') v FULL JOIN (SELECT * FROM mq.segments WHERE topic = 'verify') s USING (partition, base_offset)
WHERE v.topic_name IS DISTINCT FROM s.topic;
SELECT partition, count(*), min(status) FROM mq.verify(part => 1, topic => 'verify') GROUP BY 1;
SELECT count(*) FROM mq.verify('verify', part => 2);
SELECT topic_name, string_agg(DISTINCT status, ' ') FROM mq.verify() WHERE topic_name LIKE 'verify%' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM mq.verify(NULL, NULL) WHERE topic_name LIKE 'verify%' AND status <> 'ok';

-- what is written meanwhile does no harm, nor does a transaction that has not ended
BEGIN;
SELECT mq.produce('verify', 'open', partition => 1);
SELECT status FROM mq.verify('verify', 1);
COMMIT;
SELECT status FROM mq.verify('verify', 1);
BEGIN READ ONLY;
SELECT status FROM mq.verify('verify', 1);
COMMIT;
PREPARE verify AS SELECT count(*) FROM mq.verify($1, $2);
EXECUTE verify('verify', 1);

-- the lock is not kept
BEGIN;
SELECT count(*) > 0 AS rows FROM mq.verify('verify');
SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'relation' AND pid = pg_backend_pid() AND relation = 'mq_topics.verify'::regclass;
COMMIT;

-- errors
SELECT * FROM mq.verify('verifi');
SELECT * FROM mq.verify('');
SELECT * FROM mq.verify(repeat('x', 1000));
SELECT * FROM mq.verify('verify', 3);
SELECT * FROM mq.verify('verify', -1);
SELECT * FROM mq.verify(NULL, 0);

-- for the owner and for those who monitor
CREATE ROLE regress_mq_verifier;
CREATE ROLE regress_mq_verify_owner;
GRANT SELECT, INSERT ON mq_topics.verify TO regress_mq_verifier;
ALTER FOREIGN TABLE mq_topics.verify OWNER TO regress_mq_verify_owner;
SET ROLE regress_mq_verifier;
SELECT * FROM mq.verify('verify', 1);
SELECT * FROM mq.verify('verify', 99);
SELECT * FROM mq.verify('verify.nix');
SELECT * FROM mq.verify();
SELECT * FROM mq.stat_progress;
RESET ROLE;
SET ROLE regress_mq_verify_owner;
SELECT DISTINCT topic_name, status FROM mq.verify();
SELECT DISTINCT topic_name, status FROM mq.verify('verify');
\set VERBOSITY terse
SELECT * FROM mq.verify('verify.plain');
\set VERBOSITY default
RESET ROLE;
GRANT pg_read_all_stats TO regress_mq_verifier;
SET ROLE regress_mq_verifier;
SELECT DISTINCT topic_name, status FROM mq.verify('verify');
SELECT DISTINCT topic_name, status FROM mq.verify() WHERE topic_name LIKE 'verify%' ORDER BY 1;
RESET ROLE;

-- a topic that was dropped in this transaction is left out
BEGIN;
SELECT mq.drop_topic('verify.plain');
SELECT DISTINCT topic_name FROM mq.verify() WHERE topic_name LIKE 'verify%';
SELECT * FROM mq.verify('verify.plain');
ROLLBACK;

-- nobody works, and what was begun has been ended by the error
SELECT * FROM mq.stat_progress;
SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'mq' AND table_name = 'stat_progress' GROUP BY 1;

SELECT mq.drop_topic(t) FROM unnest('{verify,verify.plain,verify.empty}'::text[]) t;
DROP ROLE regress_mq_verifier, regress_mq_verify_owner;
