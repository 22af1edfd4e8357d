/*
 * mq_notify.c
 *	  Sleepers: who waits for which partition to pass which offset.
 *
 * Each process has one entry with room for a handful of waits.  A wait is
 * linked into the list of its log's slot; publish walks that list, unlinks
 * the waits whose offset was passed and sets the latches of their owners.  A
 * process that waits for more logs than its entry holds is linked once, into
 * a list of such processes, with a bitmap of the slots it means.
 *
 * No wake-up is lost: a sleeper links first and looks at the LSO then;
 * publish moves the LSO first and looks at the lists then, with a full
 * barrier on both sides.  A needless wake-up does no harm: the sleeper looks
 * again, links again and goes on sleeping.  So a wait that an error left
 * linked is no danger either; it is unlinked at the end of the transaction,
 * before the next wait, or when the process exits.
 *
 * While nobody sleeps, publish reads two counters and that is all.
 *
 * Locking: MqNotify, one LWLock per bucket of lists, protects the links and
 * the waits in them; only one is held at a time, and no other lock is taken
 * under it.  Latches are set after its release.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xlog.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "base/mq_settings.h"
#include "base/mq_waits.h"
#include "broker/mq_notify.h"

/* Waits in an entry; who has more is linked into the list of crowds. */
#define MQ_NOTIFY_WAITS		16

#define MQ_NOTIFY_BUCKETS	64

/* Latches set between two holds of a lock. */
#define MQ_NOTIFY_WAKE_CHUNK 32

typedef struct MqNotifyLinkShared
{
	dlist_node	node;			/* protected by the list's bucket lock */
	MqOffset	offset;			/* ditto */
	bool		linked;			/* ditto */
	int			list;			/* written by the owner while not linked */
	int			procno;			/* the owner, for ever */
} MqNotifyLinkShared;

typedef struct MqNotifyEntryShared
{
	MqNotifyLinkShared links[MQ_NOTIFY_WAITS];
} MqNotifyEntryShared;

/* One per slot of the table of open logs, and one behind them for crowds. */
typedef struct MqNotifyListShared
{
	pg_atomic_uint32 count;		/* changed under the bucket lock, read without */
	dlist_head	links;			/* protected by the bucket lock */
} MqNotifyListShared;

typedef struct MqNotifyShared
{
	pg_atomic_uint32 sleepers;	/* processes with something linked */
	LWLockPadded locks[MQ_NOTIFY_BUCKETS];
} MqNotifyShared;

int			mq_notify_tranche = 0;

/* Shared memory; nothing of it moves after the start of the server. */
static MqNotifyShared *shared = NULL;
static MqNotifyListShared *lists = NULL;
static MqNotifyEntryShared *entries = NULL;
static uint64 *crowd_slots = NULL;	/* one bitmap per process, read under the lock of the crowds */

/* How many links of this process's entry are in use, 0 when it does not sleep. */
static int	links_used = 0;

static bool any_ready(const MqNotifyWait *waits, int n);
static void link_all(const MqNotifyWait *waits, int n);
static void unlink_at_exit(int code, Datum arg);
static MqNotifyEntryShared *my_entry(void);
static uint64 *slots_of(int procno);
static void link_one(MqNotifyLinkShared *link, int list, MqOffset offset);
static void link_crowd(const MqNotifyWait *waits, int n);
static void sleep_on_latch(long ms);
static void wake_list(int list, int slot, MqOffset lso);
static bool is_passed(const MqNotifyLinkShared *link, int slot, MqOffset lso);
static void unlink_locked(MqNotifyLinkShared *link);
static LWLock *lock_of(int list);
static int	number_of_entries(void);
static int	bitmap_words(void);

/* The list of those who wait for more logs than an entry holds. */
#define CROWDS (mq_max_partitions)

bool
mq_notify_wait(const MqNotifyWait *waits, int n, long timeout_ms)
{
	instr_time	start;
	instr_time	now;
	long		left = timeout_ms;
	bool		ready = any_ready(waits, n);

	mq_notify_release();
	INSTR_TIME_SET_CURRENT(start);
	while (!ready && left > 0)
	{
		link_all(waits, n);
		ready = any_ready(waits, n);
		if (ready)
			break;
		sleep_on_latch(left);
		CHECK_FOR_INTERRUPTS();

		ready = any_ready(waits, n);
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
		left = timeout_ms - (long) INSTR_TIME_GET_MILLISEC(now);
	}
	mq_notify_release();
	return ready;
}

