/*
 * mq_log_internal.h
 *	  Shared by the files of storage/ that make up the log, and nobody else.
 *
 * Locks, lowest rank first; see storage/README.md:
 *	  table lock	the hash of open partitions, free slots, hand-overs of drops
 *	  append lock	one per slot; the fields marked (A)
 *	  sync lock		one per slot; held shared while bytes are on their way into
 *					the files, exclusive by whoever must know that no write is
 *					under way: to take the dirty marks, to give space back
 *	  range lock	spinlock on the pool's list of free ranges
 *	  tail lock		spinlock on the pool's list of free tails
 * The table lock is never taken while an append lock is held.
 */
#ifndef MQ_LOG_INTERNAL_H
#define MQ_LOG_INTERNAL_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/mq_batches.h"
#include "storage/mq_log.h"
#include "storage/mq_segment.h"
#include "storage/mq_stat.h"
#include "storage/mq_state.h"
#include "storage/spin.h"

/* Where a log's bytes end, or ended when somebody looked. */
typedef struct MqLogEnd
{
	MqOffset	segment;		/* base of the segment; -1 = no segment */
	uint32		batches;		/* descriptors in it */
	uint32		position;		/* bytes of its .log */
	MqOffset	leo;
} MqLogEnd;

/* One open partition.  (A): changed under the append lock held exclusively. */
struct MqLogShared
{
	MqLogKey	key;			/* constant while pinned */
	int			slot;			/* constant */
	bool		in_use;			/* table lock */
	pg_atomic_uint32 pins;
	LWLock		append_lock;
	LWLock		sync_lock;
	MqStat	   *stat;			/* constant while pinned */

	bool		loaded;			/* (A) the fields below were read from disk */
	bool		has_files;		/* (A) */
	bool		removing;		/* (A) standby: retired and empty, goes when its readers have ended */
	bool		dropped;		/* (A) */
	bool		live;			/* (A) offsets are the primary's, not a standby's guess */
	MqLogState	state;			/* (A) */
	MqLogEnd	end;			/* (A) end of the active segment, next offset */
	MqEpoch		epoch;			/* (A) of the last append */
	MqOffset	epoch_start;	/* (A) first offset of that epoch, as far as known */
	MqTimestamp max_timestamp;	/* (A) greatest so far */
	MqTimestamp segment_first_timestamp;	/* (A) of the active segment; MQ_NO_TIMESTAMP = empty */
	int64		log_reserved;	/* (A) bytes reserved of the active .log; 0 = unknown */
	int64		batches_reserved;	/* (A) */
	MqLogConfig config;			/* (A) as the last appender knew it */
	bool		config_known;	/* (A) what it says of retention is the topic's */
	bool		config_news;	/* (A) and neither WAL nor the state file has it yet */
	int32		tail;			/* (A) what the files lack, see mq_log_tail.c; -1 = nothing */
	bool		next_ready;		/* (A) next.* is prepared */
	bool		wants_space;	/* (A) the janitor should reserve or prepare */
	XLogRecPtr	last_append_lsn;	/* (A) end of the last append's record */
	TimestampTz last_append_at; /* (A) */
	int32		range_head;		/* (A) ranges in doubt, ascending; -1 = none */
	int32		range_tail;		/* (A) */
	bool		waits_flush;	/* (A) a decided range waits for its WAL */
	bool		unsettled;		/* (A) batches below the LSO may lack a settled hint */
	MqOffset	settled_segment;	/* (A) all batches before this place are settled */
	uint32		settled_batch;	/* (A) */
	MqOffset	decided_segment;	/* (A) standby: where the LSO stands */
	uint32		decided_batch;	/* (A) */
	bool		gap;			/* (A) redo met a hole */
	MqOffset	gap_offset;		/* (A) where it begins, and where the log goes on */
	MqOffset	gap_end;		/* (A) */
	MqOffset	damaged_segment;	/* (A) state is DAMAGED because of this one; -1 = of something else */
	XLogRecPtr	start_lsn;		/* (A) end of the record that moved the log start last */
	bool		left_in_doubt;	/* (A) found unsettled when it was loaded */
	uint32		trimmed_version;	/* the janitor's: segment_version when it last gave space back */
	MqOffset	trimmed_below;	/* the janitor's: segments before this one have none to give */

