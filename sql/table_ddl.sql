-- Topics made and altered by the server's own commands.
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT count(mq.drop_topic(name)) >= 0 AS none_left FROM mq_internal.topics;
CREATE SCHEMA shop;
CREATE ROLE regress_mq_table_owner;
CREATE ROLE regress_mq_table_other;
CREATE FUNCTION options(relation regclass) RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(option_name || '=' || option_value, ' ' ORDER BY option_name)
	   FROM pg_foreign_table, pg_options_to_table(ftoptions) WHERE ftrelid = relation $$;
CREATE VIEW made AS
	SELECT topic, relation, owner, partitions, partitions_retired, config FROM mq.topics ORDER BY topic;

-- made by hand
CREATE FOREIGN TABLE shop.orders (key text, value jsonb, order_id bigint OPTIONS (json 'id') CHECK (order_id > 0))
	SERVER mq OPTIONS (topic 'shop.orders', partitions '3', "segment.ms" '1000');
SELECT * FROM made;
SELECT partition FROM mq.produce('shop.orders', 'x', partition => 2);
SELECT count(*) FROM mq.fetch('shop.orders');
SELECT count(*) FROM mq.describe_topic('shop.orders');

-- what is not given is written down
CREATE FOREIGN TABLE plain (value bytea) SERVER mq;
SELECT options('plain');
SET mq.default_partitions = 4;
CREATE FOREIGN TABLE four (value bytea) SERVER mq OPTIONS (topic 'four.parts');
RESET mq.default_partitions;
SELECT options('four');
CREATE FOREIGN TABLE "not a topic" (value bytea) SERVER mq;
CREATE FOREIGN TABLE "Capitals-2" (value bytea) SERVER mq OPTIONS (partitions '2');
SELECT options('"Capitals-2"');
SET search_path = shop, public;
CREATE FOREIGN TABLE IF NOT EXISTS by_path (value bytea) SERVER mq;
CREATE FOREIGN TABLE IF NOT EXISTS by_path (value bytea) SERVER mq;
CREATE FOREIGN TABLE IF NOT EXISTS by_path (value bytea) SERVER mq OPTIONS (topic 'plain');
CREATE FOREIGN TABLE by_path (value bytea) SERVER mq OPTIONS (topic 'new.name');
RESET search_path;
SELECT * FROM made;
CREATE FOREIGN TABLE IF NOT EXISTS plain (value bytea) SERVER mq OPTIONS (nonsense 'x');

-- one relation for a topic
CREATE FOREIGN TABLE again (value bytea) SERVER mq OPTIONS (topic 'shop.orders');
CREATE FOREIGN TABLE IF NOT EXISTS again (value bytea) SERVER mq OPTIONS (topic 'shop.orders');
SELECT mq.create_topic('shop.orders');
SELECT mq.create_topic('shop.orders', if_not_exists => true);
BEGIN;
DROP FOREIGN TABLE shop.orders;
CREATE FOREIGN TABLE again (value bytea) SERVER mq OPTIONS (topic 'shop.orders');
SELECT topic, relation FROM made WHERE topic = 'shop.orders';
SELECT count(*) FROM mq.fetch('shop.orders');
ROLLBACK;
SELECT count(*) FROM mq.fetch('shop.orders');

-- bad options
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (topic 'a/b');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (topic '__consumer_offsets');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (partitions '0');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS ("segment.ms" '1 week');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (topic 't', topic 'u');
CREATE FOREIGN TABLE t (value bytea OPTIONS (xml 'x')) SERVER mq;
DO $$
BEGIN
	CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS ("no.such" 'x');
EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLERRM;
END $$;
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (partitions '3', retired '1,3');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (partitions '3', retired '0,1,2');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (partitions '3', retired '2,0');
CREATE FOREIGN TABLE t (value bytea) SERVER mq OPTIONS (partitions '3', retired '0,2');
SELECT * FROM made WHERE topic = 't';
DROP FOREIGN TABLE t;

