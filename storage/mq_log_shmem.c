/*
 * mq_log_shmem.c
 *	  The shared table of open partitions, the pool of ranges, the latches.
 *
 * A slot is given to a partition when somebody opens it, and taken back for
 * another when the table is full and the slot is idle: unpinned, clean since
 * a checkpoint, nothing in doubt, nothing unsettled.  What a slot holds can
 * then be read from disk again.
 *
 * Pins of a backend are counted here, so that the end of a transaction can
 * drop what an error left behind.
 *
 * Locking: the table lock protects the hash, in_use and the free search; a
 *			pin taken under it (shared is enough) keeps a slot from being
 *			given away.  The range pool has a spinlock of its own.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/mq_settings.h"
#include "base/mq_waits.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_settle.h"

/* How long an opener waits for a place in a full table: PLACE_TRIES times PLACE_WAIT ms. */
#define PLACE_TRIES		200
#define PLACE_WAIT		10

/* The hash of open partitions. */
typedef struct TableEntry
{
	MqLogKey	key;
	int			slot;
} TableEntry;

MqLogTable *mq_log_table = NULL;
MqLog	   *mq_log_slots = NULL;
MqRangeShared *mq_log_ranges = NULL;

int			mq_log_tranche_append;
int			mq_log_tranche_sync;
int			mq_log_tranche_table;

void		(*mq_log_publish_hook) (int slot, MqOffset lso) = NULL;

static HTAB *table_hash = NULL;
static int	last_slot = -1;		/* found last by this process */

/* The pins of this process: how many a slot has, and which slots have any. */
static int *pin_counts = NULL;
static int *pinned = NULL;
static int	npinned = 0;

static MqLog *find_or_assign(const MqLogKey *key);
static MqLog *make_place(const MqLogKey *key);
static MqLog *find_dirty_victim(void);
static MqLog *take_free_slot(void);
static bool is_idle(MqLog *log);
static void load(MqLog *log);
static void prepare_pins(void);
static void note_pin(MqLog *log);
static void forget_pin(int slot);

Size
mq_log_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(MqLogTable));

	size = add_size(size, mul_size(mq_max_partitions, MAXALIGN(sizeof(MqLog))));
	size = add_size(size, mul_size(mq_max_inflight_ranges, MAXALIGN(sizeof(MqRangeShared))));
	size = add_size(size, hash_estimate_size(mq_max_partitions, sizeof(TableEntry)));
	return add_size(size, mq_log_tail_shmem_size());
}

