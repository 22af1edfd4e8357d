/*
 * mq_log_wal.h
 *	  Our WAL records and the resource manager that replays them.
 *
 * All records carry their bytes as main data, no block references: our files
 * are no relations.  Byte order and alignment are the machine's, as in all of
 * PostgreSQL's WAL.  Redo is a function of the record alone and may run twice.
 */
#ifndef MQ_LOG_WAL_H
#define MQ_LOG_WAL_H

#include "access/xlogreader.h"
#include "storage/mq_log.h"

/*
 * Experimental id of PostgreSQL's list of custom resource managers.  A change
 * needs a clean shutdown of the primary and its standbys.
 */
#define MQ_RMGR_ID			128
#define MQ_RMGR_NAME		"mq_ext"

#define XLOG_MQ_CREATE		0x00
#define XLOG_MQ_APPEND		0x10
#define XLOG_MQ_ROLL		0x20
#define XLOG_MQ_ABORT		0x30
#define XLOG_MQ_SETTLE		0x40
#define XLOG_MQ_DROP		0x50
#define XLOG_MQ_START		0x60
#define XLOG_MQ_REMOVE		0x70
#define XLOG_MQ_CONFIG		0x80
#define XLOG_MQ_APPEND_PLAIN 0x90

/*
 * Folder and state file of a partition.
 * Written by:	the first append, before its own record.
 * Before:		no folder of this partition.
 * After:		folder and state are there, the log is empty.
 * Twice:		what is there stays.
 */
typedef struct xl_mq_create
{
	MqLogKey	key;
	int32		generation;
	int64		log_start;
} xl_mq_create;

/*
 * One record batch, whose bytes follow.
 * Written by:	an append, under the append lock, of a batch that is not plain;
 *				before 1.1 of every batch.
 * After:		the batch stands at its position, its descriptor at its number.
 * Twice:		the same bytes at the same place; the hint is undecided again
 *				until the settle record that follows is replayed too.
 */
typedef struct xl_mq_append
{
	MqLogKey	key;
	int32		generation;
	uint64		fxid;			/* top-level transaction, 0 = none */
	int64		segment;		/* base offset of the segment */
	int64		base_offset;
	int64		max_timestamp;	/* greatest of the partition so far */
	uint32		position;		/* in the .log */
	uint32		number;			/* of the descriptor */
	uint32		length;			/* of the batch */
	uint32		count;			/* of offsets */
	int32		epoch;
	int32		pad;
} xl_mq_append;

/*
 * The same in fewer bytes, for a plain batch: one whose header follows from
 * what stands here, as it does in all that SQL makes (mq_append_plain.h).
 * Options follow as the flags say, in this order and not aligned, then the
 * batch from byte MQ_BATCH_HEADER_SIZE on.
 * Written by, after, twice: as above.
 */
typedef struct xl_mq_append_plain
{
	MqLogKey	key;
	int64		base_offset;
	uint64		fxid;
	int64		base_timestamp; /* of the batch */
	uint32		offset_delta;	/* base offset less the segment's */
	uint32		position;
	uint32		number;
	int32		epoch;
	uint8		batch_crc[4];	/* as it stands in the batch */
	uint8		attributes;		/* of the batch, their upper byte is zero */
	uint8		flags;
	uint8		options[20];
} xl_mq_append_plain;

#define MQ_APPEND_PLAIN_MANY	0x01	/* uint32 count, else 1 */
#define MQ_APPEND_PLAIN_SPAN	0x02	/* int64 max timestamp of the batch, else its base timestamp */
#define MQ_APPEND_PLAIN_LATE	0x04	/* int64 max timestamp of the partition, else the batch's */

/*
 * A new segment begins.
 * Written by:	an append that finds the active segment full or too old.
 * After:		both files of the new segment are there.
 * Twice:		files that are there stay as they are.
 */
typedef struct xl_mq_roll
{
	MqLogKey	key;
	int32		generation;
	int64		segment;
} xl_mq_roll;

/*
 * A range's transaction failed after it was appended.
 * Written by:	the abort of a transaction.
 * After:		the hints of the range's batches say aborted.
 * Twice:		the same hints.
 */
typedef struct xl_mq_abort
{
	MqLogKey	key;
	int32		generation;
	uint64		fxid;
	int64		base;
	int64		next;
} xl_mq_abort;

/* Descriptors [from, to) of a segment whose transaction failed. */
typedef struct xl_mq_run
{
	uint32		from;
	uint32		to;
} xl_mq_run;

/*
 * What became of the batches [from, to) of a segment; naborted runs follow.
 * Written by:	the settler, before it sets the hints.
 * After:		each hint says committed or aborted, and settled.
 * Twice:		the same hints.
 */
