/*
 * mq_retention.c
 *	  Which segments may go.
 *
 * Pure.  Kafka's rules.  Segments go whole, oldest first, until one must stay:
 * by time when its newest message is older than retention.ms, by size when the
 * log without it still has retention.bytes, and when all of it lies below the
 * log start.  So messages are kept up to a segment longer than asked for.
 * Nothing that a reader cannot see yet goes.
 *
 * A timestamp in the future keeps its segment, and all that follow, until
 * they go by size or by order.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "storage/mq_retention.h"

static bool may_go(const MqRetentionSegment *s, const MqRetentionLimits *limits, int64 log_bytes);

int
mq_retention_choose(const MqRetentionSegment *segments, int n, const MqRetentionLimits *limits)
{
	int64		log_bytes = 0;
	int			i;

	for (i = 0; i < n; i++)
		log_bytes += segments[i].log_bytes;
	for (i = 0; i < n && may_go(&segments[i], limits, log_bytes); i++)
		log_bytes -= segments[i].log_bytes;
	return i;
}

static bool
may_go(const MqRetentionSegment *s, const MqRetentionLimits *limits, int64 log_bytes)
{
	/* an empty one is active: it stays */
	if (s->next > limits->lso || s->next == s->base)
		return false;
	if (s->next <= limits->log_start)
		return true;
	if (limits->retention_ms >= 0 && s->max_timestamp != MQ_NO_TIMESTAMP &&
		s->max_timestamp < limits->now - limits->retention_ms)
		return true;
	return limits->retention_bytes >= 0 && log_bytes - s->log_bytes >= limits->retention_bytes;
}
