/*
 * mq_verify_segment.c
 *	  One segment of a log that is verified: descriptors and batches.
 *
 * Walks the descriptors and, side by side, the .log.  Each descriptor must
 * validate and go on where the one before ended, in offsets and in bytes; its
 * batch must be the one that was written there, and decode to the records it
 * claims.  What is damaged is reported and stepped over: the next descriptor
 * that validates says where offsets and bytes go on.
 *
 * Two things no checksum covers.  A hint must be one that the settler writes,
 * and be settled below the place where settling has arrived.  The leader epoch
 * in a batch must fit the log's and never falls.
 *
 * Locking: none; what lies below the end that the walk began with does not
 *			change any more, but for hints, which are single bytes.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "storage/mq_fate.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_progress.h"
#include "storage/mq_segment.h"
#include "storage/mq_verify_segment.h"

#define READ_AHEAD		(1024 * 1024)

static bool check_files(MqVerify *v);
static void check_descriptors(MqVerify *v, uint32 count);
static bool read_window(MqVerify *v, uint32 first, uint32 n);
static void report_bad_run(MqVerify *v, uint32 first, uint32 last, MqOffset next);
static void check_descriptor(MqVerify *v, const MqDescriptorDisk *d, uint32 number);
static void check_hint(MqVerify *v, const MqDescriptorDisk *d, uint32 number);
static bool is_settled_place(const MqVerify *v, uint32 number);
static void check_batch(MqVerify *v, const MqDescriptorDisk *d);
static const uint8 *read_batch(MqVerify *v, const MqDescriptorDisk *d, size_t *len);
static void check_epoch(MqVerify *v, const MqBatchInfo *info, const MqDescriptorDisk *d);
static MqBatchStatus check_records(MqVerify *v, const uint8 *batch, const MqBatchInfo *info);
static void check_ends(MqVerify *v, uint32 count);
static const char *name_of(MqVerify *v, MqSegmentFile kind);

void
mq_verify_segment(MqVerify *v)
{
	uint32		count;

	v->run_length = 0;
	if (v->segment > v->expected)
		mq_verify_report(v, v->expected, "offsets %lld to %lld before the segment are missing",
						 (long long) v->expected, (long long) v->segment - 1);
	else if (v->segment < v->expected)
		mq_verify_report(v, v->segment, "the segment before it ends at offset %lld", (long long) v->expected);
	v->expected = v->segment;
	v->position = 0;

	if (!check_files(v))
		v->expected = v->next_segment;
	else
	{
		count = Max(v->bytes[MQ_SEGMENT_BATCHES], 0) / MQ_BATCHES_ENTRY_SIZE;
		if (v->segment == v->end.segment)
			count = Min(count, v->end.batches);
		check_descriptors(v, count);
		check_ends(v, count);
	}
}

/* Are both files there, and whole?  False when there are no descriptors to go by. */
static bool
check_files(MqVerify *v)
{
	bool		active = v->segment == v->end.segment;
	int64		batches = v->bytes[MQ_SEGMENT_BATCHES];
	int64		wanted = (int64) v->end.batches * MQ_BATCHES_ENTRY_SIZE;

	if (v->bytes[MQ_SEGMENT_LOG] < 0)
		mq_verify_report(v, v->segment, "file \"%s\" is missing", name_of(v, MQ_SEGMENT_LOG));
	if (batches < 0)
	{
		mq_verify_report(v, v->segment, "file \"%s\" is missing", name_of(v, MQ_SEGMENT_BATCHES));
		return false;
	}
	if (active && batches < wanted)
		mq_verify_report(v, MQ_INVALID_OFFSET, "file \"%s\" has %lld bytes, %lld are expected",
						 name_of(v, MQ_SEGMENT_BATCHES), (long long) batches, (long long) wanted);
	else if (active && batches > wanted)
		mq_verify_report(v, MQ_INVALID_OFFSET, "file \"%s\" has %lld bytes behind its last descriptor",
						 name_of(v, MQ_SEGMENT_BATCHES), (long long) (batches - wanted));
	else if (batches % MQ_BATCHES_ENTRY_SIZE != 0)
		mq_verify_report(v, MQ_INVALID_OFFSET, "the size of file \"%s\", %lld bytes, is no multiple of %d",
						 name_of(v, MQ_SEGMENT_BATCHES), (long long) batches, MQ_BATCHES_ENTRY_SIZE);
	return true;
}

