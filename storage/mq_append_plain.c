/*
 * mq_append_plain.c
 *	  The short form of an append's WAL record.
 *
 * Of the 61 bytes of a batch's header most follow from the rest of the record,
 * or are the same in every batch that SQL makes: no producer, no sequence, as
 * many records as offsets.  A message of 100 bytes in a commit of its own would
 * be less than half of its record.  So such a batch, a plain one, goes to WAL
 * without its header and with what is needed to make the same bytes again.
 * Every other batch goes there whole.
 *
 * Packing is on the path of every append, hence the accessors in line.
 *
 * Locking: none.
 * Crash:   nothing here survives.
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include "storage/mq_append_plain.h"

#define MAGIC_V2			2

/* positions in the batch's header */
#define POS_BATCH_LENGTH	8
#define POS_LEADER_EPOCH	12
#define POS_MAGIC			16
#define POS_CRC				17
#define POS_ATTRIBUTES		21
#define POS_LAST_DELTA		23
#define POS_BASE_TIMESTAMP	27
#define POS_MAX_TIMESTAMP	35
#define POS_PRODUCER		43	/* id, epoch, base sequence: 14 bytes, all ones when there is none */
#define POS_PRODUCER_END	57
#define POS_RECORD_COUNT	57

/* of the struct; options follow */
#define FIXED_SIZE			offsetof(xl_mq_append_plain, options)

#define ALL_FLAGS			(MQ_APPEND_PLAIN_MANY | MQ_APPEND_PLAIN_SPAN | MQ_APPEND_PLAIN_LATE)

StaticAssertDecl(POS_RECORD_COUNT + 4 == MQ_BATCH_HEADER_SIZE, "the batch header is 61 bytes");
StaticAssertDecl(sizeof(xl_mq_append) == 88 && offsetof(xl_mq_append, epoch) == 80,
				 "the long record is what the first version wrote");
StaticAssertDecl(FIXED_SIZE == 70 && offsetof(xl_mq_append_plain, base_timestamp) == 40 &&
				 offsetof(xl_mq_append_plain, batch_crc) == 64,
				 "the short record has no padding that would go to WAL");

static inline bool is_plain(const xl_mq_append *xlrec, const uint8 *batch);
static void put_header(const xl_mq_append *xlrec, const xl_mq_append_plain *plain,
					   MqTimestamp max_timestamp, uint8 *header);

static inline uint32
get_u32(const uint8 *p)
{
	uint32		v;

	memcpy(&v, p, sizeof(v));
	return pg_ntoh32(v);
}

static inline uint64
get_u64(const uint8 *p)
{
	uint64		v;

	memcpy(&v, p, sizeof(v));
	return pg_ntoh64(v);
}


uint32
mq_append_plain_pack(const xl_mq_append *xlrec, const uint8 *batch, xl_mq_append_plain *plain)
{
	MqTimestamp base_timestamp = (MqTimestamp) get_u64(batch + POS_BASE_TIMESTAMP);
	MqTimestamp max_timestamp = (MqTimestamp) get_u64(batch + POS_MAX_TIMESTAMP);
	uint8	   *p = plain->options;

	Assert(get_u64(batch) == (uint64) xlrec->base_offset);
	Assert(get_u32(batch + POS_LEADER_EPOCH) == (uint32) xlrec->epoch);
	Assert(xlrec->base_offset >= xlrec->segment && xlrec->base_offset - xlrec->segment <= PG_UINT32_MAX);

	if (unlikely(!is_plain(xlrec, batch)))
		return 0;

	plain->key = xlrec->key;
	plain->base_offset = xlrec->base_offset;
	plain->fxid = xlrec->fxid;
	plain->base_timestamp = base_timestamp;
	plain->offset_delta = (uint32) (xlrec->base_offset - xlrec->segment);
	plain->position = xlrec->position;
	plain->number = xlrec->number;
	plain->epoch = xlrec->epoch;
	memcpy(plain->batch_crc, batch + POS_CRC, sizeof(plain->batch_crc));
	plain->attributes = batch[POS_ATTRIBUTES + 1];
	plain->flags = 0;
	if (xlrec->count != 1)
	{
		plain->flags |= MQ_APPEND_PLAIN_MANY;
		memcpy(p, &xlrec->count, sizeof(xlrec->count));
		p += sizeof(xlrec->count);
	}
	if (max_timestamp != base_timestamp)
	{
		plain->flags |= MQ_APPEND_PLAIN_SPAN;
		memcpy(p, &max_timestamp, sizeof(max_timestamp));
		p += sizeof(max_timestamp);
	}
	if (xlrec->max_timestamp != max_timestamp)
	{
		plain->flags |= MQ_APPEND_PLAIN_LATE;
		memcpy(p, &xlrec->max_timestamp, sizeof(xlrec->max_timestamp));
		p += sizeof(xlrec->max_timestamp);
	}
	return (uint32) (p - (uint8 *) plain);
}

