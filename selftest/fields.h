/*
 * fields.h
 *	  What mq_batches_search() looks at, told independently of it.
 */
#ifndef FIELDS_H
#define FIELDS_H

#include "storage/mq_batches.h"

static inline int64
field_of(const MqDescriptorDisk *d, MqBatchesField field)
{
	if (field == MQ_BATCHES_BY_NEXT_OFFSET)
		return (int64) d->offset_delta + d->record_count;
	return field == MQ_BATCHES_BY_MAX_TIMESTAMP ? d->max_timestamp : (int64) d->end_lsn;
}

#endif							/* FIELDS_H */
