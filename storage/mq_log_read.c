/*
 * mq_log_read.c
 *	  Readers of a log: batches from an offset on, search by time, facts for views.
 *
 * What lies below the last stable offset does not change any more, so readers
 * take no lock while they read.  A reader walks descriptors, leaves out those
 * of aborted transactions, and reads runs of whole batches with one call,
 * little at first, more as it goes on.
 *
 * Damage: a descriptor or batch that does not validate is reported with file,
 * position and offsets; what stands around it is read all the same.
 *
 * Locking: the append lock for a moment when a reader begins, exclusively if
 *			it has to write the log's tail.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "storage/mq_fate.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_segment.h"

#define WINDOW			64			/* descriptors looked at together */
#define FIRST_READ		(16 * 1024)
#define LARGEST_READ	(1024 * 1024)

struct MqLogReader
{
	MqLog	   *log;
	MqOffset	from;
	MqOffset	limit;
	MqLogDamage damage;
	MqOffset	segment;		/* -1 = no more */
	uint32		count;			/* descriptors of the segment */
	uint32		number;			/* next descriptor */
	MqOffset	expected;		/* offset that follows the last descriptor seen */
	MqDescriptorDisk window[WINDOW];
	uint32		window_first;
	uint32		window_n;
	uint8	   *buffer;
	size_t		buffer_size;
	uint32		run_position;	/* what the buffer holds of the .log */
	uint32		run_length;
	uint32		read_ahead;
};

static void enter_segment(MqLogReader *reader, MqOffset segment);
static void check_missing(MqLogReader *reader, MqOffset from, MqOffset next);
static MqOffset end_of_segment(MqLogReader *reader);
static bool leave_segment(MqLogReader *reader);
static const MqDescriptorDisk *descriptor(MqLogReader *reader, uint32 number);
static bool is_wanted(MqLogReader *reader, const MqDescriptorDisk *d);
static bool load_batch(MqLogReader *reader, const MqDescriptorDisk *d, MqLogBatchView *view);
static uint32 run_length(MqLogReader *reader, const MqDescriptorDisk *d);
static void report(MqLogReader *reader, MqSegmentFile kind, int64 position, MqOffset from, MqOffset next, const char *what);
static void read_failed(const MqLogKey *key, MqOffset segment, MqSegmentFile kind);
static bool last_descriptor(const MqLogKey *key, MqOffset segment, MqDescriptorDisk *d);
static MqTimestamp batch_timestamp(const MqLogKey *key, MqOffset segment);

MqLogReader *
mq_log_reader_begin(MqLog *log, MqOffset from, MqOffset limit, MqLogDamage damage)
{
	MqLogReader *reader = palloc0(sizeof(MqLogReader));
	MqSegmentList list;
	MqOffset	active;
	MqOffset	segment = -1;
	int			i;

	reader->log = log;
	reader->from = from;
	reader->limit = limit;
	reader->damage = damage;
	reader->segment = -1;
	reader->read_ahead = FIRST_READ;
	if (log->state == MQ_LOG_DISABLED)
		read_failed(&log->key, 0, MQ_SEGMENT_LOG);
	if (from >= limit)
		return reader;
	mq_log_tail_write_for_reader(log);

	LWLockAcquire(&log->append_lock, LW_SHARED);
	active = log->end.segment;
	LWLockRelease(&log->append_lock);
	if (active >= 0 && from >= active)
		segment = active;
	else
	{
		if (!mq_segment_list(&log->key, 0, &list))
			read_failed(&log->key, active, MQ_SEGMENT_LOG);
		for (i = 0; i < list.n && (segment < 0 || list.bases[i] <= from); i++)
			segment = list.bases[i];
		mq_segment_list_free(&list);
	}
	if (segment < 0)
	{
		reader->segment = 0;
		check_missing(reader, from, limit);
		reader->segment = -1;
		return reader;
	}
	enter_segment(reader, segment);
	if (segment > from)
		reader->expected = from;
	return reader;
}

