/*
 * test_batches.c
 *	  storage/mq_batches: seal, validate, search, prune.
 *
 * Searches are compared with a walk over all entries, for every set of
 * damaged entries of a small file and every key.
 */
#include "postgres.h"

#include "storage/mq_batches.h"

#include "fields.h"
#include "mq_selftest.h"

#define SMALL		9			/* entries whose 2^n sets of damage are all tried */
#define LARGE		300			/* more than prune looks at together */
#define FIRST_LSN	UINT64CONST(0x100000000)

/* A .batches file in memory. */
typedef struct Entries
{
	MqBatchesIdentity id;
	uint32		count;
	uint32		fails_at;		/* the entry that cannot be read */
	MqDescriptorDisk d[LARGE];
} Entries;

static void check_layout(void);
static void check_flips(void);
static void check_identity(void);
static void check_hints(void);
static void check_impossible(void);
static void check_search(void);
static bool finds_from_anywhere(Entries *e, MqBatchesField field, int64 key);
static void check_search_large(void);
static void check_search_failure(void);
static void check_prune(void);
static void check_prune_large(void);
static void check_prune_failure(void);
static void make_identity(MqBatchesIdentity *id);
static void make_golden(MqDescriptorDisk *d);
static void make_entries(Entries *e, uint32 count);
static void damage(Entries *e, uint32 number);
static void make_damaged(Entries *e, uint32 count, uint32 set);
static bool read_entries(void *arg, uint32 first, uint32 n, MqDescriptorDisk *out);
static uint32 walk_search(Entries *e, MqBatchesField field, int64 key);
static uint32 walk_prune(Entries *e, XLogRecPtr redo);
static bool prunes_like_a_walk(Entries *e, XLogRecPtr redo);


void
test_batches(void)
{
	check_layout();
	check_flips();
	check_identity();
	check_hints();
	check_impossible();
	check_search();
	check_search_large();
	check_search_failure();
	check_prune();
	check_prune_large();
	check_prune_failure();
}

/* The bytes are those of the file that was written when the format was fixed. */
static void
check_layout(void)
{
	MqBatchesIdentity id;
	MqDescriptorDisk d;

	make_identity(&id);
	make_golden(&d);
	mq_batches_seal(&d, &id, 5);
	selftest_pinned(&d, sizeof(d), "descriptor.bin");
	selftest_ok(mq_batches_valid(&d, &id, 5), "a sealed descriptor is valid");
}

static void
check_flips(void)
{
	MqBatchesIdentity id;
	MqDescriptorDisk d;
	uint8	   *bytes = (uint8 *) &d;
	int			i;

	make_identity(&id);
	make_golden(&d);
	mq_batches_seal(&d, &id, 5);
	for (i = 0; i < (int) sizeof(d); i++)
	{
		bool		in_hint = i == offsetof(MqDescriptorDisk, hint);
		uint8		good = bytes[i];
		int			wrong = 0;
		int			value;

		for (value = 0; value < 256; value++)
		{
			bytes[i] = (uint8) value;
			if (value != good && mq_batches_valid(&d, &id, 5) != in_hint)
				wrong++;
		}
		bytes[i] = good;
		selftest_int(wrong, 0, "every other value of byte %d is %s", i, in_hint ? "let pass" : "seen");
	}
}