	/* written under the append lock, read without */
	pg_atomic_uint64 log_start;
	pg_atomic_uint64 first_segment; /* segments before this one are gone, or going */
	pg_atomic_uint64 lso;
	pg_atomic_uint64 hw;
	pg_atomic_uint64 leo;
	pg_atomic_uint32 segment_version;	/* changes when a segment comes or goes, and with the slot's log */

	bool		dirty;			/* (A) something is not synced yet */
	bool		dirty_dir;		/* (A) an entry of the folder */
	bool		dirty_parents;	/* (A) the folder itself */
	MqOffset	dirty_segment;	/* (A) lowest segment with unsynced bytes */

	/* readers, and what waits for them: see mq_log_start.c */
	pg_atomic_uint32 reader_epoch;
	pg_atomic_uint32 readers[2];
	MqOffset	stated_segment; /* sync_all_lock: first_segment as the state file has it */
	MqOffset	removed_below;	/* sync_all_lock: no files below this one */
	MqOffset	grace_below;	/* sync_all_lock: to be removed when older readers are done; -1 = nothing */

	/* the checkpointer's copy of what it took */
	bool		sync_wanted;
	bool		sync_dir;
	bool		sync_parents;
	MqOffset	sync_segment;
	MqLogEnd	sync_end;
	XLogRecPtr	sync_lsn;
	XLogRecPtr	sync_start_lsn;
	MqOffset	sync_log_start;
	MqOffset	sync_first_segment;
	MqLogConfig sync_config;
	bool		sync_config_known;
};

typedef enum MqRangeState
{
	MQ_RANGE_IN_DOUBT,
	MQ_RANGE_COMMITTED,
	MQ_RANGE_ABORTED
} MqRangeState;

/* One range of a partition between append and publish; fields under that partition's append lock. */
typedef struct MqRangeShared
{
	int32		next;			/* in the partition's list, or the free list */
	int32		log_slot;		/* -1 = free */
	MqRangeState state;
	MqOffset	base;
	MqOffset	end;
	uint64		fxid;
	XLogRecPtr	end_lsn;		/* of its last append */
	XLogRecPtr	decided_lsn;	/* what must be flushed before it may be seen */
	TimestampTz since;
} MqRangeShared;

#define MQ_DROP_QUEUE_SIZE	4096
#define MQ_SWEPT_MAX		512
#define MQ_DISABLED_MAX		64

typedef struct MqDropEntry
{
	Oid			dboid;
	pg_uuid_t	topic;			/* all zeros = the whole database */
} MqDropEntry;

typedef struct MqLogTable
{
	LWLock		lock;			/* the table lock */
	LWLock		sweep_lock;		/* one sweep at a time; held over catalog reads, taken first of all */
	LWLock		sync_all_lock;	/* one pass over the dirty marks at a time */

	int			slots;			/* mq.max_partitions at start */
	int			clock_hand;		/* table lock: where the search for a victim goes on */

	slock_t		range_lock;
	int32		range_free;		/* range_lock: head of the free list */
	int			ranges_used;	/* range_lock */

	slock_t		tail_lock;
	int32		tail_free;		/* tail_lock: head of the free list */

	pg_atomic_uint64 flush_wanted;	/* a decided range waits for WAL up to here */
	pg_atomic_uint32 flush_waiters; /* 1 = some slot has waits_flush */
	pg_atomic_uint32 unsettled; /* 1 = some slot has unsettled batches */
	pg_atomic_uint64 settled_at;	/* with unsettled: the next xid when all was last settled, or settling began */
	pg_atomic_uint32 space_wanted;	/* 1 = some slot wants_space */
	pg_atomic_uint32 sweep_databases;	/* 1 = look for databases that are gone */
	pg_atomic_uint32 config_news;	/* 1 = some slot has config_news */
	pg_atomic_uint32 old_files; /* 1 = some slot has files below its first segment */

	pg_atomic_uint64 redo_served;	/* redo pointer of the last pass over dirty marks that completed */

	int			drop_reserved;	/* table lock */
	int			drop_count;		/* table lock */
	MqDropEntry drops[MQ_DROP_QUEUE_SIZE];

	int			swept;			/* table lock */
	bool		swept_overflow; /* table lock */
	Oid			swept_databases[MQ_SWEPT_MAX];

	/* what boot could not check; written by boot alone */
	int			disabled;
	bool		disabled_overflow;
	bool		wal_was_reset;	/* pg_resetwal ran since our last checkpoint */
	MqLogKey	disabled_keys[MQ_DISABLED_MAX];

	struct Latch *workers[MQ_LOG_WORKERS];	/* table lock to change */
} MqLogTable;

