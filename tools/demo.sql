-- An extension, a topic of four partitions, and a table.
CREATE EXTENSION mq_ext;
SELECT mq.create_topic('dpkg', partitions => 4);
CREATE TABLE lines (no int PRIMARY KEY, ts timestamptz NOT NULL, package text, line text NOT NULL);

-- The input: one row per line, with its time and the package it speaks of.
CREATE TEMP TABLE raw (no int GENERATED ALWAYS AS IDENTITY, line text NOT NULL);
\copy raw (line) FROM 'input.txt'
CREATE TEMP TABLE input AS
SELECT no,
       coalesce(max(substring(line FROM '^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d')::timestamptz) OVER (ORDER BY no),
                timestamptz '2000-01-01' + no * interval '1 second') AS ts,
       substring(line FROM ' ([a-z0-9][a-z0-9+.-]+):[a-z0-9]+( |$)') AS package,
       line
FROM raw;

-- Rows and messages in one transaction: both appear when it commits.
BEGIN;
INSERT INTO lines SELECT * FROM input WHERE no <= 1000;
SELECT count(mq.produce('dpkg', line, key => package, ts => ts)) AS produced FROM input WHERE no <= 1000;
COMMIT;

-- After a rollback neither is there.
BEGIN;
INSERT INTO lines SELECT * FROM input WHERE no BETWEEN 1001 AND 2000;
SELECT count(mq.produce('dpkg', line, key => package, ts => ts)) AS produced FROM input WHERE no BETWEEN 1001 AND 2000;
ROLLBACK;
SELECT (SELECT count(*) FROM lines) AS rows, (SELECT sum(latest - earliest) FROM mq.offsets('dpkg')) AS offsets;

-- The rest, in transactions of 1000 lines.
DO $$
DECLARE
    block int := 1;
BEGIN
    WHILE EXISTS (SELECT FROM input WHERE no > block * 1000) LOOP
        INSERT INTO lines SELECT * FROM input WHERE (no - 1) / 1000 = block;
        PERFORM mq.produce('dpkg', line, key => package, ts => ts) FROM input WHERE (no - 1) / 1000 = block;
        COMMIT;
        block := block + 1;
    END LOOP;
END $$;
SELECT topic, relation, owner, partitions, messages_estimate FROM mq.topics;
SELECT partition, log_start_offset, last_stable_offset, log_end_offset, segments, size_bytes FROM mq.partitions ORDER BY 1;

-- By offset: five messages from the middle of partition 2.
SELECT (earliest + latest) / 2 AS middle FROM mq.offsets('dpkg', 2) \gset
SELECT msg_offset, ts, key, left(value, 60) AS value
FROM mq.fetch_text('dpkg', 2, from_offset => :middle, max_messages => 5);

-- By time: the later half of the log, from the topic and from the table.
SELECT ts AS since FROM lines ORDER BY no OFFSET (SELECT count(*) / 2 FROM lines) LIMIT 1 \gset
SELECT partition, mq.offset_at('dpkg', partition, :'since') AS from_offset FROM mq.offsets('dpkg') ORDER BY 1;
SELECT (SELECT count(*) FROM lines WHERE ts >= :'since') AS rows,
       (SELECT count(*)
        FROM mq.offsets('dpkg') o,
             LATERAL (SELECT mq.offset_at('dpkg', o.partition, :'since') AS first) a,
             LATERAL mq.fetch_text('dpkg', o.partition, a.first, max_messages => 1000000, max_bytes => 100000000) m
        WHERE a.first IS NOT NULL) AS messages;

-- Replayed from the beginning: the topic holds what the table holds.
CREATE TABLE replayed AS
SELECT m.*
FROM mq.offsets('dpkg') o,
     LATERAL mq.fetch_text('dpkg', o.partition, o.earliest, max_messages => 1000000, max_bytes => 100000000) m;
SELECT (SELECT count(*) FROM lines) AS rows, (SELECT count(*) FROM replayed) AS messages;
SELECT count(*) AS differences
FROM ((SELECT ts, package, line FROM lines EXCEPT ALL SELECT ts, key, value FROM replayed)
      UNION ALL
      (SELECT ts, key, value FROM replayed EXCEPT ALL SELECT ts, package, line FROM lines)) d;

DO $$
BEGIN
    ASSERT (SELECT count(*) FROM lines) = (SELECT count(*) FROM replayed), 'counts differ';
    ASSERT NOT EXISTS (SELECT ts, package, line FROM lines EXCEPT ALL SELECT ts, key, value FROM replayed), 'contents differ';
END $$;
