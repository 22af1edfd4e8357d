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

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

#include "base/mq_bytes.h"

#define MURMUR2_SEED		0x9747b28cU
#define MURMUR2_MULTIPLIER	0x5bd1e995U
#define MURMUR2_SHIFT		24

/* Where the reader of an absent buffer stands: arithmetic on NULL is undefined. */
static const uint8 no_bytes[1] = {0};

static uint64 get_unsigned(MqReader *r, int max_bits);
static uint8 *put_unsigned(uint8 *p, uint64 v);
static int	unsigned_size(uint64 v);


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

uint32
mq_bytes_crc32c(const void *data, size_t len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, len);
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
