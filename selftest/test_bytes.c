/*
 * test_bytes.c
 *	  base/mq_bytes: integers, varints, bounds, checksums.
 */
#include "postgres.h"

#include "base/mq_bytes.h"

#include "mq_selftest.h"

typedef struct VarintCase
{
	int64		value;
	const char *hex;
} VarintCase;

typedef struct BadVarintCase
{
	const char *hex;
	int			bits;			/* 32, 64 or both = 0 */
	const char *why;
} BadVarintCase;

typedef struct HashCase
{
	const char *text;
	uint32		hash;
} HashCase;

/* Those of Kafka's own tests, then each side of every length. */
static const VarintCase varint_cases[] = {
	{0, "00"}, {-1, "01"}, {1, "02"}, {63, "7e"}, {-64, "7f"}, {64, "8001"}, {-65, "8101"},
	{8191, "fe7f"}, {-8192, "ff7f"}, {8192, "808001"}, {-8193, "818001"},
	{1048575, "feff7f"}, {-1048576, "ffff7f"}, {1048576, "80808001"}, {-1048577, "81808001"},
	{134217727, "feffff7f"}, {-134217728, "ffffff7f"}, {134217728, "8080808001"}, {-134217729, "8180808001"},
	{PG_INT32_MAX, "feffffff0f"}, {PG_INT32_MIN, "ffffffff0f"}
};

static const VarintCase varlong_cases[] = {
	{INT64CONST(2147483648), "8080808010"}, {INT64CONST(-2147483649), "8180808010"},
	{INT64CONST(17179869183), "feffffff7f"}, {INT64CONST(-17179869184), "ffffffff7f"},
	{INT64CONST(17179869184), "808080808001"}, {INT64CONST(-17179869185), "818080808001"},
	{INT64CONST(2199023255551), "feffffffff7f"}, {INT64CONST(2199023255552), "80808080808001"},
	{INT64CONST(281474976710655), "feffffffffff7f"}, {INT64CONST(281474976710656), "8080808080808001"},
	{INT64CONST(36028797018963967), "feffffffffffff7f"},
	{INT64CONST(36028797018963968), "808080808080808001"},
	{INT64CONST(4611686018427387903), "feffffffffffffff7f"},
	{INT64CONST(4611686018427387904), "80808080808080808001"},
	{PG_INT64_MAX, "feffffffffffffffff01"}, {PG_INT64_MIN, "ffffffffffffffffff01"}
};

static const BadVarintCase bad_varint_cases[] = {
	{"", 0, "nothing"},
	{"80", 0, "cut after one byte"},
	{"ffffff", 0, "cut after three bytes"},
	{"8080808080", 32, "fifth byte goes on"},
	{"ffffffff1f", 32, "33 bits"},
	{"808080808010", 32, "six bytes"},
	{"80808080808080808080", 64, "tenth byte goes on"},
	{"ffffffffffffffffff02", 64, "65 bits"},
	{"8080808080808080808001", 64, "eleven bytes"}
};

