/*
 * golden.c
 *	  The golden record batches and what is in them.
 *
 * The files were made by a Kafka client's encoder (golden/make_golden.py).
 * This table was written by hand and not from the files, so both would have
 * to be wrong in the same way.
 */
#include "postgres.h"

#include "golden.h"

#define BASE_TS				INT64CONST(1700000000000)
#define LARGE_VALUE_SIZE	40000

typedef struct GoldenHeader
{
	const char *key;
	const char *value;			/* NULL = null */
	int32		value_len;
} GoldenHeader;

typedef struct GoldenRecord
{
	int64		ts_delta;
	const char *key;			/* NULL = null */
	const char *value;			/* NULL = null */
	int			header_count;
	const GoldenHeader *headers;
} GoldenRecord;

struct GoldenSet
{
	int			count;
	int64		max_ts_delta;
	int64		producer_id;
	int16		producer_epoch;
	int32		base_sequence;
	const GoldenRecord *records;	/* or computed by: */
	void		(*compute) (int i, MqRecord *record);
};

static void many_record(int i, MqRecord *record);
static void large_record(int i, MqRecord *record);

#define TEN(c)		c c c c c c c c c c
#define FIFTY(c)	TEN(c) TEN(c) TEN(c) TEN(c) TEN(c)

static const GoldenHeader some_headers[] = {
	{"a", "1", 1},
	{"null", NULL, 0},
	{"empty", "", 0},
	{"\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87", "\x00\xff\x80", 3},
	{"a", "2", 1}
};

static const GoldenHeader empty_key_header[] = {
	{"", "v", 1}
};

static const GoldenRecord small_records[] = {
	{0, "k0", "v0", 0, NULL},
	{1, NULL, "no key", 0, NULL},
	{2, "tomb", NULL, 0, NULL},
	{3, "", "", 0, NULL},
	{4, NULL, NULL, 0, NULL},
	{5, "h", "with headers", 5, some_headers},
	{-1000, "late", "older than the first", 0, NULL},
	{70, "63", FIFTY("x") TEN("x") "xxx", 0, NULL},
	{8200, "64", FIFTY("y") TEN("y") "yyyy", 0, NULL},
	{86400000, "200", FIFTY("z") FIFTY("z") FIFTY("z") FIFTY("z"), 0, NULL},
	{10, "last", "end", 1, empty_key_header}
};

static const GoldenRecord txn_records[] = {
	{0, "order-1", "created", 0, NULL},
	{1, "order-1", "paid", 0, NULL}
};

static const GoldenSet small_set = {11, 86400000, -1, -1, -1, small_records, NULL};
static const GoldenSet txn_set = {2, 1, 4242, 3, 100, txn_records, NULL};
static const GoldenSet many_set = {300, 2990, -1, -1, -1, NULL, many_record};
static const GoldenSet large_set = {2, 1, -1, -1, -1, NULL, large_record};

