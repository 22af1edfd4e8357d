/*
 * test_append_plain.c
 *	  storage/mq_append_plain: what is packed is unpacked to the same bytes,
 *	  what is not plain is refused, and so is what is no record.
 */
#include "postgres.h"

#include "storage/mq_append_plain.h"

#include "golden.h"
#include "mq_selftest.h"

#define FIXED_SIZE	70

/* Header fields of a sealed batch, where it stands in the log, and the options it needs. */
typedef struct PlainCase
{
	const char *what;
	int16		attributes;
	int32		count;
	int32		records;		/* bytes behind the header */
	MqTimestamp base_timestamp;
	MqTimestamp max_timestamp;
	MqTimestamp partition_timestamp;
	MqOffset	base_offset;
	MqOffset	segment;
	MqEpoch		epoch;
	uint64		fxid;
	uint8		flags;
} PlainCase;

/* Changes one field of a header that was plain before. */
typedef struct OtherCase
{
	const char *what;
	int			position;
	const char *hex;
} OtherCase;

#define MANY	MQ_APPEND_PLAIN_MANY
#define SPAN	MQ_APPEND_PLAIN_SPAN
#define LATE	MQ_APPEND_PLAIN_LATE
#define NOW		INT64CONST(1700000000000)

static const PlainCase plain_cases[] = {
	{"one record", 0, 1, 109, NOW, NOW, NOW, 5, 0, 0, 749, 0},
	{"one byte", 0, 1, 1, NOW, NOW, NOW, 0, 0, 0, 749, 0},
	{"no transaction", 0, 1, 40, NOW, NOW, NOW, 7, 7, 1, 0, 0},
	{"many records", 0, 100, 700, NOW, NOW, NOW, 5, 0, 0, 749, MANY},
	{"two records, two times", 0, 2, 20, NOW, NOW + 1, NOW + 1, 5, 0, 0, 749, MANY | SPAN},
	{"one record, the partition has seen a later one", 0, 1, 30, NOW, NOW, NOW + 1, 5, 0, 0, 749, LATE},
	{"the time of the append", MQ_BATCH_LOG_APPEND_TIME, 1, 30, NOW, NOW + 9, NOW + 9, 5, 0, 0, 749, SPAN},
	{"all options", 0, 3, 30, NOW, NOW + 1, NOW + 2, 5, 0, 0, 749, MANY | SPAN | LATE},
	{"no time and none before", 0, 1, 30, MQ_NO_TIMESTAMP, MQ_NO_TIMESTAMP, MQ_NO_TIMESTAMP, 5, 0, 0, 749, 0},
	{"max timestamp below the base", 0, 1, 30, NOW, NOW - 1, NOW, 5, 0, 0, 749, SPAN | LATE},
	{"smallest and largest times", 0, 2, 30, PG_INT64_MIN, PG_INT64_MAX, PG_INT64_MAX, 5, 0, 0, 749, MANY | SPAN},
	{"gzip", 1, 9, 64, NOW, NOW, NOW, 5, 0, 0, 749, MANY},
	{"snappy", 2, 9, 64, NOW, NOW, NOW, 5, 0, 0, 749, MANY},
	{"lz4", 3, 9, 64, NOW, NOW, NOW, 5, 0, 0, 749, MANY},
	{"zstd", 4, 9, 64, NOW, NOW, NOW, 5, 0, 0, 749, MANY},
	{"lz4 and the time of the append", 3 | MQ_BATCH_LOG_APPEND_TIME, 9, 64, NOW, NOW + 1, NOW + 1, 5, 0, 0, 749, MANY | SPAN},
	{"all bits of the lower byte", 0xff, 1, 64, NOW, NOW, NOW, 5, 0, 0, 749, 0},
	{"largest numbers", 0, PG_INT32_MAX, 64, NOW, NOW, NOW, PG_INT64_MAX - PG_INT32_MAX,
	PG_INT64_MAX - PG_INT32_MAX - PG_UINT32_MAX, PG_INT32_MAX, PG_UINT64_MAX, MANY},
	{"negative epoch", 0, 1, 64, NOW, NOW, NOW, 5, 0, -1, 749, 0}
};

/* On top of a plain batch of two records. */
static const OtherCase other_cases[] = {
	{"a byte more than its length", 8, "00000042"},
	{"a byte less than its length", 8, "00000040"},
	{"another magic", 16, "03"},
	{"a bit of the upper attributes", 21, "01"},
	{"offsets without records", 23, "00000002"},
	{"more records than offsets", 57, "00000003"},
	{"a producer id", 43, "0000000000001092"},
	{"the first byte of a producer id", 43, "fe"},
	{"the last byte of a producer id", 50, "fe"},
	{"a producer epoch", 51, "0003"},
	{"a base sequence", 53, "00000064"},
	{"the last byte of a base sequence", 56, "7f"}
};