/* Kafka's UtilsTest (as unsigned), then librdkafka's unit test. */
static const HashCase murmur2_cases[] = {
	{"21", (uint32) -973932308}, {"foobar", (uint32) -790332482},
	{"a-little-bit-long-string", (uint32) -985981536},
	{"a-little-bit-longer-string", (uint32) -1486304829},
	{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", (uint32) -58897971},
	{"abc", 479470107},
	{"kafka", 0xd067cf64}, {"giberish123456789", 0x8f552b0c}, {"1234", 0x9fc97b14},
	{"234", 0xe7c009ca}, {"34", 0x873930da}, {"4", 0x5a4b5ca1}, {"", 0x106e08d9}
};

static const HashCase crc32c_cases[] = {
	{"", 0}, {"a", 0xc1d04330}, {"123456789", 0xe3069283},
	{"The quick brown fox jumps over the lazy dog", 0x22620404}
};

static void check_integers(void);
static void check_varints(const VarintCase *cases, int count, int bits);
static void check_varint_neighbours(void);
static void check_bad_varints(void);
static void check_bounds(void);
static void check_empty(void);
static void check_hashes(void);
static void check_long_crcs(void);


void
test_bytes(void)
{
	check_integers();
	check_varints(varint_cases, lengthof(varint_cases), 32);
	check_varints(varint_cases, lengthof(varint_cases), 64);
	check_varints(varlong_cases, lengthof(varlong_cases), 64);
	check_varint_neighbours();
	check_bad_varints();
	check_bounds();
	check_empty();
	check_hashes();
	check_long_crcs();
}

static void
check_integers(void)
{
	uint8		buffer[32];
	uint8	   *p = buffer;
	size_t		len;
	uint8	   *expected = selftest_hex("fe fffd 80000001 8000000000000002 deadbeef", &len);
	MqReader	r;

	p = mq_bytes_put_i8(p, -2);
	p = mq_bytes_put_i16(p, -3);
	p = mq_bytes_put_i32(p, PG_INT32_MIN + 1);
	p = mq_bytes_put_i64(p, PG_INT64_MIN + 2);
	p = mq_bytes_put_i32(p, (int32) 0xdeadbeef);
	selftest_bytes(buffer, p - buffer, expected, len, "integers are big-endian");

	mq_bytes_reader(&r, expected, len);
	selftest_int(mq_bytes_get_i8(&r), -2, "int8");
	selftest_int(mq_bytes_get_i16(&r), -3, "int16");
	selftest_int(mq_bytes_get_i32(&r), PG_INT32_MIN + 1, "int32");
	selftest_int(mq_bytes_get_i64(&r), PG_INT64_MIN + 2, "int64");
	selftest_int(mq_bytes_get_u32(&r), 0xdeadbeef, "uint32");
	selftest_ok(!r.bad && mq_bytes_left(&r) == 0, "all integers read");
	free(expected);
}

static void
check_varints(const VarintCase *cases, int count, int bits)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		int64		value = cases[i].value;
		uint8		buffer[16];
		uint8	   *end;
		size_t		len;
		uint8	   *expected = selftest_hex(cases[i].hex, &len);
		uint8	   *exact = selftest_copy(expected, len);
		MqReader	r;

		end = bits == 32 ? mq_bytes_put_varint(buffer, (int32) value) : mq_bytes_put_varlong(buffer, value);
		selftest_bytes(buffer, end - buffer, expected, len, "varint%d " INT64_FORMAT " written", bits, value);
		selftest_int(bits == 32 ? mq_bytes_varint_size((int32) value) : mq_bytes_varlong_size(value), len,
					 "varint%d " INT64_FORMAT " size", bits, value);
		mq_bytes_reader(&r, exact, len);
		selftest_int(bits == 32 ? mq_bytes_get_varint(&r) : mq_bytes_get_varlong(&r), value,
					 "varint%d " INT64_FORMAT " read", bits, value);
		selftest_ok(!r.bad && mq_bytes_left(&r) == 0, "varint%d " INT64_FORMAT " consumed", bits, value);
		free(expected);
		free(exact);
	}
}

/* Around every power of two: what is written is read, in the size foretold. */
static void
check_varint_neighbours(void)
{
	int			failures = 0;
	int			shift;
	int			near;
	int			sign;

	for (shift = 0; shift < 63; shift++)
	{
		for (near = -1; near <= 1; near++)
		{
			for (sign = -1; sign <= 1; sign += 2)
			{
				int64		value = sign * ((INT64CONST(1) << shift) + near);
				uint8		buffer[16];
				uint8	   *end = mq_bytes_put_varlong(buffer, value);
				MqReader	r;

				mq_bytes_reader(&r, buffer, end - buffer);
				if (mq_bytes_get_varlong(&r) != value || r.bad || mq_bytes_left(&r) != 0 ||
					end - buffer != mq_bytes_varlong_size(value))
					failures++;
			}
		}
	}
	selftest_int(failures, 0, "varints near powers of two");
}