/* Every bit of the identity and of the number counts, the padding between them doesn't. */
static void
check_identity(void)
{
	MqBatchesIdentity id;
	MqBatchesIdentity other;
	MqDescriptorDisk d;
	int			wrong = 0;
	int			bit;

	make_identity(&id);
	make_golden(&d);
	mq_batches_seal(&d, &id, 5);
	for (bit = 0; bit < UUID_LEN * 8; bit++)
	{
		other = id;
		other.topic.data[bit / 8] ^= 1 << bit % 8;
		wrong += mq_batches_valid(&d, &other, 5);
	}
	selftest_int(wrong, 0, "no other topic's descriptor is valid");
	for (bit = 0; bit < 32; bit++)
	{
		other = id;
		other.partition ^= (int32) (UINT32_C(1) << bit);
		wrong += mq_batches_valid(&d, &other, 5);
	}
	selftest_int(wrong, 0, "no other partition's");
	for (bit = 0; bit < 64; bit++)
	{
		other = id;
		other.segment_base ^= (int64) (UINT64CONST(1) << bit);
		wrong += mq_batches_valid(&d, &other, 5);
	}
	selftest_int(wrong, 0, "no other segment's");
	for (bit = 0; bit < 32; bit++)
		wrong += mq_batches_valid(&d, &id, 5 ^ (UINT32_C(1) << bit));
	selftest_int(wrong, 0, "none from another place in the file");

	memset(&other, 0xff, sizeof(other));
	other.topic = id.topic;
	other.partition = id.partition;
	other.segment_base = id.segment_base;
	selftest_ok(mq_batches_valid(&d, &other, 5), "what lies between the fields does not count");
}

static void
check_hints(void)
{
	static const uint8 hints[] = {
		MQ_HINT_UNDECIDED, MQ_HINT_COMMITTED, MQ_HINT_ABORTED,
		MQ_HINT_COMMITTED | MQ_HINT_SETTLED, MQ_HINT_ABORTED | MQ_HINT_SETTLED
	};
	MqBatchesIdentity id;
	MqDescriptorDisk d;
	uint32		crc;
	int			i;

	make_identity(&id);
	make_golden(&d);
	mq_batches_seal(&d, &id, 5);
	crc = d.crc;
	for (i = 0; i < (int) lengthof(hints); i++)
	{
		d.hint = hints[i];
		mq_batches_seal(&d, &id, 5);
		selftest_ok(d.crc == crc && d.hint == hints[i], "hint 0x%02x leaves the CRC alone and is left alone", hints[i]);
	}
}

/* Good CRCs of what is no descriptor all the same. */
static void
check_impossible(void)
{
	MqBatchesIdentity id;
	MqDescriptorDisk d;

	make_identity(&id);
	memset(&d, 0, sizeof(d));
	selftest_ok(!mq_batches_valid(&d, &id, 0), "zeros are no descriptor");
	mq_batches_seal(&d, &id, 0);
	selftest_ok(!mq_batches_valid(&d, &id, 0), "nor is one of a batch without records");
	d.record_count = 1;
	mq_batches_seal(&d, &id, 0);
	selftest_ok(mq_batches_valid(&d, &id, 0), "but one of a batch with one is");
	d.version = 0;
	mq_batches_seal(&d, &id, 0);
	selftest_int(d.version, MQ_BATCHES_VERSION, "sealing sets the version");
}

/* Each field, each set of damaged entries, each key at, below and above what stands there. */
static void
check_search(void)
{
	static const MqBatchesField fields[] = {
		MQ_BATCHES_BY_NEXT_OFFSET, MQ_BATCHES_BY_MAX_TIMESTAMP, MQ_BATCHES_BY_END_LSN
	};
	static const char *const names[] = {"offset", "time", "LSN"};
	Entries		e;
	int			f;
	uint32		count;

	for (f = 0; f < (int) lengthof(fields); f++)
	{
		for (count = 0; count <= SMALL; count++)
		{
			uint32		set;
			int			wrong = 0;

			for (set = 0; set < UINT32_C(1) << count; set++)
			{
				uint32		i;

				make_damaged(&e, count, set);
				for (i = 0; i <= 3 * count; i++)
				{
					/* damage hits the stored field, not the key */
					int64		at = f == 0 ? (i / 3 + 1) * 10 : f == 1 ? 1000 + (i / 3) / 2 :
						(int64) FIRST_LSN + (i / 3) * 100;
					int64		key = at + (int64) (i % 3) - 1;
					bool		ok = false;
					uint32		got = mq_batches_search(&e.id, count, fields[f], key, read_entries, &e, &ok);

					wrong += !ok || got != walk_search(&e, fields[f], key);
					wrong += !finds_from_anywhere(&e, fields[f], key);
				}
			}
			selftest_int(wrong, 0, "search by %s among %u entries, whichever are damaged", names[f], count);
		}
	}
}

