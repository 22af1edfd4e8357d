/*
 * mq_produce.h
 *	  Choose a partition and put a record where the transaction keeps it.
 */
#ifndef MQ_PRODUCE_H
#define MQ_PRODUCE_H

#include "broker/mq_topic.h"
#include "storage/mq_batch.h"

#define MQ_PARTITION_ANY	(-1)

/* (murmur2(key) & 0x7fffffff) % partitions, as Kafka's Java client; counted among those not retired */
extern int32 mq_produce_partition_for(const MqTopic *topic, const uint8 *key, int32 key_len);

/*
 * Buffers one record for commit; partition MQ_PARTITION_ANY = by key, sticky
 * when the key is null; timestamp MQ_NO_TIMESTAMP = now.  Returns the
 * partition.  The caller has refused read-only transactions and standbys.
 * Raises 54000 (too large), 55000 (transaction is being committed, or
 * settling lags).  Statistics count calls: what a call has besides its first
 * record goes through mq_produce_further().
 */
extern int32 mq_produce_record(MqTopic *topic, MqRecord *record, int32 partition);
extern int32 mq_produce_further(MqTopic *topic, MqRecord *record, int32 partition);

/*
 * Appends the records now, in one batch or several per partition, and
 * flushes: they survive a rollback.  positions[i] receives partition and
 * offset of records[i].  Raises 0A000 for a topic made by this transaction.
 */
typedef struct MqProduced
{
	int32		partition;
	MqOffset	offset;
} MqProduced;

extern void mq_produce_now(MqTopic *topic, MqRecord *records, const int32 *partitions,
						   int n, MqProduced *positions);

/* The ranges of this session's last committed produce; lives until the next one. */
typedef struct MqProducedRange
{
	char		topic[MQ_MAX_TOPIC_NAME + 1];
	int32		partition;
	MqOffset	base;
	MqOffset	last;
} MqProducedRange;

extern const MqProducedRange *mq_produce_last(int *n);

#endif							/* MQ_PRODUCE_H */
