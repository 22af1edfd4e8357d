/*
 * mq_payload.c
 *	  The records of a batch: its own bytes, or what they decompress to.
 *
 * A batch does not say how large its records are, and one that was not made
 * by us may lie.  So memory grows from little in steps, and not without end.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "storage/mq_codec.h"
#include "storage/mq_payload.h"

/* No honest batch of 16 MiB grows beyond this; a bomb would. */
#define MAX_PAYLOAD		(64 * 1024 * 1024)
#define FIRST_PAYLOAD	(256 * 1024)

MqBatchStatus
mq_payload_open(MqPayload *memory, const uint8 *batch, const MqBatchInfo *info,
				const uint8 **payload, size_t *len)
{
	const uint8 *packed = batch + MQ_BATCH_HEADER_SIZE;
	size_t		packed_len = info->total_length - MQ_BATCH_HEADER_SIZE;
	MqCodec		codec = mq_batch_codec(info);
	size_t		wanted;

	if (codec == MQ_CODEC_NONE)
	{
		*payload = packed;
		*len = packed_len;
		return MQ_BATCH_OK;
	}

	wanted = Max(memory->size, FIRST_PAYLOAD);
	for (;;)
	{
		MqBatchStatus status;

		if (memory->size < wanted)
		{
			mq_payload_free(memory);
			memory->buffer = palloc(wanted);
			memory->size = wanted;
		}
		*len = memory->size;
		status = mq_codec_decompress(codec, packed, packed_len, memory->buffer, len);
		if (status != MQ_BATCH_TOO_LARGE || memory->size >= MAX_PAYLOAD)
		{
			*payload = memory->buffer;
			return status;
		}
		wanted = Min(memory->size * 4, MAX_PAYLOAD);
	}
}

void
mq_payload_free(MqPayload *memory)
{
	if (memory->buffer != NULL)
		pfree(memory->buffer);
	memory->buffer = NULL;
	memory->size = 0;
}
