/*
 * mq_xact.c
 *	  What a transaction has pending: records, creations and drops.
 *
 * 1. While the transaction runs, records gather in builders, one for each
 *	  partition, in private memory and beyond mq.transaction_buffer in a
 *	  temporary file.  A rollback forgets them.
 * 2. PRE_COMMIT appends them, partition by partition in ascending order.
 *	  Errors are still allowed.  From here on the transaction is sealed:
 *	  nobody may add records any more, other extensions' callbacks included.
 * 3. Postgres writes and flushes the commit record, waits for synchronous
 *	  standbys, and takes the transaction out of the proc array.
 * 4. COMMIT publishes the ranges and hands dropped topics to the janitor.  It
 *	  must not fail, so it only uses what PRE_COMMIT has prepared.
 * 5. ABORT, if it comes after PRE_COMMIT, marks the ranges aborted.
 *
 * What a transaction creates and drops is in mq_xact_topics.c.
 *
 * Appends outside the transaction are flushed and published at once.  Their
 * ranges are listed here too, so that an error on the way publishes what has
 * been appended instead of leaving it in doubt.
 *
 * Locking: none of its own; at most one append lock at a time (mq_log.c).
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "replication/syncrep.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/mq_faults.h"
#include "base/mq_settings.h"
#include "broker/mq_builder.h"
#include "broker/mq_notify.h"
#include "broker/mq_xact.h"
#include "broker/mq_xact_topics.h"
#include "storage/mq_file.h"
#include "storage/mq_log.h"
#include "storage/mq_progress.h"
#include "storage/mq_settle.h"
#include "storage/mq_stat.h"

#define GROUP_BYTES		(1024 * 1024)
#define GROUP_BATCHES	64

/* With more builders than this they are looked up in a hash. */
#define FEW_BUILDERS	8

/* The hash of builders. */
typedef struct BuilderEntry
{
	MqLogKey	key;
	MqBuilder  *builder;
} BuilderEntry;

/* What has been appended and is not decided yet. */
typedef struct RangeList
{
	MqLogRange *ranges;
	int			n;
	int			room;
} RangeList;

/* Everything below lives in "mq transaction" and is forgotten at its end. */
static MemoryContext xact_context = NULL;	/* NULL = nothing was done yet in this transaction */
static MemoryContext kept_context = NULL;	/* the same, kept empty between transactions */
static MqBuilder *builders = NULL;	/* all of them, the newest first */
static int	nbuilders = 0;
static HTAB *builder_index = NULL;	/* of all, unless they are few */
static MqBuilder *last_builder = NULL;	/* the one most likely asked for next */
static int	deepest_mark = 0;
static int64 buffered_bytes = 0;
static int64 spill_at = 0;
static MqSpill spilled = {-1, 0};
static RangeList ranges;
static uint64 ranges_fxid = 0;
static bool sealed = false;

/* Ranges appended outside the transaction that are not published yet. */
static RangeList now_ranges;

/* What the last committed transaction of this session produced. */
static MqProducedRange *last_produced = NULL;
static int	last_produced_n = 0;
static MqProducedRange *next_produced = NULL;	/* prepared before commit */

static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg);
static MqBuilder *find_builder(const MqTopic *topic, int32 partition);
static MqBuilder *lookup_builder(const MqLogKey *key);
static void index_builders(void);
static void spill(void);
static void pre_commit(void);
static void append_all(void);
static void begin_watch(ErrorContextCallback *watch, MqBuilder *builder);
static void count_refused(void *arg);
static void append_builder(MqBuilder *builder);
static void append_group(RangeList *list, MqBuilder *builder, MqLog *log, int first, int n, uint64 fxid);
static void note_appended(MqLogRange *range, const MqLogBatch *batches, int n, const instr_time *start);
static int	group_size(MqBuilder *builder, int first);
static void add_range(RangeList *list, const MqLogRange *range);
static void room_for_range(RangeList *list);
static void prepare_last_produced(void);
static void at_commit(void);
static void at_abort(void);
static void publish_now_ranges(void);
static void forget(void);
static int	compare_builders(const void *a, const void *b);

