/*
 * mq_sql_inspect.c
 *	  The functions behind the views mq.topics, mq.partitions, mq.segments and
 *	  mq.transactions, and of mq.version().
 *
 * PostgreSQL runs the functions of a view as the role that reads the view, so
 * each of them shows what that role may see, see mq_topic_can_see().  Anybody
 * may call the functions themselves and learns no more than from the views.
 *
 * Locking: none on relations, a view must not wait for a DROP in progress.
 *			A topic that vanishes meanwhile is shown as empty, or not at all.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "broker/mq_topic.h"
#include "broker/mq_topic_retired.h"
#include "mq_ext/mq_sql.h"

/* The library's version; equal to default_version in mq_ext.control. */
#define MQ_EXT_VERSION	"1.1"

/* Makes the rows of one topic. */
typedef void (*TopicVisitor) (MqTopic *topic, MqSqlRows *rows);

/* A range in flight and the name of its topic. */
typedef struct Pending
{
	MqLogInflight range;
	char	   *topic;
} Pending;

static Datum visit_topics(FunctionCallInfo fcinfo, TopicVisitor visitor);
static void put_topic(MqTopic *topic, MqSqlRows *rows);
static void put_partitions(MqTopic *topic, MqSqlRows *rows);
static void put_segments(MqTopic *topic, MqSqlRows *rows);
static const char *segment_state(const MqLogSegmentInfo *s);
static MqLog *open_partition(const MqTopic *topic, int32 partition);
static const char *state_text(MqLogState state);
static Pending *visible_pending(int *n);
static int	compare_pending(const void *a, const void *b);
static void put_transaction(MqSqlRows *rows, const Pending *pending, int n);
static Datum position_array(Oid array_type, const Pending *pending, int n);

PG_FUNCTION_INFO_V1(mq_sql_list_topics);
PG_FUNCTION_INFO_V1(mq_sql_list_partitions);
PG_FUNCTION_INFO_V1(mq_sql_list_segments);
PG_FUNCTION_INFO_V1(mq_sql_list_transactions);
PG_FUNCTION_INFO_V1(mq_sql_library_version);

Datum
mq_sql_list_topics(PG_FUNCTION_ARGS)
{
	return visit_topics(fcinfo, put_topic);
}

Datum
mq_sql_list_partitions(PG_FUNCTION_ARGS)
{
	return visit_topics(fcinfo, put_partitions);
}

Datum
mq_sql_list_segments(PG_FUNCTION_ARGS)
{
	return visit_topics(fcinfo, put_segments);
}

/* What was appended outside of transactions has none and is shown range by range. */
Datum
mq_sql_list_transactions(PG_FUNCTION_ARGS)
{
	MqSqlRows	rows;
	Pending    *pending;
	int			n;
	int			first = 0;

	mq_sql_rows_begin(fcinfo, &rows);
	pending = visible_pending(&n);
	while (first < n)
	{
		uint64		fxid = pending[first].range.fxid;
		int			next = first + 1;

		while (next < n && fxid != 0 && pending[next].range.fxid == fxid)
			next++;
		put_transaction(&rows, pending + first, next - first);
		first = next;
	}
	return (Datum) 0;
}

Datum
mq_sql_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(MQ_EXT_VERSION));
}

static Datum
visit_topics(FunctionCallInfo fcinfo, TopicVisitor visitor)
{
	MqSqlRows	rows;
	ListCell   *lc;

	mq_sql_rows_begin(fcinfo, &rows);
	foreach(lc, mq_topic_names())
	{
		MqTopic    *topic;

		CHECK_FOR_INTERRUPTS();
		topic = mq_topic_open_missing_ok(lfirst(lc), NoLock, 0);
		if (topic != NULL && mq_topic_can_see(topic))
			visitor(topic, &rows);
	}
	return (Datum) 0;
}

