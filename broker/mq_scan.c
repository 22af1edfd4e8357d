/*
 * mq_scan.c
 *	  Records of a topic, pulled one by one out of its partitions.
 *
 * A fetch pushes records to a sink until a limit or a time is reached; a scan
 * is asked for the next one, and has an end that is fixed when it begins: the
 * last stable offset of each partition.  What comes later it never sees, so
 * it can be started again and gives the same, as a join's inner side must.
 * What lies below the log's start it passes over in silence, as a table does
 * with rows that are gone.
 *
 * A scan that only counts takes whole batches by the count in their headers
 * and decodes only those that a bound cuts in two.
 *
 * Several processes may share a scan: each gives some of the records, in an
 * order of its own (mq_scan_share.c).
 *
 * Timestamps need not rise from record to record.  The index by time gives
 * the place before which all are too old; behind it every record is compared.
 *
 * Locking: none of its own; the caller's lock on the topic's relation keeps it
 *			from being dropped.  Up to KEEP_PINNED logs stay pinned from the
 *			beginning to the end, and so do the files they had then, whatever
 *			is deleted meanwhile; of more partitions only one at a time, since
 *			a topic may have more than there are places.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "broker/mq_life.h"
#include "broker/mq_scan.h"
#include "storage/mq_log_start.h"
#include "storage/mq_payload.h"

#define KEEP_PINNED		64

/* So many partitions a planner looks at. */
#define ESTIMATE_LOGS	64

typedef struct ScanPart
{
	MqScanSharePart at;
	MqLog	   *log;			/* NULL = not kept pinned */
	int			turn;			/* with it: no file of the log goes meanwhile */
	bool		since_known;
	MqOffset	since;			/* where the bounds' time begins */
} ScanPart;

struct MqScan
{
	MemoryContext context;
	MqTopic		topic;
	MqScanWhat	what;
	ScanPart   *parts;
	int			nparts;
	MqScanShare *share;			/* NULL = not a parallel scan */
	const MqScanBounds *bounds;
	bool		only_offsets;	/* there are no other bounds */

	/* where it is */
	int			part;			/* -1 = before the first */
	MqLog	   *log;
	int			turn;			/* of a log that is not kept pinned */
	MqLogReader *reader;		/* NULL = between two partitions */
	int32		partition;
	MqOffset	from;
	MqOffset	to;
	MqLogBatchView view;
	bool		in_batch;
	bool		all_wanted;		/* of the batch */
	MqBatchIter it;
	int64		counted;		/* of a batch that is counted: what is left of it */
	MqPayload	memory;

	/* for the statistics */
	MqStatOut	out;			/* of the partition in hand */
	bool		call_counted;
};

static MqLog *open_log(const MqTopic *topic, int32 partition);
static void add_part(MqScan *scan, int32 partition, bool keep);
static bool next_batch(MqScan *scan);
static bool open_batch(MqScan *scan);
static bool enter_part(MqScan *scan);
static bool next_part(MqScan *scan, MqOffset *from, MqOffset *to);
static MqOffset find_since(MqScan *scan, ScanPart *part);
static void let_go(ScanPart *part);
static void leave_part(MqScan *scan);
static void count_out(MqScan *scan);
static bool is_wanted(MqScan *scan, const MqRecord *record);
static double estimate_log(MqLog *log, const MqScanBounds *bounds, double *all);

void
mq_scan_no_bounds(MqScanBounds *bounds)
{
	memset(bounds, 0, sizeof(*bounds));
	bounds->to = PG_INT64_MAX;
	bounds->since = PG_INT64_MIN;
	bounds->upto = PG_INT64_MAX;
}

MqScan *
mq_scan_begin(const MqTopic *topic, const Bitmapset *partitions, MqScanWhat what)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mq scan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	MqScan	   *scan = palloc0(sizeof(MqScan));
	int			n = partitions == NULL ? topic->partitions : bms_num_members(partitions);
	int32		i;

	scan->context = context;
	scan->topic = *topic;
	scan->what = what;
	scan->part = -1;
	scan->parts = palloc(sizeof(ScanPart) * n);
	for (i = 0; i < topic->partitions; i++)
	{
		if (partitions == NULL || bms_is_member(i, partitions))
			add_part(scan, i, n <= KEEP_PINNED);
	}
	MemoryContextSwitchTo(old);
	return scan;
}

