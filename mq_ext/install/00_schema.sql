-- 00_schema.sql: what must be there before the first function: the check of
-- the server, schemas, types, the foreign-data wrapper, the table of topics.
-- Schema mq itself is made by CREATE EXTENSION.

-- Refuses a server without the library, and a schema mq that is somebody's.
CREATE FUNCTION @extschema@.check_install() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mq_sql_check_install';
SELECT @extschema@.check_install();
DROP FUNCTION @extschema@.check_install();

CREATE SCHEMA mq_topics;
COMMENT ON SCHEMA mq_topics IS 'relations of topics; CREATE here and USAGE on server mq let a role create topics';
CREATE SCHEMA mq_internal;
COMMENT ON SCHEMA mq_internal IS 'mq_ext''s own; not for users';

REVOKE ALL ON SCHEMA mq_internal FROM PUBLIC;
GRANT USAGE ON SCHEMA mq TO PUBLIC;
GRANT USAGE ON SCHEMA mq_topics TO PUBLIC;

-- Types

CREATE TYPE mq.position AS (topic text, partition int, msg_offset bigint);
COMMENT ON TYPE mq.position IS 'a place in a partition: the next offset to read';

CREATE TYPE mq.message AS (
	topic text, partition int, msg_offset bigint, ts timestamptz,
	key bytea, value bytea, headers jsonb, tags text[]
);
COMMENT ON TYPE mq.message IS 'a message as stored';

CREATE TYPE mq.message_text AS (
	topic text, partition int, msg_offset bigint, ts timestamptz,
	key text, value text, headers jsonb, tags text[]
);
COMMENT ON TYPE mq.message_text IS 'a message whose key and value are text';

CREATE TYPE mq.message_json AS (
	topic text, partition int, msg_offset bigint, ts timestamptz,
	key text, value jsonb, headers jsonb, tags text[]
);
COMMENT ON TYPE mq.message_json IS 'a message whose key is text and whose value is JSON';

CREATE TYPE mq.produced AS (partition int, msg_offset bigint);
COMMENT ON TYPE mq.produced IS 'where a message went; the offset is null while the transaction is open';

CREATE TYPE mq.produced_range AS (partition int, base_offset bigint, n int);
COMMENT ON TYPE mq.produced_range IS 'where n messages went; the offset is null while the transaction is open';

CREATE TYPE mq.offset_info AS (
	topic text, partition int, earliest bigint, latest bigint, last_stable bigint, max_ts timestamptz
);
COMMENT ON TYPE mq.offset_info IS 'offsets of a partition: log start, high watermark, last stable offset';

-- The foreign-data wrapper: a topic's relation is a foreign table.

CREATE FUNCTION mq_internal.mq_fdw_handler() RETURNS fdw_handler
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'mq_sql_fdw_handler';
COMMENT ON FUNCTION mq_internal.mq_fdw_handler() IS 'handler of foreign-data wrapper mq_fdw';
CREATE FUNCTION mq_internal.mq_fdw_validator(text[], oid) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'mq_sql_fdw_validator';
COMMENT ON FUNCTION mq_internal.mq_fdw_validator(text[], oid) IS 'validator of foreign-data wrapper mq_fdw';
REVOKE ALL ON FUNCTION mq_internal.mq_fdw_handler() FROM PUBLIC;
REVOKE ALL ON FUNCTION mq_internal.mq_fdw_validator(text[], oid) FROM PUBLIC;

CREATE FOREIGN DATA WRAPPER mq_fdw
	HANDLER mq_internal.mq_fdw_handler VALIDATOR mq_internal.mq_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER mq_fdw IS 'topics of mq_ext';
CREATE SERVER mq FOREIGN DATA WRAPPER mq_fdw;
COMMENT ON SERVER mq IS 'the topics of this database; USAGE lets a role create topics';

-- Identity of topics.  Read and written by the library alone, by column number.

CREATE TABLE mq_internal.topics (
	relation oid CONSTRAINT topics_pkey PRIMARY KEY,
	topic_id uuid NOT NULL CONSTRAINT topics_topic_id_key UNIQUE,
	name text COLLATE "C" NOT NULL CONSTRAINT topics_name_key UNIQUE,
	database_oid oid NOT NULL,
	ever_written boolean NOT NULL,
	created_at timestamptz NOT NULL
);
COMMENT ON TABLE mq_internal.topics IS 'which folder of pg_mq belongs to which topic';
COMMENT ON COLUMN mq_internal.topics.relation IS 'the topic''s foreign table';
COMMENT ON COLUMN mq_internal.topics.topic_id IS 'name of the folder';
COMMENT ON COLUMN mq_internal.topics.name IS 'the topic''s name, also an option of the foreign table';
COMMENT ON COLUMN mq_internal.topics.database_oid IS 'the database that the folder belongs to; another one than this after CREATE DATABASE ... TEMPLATE';
COMMENT ON COLUMN mq_internal.topics.ever_written IS 'true once a transaction with messages has committed: the folder must be there';
COMMENT ON COLUMN mq_internal.topics.created_at IS 'when the topic was created';
REVOKE ALL ON TABLE mq_internal.topics FROM PUBLIC;