void
mq_xact_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

void
mq_xact_add_record(const MqTopic *topic, int32 partition, const MqRecord *record)
{
	MqBuilder  *builder = last_builder;
	int			level = GetCurrentTransactionNestLevel();

	if (unlikely(sealed))
		mq_xact_require_open();
	if (builder == NULL || builder->key.partition != partition ||
		memcmp(&builder->key.topic, &topic->uuid, UUID_LEN) != 0)
		builder = find_builder(topic, partition);
	/* before the add: an error in it may leave a mark */
	if (level > deepest_mark)
		deepest_mark = level;
	buffered_bytes += mq_builder_add(builder, record, level, &spilled);
	if (buffered_bytes > spill_at)
		spill();
}

void
mq_xact_require_open(void)
{
	if (sealed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot produce, create or drop topics while the transaction is being committed"),
				 errhint("Do it before COMMIT, in a deferred trigger at the latest.")));
}

/* The record added last began a call. */
void
mq_xact_count_call(void)
{
	last_builder->calls++;
}

/* Appends what the builders hold, flushes, waits for synchronous standbys, publishes. */
void
mq_xact_append_now(MqBuilder **list, int n)
{
	XLogRecPtr	end = InvalidXLogRecPtr;
	ErrorContextCallback watch;
	int			b;
	int			i;

	begin_watch(&watch, list[0]);
	mq_settle_check_lag();
	publish_now_ranges();
	for (b = 0; b < n; b++)
	{
		MqLog	   *log;
		int			first;
		int			count;

		watch.arg = &list[b]->key;
		log = mq_log_open(&list[b]->key);
		for (first = 0; first < list[b]->n; first += count)
		{
			count = group_size(list[b], first);
			for (i = first; i < first + count; i++)
				mq_builder_finish(list[b], i, &spilled);
			append_group(&now_ranges, list[b], log, first, count, 0);
		}
	}
	error_context_stack = watch.previous;
	for (i = 0; i < now_ranges.n; i++)
	{
		mq_log_flush(&now_ranges.ranges[i]);
		end = Max(end, now_ranges.ranges[i].end_lsn);
	}
	/* a termination that comes while we wait must find the ranges published */
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(end, false);
	MQ_FAULT("produce_now_before_publish");
	publish_now_ranges();
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
}

const MqProducedRange *
mq_xact_last_produced(int *n)
{
	*n = last_produced_n;
	return last_produced;
}

