-- arguments that nobody should pass: a clear error or a sane answer, nothing
-- changed, nothing leaked

\set VERBOSITY terse
SELECT mq.create_topic('hostile', 2);

-- topic names
SELECT mq.produce('', 'v');
SELECT mq.produce(repeat('x', 250), 'v') IS NULL;
DO $$BEGIN PERFORM mq.produce(repeat('x', 1000000), 'v'); EXCEPTION WHEN undefined_object THEN RAISE NOTICE '%', SQLSTATE; END$$;
DO $$BEGIN PERFORM mq.fetch(repeat('x', 1000000)); EXCEPTION WHEN undefined_object THEN RAISE NOTICE '%', SQLSTATE; END$$;
SELECT mq.produce('../../../etc/passwd', 'v');
SELECT mq.produce('hostile''; DROP TABLE x; --', 'v');
SELECT mq.produce(E'hostile\n', 'v');
SELECT mq.produce('HOSTILE', 'v');
SELECT mq.produce('hostile ', 'v');
SELECT mq.produce('%s%n%x', 'v');

-- numbers
SELECT mq.produce('hostile', 'v', partition => 2);
SELECT mq.produce('hostile', 'v', partition => -1);
SELECT mq.produce('hostile', 'v', partition => 2147483647);
SELECT mq.produce('hostile', 'v', partition => -2147483648);
SELECT mq.fetch('hostile', -2147483648);
SELECT mq.fetch('hostile', 0, -9223372036854775808);
SELECT mq.fetch('hostile', 0, 9223372036854775807);
SELECT mq.fetch('hostile', max_messages => -2147483648);
SELECT mq.fetch('hostile', max_bytes => -2147483648);
SELECT mq.peek('hostile', -2147483648);

-- times
SELECT mq.produce('hostile', 'v', ts => 'infinity');
SELECT mq.produce('hostile', 'v', ts => '-infinity');
SELECT mq.produce('hostile', 'v', ts => '1969-12-31 23:59:59.999+00');
SELECT mq.produce('hostile', 'v', ts => '4713-01-01 BC');
SELECT mq.produce('hostile', 'end of time', ts => '294276-12-31 23:59:59.999999+00', partition => 0);
SELECT value, ts AT TIME ZONE 'UTC' AS ts FROM mq.fetch_text('hostile', 0);
SELECT mq.offset_at('hostile', 0, '294276-12-31 23:59:59.999999+00');
SELECT mq.offset_at('hostile', 0, '4713-01-01 BC');
SELECT count(*) FROM mq.fetch('hostile', 0, 0, max_wait => '178000000 years');
SELECT count(*) FROM mq.fetch('hostile', 0, max_wait => '-178000000 years');
CALL mq.wait(positions => '{"(hostile,0,0)"}', timeout => '178000000 years');

-- nulls
SELECT mq.produce(NULL, NULL::text);
SELECT mq.produce(NULL, 'v');
SELECT mq.produce('hostile', 'v', transactional => NULL);
SELECT mq.produce('hostile', NULL::text, NULL, NULL, NULL, NULL, NULL, NULL);

-- sizes
SELECT mq.produce('hostile', repeat('x', 16777216));
SELECT mq.produce('hostile', repeat('x', 16777216), transactional => false);
SELECT mq.produce('hostile', repeat('x', 100000000));
SELECT mq.produce('hostile', 'v', key => repeat('x', 16777216));
SELECT mq.produce('hostile', 'v', tags => array_agg('tag' || i)) FROM generate_series(1, 100000) i;
SELECT mq.produce('hostile', 'v', headers => jsonb_object_agg('k' || i, 'some value')) FROM generate_series(1, 100000) i;
SELECT mq.produce_batch('hostile', ARRAY[repeat('x', 16777216)]);
SELECT count(*) FROM mq.fetch('hostile', 0, tags => (SELECT array_agg('tag' || i) FROM generate_series(1, 100000) i));

-- deep JSON
DO $$BEGIN PERFORM mq.produce('hostile', 'v', headers => (repeat('[', 5000) || repeat(']', 5000))::jsonb);
EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLERRM; END$$;
SELECT mq.produce('hostile', repeat('[', 100000), partition => 1);
SELECT count(*) FROM mq.fetch_text('hostile', 1);
DO $$BEGIN PERFORM mq.fetch_json('hostile', 1); EXCEPTION WHEN statement_too_complex OR invalid_text_representation THEN RAISE NOTICE 'refused'; END$$;

-- text that is no UTF-8 cannot even become an argument
SELECT mq.produce('hostile', E'\xff');
SELECT mq.produce('hostile', convert_from('\xff', 'UTF8'));

-- too many positions, the same one over and over, arrays of arrays
DO $$
DECLARE
	positions mq.position[] := (SELECT array_agg(('hostile', 0, 0)::mq.position) FROM generate_series(1, 10000));
	ready boolean;
BEGIN
	FOR i IN 1..5 LOOP
		CALL mq.wait(positions => positions, ready => ready);
	END LOOP;
	RAISE NOTICE 'ready: %', ready;
END$$;
CALL mq.wait('{{hostile},{hostile}}');
CALL mq.wait(positions => '{"(hostile,0,0,0)"}');

-- in a savepoint: the error leaves nothing behind, the transaction goes on
BEGIN;
SELECT mq.produce('hostile', 'kept', partition => 1);
SAVEPOINT s;
SELECT mq.produce('hostile', repeat('x', 16777216), partition => 1);
ROLLBACK TO s;
SELECT mq.fetch('hostile', 0, 77);
ROLLBACK TO s;
COMMIT;
SELECT left(value, 10) AS value FROM mq.fetch_text('hostile', 1);

-- a statement that is cancelled
SET statement_timeout = '200 ms';
SELECT count(mq.produce('hostile', 'v')) FROM generate_series(1, 1000000000);
SELECT count(*) FROM mq.fetch('hostile', 0, -1, max_wait => '1 hour'), mq.fetch('hostile', 0, -1, max_wait => '1 hour') t2, pg_sleep(1);
CALL mq.wait('{hostile}', '1 hour');
RESET statement_timeout;
SELECT partition, last_stable FROM mq.offsets('hostile');

-- no parallel worker produces
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE TABLE hostile_rows AS SELECT i FROM generate_series(1, 1000) i;
EXPLAIN (COSTS OFF) SELECT mq.produce('hostile', i::text) FROM hostile_rows;
SET force_parallel_mode = on;
SELECT count(mq.produce('hostile', i::text, partition => 0)) FROM hostile_rows;
RESET force_parallel_mode;
CREATE FUNCTION hostile_lies(text) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$BEGIN RETURN (mq.produce('hostile', $1)).partition; END$$;
SET parallel_leader_participation = off;
SELECT count(hostile_lies(i::text)) FROM hostile_rows;
DROP FUNCTION hostile_lies;
DROP TABLE hostile_rows;
RESET ALL;

SELECT mq.drop_topic('hostile');
SELECT count(*) FROM mq.transactions;