bool
mq_append_plain_unpack(const void *data, uint32 len, xl_mq_append *xlrec,
					   uint8 *header, const uint8 **rest)
{
	const xl_mq_append_plain *plain = (const xl_mq_append_plain *) data;
	const uint8 *p = (const uint8 *) data + FIXED_SIZE;
	MqTimestamp max_timestamp;
	uint32		size = FIXED_SIZE;

	if (len <= FIXED_SIZE || (plain->flags & ~ALL_FLAGS) != 0)
		return false;
	size += (plain->flags & MQ_APPEND_PLAIN_MANY) != 0 ? sizeof(xlrec->count) : 0;
	size += (plain->flags & MQ_APPEND_PLAIN_SPAN) != 0 ? sizeof(max_timestamp) : 0;
	size += (plain->flags & MQ_APPEND_PLAIN_LATE) != 0 ? sizeof(xlrec->max_timestamp) : 0;
	if (len <= size || len - size > MQ_MAX_BATCH_BYTES - MQ_BATCH_HEADER_SIZE ||
		plain->base_offset < (int64) plain->offset_delta)
		return false;

	memset(xlrec, 0, sizeof(*xlrec));
	xlrec->count = 1;
	if (plain->flags & MQ_APPEND_PLAIN_MANY)
	{
		memcpy(&xlrec->count, p, sizeof(xlrec->count));
		p += sizeof(xlrec->count);
	}
	max_timestamp = plain->base_timestamp;
	if (plain->flags & MQ_APPEND_PLAIN_SPAN)
	{
		memcpy(&max_timestamp, p, sizeof(max_timestamp));
		p += sizeof(max_timestamp);
	}
	xlrec->max_timestamp = max_timestamp;
	if (plain->flags & MQ_APPEND_PLAIN_LATE)
		memcpy(&xlrec->max_timestamp, p, sizeof(xlrec->max_timestamp));
	if (xlrec->count == 0 || xlrec->count > PG_INT32_MAX)
		return false;

	xlrec->key = plain->key;
	xlrec->fxid = plain->fxid;
	xlrec->segment = plain->base_offset - plain->offset_delta;
	xlrec->base_offset = plain->base_offset;
	xlrec->position = plain->position;
	xlrec->number = plain->number;
	xlrec->length = MQ_BATCH_HEADER_SIZE + (len - size);
	xlrec->epoch = plain->epoch;
	put_header(xlrec, plain, max_timestamp, header);
	*rest = (const uint8 *) data + size;
	return true;
}

/* Would put_header() make this header again?  CRC and timestamps may be anything. */
static inline bool
is_plain(const xl_mq_append *xlrec, const uint8 *batch)
{
	return xlrec->length > MQ_BATCH_HEADER_SIZE &&
		get_u32(batch + POS_BATCH_LENGTH) == xlrec->length - MQ_BATCH_LOG_OVERHEAD &&
		batch[POS_MAGIC] == MAGIC_V2 &&
		batch[POS_ATTRIBUTES] == 0 &&
		xlrec->count > 0 && xlrec->count <= PG_INT32_MAX &&
		get_u32(batch + POS_LAST_DELTA) == xlrec->count - 1 &&
		get_u32(batch + POS_RECORD_COUNT) == xlrec->count &&
	/* two looks that overlap */
		get_u64(batch + POS_PRODUCER) == PG_UINT64_MAX &&
		get_u64(batch + POS_PRODUCER_END - 8) == PG_UINT64_MAX;
}

static void
put_header(const xl_mq_append *xlrec, const xl_mq_append_plain *plain,
		   MqTimestamp max_timestamp, uint8 *header)
{
	(void) mq_bytes_put_i64(header, xlrec->base_offset);
	(void) mq_bytes_put_i32(header + POS_BATCH_LENGTH, (int32) xlrec->length - MQ_BATCH_LOG_OVERHEAD);
	(void) mq_bytes_put_i32(header + POS_LEADER_EPOCH, xlrec->epoch);
	header[POS_MAGIC] = MAGIC_V2;
	memcpy(header + POS_CRC, plain->batch_crc, sizeof(plain->batch_crc));
	(void) mq_bytes_put_i16(header + POS_ATTRIBUTES, plain->attributes);
	(void) mq_bytes_put_i32(header + POS_LAST_DELTA, (int32) (xlrec->count - 1));
	(void) mq_bytes_put_i64(header + POS_BASE_TIMESTAMP, plain->base_timestamp);
	(void) mq_bytes_put_i64(header + POS_MAX_TIMESTAMP, max_timestamp);
	memset(header + POS_PRODUCER, 0xff, POS_PRODUCER_END - POS_PRODUCER);
	(void) mq_bytes_put_i32(header + POS_RECORD_COUNT, (int32) xlrec->count);
}
