/*
 * mq_builder.c
 *	  The records a transaction has for one partition, on their way into batches.
 *
 * Records are encoded once, into the batch that will be stored.  A batch that
 * is full is sealed (compressed, header, CRC) as soon as no savepoint can
 * take records out of it again.  Savepoints nest, so one list of batches with
 * a stack of marks is enough: ROLLBACK TO cuts the list back to a mark,
 * RELEASE hands the mark to the parent or drops it.
 *
 * A batch that a mark points into is never spilled and never sealed: cutting
 * it happens while a subtransaction aborts, when nothing may fail.
 *
 * Once a transaction has spilled, it spills each batch as soon as that is
 * full: its bytes are still in the processor's cache, and the next batch takes
 * over its buffer.
 *
 * Locking: none; all of this is private to one backend.
 */
#include "postgres.h"

#include "storage/mq_codec.h"
#include "storage/mq_file.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "broker/mq_builder.h"

#define FIRST_ROOM	(MQ_BATCH_HEADER_SIZE + 256)

/* What a record may take besides key, value and headers: six numbers and the attributes. */
#define RECORD_OVERHEAD	(5 + 1 + 10 + 5 + 5 + 5 + 5)

/* Batches begin at page boundaries of the temporary file: the kernel then takes large pages for it. */
#define SPILL_ALIGN	4096

static int64 add_slowly(MqBuilder *builder, const MqRecord *record, MqSpill *spill);
static inline MqBuilderBatch *open_batch(const MqBuilder *builder);
static inline void put(MqBuilderBatch *batch, const MqRecord *record);
static MqBuilderBatch *begin_batch(MqBuilder *builder, MqTimestamp base_timestamp, size_t record_size);
static int64 end_batch(MqBuilder *builder, MqBuilderBatch *batch, MqSpill *spill);
static int64 spill_batch(MqBuilder *builder, MqBuilderBatch *batch, MqSpill *spill);
static uint8 *take_buffer(MqBuilder *builder, size_t size, int32 *capacity);
static void give_buffer(MqBuilder *builder, uint8 *data, int32 capacity, int most);
static void make_room(MqBuilderBatch *batch, size_t more);
static void push_mark(MqBuilder *builder, int level);
static bool is_marked(const MqBuilder *builder, int batch);
static void seal(MqBuilder *builder, MqBuilderBatch *batch);
static int16 compress(MqBuilder *builder, MqBuilderBatch *batch);

MqBuilder *
mq_builder_create(MemoryContext context, const MqTopic *topic, int32 partition)
{
	MqBuilder  *builder = MemoryContextAllocZero(context, sizeof(MqBuilder));

	mq_topic_key(topic, partition, &builder->key);
	strlcpy(builder->topic, topic->name, sizeof(builder->topic));
	builder->config = topic->log;
	builder->config.tentative = topic->changed_here;
	builder->codec = topic->codec;
	builder->batch_size = topic->batch_size;
	builder->log_append_time = topic->log_append_time;
	builder->context = context;
	return builder;
}

int64
mq_builder_add(MqBuilder *builder, const MqRecord *record, int level, MqSpill *spill)
{
	MqBuilderBatch *batch = open_batch(builder);

	if (level > 1 &&
		(builder->nmarks == 0 || builder->marks[builder->nmarks - 1].level < level))
		push_mark(builder, level);

	/* nearly always there is room, whatever its exact size */
	if (likely(batch != NULL &&
			   (int64) batch->length + record->key_len + record->value_len +
			   record->headers_len + RECORD_OVERHEAD <= Min(batch->capacity, builder->batch_size)))
	{
		put(batch, record);
		return 0;
	}
	return add_slowly(builder, record, spill);
}

/* Takes out what subtransactions at this level and deeper have added. */
int64
mq_builder_cut(MqBuilder *builder, int level)
{
	const MqBuilderMark *mark = NULL;
	int64		freed = 0;

	while (builder->nmarks > 0 && builder->marks[builder->nmarks - 1].level >= level)
		mark = &builder->marks[--builder->nmarks];
	if (mark == NULL)
		return 0;
	builder->calls = mark->calls;
	while (builder->n > mark->batch + (mark->count > 0 ? 1 : 0))
	{
		builder->n--;
		if (builder->batches[builder->n].data != NULL)
		{
			freed += builder->batches[builder->n].capacity;
			pfree(builder->batches[builder->n].data);
		}
	}
	if (mark->count > 0)
	{
		MqBuilderBatch *batch = &builder->batches[mark->batch];

		Assert(batch->data != NULL && !batch->sealed);
		batch->length = mark->length;
		batch->count = mark->count;
		batch->max_timestamp = mark->max_timestamp;
	}
	return freed;
}

/* The subtransaction at this level has ended well: its mark is its parent's now. */
void
mq_builder_release(MqBuilder *builder, int level)
{
	MqBuilderMark *mark;

	if (builder->nmarks == 0)
		return;
	mark = &builder->marks[builder->nmarks - 1];
	if (mark->level < level)
		return;
	if (level - 1 <= 1 ||
		(builder->nmarks > 1 && builder->marks[builder->nmarks - 2].level == level - 1))
		builder->nmarks--;
	else
		mark->level = level - 1;
}

