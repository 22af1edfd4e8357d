/*
 * mq_bytes.c
 *	  Bounded reader and writer over memory; CRC-32C; murmur2.
 *
 * Everything that reads bytes from outside (a record batch, a descriptor, a
 * client's request) goes through MqReader: a get past the end yields zero and
 * makes the reader bad for good, so a decoder may read all its fields and
 * check once.  Integers are big-endian as in Kafka's formats; varints are
 * little-endian groups of seven bits, zig-zag coded.
 *
 * Pure: compiled into the server module and, unchanged, into selftest.
 *
 * Locking: none.
 * Crash:   nothing here survives.
 */
#include "postgres.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#define CRC_THREE_WAYS
#endif

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

#include "base/mq_bytes.h"

#define MURMUR2_SEED		0x9747b28cU
#define MURMUR2_MULTIPLIER	0x5bd1e995U
#define MURMUR2_SHIFT		24

/*
 * Bytes in each of three streams that a long CRC is computed in, and what
 * takes a CRC that many bytes further, and twice as many: x^(8n - 33) modulo
 * the polynomial, bits reflected.
 */
#define CRC_LONG			2048
#define CRC_LONG_ONCE		0xa51b6135U
#define CRC_LONG_TWICE		0x82f89c77U
#define CRC_SHORT			256
#define CRC_SHORT_ONCE		0xb9e02b86U
#define CRC_SHORT_TWICE		0xdd7e3b0cU

/* Where the reader of an absent buffer stands: arithmetic on NULL is undefined. */
static const uint8 no_bytes[1] = {0};

static uint64 get_unsigned(MqReader *r, int max_bits);
static uint8 *put_unsigned(uint8 *p, uint64 v);
static int	unsigned_size(uint64 v);
#ifdef CRC_THREE_WAYS
static uint32 crc_three_ways(uint32 crc, const uint8 **data, size_t *len);
#endif


/* Starts reading at data; NULL is an empty buffer. */
void
mq_bytes_reader(MqReader *r, const void *data, size_t len)
{
	Assert(data != NULL || len == 0);

	r->pos = data != NULL ? (const uint8 *) data : no_bytes;
	r->end = r->pos + len;
	r->bad = false;
}

size_t
mq_bytes_left(const MqReader *r)
{
	return r->bad ? 0 : (size_t) (r->end - r->pos);
}

int8
mq_bytes_get_i8(MqReader *r)
{
	const uint8 *p = mq_bytes_get_bytes(r, 1);

	return p != NULL ? (int8) *p : 0;
}

int16
mq_bytes_get_i16(MqReader *r)
{
	const uint8 *p = mq_bytes_get_bytes(r, sizeof(uint16));
	uint16		v;

	if (p == NULL)
		return 0;
	memcpy(&v, p, sizeof(v));
	return (int16) pg_ntoh16(v);
}

int32
mq_bytes_get_i32(MqReader *r)
{
	return (int32) mq_bytes_get_u32(r);
}

int64
mq_bytes_get_i64(MqReader *r)
{
	const uint8 *p = mq_bytes_get_bytes(r, sizeof(uint64));
	uint64		v;

	if (p == NULL)
		return 0;
	memcpy(&v, p, sizeof(v));
	return (int64) pg_ntoh64(v);
}

uint32
mq_bytes_get_u32(MqReader *r)
{
	const uint8 *p = mq_bytes_get_bytes(r, sizeof(uint32));
	uint32		v;

	if (p == NULL)
		return 0;
	memcpy(&v, p, sizeof(v));
	return pg_ntoh32(v);
}

int32
mq_bytes_get_varint(MqReader *r)
{
	uint32		v = (uint32) get_unsigned(r, 32);

	return (int32) ((v >> 1) ^ (~(v & 1) + 1));
}

int64
mq_bytes_get_varlong(MqReader *r)
{
	uint64		v = get_unsigned(r, 64);

	return (int64) ((v >> 1) ^ (~(v & 1) + 1));
}

/* Steps over len bytes and returns where they begin; NULL when there are fewer. */
const uint8 *
mq_bytes_get_bytes(MqReader *r, size_t len)
{
	const uint8 *p = r->pos;

	if (unlikely(r->bad || len > (size_t) (r->end - p)))
	{
		r->bad = true;
		return NULL;
	}
	r->pos = p + len;
	return p;
}

uint8 *
mq_bytes_put_i8(uint8 *p, int8 v)
{
	*p = (uint8) v;
	return p + 1;
}

uint8 *
mq_bytes_put_i16(uint8 *p, int16 v)
{
	uint16		be = pg_hton16((uint16) v);

	memcpy(p, &be, sizeof(be));
	return p + sizeof(be);
}

uint8 *
mq_bytes_put_i32(uint8 *p, int32 v)
{
	uint32		be = pg_hton32((uint32) v);

	memcpy(p, &be, sizeof(be));
	return p + sizeof(be);
}

uint8 *
mq_bytes_put_i64(uint8 *p, int64 v)
{
	uint64		be = pg_hton64((uint64) v);

	memcpy(p, &be, sizeof(be));
	return p + sizeof(be);
}

uint8 *
mq_bytes_put_varint(uint8 *p, int32 v)
{
	return put_unsigned(p, ((uint32) v << 1) ^ (v < 0 ? PG_UINT32_MAX : 0));
}

uint8 *
mq_bytes_put_varlong(uint8 *p, int64 v)
{
	return put_unsigned(p, ((uint64) v << 1) ^ (v < 0 ? PG_UINT64_MAX : 0));
}