void
mq_log_shmem_init(bool found_unused)
{
	HASHCTL		ctl;
	bool		found;
	int			i;

	mq_log_table = ShmemInitStruct("mq_ext log table", sizeof(MqLogTable), &found);
	mq_log_slots = ShmemInitStruct("mq_ext log slots",
								   mul_size(mq_max_partitions, sizeof(MqLog)), &found);
	mq_log_ranges = ShmemInitStruct("mq_ext ranges",
									mul_size(mq_max_inflight_ranges, sizeof(MqRangeShared)), &found);
	ctl.keysize = sizeof(MqLogKey);
	ctl.entrysize = sizeof(TableEntry);
	table_hash = ShmemInitHash("mq_ext log hash", mq_max_partitions, mq_max_partitions,
							   &ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	if (!found)
		memset(mq_log_table, 0, sizeof(MqLogTable));
	mq_log_tail_shmem_init();
	if (found)
		return;

	LWLockInitialize(&mq_log_table->lock, mq_log_tranche_table);
	LWLockInitialize(&mq_log_table->sweep_lock, mq_log_tranche_table);
	LWLockInitialize(&mq_log_table->sync_all_lock, mq_log_tranche_table);
	mq_log_table->slots = mq_max_partitions;
	SpinLockInit(&mq_log_table->range_lock);
	pg_atomic_init_u64(&mq_log_table->flush_wanted, 0);
	pg_atomic_init_u32(&mq_log_table->flush_waiters, 0);
	pg_atomic_init_u32(&mq_log_table->unsettled, 0);
	pg_atomic_init_u64(&mq_log_table->settled_at, 0);
	pg_atomic_init_u32(&mq_log_table->space_wanted, 0);
	pg_atomic_init_u32(&mq_log_table->sweep_databases, 1);
	pg_atomic_init_u32(&mq_log_table->config_news, 0);
	pg_atomic_init_u32(&mq_log_table->old_files, 0);
	pg_atomic_init_u64(&mq_log_table->redo_served, 0);

	memset(mq_log_slots, 0, sizeof(MqLog) * mq_max_partitions);
	for (i = 0; i < mq_max_partitions; i++)
	{
		MqLog	   *log = &mq_log_slots[i];

		log->slot = i;
		LWLockInitialize(&log->append_lock, mq_log_tranche_append);
		LWLockInitialize(&log->sync_lock, mq_log_tranche_sync);
		pg_atomic_init_u32(&log->pins, 0);
		pg_atomic_init_u32(&log->reader_epoch, 0);
		pg_atomic_init_u32(&log->readers[0], 0);
		pg_atomic_init_u32(&log->readers[1], 0);
		pg_atomic_init_u64(&log->log_start, 0);
		pg_atomic_init_u64(&log->first_segment, 0);
		pg_atomic_init_u64(&log->lso, 0);
		pg_atomic_init_u64(&log->hw, 0);
		pg_atomic_init_u64(&log->leo, 0);
		pg_atomic_init_u32(&log->segment_version, 0);
		mq_log_reset(log);
	}
	for (i = 0; i < mq_max_inflight_ranges; i++)
	{
		mq_log_ranges[i].next = i + 1 < mq_max_inflight_ranges ? i + 1 : MQ_LOG_NO_RANGE;
		mq_log_ranges[i].log_slot = -1;
	}
	mq_log_table->range_free = 0;
}

bool
mq_log_is_attached(void)
{
	return mq_log_table != NULL;
}

/* Has pg_resetwal been used, and nobody has opened the topics since? */
bool
mq_log_is_closed(void)
{
	return mq_log_table->wal_was_reset;
}

/* Opens and pins the log of a partition, which may have no files yet. */
MqLog *
mq_log_open(const MqLogKey *key)
{
	MqLog	   *log;

	if (mq_log_is_closed() && !mq_allow_missing_logs)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topics are closed because pg_resetwal has been used"),
				 errdetail("What the logs hold may not fit what the tables hold any more."),
				 errhint("Look what has been lost, then open them with mq.allow_missing_logs.")));
	if (mq_log_is_closed())
	{
		/* opened by one, opened for all: the workers must see to it too */
		mq_log_table->wal_was_reset = false;
		mq_log_kick_settler();
	}
	prepare_pins();
	log = find_or_assign(key);
	if (log == NULL)
		log = make_place(key);
	if (log == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many partitions are open"),
				 errdetail("All %d places are taken by partitions in use.", mq_log_table->slots),
				 errhint("Raise mq.max_partitions and restart the server.")));
	note_pin(log);
	if (!log->loaded)
		load(log);
	return log;
}

/*
 * The same for redo, which needs no slot: no error when the table is full, or
 * when the log cannot be read for now.  Loads only what redo left alone.
 */
MqLog *
mq_log_open_redo(const MqLogKey *key)
{
	MqLog	   *log = find_or_assign(key);
	bool		loaded = true;

	if (log != NULL && !log->loaded)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		loaded = mq_log_load(log);
		LWLockRelease(&log->append_lock);
	}
	if (loaded)
		return log;
	mq_log_unpin_redo(log);
	return NULL;
}

bool
mq_log_is_open(const MqLogKey *key)
{
	bool		found;

	LWLockAcquire(&mq_log_table->lock, LW_SHARED);
	found = hash_search(table_hash, key, HASH_FIND, NULL) != NULL;
	LWLockRelease(&mq_log_table->lock);
	return found;
}

bool
mq_log_exists(const MqLogKey *key)
{
	char		dir[MQ_SEGMENT_PATH_MAX];

	mq_segment_dir(dir, key);
	return mq_log_is_open(key) || mq_file_exists(dir);
}

/* For those who go through the slots: which log a slot holds is certain only once it is pinned. */
MqLog *
mq_log_pin_slot(int slot)
{
	MqLog	   *log = &mq_log_slots[slot];
	bool		usable;

	prepare_pins();
	LWLockAcquire(&mq_log_table->lock, LW_SHARED);
	usable = log->in_use && log->loaded;
	if (usable)
		pg_atomic_fetch_add_u32(&log->pins, 1);
	LWLockRelease(&mq_log_table->lock);
	if (!usable)
		return NULL;
	note_pin(log);
	return log;
}

