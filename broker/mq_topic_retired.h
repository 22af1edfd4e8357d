/*
 * mq_topic_retired.h
 *	  The partitions of a topic that take no more messages.
 *
 * A retired partition keeps its number, which is never given again.  Keys are
 * spread over those that are left, in the order of their numbers.
 */
#ifndef MQ_TOPIC_RETIRED_H
#define MQ_TOPIC_RETIRED_H

#include "broker/mq_topic.h"

/* The option's text as numbers, ascending; palloc'd.  False when it is no such list. */
extern bool mq_topic_retired_parse(const char *text, int32 **numbers, int *n);

/* The text with one more number. */
extern char *mq_topic_retired_with(const MqTopic *topic, int32 partition);

extern bool mq_topic_retired_is(const MqTopic *topic, int32 partition);

/* How many partitions take messages, and which is the n-th of them, counted from 0. */
static inline int32
mq_topic_retired_rest(const MqTopic *topic)
{
	return topic->partitions - topic->nretired;
}

extern int32 mq_topic_retired_nth(const MqTopic *topic, int32 n);

/* Retired, and its messages have expired: there is nothing to be seen of it any more. */
extern bool mq_topic_retired_gone(const MqTopic *topic, int32 partition);

/* The topic with a list of its own, which lookups leave alone; good while the lock is held.  Palloc'd. */
extern MqTopic *mq_topic_retired_copy(const MqTopic *topic);

#endif							/* MQ_TOPIC_RETIRED_H */
