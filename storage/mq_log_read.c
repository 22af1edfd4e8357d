/*
 * mq_log_read.c
 *	  Readers of a log: batches from an offset on.
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
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "base/mq_settings.h"
#include "base/mq_faults.h"
#include "storage/mq_fate.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_segments.h"
#include "storage/mq_log_start.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_read_buffer.h"
#include "storage/mq_segment.h"

struct MqLogReader
{
	MqLog	   *log;
	MqOffset	from;
	MqOffset	limit;
	MqLogDamage damage;
	int			turn;			/* see mq_log_start_enter(); -1 = has not entered */
	MqOffset	segment;		/* -1 = no more */
	uint32		count;			/* descriptors of the segment */
	uint32		number;			/* next descriptor */
	MqOffset	expected;		/* offset that follows the last descriptor seen */
	MqBatchesWindow window;
	MemoryContext context;
	MqReadBuffer buffer;
	uint32		read_ahead;
	int64		wanted;			/* records that will be enough, for the first read; 0 = not known */
	MqStatRead	done;			/* not yet counted */
};

/* Where a reader has ended. */
static struct
{
	MqLogKey	key;
	MqOffset	segment;
	uint32		number;
}			last;

static void enter_segment(MqLogReader *reader, MqOffset segment);
static uint32 place_of(const MqLogReader *reader);
static void check_missing(MqLogReader *reader, MqOffset from, MqOffset next);
static MqOffset end_of_segment(MqLogReader *reader);
static bool leave_segment(MqLogReader *reader);
static const MqDescriptorDisk *descriptor(MqLogReader *reader, uint32 number);
static bool is_wanted(MqLogReader *reader, const MqDescriptorDisk *d);
static bool load_batch(MqLogReader *reader, const MqDescriptorDisk *d, MqLogBatchView *view);
static bool read_run(MqLogReader *reader, const MqDescriptorDisk *d);
static uint32 expected_length(MqLogReader *reader, const MqDescriptorDisk *d);
static uint32 run_length(MqLogReader *reader, const MqDescriptorDisk *d);
static void report(MqLogReader *reader, MqSegmentFile kind, int64 position, MqOffset from, MqOffset next, const char *what);
static void report_unreadable(MqLogReader *reader, MqSegmentFile kind, int64 position, MqOffset from, MqOffset next);
static void raise_damage(const MqLogKey *key, MqOffset segment, MqSegmentFile kind, int64 position,
						 MqOffset from, MqOffset next, MqLogDamage damage, const char *what);
static void begin_read(instr_time *start);
static void end_read(MqLogReader *reader, const instr_time *start, int64 bytes);
static void count_reads(MqLogReader *reader);
static void read_failed(const MqLogKey *key, MqOffset segment, MqSegmentFile kind);

MqLogReader *
mq_log_reader_begin(MqLog *log, MqOffset from, MqOffset limit, MqLogDamage damage)
{
	MqLogReader *reader = palloc0(sizeof(MqLogReader));
	MqOffset	active;
	MqOffset	segment;

	reader->log = log;
	reader->from = from;
	reader->limit = limit;
	reader->damage = damage;
	reader->segment = reader->turn = -1;
	reader->read_ahead = MQ_READ_BUFFER_FIRST;
	reader->context = CurrentMemoryContext;
	if (log->state == MQ_LOG_DISABLED)
		read_failed(&log->key, 0, MQ_SEGMENT_LOG);
	if (from >= limit)
		return reader;
	MQ_FAULT("reader_begins");
	reader->turn = mq_log_start_enter(log);
	mq_log_tail_write_for_reader(log);

	LWLockAcquire(&log->append_lock, LW_SHARED);
	active = log->end.segment;
	LWLockRelease(&log->append_lock);
	if (active >= 0 && from >= active)
		segment = active;
	else if (!mq_log_segments_find(log, from, &segment))
		read_failed(&log->key, active, MQ_SEGMENT_LOG);
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
	mq_read_buffer_resume(&reader->buffer, &log->key, segment);
	return reader;
}

void
mq_log_reader_writes(MqLogReader *reader)
{
	reader->buffer.length = 0;
	reader->buffer.written = true;
}

void
mq_log_reader_expect(MqLogReader *reader, int64 records)
{
	reader->wanted = records;
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

/* Is what stands in the .log the batch that was written there?  len may be larger than the batch. */
MqBatchStatus
mq_log_check_batch(const MqDescriptorDisk *d, MqOffset base, const uint8 *data, size_t len, MqBatchInfo *info)
{
	MqBatchStatus status;

	if (len < d->length)
		return MQ_BATCH_TOO_SHORT;
	status = mq_batch_parse(data, d->length, info);
	if (status != MQ_BATCH_OK)
		return status;
	if (info->total_length != d->length || info->base_offset != base)
		return MQ_BATCH_BAD_LENGTH;

	/* a whole batch, but not the one that was written here */
	if ((uint32) info->last_offset_delta + 1 != d->record_count ||
		info->max_timestamp > d->max_timestamp || !mq_batches_is_tied(d, data))
		return MQ_BATCH_BAD_COUNT;
	return mq_batch_check_crc(data, info);
}

void
mq_log_report_batch(MqLog *log, const MqLogBatchView *view, MqLogDamage damage, MqBatchStatus status)
{
	if (status == MQ_BATCH_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while decompressing a record batch of %d bytes.",
						   view->info.total_length)));
	raise_damage(&log->key, view->segment, MQ_SEGMENT_LOG, view->position, view->info.base_offset,
				 view->next_offset, damage, mq_batch_status_text(status));
}