static uint8 *make_batch(const PlainCase *c, xl_mq_append *xlrec);
static uint32 pack(const xl_mq_append *xlrec, const uint8 *batch, uint8 **record);
static bool unpacks(const uint8 *record, uint32 len);
static bool unpacks_to(const uint8 *record, uint32 len, const xl_mq_append *xlrec, const uint8 *batch);
static void check_plain(const PlainCase *c);
static void check_others(void);
static bool packs(const xl_mq_append *like, const MqBatchInfo *info);
static void check_counts(void);
static void check_largest(void);
static void check_golden_batches(void);
static void check_cut(const uint8 *record, uint32 len, uint32 front);
static void check_flips(const uint8 *record, uint32 len);
static void check_layout(void);


void
test_append_plain(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(plain_cases); i++)
		check_plain(&plain_cases[i]);
	check_others();
	check_counts();
	check_largest();
	check_golden_batches();
	check_layout();
}

/* A sealed batch and its long record; the records themselves are any bytes. */
static uint8 *
make_batch(const PlainCase *c, xl_mq_append *xlrec)
{
	uint8	   *batch = selftest_alloc(MQ_BATCH_HEADER_SIZE + c->records);
	MqBatchInfo info = {0};
	int			i;

	for (i = 0; i < c->records; i++)
		batch[MQ_BATCH_HEADER_SIZE + i] = (uint8) (i * 7);
	info.total_length = MQ_BATCH_HEADER_SIZE + c->records;
	info.attributes = c->attributes;
	info.last_offset_delta = c->count - 1;
	info.base_timestamp = c->base_timestamp;
	info.max_timestamp = c->max_timestamp;
	info.producer_id = info.producer_epoch = info.base_sequence = -1;
	info.record_count = c->count;
	mq_batch_seal(batch, &info);
	mq_batch_set_offset(batch, c->base_offset, c->epoch);

	memset(xlrec, 0, sizeof(*xlrec));
	xlrec->key.dboid = 0x01020304;
	xlrec->key.partition = 7;
	for (i = 0; i < UUID_LEN; i++)
		xlrec->key.topic.data[i] = (unsigned char) (0xa0 + i);
	xlrec->fxid = c->fxid;
	xlrec->segment = c->segment;
	xlrec->base_offset = c->base_offset;
	xlrec->max_timestamp = c->partition_timestamp;
	xlrec->position = 0x21222324;
	xlrec->number = 0x31323334;
	xlrec->length = info.total_length;
	xlrec->count = c->count;
	xlrec->epoch = c->epoch;
	return batch;
}

/* The whole record as it stands in WAL; returns its front's size, 0 when the batch is not plain. */
static uint32
pack(const xl_mq_append *xlrec, const uint8 *batch, uint8 **record)
{
	xl_mq_append_plain plain;
	uint32		front;

	memset(&plain, 0x55, sizeof(plain));
	front = mq_append_plain_pack(xlrec, batch, &plain);
	*record = NULL;
	if (front == 0)
		return 0;
	*record = selftest_alloc(front + xlrec->length - MQ_BATCH_HEADER_SIZE);
	memcpy(*record, &plain, front);
	memcpy(*record + front, batch + MQ_BATCH_HEADER_SIZE, xlrec->length - MQ_BATCH_HEADER_SIZE);
	return front;
}

static bool
unpacks(const uint8 *record, uint32 len)
{
	xl_mq_append xlrec;
	uint8		header[MQ_BATCH_HEADER_SIZE];
	const uint8 *rest;

	return mq_append_plain_unpack(record, len, &xlrec, header, &rest);
}

static bool
unpacks_to(const uint8 *record, uint32 len, const xl_mq_append *xlrec, const uint8 *batch)
{
	xl_mq_append got;
	uint8		header[MQ_BATCH_HEADER_SIZE];
	const uint8 *rest;

	memset(&got, 0x55, sizeof(got));
	memset(header, 0x55, sizeof(header));
	return mq_append_plain_unpack(record, len, &got, header, &rest) &&
		memcmp(&got, xlrec, sizeof(got)) == 0 &&
		memcmp(header, batch, sizeof(header)) == 0 &&
		rest + (xlrec->length - MQ_BATCH_HEADER_SIZE) == record + len &&
		memcmp(rest, batch + MQ_BATCH_HEADER_SIZE, xlrec->length - MQ_BATCH_HEADER_SIZE) == 0;
}

