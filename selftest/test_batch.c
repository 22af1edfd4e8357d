/*
 * test_batch.c
 *	  storage/mq_batch: build, check and walk batches; golden files; damage.
 */
#include "postgres.h"

#include "storage/mq_batch.h"

#include "golden.h"
#include "mq_selftest.h"
#include "walk.h"

#define MAX_PAYLOAD		(128 * 1024)

/* Whole batches from Kafka's world: what they say, and their bytes. */
typedef struct VectorCase
{
	const char *what;
	MqBatchInfo info;			/* total_length and crc too */
	const char *header;			/* 61 bytes */
	const char *payload;
} VectorCase;

/* A good batch with some bytes of its header replaced. */
typedef struct HeaderCase
{
	const char *what;
	int			position;
	const char *hex;
	MqBatchStatus expected;
} HeaderCase;

typedef struct PayloadCase
{
	const char *what;
	int			record_count;
	int			last_offset_delta;
	const char *hex;
	MqBatchStatus expected;
} PayloadCase;

#define SARAMA_RECORD	"28 00 0a 00 08 01020304 06 050607 02 06 08090a 04 0b0c"

static const VectorCase vector_cases[] = {
	{
		"empty batch",
		{0, 61, 0, 0x595FB7DD, 0, 0, 0, 0, 0, 0, 0, 0},
		"0000000000000000 00000031 00000000 02 595fb7dd 0000 00000000 0000000000000000"
		"0000000000000000 0000000000000000 0000 00000000 00000000",
		""
	},
	{
		"empty control batch",
		{0, 61, 0, 0x512E43D9, 0x20, 0, 0, 0, 0, 0, 0, 0},
		"0000000000000000 00000031 00000000 02 512e43d9 0020 00000000 0000000000000000"
		"0000000000000000 0000000000000000 0000 00000000 00000000",
		""
	},
	{
		"batch of one record",
		{0, 82, 0, 0x547961FD, 0, 0, INT64CONST(0x1588dcd5938), 0, 0, 0, 0, 1},
		"0000000000000000 00000046 00000000 02 547961fd 0000 00000000 000001588dcd5938"
		"0000000000000000 0000000000000000 0000 00000000 00000001",
		SARAMA_RECORD
	},
	{
		"COMMIT marker",
		{300, 78, 5, 0xd786e591, 0x30, 0, INT64CONST(1700000000000), INT64CONST(1700000000000), 4242, 0, -1, 1},
		"000000000000012c000000420000000502d786e5910030000000000000018bcfe568000000018bcfe568"
		"0000000000000010920000ffffffff00000001",
		"2000000008000000010c00000000000700"
	},
	{
		"ABORT marker",
		{300, 78, 5, 0x23b833d9, 0x30, 0, INT64CONST(1700000000000), INT64CONST(1700000000000), 4242, 0, -1, 1},
		"000000000000012c00000042000000050223b833d90030000000000000018bcfe568000000018bcfe568"
		"0000000000000010920000ffffffff00000001",
		"2000000008000000000c00000000000700"
	}
};

