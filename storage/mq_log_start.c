/*
 * mq_log_start.c
 *	  The log start moves up, and what lies below it goes.
 *
 * Moving the log start is a WAL record and two numbers: the log start itself
 * and the first segment that is kept.  The record is flushed before anybody
 * sees the new start, so that no crash takes it back.  If a checkpoint's redo
 * pointer has passed the record before the partition was marked dirty, that
 * checkpoint knows nothing of it; then the record is written once more.
 *
 * The files of segments before the first one kept are garbage from then on.
 * They go when three things are true: the record is flushed (on a standby:
 * no recovery can end before it); the state file names the first segment kept,
 * so that the next boot neither misses them nor counts them, nor writes into
 * them what WAL still holds for them; and no reader is left that began before
 * the start moved.  Whoever moved the start tries at once; else the janitor
 * does it, on a standby too.  What a crash leaves, the next boot removes.
 *
 * Readers are counted in two counters that take turns.  To know that all
 * readers of now are gone one lets the turn pass and waits for the old counter
 * to reach zero; those who come meanwhile are counted in the other, begin at
 * the new log start and need no old file.  So readers never wait, and those
 * that come all the time hold up nothing.
 *
 * Files are cut to nothing before they are unlinked: other processes may have
 * them open for hours, and the space shall be free now.
 *
 * Locking: the append lock for the two numbers and the dirty mark; sync_all_lock
 *			for the removal, because that writes the state file, as a
 *			checkpoint does.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/mq_faults.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_remove.h"
#include "storage/mq_log_start.h"
#include "storage/mq_segment.h"

/* A log that this process reads. */
typedef struct Entered
{
	int			slot;
	int			turn;
} Entered;

/* Could something not be removed for another reason than readers? */
static bool clean_failed = false;

static Entered *entered = NULL;
static int	nentered = 0;
static int	entered_room = 0;

static bool same_options(const MqLog *log, const MqLogConfig *config);
static MqOffset segment_of(MqLog *log, MqOffset offset);
static void apply(MqLog *log, MqOffset log_start, MqOffset first_segment, XLogRecPtr lsn);
static bool clean(MqLog *log);
static bool remove_segments(MqLog *log, MqOffset below);
static bool remove_file(const MqLogKey *key, MqOffset base, MqSegmentFile kind);
static bool clean_fails(const char *what, const char *path);
static bool has_readers(MqLog *log);
static bool remove_replayed(MqLog *log);
static bool redo_state(const xl_mq_start *xlrec, XLogRecPtr end_lsn);
static void redo_without_slot(const xl_mq_start *xlrec, XLogRecPtr end_lsn);

bool
mq_log_start_move(MqLog *log, MqOffset to, const MqLogConfig *config)
{
	MqLogOffsets offsets;
	MqOffset	first;
	XLogRecPtr	lsn;
	bool		covered = false;

	mq_checkpoint_guard();
	mq_log_offsets(log, &offsets);
	to = Max(Min(to, offsets.lso), offsets.log_start);
	first = segment_of(log, to);
	if (to == offsets.log_start && first <= mq_log_get(&log->first_segment))
		return false;
	while (!covered)
	{
		/* a change of options takes this lock too, so WAL has one before the other */
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		mq_log_require_usable(log);
		if (config != NULL && !same_options(log, config))
		{
			LWLockRelease(&log->append_lock);
			return false;
		}
		lsn = mq_log_wal_start(&log->key, to, first);
		LWLockRelease(&log->append_lock);
		MQ_FAULT("start_after_wal");
		XLogFlush(lsn);
		MQ_FAULT("start_flushed");
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		mq_log_require_usable(log);
		mq_log_mark_dirty(log, Max(log->end.segment, 0));
		covered = GetRedoRecPtr() < lsn;
		if (covered)
			apply(log, to, first, lsn);
		LWLockRelease(&log->append_lock);
	}
	MQ_FAULT("start_moved");
	return true;
}

