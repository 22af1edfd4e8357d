-- 60_verify.sql: is a log sound, and how far has long work come

CREATE FUNCTION mq.verify(topic text DEFAULT NULL, part int DEFAULT NULL)
	RETURNS TABLE (topic_name text, partition int, base_offset bigint, status text,
	bad_offset bigint, detail text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 100000 ROWS 100
	AS 'MODULE_PATHNAME', 'mq_sql_verify';
COMMENT ON FUNCTION mq.verify(text, int)
	IS 'read every byte of a topic''s log, or of all topics, and say what is damaged';

CREATE FUNCTION mq_internal.list_progress()
	RETURNS TABLE (pid int, operation text, topic text, partition int, phase text, done bigint,
	total bigint, started_at timestamptz)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 10
	AS 'MODULE_PATHNAME', 'mq_sql_list_progress';
COMMENT ON FUNCTION mq_internal.list_progress()
	IS 'long work on topics that the caller may see, for mq.stat_progress';

CREATE VIEW mq.stat_progress AS
SELECT pid, operation, topic, partition, phase, done, total, started_at
FROM mq_internal.list_progress();
COMMENT ON VIEW mq.stat_progress
	IS 'long work on topics that is going on: done and total are bytes';

GRANT SELECT ON mq.stat_progress TO PUBLIC;