/* On top of "batch of one record". */
static const HeaderCase header_cases[] = {
	{"nothing changed", 0, "", MQ_BATCH_OK},
	{"largest base offset", 0, "7fffffffffffffff", MQ_BATCH_OK},
	{"negative base offset", 0, "ffffffffffffffff", MQ_BATCH_BAD_COUNT},
	{"length of zero", 8, "00000000", MQ_BATCH_BAD_LENGTH},
	{"negative length", 8, "80000000", MQ_BATCH_BAD_LENGTH},
	{"length under the header's", 8, "00000030", MQ_BATCH_BAD_LENGTH},
	{"length of one byte more", 8, "00000047", MQ_BATCH_TOO_SHORT},
	{"largest length", 8, "00fffff4", MQ_BATCH_TOO_SHORT},
	{"length over the cap", 8, "00fffff5", MQ_BATCH_BAD_LENGTH},
	{"length that would wrap", 8, "7fffffff", MQ_BATCH_BAD_LENGTH},
	{"magic 0", 16, "00", MQ_BATCH_BAD_MAGIC},
	{"magic 1", 16, "01", MQ_BATCH_BAD_MAGIC},
	{"magic 3", 16, "03", MQ_BATCH_BAD_MAGIC},
	{"codec 4", 21, "0004", MQ_BATCH_OK},
	{"codec 5", 21, "0005", MQ_BATCH_BAD_CODEC},
	{"codec 7", 21, "0007", MQ_BATCH_BAD_CODEC},
	{"unused attributes", 21, "ffc0", MQ_BATCH_OK},
	{"negative last offset delta", 23, "ffffffff", MQ_BATCH_BAD_COUNT},
	{"gaps before the last offset", 23, "00000009", MQ_BATCH_OK},
	{"negative record count", 57, "ffffffff", MQ_BATCH_BAD_COUNT},
	{"more records than offsets", 57, "00000002", MQ_BATCH_BAD_COUNT},
	{"more records than bytes", 23, "00000009 0000000000000000 0000000000000000 0000000000000000 0000 00000000 00000004",
	MQ_BATCH_BAD_COUNT},
	{"as many records as could be", 23, "00000009 0000000000000000 0000000000000000 0000000000000000 0000 00000000 00000003",
	MQ_BATCH_OK},
	{"last offset over the largest", 0, "7fffffffffffffff 00000046 00000000 02 00000000 0000 00000001", MQ_BATCH_BAD_COUNT}
};

