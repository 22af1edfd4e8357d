/*
 * mq_payload.h
 *	  The records of a batch: its own bytes, or what they decompress to.
 */
#ifndef MQ_PAYLOAD_H
#define MQ_PAYLOAD_H

#include "storage/mq_batch.h"

/* Memory for one batch after the other; begin with zeros. */
typedef struct MqPayload
{
	uint8	   *buffer;			/* lives in the context of the first call that needed it */
	size_t		size;
} MqPayload;

/* Where the records stand, good until the next call.  Memory grows up to a cap that no honest batch needs. */
extern MqBatchStatus mq_payload_open(MqPayload *memory, const uint8 *batch, const MqBatchInfo *info,
									 const uint8 **payload, size_t *len);
extern void mq_payload_free(MqPayload *memory);

#endif							/* MQ_PAYLOAD_H */
