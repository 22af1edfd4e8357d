/*
 * mq_batches.c
 *	  The .batches file: one fixed-size descriptor for each batch of a segment.
 *
 * The .log holds Kafka record batches and nothing else, so what we must know
 * of a batch beyond them (where its WAL record ends, whose transaction wrote
 * it) stands here, 48 bytes for each batch in the same order.  Entries of one
 * size make a dense index: offsets, running maximum timestamps and LSNs all
 * rise from entry to entry, so one binary search serves all three.
 *
 * The functions here are pure.  They get descriptors through a callback, so
 * that they work on a file, on memory in tests, and inside the checkpointer.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "port/pg_crc32c.h"

#include "storage/mq_batches.h"

StaticAssertDecl(sizeof(MqDescriptorDisk) == MQ_BATCHES_ENTRY_SIZE,
				 "descriptor is 48 bytes on disk");
StaticAssertDecl(offsetof(MqDescriptorDisk, hint) == 43 &&
				 offsetof(MqDescriptorDisk, crc) == 44,
				 "CRC covers bytes 0..42");

#define PRUNE_CHUNK 64

/* Where the low half of a record batch's CRC stands. */
#define BATCH_CRC_LOW 19

static pg_crc32c descriptor_crc(const MqDescriptorDisk *d, const MqBatchesIdentity *id, uint32 number);
static int64 field_of(const MqDescriptorDisk *d, MqBatchesField field);

void
mq_batches_tie(MqDescriptorDisk *d, const uint8 *batch)
{
	memcpy(d->batch_crc, batch + BATCH_CRC_LOW, sizeof(d->batch_crc));
}

bool
mq_batches_is_tied(const MqDescriptorDisk *d, const uint8 *batch)
{
	return memcmp(d->batch_crc, batch + BATCH_CRC_LOW, sizeof(d->batch_crc)) == 0;
}

void
mq_batches_seal(MqDescriptorDisk *d, const MqBatchesIdentity *id, uint32 number)
{
	d->version = MQ_BATCHES_VERSION;
	d->crc = descriptor_crc(d, id, number);
}

bool
mq_batches_valid(const MqDescriptorDisk *d, const MqBatchesIdentity *id, uint32 number)
{
	return d->version == MQ_BATCHES_VERSION &&
		d->record_count > 0 &&
		EQ_CRC32C(d->crc, descriptor_crc(d, id, number));
}

/*
 * Binary search; the middle of a damaged stretch is found by stepping to the
 * next valid entry, and a stretch without one is cut off at its low end.
 */
uint32
mq_batches_search(const MqBatchesIdentity *id, uint32 count, MqBatchesField field,
				  int64 key, MqBatchesRead read, void *arg, bool *ok)
{
	uint32		low = 0;
	uint32		high = count;
	uint32		found = count;

	*ok = true;
	while (low < high)
	{
		uint32		mid = low + (high - low) / 2;
		uint32		probe = mid;
		MqDescriptorDisk d;

		for (; probe < high; probe++)
		{
			if (!read(arg, probe, 1, &d))
			{
				*ok = false;
				return count;
			}
			if (mq_batches_valid(&d, id, probe))
				break;
		}
		if (probe == high)
			high = mid;
		else if (field_of(&d, field) > key)
		{
			found = probe;
			high = mid;
		}
		else
			low = probe + 1;
	}
	return found;
}

/* Walks back from the end: see storage/README.md, "Recovery". */
uint32
mq_batches_prune(const MqBatchesIdentity *id, uint32 count, XLogRecPtr redo,
				 MqBatchesRead read, void *arg, MqDescriptorDisk *last, bool *ok)
{
	MqDescriptorDisk chunk[PRUNE_CHUNK];

	*ok = true;
	while (count > 0)
	{
		uint32		n = Min(count, PRUNE_CHUNK);
		uint32		first = count - n;

		if (!read(arg, first, n, chunk))
		{
			*ok = false;
			return 0;
		}
		for (; n > 0; n--)
		{
			if (mq_batches_valid(&chunk[n - 1], id, first + n - 1) &&
				chunk[n - 1].end_lsn <= redo)
			{
				*last = chunk[n - 1];
				return first + n;
			}
		}
		count = first;
	}
	return 0;
}

static pg_crc32c
descriptor_crc(const MqDescriptorDisk *d, const MqBatchesIdentity *id, uint32 number)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &id->topic, sizeof(id->topic));
	COMP_CRC32C(crc, &id->partition, sizeof(id->partition));
	COMP_CRC32C(crc, &id->segment_base, sizeof(id->segment_base));
	COMP_CRC32C(crc, &number, sizeof(number));
	COMP_CRC32C(crc, d, offsetof(MqDescriptorDisk, hint));
	FIN_CRC32C(crc);
	return crc;
}

static int64
field_of(const MqDescriptorDisk *d, MqBatchesField field)
{
	switch (field)
	{
		case MQ_BATCHES_BY_NEXT_OFFSET:
			return (int64) d->offset_delta + d->record_count;
		case MQ_BATCHES_BY_MAX_TIMESTAMP:
			return d->max_timestamp;
		case MQ_BATCHES_BY_END_LSN:
			return (int64) d->end_lsn;
	}
	return 0;
}
