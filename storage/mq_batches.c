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

/* How far before the place where a search begins its first look goes. */
#define LOOK_BACK 8

/* Where the low half of a record batch's CRC stands. */
#define BATCH_CRC_LOW 19

/* A search: [low, high) is left, and the best so far. */
typedef struct Range
{
	uint32		low;
	uint32		high;
	uint32		found;
} Range;

static bool is_in(const MqBatchesWindow *window, uint32 number);
static bool look(MqBatchesWindow *window, uint32 first, uint32 end, MqBatchesRead read, void *arg);
static void narrow(Range *range, const MqBatchesIdentity *id, MqBatchesField field, int64 key,
				   const MqBatchesWindow *window);
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

uint32
mq_batches_search(const MqBatchesIdentity *id, uint32 count, MqBatchesField field,
				  int64 key, MqBatchesRead read, void *arg, bool *ok)
{
	MqBatchesWindow window;

	return mq_batches_search_near(id, count, field, key, count, read, arg, &window, ok);
}

/*
 * Binary search; the middle of a damaged stretch is found by stepping to the
 * next valid entry, and a stretch without one is cut off at its low end.
 */
uint32
mq_batches_search_near(const MqBatchesIdentity *id, uint32 count, MqBatchesField field,
					   int64 key, uint32 near, MqBatchesRead read, void *arg,
					   MqBatchesWindow *window, bool *ok)
{
	Range		range = {0, count, count};

	window->first = window->n = 0;
	*ok = true;
	if (near < count)
	{
		*ok = look(window, near - Min(near, LOOK_BACK), count, read, arg);
		if (*ok)
			narrow(&range, id, field, key, window);
	}
	while (*ok && range.low < range.high)
	{
		uint32		mid = range.low + (range.high - range.low) / 2;
		uint32		probe = mid;

		for (; probe < range.high; probe++)
		{
			if (!is_in(window, probe))
			{
				bool		rest = range.high - range.low <= MQ_BATCHES_WINDOW;

				*ok = look(window, rest ? range.low : probe, rest ? range.high : probe + 1, read, arg);
				if (!*ok)
					break;
			}
			if (mq_batches_valid(&window->entries[probe - window->first], id, probe))
				break;
		}
		if (!*ok)
			break;
		if (probe == range.high)
			range.high = mid;
		else if (field_of(&window->entries[probe - window->first], field) > key)
		{
			range.found = probe;
			range.high = mid;
		}
		else
			range.low = probe + 1;
	}
	if (!*ok)
		window->n = 0;
	return *ok ? range.found : count;
}

static bool
is_in(const MqBatchesWindow *window, uint32 number)
{
	return number >= window->first && number - window->first < window->n;
}

/* Reads [first, end), or as much of it as the window holds. */
static bool
look(MqBatchesWindow *window, uint32 first, uint32 end, MqBatchesRead read, void *arg)
{
	window->first = first;
	window->n = Min(end - first, MQ_BATCHES_WINDOW);
	return read(arg, first, window->n, window->entries);
}

/* What the first and the last valid entry of the window tell. */
static void
narrow(Range *range, const MqBatchesIdentity *id, MqBatchesField field, int64 key,
	   const MqBatchesWindow *window)
{
	uint32		i;

	for (i = 0; i < window->n; i++)
	{
		uint32		number = window->first + i;

		if (!mq_batches_valid(&window->entries[i], id, number))
			continue;
		if (field_of(&window->entries[i], field) > key)
		{
			range->found = range->high = number;
			return;
		}
		range->low = number + 1;
		break;
	}
	for (i = window->n; i > 0; i--)
	{
		uint32		number = window->first + i - 1;

		if (number < range->low || !mq_batches_valid(&window->entries[i - 1], id, number))
			continue;
		if (field_of(&window->entries[i - 1], field) > key)
			range->found = range->high = number;
		else
			range->low = number + 1;
		return;
	}
}

/* Walks back from the end: see storage/README.md, "Recovery". */
uint32
mq_batches_prune(const MqBatchesIdentity *id, uint32 count, XLogRecPtr redo,
				 MqBatchesRead read, void *arg, MqDescriptorDisk *last, bool *ok)
{
	MqDescriptorDisk chunk[MQ_BATCHES_WINDOW];

	*ok = true;
	while (count > 0)
	{
		uint32		n = Min(count, MQ_BATCHES_WINDOW);
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