void
mq_log_reader_end(MqLogReader *reader)
{
	count_reads(reader);
	if (reader->turn >= 0)
		mq_log_start_leave(reader->log, reader->turn);
	last.key = reader->log->key;
	last.segment = reader->segment;
	last.number = reader->number - Min(reader->number, 1);
	mq_read_buffer_end(&reader->buffer, &reader->log->key);
	pfree(reader);
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

	count_reads(reader);
	size = fd < 0 ? -1 : mq_file_size_fd(fd);
	reader->segment = segment;
	reader->count = Max(size, 0) / MQ_BATCHES_ENTRY_SIZE;
	reader->number = 0;
	reader->window.n = 0;
	reader->buffer.length = 0;
	reader->expected = segment;
	if (size < 0)
	{
		int			save_errno = errno;
		MqOffset	next = Min(end_of_segment(reader), reader->limit);

		errno = save_errno;
		report_unreadable(reader, MQ_SEGMENT_BATCHES, 0, segment, next);
		reader->expected = next;
		return;
	}
	if (reader->from <= segment)
		return;

	mq_segment_identity(&id, &reader->log->key, segment);
	reader->number = mq_batches_search_near(&id, reader->count, MQ_BATCHES_BY_NEXT_OFFSET,
											reader->from - segment, place_of(reader),
											mq_segment_read_batches, &fd, &reader->window, &ok);
	if (!ok && (reader->damage == MQ_LOG_DAMAGE_ERROR || mq_file_is_shortage()))
		read_failed(&reader->log->key, segment, MQ_SEGMENT_BATCHES);
	if (!ok)
		reader->number = 0;

	/* damaged ones right before it may hold the offset asked for */
	while (reader->number > 0 && descriptor(reader, reader->number - 1) == NULL)
		reader->number--;
	if (reader->number > 0)
	{
		d = descriptor(reader, reader->number - 1);
		reader->expected = segment + d->offset_delta + d->record_count;
	}
}

/* Where the last reader of this process has left the segment, who probably goes on there. */
static uint32
place_of(const MqLogReader *reader)
{
	if (last.segment != reader->segment || memcmp(&last.key, &reader->log->key, sizeof(last.key)) != 0)
		return PG_UINT32_MAX;
	return last.number;
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
	MqBatchesWindow *window = &reader->window;
	MqBatchesIdentity id;

	if (number < window->first || number - window->first >= window->n)
	{
		uint32		n = Min(reader->count - number, MQ_BATCHES_WINDOW);
		int			fd = mq_segment_open(&reader->log->key, reader->segment, MQ_SEGMENT_BATCHES, false);
		instr_time	start;

		begin_read(&start);
		if (fd < 0 || !mq_segment_read_batches(&fd, number, n, window->entries))
		{
			if (reader->damage == MQ_LOG_DAMAGE_ERROR || mq_file_is_shortage())
				read_failed(&reader->log->key, reader->segment, MQ_SEGMENT_BATCHES);
			/* all of them are damaged then */
			memset(window->entries, 0, sizeof(window->entries));
		}
		else
			end_read(reader, &start, (int64) n * MQ_BATCHES_ENTRY_SIZE);
		window->first = number;
		window->n = n;
	}
	mq_segment_identity(&id, &reader->log->key, reader->segment);
	if (!mq_batches_valid(&window->entries[number - window->first], &id, number))
		return NULL;
	return &window->entries[number - window->first];
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
	MqReadBuffer *buffer = &reader->buffer;
	MqBatchStatus status;

	if (d->position >= buffer->position && d->position + d->length <= buffer->position + buffer->length)
	{
		/* what a reader before this one has left saves some */
		if (reader->wanted > 0)
			reader->wanted = Max(1, reader->wanted - (base + d->record_count - Max(base, reader->from)));
	}
	else if (!read_run(reader, d))
	{
		report_unreadable(reader, MQ_SEGMENT_LOG, d->position, base, base + d->record_count);
		return false;
	}
	view->data = buffer->data + (d->position - buffer->position);
	view->segment = reader->segment;
	view->position = d->position;
	if (buffer->has_checked && buffer->checked == d->position)
		status = mq_batch_parse(view->data, d->length, &view->info);
	else
		status = mq_log_check_batch(d, base, view->data, buffer->position + buffer->length - d->position,
									&view->info);
	buffer->checked = d->position;
	buffer->has_checked = status == MQ_BATCH_OK;
	if (status == MQ_BATCH_OK)
		return true;
	report(reader, MQ_SEGMENT_LOG, d->position, base, base + d->record_count,
		   mq_batch_status_text(status));
	return false;
}