void
mq_notify_release(void)
{
	MqNotifyEntryShared *entry;
	int			i;

	if (links_used == 0)
		return;
	entry = my_entry();
	for (i = 0; i < links_used; i++)
	{
		LWLock	   *lock = lock_of(entry->links[i].list);

		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (entry->links[i].linked)
			unlink_locked(&entry->links[i]);
		LWLockRelease(lock);
	}
	links_used = 0;
	pg_atomic_fetch_sub_u32(&shared->sleepers, 1);
}

void
mq_notify_wake(int slot, MqOffset lso)
{
	Assert(slot >= 0 && slot < mq_max_partitions);

	/* the LSO was moved before; see the header */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&lists[slot].count) > 0)
		wake_list(slot, slot, lso);
	if (pg_atomic_read_u32(&lists[CROWDS].count) > 0)
		wake_list(CROWDS, slot, lso);
}

bool
mq_notify_has_sleepers(int slot)
{
	return pg_atomic_read_u32(&lists[slot].count) > 0 ||
		pg_atomic_read_u32(&lists[CROWDS].count) > 0;
}

bool
mq_notify_anyone(void)
{
	return pg_atomic_read_u32(&shared->sleepers) > 0;
}

Size
mq_notify_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(MqNotifyShared));

	size = add_size(size, MAXALIGN(mul_size(mq_max_partitions + 1, sizeof(MqNotifyListShared))));
	size = add_size(size, MAXALIGN(mul_size(number_of_entries(), sizeof(MqNotifyEntryShared))));
	size = add_size(size, mul_size(number_of_entries(), bitmap_words() * sizeof(uint64)));
	return size;
}

void
mq_notify_shmem_init(bool found)
{
	bool		mine;
	char	   *base = ShmemInitStruct("mq_ext sleepers", mq_notify_shmem_size(), &mine);
	int			i;
	int			k;

	Assert(mine == found);
	shared = (MqNotifyShared *) base;
	base += MAXALIGN(sizeof(MqNotifyShared));
	lists = (MqNotifyListShared *) base;
	base += MAXALIGN((mq_max_partitions + 1) * sizeof(MqNotifyListShared));
	entries = (MqNotifyEntryShared *) base;
	base += MAXALIGN(number_of_entries() * sizeof(MqNotifyEntryShared));
	crowd_slots = (uint64 *) base;
	if (found)
		return;

	pg_atomic_init_u32(&shared->sleepers, 0);
	for (i = 0; i < MQ_NOTIFY_BUCKETS; i++)
		LWLockInitialize(&shared->locks[i].lock, mq_notify_tranche);
	for (i = 0; i <= CROWDS; i++)
	{
		pg_atomic_init_u32(&lists[i].count, 0);
		dlist_init(&lists[i].links);
	}
	for (i = 0; i < number_of_entries(); i++)
		for (k = 0; k < MQ_NOTIFY_WAITS; k++)
		{
			entries[i].links[k].linked = false;
			entries[i].links[k].list = 0;
			entries[i].links[k].procno = i;
		}
}

static bool
any_ready(const MqNotifyWait *waits, int n)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		MqLogOffsets offsets;

		if (mq_log_is_dropped(waits[i].log))
			return true;
		mq_log_offsets(waits[i].log, &offsets);
		if (offsets.lso > waits[i].offset)
			return true;
	}
	return false;
}

/* Links what is not linked (any more), so that any later publish finds us. */
static void
link_all(const MqNotifyWait *waits, int n)
{
	static bool registered = false;
	int			i;

	if (!registered)
	{
		before_shmem_exit(unlink_at_exit, (Datum) 0);
		registered = true;
	}
	if (links_used == 0)
		pg_atomic_fetch_add_u32(&shared->sleepers, 1);

	if (n > MQ_NOTIFY_WAITS)
		link_crowd(waits, n);
	else
	{
		MqNotifyEntryShared *entry = my_entry();

		links_used = Max(n, 1);
		for (i = 0; i < n; i++)
			link_one(&entry->links[i], mq_log_slot(waits[i].log), waits[i].offset);
	}

	/* linked before the LSO is looked at; see the header */
	pg_memory_barrier();
}

