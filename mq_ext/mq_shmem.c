/*
 * mq_shmem.c
 *	  The one table of shared memory, the one table of lock tranches.
 *
 * Each row of the first names a module's size and init function.  An init
 * function attaches to what ShmemInitStruct() gives it, and fills it unless
 * "found" says that an earlier process of this server has done so.
 *
 * Rooms below may not ask for a tranche themselves; each declares a variable
 * for the id, which is set here before the init functions run.
 *
 * Shared memory is built when the server starts and again after a crash of
 * one of its processes; both times in the postmaster, before redo and before
 * any backend.  That is the moment at which the log is pruned to what
 * pg_control's redo pointer vouches for.  Single-user mode recovers as well;
 * bootstrap mode (initdb) does no file work.
 *
 * Locking: AddinShmemInitLock while the structures are built.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "bgworker/mq_worker.h"
#include "broker/mq_notify.h"
#include "mq_ext/mq_shmem.h"
#include "storage/mq_log.h"
#include "storage/mq_log_recover.h"
#include "storage/mq_progress.h"
#include "storage/mq_stat.h"

typedef struct MqShmemPart
{
	const char *name;
	Size		(*size) (void);
	void		(*init) (bool found);
} MqShmemPart;

static const MqShmemPart parts[] = {
	{"log", mq_log_shmem_size, mq_log_shmem_init},
	{"statistics", mq_stat_shmem_size, mq_stat_shmem_init},
	{"sleepers", mq_notify_shmem_size, mq_notify_shmem_init},
	{"progress", mq_progress_shmem_size, mq_progress_shmem_init},
	{"workers", mq_worker_shmem_size, mq_worker_shmem_init}
};

typedef struct MqShmemTranche
{
	const char *name;
	int		   *id;
} MqShmemTranche;

static const MqShmemTranche tranches[] = {
	{"MqLogAppend", &mq_log_tranche_append},
	{"MqLogSync", &mq_log_tranche_sync},
	{"MqLogTable", &mq_log_tranche_table},
	{"MqNotify", &mq_notify_tranche},
	{"MqStat", &mq_stat_tranche},
	{"MqProgress", &mq_progress_tranche}
};

/* Ids are handed out once per server, for all its processes. */
typedef struct MqShmemShared
{
	int			tranche_ids[lengthof(tranches)];
} MqShmemShared;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request_memory(void);
static void build_memory(void);
static void set_tranches(MqShmemShared *shared, bool found);

void
mq_shmem_install(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = build_memory;
}

static void
request_memory(void)
{
	int			i;

	if (previous_request_hook != NULL)
		previous_request_hook();

	RequestAddinShmemSpace(MAXALIGN(sizeof(MqShmemShared)));
	for (i = 0; i < lengthof(parts); i++)
	{
		Size		size = parts[i].size();

		elog(DEBUG1, "mq_ext needs %zu bytes of shared memory for its %s",
			 size, parts[i].name);
		RequestAddinShmemSpace(size);
	}
}

static void
build_memory(void)
{
	MqShmemShared *shared;
	bool		found;
	int			i;

	if (previous_startup_hook != NULL)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("mq_ext", sizeof(MqShmemShared), &found);
	set_tranches(shared, found);
	for (i = 0; i < lengthof(parts); i++)
		parts[i].init(found);
	LWLockRelease(AddinShmemInitLock);

	if (!found && !IsBootstrapProcessingMode())
		mq_log_recover_boot();
}

/* The server knows a tranche's name only in processes that have told it. */
static void
set_tranches(MqShmemShared *shared, bool found)
{
	int			i;

	for (i = 0; i < lengthof(tranches); i++)
	{
		if (!found)
			shared->tranche_ids[i] = LWLockNewTrancheId();
		*tranches[i].id = shared->tranche_ids[i];
		LWLockRegisterTranche(shared->tranche_ids[i], tranches[i].name);
	}
}