bool
mq_log_reader_next(MqLogReader *reader, MqLogBatchView *view)
{
	while (reader->segment >= 0)
	{
		const MqDescriptorDisk *d;
		MqOffset	base;

		CHECK_FOR_INTERRUPTS();
		if (reader->expected >= reader->limit)
			break;
		if (reader->number >= reader->count)
		{
			MqOffset	before = reader->expected;
			bool		more = leave_segment(reader);

			check_missing(reader, before, more ? reader->segment : reader->limit);
			if (!more)
				break;
			continue;
		}
		d = descriptor(reader, reader->number);
		if (d == NULL)
		{
			uint32		damaged = reader->number++;
			MqOffset	before = reader->expected;

			/* what is damaged reaches up to the next descriptor that is not */
			while (reader->number < reader->count && descriptor(reader, reader->number) == NULL)
				reader->number++;
			if (reader->number < reader->count)
				reader->expected = reader->segment + descriptor(reader, reader->number)->offset_delta;
			else
				reader->expected = end_of_segment(reader);
			reader->expected = Min(reader->expected, reader->limit);
			if (reader->expected > Max(before, reader->from))
				report(reader, MQ_SEGMENT_BATCHES, (int64) damaged * MQ_BATCHES_ENTRY_SIZE,
					   before, reader->expected, "a batch descriptor is damaged");
			continue;
		}
		base = reader->segment + d->offset_delta;
		check_missing(reader, reader->expected, Min(base, reader->limit));
		if (base >= reader->limit)
			break;
		reader->expected = base + d->record_count;
		reader->number++;
		if (!is_wanted(reader, d))
			continue;
		view->next_offset = reader->expected;
		if (load_batch(reader, d, view))
			return true;
	}
	reader->segment = -1;
	return false;
}

void
mq_log_reader_end(MqLogReader *reader)
{
	if (reader->buffer != NULL)
		pfree(reader->buffer);
	pfree(reader);
}

/*
 * Running maxima rise from batch to batch and from segment to segment, so the
 * first batch whose maximum reaches ts holds the first such record.
 */
MqOffset
mq_log_search_time(MqLog *log, MqTimestamp ts, MqOffset limit)
{
	MqSegmentList list;
	MqOffset	result = limit;
	int			low = 0;
	int			high;

	mq_log_tail_write_for_reader(log);
	if (!mq_segment_list(&log->key, 0, &list))
		read_failed(&log->key, 0, MQ_SEGMENT_LOG);
	high = list.n;
	while (low < high)
	{
		int			mid = (low + high) / 2;
		MqDescriptorDisk d;

		if (last_descriptor(&log->key, list.bases[mid], &d) && d.max_timestamp < ts)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < list.n && result == limit; low++)
	{
		MqBatchesIdentity id;
		MqDescriptorDisk d;
		uint32		count;
		uint32		number;
		bool		ok;
		int			fd = mq_segment_open(&log->key, list.bases[low], MQ_SEGMENT_BATCHES, false);

		if (fd < 0)
			continue;
		count = Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE;
		mq_segment_identity(&id, &log->key, list.bases[low]);
		number = mq_batches_search(&id, count, MQ_BATCHES_BY_MAX_TIMESTAMP, ts - 1,
								   mq_segment_read_batches, &fd, &ok);
		if (ok && number < count && mq_segment_read_batches(&fd, number, 1, &d))
			result = Min(list.bases[low] + d.offset_delta, limit);
	}
	mq_segment_list_free(&list);
	return result;
}

void
mq_log_info(MqLog *log, MqLogInfo *info)
{
	XLogRecPtr	last;
	int			n;
	int			i;
	MqLogSegmentInfo *segments;

	memset(info, 0, sizeof(*info));
	info->oldest_timestamp = MQ_NO_TIMESTAMP;
	LWLockAcquire(&log->append_lock, LW_SHARED);
	info->state = log->state;
	info->last_append_at = log->last_append_at;
	info->newest_timestamp = log->max_timestamp;
	LWLockRelease(&log->append_lock);

	if (info->state == MQ_LOG_DISABLED)
		return;

	/* flush after the look, so that no end is shown that a crash takes back */
	mq_log_offsets(log, &info->offsets);
	LWLockAcquire(&log->append_lock, LW_SHARED);
	last = log->last_append_lsn;
	LWLockRelease(&log->append_lock);
	mq_log_flush_for_view(last);

	segments = mq_log_segments(log, &n);
	info->segments = n;
	info->oldest_timestamp = n > 0 ? segments[0].min_timestamp : MQ_NO_TIMESTAMP;
	for (i = 0; i < n; i++)
		info->size_bytes += segments[i].log_bytes + segments[i].batches_bytes;
	if (segments != NULL)
		pfree(segments);
}

