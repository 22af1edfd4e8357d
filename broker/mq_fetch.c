/*
 * mq_fetch.c
 *	  Read from an offset up to the visible end.
 *
 * A fetch walks the visible batches of one partition, or of all in turn, and
 * hands their records one by one to a sink.  Nothing here knows rows: a sink
 * makes tuples of the records, or counts them, or looks at their timestamps.
 * Values are never decoded; tags are found by comparing the bytes of the
 * record's headers.
 *
 * Every round reads up to the last stable offset it found when it began and
 * goes on from there after a wait, so batches of failed transactions and
 * messages with other tags are passed over once.
 *
 * Locking: none of its own.  The caller's lock on the topic's relation keeps
 *			it from being dropped; a pinned log keeps its slot.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"

#include "base/mq_errors.h"
#include "broker/mq_fetch.h"
#include "broker/mq_life.h"
#include "broker/mq_notify.h"
#include "broker/mq_produce.h"
#include "storage/mq_log_start.h"
#include "storage/mq_payload.h"
#include "storage/mq_stat.h"

/* One walk over a partition's batches, and the memory it decompresses into. */
typedef struct Walk
{
	MqLogDamage damage;
	MqFetchSink sink;
	void	   *arg;
	MqTimestamp since;			/* batches with older records only are passed over */
	int64		expected;		/* records that will do, 0 = not known */
	MqPayload	memory;
} Walk;

/* How far a fetch has come in one partition. */
typedef struct Cursor
{
	MqLog	   *log;			/* pinned between rounds only if we may wait */
	bool		started;
	MqOffset	next;
} Cursor;

typedef struct Fetch
{
	const MqFetchRequest *request;
	MqFetchSink sink;
	void	   *arg;
	Walk		walk;
	Cursor	   *cursors;
	int			ncursors;
	MqFetchTags tags;
	int64		given;
	int64		bytes;
	bool		full;
	bool		counted;		/* the call is in the statistics */
	MqStatOut	out;			/* of the partition in hand */
} Fetch;

static void begin_fetch(Fetch *fetch);
static void fetch_round(Fetch *fetch);
static void fetch_partition(Fetch *fetch, Cursor *cursor, int32 partition);
static bool take_record(void *arg, int32 partition, const MqRecord *record);
static bool wait_for_more(Fetch *fetch, long timeout_ms);
static void end_fetch(Fetch *fetch);
static void init_walk(Walk *walk, MqLogDamage damage, MqFetchSink sink, void *arg);
static bool walk_log(Walk *walk, MqLog *log, MqOffset from, MqOffset limit);
static bool walk_batch(Walk *walk, MqLog *log, const MqLogBatchView *view,
					   MqOffset from, MqOffset limit);
static bool note_first(void *arg, int32 partition, const MqRecord *record);

int64
mq_fetch(const MqFetchRequest *request, MqFetchSink sink, void *arg)
{
	Fetch		fetch = {.request = request,.sink = sink,.arg = arg};
	instr_time	start;

	begin_fetch(&fetch);
	INSTR_TIME_SET_CURRENT(start);
	for (;;)
	{
		instr_time	now;
		long		left;

		fetch_round(&fetch);
		if (fetch.given > 0 || request->max_wait_ms <= 0)
			break;
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
		left = request->max_wait_ms - (long) INSTR_TIME_GET_MILLISEC(now);
		if (left <= 0 || !wait_for_more(&fetch, left))
			break;
	}
	end_fetch(&fetch);
	return fetch.given;
}

MqOffset
mq_fetch_start(const char *topic, int32 partition, const MqLogOffsets *offsets, MqOffset from)
{
	if (from == MQ_FETCH_LATEST)
		return offsets->lso;
	if (from < offsets->log_start || from > offsets->leo)
		ereport(ERROR,
				(errcode(ERRCODE_MQ_OFFSET_OUT_OF_RANGE),
				 errmsg("offset %lld is out of range for partition %d of topic \"%s\"",
						(long long) from, partition, topic),
				 errdetail("The partition can be read from offset %lld to its end at %lld.",
						   (long long) offsets->log_start, (long long) offsets->leo),
				 errhint("Start at NULL for the earliest message, or at -1 for those to come.")));
	return from;
}

void
mq_fetch_walk(MqLog *log, MqOffset from, MqOffset limit, MqLogDamage damage,
			  MqFetchSink sink, void *arg)
{
	Walk		walk;
	MqLogOffsets offsets;
	int			turn = mq_log_start_enter(log);

	/* what was there when the caller looked may have been deleted */
	mq_log_offsets(log, &offsets);
	init_walk(&walk, damage, sink, arg);
	walk_log(&walk, log, Max(from, offsets.log_start), limit);
	mq_log_start_leave(log, turn);
	mq_payload_free(&walk.memory);
}