static void
check_descriptors(MqVerify *v, uint32 count)
{
	MqBatchesIdentity id;
	uint32		bad_from = 0;
	bool		bad = false;
	uint32		number;

	mq_segment_identity(&id, &v->log->key, v->segment);
	for (number = 0; number < count; number++)
	{
		const MqDescriptorDisk *d = &v->window[number % MQ_VERIFY_WINDOW];

		CHECK_FOR_INTERRUPTS();
		if (number % MQ_VERIFY_WINDOW == 0 &&
			!read_window(v, number, Min(count - number, MQ_VERIFY_WINDOW)))
			return;
		v->done += MQ_BATCHES_ENTRY_SIZE;
		if (!mq_batches_valid(d, &id, number))
		{
			bad_from = bad ? bad_from : number;
			bad = true;
			continue;
		}
		if (bad)
		{
			report_bad_run(v, bad_from, number - 1, v->segment + d->offset_delta);
			v->expected = Max(v->expected, v->segment + d->offset_delta);
			v->position = Max(v->position, d->position);
			bad = false;
		}
		check_descriptor(v, d, number);
		if (v->bytes[MQ_SEGMENT_LOG] >= 0)
			check_batch(v, d);
		mq_progress_done(v->done);
	}
	if (bad)
	{
		report_bad_run(v, bad_from, count - 1, v->next_segment);
		v->expected = v->next_segment;
		v->position = -1;
	}
}

static bool
read_window(MqVerify *v, uint32 first, uint32 n)
{
	int			fd = mq_segment_open(&v->log->key, v->segment, MQ_SEGMENT_BATCHES, false);

	if (fd >= 0 && mq_segment_read_batches(&fd, first, n, v->window))
		return true;
	if (mq_file_is_shortage())
		mq_log_file_error("read file", name_of(v, MQ_SEGMENT_BATCHES), ERROR);
	mq_verify_report(v, v->expected, "file \"%s\" cannot be read at position %lld: %m",
					 name_of(v, MQ_SEGMENT_BATCHES), (long long) first * MQ_BATCHES_ENTRY_SIZE);
	v->expected = v->next_segment;
	v->position = -1;
	return false;
}

static void
report_bad_run(MqVerify *v, uint32 first, uint32 last, MqOffset next)
{
	char		offsets[64] = "";
	int64		position = (int64) first * MQ_BATCHES_ENTRY_SIZE;

	if (next > v->expected)
		snprintf(offsets, sizeof(offsets), ", offsets %lld to %lld",
				 (long long) v->expected, (long long) next - 1);
	if (first == last)
		mq_verify_report(v, v->expected, "descriptor %u is damaged: file \"%s\" at position %lld%s",
						 first, name_of(v, MQ_SEGMENT_BATCHES), (long long) position, offsets);
	else
		mq_verify_report(v, v->expected, "descriptors %u to %u are damaged: file \"%s\" at position %lld%s",
						 first, last, name_of(v, MQ_SEGMENT_BATCHES), (long long) position, offsets);
}

