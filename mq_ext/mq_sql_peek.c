/*
 * mq_sql_peek.c
 *	  mq.peek(): a few messages from either end of a topic, for humans.
 *
 * Which messages these are is found out first, and only then are rows made of
 * them.  The first walk notes where the oldest or newest messages of each
 * partition stand and keeps the n oldest or newest of them all; the second
 * one shows them.  From the end one can only guess where to begin, because
 * offsets have gaps: the guess is doubled until enough messages were found.
 *
 * Locking: ACCESS SHARE on the topic's relation, as a SELECT.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "broker/mq_fetch.h"
#include "broker/mq_produce.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_message.h"

/* A message that may be shown. */
typedef struct Spot
{
	MqTimestamp timestamp;
	MqOffset	offset;
	int32		partition;
} Spot;

typedef struct SpotList
{
	Spot	   *spots;
	int64		n;
	int64		room;
	int64		limit;			/* stop after so many; 0 = never */
} SpotList;

/* The second walk: shows those of [next, end) that it meets. */
typedef struct Show
{
	const Spot *next;
	const Spot *end;
	MqSqlMessages *messages;
} Show;

static void find_spots(MqTopic *topic, int32 partition, int64 n, bool from_end, SpotList *all);
static void find_newest(MqLog *log, const MqLogOffsets *offsets, int64 n, SpotList *found);
static void keep_spots(SpotList *all, int64 n, bool from_end);
static int	compare_age(const void *a, const void *b);
static int	compare_place(const void *a, const void *b);
static void show_spots(MqTopic *topic, SpotList *all, MqSqlMessages *messages);
static bool add_spot(void *arg, int32 partition, const MqRecord *record);
static void push_spot(SpotList *list, const Spot *spot);
static bool show_spot(void *arg, int32 partition, const MqRecord *record);

PG_FUNCTION_INFO_V1(mq_sql_peek);

Datum
mq_sql_peek(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	int32		n = mq_sql_arg_positive(fcinfo, 1, "n");
	SpotList	all = {0};
	MqTopic    *topic;
	int32		i;

	mq_sql_require_arg(fcinfo, 3, "from_end");
	topic = mq_topic_open(name, AccessShareLock, ACL_SELECT);
	if (!PG_ARGISNULL(2))
	{
		mq_topic_check_partition(topic, PG_GETARG_INT32(2));
		find_spots(topic, PG_GETARG_INT32(2), n, PG_GETARG_BOOL(3), &all);
	}
	else
		for (i = 0; i < topic->partitions; i++)
			find_spots(topic, i, n, PG_GETARG_BOOL(3), &all);
	show_spots(topic, &all, mq_sql_message_begin(fcinfo, name, MQ_SQL_FORM_ESCAPED));
	return (Datum) 0;
}

/* Notes the n oldest or newest messages of a partition, and keeps n of all so far. */
static void
find_spots(MqTopic *topic, int32 partition, int64 n, bool from_end, SpotList *all)
{
	SpotList	found = {0};
	MqLogKey	key;
	MqLog	   *log;
	MqLogOffsets offsets;
	int64		i;

	mq_topic_key(topic, partition, &key);
	log = mq_log_open(&key);
	mq_log_offsets(log, &offsets);
	if (from_end)
		find_newest(log, &offsets, n, &found);
	else
	{
		found.limit = n;
		mq_fetch_walk(log, offsets.log_start, offsets.lso, MQ_LOG_DAMAGE_SKIP, add_spot, &found);
	}
	mq_log_unpin(log);

	for (i = Max(found.n - n, 0); i < found.n; i++)
		push_spot(all, &found.spots[i]);
	if (found.spots != NULL)
		pfree(found.spots);
	keep_spots(all, n, from_end);
}

static void
find_newest(MqLog *log, const MqLogOffsets *offsets, int64 n, SpotList *found)
{
	int64		window = n;
	MqOffset	from;

	do
	{
		from = Max(offsets->log_start, offsets->lso - window);
		found->n = 0;
		mq_fetch_walk(log, from, offsets->lso, MQ_LOG_DAMAGE_SKIP, add_spot, found);
		window *= 2;
	} while (found->n < n && from > offsets->log_start);
}

static void
keep_spots(SpotList *all, int64 n, bool from_end)
{
	if (all->n <= n)
		return;
	qsort(all->spots, all->n, sizeof(Spot), compare_age);
	if (from_end)
		memmove(all->spots, all->spots + (all->n - n), n * sizeof(Spot));
	all->n = n;
}

static int
compare_age(const void *a, const void *b)
{
	const Spot *left = a;
	const Spot *right = b;

	if (left->timestamp != right->timestamp)
		return left->timestamp < right->timestamp ? -1 : 1;
	return compare_place(a, b);
}

static int
compare_place(const void *a, const void *b)
{
	const Spot *left = a;
	const Spot *right = b;

	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	return 0;
}

/* Rows come in the order of partitions and offsets. */
static void
show_spots(MqTopic *topic, SpotList *all, MqSqlMessages *messages)
{
	const Spot *end = all->spots + all->n;
	Show		show = {.next = all->spots,.end = all->spots,.messages = messages};

	if (all->n == 0)
		return;
	qsort(all->spots, all->n, sizeof(Spot), compare_place);
	while (show.next < end)
	{
		int32		partition = show.next->partition;
		MqLogKey	key;
		MqLog	   *log;

		while (show.end < end && show.end->partition == partition)
			show.end++;
		mq_topic_key(topic, partition, &key);
		log = mq_log_open(&key);
		mq_fetch_walk(log, show.next->offset, show.end[-1].offset + 1, MQ_LOG_DAMAGE_SKIP,
					  show_spot, &show);
		mq_log_unpin(log);
		show.next = show.end;
	}
}

/* Sink: notes the record's place. */
static bool
add_spot(void *arg, int32 partition, const MqRecord *record)
{
	SpotList   *list = arg;
	Spot		spot = {record->timestamp, record->offset, partition};

	push_spot(list, &spot);
	return list->limit == 0 || list->n < list->limit;
}

static void
push_spot(SpotList *list, const Spot *spot)
{
	if (list->n == list->room)
	{
		list->room = Max(list->room * 2, 64);
		list->spots = list->spots == NULL ?
			palloc(list->room * sizeof(Spot)) :
			repalloc_huge(list->spots, list->room * sizeof(Spot));
	}
	list->spots[list->n++] = *spot;
}

/* Sink: makes a row of the record if it was chosen. */
static bool
show_spot(void *arg, int32 partition, const MqRecord *record)
{
	Show	   *show = arg;

	while (show->next < show->end && show->next->offset < record->offset)
		show->next++;
	if (show->next == show->end)
		return false;
	if (show->next->offset == record->offset)
		mq_sql_message_put(show->messages, partition, record);
	return true;
}
