/*
 * mq_worker.c
 *	  The one main loop of our worker processes.
 *
 * Signals, configuration reload, barriers, the latch, the error boundary, the
 * memory of a tick and its transactions are the same for every worker, and
 * each of them has been got wrong somewhere before.  So they are written once,
 * here, and a worker is a name and a tick.
 *
 * No worker connects to a database: DROP DATABASE, CREATE DATABASE ...
 * TEMPLATE and RENAME wait for every process that does.  Shared catalogs can
 * be read all the same.  SIGTERM sets a flag only; the loop looks at it between
 * ticks and leaves quietly, a tick that runs long meets it in
 * CHECK_FOR_INTERRUPTS().  An ERROR ends the tick, not the process.
 *
 * Each kind has one place in shared memory, which its process claims at the
 * start.  So a new launcher finds the workers that an old one started, and if
 * two processes of one kind are started the second leaves again.
 *
 * What a worker does, how long it has worked and how it failed last stands
 * there too, for mq.stat_workers.
 *
 * Locking: a spinlock around the table of places, held for a few
 * instructions, never while a latch is set.  Texts of what a worker does are
 * constants of this library, which all processes have at the same address;
 * the worker sets them without a lock.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/sinval.h"
#include "storage/smgr.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/mq_waits.h"
#include "bgworker/mq_worker.h"
#include "broker/mq_notify.h"
#include "storage/mq_log.h"

/* How long to wait after an error, so that it does not fill the server log. */
#define MQ_WORKER_ERROR_PAUSE	1000

/* A pause looks at interrupts at least this often. */
#define MQ_WORKER_PAUSE_SLICE	100

typedef struct MqWorkerPlaceShared
{
	pid_t		pid;			/* 0 = nobody */
	Latch	   *latch;
	const char *volatile activity;	/* NULL = idle */
	const char *volatile reason;	/* NULL = see activity */
	int64		starts;
	int64		busy_usec;
	TimestampTz last_error_at;
	char		last_error[MQ_WORKER_ERROR_MAX];
} MqWorkerPlaceShared;

typedef struct MqWorkerShared
{
	slock_t		mutex;			/* protects everything below */
	MqWorkerPlaceShared places[MQ_WORKER_KINDS];
} MqWorkerShared;

static MqWorkerShared *shared = NULL;

/* What this process is; set once by mq_worker_run(). */
static const MqWorker *me = NULL;

/* Memory of one tick. */
static MemoryContext tick_context = NULL;

/* When the tick began, zero between two; and how long it has paused. */
static instr_time tick_start;
static int64 paused_usec = 0;

static void set_signals(void);
static void set_settings(void);
static bool claim_place(void);
static void leave(int code, Datum arg);
static void recover_from_error(void);
static void note_error(void);
static void run_tick(void);
static void end_tick(void);
static void handle_interrupts(void);
static void doze(int events, long ms);

void
mq_worker_run(const MqWorker *worker)
{
	sigjmp_buf	boundary;

	me = worker;
	set_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	set_settings();
	if (!claim_place())
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);

	tick_context = AllocSetContextCreate(TopMemoryContext, "mq worker tick",
										 ALLOCSET_DEFAULT_SIZES);
	if (sigsetjmp(boundary, 1) != 0)
		recover_from_error();
	PG_exception_stack = &boundary;

	/* before the first tick and again after an error: it is idempotent */
	if (me->start != NULL)
		me->start();
	for (;;)
		run_tick();
}

void
mq_worker_report(const char *activity)
{
	static const char *shown = "";

	shared->places[me->kind].activity = activity;
	shared->places[me->kind].reason = NULL;
	if (activity == shown)
		return;
	shown = activity;
	if (activity != NULL)
	{
		pgstat_report_activity(STATE_RUNNING, activity);
		set_ps_display(activity);
	}
	else
	{
		pgstat_report_activity(STATE_IDLE, NULL);
		set_ps_display("idle");
	}
}

