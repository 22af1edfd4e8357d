/*
 * mq_log_recover.c
 *	  What happens to the logs at boot and while WAL is replayed.
 *
 * A batch reaches the page cache before its WAL is flushed, so after a crash
 * a log may be ahead of WAL.  Such ghosts carry LSNs and transaction ids that
 * will be handed out again, so they must go before anything else happens: at
 * every boot, before redo and before any backend, each partition is cut after
 * the last batch whose WAL record ends at or before the redo pointer.  Redo
 * brings back what WAL still knows.  A CRC is no help here, ghosts are intact.
 *
 * What is cut is only what nothing vouches for.  The state file says how far
 * the last completed checkpoint had synced; a log that ends before that, or a
 * descriptor below it that does not validate, is damage: it is reported, the
 * end is taken from the state file, and nothing below it is touched.
 *
 * Each step may be repeated: a crash in here leaves a log that is cut less.
 *
 * Locking: boot runs alone.
 * Memory:  boot runs in the postmaster; little is allocated, none is left.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "base/mq_faults.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_recover.h"
#include "storage/mq_segment.h"
#include "storage/mq_served.h"

/* What one boot did. */
typedef struct BootWork
{
	XLogRecPtr	redo;
	MqLogKey	key;			/* of the partition at hand */
	int64		partitions;
	int64		damaged;
	int64		batches_cut;
	int64		bytes_cut;
	bool		forget_options; /* they may have changed while the library was not loaded */
	int			changed;		/* partitions that were cut */
	bool		unsynced;		/* there were so many that they are synced together */
} BootWork;

/* From so many partitions cut on. */
#define MANY_CHANGED	64

/* A backup label was there at boot: pruning waits for rm_startup. */
static bool prune_deferred = false;

/* Pruning a backup's copy, whose files are not of one moment. */
static bool prune_by_label = false;

static void prune_by_control(const ControlFileData *control);
static void prune_all(XLogRecPtr redo, bool forget_options);
static bool visit_database(void *arg, const char *name);
static bool visit_topic(void *arg, const char *name);
static bool visit_partition(void *arg, const char *name);
static void disable(BootWork *work, const char *path);
static bool prune_partition(BootWork *work);
static bool cut(BootWork *work, const MqSegmentList *list, MqOffset first, const MqLogFound *found);
static bool is_there(const MqLogKey *key, MqOffset base);
static void leave_empty_segment(MqLog *log, const xl_mq_append *next);
static bool cut_file(BootWork *work, MqOffset base, MqSegmentFile kind, int64 size, bool *changed);
static bool forget_unfinished(BootWork *work, MqStateDisk slots[2], const bool valid[2], int current);
static bool remove_next(const MqLogKey *key);
static bool remove_old(const MqLogKey *key, MqOffset first);
static void report_gap(MqLog *log);

void
mq_log_recover_boot(void)
{
	ControlFileData *control;
	bool		crc_ok;
	struct stat st;

	prune_deferred = false;
	if (IsBootstrapProcessingMode())
		return;
	if (mq_file_is_symlink(MQ_SEGMENT_ROOT))
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" in the data directory is a symbolic link", MQ_SEGMENT_ROOT),
				 errdetail("Base backups do not follow it."),
				 errhint("Move the directory back into the data directory.")));

	control = get_controlfile(DataDir, &crc_ok);
	if (!crc_ok)
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("mq_ext leaves its logs alone because pg_control is damaged")));
		pfree(control);
		return;
	}
	if (stat(BACKUP_LABEL_FILE, &st) == 0)
		prune_deferred = true;
	else if (errno != ENOENT)
		mq_log_file_error("stat file", BACKUP_LABEL_FILE, FATAL);
	else
		prune_by_control(control);
	mq_checkpoint_boot(control->checkPointCopy.redo);
	pfree(control);
}

void
mq_log_recover_startup(void)
{
	if (!prune_deferred)
		return;
	prune_deferred = false;
	prune_by_label = true;
	prune_all(GetRedoRecPtr(), false);
	prune_by_label = false;
	mq_checkpoint_boot(GetRedoRecPtr());
}

