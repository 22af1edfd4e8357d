/*
 * fuzz_descriptor.c
 *	  libFuzzer: a .batches file from anywhere.
 *
 * The first byte says whether descriptors get a good CRC, or the fuzzer would
 * never get behind it.  What search and prune find is checked against a walk:
 * prune exactly; search, whose entries do not rise here, by what it promises
 * of the one it returns.
 */
#include "postgres.h"

#include "storage/mq_batches.h"

#include "fields.h"

#define MAX_ENTRIES	80			/* more than prune looks at together */

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

typedef struct Input
{
	MqBatchesIdentity id;
	uint32		count;
	MqDescriptorDisk d[MAX_ENTRIES];
} Input;

static void check_entry(Input *in, uint32 number);
static void check_search(Input *in, MqBatchesField field, int64 key);
static void check_prune(Input *in, XLogRecPtr redo);
static bool read_entries(void *arg, uint32 first, uint32 n, MqDescriptorDisk *out);


int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static Input in;
	uint8		seal;
	uint32		i;

	if (size == 0)
		return 0;
	seal = data[0];
	memset(&in.id, data[0], sizeof(in.id));
	in.count = Min((size - 1) / MQ_BATCHES_ENTRY_SIZE, MAX_ENTRIES);
	if (in.count > 0)
		memcpy(in.d, data + 1, (size_t) in.count * MQ_BATCHES_ENTRY_SIZE);
	for (i = 0; i < in.count; i++)
	{
		if (seal & 1 << i % 8)
			mq_batches_seal(&in.d[i], &in.id, i);
		check_entry(&in, i);
	}
	for (i = 0; i < in.count; i++)
	{
		MqBatchesField field;

		for (field = MQ_BATCHES_BY_NEXT_OFFSET; field <= MQ_BATCHES_BY_END_LSN; field++)
			check_search(&in, field, field_of(&in.d[i], field));
		check_prune(&in, in.d[i].end_lsn);
	}
	check_prune(&in, 0);
	check_prune(&in, PG_UINT64_MAX);
	return 0;
}

/* A valid one is valid nowhere else. */
static void
check_entry(Input *in, uint32 number)
{
	MqBatchesIdentity other = in->id;

	if (!mq_batches_valid(&in->d[number], &in->id, number))
		return;
	other.partition ^= 1;
	if (in->d[number].record_count == 0 ||
		mq_batches_valid(&in->d[number], &in->id, number + 1) ||
		mq_batches_valid(&in->d[number], &other, number))
		abort();
}

static void
check_search(Input *in, MqBatchesField field, int64 key)
{
	uint32		near;

	/* the last one: from nowhere */
	for (near = 0; near <= in->count; near++)
	{
		MqBatchesWindow window;
		bool		ok = false;
		uint32		found = mq_batches_search_near(&in->id, in->count, field, key, near,
												   read_entries, in, &window, &ok);

		if (!ok || found > in->count || window.first + window.n > in->count)
			abort();
		if (found < in->count &&
			(!mq_batches_valid(&in->d[found], &in->id, found) || field_of(&in->d[found], field) <= key))
			abort();
	}
}

static void
check_prune(Input *in, XLogRecPtr redo)
{
	MqDescriptorDisk last;
	bool		ok = false;
	uint32		got = mq_batches_prune(&in->id, in->count, redo, read_entries, in, &last, &ok);
	uint32		expected = 0;
	uint32		i;

	for (i = 0; i < in->count; i++)
	{
		if (mq_batches_valid(&in->d[i], &in->id, i) && in->d[i].end_lsn <= redo)
			expected = i + 1;
	}
	if (!ok || got != expected || (got > 0 && memcmp(&last, &in->d[got - 1], sizeof(last)) != 0))
		abort();
}

static bool
read_entries(void *arg, uint32 first, uint32 n, MqDescriptorDisk *out)
{
	Input	   *in = (Input *) arg;

	if (first + n > in->count)
		abort();
	memcpy(out, &in->d[first], sizeof(MqDescriptorDisk) * n);
	return true;
}