int
mq_bytes_varint_size(int32 v)
{
	return unsigned_size(((uint32) v << 1) ^ (v < 0 ? PG_UINT32_MAX : 0));
}

int
mq_bytes_varlong_size(int64 v)
{
	return unsigned_size(((uint64) v << 1) ^ (v < 0 ? PG_UINT64_MAX : 0));
}

/* The server's own function takes what is left of long data, and all where the processor lacks something. */
uint32
mq_bytes_crc32c(const void *data, size_t len)
{
	const uint8 *p = data;
	pg_crc32c	crc;

	INIT_CRC32C(crc);
#ifdef CRC_THREE_WAYS
	if (len >= 3 * CRC_SHORT && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		crc = crc_three_ways(crc, &p, &len);
#endif
	COMP_CRC32C(crc, p, len);
	FIN_CRC32C(crc);
	return (uint32) crc;
}

/* Hashes data as Kafka's Java client does, so that both pick one partition for a key. */
uint32
mq_bytes_murmur2(const void *data, size_t len)
{
	const uint8 *p = (const uint8 *) data;
	uint32		h = MURMUR2_SEED ^ (uint32) len;

	for (; len >= 4; p += 4, len -= 4)
	{
		uint32		k = (uint32) p[0] | (uint32) p[1] << 8 | (uint32) p[2] << 16 | (uint32) p[3] << 24;

		k *= MURMUR2_MULTIPLIER;
		k ^= k >> MURMUR2_SHIFT;
		k *= MURMUR2_MULTIPLIER;
		h *= MURMUR2_MULTIPLIER;
		h ^= k;
	}
	if (len == 3)
		h ^= (uint32) p[2] << 16;
	if (len >= 2)
		h ^= (uint32) p[1] << 8;
	if (len >= 1)
	{
		h ^= (uint32) p[0];
		h *= MURMUR2_MULTIPLIER;
	}
	h ^= h >> 13;
	h *= MURMUR2_MULTIPLIER;
	h ^= h >> 15;
	return h;
}

/*
 * Reads one varint of at most max_bits bits.  Padded encodings are taken, as
 * Kafka takes them; bits that do not fit make the reader bad.
 */
static uint64
get_unsigned(MqReader *r, int max_bits)
{
	uint64		v = 0;
	int			shift;

	/* most lengths and deltas are below 64 */
	if (likely(!r->bad && r->pos < r->end && *r->pos < 0x80))
		return *r->pos++;

	for (shift = 0; shift < max_bits; shift += 7)
	{
		const uint8 *p = mq_bytes_get_bytes(r, 1);

		if (p == NULL)
			return 0;
		if (max_bits - shift < 7 && (*p >> (max_bits - shift)) != 0)
			break;
		v |= (uint64) (*p & 0x7f) << shift;
		if (*p < 0x80)
			return v;
	}
	r->bad = true;
	return 0;
}

static uint8 *
put_unsigned(uint8 *p, uint64 v)
{
	while (v >= 0x80)
	{
		*p++ = (uint8) (v | 0x80);
		v >>= 7;
	}
	*p++ = (uint8) v;
	return p;
}

/* Seven bits to the byte: 1 + highest bit / 7, as a multiplication. */
static int
unsigned_size(uint64 v)
{
	return (pg_leftmost_one_pos64(v | 1) * 9 + 73) / 64;
}

#ifdef CRC_THREE_WAYS
/* The CRC as many bytes further as the factor says. */
static inline uint64
__attribute__((target("sse4.2,pclmul")))
crc_further(uint64 crc, uint32 factor)
{
	__m128i		product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) crc),
											   _mm_cvtsi64_si128(factor), 0);

	return _mm_crc32_u64(0, (uint64) _mm_cvtsi128_si64(product));
}

/* One block of three streams side by side. */
static inline uint64
__attribute__((target("sse4.2,pclmul")))
crc_block(uint64 crc, const uint8 *p, size_t stream, uint32 once, uint32 twice)
{
	uint64		second = 0;
	uint64		third = 0;
	size_t		i;

	for (i = 0; i < stream; i += sizeof(uint64))
	{
		uint64		a;
		uint64		b;
		uint64		c;

		memcpy(&a, p + i, sizeof(a));
		memcpy(&b, p + stream + i, sizeof(b));
		memcpy(&c, p + 2 * stream + i, sizeof(c));
		crc = _mm_crc32_u64(crc, a);
		second = _mm_crc32_u64(second, b);
		third = _mm_crc32_u64(third, c);
	}
	return crc_further(crc, twice) ^ crc_further(second, once) ^ third;
}

/*
 * The processor's instruction takes three cycles for its answer and can begin
 * another one in each, so three streams are as fast as one.  Takes whole
 * blocks off the beginning of the data.
 */
static uint32
__attribute__((target("sse4.2,pclmul")))
crc_three_ways(uint32 crc, const uint8 **data, size_t *len)
{
	uint64		result = crc;

	for (; *len >= 3 * CRC_LONG; *data += 3 * CRC_LONG, *len -= 3 * CRC_LONG)
		result = crc_block(result, *data, CRC_LONG, CRC_LONG_ONCE, CRC_LONG_TWICE);
	for (; *len >= 3 * CRC_SHORT; *data += 3 * CRC_SHORT, *len -= 3 * CRC_SHORT)
		result = crc_block(result, *data, CRC_SHORT, CRC_SHORT_ONCE, CRC_SHORT_TWICE);
	return (uint32) result;
}
#endif