static bool
same_options(const MqLog *log, const MqLogConfig *config)
{
	return log->config_known && log->config.retention_ms == config->retention_ms &&
		log->config.retention_bytes == config->retention_bytes;
}

/* The base of the segment that holds the offset, or ends right before it and is the last. */
static MqOffset
segment_of(MqLog *log, MqOffset offset)
{
	MqSegmentList list;
	MqOffset	segment = mq_log_get(&log->first_segment);
	char		dir[MQ_SEGMENT_PATH_MAX];
	int			i;

	mq_segment_dir(dir, &log->key);
	if (!mq_segment_list(&log->key, segment, &list))
		mq_log_file_error("read folder", dir, ERROR);
	for (i = 0; i < list.n && list.bases[i] <= offset; i++)
		segment = list.bases[i];
	mq_segment_list_free(&list);
	return segment;
}

/*
 * Everything rises: of two who move the start at the same time both succeed.
 * Caller holds the append lock exclusively.
 */
static void
apply(MqLog *log, MqOffset log_start, MqOffset first_segment, XLogRecPtr lsn)
{
	/* on a standby, or after a backup's restore, the log may not know yet that it has come so far */
	if (log_start > log->end.leo)
	{
		MqLogEnd	end = log->end;

		end.leo = log_start;
		mq_log_set_end(log, &end);
	}
	pg_atomic_write_u64(&log->hw, Max(mq_log_get(&log->hw), log_start));
	pg_atomic_write_u64(&log->lso, Max(mq_log_get(&log->lso), log_start));
	pg_atomic_write_u64(&log->log_start, Max(mq_log_get(&log->log_start), log_start));
	log->start_lsn = Max(log->start_lsn, lsn);

	/* nothing is left that a time could be searched in */
	if (log_start == log->end.leo)
		log->max_timestamp = MQ_NO_TIMESTAMP;
	if (log->gap && log->gap_end <= log_start)
		log->gap = false;
	if (log->state == MQ_LOG_DAMAGED && log->damaged_segment >= 0 &&
		log->damaged_segment < first_segment)
		log->state = MQ_LOG_ACTIVE;
	if (first_segment > mq_log_get(&log->first_segment))
	{
		/* the empty segment that was active may be missing: a boot has cut it, or WAL never had its beginning */
		if (log->end.segment < first_segment)
		{
			log->end.segment = -1;
			log->end.batches = log->end.position = 0;
			log->segment_first_timestamp = MQ_NO_TIMESTAMP;
		}
		pg_atomic_write_u64(&log->first_segment, first_segment);
		pg_atomic_fetch_add_u32(&log->segment_version, 1);
		pg_atomic_write_u32(&mq_log_table->old_files, 1);
	}
	mq_log_check(log);
}

void
mq_log_start_check(MqLog *log)
{
	MqLogOffsets offsets;

	mq_checkpoint_guard();
	mq_log_offsets(log, &offsets);
	LWLockAcquire(&log->append_lock, LW_SHARED);
	mq_log_require_usable(log);
	LWLockRelease(&log->append_lock);
	if (mq_log_has_files(log))
		(void) segment_of(log, offsets.lso);
}

bool
mq_log_start_clean(MqLog *log)
{
	bool		done = false;

	/* a checkpoint has it for as long as it syncs */
	if (LWLockConditionalAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE))
	{
		done = clean(log);
		LWLockRelease(&mq_log_table->sync_all_lock);
	}
	if (!done)
	{
		pg_atomic_write_u32(&mq_log_table->old_files, 1);
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
	}
	return done;
}

