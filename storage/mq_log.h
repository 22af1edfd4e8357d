/*
 * mq_log.h
 *	  The face of storage: what one partition's log can do.
 *
 * An MqLog is a slot of the shared table of open partitions.  Opening pins
 * the slot for this process; pins end with mq_log_unpin() or, in backends,
 * all together at transaction end.  Formats, locks and the recovery story
 * are in storage/README.md.
 */
#ifndef MQ_LOG_H
#define MQ_LOG_H

#include "access/xlogdefs.h"
#include "base/mq_types.h"
#include "datatype/timestamp.h"
#include "storage/mq_batch.h"
#include "storage/mq_stat.h"

struct Latch;

typedef struct MqLogShared MqLog;

/* log_start <= lso <= hw <= leo */
typedef struct MqLogOffsets
{
	MqOffset	log_start;
	MqOffset	lso;
	MqOffset	hw;
	MqOffset	leo;
	MqEpoch		epoch;
} MqLogOffsets;

/* The topic options that concern a log: what an append obeys, and how long messages are kept. */
typedef struct MqLogConfig
{
	int64		segment_bytes;
	int64		segment_ms;
	int64		retention_ms;	/* -1 = for ever */
	int64		retention_bytes;	/* of the .log files; -1 = any number */
	bool		retired;		/* takes no messages any more, and goes when it is empty */
	bool		tentative;		/* the transaction in progress has made this so: not to be kept */
} MqLogConfig;

/* A sealed batch on its way into the log; offset and epoch are filled in. */
typedef struct MqLogBatch
{
	uint8	   *data;
	int32		length;
	int32		count;
	MqTimestamp max_timestamp;
} MqLogBatch;

/* What an appender remembers of a range until it is published or aborted. */
typedef struct MqLogRange
{
	MqLog	   *log;
	int32		slot;			/* in the pool of ranges; -1 = none yet */
	MqOffset	base;
	MqOffset	next;
	XLogRecPtr	end_lsn;
	MqStatIn	in;				/* the appender's to fill in, for publish */
} MqLogRange;

/* called by backends: opening.  Raise 53400 when the table is full, XX001/58030 when a file is unusable */
extern MqLog *mq_log_open(const MqLogKey *key);
extern void mq_log_unpin(MqLog *log);
extern void mq_log_unpin_all(void);		/* never raises */
extern void mq_log_release(void);	/* at transaction end: pins and spare range; never raises */
extern bool mq_log_exists(const MqLogKey *key);	/* open, or on disk */
extern int	mq_log_slot(const MqLog *log);
extern const MqLogKey *mq_log_key(const MqLog *log);
extern bool mq_log_has_files(const MqLog *log);
extern bool mq_log_is_dropped(const MqLog *log);
extern bool mq_log_is_usable(const MqLog *log);	/* or its offsets raise */
extern void mq_log_offsets(MqLog *log, MqLogOffsets *out);
extern int	mq_log_partitions_on_disk(Oid dboid, const pg_uuid_t *topic);	/* -1 = not even a folder for them */

/* Begins a new segment at the log's end; false where the active one holds nothing.  Raises; flushes WAL */
extern bool mq_log_roll(MqLog *log);

/*
 * The topic's options as of now, for those who work on logs without a catalog.
 * A transaction that changes them suspends them before it commits, so that
 * nobody deletes by options that are no longer so, whenever the server goes
 * down; *before and the result are what was known.  Suspending raises for a
 * log that is disabled; neither raises else but as XLogInsert does.
 */
extern void mq_log_configure(MqLog *log, const MqLogConfig *config);
extern bool mq_log_suspend(MqLog *log, MqLogConfig *before);
extern bool mq_log_is_configured(const MqLog *log);

/*
 * called by producers.  mq_log_append() appends the first batches of the
 * array, as many as one lock hold takes (at least one), returns how many and
 * extends *range, or makes it a new range and sets *is_new.  Raises; then
 * nothing was appended.  fxid 0 = not transactional.
 */
extern int	mq_log_append(MqLog *log, const MqLogConfig *config, uint64 fxid,
						  MqLogBatch *batches, int n, MqLogRange *range, bool *is_new);

/* Never raise, never allocate.  commit_lsn: where the commit record ends. */
extern void mq_log_publish(const MqLogRange *ranges, int n, XLogRecPtr commit_lsn);
extern void mq_log_abort(const MqLogRange *ranges, int n, uint64 fxid);

/* Flushes WAL up to where the range ends; for appends outside transactions. */
extern void mq_log_flush(const MqLogRange *range);

/* called by readers */
typedef struct MqLogReader MqLogReader;

typedef enum MqLogDamage
{
	MQ_LOG_DAMAGE_ERROR,		/* raise XX001 */
	MQ_LOG_DAMAGE_SKIP			/* WARNING, go on behind it */
} MqLogDamage;

/* One whole visible batch, its CRC checked; data stays valid until the next call. */
typedef struct MqLogBatchView
{
	const uint8 *data;
	MqBatchInfo info;
	MqOffset	next_offset;	/* where to go on after this batch */
	MqOffset	segment;		/* where it stands: in this segment's .log ... */
	uint32		position;		/* ... from this byte on */
} MqLogBatchView;

