/*
 * mq_fate.h
 *	  What became of the transaction that wrote a batch.
 */
#ifndef MQ_FATE_H
#define MQ_FATE_H

#include "storage/mq_batches.h"

typedef enum MqFate
{
	MQ_FATE_IN_DOUBT,
	MQ_FATE_COMMITTED,
	MQ_FATE_ABORTED,
	MQ_FATE_UNKNOWN				/* pg_xact has forgotten, and nobody settled it */
} MqFate;

/* called by readers: what became of a batch.  IN_DOUBT only on a standby or above the LSO. */
extern MqFate mq_fate(const MqDescriptorDisk *d);

#endif							/* MQ_FATE_H */