bool
mq_xact_has_pending(const pg_uuid_t *topic)
{
	const MqBuilder *builder;

	for (builder = builders; builder != NULL; builder = builder->next)
	{
		if (builder->n > 0 && memcmp(&builder->key.topic, topic, UUID_LEN) == 0)
			return true;
	}
	return false;
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			/* a callback that comes after ours must not add records */
			sealed = true;
			if (xact_context != NULL)
				pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			sealed = true;
			if (xact_context != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has produced messages or created or dropped a topic"),
						 errhint("Commit it in one phase.")));
			break;
		case XACT_EVENT_COMMIT:
			at_commit();
			break;
		case XACT_EVENT_ABORT:
			at_abort();
			break;
		case XACT_EVENT_PREPARE:
			forget();			/* what a fetch has pinned */
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			forget();			/* a worker scans, and never produces */
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	MqBuilder  *builder;

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		publish_now_ranges();
		mq_notify_release();
		mq_progress_end();
	}
	if (xact_context == NULL ||
		(event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;

	if (deepest_mark >= level)
	{
		for (builder = builders; builder != NULL; builder = builder->next)
		{
			if (event == SUBXACT_EVENT_ABORT_SUB)
				buffered_bytes -= mq_builder_cut(builder, level);
			else
				mq_builder_release(builder, level);
		}
		deepest_mark = level - 1;
	}
	mq_xact_topics_end_sub(event == SUBXACT_EVENT_ABORT_SUB, level);
}

/* First use in this transaction; returns the memory that lives as long. */
MemoryContext
mq_xact_begin(void)
{
	if (xact_context != NULL)
		return xact_context;
	if (kept_context == NULL)
		kept_context = AllocSetContextCreate(TopMemoryContext, "mq transaction",
											 ALLOCSET_DEFAULT_SIZES);
	xact_context = kept_context;
	spill_at = (int64) mq_transaction_buffer * 1024;
	return xact_context;
}

static MqBuilder *
find_builder(const MqTopic *topic, int32 partition)
{
	MqLogKey	key;
	MqBuilder  *builder;

	(void) mq_xact_begin();
	mq_topic_key(topic, partition, &key);
	builder = lookup_builder(&key);
	if (builder == NULL)
	{
		builder = mq_builder_create(xact_context, topic, partition);
		if (builder_index != NULL)
			((BuilderEntry *) hash_search(builder_index, &key, HASH_ENTER, NULL))->builder = builder;
		builder->next = builders;
		builders = builder;
		if (++nbuilders > FEW_BUILDERS && builder_index == NULL)
			index_builders();
	}
	last_builder = builder;
	return builder;
}

static MqBuilder *
lookup_builder(const MqLogKey *key)
{
	MqBuilder  *builder;
	BuilderEntry *entry;

	if (builder_index != NULL)
	{
		entry = hash_search(builder_index, key, HASH_FIND, NULL);
		return entry != NULL ? entry->builder : NULL;
	}
	for (builder = builders; builder != NULL; builder = builder->next)
	{
		if (memcmp(&builder->key, key, sizeof(MqLogKey)) == 0)
			return builder;
	}
	return NULL;
}

static void
index_builders(void)
{
	HASHCTL		ctl;
	HTAB	   *index;
	MqBuilder  *builder;

	ctl.keysize = sizeof(MqLogKey);
	ctl.entrysize = sizeof(BuilderEntry);
	ctl.hcxt = xact_context;
	index = hash_create("mq builders", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (builder = builders; builder != NULL; builder = builder->next)
		((BuilderEntry *) hash_search(index, &builder->key, HASH_ENTER, NULL))->builder = builder;
	builder_index = index;
}

/* Moves full batches to a temporary file that lives as long as the transaction. */
static void
spill(void)
{
	MqBuilder  *builder;

	if (spilled.file < 0)
	{
		ResourceOwner old_owner = CurrentResourceOwner;

		CurrentResourceOwner = TopTransactionResourceOwner;
		spilled.file = mq_file_temp_create();
		spilled.end = 0;
		CurrentResourceOwner = old_owner;
	}
	MQ_FAULT("spill");
	for (builder = builders; builder != NULL; builder = builder->next)
		buffered_bytes -= mq_builder_spill(builder, &spilled);

	/* what has to stay in memory must not make every record spill again */
	spill_at = Max((int64) mq_transaction_buffer * 1024, buffered_bytes * 2);
}

static void
pre_commit(void)
{
	TimestampTz start = 0;

	if (mq_log_min_duration_produce >= 0)
		start = GetCurrentTimestamp();
	MQ_FAULT("pre_commit");
	mq_xact_topics_reserve();
	append_all();
	mq_xact_topics_suspend();
	if (spilled.file >= 0)
		mq_file_temp_close(spilled.file);	/* a commit would call it a leak */
	spilled.file = -1;
	prepare_last_produced();
	if (start != 0 && ranges.n > 0)
	{
		long		ms = TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());

		if (ms >= mq_log_min_duration_produce)
			ereport(LOG,
					(errmsg("mq_ext: appending this transaction's messages took %ld ms, %d ranges",
							ms, ranges.n)));
	}
	MQ_FAULT("pre_commit_done");
}

/* Appends every builder's batches, partitions in ascending order. */
static void
append_all(void)
{
	MqBuilder  *builder;
	MqBuilder **list;
	ErrorContextCallback watch;
	int			n = 0;
	int			i;

	list = MemoryContextAlloc(xact_context, sizeof(MqBuilder *) * Max(nbuilders, 1));
	for (builder = builders; builder != NULL; builder = builder->next)
	{
		if (builder->n > 0 && !mq_xact_dropped_here(&builder->key.topic))
			list[n++] = builder;
	}
	if (n == 0)
		return;
	qsort(list, n, sizeof(MqBuilder *), compare_builders);

	begin_watch(&watch, list[0]);
	mq_settle_check_lag();
	ranges_fxid = U64FromFullTransactionId(GetTopFullTransactionId());
	for (i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		watch.arg = &list[i]->key;
		append_builder(list[i]);
	}
	error_context_stack = watch.previous;
}

/* Until error_context_stack is set back, messages that are refused are counted. */
static void
begin_watch(ErrorContextCallback *watch, MqBuilder *builder)
{
	watch->previous = error_context_stack;
	watch->callback = count_refused;
	watch->arg = &builder->key;
	error_context_stack = watch;
}

static void
count_refused(void *arg)
{
	mq_stat_count_error(arg);
}

static void
append_builder(MqBuilder *builder)
{
	MqLog	   *log = mq_log_open(&builder->key);
	int			first;
	int			n;
	int			i;

	for (first = 0; first < builder->n; first += n)
	{
		/* all reading and compressing is done before any lock is taken */
		n = group_size(builder, first);
		for (i = first; i < first + n; i++)
			mq_builder_finish(builder, i, &spilled);
		append_group(&ranges, builder, log, first, n, ranges_fxid);
		for (i = first; i < first + n; i++)
			mq_builder_free_batch(builder, i);
		CHECK_FOR_INTERRUPTS();
		MQ_FAULT("pre_commit_between_groups");
	}
	mq_builder_free_spares(builder);
}

/* Appends n sealed batches from the first on. */
static void
append_group(RangeList *list, MqBuilder *builder, MqLog *log, int first, int n, uint64 fxid)
{
	MqLogBatch	batches[GROUP_BATCHES];
	int			done;
	int			i;

	for (i = 0; i < n; i++)
	{
		const MqBuilderBatch *batch = &builder->batches[first + i];

		batches[i].data = batch->data;
		batches[i].length = batch->length;
		batches[i].count = batch->count;
		batches[i].max_timestamp = batch->max_timestamp;
	}
	for (done = 0; done < n;)
	{
		MqLogRange	range;
		bool		is_new;
		int			now;
		instr_time	start;

		INSTR_TIME_SET_ZERO(start);
		if (mq_track_io_timing)
			INSTR_TIME_SET_CURRENT(start);
		room_for_range(list);
		if (list->n > 0 && list->ranges[list->n - 1].log == log)
			range = list->ranges[list->n - 1];
		else
			range.slot = -1;
		now = mq_log_append(log, &builder->config, fxid, batches + done, n - done, &range, &is_new);
		if (is_new)
		{
			memset(&range.in, 0, sizeof(range.in));
			add_range(list, &range);
		}
		else
			list->ranges[list->n - 1] = range;
		note_appended(&list->ranges[list->n - 1], batches + done, now, &start);
		list->ranges[list->n - 1].in.calls += builder->calls;
		builder->calls = 0;
		done += now;
	}
}

/* For the statistics, once the range is published. */
static void
note_appended(MqLogRange *range, const MqLogBatch *batches, int n, const instr_time *start)
{
	instr_time	end;
	int			i;

	for (i = 0; i < n; i++)
		range->in.bytes += batches[i].length;
	range->in.batches += n;
	if (INSTR_TIME_IS_ZERO(*start))
		return;
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, *start);
	range->in.usec += INSTR_TIME_GET_MICROSEC(end);
}