/* One that validates: does it go on where the one before ended? */
static void
check_descriptor(MqVerify *v, const MqDescriptorDisk *d, uint32 number)
{
	MqOffset	base = v->segment + d->offset_delta;
	MqOffset	next = base + d->record_count;

	if (base > v->expected)
		mq_verify_report(v, v->expected, "offsets %lld to %lld have no descriptor before number %u",
						 (long long) v->expected, (long long) base - 1, number);
	else if (base < v->expected)
		mq_verify_report(v, base, "descriptor %u begins at offset %lld, the one before it ends at %lld",
						 number, (long long) base, (long long) v->expected);
	if (next > v->next_segment)
		mq_verify_report(v, base, "descriptor %u ends at offset %lld, the segment at %lld",
						 number, (long long) next, (long long) v->next_segment);
	if (v->position >= 0 && d->position != v->position)
		mq_verify_report(v, base, "descriptor %u names position %u, the batch before it ends at %lld",
						 number, d->position, (long long) v->position);
	if (d->end_lsn < v->end_lsn)
		mq_verify_report(v, base, "descriptor %u has WAL position %X/%X, the one before it %X/%X",
						 number, LSN_FORMAT_ARGS(d->end_lsn), LSN_FORMAT_ARGS(v->end_lsn));
	if (d->max_timestamp < v->max_timestamp)
		mq_verify_report(v, base, "descriptor %u has greatest timestamp %lld, the one before it %lld",
						 number, (long long) d->max_timestamp, (long long) v->max_timestamp);
	check_hint(v, d, number);

	v->expected = Max(v->expected, next);
	v->position = (int64) d->position + d->length;
	v->end_lsn = Max(v->end_lsn, d->end_lsn);
	v->max_timestamp = Max(v->max_timestamp, d->max_timestamp);
}

static void
check_hint(MqVerify *v, const MqDescriptorDisk *d, uint32 number)
{
	MqOffset	base = v->segment + d->offset_delta;
	uint8		fate = d->hint & MQ_HINT_FATE;
	int64		position = (int64) number * MQ_BATCHES_ENTRY_SIZE + offsetof(MqDescriptorDisk, hint);

	if ((d->hint & ~(MQ_HINT_FATE | MQ_HINT_SETTLED)) != 0 || fate == MQ_HINT_FATE ||
		(fate == MQ_HINT_UNDECIDED && d->hint != MQ_HINT_UNDECIDED))
		mq_verify_report(v, base, "descriptor %u has hint 0x%02x, which is none: file \"%s\" at position %lld",
						 number, d->hint, name_of(v, MQ_SEGMENT_BATCHES), (long long) position);
	else if (base + d->record_count <= v->lso && mq_fate(d) == MQ_FATE_UNKNOWN)
		mq_verify_report(v, base, "descriptor %u: the fate of transaction " UINT64_FORMAT " is unknown",
						 number, d->fxid);
	else if ((d->hint & MQ_HINT_SETTLED) == 0 && is_settled_place(v, number))
		mq_verify_report(v, base, "descriptor %u has hint 0x%02x, but has been settled: file \"%s\" at position %lld",
						 number, d->hint, name_of(v, MQ_SEGMENT_BATCHES), (long long) position);
}

/* Has the settler been here? */
static bool
is_settled_place(const MqVerify *v, uint32 number)
{
	return v->segment < v->settled_segment ||
		(v->segment == v->settled_segment && number < v->settled_batch);
}

static void
check_batch(MqVerify *v, const MqDescriptorDisk *d)
{
	MqOffset	base = v->segment + d->offset_delta;
	MqBatchInfo info;
	MqBatchStatus status = MQ_BATCH_BAD_LENGTH;
	const uint8 *batch;
	size_t		len;

	if (d->length >= MQ_BATCH_HEADER_SIZE && d->length <= MQ_MAX_BATCH_BYTES)
	{
		batch = read_batch(v, d, &len);
		if (batch == NULL)
			return;
		status = mq_log_check_batch(d, base, batch, len, &info);
		if (status == MQ_BATCH_OK)
			status = check_records(v, batch, &info);
		if (status == MQ_BATCH_OK)
			check_epoch(v, &info, d);
	}
	v->done += d->length;
	if (status != MQ_BATCH_OK)
		mq_verify_report(v, base, "%s: file \"%s\" at position %u, offsets %lld to %lld",
						 mq_batch_status_text(status), name_of(v, MQ_SEGMENT_LOG), d->position,
						 (long long) base, (long long) base + d->record_count - 1);
}