static MqLog *
open_log(const MqTopic *topic, int32 partition)
{
	MqLogKey	key;

	mq_topic_key(topic, partition, &key);
	return mq_log_open(&key);
}

static void
add_part(MqScan *scan, int32 partition, bool keep)
{
	ScanPart   *part = &scan->parts[scan->nparts++];
	MqLog	   *log = open_log(&scan->topic, partition);
	MqLogOffsets offsets;

	if (keep)
		part->turn = mq_log_start_enter(log);
	mq_life_configure(&scan->topic, partition, log);
	mq_log_offsets(log, &offsets);
	part->at.partition = partition;
	part->at.start = offsets.log_start;
	part->at.end = offsets.lso;
	part->log = keep ? log : NULL;
	if (!keep)
		mq_log_unpin(log);
}

void
mq_scan_start(MqScan *scan, const MqScanBounds *bounds)
{
	int			i;

	leave_part(scan);
	scan->part = -1;
	for (i = 0; i < scan->nparts; i++)
		scan->parts[i].since_known = false;
	scan->bounds = bounds;
	scan->only_offsets = !bounds->has_time && !bounds->has_tags;
}

bool
mq_scan_next(MqScan *scan, int32 *partition, MqRecord *record)
{
	MqBatchStatus status;

	for (;;)
	{
		if (scan->counted > 0)
		{
			scan->counted--;
			return true;
		}
		while (scan->in_batch)
		{
			if (unlikely(!mq_batch_next(&scan->it, record, &status)))
			{
				scan->in_batch = false;
				if (status != MQ_BATCH_OK)
					mq_log_report_batch(scan->log, &scan->view, MQ_LOG_DAMAGE_ERROR, status);
			}
			else if (likely(scan->all_wanted || is_wanted(scan, record)))
			{
				*partition = scan->partition;
				scan->out.messages++;
				scan->out.bytes += (int64) Max(record->key_len, 0) + Max(record->value_len, 0) + record->headers_len;
				return true;
			}
		}
		if (!next_batch(scan))
			return false;
	}
}

int64
mq_scan_count(MqScan *scan)
{
	int64		n = 0;
	int32		partition;
	MqRecord	record;

	while (mq_scan_next(scan, &partition, &record))
	{
		n += 1 + scan->counted;
		scan->counted = 0;
	}
	return n;
}

void
mq_scan_end(MqScan *scan)
{
	int			i;

	leave_part(scan);
	/* the last pinned first, as mq_log_unpin() likes it */
	for (i = scan->nparts - 1; i >= 0; i--)
		let_go(&scan->parts[i]);
	MemoryContextDelete(scan->context);
}

Size
mq_scan_shared_size(const MqScan *scan)
{
	return mq_scan_share_size(scan == NULL ? 0 : scan->nparts);
}

void
mq_scan_share(MqScan *scan, MqScanShare *share, int64 expected)
{
	int			n = scan == NULL ? 0 : scan->nparts;
	MqScanSharePart *parts = palloc(sizeof(MqScanSharePart) * Max(n, 1));
	int			i;

	for (i = 0; i < n; i++)
		parts[i] = scan->parts[i].at;
	mq_scan_share_init(share, parts, n, expected);
	pfree(parts);
	if (scan != NULL)
		mq_scan_join(scan, share);
}

/*
 * Takes over the ends, and leaves out what is empty.  The process that began
 * keeps its logs from being changed under us; of more logs than it pins each
 * piece is looked at when its turn comes.
 */