void
mq_worker_waits(const char *reason)
{
	shared->places[me->kind].reason = reason;
}

void
mq_worker_pause(long ms)
{
	int64		end = mq_worker_clock() + ms;
	int64		left = ms;
	instr_time	start;
	instr_time	now;

	INSTR_TIME_SET_CURRENT(start);
	while (left > 0)
	{
		doze(WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(left, MQ_WORKER_PAUSE_SLICE));
		handle_interrupts();
		left = end - mq_worker_clock();
	}
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	paused_usec += INSTR_TIME_GET_MICROSEC(now);
}

int64
mq_worker_clock(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

void
mq_worker_begin(void)
{
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	pgstat_report_xact_timestamp(0);
}

void
mq_worker_commit(void)
{
	CommitTransactionCommand();
	MemoryContextSwitchTo(tick_context);
}

bool
mq_worker_is_running(MqWorkerKind kind)
{
	bool		running;

	SpinLockAcquire(&shared->mutex);
	running = (shared->places[kind].pid != 0);
	SpinLockRelease(&shared->mutex);
	return running;
}

const char *
mq_worker_type(MqWorkerKind kind)
{
	switch (kind)
	{
		case MQ_WORKER_LAUNCHER:
			return "launcher";
		case MQ_WORKER_JANITOR:
			return "janitor";
		case MQ_WORKER_SETTLER:
			return "settler";
	}
	return "unknown";
}

void
mq_worker_info(MqWorkerKind kind, MqWorkerInfo *info)
{
	MqWorkerPlaceShared *place = &shared->places[kind];

	SpinLockAcquire(&shared->mutex);
	info->pid = place->pid;
	info->active = place->activity != NULL;
	info->reason = place->reason != NULL ? place->reason : place->activity;
	info->busy_usec = place->busy_usec;
	info->restarts = Max(place->starts - 1, 0);
	info->last_error_at = place->last_error_at;
	memcpy(info->last_error, place->last_error, MQ_WORKER_ERROR_MAX);
	SpinLockRelease(&shared->mutex);
	if (info->reason == NULL)
		info->reason = "waiting for work";
}

Size
mq_worker_shmem_size(void)
{
	return sizeof(MqWorkerShared);
}

void
mq_worker_shmem_init(bool found)
{
	bool		mine;

	shared = ShmemInitStruct("mq_ext workers", mq_worker_shmem_size(), &mine);
	Assert(mine == found);
	if (!found)
	{
		memset(shared, 0, sizeof(MqWorkerShared));
		SpinLockInit(&shared->mutex);
	}
}

/* Installs the handlers; the server has set those that are not named here. */
static void
set_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, SIG_IGN);	/* there is no statement to cancel */
	BackgroundWorkerUnblockSignals();
}

/*
 * Overrides what an administrator may have set for sessions and what would
 * harm a worker: timeouts that end its transactions, and an isolation level
 * under which a transaction never gets a newer snapshot.
 */
