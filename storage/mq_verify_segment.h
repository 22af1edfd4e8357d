/*
 * mq_verify_segment.h
 *	  One segment of a log that is verified: descriptors and batches.
 *
 * For mq_verify.c alone.
 */
#ifndef MQ_VERIFY_SEGMENT_H
#define MQ_VERIFY_SEGMENT_H

#include "nodes/pg_list.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_payload.h"
#include "storage/mq_verify.h"

#define MQ_VERIFY_WINDOW	512		/* descriptors looked at together */

/* One walk through a log. */
typedef struct MqVerify
{
	MqLog	   *log;
	MqVerifySink sink;
	void	   *arg;
	MemoryContext context;		/* details of the segment at hand */

	/* what the log said of itself when the walk began */
	MqLogState	state;
	MqLogEnd	end;
	MqOffset	lso;
	MqOffset	settled_segment;
	uint32		settled_batch;
	MqEpoch		epoch;
	MqOffset	epoch_start;
	int64		active_bytes[2];	/* of the active segment's files, by MqSegmentFile; -1 = none */

	MqOffset	first_segment;	/* those before it are gone, or going */

	/* the segment at hand */
	MqOffset	segment;
	MqOffset	next_segment;	/* where it ends */
	int64		bytes[2];		/* of its files; -1 = none */
	List	   *details;		/* of MqVerifyFinding */
	int			findings;		/* those that are left out are counted too */

	/* how far it is sound; numbers of the log rise from segment to segment */
	MqOffset	expected;		/* next offset */
	int64		position;		/* next byte of the .log */
	XLogRecPtr	end_lsn;
	MqTimestamp max_timestamp;
	MqEpoch		batch_epoch;

	char		path[MQ_SEGMENT_PATH_MAX];
	MqDescriptorDisk window[MQ_VERIFY_WINDOW];
	uint8	   *buffer;			/* a piece of the .log */
	size_t		buffer_size;
	int64		run_position;
	int64		run_length;
	MqPayload	memory;
	int64		done;			/* bytes, for mq_progress */
} MqVerify;

/* mq_verify_segment.c.  v->segment, next_segment and bytes are set, expected is where the segment before ends */
extern void mq_verify_segment(MqVerify *v);

/* mq_verify.c */
extern void mq_verify_report(MqVerify *v, MqOffset bad_offset, const char *fmt,...) pg_attribute_printf(3, 4);

#endif							/* MQ_VERIFY_SEGMENT_H */