MqLogSegmentInfo *
mq_log_segments(MqLog *log, int *n)
{
	MqSegmentList list;
	MqLogSegmentInfo *result;
	MqLogEnd	end;
	char		dir[MQ_SEGMENT_PATH_MAX];
	bool		damaged;
	bool		written;
	int			save_errno;
	int			i;

	/* a view shows many logs: one that cannot be looked at must not take the others with it */
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	written = mq_log_tail_write(log, DEBUG1);
	save_errno = errno;
	end = log->end;
	damaged = log->state != MQ_LOG_ACTIVE;
	LWLockRelease(&log->append_lock);

	mq_segment_dir(dir, &log->key);
	if (!written)
	{
		errno = save_errno;
		mq_log_file_error("write files in folder", dir, WARNING);
	}
	if (!mq_segment_list(&log->key, 0, &list))
		mq_log_file_error("read folder", dir, WARNING);

	*n = list.n;
	result = palloc0(sizeof(MqLogSegmentInfo) * Max(list.n, 1));
	for (i = 0; i < list.n; i++)
	{
		MqLogSegmentInfo *s = &result[i];
		MqDescriptorDisk d;
		char		path[MQ_SEGMENT_PATH_MAX];

		s->base = list.bases[i];
		s->next = i + 1 < list.n ? list.bases[i + 1] : Max(end.leo, s->base);
		s->active = i == list.n - 1;
		s->damaged = damaged && s->active;
		mq_segment_path(path, &log->key, s->base, MQ_SEGMENT_BATCHES);
		s->batches_bytes = Max(mq_file_size(path), 0);
		mq_segment_path(path, &log->key, s->base, MQ_SEGMENT_LOG);
		s->log_bytes = Max(mq_file_size(path), 0);
		strlcpy(s->path, path, sizeof(s->path));
		s->min_timestamp = s->log_bytes > 0 ? batch_timestamp(&log->key, s->base) : MQ_NO_TIMESTAMP;
		s->max_timestamp = s->log_bytes > 0 && last_descriptor(&log->key, s->base, &d) ?
			d.max_timestamp : MQ_NO_TIMESTAMP;
	}
	mq_segment_list_free(&list);
	return result;
}

/* What is between append and publish, partition by partition; palloc'd. */
MqLogInflight *
mq_log_inflight(int *n)
{
	MqLogInflight *result = NULL;
	int			room = 0;
	int			i;

	*n = 0;
	if (!mq_log_is_attached())
		return NULL;
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];
		int32		range;
		int			here = 0;

		if (!log->in_use || log->range_head == MQ_LOG_NO_RANGE)
			continue;
		/* count first: nothing is allocated under the lock */
		LWLockAcquire(&log->append_lock, LW_SHARED);
		for (range = log->range_head; range != MQ_LOG_NO_RANGE; range = mq_log_ranges[range].next)
			here++;
		LWLockRelease(&log->append_lock);
		if (*n + here > room)
		{
			room = Max(room * 2, *n + here + 16);
			result = result == NULL ? palloc(sizeof(MqLogInflight) * room) :
				repalloc(result, sizeof(MqLogInflight) * room);
		}
		LWLockAcquire(&log->append_lock, LW_SHARED);
		for (range = log->range_head; range != MQ_LOG_NO_RANGE && *n < room; range = mq_log_ranges[range].next)
		{
			const MqRangeShared *r = &mq_log_ranges[range];
			MqLogInflight *out = &result[(*n)++];

			out->key = log->key;
			out->fxid = r->fxid;
			out->base = r->base;
			out->next = r->end;
			out->since = r->since;
			out->committed = r->state == MQ_RANGE_COMMITTED;
			out->aborted = r->state == MQ_RANGE_ABORTED;
			out->blocks_lso = range == log->range_head;
		}
		LWLockRelease(&log->append_lock);
	}
	return result;
}

