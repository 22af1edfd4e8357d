/*
 * mq_fetch_kept.c
 *	  Messages that one fetch has given, kept to be read as often as asked.
 *
 * A set-returning function must give all its rows before the first is read,
 * and a join may read them again; a tuplestore does that for any rows, at a
 * price that is a multiple of what reading the log costs.  These are records:
 * copied as they are, and made into values when, and as far as, a plan needs.
 *
 * Up to work_mem they stay in memory, in chunks.  What comes then goes to a
 * temporary file, which is read after the memory.
 *
 * The memory of a small fetch is kept from fetch to fetch: memory that was
 * just got from the system costs a page fault for each 4 kB.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "commands/tablespace.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

#include "mq_ext/mq_fetch_kept.h"

#define FIRST_CHUNK		(32 * 1024)
#define LARGEST_CHUNK	(1024 * 1024)

/* So much memory is kept between two fetches. */
#define LARGEST_SPARE	(256 * 1024)

/* Before the bytes: one to spare, the key, one to spare, the value, the headers. */
typedef struct Entry
{
	MqOffset	offset;
	MqTimestamp timestamp;
	Size		size;			/* of all, aligned */
	Size		prev_size;		/* of the entry before */
	int32		partition;
	int32		key_len;		/* -1 = null, as with the value */
	int32		value_len;
	int32		headers_len;
	int32		header_count;
} Entry;

typedef struct Chunk
{
	struct Chunk *prev;
	struct Chunk *next;
	char	   *data;
	Size		size;
	Size		used;
} Chunk;

struct MqFetchKept
{
	MemoryContext context;
	MemoryContextCallback callback;
	MqFetchKeep keep;
	bool		has_spare;

	Chunk	   *first;
	Chunk	   *last;
	Size		in_memory;		/* size of all chunks */
	Size		last_size;		/* of the last entry */
	BufFile    *file;			/* NULL = all are in memory */
	int64		in_file;

	/* the entry that is being written to the file, or was read from it */
	char	   *buffer;
	Size		buffer_size;

	/* the reader: what it gave last (NULL = nothing), and where the next is */
	const Entry *current;
	Chunk	   *chunk;
	Size		at;				/* in the chunk */
	int64		read;			/* of the entries in the file */
	bool		ended;			/* it has gone past the last */
};

static char *spare = NULL;
static Size spare_size = 0;
static bool spare_taken = false;

static void release_spare(void *arg);
static void grow_spare(Size size);
static void add_chunk(MqFetchKept *kept, char *data, Size size);
static Entry *room_for(MqFetchKept *kept, Size size);
static void open_file(MqFetchKept *kept);
static void need_buffer(MqFetchKept *kept, Size size, Size keep);
static const Entry *next_entry(MqFetchKept *kept);
static const Entry *previous_entry(MqFetchKept *kept);
static const Entry *read_entry(MqFetchKept *kept);
static void read_exactly(MqFetchKept *kept, void *to, Size size);
static void seek_file(MqFetchKept *kept, off_t to, int whence);

MqFetchKept *
mq_fetch_kept_begin(MqFetchKeep keep)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mq fetched messages",
												  ALLOCSET_DEFAULT_SIZES);
	MqFetchKept *kept = MemoryContextAllocZero(context, sizeof(MqFetchKept));

	kept->context = context;
	kept->keep = keep;
	kept->callback.func = release_spare;
	kept->callback.arg = kept;
	MemoryContextRegisterResetCallback(context, &kept->callback);
	if (!spare_taken)
	{
		if (spare == NULL)
			grow_spare(FIRST_CHUNK);
		add_chunk(kept, spare, spare_size);
		kept->has_spare = spare_taken = true;
	}
	else
		add_chunk(kept, MemoryContextAlloc(context, FIRST_CHUNK), FIRST_CHUNK);
	mq_fetch_kept_rewind(kept);
	return kept;
}

