/*
 * mq_xact.h
 *	  What a transaction has pending: records, creations and drops.
 *
 * Owns the transaction and subtransaction callbacks, registered once.
 */
#ifndef MQ_XACT_H
#define MQ_XACT_H

#include "broker/mq_builder.h"
#include "broker/mq_produce.h"
#include "broker/mq_topic.h"

/* called by mq_produce */
extern void mq_xact_add_record(const MqTopic *topic, int32 partition, const MqRecord *record);
extern void mq_xact_count_call(void);	/* after the first record of a call */
extern void mq_xact_append_now(MqBuilder **builders, int n);	/* flushed and published on return */
extern const MqProducedRange *mq_xact_last_produced(int *n);

/* called by mq_xact_topics: the memory that is forgotten with the transaction */
extern MemoryContext mq_xact_begin(void);
extern void mq_xact_require_open(void); /* 55000 once the transaction is being committed or prepared */
extern bool mq_xact_has_pending(const pg_uuid_t *topic);

/* called by _PG_init */
extern void mq_xact_init(void);

#endif							/* MQ_XACT_H */
