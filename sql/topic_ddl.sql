-- What becomes of a topic: event triggers, grants, every way to drop.  Made and
-- altered by hand: see table_ddl.sql.
\set VERBOSITY default
\set SHOW_CONTEXT never
-- other tests may have left some
SELECT count(mq.drop_topic(name)) >= 0 AS none_left FROM mq_internal.topics;
CREATE ROLE regress_mq_ddl_owner;
CREATE ROLE regress_mq_ddl_other;
SELECT mq.create_topic('orders', 2);
SELECT mq.create_topic('other.topic');

-- servers and mappings
CREATE SERVER mq_second FOREIGN DATA WRAPPER mq_fdw;
IMPORT FOREIGN SCHEMA public FROM SERVER mq INTO public;
CREATE SERVER mq_third FOREIGN DATA WRAPPER mq_fdw OPTIONS (host 'x');
ALTER SERVER mq OPTIONS (ADD host 'x');
CREATE USER MAPPING FOR regress_mq_ddl_owner SERVER mq OPTIONS (password 'x');
CREATE USER MAPPING FOR regress_mq_ddl_owner SERVER mq;
DROP USER MAPPING FOR regress_mq_ddl_owner SERVER mq;
DROP SERVER mq_second;

-- event triggers see commands
CREATE FUNCTION report() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR r IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
		RAISE NOTICE '% %', r.command_tag, r.object_identity;
	END LOOP;
END $$;
CREATE EVENT TRIGGER report_end ON ddl_command_end EXECUTE FUNCTION report();
SELECT mq.create_topic('reported');
SELECT mq.add_partitions('reported', 1);
DROP EVENT TRIGGER report_end;
SELECT mq.drop_topic('reported');

-- a refused command leaves nothing open for the next
DO $$
BEGIN
	BEGIN
		PERFORM mq.create_topic('fails', config => '{"segment.ms": 0}');
	EXCEPTION WHEN invalid_parameter_value THEN NULL;
	END;
	PERFORM mq.create_topic('fails');
	PERFORM mq.drop_topic('fails');
END $$;
CREATE TABLE mq_topics.fails ();
BEGIN;
SELECT mq.create_topic('fails') AS second_choice \gset
ROLLBACK;
CREATE TABLE :second_choice ();
DO $$
BEGIN
	PERFORM mq.create_topic('fails');
EXCEPTION WHEN duplicate_table THEN RAISE NOTICE '%', SQLSTATE;
END $$;
DROP TABLE mq_topics.fails, :second_choice;
SELECT name FROM mq_internal.topics ORDER BY name;

-- what works
COMMENT ON FOREIGN TABLE mq_topics.orders IS 'orders of the day';
COMMENT ON COLUMN mq_topics.orders.value IS 'JSON';
GRANT INSERT, SELECT ON mq_topics.orders TO regress_mq_ddl_other;
GRANT SELECT (value) ON mq_topics.orders TO regress_mq_ddl_owner;
REVOKE SELECT ON mq_topics.orders FROM regress_mq_ddl_other;
ALTER FOREIGN TABLE mq_topics.orders OWNER TO regress_mq_ddl_other;
ALTER TABLE mq_topics.other_topic OWNER TO regress_mq_ddl_other;
REASSIGN OWNED BY regress_mq_ddl_other TO regress_mq_ddl_owner;
SELECT relname, pg_get_userbyid(relowner), relacl, obj_description(oid, 'pg_class')
	FROM pg_class WHERE relname IN ('orders', 'other_topic') ORDER BY 1;
ALTER DEFAULT PRIVILEGES IN SCHEMA mq_topics GRANT INSERT ON TABLES TO regress_mq_ddl_other;
SELECT mq.create_topic('granted');
SELECT has_table_privilege('regress_mq_ddl_other', 'mq_topics.granted', 'INSERT');
ALTER DEFAULT PRIVILEGES IN SCHEMA mq_topics REVOKE INSERT ON TABLES FROM regress_mq_ddl_other;

-- every way to drop
SELECT mq.create_topic('drop.' || i) FROM generate_series(1, 4) i;
DROP FOREIGN TABLE mq_topics.drop_1;
DROP FOREIGN TABLE mq_topics.drop_2, mq_topics.drop_3;
BEGIN;
DROP FOREIGN TABLE mq_topics.drop_4;
SELECT name FROM mq_internal.topics ORDER BY name;
ROLLBACK;
SELECT name FROM mq_internal.topics ORDER BY name;
DROP OWNED BY regress_mq_ddl_owner;
SELECT name FROM mq_internal.topics ORDER BY name;
DROP SERVER mq;
BEGIN;
SET client_min_messages = warning;
DROP SCHEMA mq_topics;
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION mq_ext;
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION mq_ext CASCADE;
SELECT count(*) FROM pg_foreign_table;
ROLLBACK;
SELECT name FROM mq_internal.topics ORDER BY name;
SELECT mq.produce('granted', 'from before');
BEGIN;
SAVEPOINT s;
SET LOCAL client_min_messages = warning;
DROP EXTENSION mq_ext CASCADE;
ROLLBACK TO s;
SELECT count(*) FROM mq.describe_topic('granted');
SELECT mq.produce('granted', 'still here');
COMMIT;
SELECT value FROM mq.fetch_text('granted');
SET client_min_messages = warning;
DROP EXTENSION mq_ext CASCADE;
RESET client_min_messages;
SELECT count(*) FROM pg_foreign_table;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'mq%' ORDER BY 1;

-- a schema that is somebody's
CREATE TABLE mq.mine ();
CREATE EXTENSION mq_ext;
DROP TABLE mq.mine;
CREATE FUNCTION mq.fetch() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION mq_ext;
DROP FUNCTION mq.fetch();
ALTER SCHEMA mq OWNER TO regress_mq_ddl_other;
CREATE EXTENSION mq_ext;
ALTER SCHEMA mq OWNER TO CURRENT_USER;
CREATE SCHEMA mq_internal CREATE TABLE topics (a int, b text);
CREATE EXTENSION mq_ext;
CREATE FOREIGN DATA WRAPPER regress_mq_ddl_plain;
CREATE SERVER regress_mq_ddl_plain FOREIGN DATA WRAPPER regress_mq_ddl_plain;
CREATE FOREIGN TABLE plain (a int) SERVER regress_mq_ddl_plain;
ALTER FOREIGN TABLE plain ADD COLUMN b int;
DROP FOREIGN TABLE plain;
DROP FOREIGN DATA WRAPPER regress_mq_ddl_plain CASCADE;
DROP SCHEMA mq_internal CASCADE;
CREATE EXTENSION mq_ext;
SELECT mq.create_topic('granted');
SELECT * FROM mq.fetch('granted');
SELECT mq.drop_topic('granted');

DROP FUNCTION report();
DROP OWNED BY regress_mq_ddl_owner, regress_mq_ddl_other;
DROP ROLE regress_mq_ddl_owner, regress_mq_ddl_other;