static const PayloadCase payload_cases[] = {
	{"smallest record", 1, 0, "0c 00 00 00 01 01 00", MQ_BATCH_OK},
	{"attributes of a record are ignored", 1, 0, "0c ff 00 00 01 01 00", MQ_BATCH_OK},
	{"empty key and value", 1, 0, "0c 00 00 00 00 00 00", MQ_BATCH_OK},
	{"padded varints", 1, 0, "8c00 00 00 00 01 01 00", MQ_BATCH_OK},
	{"no record, no bytes", 0, 0, "", MQ_BATCH_OK},
	{"offsets with a gap", 2, 9, "0c 00 00 06 01 01 00 0c 00 00 12 01 01 00", MQ_BATCH_OK},
	{"no record, a byte", 0, 0, "00", MQ_BATCH_BAD_RECORD},
	{"a record, no bytes", 1, 0, "", MQ_BATCH_BAD_RECORD},
	{"a byte left over", 1, 0, "0c 00 00 00 01 01 00 00", MQ_BATCH_BAD_RECORD},
	{"a record left over", 1, 1, "0c 00 00 00 01 01 00 0c 00 00 02 01 01 00", MQ_BATCH_BAD_RECORD},
	{"a record is missing", 2, 1, "0c 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"length of a byte more", 1, 0, "0e 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"length of a byte less", 1, 0, "0a 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"length of zero", 1, 0, "00", MQ_BATCH_BAD_RECORD},
	{"negative length", 1, 0, "01 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"largest length", 1, 0, "feffffff0f 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"length without an end", 1, 0, "808080808080", MQ_BATCH_BAD_RECORD},
	{"byte of the body not read", 1, 0, "0e 00 00 00 01 01 00 00", MQ_BATCH_BAD_RECORD},
	{"offset stands still", 2, 1, "0c 00 00 00 01 01 00 0c 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"offset goes back", 2, 1, "0c 00 00 02 01 01 00 0c 00 00 00 01 01 00", MQ_BATCH_BAD_RECORD},
	{"negative offset delta", 1, 0, "0c 00 00 01 01 01 00", MQ_BATCH_BAD_RECORD},
	{"offset behind the batch", 1, 0, "0c 00 00 02 01 01 00", MQ_BATCH_BAD_RECORD},
	{"key length -2", 1, 0, "0c 00 00 00 03 01 00", MQ_BATCH_BAD_RECORD},
	{"key behind the body", 1, 0, "0c 00 00 00 08 01 00", MQ_BATCH_BAD_RECORD},
	{"largest key length", 1, 0, "14 00 00 00 feffffff0f 01 00", MQ_BATCH_BAD_RECORD},
	{"value length -2", 1, 0, "0c 00 00 00 01 03 00", MQ_BATCH_BAD_RECORD},
	{"value behind the body", 1, 0, "0c 00 00 00 01 04 00", MQ_BATCH_BAD_RECORD},
	{"negative header count", 1, 0, "0c 00 00 00 01 01 01", MQ_BATCH_BAD_RECORD},
	{"a header is missing", 1, 0, "0c 00 00 00 01 01 02", MQ_BATCH_BAD_RECORD},
	{"largest header count", 1, 0, "14 00 00 00 01 01 feffffff0f", MQ_BATCH_BAD_RECORD},
	{"one header", 1, 0, "10 00 00 00 01 01 02 00 01", MQ_BATCH_OK},
	{"one header too many", 1, 0, "14 00 00 00 01 01 02 00 01 00 01", MQ_BATCH_BAD_RECORD},
	{"header without key", 1, 0, "10 00 00 00 01 01 02 01 01", MQ_BATCH_BAD_RECORD},
	{"header key behind the body", 1, 0, "10 00 00 00 01 01 02 04 01", MQ_BATCH_BAD_RECORD},
	{"header value length -2", 1, 0, "10 00 00 00 01 01 02 00 03", MQ_BATCH_BAD_RECORD},
	{"header value behind the body", 1, 0, "10 00 00 00 01 01 02 00 02", MQ_BATCH_BAD_RECORD}
};

static void check_vectors(void);
static void check_sarama_record(void);
static void check_marker_record(void);
static void check_set_offset(void);
static void check_headers(void);
static void check_payloads(void);
static void check_wrapping_timestamp(void);
static void check_record_sizes(void);
static bool round_trip(int32 key_len, int32 value_len, int64 ts_delta, int32 offset_delta);
static void check_golden(const GoldenFile *file);
static void compare_record(void *context, const MqBatchInfo *info, const MqRecord *record);
static bool same_bytes(const uint8 *a, int32 a_len, const uint8 *b, int32 b_len);
static bool same_record(const MqRecord *a, const MqRecord *b);
static void check_rebuild(const GoldenFile *file, const uint8 *batch, size_t len);
static void check_truncations(const GoldenFile *file, const uint8 *batch, size_t len);
static void check_bit_flips(const GoldenFile *file, const uint8 *batch, size_t len);
static void check_status_texts(void);


void
test_batch(void)
{
	int			i;

	check_vectors();
	check_sarama_record();
	check_marker_record();
	check_set_offset();
	check_headers();
	check_payloads();
	check_wrapping_timestamp();
	check_record_sizes();
	check_status_texts();
	for (i = 0; i < golden_file_count; i++)
		check_golden(&golden_files[i]);
}

static uint8 *
vector_bytes(const VectorCase *v, size_t *len)
{
	size_t		header_len;
	size_t		payload_len;
	uint8	   *header = selftest_hex(v->header, &header_len);
	uint8	   *payload = selftest_hex(v->payload, &payload_len);
	uint8	   *batch;

	*len = header_len + payload_len;
	batch = selftest_alloc(*len);
	memcpy(batch, header, header_len);
	memcpy(batch + header_len, payload, payload_len);
	free(header);
	free(payload);
	return batch;
}

static void
check_info(const char *what, const MqBatchInfo *got, const MqBatchInfo *expected)
{
	selftest_int(got->base_offset, expected->base_offset, "%s: base offset", what);
	selftest_int(got->total_length, expected->total_length, "%s: length", what);
	selftest_int(got->leader_epoch, expected->leader_epoch, "%s: leader epoch", what);
	selftest_int(got->crc, expected->crc, "%s: crc", what);
	selftest_int(got->attributes, expected->attributes, "%s: attributes", what);
	selftest_int(got->last_offset_delta, expected->last_offset_delta, "%s: last offset delta", what);
	selftest_int(got->base_timestamp, expected->base_timestamp, "%s: base timestamp", what);
	selftest_int(got->max_timestamp, expected->max_timestamp, "%s: max timestamp", what);
	selftest_int(got->producer_id, expected->producer_id, "%s: producer id", what);
	selftest_int(got->producer_epoch, expected->producer_epoch, "%s: producer epoch", what);
	selftest_int(got->base_sequence, expected->base_sequence, "%s: base sequence", what);
	selftest_int(got->record_count, expected->record_count, "%s: record count", what);
}

/* Each vector is read as what it says, and written again to the same bytes. */
static void
check_vectors(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(vector_cases); i++)
	{
		const VectorCase *v = &vector_cases[i];
		size_t		len;
		uint8	   *batch = vector_bytes(v, &len);
		uint8	   *again = selftest_copy(batch, len);
		MqBatchInfo info;

		memset(&info, 0, sizeof(info));
		selftest_int(mq_batch_parse(batch, len, &info), MQ_BATCH_OK, "%s: parses", v->what);
		check_info(v->what, &info, &v->info);
		selftest_int(mq_batch_check_crc(batch, &info), MQ_BATCH_OK, "%s: crc is right", v->what);
		selftest_int(walk_batch(batch, len, WALK_CHECK_CRC, MAX_PAYLOAD, NULL, NULL), MQ_BATCH_OK,
					 "%s: walks", v->what);

		memset(again, 0xff, MQ_BATCH_HEADER_SIZE);
		mq_batch_seal(again, &v->info);
		selftest_bytes(again, len, batch, len, "%s: sealed to the same bytes", v->what);
		free(batch);
		free(again);
	}
}

/* The record of the vector, field by field, and encoded again. */
static void
check_sarama_record(void)
{
	static const uint8 key[] = {1, 2, 3, 4};
	static const uint8 value[] = {5, 6, 7};
	static const uint8 header_key[] = {8, 9, 10};
	static const uint8 header_value[] = {11, 12};
	uint8		headers[16];
	uint8		buffer[64];
	MqRecord	record = {key, 4, value, 3, headers, 0, 1, 0, 0};
	size_t		len;
	uint8	   *expected = selftest_hex(SARAMA_RECORD, &len);
	uint8	   *end;

	end = mq_batch_put_header(headers, header_key, 3, header_value, 2);
	record.headers_len = (int32) (end - headers);
	selftest_int(mq_batch_header_size(3, 2), record.headers_len, "size of a header");
	selftest_int(mq_batch_header_size(3, -1), 5, "size of a header with null value");
	end = mq_batch_put_record(buffer, &record, 5, 0);
	selftest_bytes(buffer, end - buffer, expected, len, "record with a header");
	selftest_int(mq_batch_record_size(&record, 5, 0), len, "size of a record with a header");
	free(expected);
}

/* A marker's key is version and type, its value version and coordinator epoch. */
static void
check_marker_record(void)
{
	size_t		len;
	uint8	   *batch = vector_bytes(&vector_cases[3], &len);
	MqBatchInfo info;
	MqBatchIter it;
	MqRecord	record;
	MqBatchStatus status;
	MqReader	r;

	selftest_int(mq_batch_parse(batch, len, &info), MQ_BATCH_OK, "marker parses");
	mq_batch_iter(&it, &info, batch + MQ_BATCH_HEADER_SIZE, len - MQ_BATCH_HEADER_SIZE);
	selftest_ok(mq_batch_next(&it, &record, &status), "marker has a record");
	selftest_int(record.offset, 300, "marker's offset");
	selftest_int(record.timestamp, INT64CONST(1700000000000), "marker's timestamp");
	mq_bytes_reader(&r, record.key, record.key_len);
	selftest_int(mq_bytes_get_i16(&r), 0, "marker's key version");
	selftest_int(mq_bytes_get_i16(&r), 1, "marker's type is COMMIT");
	mq_bytes_reader(&r, record.value, record.value_len);
	selftest_int(mq_bytes_get_i16(&r), 0, "marker's value version");
	selftest_int(mq_bytes_get_i32(&r), 7, "marker's coordinator epoch");
	selftest_int(record.header_count, 0, "marker has no headers");
	selftest_ok(!mq_batch_next(&it, &record, &status) && status == MQ_BATCH_OK, "marker has one record");
	selftest_ok(!mq_batch_next(&it, &record, &status) && status == MQ_BATCH_OK, "the end stays the end");
	free(batch);
}

static void
check_set_offset(void)
{
	size_t		len;
	uint8	   *batch = vector_bytes(&vector_cases[2], &len);
	MqBatchInfo info;

	mq_batch_set_offset(batch, INT64CONST(1234567890123), 9);
	selftest_int(mq_batch_parse(batch, len, &info), MQ_BATCH_OK, "moved batch parses");
	selftest_int(info.base_offset, INT64CONST(1234567890123), "moved batch's offset");
	selftest_int(info.leader_epoch, 9, "moved batch's leader epoch");
	selftest_int(mq_batch_check_crc(batch, &info), MQ_BATCH_OK, "moved batch's crc still holds");
	free(batch);
}

static void
check_headers(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(header_cases); i++)
	{
		const HeaderCase *c = &header_cases[i];
		size_t		len;
		size_t		patch_len;
		uint8	   *batch = vector_bytes(&vector_cases[2], &len);
		uint8	   *patch = selftest_hex(c->hex, &patch_len);
		MqBatchInfo info;

		memcpy(batch + c->position, patch, patch_len);
		selftest_int(mq_batch_parse(batch, len, &info), c->expected, "header: %s", c->what);
		free(batch);
		free(patch);
	}
}

