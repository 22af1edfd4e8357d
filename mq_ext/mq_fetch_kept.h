/*
 * mq_fetch_kept.h
 *	  Messages that one fetch has given, kept to be read as often as asked.
 */
#ifndef MQ_FETCH_KEPT_H
#define MQ_FETCH_KEPT_H

#include "storage/mq_batch.h"

typedef struct MqFetchKept MqFetchKept;

/* What is kept of a message beside its place and its time. */
typedef struct MqFetchKeep
{
	bool		keys;
	bool		values;
	bool		headers;
} MqFetchKeep;

/* Empty; lives in a child of the current memory context, or until its end. */
extern MqFetchKept *mq_fetch_kept_begin(MqFetchKeep keep);
extern void mq_fetch_kept_end(MqFetchKept *kept);

/* An MqFetchSink: adds a copy.  Beyond work_mem into a temporary file. */
extern bool mq_fetch_kept_put(void *arg, int32 partition, const MqRecord *record);

/* Back to the first. */
extern void mq_fetch_kept_rewind(MqFetchKept *kept);

/*
 * The next, or the one before the last that was given (from behind the end: the
 * last); false when there is none.  What was not kept is null.  It points into
 * memory that is good until the next call, and the byte before a key or a value
 * belongs to the caller.
 */
extern bool mq_fetch_kept_next(MqFetchKept *kept, bool forward, int32 *partition, MqRecord *record);

#endif							/* MQ_FETCH_KEPT_H */
