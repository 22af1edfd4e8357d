/*
 * mq_batch.c
 *	  Kafka RecordBatch v2: build one, check one, walk one.
 *
 * A batch is a header of 61 bytes and a payload: records one after another,
 * or one compressed stream of them.  Producers, consumers and the log share
 * these bytes unmodified, so what this file writes is what a Kafka client
 * reads.  Two fields, base offset and leader epoch, are outside the CRC: they
 * are set when the batch is appended and its place is known.
 *
 * Putting a record is on the path of every message and walking one on that of
 * every row, hence the short forms of varints in line.  Nothing in a batch
 * from outside is believed before it was compared with the bytes that are
 * there.
 *
 * Locking: none.
 * Crash:   nothing here survives; the CRC finds what a crash tore.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "storage/mq_batch.h"

#define MAGIC_V2			2

/* positions in the header */
#define POS_BATCH_LENGTH	8
#define POS_LEADER_EPOCH	12
#define POS_CRC				17
#define POS_ATTRIBUTES		21

/* length, attributes, both deltas, both lengths, header count: one byte each */
#define MIN_RECORD_SIZE		7

/* both lengths */
#define MIN_HEADER_SIZE		2

/* More than the numbers of a plain record can reach beyond its end before that is noticed. */
#define PLAIN_SLACK			16

StaticAssertDecl(POS_ATTRIBUTES + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4 == MQ_BATCH_HEADER_SIZE,
				 "the batch header is 61 bytes");

static inline bool next_plain(MqBatchIter *it, MqRecord *record);
static inline bool take_plain(const uint8 **p, const uint8 *stop, const uint8 **data, int32 *len);
static inline bool set_position(MqBatchIter *it, MqRecord *record, int64 ts_delta, int32 offset_delta);
static bool read_record(MqBatchIter *it, MqReader *body, MqRecord *record);
static bool read_headers(MqReader *body, MqRecord *record);
static bool get_nullable(MqReader *r, const uint8 **data, int32 *len);

/* zig-zag: small magnitudes of either sign become small unsigned numbers */
static inline uint64
zigzag(int64 v)
{
	return ((uint64) v << 1) ^ (v < 0 ? PG_UINT64_MAX : 0);
}

static inline size_t
varint_size(int64 v)
{
	uint64		u = zigzag(v);

	if (likely(u < 0x80))
		return 1;
	return (pg_leftmost_one_pos64(u) * 9 + 73) / 64;
}

/* A varint of at most 32 bits and a varlong look the same. */
static inline uint8 *
put_varint(uint8 *p, int64 v)
{
	uint64		u = zigzag(v);

	if (likely(u < 0x80))
	{
		p[0] = (uint8) u;
		return p + 1;
	}
	if (likely(u < 0x4000))
	{
		p[0] = (uint8) (u | 0x80);
		p[1] = (uint8) (u >> 7);
		return p + 2;
	}
	return mq_bytes_put_varlong(p, v);
}

/* A varint of at most three bytes, which are there; NULL for a longer one. */
static inline const uint8 *
get_plain_varint(const uint8 *p, int32 *v)
{
	uint32		u = p[0];

	if (likely(u < 0x80))
		p += 1;
	else if (likely(p[1] < 0x80))
	{
		u = (u & 0x7f) | (uint32) p[1] << 7;
		p += 2;
	}
	else if (p[2] < 0x80)
	{
		u = (u & 0x7f) | (uint32) (p[1] & 0x7f) << 7 | (uint32) p[2] << 14;
		p += 3;
	}
	else
		return NULL;
	*v = (int32) ((u >> 1) ^ (~(u & 1) + 1));
	return p;
}

/* A length and that many bytes; NULL data is -1 and none. */
static inline uint8 *
put_nullable(uint8 *p, const uint8 *data, int32 len)
{
	if (data == NULL)
	{
		*p = 0x01;
		return p + 1;
	}
	p = put_varint(p, len);
	memcpy(p, data, len);
	return p + len;
}

/* Bytes of a record behind its length. */
static inline size_t
body_size(const MqRecord *record, int64 ts_delta, int32 offset_delta)
{
	size_t		size = 1;

	size += varint_size(ts_delta) + varint_size(offset_delta);
	size += record->key != NULL ? varint_size(record->key_len) + record->key_len : 1;
	size += record->value != NULL ? varint_size(record->value_len) + record->value_len : 1;
	size += varint_size(record->header_count) + record->headers_len;
	return size;
}


