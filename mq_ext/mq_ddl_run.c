/*
 * mq_ddl_run.c
 *	  The commands that are being run, and what was noted of each.
 *
 * What happens to a relation is seen apart from the command that does it, and
 * the innermost command is the one: those of a function or an event trigger
 * stand above the one that has called it.  Nothing is told of a command that
 * fails.  It is known by its subtransaction, which fails with it.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "mq_ext/mq_ddl_run.h"

/* Innermost last. */
static MqDdlRun *running = NULL;
static int	nrunning = 0;
static int	running_room = 0;

static MqDdlRun *innermost(void);

int
mq_ddl_run_begin(Node *command, bool top_level)
{
	MqDdlRun   *run;

	(void) innermost();
	if (nrunning == running_room)
	{
		int			room = Max(8, running_room * 2);

		if (running == NULL)
			running = MemoryContextAlloc(TopMemoryContext, room * sizeof(MqDdlRun));
		else
			running = repalloc(running, room * sizeof(MqDdlRun));
		running_room = room;
	}
	run = &running[nrunning];
	memset(run, 0, sizeof(*run));
	run->lxid = MyProc->lxid;
	run->subid = GetCurrentSubTransactionId();
	run->command = nodeTag(command);
	run->top_level = top_level;
	return nrunning++;
}

/* The innermost command that goes on; those that have failed are forgotten. */
static MqDdlRun *
innermost(void)
{
	while (nrunning > 0)
	{
		MqDdlRun   *run = &running[nrunning - 1];

		if (run->lxid == MyProc->lxid && SubTransactionIsActive(run->subid))
			return run;
		nrunning--;
	}
	return NULL;
}

/* A procedure that has ended its transaction may find itself forgotten. */
void
mq_ddl_run_end(int depth, MqDdlRun *run)
{
	memset(run, 0, sizeof(*run));
	if (depth < nrunning && running[depth].lxid == MyProc->lxid)
		*run = running[depth];
	nrunning = Min(nrunning, depth);
}

bool
mq_ddl_run_alters(void)
{
	MqDdlRun   *run = innermost();

	return run != NULL && run->command == T_AlterTableStmt;
}

void
mq_ddl_run_note_made(Oid relid)
{
	MqDdlRun   *run = innermost();

	if (run != NULL && run->command == T_CreateForeignTableStmt)
		run->made = relid;
}

bool
mq_ddl_run_note_truncated(Oid relid)
{
	MqDdlRun   *run = innermost();
	MemoryContext old;

	if (run == NULL || run->command != T_TruncateStmt)
		return false;
	old = MemoryContextSwitchTo(TopTransactionContext);
	run->truncated = lappend_oid(run->truncated, relid);
	MemoryContextSwitchTo(old);
	return true;
}
