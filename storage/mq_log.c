/*
 * mq_log.c
 *	  One partition's log: append, publish, abort, offsets.
 *
 * An append hands out offsets under the append lock, puts the batches into
 * WAL and into the log's tail or its files, and links a range: from then on the batches
 * exist but their transaction is in doubt.  The commit's own WAL flush makes
 * them durable.  Publish and abort decide the range; the last stable offset
 * then passes every decided range whose WAL is flushed, up to the first that
 * is not, and sleepers are woken.  Nobody waits for another's flush.
 *
 * A decided range waits for a flush even when it was aborted: an offset that
 * a reader has seen passed must not be handed out again after a crash.
 *
 * Locking: see mq_log_internal.h.  The four offsets change in
 *			mq_log_set_end(), mq_log_advance(), mq_log_go_live() and
 *			mq_log_load(), each under the append lock, each ends with
 *			mq_log_check().
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/mq_faults.h"
#include "base/mq_settings.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_space.h"
#include "storage/mq_log_standby.h"
#include "storage/mq_log_start.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_log_wal.h"
#include "storage/mq_read_buffer.h"
#include "storage/mq_segment.h"

/* What one hold of the append lock takes. */
#define HOLD_BYTES		(1024 * 1024)

/* From this size on an append has the WAL writer write its WAL. */
#define WAL_AHEAD_BYTES	(256 * 1024)

static void refuse_disabled(MqLog *log) pg_attribute_noreturn();
static void note_config(MqLog *log, const MqLogConfig *config);
static void choose_batches(MqLog *log, MqLogAppendPlan *plan, int n);
static void open_files(MqLog *log, MqLogAppendPlan *plan);
static void decide(const MqLogRange *range, MqRangeState state, XLogRecPtr lsn);
static void wait_for_flush(MqLog *log, XLogRecPtr lsn);
static MqEpoch leader_epoch(void);

/* The range this process took from the pool and has not used yet. */
static int32 spare_range = MQ_LOG_NO_RANGE;

int
mq_log_append(MqLog *log, const MqLogConfig *config, uint64 fxid,
			  MqLogBatch *batches, int n, MqLogRange *range, bool *is_new)
{
	MqLogAppendPlan plan;

	mq_checkpoint_guard();
	if (spare_range == MQ_LOG_NO_RANGE)
		spare_range = mq_log_range_alloc();

	plan.log = log;
	plan.fxid = fxid;
	plan.batches = batches;
	plan.out = range;
	plan.create = plan.roll = false;
	plan.now = GetCurrentTimestamp();

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	mq_log_require_usable(log);
	mq_log_go_live(log);
	note_config(log, config);
	mq_log_space_make(log, &plan);
	choose_batches(log, &plan, n);
	mq_log_space_reserve(log, plan.n, plan.bytes);
	plan.direct = !mq_log_tail_prepare(log, plan.n, plan.bytes);
	if (plan.direct)
		open_files(log, &plan);

	plan.extend = range->slot != MQ_LOG_NO_RANGE && range->slot == log->range_tail &&
		mq_log_ranges[range->slot].state == MQ_RANGE_IN_DOUBT && range->next == log->end.leo;
	plan.range = plan.extend ? range->slot : spare_range;
	*is_new = !plan.extend;

	MQ_FAULT("append_before_wal");
	if (plan.direct)
		LWLockAcquire(&log->sync_lock, LW_SHARED);
	mq_log_mark_dirty(log, log->end.segment);
	mq_log_wal_append(&plan);	/* releases the append lock */
	if (plan.direct)
		LWLockRelease(&log->sync_lock);
	if (!plan.extend)
		spare_range = MQ_LOG_NO_RANGE;
	MQ_FAULT("append_done");

	/* the WAL writer begins with a large transaction now, so that its commit has less to wait for */
	if (plan.bytes >= WAL_AHEAD_BYTES)
		XLogSetAsyncXactLSN(range->end_lsn);
	return plan.n;
}

/* Caller holds the append lock exclusively.  The janitor writes down what is new. */
static void
note_config(MqLog *log, const MqLogConfig *config)
{
	if (likely(log->config_known && log->config.retention_ms == config->retention_ms &&
			   log->config.retention_bytes == config->retention_bytes &&
			   log->config.retired == config->retired) || config->tentative)
	{
		log->config.segment_bytes = config->segment_bytes;
		log->config.segment_ms = config->segment_ms;
		return;
	}
	log->config = *config;
	log->config_known = log->config_news = true;
	if (pg_atomic_exchange_u32(&mq_log_table->config_news, 1) == 0)
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
}