/* Takes note of a batch that redo has just written.  Caller holds both locks as an appender does. */
void
mq_log_recover_replayed(MqLog *log, const xl_mq_append *xlrec, XLogRecPtr end_lsn)
{
	MqLogEnd	end;
	MqOffset	next = xlrec->base_offset + xlrec->count;
	bool		new_segment;

	/* its end is unknown: no hole, nothing to settle, until the next boot */
	if (log->state == MQ_LOG_DISABLED)
		return;
	if (xlrec->segment < log->end.segment && log->end.batches == 0 && xlrec->base_offset >= log->end.leo)
		leave_empty_segment(log, xlrec);
	new_segment = xlrec->segment > log->end.segment;
	if ((new_segment ? xlrec->number > 0 || xlrec->base_offset > log->end.leo :
		 xlrec->segment == log->end.segment && xlrec->number > log->end.batches) && !log->gap)
	{
		log->gap = true;
		log->gap_offset = log->end.leo;
		log->gap_end = xlrec->base_offset;
		if (reachedConsistency)
			report_gap(log);
	}
	if (new_segment)
		mq_log_begin_segment(log, xlrec->segment);
	mq_log_note_epoch(log, xlrec->epoch, xlrec->base_offset);
	log->max_timestamp = Max(log->max_timestamp, xlrec->max_timestamp);
	log->last_append_lsn = end_lsn;
	if (log->segment_first_timestamp == MQ_NO_TIMESTAMP)
		log->segment_first_timestamp = xlrec->max_timestamp;
	if (xlrec->segment < log->end.segment || xlrec->number < log->end.batches)
		return;

	end = log->end;
	end.batches = xlrec->number + 1;
	end.position = xlrec->position + xlrec->length;
	end.leo = Max(end.leo, next);
	log->unsettled = log->left_in_doubt = true;
	log->live = false;
	mq_log_set_end(log, &end);
	pg_atomic_write_u64(&log->hw, end.leo);
}

/*
 * The primary has lost the segment that it had begun, and has gone on in the one
 * before: its boot found nothing in it, or not both of its files.
 */
static void
leave_empty_segment(MqLog *log, const xl_mq_append *next)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqSegmentFile kind;

	for (kind = MQ_SEGMENT_BATCHES;; kind = MQ_SEGMENT_LOG)
	{
		mq_segment_path(path, &log->key, log->end.segment, kind);
		if (!mq_file_unlink(path))
			mq_log_file_error("remove file", path, WARNING);
		if (kind == MQ_SEGMENT_LOG)
			break;
	}
	mq_segment_forget_file(&log->key, log->end.segment);
	log->dirty_dir = true;
	pg_atomic_fetch_add_u32(&log->segment_version, 1);
	log->end.segment = next->segment;
	log->end.batches = next->number;
	log->end.position = next->position;
}

/* End of redo: a hole that no record explained is damage. */
void
mq_log_recover_report_gaps(void)
{
	int			i;

	for (i = 0; i < mq_log_table->slots; i++)
	{
		if (mq_log_slots[i].in_use && mq_log_slots[i].gap)
			report_gap(&mq_log_slots[i]);
	}
}

/*
 * By the redo pointer in pg_control, or by the last one that a checkpoint
 * with us in the server had, if that is lower: see mq_served.h.  A redo
 * pointer at the very start of a WAL segment that we have not served is
 * pg_resetwal's.
 */
static void
prune_by_control(const ControlFileData *control)
{
	XLogRecPtr	redo = control->checkPointCopy.redo;
	XLogRecPtr	served = mq_served_read();

	if (served != InvalidXLogRecPtr && served != redo &&
		control->state == DB_SHUTDOWNED && control->checkPoint == redo &&
		redo % control->xlog_seg_size == SizeOfXLogLongPHD)
	{
		mq_log_table->wal_was_reset = true;
		ereport(WARNING,
				(errmsg("mq_ext: pg_resetwal has been used, topics stay closed"),
				 errhint("Look what has been lost, then open them with mq.allow_missing_logs.")));
	}
	prune_all(served != InvalidXLogRecPtr ? Min(redo, served) : redo,
			  served != InvalidXLogRecPtr && served != redo);
}

/* Prunes every partition; says so in one line. */
static void
prune_all(XLogRecPtr redo, bool forget_options)
{
	BootWork	work;
	TimestampTz start = GetCurrentTimestamp();
	long		secs;
	int			usecs;

	memset(&work, 0, sizeof(work));
	work.redo = redo;
	work.forget_options = forget_options;
	if (!mq_file_list(MQ_SEGMENT_ROOT, visit_database, &work) && errno != ENOENT)
		mq_log_file_error("read file", MQ_SEGMENT_ROOT, FATAL);
	if (work.unsynced && !mq_file_sync_all(MQ_SEGMENT_ROOT))
		mq_log_file_error("sync the file system of folder", MQ_SEGMENT_ROOT, FATAL);
	TimestampDifference(start, GetCurrentTimestamp(), &secs, &usecs);
	ereport(LOG,
			(errmsg("mq_ext: checked the logs of %lld partitions against redo pointer %X/%X: "
					"%lld batches (%lld bytes) cut, %lld damaged, %ld.%03d s",
					(long long) work.partitions, LSN_FORMAT_ARGS(redo),
					(long long) work.batches_cut, (long long) work.bytes_cut,
					(long long) work.damaged, secs, usecs / 1000)));
}