/* How many batches from the first on one call takes: about GROUP_BYTES. */
static int
group_size(MqBuilder *builder, int first)
{
	int64		bytes = builder->batches[first].length;
	int			n = 1;

	while (first + n < builder->n && n < GROUP_BATCHES &&
		   bytes + builder->batches[first + n].length <= GROUP_BYTES)
		bytes += builder->batches[first + n++].length;
	return n;
}

/* Makes room before the append, because after it nothing may fail unlisted. */
static void
room_for_range(RangeList *list)
{
	int			room;

	if (list->n < list->room)
		return;
	room = Max(8, list->room * 2);
	if (list->ranges == NULL)
		list->ranges = MemoryContextAlloc(list == &ranges ? xact_context : TopMemoryContext,
										  sizeof(MqLogRange) * room);
	else
		list->ranges = repalloc_huge(list->ranges, sizeof(MqLogRange) * room);
	list->room = room;
}

static void
add_range(RangeList *list, const MqLogRange *range)
{
	Assert(list->n < list->room);
	list->ranges[list->n++] = *range;
}

/* Fills in what mq.last_produced() shows once this has committed. */
static void
prepare_last_produced(void)
{
	const MqBuilder *builder;
	int			i;

	if (next_produced != NULL)
		pfree(next_produced);
	next_produced = NULL;
	if (ranges.n == 0)
		return;
	next_produced = MemoryContextAllocHuge(TopMemoryContext, sizeof(MqProducedRange) * ranges.n);
	for (i = 0; i < ranges.n; i++)
	{
		const MqLogKey *key = mq_log_key(ranges.ranges[i].log);

		next_produced[i].topic[0] = '\0';
		next_produced[i].partition = key->partition;
		next_produced[i].base = ranges.ranges[i].base;
		next_produced[i].last = ranges.ranges[i].next - 1;
		builder = lookup_builder(key);
		if (builder != NULL)
			strlcpy(next_produced[i].topic, builder->topic, sizeof(next_produced[i].topic));
	}
}