-- what a topic cannot be
CREATE FOREIGN TABLE pg_temp.t (value bytea) SERVER mq;
SET search_path = pg_temp, public;
CREATE FOREIGN TABLE t (value bytea) SERVER mq;
RESET search_path;
CREATE TABLE parent (value bytea);
CREATE TABLE parted (value bytea) PARTITION BY LIST (value);
CREATE FOREIGN TABLE t () INHERITS (parent) SERVER mq;
CREATE FOREIGN TABLE t PARTITION OF parted DEFAULT SERVER mq;
CREATE FOREIGN TABLE t (value bytea) SERVER mq;
ALTER FOREIGN TABLE t INHERIT parent;
ALTER TABLE t INHERIT parted;
ALTER TABLE parent INHERIT t;
ALTER TABLE parted ATTACH PARTITION t DEFAULT;
CREATE TABLE child () INHERITS (t);
DO $$ BEGIN EXECUTE 'CREATE TABLE child () INHERITS (t)'; END $$;
CREATE SCHEMA elements CREATE TABLE child () INHERITS (public.t);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER r AFTER INSERT ON t EXECUTE FUNCTION nothing();
CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON t;
SET session_replication_role = replica;
CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE parent INHERIT t;
ALTER FOREIGN TABLE t OPTIONS (SET topic 'u');
CREATE FOREIGN TABLE again (value bytea) SERVER mq OPTIONS (topic 't');
CREATE FOREIGN TABLE replica (value bytea) SERVER mq;
SELECT topic FROM made WHERE topic = 'replica';
RESET session_replication_role;
DROP FOREIGN TABLE replica;

-- by another server of the wrapper, by a function, by a script of commands, by EXECUTE
CREATE SERVER mq_second FOREIGN DATA WRAPPER mq_fdw;
CREATE FOREIGN TABLE second (value bytea) SERVER mq_second OPTIONS (topic 'of.second');
CREATE FUNCTION make(name text) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE format('CREATE FOREIGN TABLE %I (value bytea) SERVER mq', name); END $$;
SELECT make('by_function');
DO $$ BEGIN CREATE FOREIGN TABLE by_do (value bytea) SERVER mq; END $$;
SELECT topic, relation FROM made WHERE topic ~ '^(of|by)';
DROP SERVER mq_second;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP SERVER mq_second CASCADE;
SELECT topic, relation FROM made WHERE topic ~ '^(of|by)';
ROLLBACK;
SELECT topic, relation FROM made WHERE topic ~ '^(of|by)';
SET client_min_messages = warning;
DROP SERVER mq_second CASCADE;
RESET client_min_messages;
SELECT topic, relation FROM made WHERE topic ~ '^(of|by)';

-- rolled back, in parts and as a whole
BEGIN;
CREATE FOREIGN TABLE gone (value bytea) SERVER mq;
SELECT partition FROM mq.produce('gone', 'x');
ROLLBACK;
BEGIN;
CREATE FOREIGN TABLE kept (value bytea) SERVER mq;
SAVEPOINT s;
CREATE FOREIGN TABLE gone (value bytea) SERVER mq;
ALTER FOREIGN TABLE kept RENAME TO renamed;
ALTER FOREIGN TABLE renamed OPTIONS (ADD "segment.ms" '5');
SELECT partition FROM mq.produce('gone', 'x');
ROLLBACK TO s;
SELECT partition FROM mq.produce('kept', 'x');
COMMIT;
SELECT topic, relation, config FROM made WHERE topic IN ('gone', 'kept');
SELECT count(*) FROM mq.fetch('kept');
SELECT * FROM mq.fetch('gone');