void
mq_scan_join(MqScan *scan, MqScanShare *share)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	const MqScanSharePart *theirs;
	int			n = mq_scan_share_parts(share, &theirs);
	ScanPart   *joined = palloc0(sizeof(ScanPart) * Max(n, 1));
	int			mine = 0;
	int			i;

	/* both ascend; a partition that was added meanwhile is let go */
	for (i = 0; i < n; i++)
	{
		while (mine < scan->nparts && scan->parts[mine].at.partition < theirs[i].partition)
			let_go(&scan->parts[mine++]);
		if (mine < scan->nparts && scan->parts[mine].at.partition == theirs[i].partition)
			joined[i] = scan->parts[mine++];
		joined[i].at = theirs[i];
	}
	while (mine < scan->nparts)
		let_go(&scan->parts[mine++]);
	scan->parts = joined;
	scan->nparts = n;
	scan->share = share;
	MemoryContextSwitchTo(old);
}

/* The share's memory goes before the scan does, and what was begun is left. */
void
mq_scan_unshare(MqScan *scan)
{
	if (scan->share == NULL)
		return;
	leave_part(scan);
	scan->share = NULL;
	scan->part = scan->nparts;
}

static void
let_go(ScanPart *part)
{
	if (part->log == NULL)
		return;
	mq_log_start_leave(part->log, part->turn);
	mq_log_unpin(part->log);
	part->log = NULL;
}

/* What the storage reader allocates as it goes must live as long as the scan. */
static bool
next_batch(MqScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	bool		found = false;

	while (!found)
	{
		CHECK_FOR_INTERRUPTS();
		if (scan->reader == NULL && !enter_part(scan))
			break;
		if (mq_log_reader_next(scan->reader, &scan->view))
			found = open_batch(scan);
		else
			leave_part(scan);
	}
	MemoryContextSwitchTo(old);
	return found;
}

/* False for a batch that has nothing to give. */
static bool
open_batch(MqScan *scan)
{
	const MqBatchInfo *info = &scan->view.info;
	const uint8 *payload;
	size_t		len;
	MqBatchStatus status;

	if (info->attributes & MQ_BATCH_CONTROL)
		return false;
	if (scan->bounds->has_time && info->max_timestamp < scan->bounds->since)
		return false;
	scan->all_wanted = scan->only_offsets && info->base_offset >= scan->from &&
		info->base_offset + info->last_offset_delta < scan->to;
	if (scan->what == MQ_SCAN_COUNT && scan->all_wanted)
	{
		scan->counted = info->record_count;
		scan->out.messages += info->record_count;
		return scan->counted > 0;
	}
	status = mq_payload_open(&scan->memory, scan->view.data, info, &payload, &len);
	if (status != MQ_BATCH_OK)
		mq_log_report_batch(scan->log, &scan->view, MQ_LOG_DAMAGE_ERROR, status);
	mq_batch_iter(&scan->it, info, payload, len);
	scan->in_batch = true;
	return true;
}

/* On to the next partition, or piece of one, that has something to read. */
static bool
enter_part(MqScan *scan)
{
	const MqScanBounds *bounds = scan->bounds;
	MqOffset	from;
	MqOffset	to;

	while (next_part(scan, &from, &to))
	{
		ScanPart   *part = &scan->parts[scan->part];

		if (bounds->partitions != NULL && !bms_is_member(part->at.partition, bounds->partitions))
			continue;
		if (bounds->from >= Min(to, bounds->to) || bounds->to <= from ||
			(part->since_known && part->since >= to))
			continue;
		scan->log = part->log != NULL ? part->log : open_log(&scan->topic, part->at.partition);
		scan->partition = part->at.partition;
		scan->from = Max(from, bounds->from);
		scan->to = Min(to, bounds->to);
		if (part->log == NULL)
		{
			MqLogOffsets offsets;

			scan->turn = mq_log_start_enter(scan->log);
			mq_log_offsets(scan->log, &offsets);
			scan->from = Max(scan->from, offsets.log_start);
			/* the end rises only; this is another log, of a partition that was retired and has gone */
			if (offsets.lso < part->at.end)
				scan->to = scan->from;
		}
		if (bounds->has_time && bounds->since > PG_INT64_MIN && scan->from < scan->to)
			scan->from = Max(scan->from, find_since(scan, part));
		if (scan->from < scan->to)
		{
			scan->reader = mq_log_reader_begin(scan->log, scan->from, scan->to, MQ_LOG_DAMAGE_ERROR);
			mq_log_reader_writes(scan->reader);
			return true;
		}
		leave_part(scan);
	}
	return false;
}