extern MqLogTable *mq_log_table;
extern MqLog *mq_log_slots;
extern MqRangeShared *mq_log_ranges;

#define MQ_LOG_NO_RANGE (-1)
#define MQ_LOG_NO_TAIL (-1)

/* mq_log_shmem.c */
extern MqLog *mq_log_open_redo(const MqLogKey *key);	/* NULL when the table is full; not pinned by transactions */
extern void mq_log_unpin_redo(MqLog *log);
extern MqLog *mq_log_pin_slot(int slot);	/* NULL when it holds no log that is loaded */
extern bool mq_log_is_open(const MqLogKey *key);	/* has it a slot? */
extern void mq_log_reset(MqLog *log);	/* as if nothing had been read from disk */
extern int32 mq_log_range_alloc(void);	/* raises 53400 */
extern void mq_log_range_free(int32 range);
extern void mq_log_kick(int worker);

/* topic NULL = all of the database, partition -1 = all of the topic */
extern void mq_log_drop_slots(Oid dboid, const pg_uuid_t *topic, int32 partition);
extern bool mq_log_same_topic(const MqLogKey *key, Oid dboid, const pg_uuid_t *topic);

/* mq_log_read.c; at the end of a transaction */

/* mq_log_info.c */
extern MqTimestamp mq_log_segment_time(const MqLogKey *key, MqOffset segment);

/* mq_log_chores.c; result is palloc'd, NULL when empty */
extern MqLogKey *mq_log_list_all(int *n);

/* Where a log ends by what is on disk. */
typedef struct MqLogFound
{
	MqLogEnd	end;
	MqDescriptorDisk last;		/* when end.batches > 0 */
	MqLogEnd	there;			/* without what a checkpoint vouches for */
	XLogRecPtr	vouched_redo;
	MqOffset	damaged_segment;	/* -1 = none */
	bool		damaged;
	const char *reason;
} MqLogFound;

/* mq_log_recover.c; the list begins with the first segment kept.  False with errno when a file cannot be read */
extern bool mq_log_find_end(const MqLogKey *key, const MqSegmentList *list, XLogRecPtr redo, MqOffset first,
							const MqStateCheckpoint *vouched, MqLogFound *found);

/*
 * mq_log_load.c; caller holds the append lock exclusively.  Never raises;
 * false with errno when it could not be read for now, and may be later.
 */
extern bool mq_log_load(MqLog *log);

/* mq_log_read.c: a batch as its descriptor says it is; pure */
extern MqBatchStatus mq_log_check_batch(const MqDescriptorDisk *d, MqOffset base, const uint8 *data,
										size_t len, MqBatchInfo *info);

/* mq_log.c; caller holds the append lock exclusively */
extern void mq_log_check(const MqLog *log);
extern void mq_log_set_end(MqLog *log, const MqLogEnd *end);
extern void mq_log_advance(MqLog *log, XLogRecPtr flushed);
extern void mq_log_go_live(MqLog *log);
extern void mq_log_mark_dirty(MqLog *log, MqOffset segment);
extern void mq_log_begin_segment(MqLog *log, MqOffset base);
extern void mq_log_note_epoch(MqLog *log, MqEpoch epoch, MqOffset start);
extern void mq_log_note_unsettled(MqLog *log);
extern void mq_log_require_usable(MqLog *log);	/* raises for one that is dropped or disabled */
extern void mq_log_flush_for_view(XLogRecPtr lsn);
extern void mq_log_file_error(const char *what, const char *path, int elevel);

static inline MqOffset
mq_log_get(pg_atomic_uint64 *value)
{
	return (MqOffset) pg_atomic_read_u64(value);
}

#endif							/* MQ_LOG_INTERNAL_H */