static bool
visit_database(void *arg, const char *name)
{
	BootWork   *work = (BootWork *) arg;
	char		path[MQ_SEGMENT_PATH_MAX];
	uint32		oid;

	if (!mq_segment_parse_number(name, PG_UINT32_MAX, &oid))
		return true;
	work->key.dboid = oid;
	memset(&work->key.topic, 0, sizeof(work->key.topic));
	work->key.partition = -1;
	snprintf(path, sizeof(path), "%s/%u", MQ_SEGMENT_ROOT, oid);
	if (!mq_file_list(path, visit_topic, arg))
		disable(work, path);
	return true;
}

static bool
visit_topic(void *arg, const char *name)
{
	BootWork   *work = (BootWork *) arg;
	char		path[MQ_SEGMENT_PATH_MAX];

	if (!mq_segment_parse_uuid(name, &work->key.topic))
		return true;
	mq_segment_topic_dir(path, work->key.dboid, &work->key.topic);
	work->key.partition = -1;
	if (!mq_file_list(path, visit_partition, arg))
		disable(work, path);
	return true;
}

static bool
visit_partition(void *arg, const char *name)
{
	BootWork   *work = (BootWork *) arg;
	uint32		partition;

	if (!mq_segment_parse_number(name, MQ_MAX_PARTITIONS - 1, &partition))
		return true;
	work->key.partition = partition;
	work->partitions++;
	if (!prune_partition(work))
	{
		char		dir[MQ_SEGMENT_PATH_MAX];

		mq_segment_dir(dir, &work->key);
		disable(work, dir);
	}
	return true;
}

/*
 * What could not be checked may hold ghosts: it stays closed until the next
 * boot.  A topic's or database's folder that cannot be read closes them all.
 */
static void
disable(BootWork *work, const char *path)
{
	mq_log_file_error("check the log in folder", path, WARNING);
	work->damaged++;
	if (mq_log_table->disabled < MQ_DISABLED_MAX)
		mq_log_table->disabled_keys[mq_log_table->disabled++] = work->key;
	else
		mq_log_table->disabled_overflow = true;
}

/* Cuts one partition back to what the redo pointer vouches for.  False with errno on a file error. */
static bool
prune_partition(BootWork *work)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	MqOffset	first = 0;
	MqSegmentList list;
	MqLogFound	found;
	bool		ok;
	int			save_errno;

	if (!mq_state_read(&work->key, slots, valid, &current) && errno != ENOENT)
		return false;
	if (current >= 0)
		first = slots[current].first_segment;
	if (current >= 0 && work->forget_options && (slots[current].flags & MQ_STATE_CONFIG) != 0)
	{
		slots[current].flags = 0;
		if (!mq_state_write(&work->key, &slots[current], true))
			return false;
	}
	if (!remove_next(&work->key) || !remove_old(&work->key, first) ||
		!mq_segment_list(&work->key, first, &list))
		return false;

	if (!mq_log_find_end(&work->key, &list, work->redo, first, mq_state_vouch(slots, valid, work->redo), &found))
	{
		save_errno = errno;
		mq_segment_list_free(&list);
		errno = save_errno;
		return false;
	}
	if (found.damaged)
	{
		char		dir[MQ_SEGMENT_PATH_MAX];

		work->damaged++;
		mq_segment_dir(dir, &work->key);
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the log in \"%s\" is damaged: %s", dir, found.reason),
				 errdetail("A checkpoint at %X/%X vouches for %u batches in the segment at offset %lld; "
						   "the log ends with %u batches in the segment at offset %lld.",
						   LSN_FORMAT_ARGS(found.vouched_redo),
						   found.end.batches, (long long) found.end.segment,
						   found.there.batches, (long long) found.there.segment),
				 prune_by_label ?
				 errhint("All is well if WAL that is replayed now says that these messages were deleted.") :
				 errhint("What is undamaged stays readable; restore the rest from a backup.")));
	}
	MQ_FAULT("boot_before_cut");
	work->unsynced |= work->changed >= MANY_CHANGED && mq_file_can_sync_all();
	ok = cut(work, &list, first, &found);
	mq_segment_list_free(&list);

	ok = ok && forget_unfinished(work, slots, valid, current);
	MQ_FAULT("boot_after_cut");
	return ok;
}