void
mq_fetch_kept_end(MqFetchKept *kept)
{
	Size		in_memory = kept->in_memory;
	bool		had_spare = kept->has_spare;

	if (kept->file != NULL)
		BufFileClose(kept->file);
	MemoryContextDelete(kept->context);
	if (had_spare && in_memory > spare_size && spare_size < LARGEST_SPARE)
		grow_spare(Min(in_memory, LARGEST_SPARE));
}

/* Whatever ends the fetch, an error too. */
static void
release_spare(void *arg)
{
	MqFetchKept *kept = arg;

	if (kept->has_spare)
		spare_taken = false;
}

static void
grow_spare(Size size)
{
	if (spare != NULL)
		pfree(spare);
	spare = NULL;
	spare_size = 0;
	spare = MemoryContextAlloc(TopMemoryContext, size);
	spare_size = size;
}

bool
mq_fetch_kept_put(void *arg, int32 partition, const MqRecord *record)
{
	MqFetchKept *kept = arg;
	int32		key_len = kept->keep.keys && record->key != NULL ? record->key_len : -1;
	int32		value_len = kept->keep.values && record->value != NULL ? record->value_len : -1;
	int32		headers_len = kept->keep.headers ? record->headers_len : 0;
	Size		size = MAXALIGN(sizeof(Entry) + 2 + (Size) Max(key_len, 0) + Max(value_len, 0) + headers_len);
	Entry	   *entry = room_for(kept, size);
	uint8	   *bytes = (uint8 *) (entry + 1);

	entry->offset = record->offset;
	entry->timestamp = record->timestamp;
	entry->size = size;
	entry->prev_size = kept->last_size;
	kept->last_size = size;
	entry->partition = partition;
	entry->key_len = key_len;
	entry->value_len = value_len;
	entry->headers_len = headers_len;
	entry->header_count = kept->keep.headers ? record->header_count : 0;
	*bytes++ = 0;
	if (key_len > 0)
	{
		memcpy(bytes, record->key, key_len);
		bytes += key_len;
	}
	*bytes++ = 0;
	if (value_len > 0)
	{
		memcpy(bytes, record->value, value_len);
		bytes += value_len;
	}
	if (headers_len > 0)
		memcpy(bytes, record->headers, headers_len);

	if (unlikely(kept->file != NULL))
	{
		BufFileWrite(kept->file, entry, size);
		kept->in_file++;
	}
	return true;
}

static void
add_chunk(MqFetchKept *kept, char *data, Size size)
{
	Chunk	   *chunk = MemoryContextAlloc(kept->context, sizeof(Chunk));

	chunk->prev = kept->last;
	chunk->next = NULL;
	chunk->data = data;
	chunk->size = size;
	chunk->used = 0;
	if (kept->last == NULL)
		kept->first = chunk;
	else
		kept->last->next = chunk;
	kept->last = chunk;
	kept->in_memory += size;
}

/* In memory, or in the buffer of what goes to the file. */
static Entry *
room_for(MqFetchKept *kept, Size size)
{
	Chunk	   *chunk = kept->last;

	if (unlikely(kept->file == NULL && chunk->size - chunk->used < size))
	{
		Size		chunk_size = Max(size, Min(chunk->size * 2, LARGEST_CHUNK));

		if (kept->in_memory + chunk_size <= work_mem * (Size) 1024)
			add_chunk(kept, MemoryContextAllocHuge(kept->context, chunk_size), chunk_size);
		else
			open_file(kept);
		chunk = kept->last;
	}
	if (unlikely(kept->file != NULL))
	{
		need_buffer(kept, size, 0);
		return (Entry *) kept->buffer;
	}
	chunk->used += size;
	return (Entry *) (chunk->data + chunk->used - size);
}

/* It must live as long as all the rest. */
static void
open_file(MqFetchKept *kept)
{
	MemoryContext old = MemoryContextSwitchTo(kept->context);

	PrepareTempTablespaces();
	kept->file = BufFileCreateTemp(false);
	MemoryContextSwitchTo(old);
}