/* The worst state of its partitions is the topic's. */
static void
put_topic(MqTopic *topic, MqSqlRows *rows)
{
	MqLogState	state = MQ_LOG_ACTIVE;
	int64		bytes = 0;
	int64		messages = 0;
	int32		i;

	for (i = 0; i < topic->partitions; i++)
	{
		MqLog	   *log = open_partition(topic, i);
		MqLogInfo	info;

		mq_log_info(log, &info);
		mq_log_unpin(log);
		state = Max(state, info.state);
		bytes += info.size_bytes;
		messages += info.offsets.lso - info.offsets.log_start;
	}
	mq_sql_rows_set_text(rows, 0, topic->name);
	mq_sql_rows_set(rows, 1, UUIDPGetDatum(&topic->uuid));
	mq_sql_rows_set(rows, 2, ObjectIdGetDatum(topic->relid));
	mq_sql_rows_set(rows, 3, Int32GetDatum(topic->partitions));
	mq_sql_rows_set_text(rows, 4, state_text(state));
	mq_sql_rows_set(rows, 5, Int64GetDatum(bytes));
	mq_sql_rows_set(rows, 6, Int64GetDatum(messages));
	mq_sql_rows_put(rows);
}

static void
put_partitions(MqTopic *topic, MqSqlRows *rows)
{
	int32		i;

	for (i = 0; i < topic->partitions; i++)
	{
		MqLog	   *log;
		MqLogInfo	info;

		if (mq_topic_retired_gone(topic, i))
			continue;
		log = open_partition(topic, i);
		mq_log_info(log, &info);
		mq_log_unpin(log);
		mq_sql_rows_set_text(rows, 0, topic->name);
		mq_sql_rows_set(rows, 1, Int32GetDatum(i));
		mq_sql_rows_set_text(rows, 2, info.state == MQ_LOG_ACTIVE && mq_topic_retired_is(topic, i) ?
							 "retired" : state_text(info.state));
		mq_sql_rows_set(rows, 3, Int32GetDatum(info.offsets.epoch));
		mq_sql_rows_set(rows, 4, Int64GetDatum(info.offsets.log_start));
		mq_sql_rows_set(rows, 5, Int64GetDatum(info.offsets.lso));
		mq_sql_rows_set(rows, 6, Int64GetDatum(info.offsets.hw));
		mq_sql_rows_set(rows, 7, Int64GetDatum(info.offsets.leo));
		mq_sql_rows_set(rows, 8, Int32GetDatum(info.segments));
		mq_sql_rows_set(rows, 9, Int64GetDatum(info.size_bytes));
		mq_sql_rows_set_time(rows, 10, info.oldest_timestamp);
		mq_sql_rows_set_time(rows, 11, info.newest_timestamp);
		rows->nulls[12] = info.last_append_at == 0;
		rows->values[12] = TimestampTzGetDatum(info.last_append_at);
		mq_sql_rows_put(rows);
	}
}

static void
put_segments(MqTopic *topic, MqSqlRows *rows)
{
	int32		partition;

	for (partition = 0; partition < topic->partitions; partition++)
	{
		MqLog	   *log = open_partition(topic, partition);
		int			n;
		MqLogSegmentInfo *segments = mq_log_segments(log, &n);
		int			i;

		mq_log_unpin(log);
		for (i = 0; i < n; i++)
		{
			const MqLogSegmentInfo *s = &segments[i];

			mq_sql_rows_set_text(rows, 0, topic->name);
			mq_sql_rows_set(rows, 1, Int32GetDatum(partition));
			mq_sql_rows_set(rows, 2, Int64GetDatum(s->base));
			mq_sql_rows_set(rows, 3, Int64GetDatum(s->next));
			mq_sql_rows_set_text(rows, 4, s->path);
			mq_sql_rows_set(rows, 5, Int64GetDatum(s->log_bytes));
			mq_sql_rows_set(rows, 6, Int64GetDatum(s->batches_bytes));
			mq_sql_rows_set_time(rows, 7, s->min_timestamp);
			mq_sql_rows_set_time(rows, 8, s->max_timestamp);
			mq_sql_rows_set_text(rows, 9, segment_state(s));
			mq_sql_rows_put(rows);
		}
		pfree(segments);
	}
}

static const char *
segment_state(const MqLogSegmentInfo *s)
{
	return s->deleting ? "deleting" : s->damaged ? "damaged" : s->active ? "active" : "closed";
}