void
mq_log_configure(MqLog *log, const MqLogConfig *config)
{
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	note_config(log, config);
	LWLockRelease(&log->append_lock);
}

bool
mq_log_suspend(MqLog *log, MqLogConfig *before)
{
	bool		known;

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	/* its state file would keep the old ones, and after a mend be believed */
	if (log->state == MQ_LOG_DISABLED && !log->dropped)
		refuse_disabled(log);
	*before = log->config;
	known = log->config_known;
	log->config_known = log->config_news = false;
	if (known && log->has_files && !log->dropped && log->state != MQ_LOG_DISABLED)
	{
		(void) mq_log_wal_config(&log->key, &log->config, false);
		mq_log_mark_dirty(log, Max(log->end.segment, 0));
	}
	LWLockRelease(&log->append_lock);
	return known;
}

bool
mq_log_is_configured(const MqLog *log)
{
	return log->config_known;
}

bool
mq_log_roll(MqLog *log)
{
	XLogRecPtr	lsn;

	mq_checkpoint_guard();
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	mq_log_require_usable(log);
	mq_log_go_live(log);
	if (log->end.segment < 0 || log->end.batches == 0)
	{
		LWLockRelease(&log->append_lock);
		return false;
	}
	mq_log_space_roll(log);
	lsn = mq_log_wal_roll(&log->key, log->end.segment);
	LWLockRelease(&log->append_lock);
	XLogFlush(lsn);
	return true;
}

void
mq_log_publish(const MqLogRange *ranges, int n, XLogRecPtr commit_lsn)
{
	int			i;

	for (i = 0; i < n; i++)
		decide(&ranges[i], MQ_RANGE_COMMITTED, Max(commit_lsn, ranges[i].end_lsn));
}

/*
 * Tells WAL that the ranges' transaction failed, then lets the last stable
 * offset pass them.  The record is not flushed here: if it is lost, the
 * transaction has no commit record either.
 */
void
mq_log_abort(const MqLogRange *ranges, int n, uint64 fxid)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		XLogRecPtr	lsn = mq_log_wal_abort(&ranges[i].log->key, fxid, ranges[i].base, ranges[i].next);

		XLogSetAsyncXactLSN(lsn);
		decide(&ranges[i], MQ_RANGE_ABORTED, lsn);
	}
}

void
mq_log_flush(const MqLogRange *range)
{
	XLogFlush(range->end_lsn);
}

/* An end that views show must not be taken back by a crash. */
void
mq_log_flush_for_view(XLogRecPtr lsn)
{
	if (!RecoveryInProgress() && lsn != InvalidXLogRecPtr)
		XLogFlush(lsn);
}

/* The offsets as a reader may use them; on a standby it first looks what has been decided. */
void
mq_log_offsets(MqLog *log, MqLogOffsets *out)
{
	if (log->state == MQ_LOG_DISABLED)
		refuse_disabled(log);
	if (RecoveryInProgress())
		mq_log_standby_refresh(log);
	else if (!log->live)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		mq_log_go_live(log);
		LWLockRelease(&log->append_lock);
	}

	/* each rises only, so this order keeps log_start <= lso <= hw <= leo */
	out->lso = mq_log_get(&log->lso);
	pg_read_barrier();
	out->hw = mq_log_get(&log->hw);
	pg_read_barrier();
	out->leo = mq_log_get(&log->leo);
	out->log_start = Min(mq_log_get(&log->log_start), out->lso);
	out->epoch = leader_epoch();
}

/* Gives the pool its range back; called where pins are dropped, at the end of a transaction. */
void
mq_log_release(void)
{
	if (spare_range != MQ_LOG_NO_RANGE)
	{
		mq_log_range_free(spare_range);
		spare_range = MQ_LOG_NO_RANGE;
	}
	mq_read_buffer_release();
	mq_log_start_leave_all();
	mq_log_unpin_all();
}

/*
 * Publishes what waited for a WAL flush.  Called by the settler, which is
 * woken by whoever left something waiting.
 */
