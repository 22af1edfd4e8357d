/*
 * mq_progress.c
 *	  What the processes of this server that do long work have done of it.
 *
 * One entry for each process, numbered as the server's array of processes, so
 * there is always room and nothing to search.  A process that dies without
 * ending its transaction takes the server's shared memory with it.
 *
 * Locking: MqProgress, exclusively to begin, change and end an entry, shared
 *			to look at them.  The bytes done are an atomic: they change often.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "storage/mq_progress.h"

typedef struct MqProgressEntryShared
{
	MqProgress	progress;		/* operation NONE = nothing; done is not used */
	pg_atomic_uint64 done;
} MqProgressEntryShared;

typedef struct MqProgressShared
{
	LWLock		lock;
	MqProgressEntryShared entries[FLEXIBLE_ARRAY_MEMBER];
} MqProgressShared;

int			mq_progress_tranche;

static MqProgressShared *shared = NULL;

/* This process's entry while it works. */
static MqProgressEntryShared *mine = NULL;

static int	number_of_entries(void);

Size
mq_progress_shmem_size(void)
{
	return add_size(offsetof(MqProgressShared, entries),
					mul_size(number_of_entries(), sizeof(MqProgressEntryShared)));
}

void
mq_progress_shmem_init(bool found_unused)
{
	bool		found;
	int			i;

	mine = NULL;
	shared = ShmemInitStruct("mq_ext progress", mq_progress_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, mq_progress_shmem_size());
	LWLockInitialize(&shared->lock, mq_progress_tranche);
	for (i = 0; i < number_of_entries(); i++)
		pg_atomic_init_u64(&shared->entries[i].done, 0);
}

void
mq_progress_begin(MqProgressOperation operation, const MqLogKey *key, const char *phase)
{
	int			procno = (int) (MyProc - ProcGlobal->allProcs);
	TimestampTz now = GetCurrentTimestamp();

	Assert(operation != MQ_PROGRESS_NONE);
	Assert(procno >= 0 && procno < number_of_entries());
	mine = &shared->entries[procno];
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	mine->progress.pid = MyProcPid;
	mine->progress.operation = operation;
	mine->progress.key = *key;
	strlcpy(mine->progress.phase, phase, sizeof(mine->progress.phase));
	mine->progress.total = 0;
	mine->progress.started_at = now;
	pg_atomic_write_u64(&mine->done, 0);
	LWLockRelease(&shared->lock);
}

void
mq_progress_phase(const char *phase, int64 total)
{
	Assert(mine != NULL);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	strlcpy(mine->progress.phase, phase, sizeof(mine->progress.phase));
	mine->progress.total = total;
	pg_atomic_write_u64(&mine->done, 0);
	LWLockRelease(&shared->lock);
}

void
mq_progress_done(int64 done)
{
	Assert(mine != NULL);
	pg_atomic_write_u64(&mine->done, (uint64) done);
}

void
mq_progress_end(void)
{
	if (likely(mine == NULL))
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	mine->progress.operation = MQ_PROGRESS_NONE;
	LWLockRelease(&shared->lock);
	mine = NULL;
}

MqProgress *
mq_progress_list(int *n)
{
	MqProgress *result = palloc(sizeof(MqProgress) * number_of_entries());
	int			i;

	*n = 0;
	if (shared == NULL)
		return result;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (i = 0; i < number_of_entries(); i++)
	{
		MqProgressEntryShared *entry = &shared->entries[i];

		if (entry->progress.operation == MQ_PROGRESS_NONE)
			continue;
		result[*n] = entry->progress;
		result[(*n)++].done = (int64) pg_atomic_read_u64(&entry->done);
	}
	LWLockRelease(&shared->lock);
	return result;
}

/* Every process that has a place in the server's array. */
static int
number_of_entries(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}