static void
check_payloads(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(payload_cases); i++)
	{
		const PayloadCase *c = &payload_cases[i];
		size_t		len;
		uint8	   *bytes = selftest_hex(c->hex, &len);
		uint8	   *payload = selftest_copy(bytes, len);
		MqBatchInfo info = {0};
		MqBatchIter it;
		MqRecord	record;
		MqBatchStatus status;

		info.record_count = c->record_count;
		info.last_offset_delta = c->last_offset_delta;
		mq_batch_iter(&it, &info, payload, len);
		while (mq_batch_next(&it, &record, &status))
			;
		selftest_int(status, c->expected, "record: %s", c->what);
		selftest_ok(!mq_batch_next(&it, &record, &status) && status == c->expected,
					"record: %s: asked again", c->what);
		free(bytes);
		free(payload);
	}
}

/* Timestamps of a hostile batch wrap around and do no harm. */
static void
check_wrapping_timestamp(void)
{
	uint8		payload[64];
	uint8	   *end;
	MqRecord	record = {NULL, -1, NULL, -1, NULL, 0, 0, 0, 0};
	MqBatchInfo info = {0};
	MqBatchIter it;
	MqBatchStatus status;

	end = mq_batch_put_record(payload, &record, PG_INT64_MAX, 0);
	info.base_timestamp = PG_INT64_MAX;
	info.record_count = 1;
	mq_batch_iter(&it, &info, payload, end - payload);
	selftest_ok(mq_batch_next(&it, &record, &status), "record with the largest timestamp delta");
	selftest_int(record.timestamp, -2, "its timestamp wraps");
}