/*
 * What was noted for a checkpoint that never completed must not vouch for
 * anything, neither from the current slot nor from the other: the next
 * checkpoint may have the same redo pointer.  Two writes replace both slots.
 */
static bool
forget_unfinished(BootWork *work, MqStateDisk slots[2], const bool valid[2], int current)
{
	if (current < 0 || !mq_state_forget_unfinished(slots, valid, current, work->redo))
		return true;
	if (!mq_state_write(&work->key, &slots[current], true))
		return false;
	MQ_FAULT("boot_state_half_written");
	return mq_state_write(&work->key, &slots[current], true);
}

/*
 * The end of a log: after the last valid descriptor with end_lsn <= redo, but
 * never before what a checkpoint has vouched for.
 */
bool
mq_log_find_end(const MqLogKey *key, const MqSegmentList *list, XLogRecPtr redo, MqOffset first,
				const MqStateCheckpoint *vouched, MqLogFound *found)
{
	int			i;

	memset(found, 0, sizeof(*found));
	found->end.segment = found->damaged_segment = -1;
	if (vouched != NULL && vouched->segment < first)
		vouched = NULL;			/* that segment has been removed since */
	for (i = list->n - 1; i >= 0; i--)
	{
		MqBatchesIdentity id;
		char		path[MQ_SEGMENT_PATH_MAX];
		bool		ok = true;
		uint32		count;
		int			fd;
		int			save_errno;

		mq_segment_path(path, key, list->bases[i], MQ_SEGMENT_BATCHES);
		fd = mq_file_open(path, O_RDONLY);
		if (fd < 0 && errno == ENOENT)
			continue;			/* a .log without descriptors */
		if (fd < 0)
			return false;
		mq_segment_identity(&id, key, list->bases[i]);
		count = Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE;
		errno = 0;
		count = mq_batches_prune(&id, count, redo, mq_segment_read_batches, &fd, &found->last, &ok);
		save_errno = errno;
		mq_file_close(fd);
		errno = save_errno;
		if (!ok)
			return false;
		if (count > 0)
		{
			found->end.segment = list->bases[i];
			found->end.batches = count;
			found->end.position = found->last.position + found->last.length;
			found->end.leo = list->bases[i] + found->last.offset_delta + found->last.record_count;
			mq_segment_path(path, key, list->bases[i], MQ_SEGMENT_LOG);
			if (mq_file_size(path) < (int64) found->end.position)
			{
				found->damaged = true;
				found->damaged_segment = list->bases[i];
				found->reason = "a segment is shorter than its descriptors say";
			}
			break;
		}
	}

	found->there = found->end;
	found->vouched_redo = vouched != NULL ? vouched->redo : InvalidXLogRecPtr;
	if (vouched != NULL && vouched->segment >= 0 && vouched->batches > 0 &&
		(found->end.segment < vouched->segment ||
		 (found->end.segment == vouched->segment && found->end.batches < vouched->batches)))
	{
		found->damaged = true;
		found->damaged_segment = vouched->segment;
		found->reason = "batches that a checkpoint has synced are missing or damaged";
		found->end.segment = vouched->segment;
		found->end.batches = vouched->batches;
		found->end.position = vouched->position;
		found->end.leo = Max(found->end.leo, vouched->leo);
	}
	return true;
}

