/*
 * mq_retention.h
 *	  Which segments may go.  Pure.
 */
#ifndef MQ_RETENTION_H
#define MQ_RETENTION_H

#include "base/mq_types.h"

/* A segment as the choice sees it, oldest first; the last one is active. */
typedef struct MqRetentionSegment
{
	MqOffset	base;
	MqOffset	next;
	int64		log_bytes;
	MqTimestamp max_timestamp;	/* MQ_NO_TIMESTAMP = holds nothing */
} MqRetentionSegment;

typedef struct MqRetentionLimits
{
	int64		retention_ms;	/* -1 = none */
	int64		retention_bytes;	/* -1 = none */
	MqTimestamp now;
	MqOffset	log_start;
	MqOffset	lso;			/* nothing from here on may go */
} MqRetentionLimits;

/* How many segments may go, from the oldest on. */
extern int	mq_retention_choose(const MqRetentionSegment *segments, int n, const MqRetentionLimits *limits);

#endif							/* MQ_RETENTION_H */