typedef struct xl_mq_settle
{
	MqLogKey	key;
	int32		generation;
	int64		segment;
	uint32		from;
	uint32		to;
	uint32		naborted;
	uint32		pad;
	XLogRecPtr	decided_lsn;	/* the commit and abort records lie before it */
} xl_mq_settle;

#define MQ_SETTLE_MAX_RUNS	1024

/*
 * A topic's folder goes, or that of a whole database (topic all zeros).
 * Written by:	the janitor, after the drop has committed.
 * After:		no such folder.
 * Twice:		nothing is left to remove.
 */
typedef struct xl_mq_drop
{
	Oid			dboid;
	pg_uuid_t	topic;
} xl_mq_drop;

/*
 * The log begins later: offsets below log_start are gone, and the segments
 * before first_segment with them.
 * Written by:	whoever deletes messages; flushed before anybody sees it.
 * After:		the state file says so at the next checkpoint, or before the
 *				first of the segments' files goes.
 * Twice:		a log start never goes back.  What is replayed into segments
 *				that are gone is left out.
 */
typedef struct xl_mq_start
{
	MqLogKey	key;
	int32		generation;
	int64		log_start;
	int64		first_segment;
} xl_mq_start;

/*
 * The folder of a retired partition goes.
 * Written by:	the janitor, when the partition is empty.
 * After:		no such folder.
 * Twice:		nothing is left to remove.
 */
typedef struct xl_mq_remove
{
	MqLogKey	key;
	int32		generation;
} xl_mq_remove;

/*
 * Options of the topic that workers must know without a catalog.
 * Written by:	a transaction that changes them, before its commit record, and
 *				the janitor, after it.
 * After:		the state file has them at the next checkpoint.
 * Twice:		the same options.
 */
typedef struct xl_mq_config
{
	MqLogKey	key;
	int32		generation;
	int64		retention_ms;
	int64		retention_bytes;
	uint32		retired;		/* 0 or 1 */
	uint32		known;			/* 0: the options are about to change, nobody shall delete by them */
} xl_mq_config;

/* What mq.wal_records() shows of a record. */
typedef struct MqLogWalInfo
{
	const char *type;
	MqLogKey	key;
	bool		has_partition;
	MqOffset	base_offset;	/* MQ_INVALID_OFFSET = none */
	int32		records;		/* -1 = none */
	char		description[256];
} MqLogWalInfo;

/* called by _PG_init */
extern void mq_log_wal_register(void);

/* in mq_log_desc.c; called by mq.wal_records(); false: not one of ours, or malformed */
extern bool mq_log_wal_describe(XLogReaderState *record, MqLogWalInfo *info);
extern const char *mq_log_wal_identify(uint8 info);

/*
 * called by mq_log.c.  Caller holds the append lock exclusively and has
 * reserved the space.  Inserts the records, moves the log's end, and puts the
 * batches into the tail or, where the log has none for them, into the files:
 * then the caller holds the sync lock shared and has opened both, and a failed
 * write is a PANIC.  Releases the append lock.
 */
#define MQ_APPEND_MAX_BATCHES	64

typedef struct MqLogAppendPlan
{
	MqLog	   *log;
	uint64		fxid;
	MqLogBatch *batches;
	int			n;
	int64		bytes;
	bool		direct;			/* into the files, not into the tail */
	int			log_fd;			/* when direct */
	int			batches_fd;
	bool		create;			/* write a create record first */
	bool		roll;			/* write a roll record first */
	int32		range;			/* of the pool: new, or the tail to extend */
	bool		extend;
	TimestampTz now;
	MqLogRange *out;
} MqLogAppendPlan;

extern void mq_log_wal_append(MqLogAppendPlan *plan);

/* Never raise but as XLogInsert does; results are end LSNs. */
extern XLogRecPtr mq_log_wal_abort(const MqLogKey *key, uint64 fxid, MqOffset base, MqOffset next);
extern XLogRecPtr mq_log_wal_drop(Oid dboid, const pg_uuid_t *topic);
extern XLogRecPtr mq_log_wal_roll(const MqLogKey *key, MqOffset segment);
extern XLogRecPtr mq_log_wal_start(const MqLogKey *key, MqOffset log_start, MqOffset first_segment);
extern XLogRecPtr mq_log_wal_remove(const MqLogKey *key);
extern XLogRecPtr mq_log_wal_config(const MqLogKey *key, const MqLogConfig *config, bool known);
extern XLogRecPtr mq_log_wal_settle(const xl_mq_settle *settle, const xl_mq_run *runs);

#endif							/* MQ_LOG_WAL_H */
