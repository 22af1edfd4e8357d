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
#include "storage/buffile.h"
#include "storage/mq_batch.h"

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
	int			spill_file;
	off_t		spill_position;
} MqBuilderBatch;

/* Where the builder stood when a subtransaction first touched it. */
typedef struct MqBuilderMark
{
	int			level;			/* nesting level of the subtransaction */
	int			batch;			/* index of the batch */
	int32		length;
	int32		count;
	MqTimestamp max_timestamp;
} MqBuilderMark;

typedef struct MqBuilder
{
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
	MqBuilderMark *marks;
	int			nmarks;
	int			marks_room;
} MqBuilder;

extern MqBuilder *mq_builder_create(MemoryContext context, const MqTopic *topic, int32 partition);

/* Adds a record at a nesting level (1 = top); returns the bytes of memory it took. */
extern int64 mq_builder_add(MqBuilder *builder, const MqRecord *record, int level);

/* called at the end of a subtransaction; mq_builder_cut() returns the bytes of memory freed and never raises */
extern int64 mq_builder_cut(MqBuilder *builder, int level);
extern void mq_builder_release(MqBuilder *builder, int level);

/* Moves what need not stay in memory to the file; returns the bytes of memory freed. */
extern int64 mq_builder_spill(MqBuilder *builder, BufFile *file);

/* Seals a batch, getting it back from the file first if need be; no marks may be left. */
extern void mq_builder_finish(MqBuilder *builder, int batch, BufFile *file);
extern void mq_builder_free_batch(MqBuilder *builder, int batch);

extern MqTimestamp mq_builder_clock(void);

#endif							/* MQ_BUILDER_H */
