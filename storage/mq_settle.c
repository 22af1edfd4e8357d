/*
 * mq_settle.c
 *	  Decisions made durable: what became of a batch's transaction.
 *
 * A descriptor names the transaction that wrote the batch; pg_xact knows what
 * became of it, but forgets as old rows are frozen, and a replay of WAL (from
 * a backup, on a standby) may ask long after that.  So, as freezing does for
 * tuples, the settler soon writes the answer next to the question: a settle
 * record into WAL, flushed, then the hints of the descriptors.
 *
 * The hints are only covered by the checkpoint that follows them.  If a
 * checkpoint's redo pointer has passed our record before the partition was
 * marked dirty, that checkpoint knows nothing of the hints, and a crash would
 * lose both; then the record is written once more.
 *
 * Locking: the append lock for the place reached and the dirty mark, the sync
 *			lock shared while hints are written.  WAL is flushed under neither.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "base/mq_faults.h"
#include "storage/mq_fate.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_segment.h"
#include "storage/mq_settle.h"

#define SETTLE_CHUNK	1024		/* batches of a log that one round takes */
#define SETTLE_GROUP	256			/* logs that share one flush of WAL */
#define MAX_LAG			10000000
#define SHORTAGE_REPORT	10000		/* ms between two reports of a shortage */
#define LEFT_LINES		10			/* logs that get a line when recovery has left something in them */

/* What one round does to one log. */
typedef struct SettleWork
{
	MqLog	   *log;
	MqOffset	limit;			/* the LSO when it began */
	MqOffset	segment;		/* where it goes on */
	uint32		batch;
	bool		end;			/* the limit was reached */
	bool		failed;			/* its files cannot be read or written */
	bool		later;			/* for want of descriptors or memory: the next round may */
	int64		settled;
	int64		aborted;
	xl_mq_settle record;		/* to == from: none */
	XLogRecPtr	lsn;			/* where the record ends */
	xl_mq_run  *runs;
} SettleWork;

/* What recovery left, of logs beyond the first few that have a line each. */
static struct
{
	int			logs;			/* with the first few */
	int64		settled;
	int64		aborted;
}			left;

/* Has this round left a log for the next one, for want of something? */
static bool put_off = false;

static bool settle_group(int *next, bool report);
static bool settle_round(MqLog **logs, int n, bool report);
static void begin_work(SettleWork *work, MqLog *log);
static void find_work(SettleWork *work);
static void collect(SettleWork *work, const MqDescriptorDisk *d, uint32 n);
static void skip_unknown(SettleWork *work, const MqDescriptorDisk *d, uint32 number);
static void set_hints(SettleWork *work);
static void finish_work(SettleWork *work, bool report);
static bool next_segment(SettleWork *work);
static void fail(SettleWork *work, const char *what, const char *path);
static bool has_older_range(MqLog *log, uint64 below);
static bool write_hints(const MqLogKey *key, const xl_mq_settle *settle, const xl_mq_run *runs, bool flush);
static void write_abort_hints(const xl_mq_abort *xlrec, MqOffset segment, bool flush);

bool
mq_settle_pending(void)
{
	return pg_atomic_read_u32(&mq_log_table->unsettled) != 0;
}

bool
mq_settle_all(FullTransactionId below)
{
	uint64		begun = U64FromFullTransactionId(ReadNextFullTransactionId());
	bool		complete;
	bool		more = false;
	int			next = 0;
	int			i;

	put_off = false;
	pg_atomic_write_u32(&mq_log_table->unsettled, 0);
	while (next < mq_log_table->slots)
		more |= settle_group(&next, false);

	complete = !put_off;
	for (i = 0; i < mq_log_table->slots && complete; i++)
		complete = mq_log_slots[i].range_head == MQ_LOG_NO_RANGE ||
			!has_older_range(&mq_log_slots[i], U64FromFullTransactionId(below));
	if (more)
		pg_atomic_write_u32(&mq_log_table->unsettled, 1);
	if (!complete)
		return false;
	if (!mq_settle_pending())
		pg_atomic_write_u64(&mq_log_table->settled_at, 0);
	/* somebody may just have left the time to us */
	pg_memory_barrier();
	if (mq_settle_pending())
		pg_atomic_write_u64(&mq_log_table->settled_at, begun);
	return true;
}

