/*
 * mq_read_buffer.h
 *	  The memory that readers of logs read into.
 */
#ifndef MQ_READ_BUFFER_H
#define MQ_READ_BUFFER_H

#include "base/mq_types.h"
#include "storage/mq_file.h"

#define MQ_READ_BUFFER_FIRST	(16 * 1024)
#define MQ_READ_BUFFER_LARGEST	(1024 * 1024)	/* larger ones are not kept */

/* All zeros = none yet. */
typedef struct MqReadBuffer
{
	uint8	   *data;
	size_t		size;
	bool		is_kept;		/* it is the one that is kept */
	bool		written;		/* the reader's user writes into it */

	/* what it holds: a run of batches of a .log */
	MqOffset	segment;
	uint32		position;
	uint32		length;			/* 0 = nothing */
	uint32		checked;		/* where a batch of it stands that has passed all checks, */
	bool		has_checked;	/* if there is one */
	MqFileStamp stamp;			/* the file's, before it was read */
} MqReadBuffer;

/* Room for so many bytes; what it held is gone.  Lives in the context unless it is the kept one. */
extern void mq_read_buffer_need(MqReadBuffer *buffer, size_t len, MemoryContext context);

/* Reads on: the end for the one, the beginning for the next reader of the same segment. */
extern void mq_read_buffer_end(MqReadBuffer *buffer, const MqLogKey *key);
extern void mq_read_buffer_resume(MqReadBuffer *buffer, const MqLogKey *key, MqOffset segment);

/* called at the end of a transaction: what an error has left taken is free again */
extern void mq_read_buffer_release(void);

#endif							/* MQ_READ_BUFFER_H */
