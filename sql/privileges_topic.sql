-- Who may create, change, drop, describe and use topics.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE ROLE regress_mq_admin;
CREATE ROLE regress_mq_writer;
CREATE ROLE regress_mq_reader;
CREATE ROLE regress_mq_nobody;
CREATE ROLE "regress_mq Odd";
CREATE ROLE regress_mq_monitor IN ROLE pg_monitor;

-- creating needs CREATE on the schema and USAGE on the server
SET ROLE regress_mq_admin;
SELECT mq.create_topic('orders');
RESET ROLE;
GRANT CREATE ON SCHEMA mq_topics TO regress_mq_admin;
SET ROLE regress_mq_admin;
SELECT mq.create_topic('orders');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER mq TO regress_mq_admin;
SET ROLE regress_mq_admin;
SELECT mq.create_topic('orders', 2);
SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'mq_topics.orders'::regclass;
RESET ROLE;

-- nothing is granted to others
SET ROLE regress_mq_nobody;
SELECT mq.create_topic('orders', if_not_exists => true);
SELECT mq.alter_topic('orders', '{"segment.ms": 1}');
SELECT mq.add_partitions('orders', 1);
SELECT mq.drop_topic('orders');
SELECT mq.describe_topic('orders');
SELECT mq.topic_config('orders');
SELECT mq.produce('orders', 'x');
SELECT * FROM mq.fetch('orders');
SELECT * FROM mq_internal.topics;
DROP FOREIGN TABLE mq_topics.orders;
RESET ROLE;
SET ROLE "regress_mq Odd";
SELECT mq.produce('orders', 'x');
RESET ROLE;

-- INSERT is produce, SELECT is fetch
SET ROLE regress_mq_admin;
GRANT INSERT ON mq_topics.orders TO regress_mq_writer;
GRANT SELECT ON mq_topics.orders TO regress_mq_reader;
SET ROLE regress_mq_writer;
SELECT mq.produce('orders', 'x', partition => 1);
SELECT * FROM mq.fetch('orders');
SELECT mq.describe_topic('orders');
SELECT mq.alter_topic('orders', '{}');
SET ROLE regress_mq_reader;
SELECT value FROM mq.fetch_text('orders');
SELECT partition, last_stable_offset FROM mq.describe_topic('orders');
SELECT count(*) FROM mq.topic_config('orders');
SELECT mq.produce('orders', 'x');
SELECT mq.drop_topic('orders');
SET ROLE regress_mq_monitor;
SELECT partition, last_stable_offset FROM mq.describe_topic('orders');
SELECT * FROM mq.fetch('orders');
RESET ROLE;

-- a cached check follows what is revoked, within one session and role
SET ROLE regress_mq_writer;
SELECT mq.produce('orders', 'y', partition => 1);
RESET ROLE;
REVOKE INSERT ON mq_topics.orders FROM regress_mq_writer;
SET ROLE regress_mq_writer;
SELECT mq.produce('orders', 'y', partition => 1);
RESET ROLE;
CREATE ROLE regress_mq_group;
GRANT INSERT ON mq_topics.orders TO regress_mq_group;
GRANT regress_mq_group TO regress_mq_writer;
SET ROLE regress_mq_writer;
SELECT mq.produce('orders', 'z', partition => 1);
RESET ROLE;
REVOKE regress_mq_group FROM regress_mq_writer;
SET ROLE regress_mq_writer;
SELECT mq.produce('orders', 'z', partition => 1);
RESET ROLE;

-- SECURITY DEFINER functions act as their owner
CREATE FUNCTION log_order(v text) RETURNS int LANGUAGE sql SECURITY DEFINER
	AS $$ SELECT (mq.produce('orders', v, partition => 0)).partition $$;
SET ROLE regress_mq_nobody;
SELECT log_order('through the function');
SELECT mq.produce('orders', 'directly');
RESET ROLE;

-- the owner keeps what ownership gives, and a new owner gets it
SET ROLE regress_mq_admin;
REVOKE ALL ON mq_topics.orders FROM regress_mq_admin;
SELECT mq.produce('orders', 'x');
SELECT count(*) FROM mq.describe_topic('orders');
SELECT mq.alter_topic('orders', '{"segment.ms": 100000}');
RESET ROLE;
ALTER FOREIGN TABLE mq_topics.orders OWNER TO regress_mq_nobody;
SET ROLE regress_mq_admin;
SELECT mq.alter_topic('orders', '{"segment.ms": 100001}');
SET ROLE regress_mq_nobody;
SELECT mq.alter_topic('orders', '{"segment.ms": 100001}');
SELECT mq.drop_topic('orders');
RESET ROLE;

-- objects of the extension that are not for everybody
SELECT n.nspname, has_schema_privilege('regress_mq_reader', n.oid, 'USAGE') AS usage,
	has_schema_privilege('regress_mq_reader', n.oid, 'CREATE') AS create
	FROM pg_namespace n WHERE n.nspname LIKE 'mq%' ORDER BY 1;
SELECT has_server_privilege('regress_mq_reader', 'mq', 'USAGE') AS server,
	has_foreign_data_wrapper_privilege('regress_mq_reader', 'mq_fdw', 'USAGE') AS wrapper;
SELECT c.oid::regclass, r.rolname, p.priv FROM pg_class c, pg_roles r, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p(priv)
	WHERE c.relnamespace = 'mq_internal'::regnamespace AND c.relkind = 'r' AND r.rolname LIKE 'regress_mq%'
	AND has_table_privilege(r.rolname, c.oid, p.priv);

DROP FUNCTION log_order(text);
DROP OWNED BY regress_mq_admin, regress_mq_writer, regress_mq_reader, regress_mq_nobody,
	regress_mq_monitor, regress_mq_group, "regress_mq Odd";
DROP ROLE regress_mq_admin, regress_mq_writer, regress_mq_reader, regress_mq_nobody,
	regress_mq_monitor, regress_mq_group, "regress_mq Odd";