/*
 * Settles the logs of the next slots that need it, not so many at once that
 * others find no place in the table.  True when a log has something left.
 */
static bool
settle_group(int *next, bool report)
{
	MqLog	   *logs[SETTLE_GROUP];
	int			most = Max(1, Min(SETTLE_GROUP, mq_log_table->slots / 4));
	bool		more = false;
	int			n = 0;
	int			i;

	for (; *next < mq_log_table->slots && n < most; (*next)++)
	{
		MqLog	   *log = mq_log_slots[*next].unsettled ? mq_log_pin_slot(*next) : NULL;

		if (log != NULL && log->unsettled && log->state != MQ_LOG_DISABLED)
			logs[n++] = log;
		else if (log != NULL)
			mq_log_unpin(log);
	}
	while (settle_round(logs, n, report))
		CHECK_FOR_INTERRUPTS();
	for (i = 0; i < n; i++)
	{
		more |= logs[i]->unsettled;
		mq_log_unpin(logs[i]);
	}
	return more;
}

/* Makes the settler look at every log again, for one that begins in the middle of another's work. */
void
mq_settle_request(void)
{
	pg_atomic_write_u32(&mq_log_table->unsettled, 1);
}

/*
 * Settles what the end of recovery left in doubt, in logs that nobody may
 * open for weeks: by then pg_xact could have forgotten their transactions.
 */
void
mq_settle_after_recovery(void)
{
	MqLogKey   *keys;
	int			next = 0;
	int			n;
	int			i;

	/* first what is in the table: that makes places for the others */
	memset(&left, 0, sizeof(left));
	while (next < mq_log_table->slots)
		(void) settle_group(&next, true);
	keys = mq_log_list_all(&n);
	for (i = 0; i < n; i++)
	{
		MqLog	   *log;

		CHECK_FOR_INTERRUPTS();
		log = mq_log_open(&keys[i]);
		if (log->left_in_doubt && log->state != MQ_LOG_DISABLED && !log->dropped)
		{
			while (settle_round(&log, 1, true))
				CHECK_FOR_INTERRUPTS();
		}
		mq_log_unpin(log);
	}
	if (keys != NULL)
		pfree(keys);
	if (left.logs > LEFT_LINES)
		ereport(LOG,
				(errmsg("mq_ext: settled %lld batches left undecided in %d more logs, %lld of them aborted",
						(long long) left.settled, left.logs - LEFT_LINES, (long long) left.aborted)));
}

/* Single-user mode has no settler, and its VACUUM may be what makes pg_xact forget. */
void
mq_settle_single_user(void)
{
	static bool done = false;

	if (IsUnderPostmaster || done || !mq_log_is_attached() || RecoveryInProgress() ||
		mq_log_is_closed())
		return;
	done = true;
	mq_settle_after_recovery();
}

/* How far behind the settler is, not how old the oldest transaction of others. */
void
mq_settle_check_lag(void)
{
	uint64		at = pg_atomic_read_u64(&mq_log_table->settled_at);

	if (at == 0 || !mq_settle_pending())
		return;
	if (U64FromFullTransactionId(ReadNextFullTransactionId()) > at + MAX_LAG)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("messages are not accepted because their transactions are not being settled"),
				 errdetail("More than %d transactions have begun since all was settled.", MAX_LAG),
				 errhint("See that the process \"mq_ext settler\" is running.")));
}