static void
check_plain(const PlainCase *c)
{
	xl_mq_append xlrec;
	uint8	   *batch = make_batch(c, &xlrec);
	uint8	   *record;
	uint32		front = pack(&xlrec, batch, &record);
	uint32		expected = FIXED_SIZE;

	expected += c->flags & MANY ? 4 : 0;
	expected += c->flags & SPAN ? 8 : 0;
	expected += c->flags & LATE ? 8 : 0;
	selftest_int(front, expected, "%s: bytes before the records", c->what);
	if (front > 0)
	{
		selftest_int(((xl_mq_append_plain *) record)->flags, c->flags, "%s: flags", c->what);
		selftest_ok(unpacks_to(record, front + c->records, &xlrec, batch), "%s: comes back as it was", c->what);
		check_cut(record, front + c->records, front);
		check_flips(record, front + c->records);
	}
	free(record);
	free(batch);
}

/* Each byte of the header that cannot be made again from the record. */
static void
check_others(void)
{
	static const PlainCase two = {"", 0, 2, 16, NOW, NOW, NOW, 5, 0, 0, 749, MANY};
	xl_mq_append xlrec;
	uint8	   *record;
	int			i;

	for (i = 0; i < (int) lengthof(other_cases); i++)
	{
		const OtherCase *c = &other_cases[i];
		uint8	   *batch = make_batch(&two, &xlrec);
		size_t		len;
		uint8	   *patch = selftest_hex(c->hex, &len);

		memcpy(batch + c->position, patch, len);
		selftest_int(pack(&xlrec, batch, &record), 0, "%s is not plain", c->what);
		free(record);
		free(patch);
		free(batch);
	}
}

/* Seals a batch of a few bytes that says so and packs it. */
static bool
packs(const xl_mq_append *like, const MqBatchInfo *info)
{
	uint8		batch[MQ_BATCH_HEADER_SIZE + 1] = {0};
	xl_mq_append xlrec = *like;
	xl_mq_append_plain plain;

	mq_batch_seal(batch, info);
	mq_batch_set_offset(batch, xlrec.base_offset, xlrec.epoch);
	xlrec.length = info->total_length;
	xlrec.count = info->last_offset_delta + 1;
	return mq_append_plain_pack(&xlrec, batch, &plain) > 0;
}

/* The record's own count and length must be the header's. */
static void
check_counts(void)
{
	static const PlainCase two = {"", 0, 2, 16, NOW, NOW, NOW, 5, 0, 0, 749, MANY};
	xl_mq_append xlrec;
	xl_mq_append changed;
	xl_mq_append_plain plain;
	uint8	   *batch = make_batch(&two, &xlrec);
	MqBatchInfo none = {0};

	changed = xlrec;
	changed.count = 3;
	selftest_int(mq_append_plain_pack(&changed, batch, &plain), 0, "another count is not plain");
	changed = xlrec;
	changed.length--;
	selftest_int(mq_append_plain_pack(&changed, batch, &plain), 0, "another length is not plain");

	/* what compaction may leave: a header without records, offsets that nothing stands for */
	none.producer_id = none.producer_epoch = none.base_sequence = -1;
	none.total_length = MQ_BATCH_HEADER_SIZE;
	none.last_offset_delta = 1;
	none.record_count = 2;
	selftest_ok(!packs(&xlrec, &none), "a header alone is not plain");
	none.total_length++;
	selftest_ok(packs(&xlrec, &none), "but it is with a byte behind it");
	none.record_count = 0;
	selftest_ok(!packs(&xlrec, &none), "offsets without any record are not plain");
	none.last_offset_delta = -1;
	selftest_ok(!packs(&xlrec, &none), "nor are no offsets at all");
	free(batch);
}

/* No batch is larger than the cap, whatever a record's size says. */
static void
check_largest(void)
{
	static const PlainCase largest = {
		"the largest batch", 0, 1, MQ_MAX_BATCH_BYTES - MQ_BATCH_HEADER_SIZE, NOW, NOW, NOW, 5, 0, 0, 749, 0
	};
	xl_mq_append xlrec;
	uint8	   *batch = make_batch(&largest, &xlrec);
	uint8	   *record;
	uint32		len = pack(&xlrec, batch, &record) + largest.records;
	uint8	   *larger = selftest_alloc(len + 1);

	selftest_ok(unpacks_to(record, len, &xlrec, batch), "the largest batch comes back as it was");
	memcpy(larger, record, len);
	larger[len] = 0;
	selftest_ok(!unpacks(larger, len + 1), "a larger one is refused");
	free(larger);
	free(record);
	free(batch);
}

