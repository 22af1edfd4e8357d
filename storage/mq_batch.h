/*
 * mq_batch.h
 *	  Kafka RecordBatch v2: build one, check one, walk one.
 *
 * Pure: no locks, no I/O, no palloc, no ereport; memory is the caller's.
 * The layout is drawn in storage/README.md.
 */
#ifndef MQ_BATCH_H
#define MQ_BATCH_H

#include "base/mq_bytes.h"
#include "base/mq_types.h"

#define MQ_BATCH_HEADER_SIZE	61
#define MQ_BATCH_LOG_OVERHEAD	12	/* baseOffset and batchLength */

/* attributes */
#define MQ_BATCH_CODEC_MASK		0x07
#define MQ_BATCH_LOG_APPEND_TIME 0x08
#define MQ_BATCH_TRANSACTIONAL	0x10
#define MQ_BATCH_CONTROL		0x20

typedef enum MqCodec
{
	MQ_CODEC_NONE = 0,
	MQ_CODEC_GZIP = 1,
	MQ_CODEC_SNAPPY = 2,
	MQ_CODEC_LZ4 = 3,
	MQ_CODEC_ZSTD = 4
} MqCodec;

/* One record to be encoded, or one that was decoded (then it points into the batch). */
typedef struct MqRecord
{
	const uint8 *key;			/* NULL = null key */
	int32		key_len;
	const uint8 *value;			/* NULL = tombstone */
	int32		value_len;
	const uint8 *headers;		/* headers as in the batch, without their count */
	int32		headers_len;
	int32		header_count;
	MqTimestamp timestamp;
	MqOffset	offset;			/* decoding only */
} MqRecord;

/* The fixed header, in host byte order. */
typedef struct MqBatchInfo
{
	MqOffset	base_offset;
	int32		total_length;	/* whole batch, header included */
	MqEpoch		leader_epoch;
	uint32		crc;
	int16		attributes;
	int32		last_offset_delta;
	MqTimestamp base_timestamp;
	MqTimestamp max_timestamp;
	int64		producer_id;
	int16		producer_epoch;
	int32		base_sequence;
	int32		record_count;
} MqBatchInfo;

#define mq_batch_codec(info)	((MqCodec) ((info)->attributes & MQ_BATCH_CODEC_MASK))

/* What is wrong with a batch; MQ_BATCH_OK = 0. */
typedef enum MqBatchStatus
{
	MQ_BATCH_OK = 0,
	MQ_BATCH_TOO_SHORT,			/* fewer bytes than the header or the length says */
	MQ_BATCH_BAD_LENGTH,		/* length field impossible */
	MQ_BATCH_BAD_MAGIC,
	MQ_BATCH_BAD_CRC,
	MQ_BATCH_BAD_COUNT,			/* record count or offset delta impossible */
	MQ_BATCH_BAD_CODEC,			/* codec unknown */
	MQ_BATCH_BAD_COMPRESSION,	/* payload does not decompress */
	MQ_BATCH_TOO_LARGE,			/* decompressed payload over the cap */
	MQ_BATCH_BAD_RECORD,		/* a record does not parse, or bytes are left over */
	MQ_BATCH_NO_MEMORY			/* the codec's library got none; the batch may be good */
} MqBatchStatus;

extern const char *mq_batch_status_text(MqBatchStatus status);

/* building: records first, then the header in the 61 bytes kept free before them */

/* Bytes the record takes, exactly, given its deltas; may be over any limit, so compare before use. */
extern size_t mq_batch_record_size(const MqRecord *record, int64 ts_delta, int32 offset_delta);

/* Writes the record at dst (room checked by the caller); returns the byte after. */
extern uint8 *mq_batch_put_record(uint8 *dst, const MqRecord *record, int64 ts_delta, int32 offset_delta);

/* Size of one header (key, value) and its encoding; value NULL = null. */
extern size_t mq_batch_header_size(int32 key_len, int32 value_len);
extern uint8 *mq_batch_put_header(uint8 *dst, const uint8 *key, int32 key_len, const uint8 *value, int32 value_len);

/*
 * Writes all 61 header bytes of the batch whose payload stands behind them
 * and computes the CRC.  base_offset and leader_epoch may be changed later by
 * mq_batch_set_offset(): the CRC does not cover them.
 */
extern void mq_batch_seal(uint8 *batch, const MqBatchInfo *info);
extern void mq_batch_set_offset(uint8 *batch, MqOffset base_offset, MqEpoch leader_epoch);

/* checking */

/*
 * Parses and sanity-checks the header; len may be larger than the batch.
 * Does not check the CRC.  When the header is whole and only bytes behind it
 * are missing, the result is MQ_BATCH_TOO_SHORT and *info is filled;
 * otherwise *info is good only with MQ_BATCH_OK.
 */
extern MqBatchStatus mq_batch_parse(const uint8 *batch, size_t len, MqBatchInfo *info);

/* The batch must be there as far as info->total_length says. */
extern MqBatchStatus mq_batch_check_crc(const uint8 *batch, const MqBatchInfo *info);

/* walking: payload is the decompressed bytes behind the header */

typedef struct MqBatchIter
{
	MqReader	reader;
	MqBatchInfo info;
	int32		next;			/* index of the next record */
	int32		last_delta;		/* offset delta of the record before it, -1 at first */
} MqBatchIter;

extern void mq_batch_iter(MqBatchIter *it, const MqBatchInfo *info, const uint8 *payload, size_t len);

/*
 * The next record, false at the end or when the batch is bad; *status tells
 * which.  The record points into the payload.  Every length is checked.
 */
extern bool mq_batch_next(MqBatchIter *it, MqRecord *record, MqBatchStatus *status);

typedef struct MqHeader
{
	const uint8 *key;
	int32		key_len;
	const uint8 *value;			/* NULL = null */
	int32		value_len;
} MqHeader;

/* Walks a decoded record's headers, which mq_batch_next() has validated. */
extern bool mq_batch_next_header(MqReader *r, MqHeader *header);

#endif							/* MQ_BATCH_H */
