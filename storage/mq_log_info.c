/*
 * mq_log_info.c
 *	  What a log's files say of it: search by time, facts for views and retention.
 *
 * Nothing here changes a log.  A view shows many of them, so a log that cannot
 * be looked at is shown as far as that goes, with a WARNING.
 *
 * Locking: the append lock for a moment, exclusively to write the log's tail.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_segment.h"

static bool last_descriptor(const MqLogKey *key, MqOffset segment, MqDescriptorDisk *d);
static MqTimestamp batch_timestamp(const MqLogKey *key, MqOffset segment);

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
	if (!mq_segment_list(&log->key, mq_log_get(&log->first_segment), &list))
		{
		char		dir[MQ_SEGMENT_PATH_MAX];

		mq_segment_dir(dir, &log->key);
		mq_log_file_error("read folder", dir, ERROR);
	}
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
	for (i = 0; i < n; i++)
	{
		if (segments[i].deleting)
			continue;
		if (info->segments++ == 0)
			info->oldest_timestamp = segments[i].min_timestamp;
		info->size_bytes += segments[i].log_bytes + segments[i].batches_bytes;
	}
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
		s->deleting = s->base < mq_log_get(&log->first_segment);
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

/* Greatest timestamp up to the end of a segment; MQ_NO_TIMESTAMP when it has none. */
MqTimestamp
mq_log_segment_time(const MqLogKey *key, MqOffset segment)
{
	MqDescriptorDisk d;

	return last_descriptor(key, segment, &d) ? d.max_timestamp : MQ_NO_TIMESTAMP;
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
