/*
 * mq_message_row.h
 *	  A record as the values of a row.
 */
#ifndef MQ_MESSAGE_ROW_H
#define MQ_MESSAGE_ROW_H

#include "mq_ext/mq_fdw_columns.h"
#include "storage/mq_batch.h"

/* Where the longer keys, or values, are laid out. */
typedef struct MqMessageBuffer
{
	struct varlena *data;
	Size		room;
} MqMessageBuffer;

/* Which columns there are, payload columns aside; the caller fills in the first five. */
typedef struct MqMessageRow
{
	const char *topic;
	int			n;
	int		   *at;				/* places in the row, counted from 0 */
	MqFdwColumn *columns;
	bool		checked;		/* what shall be text is good UTF-8 */

	MemoryContext context;
	MqMessageBuffer key;
	MqMessageBuffer value;
} MqMessageRow;

/* Once the columns are known; what is kept from row to row lives in the current memory context. */
extern void mq_message_row_begin(MqMessageRow *row);

/*
 * Values are good until the record's memory goes, the next call, or a reset of
 * the current memory context.  The byte before a key or a value is written to.
 * Raises 22021, 22P02, 22001.
 */
extern void mq_message_row_fill(MqMessageRow *row, int32 partition, const MqRecord *record,
								Datum *values, bool *nulls);

#endif							/* MQ_MESSAGE_ROW_H */