void
mq_settle_redo(const xl_mq_settle *xlrec, const xl_mq_run *runs)
{
	MqLog	   *log = mq_log_open_redo(&xlrec->key);

	/* hints that cannot be set cost a look at pg_xact, not the server; what was dropped gets no dirty mark */
	if (log == NULL || !log->has_files)
	{
		(void) write_hints(&xlrec->key, xlrec, runs, true);
		if (log != NULL)
			mq_log_unpin_redo(log);
		return;
	}
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	LWLockAcquire(&log->sync_lock, LW_SHARED);
	mq_log_mark_dirty(log, xlrec->segment);
	(void) write_hints(&xlrec->key, xlrec, runs, false);
	if (xlrec->segment > log->settled_segment ||
		(xlrec->segment == log->settled_segment && xlrec->to > log->settled_batch))
	{
		log->settled_segment = xlrec->segment;
		log->settled_batch = xlrec->to;
	}
	if (log->settled_segment == log->end.segment && log->settled_batch >= log->end.batches)
		log->unsettled = log->left_in_doubt = false;
	LWLockRelease(&log->sync_lock);
	LWLockRelease(&log->append_lock);
	mq_log_unpin_redo(log);
}

/* Says aborted in the hints of the range; the settle record that follows makes it final. */
void
mq_settle_redo_abort(const xl_mq_abort *xlrec)
{
	MqLog	   *log = mq_log_open_redo(&xlrec->key);
	MqSegmentList list;
	int			i;

	if (!mq_segment_list(&xlrec->key, 0, &list))
		list.n = 0;
	if (log != NULL)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		LWLockAcquire(&log->sync_lock, LW_SHARED);
	}
	for (i = 0; i < list.n; i++)
	{
		if (list.bases[i] >= xlrec->next ||
			(i + 1 < list.n && list.bases[i + 1] <= xlrec->base))
			continue;
		if (log != NULL)
			mq_log_mark_dirty(log, list.bases[i]);
		write_abort_hints(xlrec, list.bases[i], log == NULL);
	}
	mq_segment_list_free(&list);
	if (log != NULL)
	{
		LWLockRelease(&log->sync_lock);
		LWLockRelease(&log->append_lock);
		mq_log_unpin_redo(log);
	}
}

/*
 * Settles up to SETTLE_CHUNK batches of each log with one flush of WAL for
 * all of them; true when there is more.
 */
static bool
settle_round(MqLog **logs, int n, bool report)
{
	SettleWork *work = palloc0(sizeof(SettleWork) * Max(n, 1));
	XLogRecPtr	flush = InvalidXLogRecPtr;
	bool		more = false;
	int			i;

	for (i = 0; i < n; i++)
	{
		begin_work(&work[i], logs[i]);
		find_work(&work[i]);
		if (work[i].record.to > work[i].record.from)
			work[i].lsn = mq_log_wal_settle(&work[i].record, work[i].runs);
		flush = Max(flush, work[i].lsn);
	}
	if (flush != InvalidXLogRecPtr)
		XLogFlush(flush);
	MQ_FAULT("settle_before_hints");
	for (i = 0; i < n; i++)
	{
		if (work[i].lsn != InvalidXLogRecPtr)
			set_hints(&work[i]);
		finish_work(&work[i], report);
		more |= !work[i].end && !work[i].failed && !work[i].later &&
			work[i].lsn != InvalidXLogRecPtr;
		if (work[i].runs != NULL)
			pfree(work[i].runs);
	}
	MQ_FAULT("settle_done");
	pfree(work);
	return more;
}

static void
begin_work(SettleWork *work, MqLog *log)
{
	char		dir[MQ_SEGMENT_PATH_MAX];

	work->log = log;
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	mq_log_go_live(log);
	if (!mq_log_tail_write(log, DEBUG1))
	{
		mq_segment_dir(dir, &log->key);
		fail(work, "write files in folder", dir);
		/* it may be tried again, whatever the error was; a checkpoint does, too */
		work->failed = false;
		work->later = put_off = true;
	}
	work->limit = mq_log_get(&log->lso);
	work->segment = log->settled_segment;
	work->batch = log->settled_batch;
	LWLockRelease(&log->append_lock);

	/* the LSO has only passed what was flushed by then */
	work->record.decided_lsn = GetFlushRecPtr(NULL);
	work->record.key = log->key;
}

