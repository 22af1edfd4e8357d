/*
 * mq_verify.h
 *	  Looks at every byte of one partition's log and says what is wrong.
 */
#ifndef MQ_VERIFY_H
#define MQ_VERIFY_H

#include "storage/mq_log.h"

/* One thing that was found. */
typedef struct MqVerifyFinding
{
	MqOffset	segment;		/* base of the segment; MQ_INVALID_OFFSET = of the log as a whole */
	bool		damaged;		/* false: all of the segment is sound */
	MqOffset	bad_offset;		/* the first that is concerned; MQ_INVALID_OFFSET = none */
	const char *detail;			/* NULL when it is sound; good until the callback returns */
} MqVerifyFinding;

typedef void (*MqVerifySink) (void *arg, const MqVerifyFinding *finding);

/* How much is told of one segment; one finding more says that there is more. */
#define MQ_VERIFY_FINDINGS_MAX	100

/*
 * called by backends, with the log pinned and the topic locked.  Reads only.
 * What is sound gives one finding for each segment, a log without files none.
 * Raises when the log's tail cannot be written, and for want of memory or
 * descriptors.
 */
extern void mq_verify(MqLog *log, MqVerifySink sink, void *arg);

#endif							/* MQ_VERIFY_H */
