/*
 * mq_stat.h
 *	  Counters of a partition: what went in and out since the last reset.
 */
#ifndef MQ_STAT_H
#define MQ_STAT_H

#include "base/mq_types.h"
#include "datatype/timestamp.h"

struct MqLogShared;

typedef struct MqStatShared MqStat;

/* In the order of the views; times in microseconds. */
typedef enum MqStatCounter
{
	MQ_STAT_MESSAGES_IN,
	MQ_STAT_BYTES_IN,
	MQ_STAT_BATCHES_IN,
	MQ_STAT_MESSAGES_OUT,
	MQ_STAT_BYTES_OUT,
	MQ_STAT_PRODUCE_CALLS,
	MQ_STAT_FETCH_CALLS,
	MQ_STAT_PRODUCE_TIME,
	MQ_STAT_REJECTED,
	MQ_STAT_FILTERED_OUT,
	MQ_STAT_DELETED_MESSAGES,
	MQ_STAT_DELETED_BYTES,
	MQ_STAT_READS,
	MQ_STAT_READ_BYTES,
	MQ_STAT_READ_TIME
} MqStatCounter;

#define MQ_STAT_COUNTERS	(MQ_STAT_READ_TIME + 1)

/* What an appender knows of a range besides its offsets; counted when the range is published. */
typedef struct MqStatIn
{
	int64		bytes;
	int64		batches;
	int64		calls;
	int64		usec;			/* 0 without mq.track_io_timing */
} MqStatIn;

/* What a reader was given. */
typedef struct MqStatOut
{
	int64		calls;
	int64		messages;
	int64		bytes;			/* of keys, values and headers */
	int64		filtered;		/* passed over by a filter of tags */
} MqStatOut;

/* What a reader has read from files. */
typedef struct MqStatRead
{
	int64		reads;
	int64		bytes;
	int64		usec;			/* 0 without mq.track_io_timing */
} MqStatRead;

/* Since the reset. */
typedef struct MqStatValues
{
	int64		counts[MQ_STAT_COUNTERS];
	TimestampTz reset_at;
} MqStatValues;

/* called by backends and workers that have the log pinned; never raise */
extern void mq_stat_count_in(struct MqLogShared *log, int64 messages, const MqStatIn *in);	/* caller holds the append lock exclusively */
extern void mq_stat_count_out(struct MqLogShared *log, const MqStatOut *out);
extern void mq_stat_count_read(struct MqLogShared *log, const MqStatRead *read);
extern void mq_stat_count_deleted(struct MqLogShared *log, int64 messages, int64 bytes);

/*
 * called from error context callbacks while a message is produced: counts the
 * error on its way if it is one that refuses the message for the sake of its
 * topic's state or of a limit.  Never raises.
 */
extern void mq_stat_count_error(const MqLogKey *key);

/* called by views and mq.stat_reset() */
extern void mq_stat_read(const MqLogKey *key, MqStatValues *values);
extern void mq_stat_reset(const MqLogKey *key);
extern void mq_stat_reset_database(Oid dboid);

/* called by mq_log_shmem.c: a slot is given to a partition, taken back; a topic, or a whole database, is dropped */
extern MqStat *mq_stat_attach(const MqLogKey *key);
extern void mq_stat_detach(MqStat *stat);
extern void mq_stat_forget(Oid dboid, const pg_uuid_t *topic);

/* shared memory; the tranche is set by mq_shmem.c in every process */
extern int	mq_stat_tranche;
extern Size mq_stat_shmem_size(void);
extern void mq_stat_shmem_init(bool found);

#endif							/* MQ_STAT_H */