/* Puts the reader at the first descriptor that reaches past "from". */
static void
enter_segment(MqLogReader *reader, MqOffset segment)
{
	MqBatchesIdentity id;
	const MqDescriptorDisk *d;
	int64		size;
	bool		ok = true;
	int			fd = mq_segment_open(&reader->log->key, segment, MQ_SEGMENT_BATCHES, false);

	size = fd < 0 ? -1 : mq_file_size_fd(fd);
	if (size < 0)
		read_failed(&reader->log->key, segment, MQ_SEGMENT_BATCHES);
	reader->segment = segment;
	reader->count = size / MQ_BATCHES_ENTRY_SIZE;
	reader->number = 0;
	reader->window_n = 0;
	reader->run_length = 0;
	reader->expected = segment;
	if (reader->from <= segment)
		return;

	mq_segment_identity(&id, &reader->log->key, segment);
	reader->number = mq_batches_search(&id, reader->count, MQ_BATCHES_BY_NEXT_OFFSET,
									   reader->from - segment, mq_segment_read_batches, &fd, &ok);
	if (!ok)
		read_failed(&reader->log->key, segment, MQ_SEGMENT_BATCHES);

	/* damaged ones right before it may hold the offset asked for */
	while (reader->number > 0 && descriptor(reader, reader->number - 1) == NULL)
		reader->number--;
	if (reader->number > 0)
	{
		d = descriptor(reader, reader->number - 1);
		reader->expected = segment + d->offset_delta + d->record_count;
	}
}

/*
 * Offsets are handed out without gaps, and a failed transaction leaves its
 * batches in place.  So what no descriptor covers has been lost.
 */
static void
check_missing(MqLogReader *reader, MqOffset from, MqOffset next)
{
	from = Max(from, mq_log_get(&reader->log->log_start));
	if (next > Max(from, reader->from))
		report(reader, MQ_SEGMENT_BATCHES, (int64) reader->number * MQ_BATCHES_ENTRY_SIZE,
			   from, next, "batches are missing");
}

/* Where the next segment begins; the limit when there is none. */
static MqOffset
end_of_segment(MqLogReader *reader)
{
	MqSegmentList list;
	MqOffset	end;

	if (!mq_segment_list(&reader->log->key, reader->segment + 1, &list))
		read_failed(&reader->log->key, reader->segment, MQ_SEGMENT_LOG);
	end = list.n > 0 ? list.bases[0] : reader->limit;
	mq_segment_list_free(&list);
	return end;
}

/* On to the next segment; false at the end of the log. */
static bool
leave_segment(MqLogReader *reader)
{
	MqOffset	next = end_of_segment(reader);

	if (next >= reader->limit)
		return false;
	enter_segment(reader, next);
	return true;
}

/* The descriptor with this number, NULL when it is damaged; good until the next call. */
static const MqDescriptorDisk *
descriptor(MqLogReader *reader, uint32 number)
{
	MqBatchesIdentity id;

	if (number < reader->window_first || number >= reader->window_first + reader->window_n)
	{
		uint32		first = number;
		uint32		n = Min(reader->count - first, WINDOW);
		int			fd = mq_segment_open(&reader->log->key, reader->segment, MQ_SEGMENT_BATCHES, false);

		if (fd < 0 || !mq_segment_read_batches(&fd, first, n, reader->window))
			read_failed(&reader->log->key, reader->segment, MQ_SEGMENT_BATCHES);
		reader->window_first = first;
		reader->window_n = n;
	}
	mq_segment_identity(&id, &reader->log->key, reader->segment);
	if (!mq_batches_valid(&reader->window[number - reader->window_first], &id, number))
		return NULL;
	return &reader->window[number - reader->window_first];
}

static bool
is_wanted(MqLogReader *reader, const MqDescriptorDisk *d)
{
	MqOffset	base = reader->segment + d->offset_delta;

	if (base + d->record_count <= reader->from)
		return false;
	switch (mq_fate(d))
	{
		case MQ_FATE_COMMITTED:
			return true;
		case MQ_FATE_ABORTED:
			return false;
		case MQ_FATE_IN_DOUBT:
			elog(ERROR, "batch at offset %lld is in doubt below the last stable offset", (long long) base);
			break;
		case MQ_FATE_UNKNOWN:
			report(reader, MQ_SEGMENT_BATCHES, (int64) (reader->number - 1) * MQ_BATCHES_ENTRY_SIZE,
				   base, base + d->record_count, "the fate of the batch's transaction is unknown");
			break;
	}
	return false;
}