-- options
ALTER FOREIGN TABLE kept OPTIONS (ADD "segment.ms" '5', ADD "compression.type" 'lz4');
ALTER FOREIGN TABLE kept OPTIONS (SET "segment.ms" '6', DROP "compression.type");
SELECT options('kept');
ALTER TABLE kept OPTIONS (SET partitions '2');
ALTER FOREIGN TABLE kept OPTIONS (SET partitions '2');
SELECT mq.alter_topic('kept', '{"partitions": 3}');
SELECT mq.alter_topic('kept', '{"partitions": 3, "segment.ms": null}');
ALTER FOREIGN TABLE kept OPTIONS (SET partitions '2');
SELECT mq.alter_topic('kept', '{"partitions": 2}');
ALTER FOREIGN TABLE kept OPTIONS (DROP partitions);
SELECT mq.alter_topic('kept', '{"partitions": null}');
ALTER FOREIGN TABLE kept OPTIONS (SET partitions '1000000000');
ALTER FOREIGN TABLE kept OPTIONS (SET topic 'lost');
ALTER FOREIGN TABLE kept OPTIONS (DROP topic);
ALTER FOREIGN TABLE kept OPTIONS (ADD topic 'kept');
ALTER FOREIGN TABLE kept OPTIONS (ADD "no.such" 'x');
ALTER FOREIGN TABLE kept OPTIONS (ADD "segment.ms" '0');
ALTER FOREIGN TABLE kept OPTIONS (ADD retired '0');
SELECT mq.alter_topic('kept', '{"retired": "0"}');
CREATE FOREIGN TABLE part_retired (value bytea) SERVER mq OPTIONS (partitions '3', retired '1');
ALTER FOREIGN TABLE part_retired OPTIONS (DROP retired);
ALTER FOREIGN TABLE part_retired OPTIONS (SET retired '1,2');
ALTER FOREIGN TABLE part_retired OPTIONS (SET partitions '4');
SELECT * FROM made WHERE topic = 'part_retired';
-- one command of several steps stands or falls as a whole
ALTER FOREIGN TABLE kept OPTIONS (ADD "segment.ms" '7'), OPTIONS (SET partitions '4'), OPTIONS (SET partitions '1');
ALTER FOREIGN TABLE kept OPTIONS (SET partitions '4'), OPTIONS (SET partitions '5'), ADD COLUMN n int OPTIONS (json 'n');
SELECT options('kept');
DO $$
BEGIN
	ALTER FOREIGN TABLE kept OPTIONS (SET partitions '6');
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN NULL;
END $$;
SELECT partitions FROM made WHERE topic = 'kept';
BEGIN;
ALTER FOREIGN TABLE kept OPTIONS (SET partitions '6');
SELECT partition FROM mq.produce('kept', 'x', partition => 5);
ROLLBACK;
SELECT mq.produce('kept', 'x', partition => 5);

-- columns and constraints
ALTER FOREIGN TABLE kept ADD COLUMN order_id bigint OPTIONS (json 'id') NOT NULL DEFAULT 1;
ALTER FOREIGN TABLE kept RENAME COLUMN order_id TO number;
ALTER FOREIGN TABLE kept ALTER COLUMN number OPTIONS (SET json 'no');
ALTER FOREIGN TABLE kept ALTER COLUMN number OPTIONS (ADD xml 'no');
ALTER FOREIGN TABLE kept ALTER COLUMN number TYPE int, ALTER COLUMN number DROP DEFAULT, ALTER COLUMN number DROP NOT NULL;
ALTER FOREIGN TABLE kept ALTER COLUMN number SET STATISTICS 10;
ALTER FOREIGN TABLE kept ADD CONSTRAINT positive CHECK (number > 0) NOT VALID;
ALTER FOREIGN TABLE kept VALIDATE CONSTRAINT positive;
ALTER TABLE kept RENAME CONSTRAINT positive TO above_zero;
\d kept
ALTER FOREIGN TABLE kept DROP CONSTRAINT above_zero, DROP COLUMN number;
ALTER FOREIGN TABLE kept ALTER COLUMN n OPTIONS (DROP json);
ALTER FOREIGN TABLE kept DISABLE TRIGGER ALL;
BEGIN;
ALTER FOREIGN TABLE kept DROP COLUMN value;
SELECT partition >= 0 AS goes_on FROM mq.produce('kept', 'x');
ROLLBACK;
\d kept

-- columns that mean nothing
CREATE FOREIGN TABLE t2 (value bytea, msg_offset text) SERVER mq;
ALTER FOREIGN TABLE kept ADD COLUMN tags int;
ALTER FOREIGN TABLE kept RENAME COLUMN n TO partition;
ALTER FOREIGN TABLE kept RENAME COLUMN n TO headers;
ALTER TABLE kept RENAME n TO headers;
ALTER FOREIGN TABLE kept ALTER COLUMN value TYPE point;
BEGIN;
ALTER FOREIGN TABLE kept ADD COLUMN ts int, DROP COLUMN n;
ROLLBACK;
\d kept

CREATE FOREIGN TABLE no_value (key text, tags text[]) SERVER mq;
ALTER FOREIGN TABLE kept DROP COLUMN value, DROP COLUMN n;
CREATE TYPE short_lived AS ENUM ('a');
CREATE FOREIGN TABLE by_type (kind short_lived OPTIONS (json 'kind'), key text) SERVER mq;
ALTER FOREIGN TABLE by_type DROP COLUMN kind;
DO $$ BEGIN ALTER TABLE by_type DROP COLUMN kind CASCADE; END $$;