const char *
mq_batch_status_text(MqBatchStatus status)
{
	switch (status)
	{
		case MQ_BATCH_OK:
			return "ok";
		case MQ_BATCH_TOO_SHORT:
			return "batch is cut off";
		case MQ_BATCH_BAD_LENGTH:
			return "batch length is impossible";
		case MQ_BATCH_BAD_MAGIC:
			return "batch format is not version 2";
		case MQ_BATCH_BAD_CRC:
			return "batch checksum does not match";
		case MQ_BATCH_BAD_COUNT:
			return "offsets or record count of batch are impossible";
		case MQ_BATCH_BAD_CODEC:
			return "compression codec is unknown";
		case MQ_BATCH_BAD_COMPRESSION:
			return "batch does not decompress";
		case MQ_BATCH_TOO_LARGE:
			return "decompressed batch is too large";
		case MQ_BATCH_BAD_RECORD:
			return "batch holds a malformed record";
		case MQ_BATCH_NO_MEMORY:
			return "out of memory while decompressing";
	}
	return "unknown batch status";
}

size_t
mq_batch_record_size(const MqRecord *record, int64 ts_delta, int32 offset_delta)
{
	size_t		size = body_size(record, ts_delta, offset_delta);

	return varint_size((int64) size) + size;
}

uint8 *
mq_batch_put_record(uint8 *dst, const MqRecord *record, int64 ts_delta, int32 offset_delta)
{
	uint8	   *p = dst;

	Assert(record->key == NULL || record->key_len >= 0);
	Assert(record->value == NULL || record->value_len >= 0);
	Assert(record->headers_len >= 0 && record->header_count >= 0);

	p = put_varint(p, (int64) body_size(record, ts_delta, offset_delta));
	*p++ = 0;					/* attributes: none are defined */
	p = put_varint(p, ts_delta);
	p = put_varint(p, offset_delta);
	p = put_nullable(p, record->key, record->key_len);
	p = put_nullable(p, record->value, record->value_len);
	p = put_varint(p, record->header_count);
	if (record->headers_len > 0)
	{
		memcpy(p, record->headers, record->headers_len);
		p += record->headers_len;
	}

	Assert((size_t) (p - dst) == mq_batch_record_size(record, ts_delta, offset_delta));
	return p;
}

size_t
mq_batch_header_size(int32 key_len, int32 value_len)
{
	Assert(key_len >= 0);

	return varint_size(key_len) + key_len +
		(value_len >= 0 ? varint_size(value_len) + value_len : 1);
}

uint8 *
mq_batch_put_header(uint8 *dst, const uint8 *key, int32 key_len, const uint8 *value, int32 value_len)
{
	Assert(key != NULL && key_len >= 0);

	dst = put_nullable(dst, key, key_len);
	return put_nullable(dst, value, value_len);
}

void
mq_batch_seal(uint8 *batch, const MqBatchInfo *info)
{
	uint8	   *p = batch;

	Assert(info->total_length >= MQ_BATCH_HEADER_SIZE && info->total_length <= MQ_MAX_BATCH_BYTES);

	p = mq_bytes_put_i64(p, info->base_offset);
	p = mq_bytes_put_i32(p, info->total_length - MQ_BATCH_LOG_OVERHEAD);
	p = mq_bytes_put_i32(p, info->leader_epoch);
	p = mq_bytes_put_i8(p, MAGIC_V2);
	p = batch + POS_ATTRIBUTES;
	p = mq_bytes_put_i16(p, info->attributes);
	p = mq_bytes_put_i32(p, info->last_offset_delta);
	p = mq_bytes_put_i64(p, info->base_timestamp);
	p = mq_bytes_put_i64(p, info->max_timestamp);
	p = mq_bytes_put_i64(p, info->producer_id);
	p = mq_bytes_put_i16(p, info->producer_epoch);
	p = mq_bytes_put_i32(p, info->base_sequence);
	p = mq_bytes_put_i32(p, info->record_count);
	Assert(p == batch + MQ_BATCH_HEADER_SIZE);

	mq_bytes_put_i32(batch + POS_CRC,
					 (int32) mq_bytes_crc32c(batch + POS_ATTRIBUTES, info->total_length - POS_ATTRIBUTES));
}

void
mq_batch_set_offset(uint8 *batch, MqOffset base_offset, MqEpoch leader_epoch)
{
	mq_bytes_put_i64(batch, base_offset);
	mq_bytes_put_i32(batch + POS_LEADER_EPOCH, leader_epoch);
}