/* What is foretold is what is written, at each change of a length's length. */
static void
check_record_sizes(void)
{
	static const int32 lengths[] = {-1, 0, 1, 55, 56, 63, 64, 8000, 8191, 8192, 70000};
	static const int64 ts_deltas[] = {0, -1, 63, 64, -65, 8192, INT64CONST(1) << 40, PG_INT64_MIN, PG_INT64_MAX};
	static const int32 offset_deltas[] = {0, 63, 64, 8191, 8192, PG_INT32_MAX};
	static const uint8 some = 0;
	MqRecord	huge = {&some, PG_INT32_MAX, &some, PG_INT32_MAX, &some, PG_INT32_MAX, 1, 0, 0};
	int			failures = 0;
	int			k;
	int			v;
	int			t;
	int			o;

	for (k = 0; k < (int) lengthof(lengths); k++)
		for (v = 0; v < (int) lengthof(lengths); v++)
		{
			for (t = 0; t < (int) lengthof(ts_deltas); t++)
				failures += !round_trip(lengths[k], lengths[v], ts_deltas[t], 0);
			for (o = 0; o < (int) lengthof(offset_deltas); o++)
				failures += !round_trip(lengths[k], lengths[v], 0, offset_deltas[o]);
		}
	selftest_int(failures, 0, "records of all sizes are written and read");
	selftest_int(mq_batch_record_size(&huge, 0, 0), INT64CONST(3) * PG_INT32_MAX + 19,
				 "size of an impossible record does not wrap");
}