-- a drop is not refused, though it takes the only column for the value along
CREATE SCHEMA of_type;
ALTER TYPE short_lived SET SCHEMA of_type;
SELECT partition FROM mq.produce('by_type', '{"kind": "a"}', partition => 0);
SET client_min_messages = warning;
BEGIN;
DROP TYPE of_type.short_lived CASCADE;
ROLLBACK;
DROP SCHEMA of_type CASCADE;
RESET client_min_messages;
\d by_type
SELECT * FROM by_type;
INSERT INTO by_type VALUES ('x');
SELECT value FROM mq.fetch_text('by_type', 0);
ALTER FOREIGN TABLE by_type ADD COLUMN headers jsonb;
ALTER FOREIGN TABLE by_type ADD COLUMN value text;
SELECT * FROM by_type;
DROP FOREIGN TABLE by_type;

-- a dump gives columns their options after the table
SET check_function_bodies = off;
CREATE FOREIGN TABLE restored (id bigint, total numeric) SERVER mq;
ALTER FOREIGN TABLE restored ALTER COLUMN id OPTIONS (json 'id');
RESET check_function_bodies;
ALTER FOREIGN TABLE restored ALTER COLUMN id OPTIONS (SET json 'no');
ALTER FOREIGN TABLE restored ALTER COLUMN total OPTIONS (json 'total');
DROP FOREIGN TABLE restored;

-- several columns that mean nothing are mended by one command, or unchecked as well
SET check_function_bodies = off;
CREATE FOREIGN TABLE restored (value text, ident bigint, total numeric) SERVER mq;
RESET check_function_bodies;
SELECT * FROM restored;
ALTER FOREIGN TABLE restored ALTER COLUMN ident OPTIONS (json 'id');
ALTER FOREIGN TABLE restored RENAME COLUMN ident TO msg_offset;
BEGIN;
ALTER FOREIGN TABLE restored ALTER COLUMN ident OPTIONS (json 'id'), ALTER COLUMN total OPTIONS (json 'total');
ROLLBACK;
SET check_function_bodies = off;
ALTER FOREIGN TABLE restored RENAME COLUMN ident TO msg_offset;
RESET check_function_bodies;
ALTER FOREIGN TABLE restored DROP COLUMN total;
SELECT * FROM restored;
DROP FOREIGN TABLE restored;

-- name, schema, owner
ALTER FOREIGN TABLE kept RENAME TO kept_long;
SELECT topic, relation FROM made WHERE topic = 'kept';
SELECT count(*) FROM mq.fetch('kept');
ALTER TABLE kept_long SET SCHEMA shop;
ALTER TABLE shop.kept_long RENAME TO kept;
SELECT topic, relation FROM made WHERE topic = 'kept';
SELECT partition >= 0 AS goes_on FROM mq.produce('kept', 'y');
SET ROLE regress_mq_table_other;
SELECT mq.produce('kept', 'y');
RESET ROLE;
GRANT USAGE ON SCHEMA shop TO regress_mq_table_other;
GRANT INSERT, SELECT ON shop.kept TO regress_mq_table_other;
SET ROLE regress_mq_table_other;
SELECT partition >= 0 AS goes_on FROM mq.produce('kept', 'y');
SELECT mq.alter_topic('kept', '{"segment.ms": 1}');
ALTER FOREIGN TABLE shop.kept OPTIONS (ADD "segment.ms" '1');
ALTER FOREIGN TABLE shop.kept RENAME TO taken;
CREATE FOREIGN TABLE t2 (value bytea) SERVER mq;
RESET ROLE;
ALTER FOREIGN TABLE shop.kept OWNER TO regress_mq_table_owner;
COMMENT ON FOREIGN TABLE shop.kept IS 'kept';
COMMENT ON COLUMN shop.kept.value IS 'anything';
ALTER SCHEMA shop RENAME TO store;
SELECT topic, relation, owner FROM made WHERE topic = 'kept';
SET ROLE regress_mq_table_owner;
SELECT mq.alter_topic('kept', '{"segment.ms": 1}');
RESET ROLE;
GRANT USAGE ON SCHEMA store TO regress_mq_table_owner;
SET ROLE regress_mq_table_owner;
SELECT mq.alter_topic('kept', '{"segment.ms": 1}');
RESET ROLE;
REASSIGN OWNED BY regress_mq_table_owner TO regress_mq_table_other;
SELECT topic, relation, owner FROM made WHERE topic = 'kept';

