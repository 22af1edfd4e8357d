/*
 * mq_janitor.c
 *	  The worker that looks after files: space ahead and behind, drops, the sweep.
 *
 * A standby gets its files by redo, so there the janitor only waits for
 * promotion.  What it does on a primary is storage's work, in shares small
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

#include "bgworker/mq_worker.h"
#include "storage/mq_log.h"

/* All in milliseconds. */
#define MQ_JANITOR_LOOK		5000
#define MQ_JANITOR_AGAIN	10		/* when work was left over */
#define MQ_JANITOR_RETRY	10000	/* when something could not be removed */
#define MQ_JANITOR_SWEEP	(5 * 60 * 1000)

/* By mq_worker_clock(): when the next sweep is due though nobody asks for it. */
static int64 next_sweep = 0;

PGDLLEXPORT void mq_janitor_main(Datum arg) pg_attribute_noreturn();

static void janitor_start(void);
static void janitor_stop(void);
static long janitor_tick(void);
static void sweep(void);
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

	if (RecoveryInProgress())
		return MQ_JANITOR_LOOK;

	if (mq_log_database_sweep_wanted() || mq_worker_clock() >= next_sweep)
		sweep();
	mq_worker_report("preparing segments");
	more = mq_log_prepare_ahead();
	mq_worker_report("giving space back");
	mq_log_trim_closed();
	mq_worker_report("dropping files");
	failed = mq_log_drop_pending();
	mq_worker_report(NULL);

	if (more)
		return MQ_JANITOR_AGAIN;
	return Max(0, Min(failed ? MQ_JANITOR_RETRY : MQ_JANITOR_LOOK, next_sweep - mq_worker_clock()));
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
