/*
 * mq_codec.h
 *	  The four codecs of a record batch: compress with LZ4, read all of them.
 *
 * Pure: memory is the caller's; no palloc, no ereport.
 */
#ifndef MQ_CODEC_H
#define MQ_CODEC_H

#include "storage/mq_batch.h"

/* Room that mq_codec_lz4_compress() may need for len bytes. */
extern size_t mq_codec_lz4_bound(size_t len);

/* LZ4 frame as Kafka writes it; returns its size, or 0 when dst is too small. */
extern size_t mq_codec_lz4_compress(const uint8 *src, size_t len, uint8 *dst, size_t dst_size);

/*
 * Decompresses src into dst.  *dst_len holds dst's size on entry and the
 * bytes written on return.  MQ_BATCH_TOO_LARGE when dst is too small (the
 * caller may try again with a larger one, up to its own cap).
 */
extern MqBatchStatus mq_codec_decompress(MqCodec codec, const uint8 *src, size_t len,
										 uint8 *dst, size_t *dst_len);

#endif							/* MQ_CODEC_H */