void
mq_log_unpin_redo(MqLog *log)
{
	pg_atomic_fetch_sub_u32(&log->pins, 1);
}

void
mq_log_unpin(MqLog *log)
{
	Assert(pin_counts != NULL && pin_counts[log->slot] > 0);
	if (--pin_counts[log->slot] == 0)
		forget_pin(log->slot);
	pg_atomic_fetch_sub_u32(&log->pins, 1);
}

/* Drops all pins of this process, as at the end of a transaction. */
void
mq_log_unpin_all(void)
{
	while (npinned > 0)
	{
		int			slot = pinned[--npinned];
		int			count = pin_counts[slot];

		pin_counts[slot] = 0;
		pg_atomic_fetch_sub_u32(&mq_log_slots[slot].pins, count);
	}
}

int
mq_log_slot(const MqLog *log)
{
	return log->slot;
}

const MqLogKey *
mq_log_key(const MqLog *log)
{
	return &log->key;
}

bool
mq_log_has_files(const MqLog *log)
{
	return log->has_files;
}

bool
mq_log_is_dropped(const MqLog *log)
{
	return log->dropped;
}

bool
mq_log_is_usable(const MqLog *log)
{
	return !log->dropped && log->state != MQ_LOG_DISABLED;
}

bool
mq_log_same_topic(const MqLogKey *key, Oid dboid, const pg_uuid_t *topic)
{
	return key->dboid == dboid &&
		(topic == NULL || memcmp(&key->topic, topic, UUID_LEN) == 0);
}

/* Marks the open partitions that go, so that nobody appends to them any more. */
void
mq_log_drop_slots(Oid dboid, const pg_uuid_t *topic, int32 partition)
{
	int			i;

	/* a topic's sums keep what a retired partition has counted */
	if (partition < 0)
		mq_stat_forget(dboid, topic);
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];

		LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
		if (!log->in_use || !mq_log_same_topic(&log->key, dboid, topic) ||
			(partition >= 0 && log->key.partition != partition))
		{
			LWLockRelease(&mq_log_table->lock);
			continue;
		}
		pg_atomic_fetch_add_u32(&log->pins, 1);
		LWLockRelease(&mq_log_table->lock);

		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		LWLockAcquire(&log->sync_lock, LW_EXCLUSIVE);
		log->dropped = true;
		log->dirty = false;
		log->unsettled = false;
		log->wants_space = false;
		log->gap = false;
		mq_log_tail_discard(log);
		LWLockRelease(&log->sync_lock);
		LWLockRelease(&log->append_lock);
		if (mq_log_publish_hook != NULL)
			mq_log_publish_hook(log->slot, PG_INT64_MAX);
		pg_atomic_fetch_sub_u32(&log->pins, 1);
	}
}

/* A free range from the pool.  Raises when none is left. */
int32
mq_log_range_alloc(void)
{
	int32		range;

	SpinLockAcquire(&mq_log_table->range_lock);
	range = mq_log_table->range_free;
	if (range != MQ_LOG_NO_RANGE)
	{
		mq_log_table->range_free = mq_log_ranges[range].next;
		mq_log_table->ranges_used++;
	}
	SpinLockRelease(&mq_log_table->range_lock);

	if (range == MQ_LOG_NO_RANGE)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many message ranges are waiting for their transactions"),
				 errdetail("All %d are taken.", mq_max_inflight_ranges),
				 errhint("Raise mq.max_inflight_ranges and restart the server, or write to fewer partitions in one transaction.")));
	return range;
}

void
mq_log_range_free(int32 range)
{
	SpinLockAcquire(&mq_log_table->range_lock);
	mq_log_ranges[range].log_slot = -1;
	mq_log_ranges[range].next = mq_log_table->range_free;
	mq_log_table->range_free = range;
	mq_log_table->ranges_used--;
	SpinLockRelease(&mq_log_table->range_lock);
}

void
mq_log_set_worker(MqLogWorker worker, struct Latch *latch)
{
	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	mq_log_table->workers[worker] = latch;
	LWLockRelease(&mq_log_table->lock);
}

/* Wakes a worker.  A latch read a moment too late belongs to a process slot, whose next owner wakes in vain. */
void
mq_log_kick(int worker)
{
	struct Latch *latch = *((struct Latch *volatile *) &mq_log_table->workers[worker]);

	if (latch != NULL && latch != MyLatch)
		SetLatch(latch);
}