-- who may make one
GRANT CREATE ON SCHEMA store TO regress_mq_table_owner;
SET ROLE regress_mq_table_owner;
CREATE FOREIGN TABLE store.mine (value bytea) SERVER mq;
-- those who may not hear nothing of others' topics
CREATE FOREIGN TABLE store.mine (value bytea) SERVER mq OPTIONS (topic 'plain');
CREATE FOREIGN TABLE IF NOT EXISTS store.mine (value bytea) SERVER mq OPTIONS (topic 'plain');
CREATE FOREIGN TABLE IF NOT EXISTS store.kept (value bytea) SERVER mq OPTIONS (topic 'plain');
SELECT mq.create_topic('mine');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER mq TO regress_mq_table_owner;
SET ROLE regress_mq_table_owner;
CREATE FOREIGN TABLE mq_topics.mine (value bytea) SERVER mq;
CREATE FOREIGN TABLE mq_topics.mine (value bytea) SERVER mq OPTIONS (topic 'plain');
CREATE FOREIGN TABLE store.mine (value bytea) SERVER mq OPTIONS (topic 'plain');
SELECT mq.create_topic('mine');
SELECT mq.create_topic('plain', if_not_exists => true);
CREATE FOREIGN TABLE store.mine (value bytea) SERVER mq;
RESET ROLE;
SELECT topic, relation, owner FROM made WHERE topic = 'mine';
BEGIN;
SET TRANSACTION READ ONLY;
CREATE FOREIGN TABLE t2 (value bytea) SERVER mq;
ROLLBACK;

-- names that want the same default relation, and a relation that is in the way
CREATE FOREIGN TABLE mq_topics.later (value bytea) SERVER mq OPTIONS (topic 'sooner');
SELECT mq.create_topic('later') <> 'mq_topics.later'::regclass AS other_name;
SELECT count(*) FROM made WHERE topic IN ('later', 'sooner');

-- what the catalogs show
SELECT foreign_table_schema, foreign_table_name, foreign_server_name FROM information_schema.foreign_tables
	WHERE foreign_table_schema = 'store' ORDER BY 2;
SELECT option_name, option_value FROM information_schema.foreign_table_options
	WHERE foreign_table_name = 'orders' ORDER BY 1;
SELECT column_name, option_value FROM information_schema.column_options WHERE table_name = 'orders';
\d+ store.orders
\det+ store.*

-- event triggers see the commands, and are no way around
CREATE FUNCTION sneak() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	IF tg_tag = 'ALTER FOREIGN TABLE' OR current_setting('my.deep', true) = 'yes' THEN
		RETURN;
	END IF;
	SET my.deep = 'yes';
	BEGIN
		EXECUTE 'ALTER FOREIGN TABLE public.part_retired OPTIONS (SET retired ''0'')';
	EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%: %: refused', tg_event, tg_tag;
	END;
	EXECUTE 'CREATE FOREIGN TABLE public.nested (value bytea) SERVER mq';
	EXECUTE 'DROP FOREIGN TABLE public.nested';
	RESET my.deep;
END $$;
CREATE EVENT TRIGGER sneak_start ON ddl_command_start EXECUTE FUNCTION sneak();
CREATE FOREIGN TABLE watched (value bytea) SERVER mq;
SELECT mq.create_topic('watched.too');
DROP EVENT TRIGGER sneak_start;
CREATE EVENT TRIGGER sneak_end ON ddl_command_end EXECUTE FUNCTION sneak();
CREATE FOREIGN TABLE watched_3 (value bytea) SERVER mq;
DROP EVENT TRIGGER sneak_end;
SELECT topic, relation FROM made WHERE topic ~ '^(watched|nested)';
CREATE FUNCTION mover() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
	command text;
BEGIN
	IF tg_tag <> 'CREATE FOREIGN TABLE' OR current_setting('my.deep', true) = 'yes' THEN
		RETURN;
	END IF;
	SET my.deep = 'yes';
	FOREACH command IN ARRAY string_to_array(current_setting('my.commands'), ' / ') LOOP
		BEGIN
			EXECUTE command;
		EXCEPTION WHEN duplicate_object THEN RAISE NOTICE '%', SQLERRM;
		END;
	END LOOP;
	RESET my.deep;