static void
set_settings(void)
{
	static const char *const overrides[][2] = {
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"}
	};
	int			i;

	for (i = 0; i < lengthof(overrides); i++)
		SetConfigOption(overrides[i][0], overrides[i][1],
						PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", me->name, PGC_SUSET, PGC_S_OVERRIDE);
	mq_worker_report(NULL);
}

/* Makes this process the one of its kind; false: there is one already. */
static bool
claim_place(void)
{
	MqWorkerPlaceShared *place = &shared->places[me->kind];
	bool		claimed = false;

	SpinLockAcquire(&shared->mutex);
	if (place->pid == 0)
	{
		place->pid = MyProcPid;
		place->latch = MyLatch;
		place->starts++;
		claimed = true;
	}
	SpinLockRelease(&shared->mutex);
	return claimed;
}

/*
 * Exit callback: gives the place back and tells the launcher, which may be
 * younger than this process and then gets no signal from the postmaster.
 */
static void
leave(int code, Datum arg)
{
	MqWorkerPlaceShared *place = &shared->places[me->kind];
	Latch	   *launcher;

	if (me->stop != NULL)
		me->stop();
	mq_log_release();			/* a tick outside a transaction may have been cut short */

	SpinLockAcquire(&shared->mutex);
	place->pid = 0;
	place->latch = NULL;
	place->activity = place->reason = NULL;
	launcher = shared->places[MQ_WORKER_LAUNCHER].latch;
	SpinLockRelease(&shared->mutex);

	if (launcher != NULL)
		SetLatch(launcher);
}

/*
 * The error boundary: reports the error, lets go of everything that a tick
 * may have held, inside a transaction or outside, and waits a little.
 */
static void
recover_from_error(void)
{
	error_context_stack = NULL;
	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	EmitErrorReport();

	AbortCurrentTransaction();
	LWLockReleaseAll();
	pgstat_report_wait_end();
	AbortBufferIO();
	UnlockBuffers();
	AtEOXact_Buffers(false);
	AtEOXact_SMgr();
	AtEOXact_Files(false);
	AtEOXact_HashTables(false);
	mq_notify_release();
	mq_log_release();

	MemoryContextSwitchTo(tick_context);
	MemoryContextReset(tick_context);
	note_error();
	FlushErrorState();
	MemoryContextReset(tick_context);
	RESUME_INTERRUPTS();

	end_tick();
	mq_worker_report(NULL);
	mq_worker_waits("pausing after an error");
	mq_worker_pause(MQ_WORKER_ERROR_PAUSE);
}

/* The memory of ticks is empty, so that the copy fits what it always keeps. */
static void
note_error(void)
{
	MqWorkerPlaceShared *place = &shared->places[me->kind];
	ErrorData  *error = CopyErrorData();
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&shared->mutex);
	strlcpy(place->last_error, error->message != NULL ? error->message : "", MQ_WORKER_ERROR_MAX);
	place->last_error_at = now;
	SpinLockRelease(&shared->mutex);
}

/* One tick and the sleep after it. */
static void
run_tick(void)
{
	long		ms;

	handle_interrupts();
	MemoryContextSwitchTo(tick_context);
	mq_worker_waits(NULL);
	paused_usec = 0;
	INSTR_TIME_SET_CURRENT(tick_start);
	ms = me->tick();
	end_tick();
	MemoryContextSwitchTo(tick_context);
	MemoryContextReset(tick_context);

	/* a tick may leave its transaction open; statistics go out after it */
	if (!IsTransactionState())
		pgstat_report_stat(false);

	if (ms > 0)
		doze(WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms);
	ResetLatch(MyLatch);
}

/* Adds the time of the tick to what this kind of worker has worked. */
static void
end_tick(void)
{
	instr_time	now;

	if (INSTR_TIME_IS_ZERO(tick_start))
		return;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, tick_start);
	INSTR_TIME_SET_ZERO(tick_start);
	SpinLockAcquire(&shared->mutex);
	shared->places[me->kind].busy_usec += INSTR_TIME_GET_MICROSEC(now) - paused_usec;
	SpinLockRelease(&shared->mutex);
}

/*
 * Does what others asked for by signal: to leave, to reload the configuration,
 * to absorb a barrier, to read the invalidation messages that have piled up.
 *
 * The postmaster forgets a static worker that exits with 0, whoever sent it
 * away.  The launcher exits with 1, so that it comes back unless the server
 * is shutting down; the others are started again by the launcher, and leave
 * no line in the log.
 */
static void
handle_interrupts(void)
{
	if (ProcDiePending)
		proc_exit(me->kind == MQ_WORKER_LAUNCHER ? 1 : 0);
	HandleMainLoopInterrupts();
	CHECK_FOR_INTERRUPTS();
	if (catchupInterruptPending)
		ProcessCatchupInterrupt();
}

static void
doze(int events, long ms)
{
	(void) WaitLatch(MyLatch, events, ms, mq_waits_worker_main());
}
