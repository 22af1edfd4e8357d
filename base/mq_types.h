/*
 * mq_types.h
 *	  The words every room uses: offsets, partitions, timestamps, keys.
 *
 * No functions but comparisons; nothing here knows files, locks or SQL.
 */
#ifndef MQ_TYPES_H
#define MQ_TYPES_H

#include "utils/uuid.h"

/* A record's number in its partition.  A place in a file is a "position". */
typedef int64 MqOffset;

#define MQ_INVALID_OFFSET	((MqOffset) -1)

/* Milliseconds since the Unix epoch, as Kafka counts. */
typedef int64 MqTimestamp;

#define MQ_NO_TIMESTAMP		((MqTimestamp) -1)

/* Leader epoch: the timeline less one on a single node. */
typedef int32 MqEpoch;

/* Names one partition of one topic of one database, in memory and in WAL. */
typedef struct MqLogKey
{
	Oid			dboid;
	int32		partition;
	pg_uuid_t	topic;
} MqLogKey;

/* Kafka's limit on a topic name, and ours on the number of partitions. */
#define MQ_MAX_TOPIC_NAME	249
#define MQ_MAX_PARTITIONS	16384

/* Hard cap on one record batch: one batch is one WAL record. */
#define MQ_MAX_BATCH_BYTES	(16 * 1024 * 1024)

#endif							/* MQ_TYPES_H */