/* Wherever the search begins, and the window holds what is in the file. */
static bool
finds_from_anywhere(Entries *e, MqBatchesField field, int64 key)
{
	uint32		expected = walk_search(e, field, key);
	uint32		near;

	for (near = 0; near <= e->count; near++)
	{
		MqBatchesWindow window;
		bool		ok = false;

		if (mq_batches_search_near(&e->id, e->count, field, key, near, read_entries, e, &window, &ok) != expected ||
			!ok || window.first + window.n > e->count ||
			memcmp(window.entries, &e->d[window.first], window.n * sizeof(MqDescriptorDisk)) != 0)
			return false;
	}
	return true;
}

/* In more than a window holds, with damage longer than one, at its edges and around where the search begins. */
static void
check_search_large(void)
{
	Entries		e;
	uint32		from;

	for (from = 0; from <= LARGE; from += 20)
	{
		uint32		length;

		for (length = 0; length <= 140; length += 35)
		{
			uint32		i;
			int			wrong = 0;

			make_entries(&e, LARGE);
			for (i = from; i < Min(from + length, LARGE); i++)
				damage(&e, i);
			for (i = 0; i <= LARGE; i += 7)
				wrong += !finds_from_anywhere(&e, MQ_BATCHES_BY_NEXT_OFFSET, i * 10);
			selftest_int(wrong, 0, "search among %d entries, %u damaged from %u", LARGE, length, from);
		}
	}
}

static void
check_search_failure(void)
{
	Entries		e;
	bool		ok = true;

	make_entries(&e, SMALL);
	e.fails_at = SMALL / 2;
	selftest_int(mq_batches_search(&e.id, SMALL, MQ_BATCHES_BY_END_LSN, 0, read_entries, &e, &ok), SMALL,
				 "nothing is found where nothing can be read");
	selftest_ok(!ok, "and that is told");
}

/* Each set of damaged entries, each redo pointer. */
static void
check_prune(void)
{
	Entries		e;
	uint32		count;

	for (count = 0; count <= SMALL; count++)
	{
		uint32		set;
		int			wrong = 0;

		for (set = 0; set < UINT32_C(1) << count; set++)
		{
			uint32		i;

			make_damaged(&e, count, set);
			for (i = 0; i <= 3 * count; i++)
				wrong += !prunes_like_a_walk(&e, FIRST_LSN + (i / 3) * 100 + i % 3 - 1);
			wrong += !prunes_like_a_walk(&e, 0);
			wrong += !prunes_like_a_walk(&e, PG_UINT64_MAX);
		}
		selftest_int(wrong, 0, "prune %u entries, whichever are damaged", count);
	}
}

/* Around the edges of what is read together; a damaged tail is cut, damage before a good entry is kept. */
static void
check_prune_large(void)
{
	static Entries e;
	uint32		tail;
	uint32		i;
	int			wrong = 0;

	make_entries(&e, LARGE);
	for (i = 0; i <= LARGE; i++)
		wrong += !prunes_like_a_walk(&e, FIRST_LSN + i * 100 - 1);
	selftest_int(wrong, 0, "prune %d entries at each", LARGE);

	for (tail = 1; tail <= LARGE; tail++)
	{
		damage(&e, LARGE - tail);
		wrong += !prunes_like_a_walk(&e, PG_UINT64_MAX);
	}
	selftest_int(wrong, 0, "a damaged tail of any length is cut");

	make_entries(&e, LARGE);
	for (i = 0; i < LARGE - 1; i++)
		damage(&e, i);
	wrong += !prunes_like_a_walk(&e, PG_UINT64_MAX);
	wrong += walk_prune(&e, PG_UINT64_MAX) != LARGE;
	selftest_int(wrong, 0, "one good entry keeps all before it");
	wrong += !prunes_like_a_walk(&e, e.d[LARGE - 1].end_lsn - 1);
	selftest_int(wrong, 0, "if its WAL is below the redo pointer");
}