/* After the commit: may not raise, may not allocate. */
static void
at_commit(void)
{
	if (ranges.n > 0)
	{
		mq_log_publish(ranges.ranges, ranges.n, XactLastCommitEnd);
		if (last_produced != NULL)
			pfree(last_produced);
		last_produced = next_produced;
		last_produced_n = ranges.n;
		next_produced = NULL;
	}
	mq_xact_topics_hand_over(true);
	publish_now_ranges();
	forget();
}

static void
at_abort(void)
{
	if (ranges.n > 0)
		mq_log_abort(ranges.ranges, ranges.n, ranges_fxid);
	mq_xact_topics_hand_over(false);
	publish_now_ranges();
	forget();
}

/* What was appended outside a transaction is as good as committed. */
static void
publish_now_ranges(void)
{
	if (now_ranges.n == 0)
		return;
	mq_log_publish(now_ranges.ranges, now_ranges.n, InvalidXLogRecPtr);
	now_ranges.n = 0;
}

/* The temporary file goes with its resource owner. */
static void
forget(void)
{
	mq_notify_release();
	mq_progress_end();
	mq_log_release();
	if (xact_context != NULL)
		MemoryContextReset(xact_context);
	xact_context = NULL;
	builders = NULL;
	nbuilders = 0;
	builder_index = NULL;
	last_builder = NULL;
	deepest_mark = 0;
	buffered_bytes = 0;
	spill_at = 0;
	spilled.file = -1;
	mq_xact_topics_forget();
	ranges.ranges = NULL;
	ranges.n = ranges.room = 0;
	ranges_fxid = 0;
	sealed = false;
}

static int
compare_builders(const void *a, const void *b)
{
	const MqBuilder *x = *(MqBuilder *const *) a;
	const MqBuilder *y = *(MqBuilder *const *) b;
	int			order = memcmp(&x->key.topic, &y->key.topic, UUID_LEN);

	if (order != 0)
		return order;
	return (x->key.partition > y->key.partition) - (x->key.partition < y->key.partition);
}