/* Looks at the next descriptors, in this segment or a later one, and fills in the record. */
static void
find_work(SettleWork *work)
{
	while (!work->log->dropped && !work->end && !work->later && !work->failed)
	{
		MqDescriptorDisk d[SETTLE_CHUNK];
		char		path[MQ_SEGMENT_PATH_MAX];
		int			fd = mq_segment_open(&work->log->key, work->segment, MQ_SEGMENT_BATCHES, false);
		int64		size = fd < 0 ? -1 : mq_file_size_fd(fd);
		uint32		count = Max(size, 0) / MQ_BATCHES_ENTRY_SIZE;
		uint32		n = Min(count - Min(work->batch, count), SETTLE_CHUNK);
		uint32		first;

		if ((size < 0 && errno != ENOENT) ||
			(n > 0 && !mq_segment_read_batches(&fd, work->batch, n, d)))
		{
			mq_segment_path(path, &work->log->key, work->segment, MQ_SEGMENT_BATCHES);
			fail(work, "read file", path);
			break;
		}
		work->record.segment = work->segment;
		work->record.from = work->record.to = work->batch;
		first = work->batch;
		if (n > 0)
			collect(work, d, n);
		if (work->record.to > work->record.from)
			break;
		if (work->batch > first)
			continue;			/* one was skipped */
		if (!work->end && work->batch + n < count)
		{
			work->batch += n;	/* all damaged */
			continue;
		}

		/* nothing to settle here: the next segment, if there is one */
		if (work->end || !next_segment(work))
			break;
	}
}

/* Looks at descriptors from work->batch on; stops at the limit and when the list of runs is full. */
static void
collect(SettleWork *work, const MqDescriptorDisk *d, uint32 n)
{
	MqBatchesIdentity id;
	bool		in_run = false;
	uint32		i;

	mq_segment_identity(&id, &work->log->key, work->segment);
	for (i = 0; i < n; i++)
	{
		MqFate		fate;

		/*
		 * A damaged descriptor has no fate, readers report it; but one that
		 * an append has not written yet looks the same, so the range settled
		 * ends with a valid one.
		 */
		if (!mq_batches_valid(&d[i], &id, work->batch + i))
		{
			in_run = false;
			continue;
		}
		if (work->segment + d[i].offset_delta >= work->limit)
		{
			work->end = true;
			break;
		}
		fate = mq_fate(&d[i]);
		if (fate != MQ_FATE_COMMITTED && fate != MQ_FATE_ABORTED)
		{
			/* never guess: the record ends before it, the next one begins behind it */
			if (work->record.to == work->batch)
				skip_unknown(work, &d[i], work->batch + i);
			break;
		}
		if ((d[i].hint & MQ_HINT_SETTLED) == 0)
		{
			work->settled++;
			work->aborted += fate == MQ_FATE_ABORTED ? 1 : 0;
		}
		if (fate == MQ_FATE_ABORTED && !in_run)
		{
			if (work->record.naborted == MQ_SETTLE_MAX_RUNS)
				break;
			if (work->runs == NULL)
				work->runs = palloc(sizeof(xl_mq_run) * MQ_SETTLE_MAX_RUNS);
			work->runs[work->record.naborted++].from = work->batch + i;
		}
		in_run = fate == MQ_FATE_ABORTED;
		if (in_run)
			work->runs[work->record.naborted - 1].to = work->batch + i + 1;
		work->record.to = work->batch + i + 1;
	}
}

/* Its hint stays undecided, and readers report it as damage. */
static void
skip_unknown(SettleWork *work, const MqDescriptorDisk *d, uint32 number)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	mq_segment_path(path, &work->log->key, work->segment, MQ_SEGMENT_BATCHES);
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the fate of a batch in file \"%s\" is unknown", path),
			 errdetail("pg_xact no longer knows transaction " UINT64_FORMAT " of offset %lld.",
					   d->fxid, (long long) (work->segment + d->offset_delta))));
	work->batch = number + 1;
	work->record.from = work->record.to = work->batch;
	if (work->record.naborted > 0)
		work->record.naborted = 0;
}

