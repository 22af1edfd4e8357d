/*
 * walk.h
 *	  Reads a whole batch of unknown origin the way the server does.
 */
#ifndef WALK_H
#define WALK_H

#include "storage/mq_batch.h"

/* A damaged payload meets the decoder only if its CRC is not looked at. */
typedef enum WalkCrc
{
	WALK_CHECK_CRC,
	WALK_IGNORE_CRC
} WalkCrc;

/* Called for each record; payload it points into lives until it returns. */
typedef void (*WalkRecord) (void *context, const MqBatchInfo *info, const MqRecord *record);

/*
 * Decompresses to at most cap bytes and walks all records and their headers,
 * reading every byte; aborts when a decoder breaks its promises.
 */
extern MqBatchStatus walk_batch(const uint8 *batch, size_t len, WalkCrc crc, size_t cap,
								WalkRecord callback, void *context);

/*
 * Decompresses into a buffer of *dst_len bytes and watches that nothing behind
 * it is touched: the libraries are not instrumented.  free() the result.
 */
extern uint8 *walk_decompress(MqCodec codec, const uint8 *src, size_t len,
							  size_t *dst_len, MqBatchStatus *status);

#endif							/* WALK_H */
