/*
 * test_codec.c
 *	  storage/mq_codec: LZ4 as Kafka writes it; all codecs inside their caps.
 *
 * That golden batches of every codec decode to the right records is checked
 * by test_batch.c.
 */
#include "postgres.h"

#include "storage/mq_codec.h"

#include "golden.h"
#include "mq_selftest.h"
#include "walk.h"

#define MAX_PAYLOAD		(128 * 1024)

typedef struct BadCase
{
	const char *what;
	MqCodec		codec;
	const char *hex;
	MqBatchStatus expected;
} BadCase;

#define XERIAL_HEADER	"82534e4150505900 00000001 00000001"
#define LZ4_HEADER		"04224d18 6040 82"

/* gzip of nothing */
#define EMPTY_GZIP		"1f8b0800000000000003 0300 00000000 00000000"

static const BadCase bad_cases[] = {
	{"plain nothing", MQ_CODEC_NONE, "", MQ_BATCH_OK},
	{"plain bytes over the cap", MQ_CODEC_NONE, "0001020304050607", MQ_BATCH_TOO_LARGE},
	{"unknown codec", (MqCodec) 5, "00", MQ_BATCH_BAD_CODEC},

	{"gzip of nothing", MQ_CODEC_GZIP, EMPTY_GZIP, MQ_BATCH_OK},
	{"gzip of nothing, twice", MQ_CODEC_GZIP, EMPTY_GZIP EMPTY_GZIP, MQ_BATCH_OK},
	{"gzip, no bytes", MQ_CODEC_GZIP, "", MQ_BATCH_BAD_COMPRESSION},
	{"gzip, magic only", MQ_CODEC_GZIP, "1f8b", MQ_BATCH_BAD_COMPRESSION},
	{"gzip with a tail", MQ_CODEC_GZIP, EMPTY_GZIP "00", MQ_BATCH_BAD_COMPRESSION},
	{"zlib instead of gzip", MQ_CODEC_GZIP, "789c 0300 00000001", MQ_BATCH_BAD_COMPRESSION},
	{"gzip with a wrong checksum", MQ_CODEC_GZIP, "1f8b0800000000000003 0300 00000001 00000000",
	MQ_BATCH_BAD_COMPRESSION},
	{"gzip of too much", MQ_CODEC_GZIP, "1f8b0800000000000003 4b4c4c4c4c4c0400 2ef9aa96 07000000", MQ_BATCH_TOO_LARGE},

	{"snappy of nothing", MQ_CODEC_SNAPPY, "00", MQ_BATCH_OK},
	{"snappy literal", MQ_CODEC_SNAPPY, "03 08 616263", MQ_BATCH_OK},
	{"snappy, no bytes", MQ_CODEC_SNAPPY, "", MQ_BATCH_BAD_COMPRESSION},
	{"snappy that says 4 GB", MQ_CODEC_SNAPPY, "ffffffff0f 08 616263", MQ_BATCH_TOO_LARGE},
	{"snappy with an endless length", MQ_CODEC_SNAPPY, "ffffffffff 08 616263", MQ_BATCH_BAD_COMPRESSION},
	{"snappy with less than it says", MQ_CODEC_SNAPPY, "04 08 616263", MQ_BATCH_BAD_COMPRESSION},
	{"snappy with more than it says", MQ_CODEC_SNAPPY, "02 08 616263", MQ_BATCH_BAD_COMPRESSION},
	{"snappy copy from before the beginning", MQ_CODEC_SNAPPY, "04 01 01", MQ_BATCH_BAD_COMPRESSION},
	{"xerial without blocks", MQ_CODEC_SNAPPY, XERIAL_HEADER, MQ_BATCH_OK},
	{"xerial block", MQ_CODEC_SNAPPY, XERIAL_HEADER "00000005 03 08 616263", MQ_BATCH_OK},
	{"xerial streams", MQ_CODEC_SNAPPY, XERIAL_HEADER "00000003 01 00 61" XERIAL_HEADER "00000003 01 00 61",
	MQ_BATCH_OK},
	{"xerial magic only", MQ_CODEC_SNAPPY, "82534e4150505900", MQ_BATCH_BAD_COMPRESSION},
	{"xerial block of nothing", MQ_CODEC_SNAPPY, XERIAL_HEADER "00000000", MQ_BATCH_BAD_COMPRESSION},
	{"xerial block behind the end", MQ_CODEC_SNAPPY, XERIAL_HEADER "00000006 03 08 616263", MQ_BATCH_BAD_COMPRESSION},
	{"xerial block of negative length", MQ_CODEC_SNAPPY, XERIAL_HEADER "ffffffff 03 08 616263",
	MQ_BATCH_BAD_COMPRESSION},
	{"xerial with half a length", MQ_CODEC_SNAPPY, XERIAL_HEADER "0000", MQ_BATCH_BAD_COMPRESSION},
	{"xerial blocks over the cap", MQ_CODEC_SNAPPY,
	XERIAL_HEADER "00000005 03 08 616263 00000005 03 08 616263", MQ_BATCH_TOO_LARGE},

	{"lz4 of nothing", MQ_CODEC_LZ4, LZ4_HEADER "00000000", MQ_BATCH_OK},
	{"lz4 stored block", MQ_CODEC_LZ4, LZ4_HEADER "03000080 616263 00000000", MQ_BATCH_OK},
	{"lz4, no bytes", MQ_CODEC_LZ4, "", MQ_BATCH_BAD_COMPRESSION},
	{"lz4 without end mark", MQ_CODEC_LZ4, LZ4_HEADER "03000080 616263", MQ_BATCH_BAD_COMPRESSION},
	{"lz4 with a wrong header checksum", MQ_CODEC_LZ4, "04224d18 6040 83 00000000", MQ_BATCH_BAD_COMPRESSION},
	{"lz4 with a tail", MQ_CODEC_LZ4, LZ4_HEADER "00000000 00", MQ_BATCH_BAD_COMPRESSION},
	{"lz4 block over the block size", MQ_CODEC_LZ4, LZ4_HEADER "01000180 616263", MQ_BATCH_BAD_COMPRESSION},
	{"lz4 copy from before the beginning", MQ_CODEC_LZ4, LZ4_HEADER "05000000 0a 6161 0900 00000000",
	MQ_BATCH_BAD_COMPRESSION},
	{"lz4 over the cap", MQ_CODEC_LZ4, LZ4_HEADER "07000080 61626364656667 00000000", MQ_BATCH_TOO_LARGE},

	{"zstd of nothing", MQ_CODEC_ZSTD, "28b52ffd 20 00 010000", MQ_BATCH_OK},
	{"zstd raw block", MQ_CODEC_ZSTD, "28b52ffd 20 03 190000 616263", MQ_BATCH_OK},
	{"zstd skippable frame only", MQ_CODEC_ZSTD, "502a4d18 00000000", MQ_BATCH_OK},
	{"zstd, no bytes", MQ_CODEC_ZSTD, "", MQ_BATCH_BAD_COMPRESSION},
	{"zstd, magic only", MQ_CODEC_ZSTD, "28b52ffd", MQ_BATCH_BAD_COMPRESSION},
	{"zstd of before 1.0", MQ_CODEC_ZSTD, "27b52ffd 20 03 190000 616263", MQ_BATCH_BAD_COMPRESSION},
	{"zstd with a tail", MQ_CODEC_ZSTD, "28b52ffd 20 03 190000 616263 00", MQ_BATCH_BAD_COMPRESSION},
	{"zstd skippable frame behind the end", MQ_CODEC_ZSTD, "502a4d18 01000000", MQ_BATCH_BAD_COMPRESSION},
	{"zstd that says 8 EB", MQ_CODEC_ZSTD, "28b52ffd e0 ffffffffffffff7f 190000 616263", MQ_BATCH_BAD_COMPRESSION},
	{"zstd over the cap", MQ_CODEC_ZSTD, "28b52ffd 20 07 390000 61626364656667", MQ_BATCH_TOO_LARGE}
};

