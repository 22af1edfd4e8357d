/*
 * mq_janitor.c
 *	  The worker that looks after files: space ahead and behind, retention, drops, the sweep.
 *
 * A standby gets its files by redo, so there the janitor only removes what
 * redo says is gone, when no reader needs it any more.  What it does on a primary is storage's work, in shares small
 * enough to look at interrupts in between; here is decided when.
 *
 * Folders of databases that no longer exist are found by looking into
 * pg_database, which is shared: at the start, when a DROP DATABASE has
 * committed, and now and then for drops that happened while no worker lived.
 *
 * Locking: AccessShareLock on pg_database while it is read.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "base/mq_settings.h"
#include "bgworker/mq_worker.h"
#include "storage/mq_log.h"
#include "storage/mq_log_start.h"
#include "storage/mq_log_retain.h"

/* All in milliseconds. */
#define MQ_JANITOR_LOOK		5000
#define MQ_JANITOR_AGAIN	10		/* when work was left over */
#define MQ_JANITOR_RETRY	10000	/* when something could not be removed */
#define MQ_JANITOR_SWEEP	(5 * 60 * 1000)

#define MQ_JANITOR_READERS	200		/* when files wait for readers to end */

/* By mq_worker_clock(): when the next sweep is due though nobody asks for it, and the next retention. */
static int64 next_sweep = 0;
static int64 last_retention = 0;

PGDLLEXPORT void mq_janitor_main(Datum arg) pg_attribute_noreturn();

static void janitor_start(void);
static void janitor_stop(void);
static long janitor_tick(void);
static long time_left(bool failed);
static void sweep(void);
static void retain(void);
static bool database_exists(Oid dboid);

static const MqWorker janitor = {
	.kind = MQ_WORKER_JANITOR,
	.name = "mq_ext janitor",
	.start = janitor_start,
	.stop = janitor_stop,
	.tick = janitor_tick
};

void
mq_janitor_main(Datum arg)
{
	mq_worker_run(&janitor);
}

static void
janitor_start(void)
{
	mq_log_set_worker(MQ_LOG_WORKER_JANITOR, MyLatch);
}

static void
janitor_stop(void)
{
	mq_log_set_worker(MQ_LOG_WORKER_JANITOR, NULL);
}

static long
janitor_tick(void)
{
	bool		more;
	bool		failed;
	bool		left;
	long		again;

	mq_worker_report("removing old segments");
	left = mq_log_start_clean_all(&failed);
	again = failed ? MQ_JANITOR_RETRY : left ? MQ_JANITOR_READERS : MQ_JANITOR_LOOK;
	mq_worker_report(NULL);
	if (RecoveryInProgress())
		return again;

	if (mq_log_database_sweep_wanted() || mq_worker_clock() >= next_sweep)
		sweep();
	mq_worker_report("preparing segments");
	more = mq_log_prepare_ahead();
	mq_log_start_note_configs();
	mq_worker_report("giving space back");
	mq_log_trim_closed();
	mq_worker_report("dropping files");
	failed = mq_log_drop_pending();
	if (mq_worker_clock() - last_retention >= mq_retention_check_interval)
		retain();
	mq_worker_report(NULL);
	if (failed)
		mq_worker_waits("waiting to remove files again");
	else if (left)
		mq_worker_waits("waiting for readers of old segments");

	if (more)
		return MQ_JANITOR_AGAIN;
	return Min(again, time_left(failed));
}

static long
time_left(bool failed)
{
	int64		wait = failed ? MQ_JANITOR_RETRY : MQ_JANITOR_LOOK;

	wait = Min(wait, next_sweep - mq_worker_clock());
	wait = Min(wait, last_retention + mq_retention_check_interval - mq_worker_clock());
	return (long) Max(0, wait);
}

/* In one transaction, because its end unpins what an error leaves pinned. */
static void
retain(void)
{
	mq_worker_report("applying retention");
	/* if it raises, the next one comes soon, and goes on where this one ended */
	last_retention = mq_worker_clock() - mq_retention_check_interval + MQ_JANITOR_LOOK;
	mq_worker_begin();
	(void) mq_log_retain_all();
	mq_worker_commit();
	last_retention = mq_worker_clock();
}

/*
 * Sweeps in one transaction, because transaction end would unpin what storage
 * has in hand.  It holds no snapshot between two looks into pg_database.
 */
static void
sweep(void)
{
	bool		failed;

	mq_worker_report("sweeping dropped databases");
	next_sweep = mq_worker_clock() + MQ_JANITOR_RETRY;	/* it may raise, or fail */
	mq_worker_begin();
	failed = mq_log_sweep_databases(database_exists);
	mq_worker_commit();
	if (!failed)
		next_sweep = mq_worker_clock() + MQ_JANITOR_SWEEP;
}

/*
 * Looks a database up with a snapshot of its own: one taken earlier might
 * miss a database that was created, and written to, since.
 */
static bool
database_exists(Oid dboid)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	bool		exists;

	InvalidateCatalogSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_database_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(dboid));

	/* without a database the index can be opened only from the init file */
	scan = systable_beginscan(rel, DatabaseOidIndexId,
							  criticalSharedRelcachesBuilt, NULL, 1, &key);
	exists = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	InvalidateCatalogSnapshot();
	return exists;
}
