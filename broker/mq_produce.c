/*
 * mq_produce.c
 *	  Choose a partition and put a record where the transaction keeps it.
 *
 * A record with a key goes where Kafka's Java client would send it; one
 * without stays on one partition until a batch's worth of bytes has gone
 * there, so that batches fill up.  That choice is this session's and outlives
 * the transaction, or single-row transactions would scatter.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "broker/mq_produce.h"
#include "broker/mq_topic_retired.h"
#include "broker/mq_xact.h"
#include "storage/mq_stat.h"

/* Where this session's records without a key go. */
typedef struct StickyEntry
{
	pg_uuid_t	topic;
	int32		partition;
	int32		bytes;			/* gone there so far */
} StickyEntry;

/* What is known of a record while errors in handling it are watched. */
typedef struct Watch
{
	ErrorContextCallback callback;
	const MqTopic *topic;
	const MqRecord *record;
	int32		partition;
} Watch;

static HTAB *sticky = NULL;
static StickyEntry *last_sticky = NULL;

static inline void begin_watch(Watch *watch, const MqTopic *topic, const MqRecord *record, int32 partition);
static void count_refused(void *arg);
static int32 choose_partition(const MqTopic *topic, const MqRecord *record);
static int32 sticky_partition(const MqTopic *topic, int32 bytes);
static void prepare_record(const MqTopic *topic, MqRecord *record);
static void fill_positions(MqBuilder *const *builders, int nbuilders, const int32 *builder_of,
						   int n, MqProduced *positions);

int32
mq_produce_partition_for(const MqTopic *topic, const uint8 *key, int32 key_len)
{
	int32		n = (int32) (mq_bytes_murmur2(key, key_len) & 0x7fffffff) % mq_topic_retired_rest(topic);

	return likely(topic->nretired == 0) ? n : mq_topic_retired_nth(topic, n);
}

int32
mq_produce_record(MqTopic *topic, MqRecord *record, int32 partition)
{
	partition = mq_produce_further(topic, record, partition);
	mq_xact_count_call();
	return partition;
}

int32
mq_produce_further(MqTopic *topic, MqRecord *record, int32 partition)
{
	Watch		watch;

	begin_watch(&watch, topic, record, partition);
	prepare_record(topic, record);
	if (partition == MQ_PARTITION_ANY)
		partition = choose_partition(topic, record);
	else
		mq_topic_check_writable(topic, partition);
	if (!topic->ever_written)
		mq_topic_mark_written(topic);
	mq_xact_add_record(topic, partition, record);
	error_context_stack = watch.callback.previous;
	return partition;
}

void
mq_produce_now(MqTopic *topic, MqRecord *records, const int32 *partitions,
			   int n, MqProduced *positions)
{
	MqBuilder **builders;
	MqSpill		spill = {-1, 0};
	int32	   *builder_of;		/* by record */
	int32	   *numbers;		/* by partition: 0 = none yet, else its builder's number plus one */
	int			nbuilders = 0;
	Watch		watch;
	int			i;

	if (n == 0)
		return;
	/* what the message would outlive: a partition that is gone, a key's other partition */
	if (topic->changed_here)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot produce outside the transaction to topic \"%s\" that this transaction has created or altered",
						topic->name),
				 errhint("Commit the topic first, or produce with transactional => true.")));
	mq_xact_require_open();

	builders = palloc(sizeof(MqBuilder *) * Min(n, topic->partitions));
	builder_of = palloc(sizeof(int32) * n);
	numbers = palloc0(sizeof(int32) * topic->partitions);
	for (i = 0; i < n; i++)
	{
		int32		partition = partitions != NULL ? partitions[i] : MQ_PARTITION_ANY;

		CHECK_FOR_INTERRUPTS();
		begin_watch(&watch, topic, &records[i], partition);
		prepare_record(topic, &records[i]);
		if (partition != MQ_PARTITION_ANY)
			mq_topic_check_writable(topic, partition);
		else
			partition = choose_partition(topic, &records[i]);
		error_context_stack = watch.callback.previous;
		if (numbers[partition] == 0)
		{
			builders[nbuilders] = mq_builder_create(CurrentMemoryContext, topic, partition);
			numbers[partition] = ++nbuilders;
		}
		builder_of[i] = numbers[partition] - 1;
		mq_builder_add(builders[builder_of[i]], &records[i], 1, &spill);
	}
	builders[0]->calls = 1;
	if (!topic->ever_written)
		mq_topic_mark_written(topic);
	mq_xact_append_now(builders, nbuilders);
	fill_positions(builders, nbuilders, builder_of, n, positions);
}