/* Cap of the cases above. */
#define BAD_CASE_CAP	5

static void check_bad(void);
static void check_caps(const GoldenFile *file);
static void check_lz4_frame(void);
static void check_lz4_sizes(void);
static bool lz4_round_trip(const uint8 *data, size_t len);
static void fill(uint8 *data, size_t len, uint32 symbols);


void
test_codec(void)
{
	int			i;

	check_bad();
	check_lz4_frame();
	check_lz4_sizes();
	for (i = 0; i < golden_file_count; i++)
		check_caps(&golden_files[i]);
}

static void
check_bad(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(bad_cases); i++)
	{
		const BadCase *c = &bad_cases[i];
		size_t		len;
		uint8	   *bytes = selftest_hex(c->hex, &len);
		uint8	   *src = selftest_copy(bytes, len);
		size_t		size = BAD_CASE_CAP;
		MqBatchStatus status;

		free(walk_decompress(c->codec, src, len, &size, &status));
		selftest_int(status, c->expected, "%s", c->what);
		free(bytes);
		free(src);
	}
}

/* The payload's exact size is enough; one byte less is too large, whatever the codec. */
static void
check_caps(const GoldenFile *file)
{
	size_t		len;
	uint8	   *batch = selftest_golden_file(file->name, &len);
	const uint8 *src = batch + MQ_BATCH_HEADER_SIZE;
	size_t		full = MAX_PAYLOAD;
	size_t		size;
	MqBatchStatus status;

	len -= MQ_BATCH_HEADER_SIZE;
	free(walk_decompress(file->codec, src, len, &full, &status));
	selftest_int(status, MQ_BATCH_OK, "%s decompresses", file->name);
	size = full;
	free(walk_decompress(file->codec, src, len, &size, &status));
	selftest_ok(status == MQ_BATCH_OK && size == full, "%s fits exactly", file->name);
	size = full - 1;
	free(walk_decompress(file->codec, src, len, &size, &status));
	selftest_int(status, MQ_BATCH_TOO_LARGE, "%s does not fit into a byte less", file->name);
	size = 0;
	free(walk_decompress(file->codec, src, len, &size, &status));
	selftest_int(status, MQ_BATCH_TOO_LARGE, "%s does not fit into nothing", file->name);
	free(batch);
}