/*
 * The search by time looks at the greatest timestamp so far, which may belong
 * to an aborted batch; so the walk goes on until a visible record qualifies.
 * Damage is passed over with a WARNING: what stands behind it has a place too.
 */
MqOffset
mq_fetch_offset_at(MqLog *log, MqTimestamp ts)
{
	MqLogOffsets offsets;
	MqRecord	first = {.timestamp = ts,.offset = MQ_INVALID_OFFSET};
	MqOffset	from;
	Walk		walk;
	int			turn = mq_log_start_enter(log);

	mq_log_offsets(log, &offsets);
	from = mq_log_search_time(log, ts, offsets.lso);
	init_walk(&walk, MQ_LOG_DAMAGE_SKIP, note_first, &first);
	walk.since = ts;
	walk_log(&walk, log, Max(from, offsets.log_start), offsets.lso);
	mq_log_start_leave(log, turn);
	mq_payload_free(&walk.memory);
	return first.offset;
}

bool
mq_fetch_is_tag(const MqHeader *header)
{
	return header->key_len == MQ_FETCH_TAG_KEY_LEN &&
		memcmp(header->key, MQ_FETCH_TAG_KEY, MQ_FETCH_TAG_KEY_LEN) == 0;
}

bool
mq_fetch_has_tag(const MqFetchTags *tags, const MqRecord *record)
{
	MqReader	reader;
	MqHeader	header;
	int			left = record->header_count;
	int			i;

	mq_bytes_reader(&reader, record->headers, record->headers_len);
	while (left-- > 0 && mq_batch_next_header(&reader, &header))
	{
		if (!mq_fetch_is_tag(&header) || header.value == NULL)
			continue;
		for (i = 0; i < tags->n; i++)
		{
			if (header.value_len == tags->lens[i] &&
				memcmp(header.value, tags->tags[i], header.value_len) == 0)
				return true;
		}
	}
	return false;
}

static void
begin_fetch(Fetch *fetch)
{
	const MqFetchRequest *request = fetch->request;
	int			i;

	Assert(request->partition != MQ_PARTITION_ANY || !request->has_offset);
	init_walk(&fetch->walk, request->damage, take_record, fetch);
	fetch->ncursors = request->partition == MQ_PARTITION_ANY ? request->topic->partitions : 1;
	fetch->cursors = palloc0(fetch->ncursors * sizeof(Cursor));
	if (request->tags != NULL)
	{
		fetch->tags.tags = request->tags;
		fetch->tags.n = request->ntags;
		fetch->tags.lens = palloc(request->ntags * sizeof(int));
		for (i = 0; i < request->ntags; i++)
			fetch->tags.lens[i] = strlen(request->tags[i]);
	}
}

/* Reads what is visible now. */
static void
fetch_round(Fetch *fetch)
{
	const MqFetchRequest *request = fetch->request;
	int			i;

	for (i = 0; i < fetch->ncursors && !fetch->full; i++)
		fetch_partition(fetch, &fetch->cursors[i],
						request->partition == MQ_PARTITION_ANY ? i : request->partition);
}

/* Only a fetch that may wait keeps all its logs pinned: a topic may have more than there are places. */
static void
fetch_partition(Fetch *fetch, Cursor *cursor, int32 partition)
{
	const MqFetchRequest *request = fetch->request;
	MqLogOffsets offsets;
	int			turn;

	if (cursor->log == NULL)
	{
		MqLogKey	key;

		mq_topic_key(request->topic, partition, &key);
		cursor->log = mq_log_open(&key);
		mq_life_configure(request->topic, partition, cursor->log);
	}
	/* from here on no file goes that the offsets tell of */
	turn = mq_log_start_enter(cursor->log);
	mq_log_offsets(cursor->log, &offsets);
	cursor->next = Max(cursor->next, offsets.log_start);
	if (!cursor->started)
	{
		cursor->next = request->has_offset ?
			mq_fetch_start(request->topic->name, partition, &offsets, request->from_offset) :
			offsets.log_start;
		cursor->started = true;
	}
	if (cursor->next < offsets.lso)
	{
		fetch->walk.expected = request->tags == NULL ? request->max_messages - fetch->given : 0;
		walk_log(&fetch->walk, cursor->log, cursor->next, offsets.lso);
		cursor->next = offsets.lso;
	}
	mq_log_start_leave(cursor->log, turn);
	fetch->out.calls = fetch->counted ? 0 : 1;
	fetch->counted = true;
	mq_stat_count_out(cursor->log, &fetch->out);
	memset(&fetch->out, 0, sizeof(fetch->out));
	if (request->max_wait_ms <= 0)
	{
		mq_log_unpin(cursor->log);
		cursor->log = NULL;
	}
}