static MqLog *
open_partition(const MqTopic *topic, int32 partition)
{
	MqLogKey	key;

	CHECK_FOR_INTERRUPTS();
	mq_topic_key(topic, partition, &key);
	return mq_log_open(&key);
}

static const char *
state_text(MqLogState state)
{
	switch (state)
	{
		case MQ_LOG_ACTIVE:
			return "active";
		case MQ_LOG_DAMAGED:
			return "damaged";
		case MQ_LOG_DISABLED:
			return "disabled";
	}
	return "unknown";
}

/* The ranges in flight of the topics that the caller may see, in the order of their transactions. */
static Pending *
visible_pending(int *n)
{
	int			nranges;
	MqLogInflight *ranges = mq_log_inflight(&nranges);
	Pending    *pending = palloc((nranges + 1) * sizeof(Pending));
	ListCell   *lc;

	*n = 0;
	if (nranges == 0)
		return pending;
	foreach(lc, mq_topic_names())
	{
		MqTopic    *topic = mq_topic_open_missing_ok(lfirst(lc), NoLock, 0);
		int			i;

		if (topic == NULL || !mq_topic_can_see(topic))
			continue;
		for (i = 0; i < nranges; i++)
		{
			if (ranges[i].key.dboid != MyDatabaseId ||
				memcmp(&ranges[i].key.topic, &topic->uuid, UUID_LEN) != 0)
				continue;
			pending[*n].range = ranges[i];
			pending[*n].topic = lfirst(lc);
			(*n)++;
		}
	}
	qsort(pending, *n, sizeof(Pending), compare_pending);
	return pending;
}

static int
compare_pending(const void *a, const void *b)
{
	const Pending *left = a;
	const Pending *right = b;
	int			names = strcmp(left->topic, right->topic);

	if (left->range.fxid != right->range.fxid)
		return left->range.fxid < right->range.fxid ? -1 : 1;
	if (names != 0)
		return names;
	if (left->range.key.partition != right->range.key.partition)
		return left->range.key.partition < right->range.key.partition ? -1 : 1;
	return left->range.base < right->range.base ? -1 : 1;
}

static void
put_transaction(MqSqlRows *rows, const Pending *pending, int n)
{
	TimestampTz since = pending[0].range.since;
	bool		committed = true;
	bool		aborted = false;
	bool		blocks_lso = false;
	int			i;

	for (i = 0; i < n; i++)
	{
		since = Min(since, pending[i].range.since);
		committed &= pending[i].range.committed;
		aborted |= pending[i].range.aborted;
		blocks_lso |= pending[i].range.blocks_lso;
	}
	rows->nulls[0] = pending[0].range.fxid == 0;
	rows->values[0] = FullTransactionIdGetDatum(FullTransactionIdFromU64(pending[0].range.fxid));
	mq_sql_rows_set_text(rows, 1, aborted ? "aborted" : committed ? "committed" : "in_doubt");
	mq_sql_rows_set(rows, 2, position_array(TupleDescAttr(rows->desc, 2)->atttypid, pending, n));
	mq_sql_rows_set(rows, 3, TimestampTzGetDatum(since));
	mq_sql_rows_set(rows, 4, BoolGetDatum(blocks_lso));
	mq_sql_rows_put(rows);
}

/* Where the transaction's messages begin, as mq.position[]. */
static Datum
position_array(Oid array_type, const Pending *pending, int n)
{
	Oid			type = get_element_type(array_type);
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	Datum	   *elems = palloc(n * sizeof(Datum));
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			i;

	for (i = 0; i < n; i++)
	{
		Datum	   *values = palloc0(desc->natts * sizeof(Datum));
		bool	   *nulls = palloc0(desc->natts * sizeof(bool));

		values[0] = CStringGetTextDatum(pending[i].topic);
		values[1] = Int32GetDatum(pending[i].range.key.partition);
		values[2] = Int64GetDatum(pending[i].range.base);
		elems[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_array(elems, n, type, typlen, typbyval, typalign));
}
