/*
 * mq_late.c
 *	  Another extension, for tests: it runs SQL when a transaction ends.
 *
 * Callbacks are called in the reverse order of their registration, so a server
 * that preloads this library before mq_ext runs the statement of
 * mq_late.command after mq_ext has seen PRE_COMMIT (or PRE_PREPARE).
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lwlock.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

#define XIDS_PER_PAGE	32768	/* of pg_xact; a multiple of what a page of pg_subtrans holds */

static char *command = NULL;

void		_PG_init(void);

static void at_end(XactEvent event, void *arg);

PG_FUNCTION_INFO_V1(mq_late_skip_xids);

void
_PG_init(void)
{
	DefineCustomStringVariable("mq_late.command", "Runs late in each commit.", NULL,
							   &command, "", PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(at_end, NULL);
}

static void
at_end(XactEvent event, void *arg)
{
	if (command[0] == '\0' || (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE))
		return;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute(command, false, 0);
	PopActiveSnapshot();
	SPI_finish();
}

/*
 * As if so many transactions had passed: the next xid is the first of a page,
 * because only then it gets its page.
 */
Datum
mq_late_skip_xids(PG_FUNCTION_ARGS)
{
	uint64		next;

	LWLockAcquire(XidGenLock, LW_EXCLUSIVE);
	next = U64FromFullTransactionId(ShmemVariableCache->nextXid) + PG_GETARG_INT64(0);
	next += XIDS_PER_PAGE - next % XIDS_PER_PAGE;
	ShmemVariableCache->nextXid = FullTransactionIdFromU64(next);
	LWLockRelease(XidGenLock);
	PG_RETURN_VOID();
}