MqBatchStatus
mq_batch_parse(const uint8 *batch, size_t len, MqBatchInfo *info)
{
	MqReader	r;
	int32		length;
	int8		magic;

	if (len < MQ_BATCH_HEADER_SIZE)
		return MQ_BATCH_TOO_SHORT;

	mq_bytes_reader(&r, batch, MQ_BATCH_HEADER_SIZE);
	info->base_offset = mq_bytes_get_i64(&r);
	length = mq_bytes_get_i32(&r);
	info->leader_epoch = mq_bytes_get_i32(&r);
	magic = mq_bytes_get_i8(&r);
	info->crc = mq_bytes_get_u32(&r);
	info->attributes = mq_bytes_get_i16(&r);
	info->last_offset_delta = mq_bytes_get_i32(&r);
	info->base_timestamp = mq_bytes_get_i64(&r);
	info->max_timestamp = mq_bytes_get_i64(&r);
	info->producer_id = mq_bytes_get_i64(&r);
	info->producer_epoch = mq_bytes_get_i16(&r);
	info->base_sequence = mq_bytes_get_i32(&r);
	info->record_count = mq_bytes_get_i32(&r);
	Assert(!r.bad && mq_bytes_left(&r) == 0);

	if (length < MQ_BATCH_HEADER_SIZE - MQ_BATCH_LOG_OVERHEAD ||
		length > MQ_MAX_BATCH_BYTES - MQ_BATCH_LOG_OVERHEAD)
		return MQ_BATCH_BAD_LENGTH;
	info->total_length = length + MQ_BATCH_LOG_OVERHEAD;
	if (magic != MAGIC_V2)
		return MQ_BATCH_BAD_MAGIC;
	if (mq_batch_codec(info) > MQ_CODEC_ZSTD)
		return MQ_BATCH_BAD_CODEC;

	/* compaction leaves fewer records than offsets, and even none */
	if (info->base_offset < 0 || info->last_offset_delta < 0 ||
		info->base_offset > PG_INT64_MAX - info->last_offset_delta ||
		info->record_count < 0 || info->record_count - 1 > info->last_offset_delta)
		return MQ_BATCH_BAD_COUNT;
	if (mq_batch_codec(info) == MQ_CODEC_NONE &&
		info->record_count > (info->total_length - MQ_BATCH_HEADER_SIZE) / MIN_RECORD_SIZE)
		return MQ_BATCH_BAD_COUNT;

	return len < (size_t) info->total_length ? MQ_BATCH_TOO_SHORT : MQ_BATCH_OK;
}

MqBatchStatus
mq_batch_check_crc(const uint8 *batch, const MqBatchInfo *info)
{
	uint32		crc = mq_bytes_crc32c(batch + POS_ATTRIBUTES, info->total_length - POS_ATTRIBUTES);

	return crc == info->crc ? MQ_BATCH_OK : MQ_BATCH_BAD_CRC;
}

void
mq_batch_iter(MqBatchIter *it, const MqBatchInfo *info, const uint8 *payload, size_t len)
{
	mq_bytes_reader(&it->reader, payload, len);
	it->info = *info;
	it->next = 0;
	it->last_delta = -1;
}

/* A batch found bad stays bad: the reader remembers. */
bool
mq_batch_next(MqBatchIter *it, MqRecord *record, MqBatchStatus *status)
{
	MqReader	body;
	const uint8 *start;
	int32		length;

	*status = MQ_BATCH_OK;
	if (it->next >= it->info.record_count)
	{
		if (it->reader.bad || it->reader.pos != it->reader.end)
			*status = MQ_BATCH_BAD_RECORD;
		return false;
	}
	if (likely(next_plain(it, record)))
		return true;

	length = mq_bytes_get_varint(&it->reader);
	start = length >= 0 ? mq_bytes_get_bytes(&it->reader, length) : NULL;
	if (start != NULL)
	{
		body.pos = start;
		body.end = start + length;
		body.bad = false;
		if (read_record(it, &body, record))
		{
			it->next++;
			return true;
		}
	}
	it->reader.bad = true;
	*status = MQ_BATCH_BAD_RECORD;
	return false;
}

bool
mq_batch_next_header(MqReader *r, MqHeader *header)
{
	if (mq_bytes_left(r) == 0)
		return false;
	header->key_len = mq_bytes_get_varint(r);
	header->key = header->key_len >= 0 ? mq_bytes_get_bytes(r, header->key_len) : NULL;
	if (header->key == NULL)
	{
		r->bad = true;
		return false;
	}
	return get_nullable(r, &header->value, &header->value_len);
}