/* Reads batches that hold offsets of [from, limit); result lives in the current memory context. */
extern MqLogReader *mq_log_reader_begin(MqLog *log, MqOffset from, MqOffset limit, MqLogDamage damage);
extern void mq_log_reader_expect(MqLogReader *reader, int64 records);	/* so many will do, as far as the caller knows */
extern void mq_log_reader_writes(MqLogReader *reader);	/* the caller writes into the batches it gets */
extern bool mq_log_reader_next(MqLogReader *reader, MqLogBatchView *view);
extern void mq_log_reader_end(MqLogReader *reader);

/* XX001 or a WARNING, as the reader itself does, for a batch that does not decode; 53200 for want of memory */
extern void mq_log_report_batch(MqLog *log, const MqLogBatchView *view, MqLogDamage damage, MqBatchStatus status);

/* Base offset of the first batch that can hold a record with timestamp >= ts; limit when there is none. */
extern MqOffset mq_log_search_time(MqLog *log, MqTimestamp ts, MqOffset limit);

/* called by views */
typedef enum MqLogState
{
	MQ_LOG_ACTIVE,
	MQ_LOG_DAMAGED,				/* readable around the damage */
	MQ_LOG_DISABLED				/* a file error keeps it closed */
} MqLogState;

typedef struct MqLogInfo
{
	MqLogOffsets offsets;
	MqLogState	state;
	int			segments;
	int64		size_bytes;
	MqTimestamp oldest_timestamp;	/* MQ_NO_TIMESTAMP when empty */
	MqTimestamp newest_timestamp;
	TimestampTz last_append_at;		/* 0 = not since the start of the server */
} MqLogInfo;

typedef struct MqLogSegmentInfo
{
	MqOffset	base;
	MqOffset	next;
	int64		log_bytes;
	int64		batches_bytes;
	MqTimestamp min_timestamp;
	MqTimestamp max_timestamp;
	bool		active;
	bool		damaged;
	bool		deleting;		/* waits for readers, or for a checkpoint to end */
	char		path[128];		/* of the .log, relative to the data directory */
} MqLogSegmentInfo;

typedef struct MqLogInflight
{
	MqLogKey	key;
	uint64		fxid;
	MqOffset	base;
	MqOffset	next;
	TimestampTz since;
	bool		committed;		/* waits for its commit record to be flushed */
	bool		aborted;		/* waits for its abort record to be flushed */
	bool		blocks_lso;
} MqLogInflight;

extern void mq_log_info(MqLog *log, MqLogInfo *info);
extern MqLogSegmentInfo *mq_log_segments(MqLog *log, int *n);
extern MqLogInflight *mq_log_inflight(int *n);

/*
 * called for DROP: reserve room for hand-overs before commit (raises 53400),
 * hand over or give back after it (never raise).  Zero uuid = the whole
 * database.
 */
extern void mq_log_drop_reserve(int n);
extern void mq_log_drop_hand_over(Oid dboid, const pg_uuid_t *topic);
extern void mq_log_drop_unreserve(int n);

/* called by the first backend of a database after a boot */
extern bool mq_log_sweep_begin(Oid dboid);	/* false: done already; true: holds the sweep lock */
extern pg_uuid_t *mq_log_list_topics(Oid dboid, int *n);
extern void mq_log_sweep_end(Oid dboid, bool done);

/* called by workers; each does its share and returns whether some of it is left */
extern bool mq_log_prepare_ahead(void);
extern void mq_log_trim_closed(void);
extern bool mq_log_drop_pending(void);
extern bool mq_log_publish_flushed(void);
extern bool mq_log_wake_standby(void);
extern bool mq_log_sweep_databases(bool (*exists) (Oid dboid));

/* Set once in _PG_init: storage tells the broker that the LSO of a slot moved. */
extern void (*mq_log_publish_hook) (int slot, MqOffset lso);

/* The question back, on a standby: does anybody sleep on this slot? */
extern bool (*mq_log_sleepers_hook) (int slot);

/* Who is woken when there is work; latch NULL = gone. */
typedef enum MqLogWorker
{
	MQ_LOG_WORKER_JANITOR,
	MQ_LOG_WORKER_SETTLER
} MqLogWorker;

#define MQ_LOG_WORKERS 2

extern void mq_log_set_worker(MqLogWorker worker, struct Latch *latch);
extern void mq_log_kick_settler(void);
extern void mq_log_kick_database_sweep(void);	/* a database was dropped */
extern bool mq_log_database_sweep_wanted(void); /* reads and clears */

/* shared memory; tranches are set by mq_shmem.c in every process */
extern int	mq_log_tranche_append;
extern int	mq_log_tranche_sync;
extern int	mq_log_tranche_table;
extern bool mq_log_is_attached(void);
extern bool mq_log_is_closed(void); /* after pg_resetwal; workers leave closed logs alone */
extern Size mq_log_shmem_size(void);
extern void mq_log_shmem_init(bool found);

#endif							/* MQ_LOG_H */