/* Batches of a Kafka client, in all codecs: plain unless they have a producer. */
static void
check_golden_batches(void)
{
	int			i;

	for (i = 0; i < golden_file_count; i++)
	{
		size_t		len;
		uint8	   *batch = selftest_golden_file(golden_files[i].name, &len);
		uint8	   *record;
		MqBatchInfo info;
		xl_mq_append xlrec = {0};
		uint32		front;

		if (mq_batch_parse(batch, len, &info) != MQ_BATCH_OK)
			selftest_bail_out("%s does not parse", golden_files[i].name);
		mq_batch_set_offset(batch, 1000, 3);
		xlrec.base_offset = 1000;
		xlrec.segment = 10;
		xlrec.epoch = 3;
		xlrec.length = (uint32) len;
		xlrec.count = info.record_count;
		xlrec.max_timestamp = info.max_timestamp;
		front = pack(&xlrec, batch, &record);
		selftest_int(front > 0, info.producer_id == -1, "%s: plain or not", golden_files[i].name);
		if (front > 0)
			selftest_ok(unpacks_to(record, front + len - MQ_BATCH_HEADER_SIZE, &xlrec, batch),
						"%s: comes back as it was", golden_files[i].name);
		free(record);
		free(batch);
	}
}

/* A record that is too short for its options, or has nothing behind them, is none. */
static void
check_cut(const uint8 *record, uint32 len, uint32 front)
{
	xl_mq_append xlrec;
	uint8		header[MQ_BATCH_HEADER_SIZE];
	const uint8 *rest;
	uint32		n;
	int			wrong = 0;

	for (n = 0; n < len; n++)
	{
		uint8	   *cut = selftest_copy(record, n);
		bool		got = mq_append_plain_unpack(cut, n, &xlrec, header, &rest);

		wrong += got != (n > front);
		wrong += got && (rest != cut + front || xlrec.length != n - front + MQ_BATCH_HEADER_SIZE);
		free(cut);
	}
	selftest_int(wrong, 0, "cut anywhere, it is what it still can be");
}

/* Whatever stands there, nothing outside of it is read, and what it says is possible. */
static void
check_flips(const uint8 *record, uint32 len)
{
	uint8	   *copy = selftest_copy(record, len);
	uint32		bit;
	int			wrong = 0;

	for (bit = 0; bit < len * 8; bit++)
	{
		xl_mq_append xlrec;
		uint8		header[MQ_BATCH_HEADER_SIZE];
		const uint8 *rest;

		copy[bit / 8] ^= (uint8) (1 << (bit % 8));
		if (mq_append_plain_unpack(copy, len, &xlrec, header, &rest))
			wrong += rest <= copy || rest >= copy + len ||
				xlrec.length - MQ_BATCH_HEADER_SIZE != (uint32) (copy + len - rest) ||
				xlrec.count == 0 || xlrec.count > PG_INT32_MAX ||
				xlrec.segment < 0 || xlrec.segment > xlrec.base_offset;
		copy[bit / 8] ^= (uint8) (1 << (bit % 8));
	}
	selftest_int(wrong, 0, "with any bit flipped, too");
	copy[FIXED_SIZE - 1] |= 0x08;
	selftest_ok(!unpacks(copy, len), "an unknown flag is refused");
	free(copy);
}

/* The bytes are those of the files that were written when the formats were fixed. */
static void
check_layout(void)
{
	static const PlainCase all = {
		"", 3 | MQ_BATCH_LOG_APPEND_TIME, 0x41424344, 3, INT64CONST(0x5152535455565758),
		INT64CONST(0x6162636465666768), INT64CONST(0x7172737475767778),
		INT64CONST(0x0102030415161718), INT64CONST(0x0102030405060708), 0x0b0c0d0e,
		UINT64CONST(0x8182838485868788), MANY | SPAN | LATE
	};
	xl_mq_append xlrec;
	uint8	   *batch = make_batch(&all, &xlrec);
	uint8	   *record;
	uint32		front = pack(&xlrec, batch, &record);

	selftest_pinned(&xlrec, sizeof(xlrec), "append.bin");
	selftest_pinned(record, front + all.records, "append-plain.bin");
	free(record);
	free(batch);
}