/* All batches but the last and those a mark points into; sealed ones as they are, others raw. */
int64
mq_builder_spill(MqBuilder *builder, MqSpill *spill)
{
	int64		freed = 0;
	int			i;

	for (i = 0; i < builder->n - 1; i++)
	{
		if (builder->batches[i].data != NULL && !is_marked(builder, i))
			freed += spill_batch(builder, &builder->batches[i], spill);
	}
	return freed;
}

void
mq_builder_finish(MqBuilder *builder, int number, const MqSpill *spill)
{
	MqBuilderBatch *batch = &builder->batches[number];

	if (batch->data == NULL)
	{
		uint8	   *data = take_buffer(builder, batch->length, &batch->capacity);

		batch->data = data;
		if (!mq_file_temp_read(spill->file, data, batch->length, batch->spill_position))
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read back messages of this transaction from its temporary file: %m")));
		mq_file_temp_discard(spill->file, batch->spill_position,
							 TYPEALIGN64(SPILL_ALIGN, batch->spill_position + batch->length));
	}
	if (!batch->sealed)
		seal(builder, batch);
}

void
mq_builder_free_batch(MqBuilder *builder, int number)
{
	MqBuilderBatch *batch = &builder->batches[number];

	if (batch->data != NULL)
		give_buffer(builder, batch->data, batch->capacity, MQ_BUILDER_SPARES);
	batch->data = NULL;
}

void
mq_builder_free_spares(MqBuilder *builder)
{
	while (builder->nspares > 0)
		pfree(builder->spares[--builder->nspares]);
}

/* The time of day as Kafka counts it, rounded down to milliseconds. */
MqTimestamp
mq_builder_clock(void)
{
	const int64 epochs_apart = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;

	return GetCurrentTimestamp() / 1000 + epochs_apart;
}

/* Looks whether the record still fits the last batch; if not, begins the next. */
static int64
add_slowly(MqBuilder *builder, const MqRecord *record, MqSpill *spill)
{
	MqBuilderBatch *batch = open_batch(builder);
	int64		taken = 0;
	size_t		size;

	if (batch != NULL)
	{
		size = mq_batch_record_size(record, record->timestamp - batch->base_timestamp, batch->count);
		if (batch->length + size <= (size_t) builder->batch_size)
		{
			taken = -batch->capacity;
			if (batch->length + size > (size_t) batch->capacity)
				make_room(batch, size);
			put(batch, record);
			return taken + batch->capacity;
		}
	}
	if (batch != NULL)
		taken = -end_batch(builder, batch, spill);
	batch = begin_batch(builder, record->timestamp, mq_batch_record_size(record, 0, 0));
	put(batch, record);
	return taken + batch->capacity;
}

/* The last batch, if it still takes records. */
static inline MqBuilderBatch *
open_batch(const MqBuilder *builder)
{
	MqBuilderBatch *batch = builder->n > 0 ? &builder->batches[builder->n - 1] : NULL;

	return batch != NULL && batch->data != NULL && !batch->sealed ? batch : NULL;
}

static inline void
put(MqBuilderBatch *batch, const MqRecord *record)
{
	batch->length = mq_batch_put_record(batch->data + batch->length, record,
										record->timestamp - batch->base_timestamp,
										batch->count) - batch->data;
	Assert(batch->length <= batch->capacity);
	batch->count++;
	if (record->timestamp > batch->max_timestamp)
		batch->max_timestamp = record->timestamp;
}

/* The batch that was open is full; returns the bytes of memory freed. */
static int64
end_batch(MqBuilder *builder, MqBuilderBatch *batch, MqSpill *spill)
{
	if (builder->nmarks > 0)
		return 0;
	/* append time is known at commit only */
	if (!builder->log_append_time)
		seal(builder, batch);
	return spill->file >= 0 ? spill_batch(builder, batch, spill) : 0;
}

static MqBuilderBatch *
begin_batch(MqBuilder *builder, MqTimestamp base_timestamp, size_t record_size)
{
	MqBuilderBatch *batch;
	size_t		capacity = MQ_BATCH_HEADER_SIZE + record_size;

	/* whoever fills one batch fills another */
	capacity = Max(capacity, builder->n > 0 ? (size_t) builder->batch_size : FIRST_ROOM);

	if (builder->n == builder->room)
	{
		int			room = Max(4, builder->room * 2);

		builder->batches = builder->batches == NULL ?
			MemoryContextAlloc(builder->context, sizeof(MqBuilderBatch) * room) :
			repalloc_huge(builder->batches, sizeof(MqBuilderBatch) * room);
		builder->room = room;
	}
	batch = &builder->batches[builder->n];
	batch->data = take_buffer(builder, capacity, &batch->capacity);
	batch->length = MQ_BATCH_HEADER_SIZE;
	batch->count = 0;
	batch->base_timestamp = base_timestamp;
	batch->max_timestamp = base_timestamp;
	batch->sealed = false;
	builder->n++;
	return batch;
}