void
mq_log_kick_settler(void)
{
	mq_log_kick(MQ_LOG_WORKER_SETTLER);
}

void
mq_log_kick_database_sweep(void)
{
	pg_atomic_write_u32(&mq_log_table->sweep_databases, 1);
	mq_log_kick(MQ_LOG_WORKER_JANITOR);
}

bool
mq_log_database_sweep_wanted(void)
{
	return pg_atomic_exchange_u32(&mq_log_table->sweep_databases, 0) != 0;
}

/* Finds the slot of a partition or gives it one; pinned.  NULL when there is none to give. */
static MqLog *
find_or_assign(const MqLogKey *key)
{
	TableEntry *entry;
	MqLog	   *log;
	bool		found;

	LWLockAcquire(&mq_log_table->lock, LW_SHARED);
	if (last_slot < 0 || !mq_log_slots[last_slot].in_use ||
		memcmp(&mq_log_slots[last_slot].key, key, sizeof(MqLogKey)) != 0)
	{
		entry = hash_search(table_hash, key, HASH_FIND, NULL);
		last_slot = entry != NULL ? entry->slot : -1;
	}
	if (last_slot >= 0)
	{
		log = &mq_log_slots[last_slot];
		pg_atomic_fetch_add_u32(&log->pins, 1);
		LWLockRelease(&mq_log_table->lock);
		return log;
	}
	LWLockRelease(&mq_log_table->lock);

	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	entry = hash_search(table_hash, key, HASH_FIND, NULL);
	if (entry != NULL)
		log = &mq_log_slots[entry->slot];
	else
	{
		log = take_free_slot();
		if (log == NULL)
		{
			LWLockRelease(&mq_log_table->lock);
			return NULL;
		}
		entry = hash_search(table_hash, key, HASH_ENTER, &found);
		entry->slot = log->slot;
		log->key = *key;
		log->stat = mq_stat_attach(key);
		log->in_use = true;
	}
	pg_atomic_fetch_add_u32(&log->pins, 1);
	LWLockRelease(&mq_log_table->lock);
	return log;
}

/*
 * The table is full.  Syncs a slot that nobody uses, so that it can be given
 * away; where all are in use or unsettled, gives the others a moment.
 */
static MqLog *
make_place(const MqLogKey *key)
{
	int			tries;

	for (tries = 0; tries < PLACE_TRIES; tries++)
	{
		MqLog	   *victim = find_dirty_victim();
		MqLog	   *log;

		if (victim != NULL)
		{
			mq_checkpoint_sync_one(victim);
			pg_atomic_fetch_sub_u32(&victim->pins, 1);
		}
		log = find_or_assign(key);
		if (log != NULL)
			return log;
		if (victim != NULL)
			continue;
		/* all are ours: waiting would not help */
		if (npinned >= mq_log_table->slots)
			break;
		mq_log_kick_settler();
		mq_log_kick(MQ_LOG_WORKER_JANITOR);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PLACE_WAIT, mq_waits_worker_main());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return NULL;
}

/* A slot that is idle but for its dirty marks; pinned. */
static MqLog *
find_dirty_victim(void)
{
	MqLog	   *victim = NULL;
	int			i;

	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	for (i = 0; i < mq_log_table->slots && victim == NULL; i++)
	{
		MqLog	   *log = &mq_log_slots[mq_log_table->clock_hand];

		mq_log_table->clock_hand = (mq_log_table->clock_hand + 1) % mq_log_table->slots;
		if (log->in_use && log->dirty && !log->unsettled && !log->gap && log->tail == MQ_LOG_NO_TAIL &&
			log->range_head == MQ_LOG_NO_RANGE && pg_atomic_read_u32(&log->pins) == 0)
		{
			victim = log;
			pg_atomic_fetch_add_u32(&victim->pins, 1);
		}
	}
	LWLockRelease(&mq_log_table->lock);
	return victim;
}

/* A slot nobody uses: never used, dropped, or idle.  Caller holds the table lock exclusively. */
static MqLog *
take_free_slot(void)
{
	int			tries;

	for (tries = 0; tries < mq_log_table->slots; tries++)
	{
		MqLog	   *log = &mq_log_slots[mq_log_table->clock_hand];
		bool		idle;

		mq_log_table->clock_hand = (mq_log_table->clock_hand + 1) % mq_log_table->slots;
		if (!log->in_use)
			return log;
		if (pg_atomic_read_u32(&log->pins) != 0 ||
			!LWLockConditionalAcquire(&log->append_lock, LW_EXCLUSIVE))
			continue;
		idle = is_idle(log);
		LWLockRelease(&log->append_lock);
		if (idle)
		{
			hash_search(table_hash, &log->key, HASH_REMOVE, NULL);
			mq_stat_detach(log->stat);
			log->in_use = false;
			mq_log_reset(log);
			return log;
		}
	}
	return NULL;
}

