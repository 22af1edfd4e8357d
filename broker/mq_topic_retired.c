/*
 * mq_topic_retired.c
 *	  The partitions of a topic that take no more messages.
 *
 * They are listed in an option of the topic, so that retiring is as
 * transactional as any DDL and a dump carries it.  The list is short: whoever
 * retires partitions by the thousand would rather make a new topic.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "broker/mq_topic_retired.h"

bool
mq_topic_retired_parse(const char *text, int32 **numbers, int *n)
{
	int32		last = -1;
	const char *p = text;

	*numbers = palloc(sizeof(int32) * (strlen(text) / 2 + 1));
	*n = 0;
	for (;;)
	{
		int32		number = 0;
		const char *start = p;

		while (*p >= '0' && *p <= '9' && number < MQ_MAX_PARTITIONS)
			number = number * 10 + (*p++ - '0');
		/* as it is written here: without spaces, leading zeros, and anything twice */
		if (p == start || (*start == '0' && p > start + 1) ||
			number >= MQ_MAX_PARTITIONS || number <= last)
			break;
		(*numbers)[(*n)++] = last = number;
		if (*p == '\0')
			return true;
		if (*p++ != ',')
			break;
	}
	pfree(*numbers);
	*n = 0;
	return false;
}

char *
mq_topic_retired_with(const MqTopic *topic, int32 partition)
{
	StringInfoData text;
	bool		put = false;
	int			i;

	initStringInfo(&text);
	for (i = 0; i < topic->nretired; i++)
	{
		if (!put && topic->retired[i] > partition)
		{
			appendStringInfo(&text, "%d,", partition);
			put = true;
		}
		appendStringInfo(&text, "%d%s", topic->retired[i], i + 1 < topic->nretired || !put ? "," : "");
	}
	if (!put)
		appendStringInfo(&text, "%d", partition);
	return text.data;
}

bool
mq_topic_retired_is(const MqTopic *topic, int32 partition)
{
	int			i;

	for (i = 0; i < topic->nretired && topic->retired[i] <= partition; i++)
		if (topic->retired[i] == partition)
			return true;
	return false;
}

int32
mq_topic_retired_nth(const MqTopic *topic, int32 n)
{
	int			i;

	Assert(n >= 0 && n < mq_topic_retired_rest(topic));
	for (i = 0; i < topic->nretired && topic->retired[i] <= n; i++)
		n++;
	return n;
}

bool
mq_topic_retired_gone(const MqTopic *topic, int32 partition)
{
	MqLogKey	key;
	MqLog	   *log;
	bool		gone;

	if (likely(topic->nretired == 0) || !mq_topic_retired_is(topic, partition))
		return false;
	mq_topic_key(topic, partition, &key);
	log = mq_log_open(&key);
	gone = !mq_log_has_files(log) || mq_log_is_dropped(log);
	mq_log_unpin(log);
	return gone;
}

MqTopic *
mq_topic_retired_copy(const MqTopic *topic)
{
	MqTopic    *copy = palloc(sizeof(MqTopic));

	*copy = *topic;
	if (topic->nretired > 0)
	{
		copy->retired = palloc(sizeof(int32) * topic->nretired);
		memcpy(copy->retired, topic->retired, sizeof(int32) * topic->nretired);
	}
	return copy;
}
