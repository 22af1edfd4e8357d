-- messages and subtransactions: what is rolled back to a savepoint was never
-- written, what stays keeps its order

\pset null '(null)'
SELECT mq.create_topic('subxact', 1);

BEGIN;
SELECT mq.produce('subxact', 'a');
SAVEPOINT s1;
SELECT mq.produce('subxact', 'not b');
ROLLBACK TO s1;
SELECT mq.produce('subxact', 'c');
SAVEPOINT s2;
SELECT mq.produce('subxact', 'd');
RELEASE s2;
SAVEPOINT s3;
SELECT mq.produce('subxact', 'not e');
SAVEPOINT s4;
SELECT mq.produce('subxact', 'not f');
RELEASE s4;
ROLLBACK TO s3;
SAVEPOINT s5;
SELECT mq.produce('subxact', 'g');
COMMIT;
SELECT msg_offset, value FROM mq.fetch_text('subxact');

-- nothing is left
BEGIN;
SAVEPOINT s1;
SELECT mq.produce('subxact', 'not h');
ROLLBACK TO s1;
COMMIT;
SELECT last_stable FROM mq.offsets('subxact');

-- what is not transactional stays, though its savepoint does not
BEGIN;
SAVEPOINT s1;
SELECT mq.produce('subxact', 'not i');
SELECT mq.produce('subxact', 'j', transactional => false);
ROLLBACK TO s1;
COMMIT;
SELECT msg_offset, value FROM mq.fetch_text('subxact', 0, 4);

-- an error in a function is a savepoint rolled back
DO $$
BEGIN
	PERFORM mq.produce('subxact', 'k');
	BEGIN
		PERFORM mq.produce('subxact', 'not l');
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM mq.produce('subxact', 'm');
	END;
	BEGIN
		PERFORM mq.produce('subxact', 'n');
		PERFORM mq.produce('no such topic', 'not o');
	EXCEPTION WHEN undefined_object THEN
		NULL;
	END;
END$$;
SELECT msg_offset, value FROM mq.fetch_text('subxact', 0, 5);

-- ten thousand of them, every third fails
DO $$
BEGIN
	FOR i IN 1..10000 LOOP
		BEGIN
			PERFORM mq.produce('subxact', i::text);
			IF i % 3 = 0 THEN
				RAISE EXCEPTION 'third';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
END$$;
SELECT count(*), sum(value::int), min(msg_offset), max(msg_offset)
FROM mq.fetch_text('subxact', 0, 7, max_messages => 20000, max_bytes => 100000000);
SELECT count(*) FROM (
	SELECT value::int - lag(value::int) OVER (ORDER BY msg_offset) AS step
	FROM mq.fetch_text('subxact', 0, 7, max_messages => 20000, max_bytes => 100000000)) s
WHERE step NOT IN (1, 2);

-- savepoints across batches and spills: the sum tells what stayed
SET mq.transaction_buffer = '64kB';
SELECT last_stable AS before FROM mq.offsets('subxact') \gset
BEGIN;
SELECT count(mq.produce('subxact', i || repeat(' ', 500))) FROM generate_series(1, 1000) i;
SAVEPOINT s1;
SELECT count(mq.produce('subxact', i || repeat(' ', 500))) FROM generate_series(1001, 2000) i;
SAVEPOINT s2;
SELECT count(mq.produce('subxact', i || repeat(' ', 500))) FROM generate_series(2001, 3000) i;
ROLLBACK TO s2;
SELECT count(mq.produce('subxact', i || repeat(' ', 500))) FROM generate_series(3001, 4000) i;
RELEASE s1;
SAVEPOINT s3;
SELECT count(mq.produce('subxact', i || repeat(' ', 500))) FROM generate_series(4001, 5000) i;
ROLLBACK TO s3;
SELECT count(mq.produce('subxact', i || repeat(' ', 500))) FROM generate_series(5001, 5010) i;
COMMIT;
RESET mq.transaction_buffer;
SELECT count(*), sum(trim(value)::int), min(trim(value)::int), max(trim(value)::int)
FROM mq.fetch_text('subxact', 0, :before, max_messages => 20000, max_bytes => 100000000);
SELECT bool_and(step > 0) AS in_order FROM (
	SELECT trim(value)::int - lag(trim(value)::int) OVER (ORDER BY msg_offset) AS step
	FROM mq.fetch_text('subxact', 0, :before, max_messages => 20000, max_bytes => 100000000)) s;

-- a topic made in a savepoint that is rolled back takes its messages along
BEGIN;
SAVEPOINT s1;
SELECT mq.create_topic('subxact.gone', 1);
SELECT mq.produce('subxact.gone', 'p');
ROLLBACK TO s1;
SELECT mq.produce('subxact.gone', 'p');
ROLLBACK;
BEGIN;
SAVEPOINT s1;
SELECT mq.create_topic('subxact.gone', 1);
SELECT mq.produce('subxact.gone', 'p');
ROLLBACK TO s1;
SELECT mq.create_topic('subxact.gone', 1);
SELECT mq.produce('subxact.gone', 'q');
COMMIT;
SELECT msg_offset, value FROM mq.fetch_text('subxact.gone');

SELECT mq.drop_topic(t) FROM unnest('{subxact,subxact.gone}'::text[]) t;