/* The batch and what stands behind it, into the buffer; false with errno set. */
static bool
read_run(MqLogReader *reader, const MqDescriptorDisk *d)
{
	MqReadBuffer *buffer = &reader->buffer;
	uint32		len = expected_length(reader, d);
	int			fd = mq_segment_open(&reader->log->key, reader->segment, MQ_SEGMENT_LOG, false);
	int64		got = -1;
	instr_time	start;

	mq_read_buffer_need(buffer, len, reader->context);
	begin_read(&start);
	if (fd >= 0 && mq_file_stamp(fd, &buffer->stamp))
		got = mq_file_pread(fd, buffer->data, len, d->position);
	if (got < 0)
		return false;
	end_read(reader, &start, got);
	buffer->segment = reader->segment;
	buffer->position = d->position;
	buffer->length = got;
	reader->read_ahead = Min(reader->read_ahead * 4, MQ_READ_BUFFER_LARGEST);
	reader->wanted = 0;
	return true;
}

/* The first time, what so many records take if all are like those of this batch. */
static uint32
expected_length(MqLogReader *reader, const MqDescriptorDisk *d)
{
	if (reader->wanted > 0)
	{
		int64		bytes = reader->wanted * d->length / Max(d->record_count, 1) + d->length;

		reader->read_ahead = (uint32) Min(Max(bytes, MQ_READ_BUFFER_FIRST), MQ_READ_BUFFER_LARGEST);
	}
	return run_length(reader, d);
}

/* How much to read at once: this batch, and those right behind it up to the read-ahead. */
static uint32
run_length(MqLogReader *reader, const MqDescriptorDisk *d)
{
	uint32		position = d->position;
	uint32		end = position + d->length;
	uint32		i;

	for (i = d - reader->window.entries + 1; i < reader->window.n; i++)
	{
		const MqDescriptorDisk *next = &reader->window.entries[i];

		if (next->position != end || end - position + next->length > reader->read_ahead ||
			next->length > MQ_MAX_BATCH_BYTES ||
			reader->segment + next->offset_delta >= reader->limit)
			break;
		end += next->length;
	}
	return end - position;
}

/* What has been deleted since the reader was told where to begin is no damage. */
static void
report(MqLogReader *reader, MqSegmentFile kind, int64 position, MqOffset from, MqOffset next, const char *what)
{
	if (next <= mq_log_get(&reader->log->log_start))
		return;
	raise_damage(&reader->log->key, reader->segment, kind, position, from, next, reader->damage, what);
}

/*
 * To those who go on around damage a file that cannot be read is no different;
 * what is left to others as it is are the system's errors, and want of
 * descriptors or memory to all.
 */
static void
report_unreadable(MqLogReader *reader, MqSegmentFile kind, int64 position, MqOffset from, MqOffset next)
{
	char	   *what;

	if (mq_file_is_shortage() || (reader->damage == MQ_LOG_DAMAGE_ERROR && errno != ENOENT))
		read_failed(&reader->log->key, reader->segment, kind);
	what = errno == ENOENT ? pstrdup("the file is missing") :
		psprintf("the file cannot be read (%s)", strerror(errno));
	report(reader, kind, position, from, next, what);
	pfree(what);
}

/* XX001, or a WARNING for those who asked to go on. */
static void
raise_damage(const MqLogKey *key, MqOffset segment, MqSegmentFile kind, int64 position,
			 MqOffset from, MqOffset next, MqLogDamage damage, const char *what)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, key, segment, kind);
	ereport(damage == MQ_LOG_DAMAGE_ERROR ? ERROR : WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("damaged batch in file \"%s\" at position %lld", path, (long long) position),
			 errdetail("Offsets %lld to %lld of partition %d: %s.",
					   (long long) from, (long long) next - 1, key->partition, what),
			 damage == MQ_LOG_DAMAGE_ERROR ?
			 errhint("Read around it with on_damage => 'skip'; restore it from a backup.") : 0));
}

static void
begin_read(instr_time *start)
{
	if (mq_track_io_timing)
		INSTR_TIME_SET_CURRENT(*start);
	else
		INSTR_TIME_SET_ZERO(*start);
}

/* Notes a read of a file for the statistics. */
static void
end_read(MqLogReader *reader, const instr_time *start, int64 bytes)
{
	instr_time	end;

	if (!INSTR_TIME_IS_ZERO(*start))
	{
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, *start);
		reader->done.usec += INSTR_TIME_GET_MICROSEC(end);
	}
	reader->done.reads++;
	reader->done.bytes += bytes;
}

/* Once per segment, so that a long scan can be watched and an error loses little. */
static void
count_reads(MqLogReader *reader)
{
	mq_stat_count_read(reader->log, &reader->done);
	memset(&reader->done, 0, sizeof(reader->done));
}

static void
read_failed(const MqLogKey *key, MqOffset segment, MqSegmentFile kind)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, key, Max(segment, 0), kind);
	mq_log_file_error("read file", path, ERROR);
}
