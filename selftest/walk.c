/*
 * walk.c
 *	  Reads a whole batch of unknown origin the way the server does.
 *
 * Shared by the tests and the fuzzers.
 */
#include "postgres.h"

#include "storage/mq_codec.h"

#include "walk.h"

#define GUARD_SIZE	64
#define GUARD_BYTE	0xa5

/* Sums of all bytes read end here, so that no read is optimized away. */
static volatile uint32 sink;

static void promise(bool kept, const char *what);
static void touch(const uint8 *data, int32 len);
static void walk_headers(const MqRecord *record);
static MqBatchStatus walk_records(const MqBatchInfo *info, const uint8 *payload, size_t len,
								  WalkRecord callback, void *context);


MqBatchStatus
walk_batch(const uint8 *batch, size_t len, WalkCrc crc, size_t cap, WalkRecord callback, void *context)
{
	MqBatchInfo info;
	MqBatchStatus status;
	size_t		size = cap;
	uint8	   *payload;

	status = mq_batch_parse(batch, len, &info);
	if (status != MQ_BATCH_OK)
		return status;
	promise(info.total_length >= MQ_BATCH_HEADER_SIZE && (size_t) info.total_length <= len, "batch inside input");
	if (crc == WALK_CHECK_CRC && (status = mq_batch_check_crc(batch, &info)) != MQ_BATCH_OK)
		return status;

	if (mq_batch_codec(&info) == MQ_CODEC_NONE)
		return walk_records(&info, batch + MQ_BATCH_HEADER_SIZE, info.total_length - MQ_BATCH_HEADER_SIZE,
							callback, context);
	payload = walk_decompress(mq_batch_codec(&info), batch + MQ_BATCH_HEADER_SIZE,
							  info.total_length - MQ_BATCH_HEADER_SIZE, &size, &status);
	if (status == MQ_BATCH_OK)
	{
		/* exactly as many bytes as there are, for ASan */
		uint8	   *exact = (uint8 *) malloc(size);

		if (size > 0)
			memcpy(exact, payload, size);
		status = walk_records(&info, exact, size, callback, context);
		free(exact);
	}
	free(payload);
	return status;
}

uint8 *
walk_decompress(MqCodec codec, const uint8 *src, size_t len, size_t *dst_len, MqBatchStatus *status)
{
	size_t		cap = *dst_len;
	uint8	   *dst = (uint8 *) malloc(cap + GUARD_SIZE);
	int			i;

	promise(dst != NULL, "memory");
	memset(dst + cap, GUARD_BYTE, GUARD_SIZE);
	*status = mq_codec_decompress(codec, src, len, dst, dst_len);
	for (i = 0; i < GUARD_SIZE; i++)
		promise(dst[cap + i] == GUARD_BYTE, "decompressed bytes inside the buffer");
	if (*status == MQ_BATCH_OK)
		promise(*dst_len <= cap, "decompressed size inside the buffer");
	return dst;
}

static void
promise(bool kept, const char *what)
{
	if (kept)
		return;
	fprintf(stderr, "broken promise: %s\n", what);
	abort();
}

static void
touch(const uint8 *data, int32 len)
{
	uint32		sum = 0;
	int32		i;

	for (i = 0; i < len; i++)
		sum += data[i];
	sink += sum;
}

static void
walk_headers(const MqRecord *record)
{
	MqReader	r;
	MqHeader	header;
	int32		count = 0;

	mq_bytes_reader(&r, record->headers, record->headers_len);
	while (mq_batch_next_header(&r, &header))
	{
		promise(header.key != NULL && header.key_len >= 0, "header has a key");
		touch(header.key, header.key_len);
		if (header.value != NULL)
			touch(header.value, header.value_len);
		count++;
	}
	promise(!r.bad && count == record->header_count, "headers of a record are good");
}

static MqBatchStatus
walk_records(const MqBatchInfo *info, const uint8 *payload, size_t len, WalkRecord callback, void *context)
{
	MqBatchIter it;
	MqBatchStatus status;
	MqRecord	record;
	MqOffset	previous = info->base_offset - 1;

	mq_batch_iter(&it, info, payload, len);
	while (mq_batch_next(&it, &record, &status))
	{
		promise(status == MQ_BATCH_OK, "a record has no error");
		promise(record.offset > previous && record.offset <= info->base_offset + info->last_offset_delta,
				"offsets rise inside the batch");
		previous = record.offset;
		if (record.key != NULL)
			touch(record.key, record.key_len);
		if (record.value != NULL)
			touch(record.value, record.value_len);
		walk_headers(&record);
		if (callback != NULL)
			callback(context, info, &record);
	}
	promise(status != MQ_BATCH_OK || it.next == info->record_count, "a good batch has all its records");
	return status;
}