/* What Kafka's client would have written around one incompressible and one compressible block. */
static void
check_lz4_frame(void)
{
	static const uint8 zeros[100] = {0};
	uint8		buffer[256];
	size_t		len;
	size_t		got;
	uint8	   *expected = selftest_hex(LZ4_HEADER "03000080 616263 00000000", &len);

	got = mq_codec_lz4_compress((const uint8 *) "abc", 3, buffer, sizeof(buffer));
	selftest_bytes(buffer, got, expected, len, "lz4 frame of a stored block");
	free(expected);

	expected = selftest_hex(LZ4_HEADER "00000000", &len);
	got = mq_codec_lz4_compress(zeros, 0, buffer, sizeof(buffer));
	selftest_bytes(buffer, got, expected, len, "lz4 frame of nothing");

	got = mq_codec_lz4_compress(zeros, sizeof(zeros), buffer, sizeof(buffer));
	selftest_ok(got > 0 && got < 40, "lz4 shrinks zeros");
	selftest_bytes(buffer, 7, expected, 7, "lz4 frame header");
	selftest_ok((buffer[10] & 0x80) == 0, "lz4 block is compressed");
	free(expected);
}

/* Around the block size, with data that shrinks and data that does not. */
static void
check_lz4_sizes(void)
{
	static const size_t lengths[] = {0, 1, 2, 12, 13, 65535, 65536, 65537, 131071, 131072, 131073, 300000};
	int			i;

	for (i = 0; i < (int) lengthof(lengths); i++)
	{
		uint8	   *data = selftest_alloc(lengths[i]);

		fill(data, lengths[i], 2);
		selftest_ok(lz4_round_trip(data, lengths[i]), "lz4 of %zu bytes that shrink", lengths[i]);
		fill(data, lengths[i], 256);
		selftest_ok(lz4_round_trip(data, lengths[i]), "lz4 of %zu bytes that do not shrink", lengths[i]);
		free(data);
	}
}

/* Into its bound, into what it needs, and not into a byte less. */
static bool
lz4_round_trip(const uint8 *data, size_t len)
{
	size_t		bound = mq_codec_lz4_bound(len);
	uint8	   *frame = selftest_alloc(bound);
	size_t		frame_len = mq_codec_lz4_compress(data, len, frame, bound);
	size_t		size = len;
	MqBatchStatus status;
	uint8	   *back = walk_decompress(MQ_CODEC_LZ4, frame, frame_len, &size, &status);
	bool		good = frame_len > 0 && frame_len <= bound && status == MQ_BATCH_OK && size == len &&
	(len == 0 || memcmp(back, data, len) == 0);
	size_t		room;

	free(back);
	free(frame);
	for (room = 0; room < frame_len; room += Max(frame_len / 50, 1))
	{
		frame = selftest_alloc(room);
		size = mq_codec_lz4_compress(data, len, frame, room);
		free(frame);
		if (size > room)
			good = false;
	}
	return good;
}

static void
fill(uint8 *data, size_t len, uint32 symbols)
{
	uint32		state = 1;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		state = state * 1103515245U + 12345U;
		data[i] = (uint8) ((state >> 16) % symbols);
	}
}