END $$;
CREATE EVENT TRIGGER mover ON ddl_command_end EXECUTE FUNCTION mover();
SET my.commands = 'ALTER FOREIGN TABLE public.moved SET SCHEMA store';
CREATE FOREIGN TABLE moved (value bytea) SERVER mq;
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq;
SET my.commands = 'ALTER FOREIGN TABLE public.moved RENAME TO renamed';
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq;
SET my.commands = 'ALTER SCHEMA store RENAME TO sold';
CREATE FOREIGN TABLE IF NOT EXISTS store.moved (value bytea) SERVER mq;
SET my.commands = 'DROP FOREIGN TABLE public.moved';
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq;
-- another in its place
SET my.commands = 'ALTER FOREIGN TABLE public.moved RENAME TO renamed / CREATE FOREIGN TABLE public.moved (value bytea) SERVER mq OPTIONS (topic ''placed'')';
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq;
SET my.commands = 'ALTER FOREIGN TABLE public.moved RENAME TO renamed / CREATE TABLE public.moved ()';
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq;
SELECT to_regclass('moved'), to_regclass('store.moved'), to_regclass('renamed');
-- what was there before stays what it is, whatever is made meanwhile
SET my.commands = 'CREATE FOREIGN TABLE public.moved (value bytea) SERVER mq';
CREATE FOREIGN TABLE IF NOT EXISTS plain (value bytea) SERVER mq;
SELECT topic, relation FROM made WHERE topic IN ('moved', 'plain');
DROP FOREIGN TABLE moved;
-- commands that fail within
SET my.commands = 'CREATE FOREIGN TABLE public.other (value bytea) SERVER mq OPTIONS (topic ''plain'') / DO $do$ BEGIN PERFORM mq.create_topic(''plain''); END $do$ / CREATE TABLE public.in_between ()';
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq;
DROP TABLE in_between;
DROP EVENT TRIGGER mover;
CREATE EVENT TRIGGER mover ON ddl_command_start EXECUTE FUNCTION mover();
CREATE FOREIGN TABLE IF NOT EXISTS moved_2 (value bytea) SERVER mq;
SELECT topic, relation FROM made WHERE topic LIKE 'moved%';
DROP FOREIGN TABLE moved, moved_2;
DROP TABLE in_between;
DROP EVENT TRIGGER mover;
-- what was there is not when the server looks
CREATE FOREIGN TABLE moved (value bytea) SERVER mq OPTIONS (topic 'moved.old');
CREATE EVENT TRIGGER mover ON ddl_command_start EXECUTE FUNCTION mover();
SET my.commands = 'DROP FOREIGN TABLE public.moved';
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq OPTIONS (topic 'plain');
BEGIN;
CREATE FOREIGN TABLE IF NOT EXISTS moved (value bytea) SERVER mq OPTIONS (topic 'moved.new');
SELECT count(*) AS claimed FROM pg_locks
	WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'mq_internal.topics'::regclass AND mode = 'ExclusiveLock';
SELECT topic, relation FROM made WHERE topic LIKE 'moved%';
COMMIT;
DROP EVENT TRIGGER mover;
DROP FOREIGN TABLE moved;
SELECT ftrelid::regclass AS half_a_topic FROM pg_foreign_table WHERE ftrelid NOT IN (SELECT relation FROM mq_internal.topics);

-- a view of a topic keeps it, CASCADE does not
CREATE VIEW seen AS SELECT value FROM t;
SELECT mq.drop_topic('t');
BEGIN;
SET LOCAL client_min_messages = warning;
DROP SCHEMA store CASCADE;
SELECT topic, relation FROM made;
ROLLBACK;
SELECT count(*) FROM made WHERE relation::text LIKE 'store.%';
SET client_min_messages = warning;
DROP OWNED BY regress_mq_table_other CASCADE;
DROP OWNED BY regress_mq_table_owner CASCADE;
SELECT topic, relation FROM made WHERE relation::text LIKE 'store.%';
DROP SCHEMA store CASCADE;
DROP VIEW seen;
SELECT name, relation::regclass FROM mq_internal.topics WHERE relation NOT IN (SELECT ftrelid FROM pg_foreign_table);
SELECT topic FROM made;
SELECT count(mq.drop_topic(topic)) FROM mq.topics;
DROP TABLE parent, parted;
DROP VIEW made;
DROP FUNCTION options(regclass), make(text), nothing(), sneak(), mover();
DROP ROLE regress_mq_table_owner, regress_mq_table_other;