/* Raises nothing that would lose the request. */
bool
mq_log_start_clean_all(bool *failed)
{
	bool		left = false;
	int			i;

	*failed = false;
	if (pg_atomic_exchange_u32(&mq_log_table->old_files, 0) == 0)
		return false;
	clean_failed = false;
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];

		if (!log->in_use ||
			(mq_log_get(&log->first_segment) <= log->removed_below && !log->removing) ||
			(log = mq_log_pin_slot(i)) == NULL)
			continue;
		LWLockAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE);
		left |= !clean(log);
		LWLockRelease(&mq_log_table->sync_all_lock);
		if (log->removing && !log->dropped)
			left |= !remove_replayed(log);
		mq_log_unpin(log);
	}
	if (left)
		pg_atomic_write_u32(&mq_log_table->old_files, 1);
	*failed = clean_failed;
	return left;
}

/* Caller holds sync_all_lock.  True when nothing is left to remove. */
static bool
clean(MqLog *log)
{
	MqOffset	start;
	MqOffset	first;
	XLogRecPtr	lsn;

	LWLockAcquire(&log->append_lock, LW_SHARED);
	start = mq_log_get(&log->log_start);
	first = mq_log_get(&log->first_segment);
	lsn = log->start_lsn;
	LWLockRelease(&log->append_lock);
	if (log->dropped || log->state == MQ_LOG_DISABLED || first <= log->removed_below)
		return true;

	if (lsn != InvalidXLogRecPtr)
		XLogFlush(lsn);
	if (log->stated_segment < first && !mq_checkpoint_write_start(log, start, first))
	{
		char		dir[MQ_SEGMENT_PATH_MAX];

		mq_segment_dir(dir, &log->key);
		return clean_fails("write the state in folder", dir);
	}
	MQ_FAULT("start_stated");

	/* those who read when the turn passes may need what lies below */
	if (log->grace_below < 0)
	{
		log->grace_below = first;
		pg_atomic_fetch_add_u32(&log->reader_epoch, 1);
	}
	if (pg_atomic_read_u32(&log->readers[(pg_atomic_read_u32(&log->reader_epoch) - 1) & 1]) != 0)
		return false;
	if (!remove_segments(log, log->grace_below))
		return false;
	log->removed_below = log->grace_below;
	log->grace_below = -1;

	/* the start may have moved on while readers were waited for */
	return first <= log->removed_below;
}

static bool
remove_segments(MqLog *log, MqOffset below)
{
	MqSegmentList list;
	char		dir[MQ_SEGMENT_PATH_MAX];
	bool		ok = true;
	int			i;

	mq_segment_dir(dir, &log->key);
	if (!mq_segment_list(&log->key, 0, &list))
		return clean_fails("read folder", dir);
	for (i = 0; i < list.n && list.bases[i] < below; i++)
	{
		mq_segment_forget_file(&log->key, list.bases[i]);
		/* .batches first: alone they would be taken for those of a segment that redo makes again */
		ok &= remove_file(&log->key, list.bases[i], MQ_SEGMENT_BATCHES);
		MQ_FAULT("start_half_removed");
		ok &= remove_file(&log->key, list.bases[i], MQ_SEGMENT_LOG);
	}
	mq_segment_list_free(&list);
	return ok;
}

static bool
remove_file(const MqLogKey *key, MqOffset base, MqSegmentFile kind)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, key, base, kind);
	return mq_file_remove_tree(path) || clean_fails("remove file", path);
}

/* Not to the client, who may be slow to read while checkpoints wait for the lock; not every time either. */
static bool
clean_fails(const char *what, const char *path)
{
	clean_failed = true;
	mq_log_file_error(what, path, LOG_SERVER_ONLY);
	return false;
}

void
mq_log_start_note_configs(void)
{
	int			i;

	if (RecoveryInProgress() || mq_log_is_closed() ||
		pg_atomic_exchange_u32(&mq_log_table->config_news, 0) == 0)
		return;
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = mq_log_slots[i].config_news ? mq_log_pin_slot(i) : NULL;

		if (log == NULL)
			continue;
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		if (log->config_news && log->has_files && !log->dropped && log->state != MQ_LOG_DISABLED)
		{
			(void) mq_log_wal_config(&log->key, &log->config, true);
			mq_log_mark_dirty(log, Max(log->end.segment, 0));
		}
		log->config_news = false;
		LWLockRelease(&log->append_lock);
		mq_log_unpin(log);
	}
}