/* The record is in flushed WAL: now the hints; and once more if a checkpoint came between. */
static void
set_hints(SettleWork *work)
{
	MqLog	   *log = work->log;
	char		path[MQ_SEGMENT_PATH_MAX];
	bool		covered = false;

	while (!covered)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		LWLockAcquire(&log->sync_lock, LW_SHARED);
		if (log->dropped)
		{
			LWLockRelease(&log->sync_lock);
			LWLockRelease(&log->append_lock);
			return;
		}
		mq_log_mark_dirty(log, work->segment);
		LWLockRelease(&log->append_lock);
		covered = GetRedoRecPtr() < work->lsn;
		if (covered && !write_hints(&log->key, &work->record, work->runs, false))
		{
			mq_segment_path(path, &log->key, work->segment, MQ_SEGMENT_BATCHES);
			fail(work, "set hints in file", path);
		}
		LWLockRelease(&log->sync_lock);
		if (covered)
			break;
		work->lsn = mq_log_wal_settle(&work->record, work->runs);
		XLogFlush(work->lsn);
	}
	work->batch = work->record.to;
}

/*
 * Notes how far it got.  A log whose files fail is left alone until somebody
 * appends to it, or until the next boot.
 */
static void
finish_work(SettleWork *work, bool report)
{
	MqLog	   *log = work->log;
	char		dir[MQ_SEGMENT_PATH_MAX];

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	if (!work->failed && !work->later)
	{
		log->settled_segment = work->segment;
		log->settled_batch = work->batch;
	}
	else if (work->failed && log->state != MQ_LOG_DISABLED)
	{
		log->state = MQ_LOG_DAMAGED;
		log->damaged_segment = -1;
	}
	if (work->failed || (!work->later && mq_log_get(&log->lso) == work->limit &&
						 (work->end || work->lsn == InvalidXLogRecPtr)))
		log->unsettled = log->left_in_doubt = false;
	LWLockRelease(&log->append_lock);

	mq_segment_dir(dir, &log->key);
	if (work->failed)
		ereport(WARNING,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("the log in \"%s\" cannot be settled", dir)));
	else if (report && work->settled > 0 && left.logs++ < LEFT_LINES)
		ereport(LOG,
				(errmsg("mq_ext: settled %lld batches left undecided in \"%s\", %lld of them aborted",
						(long long) work->settled, dir, (long long) work->aborted)));
	else if (report)
	{
		left.settled += work->settled;
		left.aborted += work->aborted;
	}
}

/* On to the segment behind this one; false when there is none, or when that could not be found out. */
static bool
next_segment(SettleWork *work)
{
	char		dir[MQ_SEGMENT_PATH_MAX];
	MqSegmentList list;
	bool		found;

	if (!mq_segment_list(&work->log->key, work->segment + 1, &list))
	{
		mq_segment_dir(dir, &work->log->key);
		fail(work, "read folder", dir);
		return false;
	}
	found = list.n > 0;
	if (found)
	{
		work->segment = list.bases[0];
		work->batch = 0;
	}
	mq_segment_list_free(&list);
	return found;
}

/*
 * By errno: a shortage passes, so the log waits for the next round, which
 * keeps the snapshot, and the server log gets a line now and then.
 */
static void
fail(SettleWork *work, const char *what, const char *path)
{
	static TimestampTz reported = 0;
	TimestampTz now = GetCurrentTimestamp();

	work->later = mq_file_is_shortage() || errno == ENOSPC || errno == EDQUOT;
	work->failed = !work->later;
	put_off |= work->later;
	if (work->later && !TimestampDifferenceExceeds(reported, now, SHORTAGE_REPORT))
		return;
	if (work->later)
		reported = now;
	mq_log_file_error(what, path, WARNING);
}