/* Caller holds the table lock and the append lock, and has seen no pins. */
static bool
is_idle(MqLog *log)
{
	if (log->range_head != MQ_LOG_NO_RANGE || log->sync_wanted)
		return false;
	return log->dropped || (!log->dirty && !log->unsettled && !log->gap && !log->config_news &&
							mq_log_get(&log->first_segment) <= log->removed_below);
}

/* Raises when the log cannot be read for now: that is this caller's trouble, not the log's. */
static void
load(MqLog *log)
{
	char		dir[MQ_SEGMENT_PATH_MAX];
	bool		loaded;
	int			save_errno;

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	loaded = mq_log_load(log);
	save_errno = errno;
	LWLockRelease(&log->append_lock);
	if (loaded)
		return;
	mq_segment_dir(dir, &log->key);
	mq_log_unpin(log);
	errno = save_errno;
	mq_log_file_error("read the log in folder", dir, ERROR);
}

/* Caller holds the append lock exclusively, or has the slot for itself. */
void
mq_log_reset(MqLog *log)
{
	log->loaded = false;
	log->has_files = log->removing = false;
	log->dropped = false;
	log->live = false;
	log->state = MQ_LOG_ACTIVE;
	log->end.segment = -1;
	log->end.batches = 0;
	log->end.position = 0;
	log->end.leo = 0;
	log->epoch = -1;
	log->epoch_start = 0;
	log->max_timestamp = MQ_NO_TIMESTAMP;
	log->segment_first_timestamp = MQ_NO_TIMESTAMP;
	log->log_reserved = 0;
	log->batches_reserved = 0;
	memset(&log->config, 0, sizeof(log->config));
	log->config_known = log->config_news = false;
	log->next_ready = false;
	log->tail = MQ_LOG_NO_TAIL;
	log->wants_space = false;
	log->last_append_lsn = InvalidXLogRecPtr;
	log->last_append_at = 0;
	log->range_head = log->range_tail = MQ_LOG_NO_RANGE;
	log->waits_flush = false;
	log->unsettled = false;
	log->settled_segment = 0;
	log->settled_batch = 0;
	log->decided_segment = 0;
	log->decided_batch = 0;
	log->gap = false;
	log->gap_offset = log->gap_end = 0;
	log->damaged_segment = -1;
	log->start_lsn = InvalidXLogRecPtr;
	log->stated_segment = log->removed_below = 0;
	log->grace_below = -1;
	log->left_in_doubt = false;
	log->trimmed_version = pg_atomic_fetch_add_u32(&log->segment_version, 1);
	log->trimmed_below = 0;
	log->dirty = log->dirty_dir = log->dirty_parents = false;
	log->dirty_segment = 0;
	log->sync_wanted = false;
	pg_atomic_write_u64(&log->log_start, 0);
	pg_atomic_write_u64(&log->first_segment, 0);
	pg_atomic_write_u64(&log->lso, 0);
	pg_atomic_write_u64(&log->hw, 0);
	pg_atomic_write_u64(&log->leo, 0);
}

/* Before a pin is taken: after it nothing may fail. */
static void
prepare_pins(void)
{
	if (likely(pinned != NULL))
		return;
	if (pin_counts == NULL)
		pin_counts = MemoryContextAllocZero(TopMemoryContext, sizeof(int) * mq_log_table->slots);
	pinned = MemoryContextAlloc(TopMemoryContext, sizeof(int) * mq_log_table->slots);
}

/* Counts the pin just taken, so that mq_log_unpin_all() finds it. */
static void
note_pin(MqLog *log)
{
	if (pin_counts[log->slot]++ == 0)
		pinned[npinned++] = log->slot;
}

/* The one pinned last is nearly always the first to go. */
static void
forget_pin(int slot)
{
	int			i = npinned - 1;

	while (pinned[i] != slot)
		i--;
	pinned[i] = pinned[--npinned];
}