/*
 * Nearly every record has no headers, short numbers, and others behind it, so
 * that its end need not be looked for at each of its bytes.  False, with
 * nothing done, for one that is not so, or not sound.
 */
static inline bool
next_plain(MqBatchIter *it, MqRecord *record)
{
	const uint8 *p = it->reader.pos;
	const uint8 *stop;
	int32		length;
	int32		ts_delta;
	int32		offset_delta;
	int32		headers;

	if (it->reader.bad || it->reader.end - p < PLAIN_SLACK)
		return false;
	p = get_plain_varint(p, &length);
	if (p == NULL || length < 0 || length > it->reader.end - p - PLAIN_SLACK)
		return false;
	stop = p + length;
	p = get_plain_varint(p + 1, &ts_delta); /* behind the attributes */
	if (p == NULL || (p = get_plain_varint(p, &offset_delta)) == NULL ||
		!take_plain(&p, stop, &record->key, &record->key_len) ||
		!take_plain(&p, stop, &record->value, &record->value_len))
		return false;
	record->headers = p + 1;
	p = get_plain_varint(p, &headers);
	if (p != stop || headers != 0 || !set_position(it, record, ts_delta, offset_delta))
		return false;
	record->headers_len = 0;
	record->header_count = 0;
	it->reader.pos = stop;
	it->next++;
	return true;
}

/* get_nullable() for a plain record */
static inline bool
take_plain(const uint8 **p, const uint8 *stop, const uint8 **data, int32 *len)
{
	const uint8 *start = get_plain_varint(*p, len);

	if (start == NULL || start > stop || *len < -1 || *len > stop - start)
		return false;
	*data = *len < 0 ? NULL : start;
	*p = start + Max(*len, 0);
	return true;
}

/* Offsets rise strictly and stay inside the batch; gaps are what compaction left. */
static inline bool
set_position(MqBatchIter *it, MqRecord *record, int64 ts_delta, int32 offset_delta)
{
	const MqBatchInfo *info = &it->info;

	if (offset_delta <= it->last_delta || offset_delta > info->last_offset_delta)
		return false;
	it->last_delta = offset_delta;
	record->offset = info->base_offset + offset_delta;
	if (info->attributes & MQ_BATCH_LOG_APPEND_TIME)
		record->timestamp = info->max_timestamp;
	else
		/* a hostile delta wraps; unsigned, so that it does nothing worse */
		record->timestamp = (MqTimestamp) ((uint64) info->base_timestamp + (uint64) ts_delta);
	return true;
}

/* Reads one record from its body, which must be consumed exactly. */
static bool
read_record(MqBatchIter *it, MqReader *body, MqRecord *record)
{
	int64		ts_delta;
	int32		offset_delta;

	(void) mq_bytes_get_i8(body);	/* attributes: none are defined */
	ts_delta = mq_bytes_get_varlong(body);
	offset_delta = mq_bytes_get_varint(body);
	return !body->bad &&
		get_nullable(body, &record->key, &record->key_len) &&
		get_nullable(body, &record->value, &record->value_len) &&
		read_headers(body, record) &&
		set_position(it, record, ts_delta, offset_delta);
}

/* What is left of the body is the headers: as many as are declared, no byte more. */
static bool
read_headers(MqReader *body, MqRecord *record)
{
	int32		count = mq_bytes_get_varint(body);
	MqHeader	header;
	int32		i;

	if (body->bad || count < 0 || (size_t) count > mq_bytes_left(body) / MIN_HEADER_SIZE)
		return false;
	record->header_count = count;
	record->headers = body->pos;
	record->headers_len = (int32) mq_bytes_left(body);
	for (i = 0; i < count; i++)
	{
		if (!mq_batch_next_header(body, &header))
			return false;
	}
	return mq_bytes_left(body) == 0;
}

/* Reads a length and that many bytes; -1 is NULL, anything below is wrong. */
static bool
get_nullable(MqReader *r, const uint8 **data, int32 *len)
{
	*len = mq_bytes_get_varint(r);
	*data = NULL;
	if (*len == -1)
		return !r->bad;
	if (*len < 0)
	{
		r->bad = true;
		return false;
	}
	*data = mq_bytes_get_bytes(r, *len);
	return *data != NULL;
}
