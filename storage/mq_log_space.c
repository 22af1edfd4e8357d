/*
 * mq_log_space.c
 *	  Room for an append: an active segment that is not full, space reserved in it.
 *
 * All of this may fail, so all of it happens before the append's critical
 * section; what is left half done is found in place by the next append, and
 * cut by the next boot.
 *
 * Locking: the caller holds the append lock exclusively.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/xlog.h"

#include "base/mq_faults.h"
#include "base/mq_settings.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_space.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_segment.h"

static bool segment_is_full(const MqLog *log, const MqLogBatch *batch);
static void start_log(MqLog *log);
static void create_segment(MqLog *log, MqOffset base);
static void reserve(MqLog *log, MqSegmentFile kind, int64 need, int64 *reserved);
static bool janitor_can_help(const MqLog *log, MqSegmentFile kind, int64 need, int64 reserved);
static void ask_for_space(MqLog *log);

void
mq_log_space_make(MqLog *log, MqLogAppendPlan *plan)
{
	if (mq_min_free_disk > 0)
	{
		int64		available = mq_file_disk_free(".");

		if (available >= 0 && available < (int64) mq_min_free_disk * 1024)
			ereport(ERROR,
					(errcode(ERRCODE_DISK_FULL),
					 errmsg("less disk space is free than mq.min_free_disk asks for"),
					 errdetail("%lld kB are free, %d kB must stay free.",
							   (long long) (available / 1024), mq_min_free_disk),
					 errhint("Free space on the volume of the data directory.")));
	}

	if (!log->has_files)
	{
		start_log(log);
		plan->create = true;
	}
	if (log->end.segment < 0)
	{
		create_segment(log, log->end.leo);
		plan->roll = true;
	}
	else if (segment_is_full(log, &plan->batches[0]))
	{
		mq_log_space_roll(log);
		plan->roll = true;
	}
}

static bool
segment_is_full(const MqLog *log, const MqLogBatch *batch)
{
	const MqLogEnd *end = &log->end;

	if (end->position == 0)
		return false;
	return (int64) end->position + batch->length > log->config.segment_bytes ||
		(int64) end->batches * MQ_BATCHES_ENTRY_SIZE >= Max(log->config.segment_bytes / 4, 1024 * 1024) ||
		end->leo - end->segment + batch->count > PG_INT32_MAX ||
		(log->segment_first_timestamp != MQ_NO_TIMESTAMP &&
		 batch->max_timestamp - log->segment_first_timestamp > log->config.segment_ms);
}

/* Folder and state file; their durability is the checkpoint's, until then redo's. */
static void
start_log(MqLog *log)
{
	MqStateDisk state;
	char		dir[MQ_SEGMENT_PATH_MAX];

	mq_segment_dir(dir, &log->key);
	mq_state_init(&state, &log->key);
	mq_state_set_config(&state, &log->config, log->config_known);
	if (!mq_segment_make_dirs(&log->key) || !mq_state_create(&log->key, &state, false))
		mq_log_file_error("create file", dir, ERROR);
	log->has_files = true;
	log->dirty_dir = log->dirty_parents = true;
	mq_log_mark_dirty(log, log->end.leo);
}

/* Makes the prepared segment the active one; without one, makes it now. */
void
mq_log_space_roll(MqLog *log)
{
	MqOffset	base = log->end.leo;
	char		from[MQ_SEGMENT_PATH_MAX];
	char		to[MQ_SEGMENT_PATH_MAX];
	int			kind;

	(void) mq_log_tail_write(log, ERROR);
	MQ_FAULT("roll_before_rename");
	if (!log->next_ready)
	{
		create_segment(log, base);
		return;
	}

	/* .batches first: a .log names a segment, so it must not come alone */
	for (kind = MQ_SEGMENT_BATCHES; kind >= MQ_SEGMENT_LOG; kind--)
	{
		mq_segment_path(from, &log->key, MQ_SEGMENT_NEXT, kind);
		mq_segment_path(to, &log->key, base, kind);
		if (!mq_file_rename(from, to))
		{
			log->next_ready = false;
			log->dirty_dir = true;
			mq_log_mark_dirty(log, base);
			mq_log_file_error("rename file", from, ERROR);
		}
	}
	log->next_ready = false;
	mq_log_begin_segment(log, base);
	log->log_reserved = mq_segment_reserve_target(MQ_SEGMENT_LOG, 0, 0, PG_INT64_MAX);
	log->batches_reserved = mq_segment_reserve_target(MQ_SEGMENT_BATCHES, 0, 0, PG_INT64_MAX);
	MQ_FAULT("roll_after_rename");
}