/*
 * Nobody can write to it: the catalog has called it retired before the log
 * knew, and whoever was writing then has been waited for.
 */
bool
mq_log_start_remove(MqLog *log)
{
	MqLogKey	key = log->key;
	bool		empty;

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	mq_log_go_live(log);
	empty = log->config_known && log->config.retired && log->has_files && !log->dropped &&
		log->state == MQ_LOG_ACTIVE && log->range_head == MQ_LOG_NO_RANGE &&
		mq_log_get(&log->log_start) >= log->end.leo &&
		mq_log_get(&log->first_segment) <= log->removed_below && !has_readers(log);
	LWLockRelease(&log->append_lock);
	if (!empty)
		return false;
	XLogFlush(mq_log_wal_remove(&key));
	MQ_FAULT("remove_before_unlink");
	return mq_log_remove_partition_files(&key);
}

/* Whoever comes now finds the log empty and reads nothing. */
static bool
has_readers(MqLog *log)
{
	return pg_atomic_read_u32(&log->readers[0]) != 0 || pg_atomic_read_u32(&log->readers[1]) != 0;
}

/* A standby's janitor, for redo. */
static bool
remove_replayed(MqLog *log)
{
	MqLogKey	key = log->key;
	XLogRecPtr	lsn;

	if (has_readers(log))
		return false;
	LWLockAcquire(&log->append_lock, LW_SHARED);
	lsn = log->start_lsn;
	LWLockRelease(&log->append_lock);
	XLogFlush(lsn);
	return mq_log_remove_partition_files(&key) || clean_fails("remove folder of", "a retired partition");
}

int
mq_log_start_enter(MqLog *log)
{
	uint32		epoch;

	if (nentered == entered_room)
	{
		int			room = Max(16, entered_room * 2);

		if (entered == NULL)
			entered = MemoryContextAlloc(TopMemoryContext, room * sizeof(Entered));
		else
			entered = repalloc(entered, room * sizeof(Entered));
		entered_room = room;
	}
	for (;;)
	{
		epoch = pg_atomic_read_u32(&log->reader_epoch);
		pg_atomic_fetch_add_u32(&log->readers[epoch & 1], 1);	/* a full barrier */
		if (likely(pg_atomic_read_u32(&log->reader_epoch) == epoch))
			break;
		/* the turn passed before we were counted */
		pg_atomic_fetch_sub_u32(&log->readers[epoch & 1], 1);
	}
	entered[nentered].slot = log->slot;
	entered[nentered].turn = epoch & 1;
	return entered[nentered++].turn;
}

/* The one entered last is nearly always the first to go. */
void
mq_log_start_leave(MqLog *log, int turn)
{
	int			i = nentered - 1;

	while (i >= 0 && (entered[i].slot != log->slot || entered[i].turn != turn))
		i--;
	if (i < 0)
		return;					/* the transaction's end was quicker */
	pg_atomic_fetch_sub_u32(&log->readers[turn], 1);
	entered[i] = entered[--nentered];
}

void
mq_log_start_leave_all(void)
{
	while (nentered > 0)
	{
		nentered--;
		pg_atomic_fetch_sub_u32(&mq_log_slots[entered[nentered].slot].readers[entered[nentered].turn], 1);
	}
}