static void
unlink_at_exit(int code, Datum arg)
{
	mq_notify_release();
}

/* The entries are numbered as the server's array of processes. */
static MqNotifyEntryShared *
my_entry(void)
{
	int			procno = (int) (MyProc - ProcGlobal->allProcs);

	Assert(procno >= 0 && procno < number_of_entries());
	return &entries[procno];
}

static uint64 *
slots_of(int procno)
{
	return crowd_slots + (Size) procno * bitmap_words();
}

static void
link_one(MqNotifyLinkShared *link, int list, MqOffset offset)
{
	LWLock	   *lock = lock_of(list);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (!link->linked)
	{
		link->list = list;
		link->offset = offset;
		link->linked = true;
		dlist_push_tail(&lists[list].links, &link->node);
		pg_atomic_fetch_add_u32(&lists[list].count, 1);
	}
	LWLockRelease(lock);
}

/*
 * Links this process once, for every slot of its waits and any offset.  The
 * bitmap may be written without the lock: while it is built publish does not
 * find us, and when it is built again it says the same.
 */
static void
link_crowd(const MqNotifyWait *waits, int n)
{
	MqNotifyLinkShared *link = &my_entry()->links[0];
	uint64	   *slots = slots_of(link->procno);
	int			i;

	if (links_used == 0)
	{
		memset(slots, 0, bitmap_words() * sizeof(uint64));
		for (i = 0; i < n; i++)
		{
			int			slot = mq_log_slot(waits[i].log);

			slots[slot / 64] |= UINT64CONST(1) << (slot % 64);
		}
		links_used = 1;
	}
	link_one(link, CROWDS, MQ_INVALID_OFFSET);
}

/* Sleeps; on a standby it makes sure that the settler does not. */
static void
sleep_on_latch(long ms)
{
	if (RecoveryInProgress())
		mq_log_kick_settler();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(ms, INT_MAX), mq_waits_fetch());
	ResetLatch(MyLatch);
}

/*
 * Unlinks and wakes those of a list whose offset the slot has passed.  Their
 * number is not bounded and memory must not be asked for, so it goes in
 * chunks; each hold of the lock takes its chunk out of the list.
 */
static void
wake_list(int list, int slot, MqOffset lso)
{
	LWLock	   *lock = lock_of(list);
	int			procnos[MQ_NOTIFY_WAKE_CHUNK];
	dlist_mutable_iter iter;
	int			n;
	int			i;

	do
	{
		n = 0;
		LWLockAcquire(lock, LW_EXCLUSIVE);
		dlist_foreach_modify(iter, &lists[list].links)
		{
			MqNotifyLinkShared *link = dlist_container(MqNotifyLinkShared, node, iter.cur);

			if (!is_passed(link, slot, lso))
				continue;
			unlink_locked(link);
			procnos[n++] = link->procno;
			if (n == MQ_NOTIFY_WAKE_CHUNK)
				break;
		}
		LWLockRelease(lock);

		for (i = 0; i < n; i++)
			SetLatch(&GetPGProcByNumber(procnos[i])->procLatch);
	} while (n == MQ_NOTIFY_WAKE_CHUNK);
}

/* Caller holds the bucket lock. */
static bool
is_passed(const MqNotifyLinkShared *link, int slot, MqOffset lso)
{
	if (link->list == CROWDS &&
		(slots_of(link->procno)[slot / 64] & (UINT64CONST(1) << (slot % 64))) == 0)
		return false;
	return lso > link->offset;
}

/* Caller holds the bucket lock. */
static void
unlink_locked(MqNotifyLinkShared *link)
{
	Assert(LWLockHeldByMeInMode(lock_of(link->list), LW_EXCLUSIVE));
	dlist_delete(&link->node);
	link->linked = false;
	pg_atomic_fetch_sub_u32(&lists[link->list].count, 1);
}

static LWLock *
lock_of(int list)
{
	return &shared->locks[list % MQ_NOTIFY_BUCKETS].lock;
}

/* Every process that can have a latch of its own. */
static int
number_of_entries(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static int
bitmap_words(void)
{
	return (mq_max_partitions + 63) / 64;
}