const MqProducedRange *
mq_produce_last(int *n)
{
	return mq_xact_last_produced(n);
}

/* Until error_context_stack is set back, messages that are refused are counted. */
static inline void
begin_watch(Watch *watch, const MqTopic *topic, const MqRecord *record, int32 partition)
{
	watch->topic = topic;
	watch->record = record;
	watch->partition = partition;
	watch->callback.previous = error_context_stack;
	watch->callback.callback = count_refused;
	watch->callback.arg = watch;
	error_context_stack = &watch->callback;
}

/* A message that had not got a partition yet is counted where its key leads, without a key at the first. */
static void
count_refused(void *arg)
{
	const Watch *watch = arg;
	const MqTopic *topic = watch->topic;
	int32		partition = watch->partition;
	MqLogKey	key;

	if (partition == MQ_PARTITION_ANY && watch->record->key != NULL && mq_topic_retired_rest(topic) > 0)
		partition = mq_produce_partition_for(topic, watch->record->key, watch->record->key_len);
	mq_topic_key(topic, Max(partition, 0), &key);
	mq_stat_count_error(&key);
}

static int32
choose_partition(const MqTopic *topic, const MqRecord *record)
{
	if (topic->partitions == 1)
		return 0;
	if (record->key != NULL)
		return mq_produce_partition_for(topic, record->key, record->key_len);
	return sticky_partition(topic, record->value_len + record->headers_len + 16);
}

static int32
sticky_partition(const MqTopic *topic, int32 bytes)
{
	StickyEntry *entry = last_sticky;
	bool		found = true;

	if (entry == NULL || memcmp(&entry->topic, &topic->uuid, UUID_LEN) != 0)
	{
		if (sticky == NULL)
		{
			HASHCTL		ctl;

			ctl.keysize = sizeof(pg_uuid_t);
			ctl.entrysize = sizeof(StickyEntry);
			ctl.hcxt = TopMemoryContext;
			sticky = hash_create("mq sticky partitions", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		entry = hash_search(sticky, &topic->uuid, HASH_ENTER, &found);
		last_sticky = entry;
	}
	if (!found || entry->bytes >= topic->batch_size || entry->partition >= topic->partitions ||
		(topic->nretired > 0 && mq_topic_retired_is(topic, entry->partition)))
	{
		int32		rest = mq_topic_retired_rest(topic);
		int32		next = pg_prng_uint64_range(&pg_global_prng_state, 0, rest - 1);

		/* a full batch moves on, so that every partition gets its share */
		if (found && mq_topic_retired_nth(topic, next) == entry->partition)
			next = (next + 1) % rest;
		entry->partition = mq_topic_retired_nth(topic, next);
		entry->bytes = 0;
	}
	entry->bytes += bytes;
	return entry->partition;
}

/* What can be refused early is refused here: what has been buffered must not fail at commit. */
static void
prepare_record(const MqTopic *topic, MqRecord *record)
{
	size_t		size;

	if (record->timestamp == MQ_NO_TIMESTAMP || topic->log_append_time)
		record->timestamp = mq_builder_clock();
	if (record->key == NULL)
		record->key_len = 0;
	if (record->value == NULL)
		record->value_len = 0;
	size = MQ_BATCH_HEADER_SIZE + (size_t) record->key_len + record->value_len + record->headers_len;
	if (size > (size_t) topic->max_message_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("message is too large for topic \"%s\"", topic->name),
				 errdetail("It has %zu bytes with its batch header, max.message.bytes is %d.",
						   size, topic->max_message_bytes),
				 errhint("Raise max.message.bytes with mq.alter_topic(), or send less.")));
}

/* Reads the offsets back from the headers of the appended batches. */
static void
fill_positions(MqBuilder *const *builders, int nbuilders, const int32 *builder_of,
			   int n, MqProduced *positions)
{
	int		   *batch = palloc0(sizeof(int) * nbuilders);
	int		   *used = palloc0(sizeof(int) * nbuilders);
	int			i;

	for (i = 0; i < n; i++)
	{
		MqReader	reader;
		int			b = builder_of[i];

		if (used[b] == builders[b]->batches[batch[b]].count)
		{
			batch[b]++;
			used[b] = 0;
		}
		mq_bytes_reader(&reader, builders[b]->batches[batch[b]].data, sizeof(int64));
		positions[i].partition = builders[b]->key.partition;
		positions[i].offset = mq_bytes_get_i64(&reader) + used[b]++;
	}
	pfree(batch);
	pfree(used);
}
