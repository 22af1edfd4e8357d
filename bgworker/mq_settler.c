/*
 * mq_settler.c
 *	  The worker that makes decisions known and durable.
 *
 * On a primary it publishes the ranges of asynchronous commits as soon as
 * their commit records are flushed, and settles decided batches, so that no
 * batch depends on pg_xact for longer than seconds.
 *
 * pg_xact may be truncated up to the oldest xmin.  So while anything is
 * unsettled the settler holds a registered snapshot, and settling goes hand
 * over hand: take a new snapshot, settle everything below its xmin, drop the
 * old one.  At no time is an unsettled xid older than the snapshot held.
 * When all is settled the transaction ends and xmin is free.
 *
 * Its first act on a primary, after boot or promotion, is to look what
 * recovery has left in doubt.
 *
 * On a standby redo decides nothing and wakes nobody; while somebody sleeps
 * the settler looks which ranges have been decided.  It notices promotion by
 * itself.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "bgworker/mq_worker.h"
#include "broker/mq_notify.h"
#include "storage/mq_log.h"
#include "storage/mq_settle.h"

/* All in milliseconds. */
#define MQ_SETTLER_FLUSH		10	/* between two flushes for asynchronous commits */
#define MQ_SETTLER_ROUND		200 /* between two rounds of settling */
#define MQ_SETTLER_IDLE			10000
#define MQ_SETTLER_STANDBY_LOOK 20
#define MQ_SETTLER_STANDBY_IDLE 1000

/* Registered while something is unsettled; gone when the transaction is. */
static Snapshot held = NULL;

/* Has this process seen to what recovery left in doubt? */
static bool recovery_seen = false;

/* By mq_worker_clock(). */
static int64 next_flush = 0;
static int64 next_round = 0;

PGDLLEXPORT void mq_settler_main(Datum arg) pg_attribute_noreturn();

static void settler_start(void);
static void settler_stop(void);
static long settler_tick(void);
static long watch_for_sleepers(void);
static bool publish_flushed(void);
static long settle(void);
static bool settle_round(void);
static FullTransactionId widen_xid(TransactionId xid);
static void let_go(void);

static const MqWorker settler = {
	.kind = MQ_WORKER_SETTLER,
	.name = "mq_ext settler",
	.start = settler_start,
	.stop = settler_stop,
	.tick = settler_tick
};

void
mq_settler_main(Datum arg)
{
	mq_worker_run(&settler);
}

static void
settler_start(void)
{
	held = NULL;				/* an error has ended its transaction */
	mq_settle_request();		/* and may have cut a round short */
	mq_log_set_worker(MQ_LOG_WORKER_SETTLER, MyLatch);
}

static void
settler_stop(void)
{
	mq_log_set_worker(MQ_LOG_WORKER_SETTLER, NULL);
}

static long
settler_tick(void)
{
	bool		more;
	long		until_round;

	if (RecoveryInProgress())
		return watch_for_sleepers();
	more = publish_flushed();
	until_round = settle();
	return more ? Min(MQ_SETTLER_FLUSH, until_round) : until_round;
}

/* A sleeper that comes later sets our latch. */
static long
watch_for_sleepers(void)
{
	if (!mq_notify_anyone())
		return MQ_SETTLER_STANDBY_IDLE;
	mq_worker_waits("waiting for transactions to be replayed");
	return mq_log_wake_standby() ? MQ_SETTLER_STANDBY_LOOK : MQ_SETTLER_STANDBY_IDLE;
}

/*
 * Publishes asynchronous commits, at most a hundred times a second: each
 * committer sets the latch, and a flush for each of them would take back what
 * synchronous_commit = off has given.
 */
static bool
publish_flushed(void)
{
	bool		more;

	mq_worker_waits("gathering asynchronous commits");
	mq_worker_pause(next_flush - mq_worker_clock());
	next_flush = mq_worker_clock() + MQ_SETTLER_FLUSH;
	mq_worker_waits("flushing WAL");
	more = mq_log_publish_flushed();
	mq_worker_waits(NULL);
	return more;
}

/* Settles if it is time; returns the milliseconds until it is again. */
static long
settle(void)
{
	int64		now = mq_worker_clock();

	if (mq_log_is_closed() || (held == NULL && recovery_seen && !mq_settle_pending()))
		return MQ_SETTLER_IDLE;
	if (now >= next_round)
	{
		next_round = now + MQ_SETTLER_ROUND;
		if (settle_round())
		{
			let_go();
			return MQ_SETTLER_IDLE;
		}
	}
	mq_worker_waits("waiting for the next round");
	return next_round - now;
}

/*
 * One step, hand over hand; true when nothing is left.  The old snapshot goes
 * only if no transaction that the new one takes for finished still has
 * something to publish.
 */
static bool
settle_round(void)
{
	Snapshot	next;
	bool		complete;

	if (held == NULL)
	{
		mq_worker_begin();
		mq_worker_report("settling");	/* for as long as the snapshot is held */
	}
	next = RegisterSnapshot(GetTransactionSnapshot());
	if (!recovery_seen)
	{
		held = next;			/* pg_xact must not forget meanwhile */
		mq_settle_after_recovery();
		recovery_seen = true;
		return false;
	}
	/* asynchronous commits that came in between would count as not settled */
	(void) mq_log_publish_flushed();
	complete = mq_settle_all(widen_xid(next->xmin));
	if (held != NULL)
		UnregisterSnapshot(complete ? held : next);
	if (held == NULL || complete)
		held = next;
	return complete && !mq_settle_pending();
}

/* The 64-bit form of an xid that is not in the future. */
static FullTransactionId
widen_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

static void
let_go(void)
{
	UnregisterSnapshot(held);
	held = NULL;
	mq_worker_commit();
	mq_worker_report(NULL);
}