/* Gets the batch into the buffer and checks it; false when it is damaged and to be skipped. */
static bool
load_batch(MqLogReader *reader, const MqDescriptorDisk *d, MqLogBatchView *view)
{
	MqOffset	base = reader->segment + d->offset_delta;
	MqBatchStatus status;

	if (d->position < reader->run_position ||
		d->position + d->length > reader->run_position + reader->run_length)
	{
		uint32		len = run_length(reader, d);
		int			fd = mq_segment_open(&reader->log->key, reader->segment, MQ_SEGMENT_LOG, false);
		int64		got;

		if (len > reader->buffer_size)
		{
			reader->buffer = reader->buffer == NULL ? palloc(len) : repalloc(reader->buffer, len);
			reader->buffer_size = len;
		}
		got = fd < 0 ? -1 : mq_file_pread(fd, reader->buffer, len, d->position);
		if (got < 0)
			read_failed(&reader->log->key, reader->segment, MQ_SEGMENT_LOG);
		reader->run_position = d->position;
		reader->run_length = got;
		reader->read_ahead = Min(reader->read_ahead * 4, LARGEST_READ);
	}

	view->data = reader->buffer + (d->position - reader->run_position);
	status = MQ_BATCH_TOO_SHORT;
	if (d->position + d->length <= reader->run_position + reader->run_length)
		status = mq_batch_parse(view->data, d->length, &view->info);
	if (status == MQ_BATCH_OK &&
		(view->info.total_length != d->length || view->info.base_offset != base))
		status = MQ_BATCH_BAD_LENGTH;

	/* a whole batch, but not the one that was written here */
	if (status == MQ_BATCH_OK &&
		((uint32) view->info.last_offset_delta + 1 != d->record_count ||
		 view->info.max_timestamp > d->max_timestamp ||
		 !mq_batches_is_tied(d, view->data)))
		status = MQ_BATCH_BAD_COUNT;
	if (status == MQ_BATCH_OK)
		status = mq_batch_check_crc(view->data, &view->info);
	if (status == MQ_BATCH_OK)
		return true;
	report(reader, MQ_SEGMENT_LOG, d->position, base, base + d->record_count,
		   mq_batch_status_text(status));
	return false;
}

/* How much to read at once: this batch, and those right behind it up to the read-ahead. */
static uint32
run_length(MqLogReader *reader, const MqDescriptorDisk *d)
{
	uint32		position = d->position;
	uint32		end = position + d->length;
	uint32		i;

	for (i = d - reader->window + 1; i < reader->window_n; i++)
	{
		const MqDescriptorDisk *next = &reader->window[i];

		if (next->position != end || end - position + next->length > reader->read_ahead ||
			next->length > MQ_MAX_BATCH_BYTES ||
			reader->segment + next->offset_delta >= reader->limit)
			break;
		end += next->length;
	}
	return end - position;
}

/* XX001, or a WARNING for those who asked to go on. */
static void
report(MqLogReader *reader, MqSegmentFile kind, int64 position, MqOffset from, MqOffset next, const char *what)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, &reader->log->key, reader->segment, kind);
	ereport(reader->damage == MQ_LOG_DAMAGE_ERROR ? ERROR : WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("damaged batch in file \"%s\" at position %lld", path, (long long) position),
			 errdetail("Offsets %lld to %lld of partition %d: %s.",
					   (long long) from, (long long) next - 1, reader->log->key.partition, what),
			 reader->damage == MQ_LOG_DAMAGE_ERROR ?
			 errhint("Read around it with on_damage => 'skip'; restore it from a backup.") : 0));
}

static void
read_failed(const MqLogKey *key, MqOffset segment, MqSegmentFile kind)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, key, Max(segment, 0), kind);
	mq_log_file_error("read file", path, ERROR);
}

static bool
last_descriptor(const MqLogKey *key, MqOffset segment, MqDescriptorDisk *d)
{
	MqBatchesIdentity id;
	uint32		number;
	int			fd = mq_segment_open(key, segment, MQ_SEGMENT_BATCHES, false);

	if (fd < 0)
		return false;
	mq_segment_identity(&id, key, segment);
	for (number = Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE; number > 0; number--)
	{
		if (!mq_segment_read_batches(&fd, number - 1, 1, d))
			return false;
		if (mq_batches_valid(d, &id, number - 1))
			return true;
	}
	return false;
}

/* Base timestamp of a segment's first batch. */
static MqTimestamp
batch_timestamp(const MqLogKey *key, MqOffset segment)
{
	uint8		header[MQ_BATCH_HEADER_SIZE];
	MqBatchInfo info;
	int			fd = mq_segment_open(key, segment, MQ_SEGMENT_LOG, false);

	if (fd < 0 || mq_file_pread(fd, header, sizeof(header), 0) != sizeof(header) ||
		mq_batch_parse(header, PG_INT32_MAX, &info) != MQ_BATCH_OK)
		return MQ_NO_TIMESTAMP;
	return info.base_timestamp;
}