/* Moves one batch to the file; returns the bytes of memory freed. */
static int64
spill_batch(MqBuilder *builder, MqBuilderBatch *batch, MqSpill *spill)
{
	/* the header's place: nothing of what the memory held before goes to the file */
	if (!batch->sealed)
		memset(batch->data, 0, MQ_BATCH_HEADER_SIZE);
	mq_file_temp_write(spill->file, batch->data, batch->length, spill->end);
	batch->spill_position = spill->end;
	spill->end = TYPEALIGN64(SPILL_ALIGN, spill->end + batch->length);
	/* one buffer is kept for the batch that comes next, and not counted meanwhile */
	give_buffer(builder, batch->data, batch->capacity, 1);
	batch->data = NULL;
	return batch->capacity;
}

static uint8 *
take_buffer(MqBuilder *builder, size_t size, int32 *capacity)
{
	if (size <= (size_t) builder->batch_size && builder->nspares > 0)
	{
		*capacity = builder->batch_size;
		return builder->spares[--builder->nspares];
	}
	/* what nearly fills a batch of the usual size can be used again if it is one */
	if (size <= (size_t) builder->batch_size && size > (size_t) builder->batch_size / 2)
		size = builder->batch_size;
	*capacity = size;
	return MemoryContextAlloc(builder->context, size);
}

/* Keeps a buffer of the usual size for later, unless there are that many already. */
static void
give_buffer(MqBuilder *builder, uint8 *data, int32 capacity, int most)
{
	if (capacity == builder->batch_size && builder->nspares < most)
		builder->spares[builder->nspares++] = data;
	else
		pfree(data);
}

static void
make_room(MqBuilderBatch *batch, size_t more)
{
	size_t		capacity = Max((size_t) batch->capacity * 2, batch->length + more);

	batch->data = repalloc(batch->data, capacity);
	batch->capacity = capacity;
}

/* Remembers where a subtransaction found the builder. */
static void
push_mark(MqBuilder *builder, int level)
{
	const MqBuilderBatch *batch = open_batch(builder);
	MqBuilderMark *mark;

	if (builder->nmarks == builder->marks_room)
	{
		int			room = Max(4, builder->marks_room * 2);

		builder->marks = builder->marks == NULL ?
			MemoryContextAlloc(builder->context, sizeof(MqBuilderMark) * room) :
			repalloc(builder->marks, sizeof(MqBuilderMark) * room);
		builder->marks_room = room;
	}
	mark = &builder->marks[builder->nmarks++];
	mark->level = level;
	mark->calls = builder->calls;
	if (batch != NULL)
	{
		mark->batch = builder->n - 1;
		mark->length = batch->length;
		mark->count = batch->count;
		mark->max_timestamp = batch->max_timestamp;
	}
	else
	{
		mark->batch = builder->n;
		mark->length = mark->count = 0;
		mark->max_timestamp = 0;
	}
}

static bool
is_marked(const MqBuilder *builder, int batch)
{
	int			i;

	for (i = 0; i < builder->nmarks; i++)
	{
		if (builder->marks[i].batch == batch)
			return true;
	}
	return false;
}

/* Compresses if asked to, writes header and CRC.  Offset and epoch come at the append. */
static void
seal(MqBuilder *builder, MqBuilderBatch *batch)
{
	MqBatchInfo info;

	memset(&info, 0, sizeof(info));
	info.attributes = compress(builder, batch);
	info.total_length = batch->length;
	info.last_offset_delta = batch->count - 1;
	info.base_timestamp = batch->base_timestamp;
	if (builder->log_append_time)
	{
		info.attributes |= MQ_BATCH_LOG_APPEND_TIME;
		batch->max_timestamp = mq_builder_clock();
	}
	info.max_timestamp = batch->max_timestamp;
	info.producer_id = -1;
	info.producer_epoch = -1;
	info.base_sequence = -1;
	info.record_count = batch->count;
	mq_batch_seal(batch->data, &info);
	batch->sealed = true;
}

/* Replaces the records by their LZ4 frame if that is smaller; returns the attributes. */
static int16
compress(MqBuilder *builder, MqBuilderBatch *batch)
{
	size_t		plain = batch->length - MQ_BATCH_HEADER_SIZE;
	size_t		bound;
	size_t		packed;
	uint8	   *data;

	if (builder->codec != MQ_CODEC_LZ4)
		return MQ_CODEC_NONE;
	bound = mq_codec_lz4_bound(plain);
	data = MemoryContextAllocHuge(builder->context, MQ_BATCH_HEADER_SIZE + bound);
	packed = mq_codec_lz4_compress(batch->data + MQ_BATCH_HEADER_SIZE, plain,
								   data + MQ_BATCH_HEADER_SIZE, bound);
	if (packed == 0 || packed >= plain)
	{
		pfree(data);
		return MQ_CODEC_NONE;
	}
	give_buffer(builder, batch->data, batch->capacity, 1);
	batch->data = repalloc_huge(data, MQ_BATCH_HEADER_SIZE + packed);
	batch->length = batch->capacity = MQ_BATCH_HEADER_SIZE + packed;
	return MQ_CODEC_LZ4;
}
