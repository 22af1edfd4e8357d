/*
 * mq_batches.h
 *	  The .batches file: one fixed-size descriptor for each batch of a segment.
 *
 * Pure, but for the CRC routine: callers read and write the bytes.  The
 * layout is drawn in storage/README.md.
 */
#ifndef MQ_BATCHES_H
#define MQ_BATCHES_H

#include "access/xlogdefs.h"
#include "base/mq_types.h"

typedef struct MqDescriptorDisk
{
	uint32		offset_delta;	/* base offset less the segment's base */
	uint32		record_count;
	uint32		position;		/* first byte in the .log */
	uint32		length;			/* bytes in the .log */
	uint64		end_lsn;		/* where its WAL record ends */
	uint64		fxid;			/* 64-bit top-level xid, 0 = not transactional */
	int64		max_timestamp;	/* greatest of the partition up to here, ms */
	uint8		version;
	uint8		batch_crc[2];	/* last two bytes of the batch's CRC field */
	uint8		hint;			/* MQ_HINT_*, outside the CRC */
	uint32		crc;			/* CRC-32C of identity and bytes 0..42 */
} MqDescriptorDisk;

#define MQ_BATCHES_ENTRY_SIZE	48
#define MQ_BATCHES_VERSION		1

/* hint: what became of the transaction */
#define MQ_HINT_UNDECIDED	0x00
#define MQ_HINT_COMMITTED	0x01
#define MQ_HINT_ABORTED		0x02
#define MQ_HINT_FATE		0x03
#define MQ_HINT_SETTLED		0x80	/* a flushed settle record says so */

/* What a descriptor's CRC is seeded with, so that a stranger's never validates. */
typedef struct MqBatchesIdentity
{
	pg_uuid_t	topic;
	int32		partition;
	MqOffset	segment_base;
} MqBatchesIdentity;

/*
 * Ties a descriptor to its batch: another's of the same size and offsets must
 * not pass for it.  The batch is sealed.
 */
extern void mq_batches_tie(MqDescriptorDisk *d, const uint8 *batch);
extern bool mq_batches_is_tied(const MqDescriptorDisk *d, const uint8 *batch);

extern void mq_batches_seal(MqDescriptorDisk *d, const MqBatchesIdentity *id, uint32 number);
extern bool mq_batches_valid(const MqDescriptorDisk *d, const MqBatchesIdentity *id, uint32 number);

/* Fetches descriptors [first, first + n) for a search; false ends the search. */
typedef bool (*MqBatchesRead) (void *arg, uint32 first, uint32 n, MqDescriptorDisk *out);

/*
 * The number of the first valid descriptor of [0, count) whose field is
 * greater than the key; count if none.  Damaged entries are stepped over.
 * Result *ok = false when the reader failed.
 */
typedef enum MqBatchesField
{
	MQ_BATCHES_BY_NEXT_OFFSET,	/* offset_delta + record_count */
	MQ_BATCHES_BY_MAX_TIMESTAMP,
	MQ_BATCHES_BY_END_LSN
} MqBatchesField;

extern uint32 mq_batches_search(const MqBatchesIdentity *id, uint32 count, MqBatchesField field,
								int64 key, MqBatchesRead read, void *arg, bool *ok);

/* Descriptors that were read together. */
#define MQ_BATCHES_WINDOW	64

typedef struct MqBatchesWindow
{
	uint32		first;
	uint32		n;
	MqDescriptorDisk entries[MQ_BATCHES_WINDOW];
} MqBatchesWindow;

/*
 * The same, beginning near a descriptor if that is one of them, and leaving in
 * the window, which may be empty, what was read last.
 */
extern uint32 mq_batches_search_near(const MqBatchesIdentity *id, uint32 count, MqBatchesField field,
									 int64 key, uint32 near, MqBatchesRead read, void *arg,
									 MqBatchesWindow *window, bool *ok);

/* How many of a segment's descriptors a redo pointer vouches for: last valid one with end_lsn <= redo, plus one. */
extern uint32 mq_batches_prune(const MqBatchesIdentity *id, uint32 count, XLogRecPtr redo,
							   MqBatchesRead read, void *arg, MqDescriptorDisk *last, bool *ok);

#endif							/* MQ_BATCHES_H */
