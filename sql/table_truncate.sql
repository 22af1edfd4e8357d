-- TRUNCATE of topics: all or none, and a warning wherever a ROLLBACK might be hoped for.
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT count(mq.drop_topic(name)) >= 0 AS none_left FROM mq_internal.topics;
SET mq.default_partitions = 2;
CREATE SERVER mq_second FOREIGN DATA WRAPPER mq_fdw;
CREATE FOREIGN TABLE a (value text) SERVER mq;
CREATE FOREIGN TABLE b (value text) SERVER mq;
CREATE FOREIGN TABLE c (value text) SERVER mq_second;
CREATE TABLE plain (i int);
CREATE VIEW counts AS SELECT (SELECT count(*) FROM a) AS a, (SELECT count(*) FROM b) AS b,
	(SELECT count(*) FROM c) AS c, (SELECT count(*) FROM plain) AS plain;
CREATE PROCEDURE fill() LANGUAGE sql AS $$
	INSERT INTO a SELECT i::text FROM generate_series(1, 5) i;
	INSERT INTO b SELECT i::text FROM generate_series(1, 5) i;
	INSERT INTO c SELECT i::text FROM generate_series(1, 5) i;
	INSERT INTO plain VALUES (1) $$;

-- by itself: no warning
CALL fill();
TRUNCATE a;
SELECT * FROM counts;
TRUNCATE b, plain, c;
SELECT * FROM counts;
TRUNCATE a, b;

-- in a block, in functions, in several commands sent at once
CALL fill();
BEGIN;
TRUNCATE a;
ROLLBACK;
CREATE FUNCTION truncate_a() RETURNS void LANGUAGE plpgsql AS $$ BEGIN TRUNCATE a; RAISE division_by_zero; END $$;
CREATE FUNCTION truncate_b() RETURNS void LANGUAGE sql AS 'TRUNCATE b';
CALL fill();
SELECT truncate_a();
SELECT truncate_b();
SELECT * FROM counts;
DO $$ BEGIN TRUNCATE c; END $$;
CALL fill();
SELECT 1 AS one \; TRUNCATE b;
SELECT * FROM counts;

-- what it deletes is what readers see
BEGIN;
INSERT INTO a VALUES ('mine');
TRUNCATE a;
COMMIT;
SELECT value FROM a;

-- not what a command deletes that fails of something else
CALL fill();
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER refuse AFTER TRUNCATE ON plain EXECUTE FUNCTION refuse();
TRUNCATE a, plain, b, c;
SELECT count(*) FROM plain;
SELECT a > 0 AS a, b > 0 AS b, c > 0 AS c FROM counts;
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN TRUNCATE b; RETURN NULL; END $$;
TRUNCATE a, plain;
SELECT * FROM counts;
BEGIN;
SAVEPOINT s;
TRUNCATE c, nowhere;
ROLLBACK TO s;
COMMIT;
SELECT c FROM counts;

DROP VIEW counts;
DROP PROCEDURE fill();
DROP TABLE plain;
DROP FUNCTION truncate_a(), truncate_b(), refuse();
DROP FOREIGN TABLE a, b, c;
DROP SERVER mq_second;
RESET mq.default_partitions;