static bool
has_older_range(MqLog *log, uint64 below)
{
	bool		older = false;
	int32		range;

	LWLockAcquire(&log->append_lock, LW_SHARED);
	for (range = log->range_head; range != MQ_LOG_NO_RANGE && !older; range = mq_log_ranges[range].next)
		older = mq_log_ranges[range].fxid != 0 && mq_log_ranges[range].fxid < below;
	LWLockRelease(&log->append_lock);
	return older;
}

/* Sets the hints of [from, to): settled, and aborted where a run says so.  False with errno: it could not. */
static bool
write_hints(const MqLogKey *key, const xl_mq_settle *settle, const xl_mq_run *runs, bool flush)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqBatchesIdentity id;
	uint32		run = 0;
	uint32		at = settle->from;
	int			fd = mq_segment_open(key, settle->segment, MQ_SEGMENT_BATCHES, false);
	bool		ok = fd >= 0;
	int			save_errno;

	/* a segment that is gone needs no hints */
	if (!ok && errno == ENOENT)
		return true;
	mq_segment_identity(&id, key, settle->segment);
	while (ok && at < settle->to)
	{
		MqDescriptorDisk d[SETTLE_CHUNK];
		uint32		n = Min(settle->to - at, SETTLE_CHUNK);
		uint32		i;

		ok = mq_segment_read_batches(&fd, at, n, d);
		for (i = 0; ok && i < n; i++)
		{
			while (run < settle->naborted && runs[run].to <= at + i)
				run++;
			if (!mq_batches_valid(&d[i], &id, at + i))
				continue;
			d[i].hint = MQ_HINT_SETTLED |
				(run < settle->naborted && runs[run].from <= at + i ? MQ_HINT_ABORTED : MQ_HINT_COMMITTED);
		}
		ok = ok && mq_file_pwrite(fd, d, sizeof(MqDescriptorDisk) * n, (off_t) at * MQ_BATCHES_ENTRY_SIZE);
		at += n;
	}
	save_errno = errno;
	mq_segment_path(path, key, settle->segment, MQ_SEGMENT_BATCHES);
	/* the settler reports for itself, not so often */
	if (!ok)
		mq_log_file_error("set hints in file", path, RecoveryInProgress() ? WARNING : DEBUG1);
	else if (flush && !mq_file_sync(fd))
		mq_log_file_error("fsync file", path, PANIC);
	errno = save_errno;
	return ok;
}

static void
write_abort_hints(const xl_mq_abort *xlrec, MqOffset segment, bool flush)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqBatchesIdentity id;
	int			fd = mq_segment_open(&xlrec->key, segment, MQ_SEGMENT_BATCHES, false);
	uint32		count;
	uint32		number;
	bool		ok;

	if (fd < 0)
		return;
	count = Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE;
	mq_segment_identity(&id, &xlrec->key, segment);
	number = mq_batches_search(&id, count, MQ_BATCHES_BY_NEXT_OFFSET, xlrec->base - segment,
							   mq_segment_read_batches, &fd, &ok);
	for (; ok && number < count; number++)
	{
		MqDescriptorDisk d;

		ok = mq_segment_read_batches(&fd, number, 1, &d);
		if (!ok || !mq_batches_valid(&d, &id, number))
			continue;
		if (segment + d.offset_delta >= xlrec->next)
			break;
		if (d.fxid != xlrec->fxid)
			continue;
		d.hint = (d.hint & MQ_HINT_SETTLED) | MQ_HINT_ABORTED;
		ok = mq_file_pwrite(fd, &d, sizeof(d), (off_t) number * MQ_BATCHES_ENTRY_SIZE);
	}
	mq_segment_path(path, &xlrec->key, segment, MQ_SEGMENT_BATCHES);
	if (!ok)
		mq_log_file_error("set hints in file", path, WARNING);
	else if (flush && !mq_file_sync(fd))
		mq_log_file_error("fsync file", path, PANIC);
}