const GoldenFile golden_files[] = {
	{"small-none.batch", &small_set, MQ_CODEC_NONE, 0},
	{"small-append-time.batch", &small_set, MQ_CODEC_NONE, MQ_BATCH_LOG_APPEND_TIME},
	{"small-gzip.batch", &small_set, MQ_CODEC_GZIP, 0},
	{"small-gzip-members.batch", &small_set, MQ_CODEC_GZIP, 0},
	{"small-snappy.batch", &small_set, MQ_CODEC_SNAPPY, 0},
	{"small-snappy-raw.batch", &small_set, MQ_CODEC_SNAPPY, 0},
	{"small-lz4.batch", &small_set, MQ_CODEC_LZ4, 0},
	{"small-lz4-java.batch", &small_set, MQ_CODEC_LZ4, 0},
	{"small-lz4-linked.batch", &small_set, MQ_CODEC_LZ4, 0},
	{"small-zstd.batch", &small_set, MQ_CODEC_ZSTD, 0},
	{"small-zstd-stream.batch", &small_set, MQ_CODEC_ZSTD, 0},
	{"small-zstd-frames.batch", &small_set, MQ_CODEC_ZSTD, 0},
	{"txn-none.batch", &txn_set, MQ_CODEC_NONE, MQ_BATCH_TRANSACTIONAL},
	{"many-none.batch", &many_set, MQ_CODEC_NONE, 0},
	{"many-lz4.batch", &many_set, MQ_CODEC_LZ4, 0},
	{"large-none.batch", &large_set, MQ_CODEC_NONE, 0},
	{"large-gzip.batch", &large_set, MQ_CODEC_GZIP, 0},
	{"large-gzip-members.batch", &large_set, MQ_CODEC_GZIP, 0},
	{"large-snappy.batch", &large_set, MQ_CODEC_SNAPPY, 0},
	{"large-snappy-raw.batch", &large_set, MQ_CODEC_SNAPPY, 0},
	{"large-lz4.batch", &large_set, MQ_CODEC_LZ4, 0},
	{"large-lz4-java.batch", &large_set, MQ_CODEC_LZ4, 0},
	{"large-lz4-linked.batch", &large_set, MQ_CODEC_LZ4, 0},
	{"large-zstd.batch", &large_set, MQ_CODEC_ZSTD, 0},
	{"large-zstd-stream.batch", &large_set, MQ_CODEC_ZSTD, 0},
	{"large-zstd-frames.batch", &large_set, MQ_CODEC_ZSTD, 0}
};

const int	golden_file_count = lengthof(golden_files);

static void table_record(const GoldenRecord *golden, MqRecord *record);
static void put_text(const char *text, const uint8 **data, int32 *len);


void
golden_info(const GoldenSet *set, MqBatchInfo *info)
{
	memset(info, 0, sizeof(*info));
	info->last_offset_delta = set->count - 1;
	info->base_timestamp = BASE_TS;
	info->max_timestamp = BASE_TS + set->max_ts_delta;
	info->producer_id = set->producer_id;
	info->producer_epoch = set->producer_epoch;
	info->base_sequence = set->base_sequence;
	info->record_count = set->count;
}

void
golden_record(const GoldenSet *set, int i, MqRecord *record)
{
	memset(record, 0, sizeof(*record));
	record->offset = i;
	if (set->compute != NULL)
		set->compute(i, record);
	else
		table_record(&set->records[i], record);
}

static void
table_record(const GoldenRecord *golden, MqRecord *record)
{
	static uint8 headers[256];
	uint8	   *p = headers;
	int			i;

	record->timestamp = BASE_TS + golden->ts_delta;
	put_text(golden->key, &record->key, &record->key_len);
	put_text(golden->value, &record->value, &record->value_len);
	for (i = 0; i < golden->header_count; i++)
	{
		const GoldenHeader *h = &golden->headers[i];

		p = mq_batch_put_header(p, (const uint8 *) h->key, (int32) strlen(h->key),
								(const uint8 *) h->value, h->value != NULL ? h->value_len : -1);
	}
	record->headers = headers;
	record->headers_len = (int32) (p - headers);
	record->header_count = golden->header_count;
}

static void
many_record(int i, MqRecord *record)
{
	static char key[32];
	static char value[32];

	snprintf(key, sizeof(key), "key-%d", i % 7);
	snprintf(value, sizeof(value), "value-%d", i);
	record->timestamp = BASE_TS + 10 * i;
	put_text(key, &record->key, &record->key_len);
	put_text(value, &record->value, &record->value_len);
}

static void
large_record(int i, MqRecord *record)
{
	static char key[32];
	static char value[LARGE_VALUE_SIZE + 1];
	uint32		state = (uint32) i + 1;
	int			j;

	for (j = 0; j < LARGE_VALUE_SIZE; j++)
	{
		state = state * 1103515245U + 12345U;
		value[j] = (state >> 16) & 1 ? 'b' : 'a';
	}
	snprintf(key, sizeof(key), "large-%d", i);
	record->timestamp = BASE_TS + i;
	put_text(key, &record->key, &record->key_len);
	put_text(value, &record->value, &record->value_len);
}

static void
put_text(const char *text, const uint8 **data, int32 *len)
{
	*data = (const uint8 *) text;
	*len = text != NULL ? (int32) strlen(text) : -1;
}
