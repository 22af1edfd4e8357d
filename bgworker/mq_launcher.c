/*
 * mq_launcher.c
 *	  The static worker that keeps the others running.
 *
 * Only the launcher is known to the postmaster for good; it is started at
 * every boot, on a standby as soon as that accepts connections, and again
 * whenever it ends.  The others are dynamic workers that the postmaster never
 * restarts by itself.  If it did, it would restart them after a crash of the
 * server too, beside those that the new launcher starts.
 *
 * A worker that ends, by SIGTERM or by a FATAL error, is started again after
 * a moment.  One that is killed with SIGKILL takes the server through a crash
 * restart like any backend; the new launcher then starts everything.
 *
 * Too few worker processes are no reason to stop: the launcher says once what
 * is missing and tries again until a slot comes free.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"

#include "bgworker/mq_launcher.h"
#include "bgworker/mq_worker.h"

/* Between two looks, in milliseconds; the end of a worker sets the latch. */
#define MQ_LAUNCHER_LOOK	5000

/* Between two starts of one worker, in milliseconds. */
#define MQ_LAUNCHER_RETRY	1000

typedef struct MqLauncherChild
{
	MqWorkerKind kind;
	const char *name;
	const char *function;
	BackgroundWorkerHandle *handle; /* of the last start, or NULL */
	int64		next_start;		/* by mq_worker_clock(): not before */
} MqLauncherChild;

/* In the order of need: without the settler, asynchronous commits are not seen. */
static MqLauncherChild children[] = {
	{MQ_WORKER_SETTLER, "mq_ext settler", "mq_settler_main", NULL, 0},
	{MQ_WORKER_JANITOR, "mq_ext janitor", "mq_janitor_main", NULL, 0}
};

/* True from the first failure to get a slot to the next success. */
static bool short_of_slots = false;

PGDLLEXPORT void mq_launcher_main(Datum arg) pg_attribute_noreturn();

static void describe_worker(BackgroundWorker *worker, const char *name, const char *function);
static long launcher_tick(void);
static bool keep_running(MqLauncherChild *child);
static bool is_on_its_way(const MqLauncherChild *child);
static void start_child(MqLauncherChild *child);
static void report_shortage(const MqLauncherChild *child);

static const MqWorker launcher = {
	.kind = MQ_WORKER_LAUNCHER,
	.name = "mq_ext launcher",
	.tick = launcher_tick
};

void
mq_launcher_register(void)
{
	BackgroundWorker worker;

	/* single-user mode runs no workers at all */
	if (IsPostmasterEnvironment && max_worker_processes < MQ_WORKER_KINDS)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too few worker processes for mq_ext"),
				 errdetail("mq_ext runs %d worker processes; \"max_worker_processes\" is %d.",
						   MQ_WORKER_KINDS, max_worker_processes),
				 errhint("Set \"max_worker_processes\" to at least %d, plus what else needs worker processes, and restart the server.",
						 MQ_WORKER_KINDS)));

	describe_worker(&worker, launcher.name, "mq_launcher_main");
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

void
mq_launcher_main(Datum arg)
{
	mq_worker_run(&launcher);
}

/* What all our workers have in common. */
static void
describe_worker(BackgroundWorker *worker, const char *name, const char *function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "mq_ext", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_ConsistentState;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
}

static long
launcher_tick(void)
{
	bool		complete = true;
	int			i;

	for (i = 0; i < lengthof(children); i++)
		complete &= keep_running(&children[i]);
	mq_worker_waits(complete ? "waiting for a worker to end" : "waiting to start a worker");
	return complete ? MQ_LAUNCHER_LOOK : MQ_LAUNCHER_RETRY;
}

/* Starts a worker that is missing; true if it was running. */
static bool
keep_running(MqLauncherChild *child)
{
	int64		now = mq_worker_clock();

	if (mq_worker_is_running(child->kind))
		return true;
	if (!is_on_its_way(child) && now >= child->next_start)
	{
		child->next_start = now + MQ_LAUNCHER_RETRY;
		start_child(child);
	}
	return false;
}

/* Between its registration and its claim a worker runs for nobody but us. */
static bool
is_on_its_way(const MqLauncherChild *child)
{
	pid_t		pid;
	BgwHandleStatus status;

	if (child->handle == NULL)
		return false;
	status = GetBackgroundWorkerPid(child->handle, &pid);
	return status == BGWH_NOT_YET_STARTED || status == BGWH_STARTED;
}

static void
start_child(MqLauncherChild *child)
{
	BackgroundWorker worker;
	MemoryContext old;
	bool		started;

	if (child->handle != NULL)
		pfree(child->handle);
	child->handle = NULL;

	describe_worker(&worker, child->name, child->function);
	worker.bgw_notify_pid = MyProcPid;
	old = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&worker, &child->handle);
	MemoryContextSwitchTo(old);

	if (!started && !short_of_slots)
		report_shortage(child);
	short_of_slots = !started;
}

static void
report_shortage(const MqLauncherChild *child)
{
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("could not start worker process \"%s\"", child->name),
			 errdetail("All %d slots of \"max_worker_processes\" are in use; mq_ext needs %d of them.",
					   max_worker_processes, MQ_WORKER_KINDS),
			 errhint("Increase \"max_worker_processes\" and restart the server; until then the launcher tries again every second.")));
}