static void
create_segment(MqLog *log, MqOffset base)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int			kind;

	for (kind = MQ_SEGMENT_BATCHES; kind >= MQ_SEGMENT_LOG; kind--)
	{
		int			fd;
		bool		ok;

		mq_segment_path(path, &log->key, base, kind);
		fd = mq_file_open(path, O_RDWR | O_CREAT);
		if (fd < 0)
			mq_log_file_error("create file", path, ERROR);
		/* descriptors without batches are a failed roll's; batches are somebody's messages */
		if (kind == MQ_SEGMENT_LOG && mq_file_size_fd(fd) != 0)
		{
			mq_file_close(fd);
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("file \"%s\" has contents where a new segment should begin", path)));
		}
		ok = mq_file_truncate(fd, 0);
		mq_file_close(fd);
		if (!ok)
			mq_log_file_error("create file", path, ERROR);
	}
	mq_log_begin_segment(log, base);
}

/* Caller holds the append lock exclusively; both files are there and empty. */
void
mq_log_begin_segment(MqLog *log, MqOffset base)
{
	log->end.segment = base;
	log->end.batches = 0;
	log->end.position = 0;
	log->segment_first_timestamp = MQ_NO_TIMESTAMP;
	log->log_reserved = log->batches_reserved = 0;
	log->dirty_dir = true;
	mq_log_mark_dirty(log, base);
	pg_atomic_fetch_add_u32(&log->segment_version, 1);
}

void
mq_log_space_reserve(MqLog *log, int n, int64 bytes)
{
	reserve(log, MQ_SEGMENT_LOG, (int64) log->end.position + bytes, &log->log_reserved);
	reserve(log, MQ_SEGMENT_BATCHES,
			((int64) log->end.batches + n) * MQ_BATCHES_ENTRY_SIZE, &log->batches_reserved);
}

/* Makes sure that the file has space up to "need"; the critical section must not meet a full disk. */
static void
reserve(MqLog *log, MqSegmentFile kind, int64 need, int64 *reserved)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int64		limit = log->config.segment_bytes;
	int64		from;
	int64		target;
	int			fd;

	if (need <= *reserved)
	{
		if (janitor_can_help(log, kind, need, *reserved))
			ask_for_space(log);
		return;
	}
	mq_segment_path(path, &log->key, log->end.segment, kind);
	fd = mq_segment_open(&log->key, log->end.segment, kind, false);
	if (fd < 0)
		mq_log_file_error("open file", path, ERROR);
	from = Max(*reserved, kind == MQ_SEGMENT_LOG ? (int64) log->end.position :
			   (int64) log->end.batches * MQ_BATCHES_ENTRY_SIZE);
	target = mq_segment_reserve_target(kind, need, from, limit);
	if (!mq_file_reserve(fd, from, target) || MQ_FAULT_FAILS("reserve"))
	{
		/* perhaps there is room for just what is needed */
		if (target == need || !mq_file_reserve(fd, from, need))
			ereport(ERROR,
					(errcode(mq_file_errcode()),
					 errmsg("could not reserve space in file \"%s\": %m", path),
					 errhint("Free space on the volume of the data directory.")));
		target = need;
	}
	*reserved = target;
	ask_for_space(log);
}

/*
 * In the last part of what is reserved.  In the last part of a segment nothing
 * more will be, and once the next one is there nobody need be woken.
 */
static bool
janitor_can_help(const MqLog *log, MqSegmentFile kind, int64 need, int64 reserved)
{
	int64		segment = log->config.segment_bytes;
	int64		limit = kind == MQ_SEGMENT_LOG ? segment : segment / 4;
	int64		usable = Min(reserved, limit);

	if (need <= usable - usable / 4)
		return false;
	if (reserved < limit)
		return true;
	return !log->next_ready && (kind == MQ_SEGMENT_LOG ? need : (int64) log->end.position) >= segment / 2;
}

/* The janitor should extend the reservation, or prepare the next segment once this one is half full. */
static void
ask_for_space(MqLog *log)
{
	if (log->wants_space)
		return;
	log->wants_space = true;
	if (pg_atomic_exchange_u32(&mq_log_table->space_wanted, 1) == 0)
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
}
