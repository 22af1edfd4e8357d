/*
 * mq_builder.h
 *	  The records a transaction has for one partition, on their way into batches.
 *
 * Memory and spill file are the caller's: batches live in the memory context
 * given at creation.
 */
#ifndef MQ_BUILDER_H
#define MQ_BUILDER_H

#include "broker/mq_topic.h"
#include "storage/mq_batch.h"

#define MQ_BUILDER_SPARES	16

/* One batch: 61 bytes kept free for the header, then records. */
typedef struct MqBuilderBatch
{
	uint8	   *data;			/* NULL = spilled */
	int32		length;
	int32		capacity;
	int32		count;
	MqTimestamp base_timestamp;
	MqTimestamp max_timestamp;
	bool		sealed;			/* header and CRC are written */
	int64		spill_position;
} MqBuilderBatch;

/* Where the builder stood when a subtransaction first touched it. */
typedef struct MqBuilderMark
{
	int			level;			/* nesting level of the subtransaction */
	int			batch;			/* index of the batch */
	int32		length;
	int32		count;
	MqTimestamp max_timestamp;
	int64		calls;
} MqBuilderMark;

/* The temporary file of a transaction, once it has one. */
typedef struct MqSpill
{
	int			file;			/* -1 = none yet */
	int64		end;
} MqSpill;

typedef struct MqBuilder
{
	struct MqBuilder *next;		/* for its owner's use */
	MqLogKey	key;
	char		topic[MQ_MAX_TOPIC_NAME + 1];
	MqLogConfig config;
	MqCodec		codec;
	int32		batch_size;
	bool		log_append_time;
	MemoryContext context;
	MqBuilderBatch *batches;
	int			n;
	int			room;
	int64		calls;			/* that put something here first; for the statistics */
	MqBuilderMark *marks;
	int			nmarks;
	int			marks_room;
	uint8	   *spares[MQ_BUILDER_SPARES];	/* buffers of batch_size bytes to use again */
	int			nspares;
} MqBuilder;

extern MqBuilder *mq_builder_create(MemoryContext context, const MqTopic *topic, int32 partition);

/*
 * Adds a record at a nesting level (1 = top); returns the bytes of memory it
 * took.  If there is a temporary file, full batches go there at once.
 */
extern int64 mq_builder_add(MqBuilder *builder, const MqRecord *record, int level, MqSpill *spill);

/* called at the end of a subtransaction; mq_builder_cut() returns the bytes of memory freed and never raises */
extern int64 mq_builder_cut(MqBuilder *builder, int level);
extern void mq_builder_release(MqBuilder *builder, int level);

/* Moves what need not stay in memory to the file; returns the bytes of memory freed. */
extern int64 mq_builder_spill(MqBuilder *builder, MqSpill *spill);

/* Seals a batch, getting it back from the file first if need be; no marks may be left. */
extern void mq_builder_finish(MqBuilder *builder, int batch, const MqSpill *spill);
extern void mq_builder_free_batch(MqBuilder *builder, int batch);
extern void mq_builder_free_spares(MqBuilder *builder);

/* The time of day as Kafka counts it, a few milliseconds behind at most; never before this statement began. */
extern MqTimestamp mq_builder_clock(void);

#endif							/* MQ_BUILDER_H */