bool
mq_log_publish_flushed(void)
{
	XLogRecPtr	wanted;
	bool		more = false;
	int			i;

	if (RecoveryInProgress() ||
		pg_atomic_exchange_u32(&mq_log_table->flush_waiters, 0) == 0)
		return false;
	wanted = (XLogRecPtr) pg_atomic_read_u64(&mq_log_table->flush_wanted);
	XLogFlush(Min(wanted, GetXLogInsertRecPtr()));

	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];
		MqOffset	lso;

		if (!log->waits_flush)
			continue;
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		mq_log_advance(log, GetFlushRecPtr(NULL));
		more |= log->waits_flush;
		lso = mq_log_get(&log->lso);
		LWLockRelease(&log->append_lock);
		if (mq_log_publish_hook != NULL)
			mq_log_publish_hook(i, lso);
	}
	if (more)
		pg_atomic_write_u32(&mq_log_table->flush_waiters, 1);
	return more;
}

/* Caller holds the append lock. */
void
mq_log_check(const MqLog *log)
{
#ifdef USE_ASSERT_CHECKING
	MqOffset	log_start = mq_log_get(unconstify(pg_atomic_uint64 *, &log->log_start));
	MqOffset	lso = mq_log_get(unconstify(pg_atomic_uint64 *, &log->lso));
	MqOffset	hw = mq_log_get(unconstify(pg_atomic_uint64 *, &log->hw));
	MqOffset	leo = mq_log_get(unconstify(pg_atomic_uint64 *, &log->leo));

	Assert(log_start >= 0);
	Assert(log_start <= lso);
	Assert(lso <= hw);
	Assert(hw <= leo);
	Assert(leo == log->end.leo);
	Assert(log->end.segment <= log->end.leo);
#endif
}

/* Moves the end.  Caller holds the append lock exclusively. */
void
mq_log_set_end(MqLog *log, const MqLogEnd *end)
{
	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	Assert(end->leo >= log->end.leo);
	log->end = *end;
	pg_atomic_write_u64(&log->leo, end->leo);
	mq_log_check(log);
}

/*
 * Lets the last stable offset pass every decided range at the head of the
 * list whose WAL is flushed.  Caller holds the append lock exclusively.
 */
void
mq_log_advance(MqLog *log, XLogRecPtr flushed)
{
	MqOffset	lso;
	MqOffset	hw;

	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	log->waits_flush = false;
	while (log->range_head != MQ_LOG_NO_RANGE)
	{
		int32		head = log->range_head;
		MqRangeShared *range = &mq_log_ranges[head];

		if (range->state == MQ_RANGE_IN_DOUBT)
			break;
		if (range->decided_lsn > flushed)
		{
			log->waits_flush = true;
			break;
		}
		log->range_head = range->next;
		if (log->range_head == MQ_LOG_NO_RANGE)
			log->range_tail = MQ_LOG_NO_RANGE;
		mq_log_range_free(head);
	}

	lso = log->range_head == MQ_LOG_NO_RANGE ? log->end.leo : mq_log_ranges[log->range_head].base;
	hw = mq_log_get(&log->hw);
	if (log->last_append_lsn <= flushed)
		hw = log->end.leo;
	pg_atomic_write_u64(&log->hw, Max(hw, lso));
	if (lso > mq_log_get(&log->lso))
	{
		pg_atomic_write_u64(&log->lso, lso);
		mq_log_note_unsettled(log);
	}
	mq_log_check(log);
}

/* The settler has work here.  Caller holds the append lock exclusively. */
void
mq_log_note_unsettled(MqLog *log)
{
	log->unsettled = true;
	if (pg_atomic_read_u32(&mq_log_table->unsettled) == 0 &&
		pg_atomic_exchange_u32(&mq_log_table->unsettled, 1) == 0)
	{
		if (pg_atomic_read_u64(&mq_log_table->settled_at) == 0)
			pg_atomic_write_u64(&mq_log_table->settled_at,
								U64FromFullTransactionId(ReadNextFullTransactionId()));
		mq_log_kick_settler();
	}
}

/*
 * What recovery left is decided and durable by now: all of it is visible or
 * aborted for ever.  Caller holds the append lock exclusively.
 */
void
mq_log_go_live(MqLog *log)
{
	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	if (log->live || RecoveryInProgress())
		return;
	Assert(log->range_head == MQ_LOG_NO_RANGE);
	pg_atomic_write_u64(&log->hw, log->end.leo);
	pg_atomic_write_u64(&log->lso, log->end.leo);
	log->live = true;
	mq_log_check(log);
}

/* Caller holds the append lock exclusively. */
void
mq_log_note_epoch(MqLog *log, MqEpoch epoch, MqOffset start)
{
	if (epoch <= log->epoch)
		return;
	log->epoch = epoch;
	log->epoch_start = start;
}