static void
check_bad_varints(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(bad_varint_cases); i++)
	{
		const BadVarintCase *c = &bad_varint_cases[i];
		size_t		len;
		uint8	   *bytes = selftest_hex(c->hex, &len);
		uint8	   *exact = selftest_copy(bytes, len);
		MqReader	r;

		if (c->bits != 64)
		{
			mq_bytes_reader(&r, exact, len);
			selftest_ok(mq_bytes_get_varint(&r) == 0 && r.bad, "varint32 refused: %s", c->why);
		}
		if (c->bits != 32)
		{
			mq_bytes_reader(&r, exact, len);
			selftest_ok(mq_bytes_get_varlong(&r) == 0 && r.bad, "varint64 refused: %s", c->why);
		}
		free(bytes);
		free(exact);
	}
}

/* A reader that ran out yields zeros for ever, even for what would fit. */
static void
check_bounds(void)
{
	static const uint8 seven[7] = {1, 2, 3, 4, 5, 6, 7};
	uint8	   *exact = selftest_copy(seven, sizeof(seven));
	MqReader	r;

	mq_bytes_reader(&r, exact, sizeof(seven));
	selftest_int(mq_bytes_get_i64(&r), 0, "int64 of seven bytes is zero");
	selftest_ok(r.bad, "reader is bad");
	selftest_int(mq_bytes_left(&r), 0, "nothing left in a bad reader");
	selftest_int(mq_bytes_get_i8(&r), 0, "bad reader yields zero");
	selftest_int(mq_bytes_get_varint(&r), 0, "bad reader yields no varint");
	selftest_ok(mq_bytes_get_bytes(&r, 0) == NULL, "bad reader yields no bytes, not even none");

	mq_bytes_reader(&r, exact, sizeof(seven));
	selftest_ok(mq_bytes_get_bytes(&r, 7) == exact && !r.bad, "all bytes at once");
	selftest_ok(mq_bytes_get_bytes(&r, 0) != NULL && !r.bad, "no bytes at the end");
	selftest_ok(mq_bytes_get_bytes(&r, 1) == NULL && r.bad, "one byte too many");

	mq_bytes_reader(&r, exact, sizeof(seven));
	selftest_ok(mq_bytes_get_bytes(&r, SIZE_MAX) == NULL && r.bad, "a length that would wrap");
	free(exact);
}

static void
check_empty(void)
{
	MqReader	r;

	mq_bytes_reader(&r, NULL, 0);
	selftest_ok(!r.bad && mq_bytes_left(&r) == 0, "an absent buffer is empty");
	selftest_ok(mq_bytes_get_bytes(&r, 0) != NULL, "no bytes of an absent buffer");
	selftest_ok(mq_bytes_get_u32(&r) == 0 && r.bad, "no integer of an absent buffer");
}

static void
check_hashes(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(murmur2_cases); i++)
	{
		size_t		len = strlen(murmur2_cases[i].text);
		uint8	   *exact = selftest_copy(murmur2_cases[i].text, len);

		selftest_int(mq_bytes_murmur2(exact, len), murmur2_cases[i].hash,
					 "murmur2 of \"%s\"", murmur2_cases[i].text);
		free(exact);
	}
	for (i = 0; i < (int) lengthof(crc32c_cases); i++)
		selftest_int(mq_bytes_crc32c(crc32c_cases[i].text, strlen(crc32c_cases[i].text)),
					 crc32c_cases[i].hash, "crc32c of \"%s\"", crc32c_cases[i].text);
}

/* Around the lengths at which the CRC is computed in streams, from every alignment, against the definition. */
static void
check_long_crcs(void)
{
	static const size_t lengths[] = {767, 768, 769, 1535, 1536, 1543, 6143, 6144, 6145, 6912, 6919, 12288, 13063, 65597};
	uint8		data[65597 + 8];
	int			i;
	size_t		at;

	for (at = 0; at < sizeof(data); at++)
		data[at] = (uint8) (at * 167 + (at >> 8) * 13);
	for (i = 0; i < (int) lengthof(lengths); i++)
	{
		const uint8 *p = data + i % 8;
		uint32		crc = 0xffffffff;

		for (at = 0; at < lengths[i]; at++)
		{
			int			bit;

			crc ^= p[at];
			for (bit = 0; bit < 8; bit++)
				crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
		}
		selftest_int(mq_bytes_crc32c(p, lengths[i]), ~crc, "crc32c of %zu bytes", lengths[i]);
	}
}