/* Asked for once, for all pieces of the part. */
static MqOffset
find_since(MqScan *scan, ScanPart *part)
{
	if (!part->since_known)
		part->since = mq_log_search_time(scan->log, scan->bounds->since, part->at.end);
	part->since_known = true;
	return part->since;
}

static bool
next_part(MqScan *scan, MqOffset *from, MqOffset *to)
{
	if (scan->share != NULL)
		return mq_scan_share_claim(scan->share, &scan->part, from, to);
	if (scan->part + 1 >= scan->nparts)
		return false;
	scan->part++;
	*from = scan->parts[scan->part].at.start;
	*to = scan->parts[scan->part].at.end;
	return true;
}

static void
leave_part(MqScan *scan)
{
	if (scan->reader != NULL)
		mq_log_reader_end(scan->reader);
	scan->reader = NULL;
	scan->in_batch = false;
	scan->counted = 0;
	if (scan->log != NULL)
	{
		count_out(scan);
		if (scan->parts[scan->part].log == NULL)
		{
			mq_log_start_leave(scan->log, scan->turn);
			mq_log_unpin(scan->log);
		}
	}
	scan->log = NULL;
}

/* What was read of the log; and the scan, once, whoever shares it. */
static void
count_out(MqScan *scan)
{
	if (!scan->call_counted && (scan->share == NULL || mq_scan_share_is_first(scan->share)))
		scan->out.calls = 1;
	scan->call_counted = true;
	mq_stat_count_out(scan->log, &scan->out);
	memset(&scan->out, 0, sizeof(scan->out));
}

static bool
is_wanted(MqScan *scan, const MqRecord *record)
{
	const MqScanBounds *bounds = scan->bounds;

	if (record->offset < scan->from)
		return false;
	if (record->offset >= scan->to)
	{
		scan->in_batch = false;
		return false;
	}
	if (bounds->has_time &&
		(record->timestamp == MQ_NO_TIMESTAMP ||
		 record->timestamp < bounds->since || record->timestamp > bounds->upto))
		return false;
	if (!bounds->has_tags || mq_fetch_has_tag(&bounds->tags, record))
		return true;
	scan->out.filtered++;
	return false;
}

/*
 * The index by time is asked for both ends: timestamps nearly always rise.
 * Partitions that the query leaves out are not looked at, since one of them may
 * be unusable; the others stand for them in the total.
 */
double
mq_scan_estimate(const MqTopic *topic, const MqScanBounds *bounds, double *total)
{
	int			wanted = bounds->partitions == NULL ? topic->partitions : bms_num_members(bounds->partitions);
	int			step = (wanted + ESTIMATE_LOGS - 1) / ESTIMATE_LOGS;
	int			asked = 0;
	int			seen = 0;
	double		all = 0;
	double		left = 0;
	int32		i;

	for (i = 0; i < topic->partitions; i++)
	{
		MqLog	   *log;

		if (bounds->partitions != NULL && !bms_is_member(i, bounds->partitions))
			continue;
		if (asked++ % step != 0)
			continue;
		log = open_log(topic, i);
		seen++;
		if (mq_log_is_usable(log))
			left += estimate_log(log, bounds, &all);
		mq_log_unpin(log);
	}
	*total = seen == 0 ? 0 : all / seen * topic->partitions;
	return seen == 0 ? 0 : left / seen * wanted;
}

static double
estimate_log(MqLog *log, const MqScanBounds *bounds, double *all)
{
	MqLogOffsets offsets;
	MqOffset	from;
	MqOffset	to;

	mq_log_offsets(log, &offsets);
	*all += offsets.lso - offsets.log_start;
	from = Max(bounds->from, offsets.log_start);
	to = Min(bounds->to, offsets.lso);
	if (bounds->has_time && bounds->since > PG_INT64_MIN && from < to)
		from = Max(from, mq_log_search_time(log, bounds->since, to));
	if (bounds->has_time && bounds->upto < PG_INT64_MAX && from < to)
		to = mq_log_search_time(log, bounds->upto + 1, to);
	return from < to ? to - from : 0;
}
