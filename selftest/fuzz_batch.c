/*
 * fuzz_batch.c
 *	  libFuzzer: a record batch from anywhere.
 *
 * The CRC is ignored, or the fuzzer would never get behind it.  Each record
 * that decodes is encoded again and must decode to the same.
 */
#include "postgres.h"

#include "storage/mq_batch.h"

#include "walk.h"

#define MAX_PAYLOAD		(256 * 1024)

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static void encode_again(void *context, const MqBatchInfo *info, const MqRecord *record);
static bool same_bytes(const uint8 *a, int32 a_len, const uint8 *b, int32 b_len);


int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	(void) walk_batch(data, size, WALK_IGNORE_CRC, MAX_PAYLOAD, encode_again, NULL);
	return 0;
}

static void
encode_again(void *context, const MqBatchInfo *info, const MqRecord *record)
{
	MqBatchInfo alone = *info;
	int64		ts_delta = (int64) ((uint64) record->timestamp - (uint64) info->base_timestamp);
	int32		offset_delta = (int32) (record->offset - info->base_offset);
	size_t		size = mq_batch_record_size(record, ts_delta, offset_delta);
	uint8	   *buffer = (uint8 *) malloc(size);
	MqBatchIter it;
	MqRecord	again;
	MqBatchStatus status;

	if (buffer == NULL || mq_batch_put_record(buffer, record, ts_delta, offset_delta) != buffer + size)
		abort();
	alone.record_count = 1;
	mq_batch_iter(&it, &alone, buffer, size);
	if (!mq_batch_next(&it, &again, &status) ||
		again.offset != record->offset || again.timestamp != record->timestamp ||
		again.header_count != record->header_count ||
		!same_bytes(again.key, again.key_len, record->key, record->key_len) ||
		!same_bytes(again.value, again.value_len, record->value, record->value_len) ||
		!same_bytes(again.headers, again.headers_len, record->headers, record->headers_len))
		abort();
	if (mq_batch_next(&it, &again, &status) || status != MQ_BATCH_OK)
		abort();
	free(buffer);
}

static bool
same_bytes(const uint8 *a, int32 a_len, const uint8 *b, int32 b_len)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}