void
mq_log_start_redo(const xl_mq_start *xlrec, XLogRecPtr end_lsn)
{
	MqLog	   *log = mq_log_open_redo(&xlrec->key);

	if (log == NULL)
	{
		redo_without_slot(xlrec, end_lsn);
		return;
	}
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	if (log->has_files && !log->dropped && log->state != MQ_LOG_DISABLED)
	{
		mq_log_mark_dirty(log, Max(log->end.segment, 0));
		apply(log, xlrec->log_start, xlrec->first_segment, end_lsn);
	}
	LWLockRelease(&log->append_lock);

	/* nobody can read yet, and no janitor lives yet */
	if (!HotStandbyActive() && log->state != MQ_LOG_DISABLED)
	{
		LWLockAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE);
		(void) clean(log);
		LWLockRelease(&mq_log_table->sync_all_lock);
	}
	else
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
	if (log->state == MQ_LOG_DISABLED)
		(void) redo_state(xlrec, end_lsn);	/* closed until the next boot, which must know */
	mq_log_unpin_redo(log);
}

/* Nobody can read a log that has no slot, so its files go at once. */
static void
redo_without_slot(const xl_mq_start *xlrec, XLogRecPtr end_lsn)
{
	char		dir[MQ_SEGMENT_PATH_MAX];
	MqSegmentList list;
	MqLog	   *log;
	int			i;

	if (!redo_state(xlrec, end_lsn))
		return;

	/* but somebody may have opened it meanwhile, by what the state said before */
	log = mq_log_open_redo(&xlrec->key);
	if (log != NULL)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		if (log->has_files && !log->dropped && log->state != MQ_LOG_DISABLED)
			apply(log, xlrec->log_start, xlrec->first_segment, end_lsn);
		LWLockRelease(&log->append_lock);
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
		mq_log_unpin_redo(log);
		return;
	}
	mq_segment_dir(dir, &xlrec->key);
	if (!mq_segment_list(&xlrec->key, 0, &list))
	{
		mq_log_file_error("read folder", dir, WARNING);
		return;
	}
	for (i = 0; i < list.n && list.bases[i] < xlrec->first_segment; i++)
	{
		mq_segment_forget_file(&xlrec->key, list.bases[i]);
		(void) remove_file(&xlrec->key, list.bases[i], MQ_SEGMENT_BATCHES);
		(void) remove_file(&xlrec->key, list.bases[i], MQ_SEGMENT_LOG);
	}
	mq_segment_list_free(&list);
}

/* The two numbers go straight into the state file.  False: there is none, the log has been dropped since. */
static bool
redo_state(const xl_mq_start *xlrec, XLogRecPtr end_lsn)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	bool		got;
	char		dir[MQ_SEGMENT_PATH_MAX];

	mq_segment_dir(dir, &xlrec->key);
	XLogFlush(end_lsn);
	LWLockAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE);
	got = mq_state_read(&xlrec->key, slots, valid, &current);
	if (!got && errno != ENOENT)
		mq_log_file_error("read the state in folder", dir, ERROR);
	if (got && current >= 0)
	{
		slots[current].log_start = Max(slots[current].log_start, xlrec->log_start);
		slots[current].first_segment = Max(slots[current].first_segment, xlrec->first_segment);
		if (!mq_state_write(&xlrec->key, &slots[current], true))
			mq_log_file_error("write the state in folder", dir, PANIC);
	}
	LWLockRelease(&mq_log_table->sync_all_lock);
	return got && current >= 0;
}

/*
 * A standby's readers may still have what the partition held before it was
 * emptied; then its folder goes when they have ended.
 */
void
mq_log_start_redo_remove(const xl_mq_remove *xlrec, XLogRecPtr end_lsn)
{
	MqLog	   *log = mq_log_open_redo(&xlrec->key);
	bool		later = log != NULL && HotStandbyActive() && (has_readers(log) || log->grace_below >= 0);

	if (later)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		log->removing = true;
		log->start_lsn = Max(log->start_lsn, end_lsn);
		LWLockRelease(&log->append_lock);
		pg_atomic_write_u32(&mq_log_table->old_files, 1);
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
	}
	if (log != NULL)
		mq_log_unpin_redo(log);
	if (later)
		return;
	XLogFlush(end_lsn);
	(void) mq_log_remove_partition_files(&xlrec->key);
}
