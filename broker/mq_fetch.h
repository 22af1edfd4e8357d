/*
 * mq_fetch.h
 *	  Read from an offset up to the visible end.
 */
#ifndef MQ_FETCH_H
#define MQ_FETCH_H

#include "broker/mq_topic.h"
#include "storage/mq_batch.h"

/* The key of the headers that hold a message's tags, and its length. */
#define MQ_FETCH_TAG_KEY		"mq.tag"
#define MQ_FETCH_TAG_KEY_LEN	6

/* A starting offset that means the last stable offset as of the call. */
#define MQ_FETCH_LATEST			((MqOffset) -1)

typedef struct MqFetchRequest
{
	MqTopic    *topic;
	int32		partition;		/* MQ_PARTITION_ANY = all, then from_offset must be absent */
	bool		has_offset;
	MqOffset	from_offset;	/* MQ_FETCH_LATEST = latest */
	int32		max_messages;
	int64		max_bytes;		/* of keys, values and headers; one message is given in any case */
	int			max_wait_ms;
	const char *const *tags;	/* any-of, in UTF-8; NULL = all */
	int			ntags;
	MqLogDamage damage;
} MqFetchRequest;

/* Called for each record; it points into memory good until the callback returns.  False = stop. */
typedef bool (*MqFetchSink) (void *arg, int32 partition, const MqRecord *record);

/* called by the doors, which have opened the topic with its lock and privilege */

/* Raises MQ005, XX001.  Returns the number of records given to the sink. */
extern int64 mq_fetch(const MqFetchRequest *request, MqFetchSink sink, void *arg);

/* Where a reader that asks for "from" begins.  Raises MQ005. */
extern MqOffset mq_fetch_start(const char *topic, int32 partition,
							   const MqLogOffsets *offsets, MqOffset from);

/* Walks [from, limit) of one partition without waiting or limits; for peek and offset_at. */
extern void mq_fetch_walk(MqLog *log, MqOffset from, MqOffset limit, MqLogDamage damage,
						  MqFetchSink sink, void *arg);

/* First visible offset with timestamp >= ts, MQ_INVALID_OFFSET when none. */
extern MqOffset mq_fetch_offset_at(MqLog *log, MqTimestamp ts);

/* Does the header name a tag? */
extern bool mq_fetch_is_tag(const MqHeader *header);

/* Tags that are looked for, in UTF-8.  Has the record any of them? */
typedef struct MqFetchTags
{
	const char *const *tags;
	int		   *lens;
	int			n;
} MqFetchTags;

extern bool mq_fetch_has_tag(const MqFetchTags *tags, const MqRecord *record);

#endif							/* MQ_FETCH_H */