/* At least so large; so many bytes of what it holds stay. */
static void
need_buffer(MqFetchKept *kept, Size size, Size keep)
{
	char	   *old = kept->buffer;

	if (size <= kept->buffer_size)
		return;
	kept->buffer_size = size + size / 2;
	kept->buffer = MemoryContextAllocHuge(kept->context, kept->buffer_size);
	if (old == NULL)
		return;
	memcpy(kept->buffer, old, keep);
	pfree(old);
}

void
mq_fetch_kept_rewind(MqFetchKept *kept)
{
	kept->current = NULL;
	kept->chunk = kept->first;
	kept->at = 0;
	kept->read = 0;
	kept->ended = false;
	if (kept->file != NULL)
		seek_file(kept, 0, SEEK_SET);
}

bool
mq_fetch_kept_next(MqFetchKept *kept, bool forward, int32 *partition, MqRecord *record)
{
	const Entry *entry = forward ? next_entry(kept) : previous_entry(kept);
	const uint8 *bytes;

	if (entry == NULL)
		return false;
	bytes = (const uint8 *) (entry + 1) + 1;
	*partition = entry->partition;
	record->offset = entry->offset;
	record->timestamp = entry->timestamp;
	record->key_len = entry->key_len;
	record->key = entry->key_len < 0 ? NULL : bytes;
	bytes += Max(entry->key_len, 0) + 1;
	record->value_len = entry->value_len;
	record->value = entry->value_len < 0 ? NULL : bytes;
	bytes += Max(entry->value_len, 0);
	record->headers = bytes;
	record->headers_len = entry->headers_len;
	record->header_count = entry->header_count;
	return true;
}

static const Entry *
next_entry(MqFetchKept *kept)
{
	while (unlikely(kept->at >= kept->chunk->used) && kept->chunk->next != NULL)
	{
		kept->chunk = kept->chunk->next;
		kept->at = 0;
	}
	if (likely(kept->at < kept->chunk->used))
	{
		kept->current = (const Entry *) (kept->chunk->data + kept->at);
		kept->at += kept->current->size;
		return kept->current;
	}
	if (kept->read < kept->in_file)
	{
		kept->read++;
		return read_entry(kept);
	}
	kept->ended = true;
	return NULL;
}

/* As a tuplestore: from behind the last to the last, else to the one before the current. */
static const Entry *
previous_entry(MqFetchKept *kept)
{
	const Entry *current = kept->current;
	Size		prev_size;

	if (kept->ended || current == NULL)
	{
		kept->ended = false;
		return current;
	}
	prev_size = current->prev_size;
	if (kept->read > 1)
	{
		kept->read--;
		seek_file(kept, -(off_t) (current->size + prev_size), SEEK_CUR);
		return read_entry(kept);
	}
	if (kept->read == 1)
	{
		kept->read = 0;
		seek_file(kept, 0, SEEK_SET);
	}
	else
		kept->at -= current->size;
	while (kept->at == 0 && kept->chunk->prev != NULL)
	{
		kept->chunk = kept->chunk->prev;
		kept->at = kept->chunk->used;
	}
	kept->current = kept->at == 0 ? NULL : (const Entry *) (kept->chunk->data + kept->at - prev_size);
	return kept->current;
}

static const Entry *
read_entry(MqFetchKept *kept)
{
	Size		size;

	need_buffer(kept, sizeof(Entry), 0);
	read_exactly(kept, kept->buffer, sizeof(Entry));
	size = ((Entry *) kept->buffer)->size;
	need_buffer(kept, size, sizeof(Entry));
	read_exactly(kept, kept->buffer + sizeof(Entry), size - sizeof(Entry));
	kept->current = (const Entry *) kept->buffer;
	return kept->current;
}

static void
read_exactly(MqFetchKept *kept, void *to, Size size)
{
	Size		got = BufFileRead(kept->file, to, size);

	if (got != size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from a temporary file: read only %zu of %zu bytes", got, size)));
}

static void
seek_file(MqFetchKept *kept, off_t to, int whence)
{
	if (BufFileSeek(kept->file, 0, to, whence) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in a temporary file: %m")));
}