static bool
round_trip(int32 key_len, int32 value_len, int64 ts_delta, int32 offset_delta)
{
	MqRecord	record = {0};
	MqRecord	decoded;
	MqBatchInfo info = {0};
	MqBatchIter it;
	MqBatchStatus status;
	uint8	   *key = selftest_alloc(Max(key_len, 0));
	uint8	   *value = selftest_alloc(Max(value_len, 0));
	uint8	   *buffer;
	size_t		size;
	bool		same;

	memset(key, 'k', Max(key_len, 0));
	memset(value, 'v', Max(value_len, 0));
	record.key = key_len >= 0 ? key : NULL;
	record.key_len = key_len;
	record.value = value_len >= 0 ? value : NULL;
	record.value_len = value_len;
	record.timestamp = ts_delta;
	record.offset = offset_delta;
	size = mq_batch_record_size(&record, ts_delta, offset_delta);
	buffer = selftest_alloc(size);
	same = mq_batch_put_record(buffer, &record, ts_delta, offset_delta) == buffer + size;

	info.record_count = 1;
	info.last_offset_delta = offset_delta;
	mq_batch_iter(&it, &info, buffer, size);
	same = same && mq_batch_next(&it, &decoded, &status) && same_record(&record, &decoded) &&
		!mq_batch_next(&it, &decoded, &status) && status == MQ_BATCH_OK;
	free(key);
	free(value);
	free(buffer);
	return same;
}

typedef struct GoldenWalk
{
	const GoldenFile *file;
	int			next;
	int			failures;
} GoldenWalk;

static void
check_golden(const GoldenFile *file)
{
	size_t		len;
	uint8	   *batch = selftest_golden_file(file->name, &len);
	GoldenWalk	walk = {file, 0, 0};
	MqBatchInfo expected;
	MqBatchInfo info;

	golden_info(file->set, &expected);
	selftest_int(mq_batch_parse(batch, len, &info), MQ_BATCH_OK, "%s parses", file->name);
	expected.total_length = (int32) len;
	expected.crc = info.crc;
	expected.attributes = file->attributes | file->codec;
	check_info(file->name, &info, &expected);
	selftest_int(walk_batch(batch, len, WALK_CHECK_CRC, MAX_PAYLOAD, compare_record, &walk), MQ_BATCH_OK,
				 "%s decodes", file->name);
	selftest_int(walk.next, expected.record_count, "%s has all records", file->name);
	selftest_int(walk.failures, 0, "%s has the right records", file->name);

	if (file->codec == MQ_CODEC_NONE)
		check_rebuild(file, batch, len);
	check_truncations(file, batch, len);
	check_bit_flips(file, batch, len);
	free(batch);
}

static void
compare_record(void *context, const MqBatchInfo *info, const MqRecord *record)
{
	GoldenWalk *walk = (GoldenWalk *) context;
	MqRecord	expected;

	golden_record(walk->file->set, walk->next, &expected);
	if (walk->file->attributes & MQ_BATCH_LOG_APPEND_TIME)
		expected.timestamp = info->max_timestamp;
	if (!same_record(record, &expected))
	{
		selftest_note("record %d differs", walk->next);
		walk->failures++;
	}
	walk->next++;
}