static void
check_prune_failure(void)
{
	Entries		e;
	MqDescriptorDisk last;
	bool		ok = true;

	make_entries(&e, SMALL);
	e.fails_at = 0;
	selftest_int(mq_batches_prune(&e.id, SMALL, PG_UINT64_MAX, read_entries, &e, &last, &ok), 0,
				 "nothing is vouched for where nothing can be read");
	selftest_ok(!ok, "and that is told");
}

static void
make_identity(MqBatchesIdentity *id)
{
	int			i;

	memset(id, 0, sizeof(*id));
	for (i = 0; i < UUID_LEN; i++)
		id->topic.data[i] = (unsigned char) (0xa0 + i);
	id->partition = 7;
	id->segment_base = INT64CONST(0x0102030405060708);
}

/* Every byte of every field differs from its neighbours. */
static void
make_golden(MqDescriptorDisk *d)
{
	memset(d, 0, sizeof(*d));
	d->offset_delta = 0x01020304;
	d->record_count = 0x11121314;
	d->position = 0x21222324;
	d->length = 0x31323334;
	d->end_lsn = UINT64CONST(0x4142434445464748);
	d->fxid = UINT64CONST(0x5152535455565758);
	d->max_timestamp = INT64CONST(0x6162636465666768);
	d->hint = MQ_HINT_ABORTED | MQ_HINT_SETTLED;
}

/* Ten records a batch, two batches a millisecond, a WAL record of 100 bytes each. */
static void
make_entries(Entries *e, uint32 count)
{
	uint32		i;

	make_identity(&e->id);
	e->count = count;
	e->fails_at = PG_UINT32_MAX;
	for (i = 0; i < count; i++)
	{
		MqDescriptorDisk *d = &e->d[i];

		memset(d, 0, sizeof(*d));
		d->offset_delta = i * 10;
		d->record_count = 10;
		d->position = i * 80;
		d->length = 80;
		d->end_lsn = FIRST_LSN + i * 100;
		d->max_timestamp = 1000 + i / 2;
		mq_batches_seal(d, &e->id, i);
	}
}

/* Turns all fields into ones that would mislead a search. */
static void
damage(Entries *e, uint32 number)
{
	MqDescriptorDisk *d = &e->d[number];

	d->offset_delta = number % 2 == 0 ? 0 : PG_UINT32_MAX;
	d->end_lsn = number % 2 == 0 ? 1 : PG_UINT64_MAX / 2;
	d->max_timestamp = number % 2 == 0 ? 0 : PG_INT64_MAX;
}

/* Those whose bits are set are damaged. */
static void
make_damaged(Entries *e, uint32 count, uint32 set)
{
	uint32		i;

	make_entries(e, count);
	for (i = 0; i < count; i++)
	{
		if (set & UINT32_C(1) << i)
			damage(e, i);
	}
}

static bool
read_entries(void *arg, uint32 first, uint32 n, MqDescriptorDisk *out)
{
	Entries    *e = (Entries *) arg;

	if (first + n > e->count)
		abort();				/* never asked for what is not there */
	if (e->fails_at >= first && e->fails_at < first + n)
		return false;
	memcpy(out, &e->d[first], sizeof(MqDescriptorDisk) * n);
	return true;
}

static uint32
walk_search(Entries *e, MqBatchesField field, int64 key)
{
	uint32		i;

	for (i = 0; i < e->count; i++)
	{
		if (mq_batches_valid(&e->d[i], &e->id, i) && field_of(&e->d[i], field) > key)
			return i;
	}
	return e->count;
}

static uint32
walk_prune(Entries *e, XLogRecPtr redo)
{
	uint32		result = 0;
	uint32		i;

	for (i = 0; i < e->count; i++)
	{
		if (mq_batches_valid(&e->d[i], &e->id, i) && e->d[i].end_lsn <= redo)
			result = i + 1;
	}
	return result;
}

static bool
prunes_like_a_walk(Entries *e, XLogRecPtr redo)
{
	MqDescriptorDisk last;
	bool		ok = false;
	uint32		expected = walk_prune(e, redo);
	uint32		got = mq_batches_prune(&e->id, e->count, redo, read_entries, e, &last, &ok);

	return ok && got == expected &&
		(got == 0 || memcmp(&last, &e->d[got - 1], sizeof(last)) == 0);
}