/* Hands a record on if it has one of the tags and the limits allow. */
static bool
take_record(void *arg, int32 partition, const MqRecord *record)
{
	Fetch	   *fetch = arg;
	const MqFetchRequest *request = fetch->request;
	int64		size;

	if (request->tags != NULL && !mq_fetch_has_tag(&fetch->tags, record))
	{
		fetch->out.filtered++;
		return true;
	}

	size = (int64) record->headers_len;
	if (record->key != NULL)
		size += record->key_len;
	if (record->value != NULL)
		size += record->value_len;
	if (fetch->given > 0 && fetch->bytes + size > request->max_bytes)
	{
		fetch->full = true;
		return false;
	}
	fetch->given++;
	fetch->bytes += size;
	fetch->out.messages++;
	fetch->out.bytes += size;
	if (!fetch->sink(fetch->arg, partition, record) || fetch->given >= request->max_messages)
		fetch->full = true;
	return !fetch->full;
}

/* Sleeps until one of the partitions has passed its cursor; false when the time is over. */
static bool
wait_for_more(Fetch *fetch, long timeout_ms)
{
	MqNotifyWait *waits = palloc(fetch->ncursors * sizeof(MqNotifyWait));
	bool		ready;
	int			i;

	for (i = 0; i < fetch->ncursors; i++)
	{
		waits[i].log = fetch->cursors[i].log;
		waits[i].offset = fetch->cursors[i].next;
	}
	ready = mq_notify_wait(waits, fetch->ncursors, timeout_ms);
	for (i = 0; i < fetch->ncursors; i++)
	{
		if (mq_log_is_dropped(waits[i].log))
			ready = false;
	}
	pfree(waits);
	return ready;
}

static void
end_fetch(Fetch *fetch)
{
	int			i;

	/* the last pinned first, as mq_log_unpin() likes it */
	for (i = fetch->ncursors - 1; i >= 0; i--)
	{
		if (fetch->cursors[i].log != NULL)
			mq_log_unpin(fetch->cursors[i].log);
	}
	pfree(fetch->cursors);
	if (fetch->tags.lens != NULL)
		pfree(fetch->tags.lens);
	mq_payload_free(&fetch->walk.memory);
}

static void
init_walk(Walk *walk, MqLogDamage damage, MqFetchSink sink, void *arg)
{
	memset(walk, 0, sizeof(*walk));
	walk->damage = damage;
	walk->sink = sink;
	walk->arg = arg;
	walk->since = PG_INT64_MIN;
}

/* False when the sink wants no more. */
static bool
walk_log(Walk *walk, MqLog *log, MqOffset from, MqOffset limit)
{
	MqLogReader *reader;
	MqLogBatchView view;
	bool		more = true;

	if (from >= limit)
		return true;
	reader = mq_log_reader_begin(log, from, limit, walk->damage);
	mq_log_reader_expect(reader, walk->expected);
	while (more && mq_log_reader_next(reader, &view))
	{
		CHECK_FOR_INTERRUPTS();
		if (view.info.attributes & MQ_BATCH_CONTROL)
			continue;
		if (view.info.max_timestamp < walk->since)
			continue;
		more = walk_batch(walk, log, &view, from, limit);
	}
	mq_log_reader_end(reader);
	return more;
}

/*
 * A batch passed its CRC, so one that does not decode was written like that;
 * what stands before the fault is handed on first.
 */
static bool
walk_batch(Walk *walk, MqLog *log, const MqLogBatchView *view, MqOffset from, MqOffset limit)
{
	int32		partition = mq_log_key(log)->partition;
	const uint8 *payload;
	size_t		len;
	MqBatchIter it;
	MqRecord	record;
	MqBatchStatus status;

	status = mq_payload_open(&walk->memory, view->data, &view->info, &payload, &len);
	if (status == MQ_BATCH_OK)
	{
		mq_batch_iter(&it, &view->info, payload, len);
		while (mq_batch_next(&it, &record, &status))
		{
			if (record.offset < from)
				continue;
			if (record.offset >= limit)
				return true;
			if (!walk->sink(walk->arg, partition, &record))
				return false;
		}
	}
	if (status != MQ_BATCH_OK)
		mq_log_report_batch(log, view, walk->damage, status);
	return true;
}

/* Sink: remembers the first record that is not older than the one asked for. */
static bool
note_first(void *arg, int32 partition, const MqRecord *record)
{
	MqRecord   *first = arg;

	if (record->timestamp < first->timestamp)
		return true;
	first->offset = record->offset;
	return false;
}