static bool
same_bytes(const uint8 *a, int32 a_len, const uint8 *b, int32 b_len)
{
	if (a == NULL || b == NULL)
		return a == b && a_len == -1 && b_len == -1;
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

static bool
same_record(const MqRecord *a, const MqRecord *b)
{
	return a->offset == b->offset && a->timestamp == b->timestamp &&
		a->header_count == b->header_count && a->headers_len == b->headers_len &&
		same_bytes(a->key, a->key_len, b->key, b->key_len) &&
		same_bytes(a->value, a->value_len, b->value, b->value_len) &&
		(a->headers_len == 0 || memcmp(a->headers, b->headers, a->headers_len) == 0);
}

/* From the table alone, the encoder makes the bytes that Kafka's client made. */
static void
check_rebuild(const GoldenFile *file, const uint8 *batch, size_t len)
{
	uint8	   *built = selftest_alloc(len);
	uint8	   *p = built + MQ_BATCH_HEADER_SIZE;
	MqBatchInfo info;
	MqRecord	record;
	int			i;

	golden_info(file->set, &info);
	for (i = 0; i < info.record_count; i++)
	{
		int64		ts_delta;

		golden_record(file->set, i, &record);
		ts_delta = record.timestamp - info.base_timestamp;
		if ((size_t) (built + len - p) < mq_batch_record_size(&record, ts_delta, i))
			break;
		p = mq_batch_put_record(p, &record, ts_delta, i);
	}
	info.total_length = (int32) (p - built);
	info.attributes = file->attributes;
	mq_batch_seal(built, &info);
	selftest_bytes(built, p - built, batch, len, "%s is rebuilt to the same bytes", file->name);
	free(built);
}

/*
 * Cut at every length, a batch is refused as it stands, and also when its
 * length field is made to agree and nobody looks at the CRC.
 */
static void
check_truncations(const GoldenFile *file, const uint8 *batch, size_t len)
{
	size_t		step = len > 8192 ? 97 : 1;
	size_t		cut;
	int			failures = 0;

	for (cut = 0; cut < len; cut += step)
	{
		uint8	   *copy = selftest_copy(batch, cut);

		if (walk_batch(copy, cut, WALK_CHECK_CRC, MAX_PAYLOAD, NULL, NULL) != MQ_BATCH_TOO_SHORT)
			failures++;
		if (cut >= MQ_BATCH_HEADER_SIZE)
		{
			mq_bytes_put_i32(copy + 8, (int32) cut - MQ_BATCH_LOG_OVERHEAD);
			if (walk_batch(copy, cut, WALK_IGNORE_CRC, MAX_PAYLOAD, NULL, NULL) == MQ_BATCH_OK)
				failures++;
		}
		free(copy);
	}
	selftest_int(failures, 0, "%s is refused at every truncation", file->name);
}

/*
 * With one bit flipped a batch is refused, except in the two fields that the
 * CRC leaves out.  With the CRC ignored anything may come out, inside bounds.
 */
static void
check_bit_flips(const GoldenFile *file, const uint8 *batch, size_t len)
{
	size_t		step = len > 8192 ? 1013 : 1;
	size_t		bit;
	uint8	   *copy = selftest_copy(batch, len);
	int			failures = 0;

	for (bit = 0; bit < len * 8; bit += step)
	{
		size_t		byte = bit / 8;
		bool		outside = byte < 8 || (byte >= 12 && byte < 16);

		copy[byte] ^= (uint8) (1 << (bit % 8));
		if (walk_batch(copy, len, WALK_CHECK_CRC, MAX_PAYLOAD, NULL, NULL) == MQ_BATCH_OK && !outside)
			failures++;
		(void) walk_batch(copy, len, WALK_IGNORE_CRC, MAX_PAYLOAD, NULL, NULL);
		copy[byte] ^= (uint8) (1 << (bit % 8));
	}
	selftest_int(failures, 0, "%s is refused with any bit flipped", file->name);
	free(copy);
}

static void
check_status_texts(void)
{
	int			status;
	const char *unknown = mq_batch_status_text((MqBatchStatus) 99);

	for (status = MQ_BATCH_OK; status <= MQ_BATCH_NO_MEMORY; status++)
		selftest_ok(strcmp(mq_batch_status_text((MqBatchStatus) status), unknown) != 0,
					"status %d has a text", status);
}