/* Caller holds the append lock exclusively: whoever takes the marks needs it too. */
void
mq_log_mark_dirty(MqLog *log, MqOffset segment)
{
	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	if (!log->dirty || segment < log->dirty_segment)
		log->dirty_segment = segment;
	log->dirty = true;
}

void
mq_log_file_error(const char *what, const char *path, int elevel)
{
	ereport(elevel,
			(errcode(mq_file_errcode()),
			 errmsg("could not %s \"%s\": %m", what, path)));
}

void
mq_log_require_usable(MqLog *log)
{
	if (log->dropped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic was dropped")));
	if (log->state == MQ_LOG_DISABLED)
		refuse_disabled(log);
}

/* To a reader, too, it must not look empty. */
static void
refuse_disabled(MqLog *log)
{
	char		dir[MQ_SEGMENT_PATH_MAX];

	mq_segment_dir(dir, &log->key);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the log in \"%s\" cannot be used", dir),
			 errdetail("Its files could not be read; the server log says why."),
			 errhint("Mend the cause and restart the server.")));
}

/* The batches of this hold: at least one, and what fits the segment and HOLD_BYTES besides. */
static void
choose_batches(MqLog *log, MqLogAppendPlan *plan, int n)
{
	int64		room = log->config.segment_bytes - log->end.position;
	int			i;

	plan->bytes = plan->batches[0].length;
	for (i = 1; i < n && i < MQ_APPEND_MAX_BATCHES; i++)
	{
		if (plan->bytes + plan->batches[i].length > Min(room, HOLD_BYTES))
			break;
		plan->bytes += plan->batches[i].length;
	}
	plan->n = i;
}

/* Before the critical section: what it writes to must be open. */
static void
open_files(MqLog *log, MqLogAppendPlan *plan)
{
	plan->log_fd = mq_segment_open(&log->key, log->end.segment, MQ_SEGMENT_LOG, false);
	if (plan->log_fd >= 0)
		plan->batches_fd = mq_segment_open(&log->key, log->end.segment, MQ_SEGMENT_BATCHES, false);
	if (plan->log_fd < 0 || plan->batches_fd < 0)
	{
		char		path[MQ_SEGMENT_PATH_MAX];

		mq_segment_path(path, &log->key, log->end.segment,
						plan->log_fd < 0 ? MQ_SEGMENT_LOG : MQ_SEGMENT_BATCHES);
		mq_log_file_error("open file", path, ERROR);
	}
}

/* Decides one range and wakes who may read now.  Never raises, never allocates. */
static void
decide(const MqLogRange *range, MqRangeState state, XLogRecPtr lsn)
{
	MqLog	   *log = range->log;
	MqRangeShared *shared = &mq_log_ranges[range->slot];
	MqOffset	before;
	MqOffset	after;

	/* single-user mode has no settler */
	if (!IsUnderPostmaster)
		XLogFlush(lsn);
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	Assert(shared->log_slot == log->slot && shared->state == MQ_RANGE_IN_DOUBT);
	shared->state = state;
	shared->decided_lsn = lsn;
	if (state == MQ_RANGE_COMMITTED)
		mq_stat_count_in(log, range->next - range->base, &range->in);
	before = mq_log_get(&log->lso);
	mq_log_advance(log, GetFlushRecPtr(NULL));
	after = mq_log_get(&log->lso);
	if (log->waits_flush)
		wait_for_flush(log, lsn);
	LWLockRelease(&log->append_lock);

	if (after > before && mq_log_publish_hook != NULL)
		mq_log_publish_hook(log->slot, after);
}

/* Leaves a decided range to the settler, which flushes WAL within 10 ms. */
static void
wait_for_flush(MqLog *log, XLogRecPtr lsn)
{
	uint64		wanted = pg_atomic_read_u64(&mq_log_table->flush_wanted);

	while (wanted < lsn &&
		   !pg_atomic_compare_exchange_u64(&mq_log_table->flush_wanted, &wanted, lsn))
		;
	if (pg_atomic_exchange_u32(&mq_log_table->flush_waiters, 1) == 0)
		mq_log_kick_settler();
}

/* On a single node the timeline counts the leaders. */
static MqEpoch
leader_epoch(void)
{
	TimeLineID	tli;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&tli);
	else
		tli = GetWALInsertionTimeLine();
	return (MqEpoch) Max(tli, 1) - 1;
}