/* As much of the batch as there is; NULL if that cannot be told. */
static const uint8 *
read_batch(MqVerify *v, const MqDescriptorDisk *d, size_t *len)
{
	int64		end = (int64) d->position + d->length;

	if (d->position < v->run_position || end > v->run_position + v->run_length)
	{
		size_t		want = Max(d->length, READ_AHEAD);
		int			fd = mq_segment_open(&v->log->key, v->segment, MQ_SEGMENT_LOG, false);
		int64		got;

		if (want > v->buffer_size)
		{
			if (v->buffer != NULL)
				pfree(v->buffer);
			v->buffer = palloc(want);
			v->buffer_size = want;
		}
		got = fd < 0 ? -1 : mq_file_pread(fd, v->buffer, want, d->position);
		v->run_position = d->position;
		v->run_length = Max(got, 0);
		if (got < 0)
		{
			if (mq_file_is_shortage())
				mq_log_file_error("read file", name_of(v, MQ_SEGMENT_LOG), ERROR);
			mq_verify_report(v, v->segment + d->offset_delta, "file \"%s\" cannot be read at position %u: %m",
							 name_of(v, MQ_SEGMENT_LOG), d->position);
			return NULL;
		}
	}
	*len = v->run_position + v->run_length - d->position;
	return v->buffer + (d->position - v->run_position);
}

static void
check_epoch(MqVerify *v, const MqBatchInfo *info, const MqDescriptorDisk *d)
{
	MqEpoch		epoch = info->leader_epoch;

	if (epoch < v->batch_epoch || (v->epoch >= 0 && epoch > v->epoch) ||
		(v->epoch >= 0 && info->base_offset >= v->epoch_start && epoch != v->epoch))
		mq_verify_report(v, info->base_offset, "leader epoch %d does not fit its place: file \"%s\" at position %u",
						 epoch, name_of(v, MQ_SEGMENT_LOG), d->position);
	else
		v->batch_epoch = epoch;
}

static MqBatchStatus
check_records(MqVerify *v, const uint8 *batch, const MqBatchInfo *info)
{
	const uint8 *payload;
	size_t		len;
	MqBatchIter it;
	MqRecord	record;
	MqBatchStatus status = mq_payload_open(&v->memory, batch, info, &payload, &len);

	if (status == MQ_BATCH_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while decompressing a record batch of %d bytes.", info->total_length)));
	if (status != MQ_BATCH_OK)
		return status;
	mq_batch_iter(&it, info, payload, len);
	while (mq_batch_next(&it, &record, &status))
		;
	return status;
}

/* Nothing missing at the end, nothing left over. */
static void
check_ends(MqVerify *v, uint32 count)
{
	int64		bytes = v->bytes[MQ_SEGMENT_LOG];

	if (v->segment == v->end.segment)
		v->position = v->end.position;
	else if (v->expected < v->next_segment && bytes >= 0 && bytes <= v->position)
		return;					/* it is whole: a segment behind it is missing */
	if (v->expected < v->next_segment)
	{
		mq_verify_report(v, v->expected, "offsets %lld to %lld have no descriptor behind number %d",
						 (long long) v->expected, (long long) v->next_segment - 1, (int) count - 1);
		v->expected = v->next_segment;
	}
	else if (v->position >= 0 && bytes > v->position)
		mq_verify_report(v, MQ_INVALID_OFFSET, "file \"%s\" has %lld bytes behind its last batch, from position %lld on",
						 name_of(v, MQ_SEGMENT_LOG), (long long) (bytes - v->position), (long long) v->position);
}

/* The file's path, good until the next call; keeps errno. */
static const char *
name_of(MqVerify *v, MqSegmentFile kind)
{
	int			save_errno = errno;

	mq_segment_path(v->path, &v->log->key, v->segment, kind);
	errno = save_errno;
	return v->path;
}