/* Later segments from the highest down, then the .log, then the .batches of the last one. */
static bool
cut(BootWork *work, const MqSegmentList *list, MqOffset first, const MqLogFound *found)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	bool		changed = false;
	int			i;

	for (i = list->n - 1; i >= 0 && list->bases[i] > found->end.segment; i--)
	{
		int			kind;

		/*
		 * The segment that begins where the log ends stays, but empty: WAL
		 * that is not replayed again may have begun it, and a standby goes on
		 * in it.
		 */
		if (list->bases[i] == Max(found->end.leo, first) && is_there(&work->key, list->bases[i]))
		{
			if (!cut_file(work, list->bases[i], MQ_SEGMENT_BATCHES, 0, &changed) ||
				!cut_file(work, list->bases[i], MQ_SEGMENT_LOG, 0, &changed))
				return false;
			continue;
		}

		/*
		 * Descriptors first: a .log alone is empty to the next boot, but
		 * descriptors alone would be taken for those of a segment that redo
		 * makes again under this name.
		 */
		for (kind = MQ_SEGMENT_BATCHES; kind >= MQ_SEGMENT_LOG; kind--)
		{
			int64		size;

			mq_segment_path(path, &work->key, list->bases[i], kind);
			size = Max(mq_file_size(path), 0);
			if (kind == MQ_SEGMENT_LOG)
				work->bytes_cut += size;
			else
				work->batches_cut += size / MQ_BATCHES_ENTRY_SIZE;
			if (!mq_file_unlink(path))
				return false;
			MQ_FAULT("boot_segment_removed");
		}
		changed = true;
	}
	if (found->end.segment >= 0)
	{
		if (!cut_file(work, found->end.segment, MQ_SEGMENT_LOG, found->end.position, &changed))
			return false;
		MQ_FAULT("boot_log_cut");
		if (!cut_file(work, found->end.segment, MQ_SEGMENT_BATCHES,
					  (int64) found->end.batches * MQ_BATCHES_ENTRY_SIZE, &changed))
			return false;
	}
	if (!changed)
		return true;
	work->changed++;
	if (work->unsynced)
		return true;
	mq_segment_dir(path, &work->key);
	return mq_file_sync_path(path, true);
}

/* Both files of a segment: a crash may have left one. */
static bool
is_there(const MqLogKey *key, MqOffset base)
{
	char		log[MQ_SEGMENT_PATH_MAX];
	char		batches[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(log, key, base, MQ_SEGMENT_LOG);
	mq_segment_path(batches, key, base, MQ_SEGMENT_BATCHES);
	return mq_file_exists(log) && mq_file_exists(batches);
}

/* Shortens a file and flushes it; one that is short enough is left alone. */
static bool
cut_file(BootWork *work, MqOffset base, MqSegmentFile kind, int64 size, bool *changed)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int64		now;
	int			fd;
	bool		ok;
	int			save_errno;

	mq_segment_path(path, &work->key, base, kind);
	now = mq_file_size(path);
	if (now <= size)
		return true;
	if (kind == MQ_SEGMENT_LOG)
		work->bytes_cut += now - size;
	else
		work->batches_cut += (now - size) / MQ_BATCHES_ENTRY_SIZE;
	fd = mq_file_open(path, O_RDWR);
	if (fd < 0)
		return false;
	ok = mq_file_truncate(fd, size) && (work->unsynced || mq_file_sync(fd));
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	*changed = true;
	return ok;
}

static bool
remove_next(const MqLogKey *key)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, key, MQ_SEGMENT_NEXT, MQ_SEGMENT_LOG);
	if (!mq_file_unlink(path))
		return false;
	mq_segment_path(path, key, MQ_SEGMENT_NEXT, MQ_SEGMENT_BATCHES);
	return mq_file_unlink(path);
}

/* Segments whose removal a crash has interrupted. */
static bool
remove_old(const MqLogKey *key, MqOffset first)
{
	MqSegmentList list;
	bool		ok = true;
	int			i;

	if (first == 0)
		return true;
	if (!mq_segment_list(key, 0, &list))
		return false;
	for (i = 0; i < list.n && list.bases[i] < first && ok; i++)
	{
		char		path[MQ_SEGMENT_PATH_MAX];

		mq_segment_path(path, key, list.bases[i], MQ_SEGMENT_BATCHES);
		ok = mq_file_unlink(path);
		mq_segment_path(path, key, list.bases[i], MQ_SEGMENT_LOG);
		ok = ok && mq_file_unlink(path);
		MQ_FAULT("boot_old_removed");
	}
	mq_segment_list_free(&list);
	return ok;
}

static void
report_gap(MqLog *log)
{
	char		dir[MQ_SEGMENT_PATH_MAX];

	if (log->state == MQ_LOG_ACTIVE)
		log->damaged_segment = log->end.segment;
	else if (log->damaged_segment >= 0)
		log->damaged_segment = Max(log->damaged_segment, log->end.segment);
	if (log->state != MQ_LOG_DISABLED)
		log->state = MQ_LOG_DAMAGED;
	mq_segment_dir(dir, &log->key);
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the log in \"%s\" has a hole at offset %lld", dir, (long long) log->gap_offset),
			 errdetail("Replayed WAL continues the log behind its end."),
			 errhint("Restore the missing part from a backup.")));
	log->gap = false;
}
