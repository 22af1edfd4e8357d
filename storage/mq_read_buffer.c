/*
 * mq_read_buffer.c
 *	  The memory that readers of logs read into.
 *
 * One buffer is kept from reader to reader: memory that was just got from the
 * system costs a page fault for each page, which short fetches feel.
 *
 * What it holds is kept too.  A consumer goes on where it stopped, mostly in
 * the middle of a batch, which then need not be read and checked once more.
 * What lies below the last stable offset does not change; a file that has
 * changed all the same, by its size or times, is read again.
 *
 * Locking: none; all of this is private to one backend.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "storage/mq_read_buffer.h"
#include "storage/mq_segment.h"

static uint8 *kept = NULL;
static size_t kept_size = 0;
static bool kept_taken = false;

/* What it holds, while nobody has taken it. */
static MqLogKey held_key;
static MqReadBuffer held;

static bool take_kept(MqReadBuffer *buffer, size_t len);
static void let_go(MqReadBuffer *buffer);

void
mq_read_buffer_need(MqReadBuffer *buffer, size_t len, MemoryContext context)
{
	buffer->length = 0;
	buffer->has_checked = false;
	if (len <= buffer->size || take_kept(buffer, len))
		return;
	let_go(buffer);
	buffer->data = MemoryContextAlloc(context, len);
	buffer->size = len;
}

static bool
take_kept(MqReadBuffer *buffer, size_t len)
{
	if (len > MQ_READ_BUFFER_LARGEST || (kept_taken && !buffer->is_kept))
		return false;
	held.length = 0;
	if (kept_size < len)
	{
		size_t		size = Max(len, MQ_READ_BUFFER_FIRST);

		if (kept != NULL)
			pfree(kept);
		kept = NULL;
		kept_size = 0;
		kept = MemoryContextAlloc(TopMemoryContext, size);
		kept_size = size;
	}
	if (!buffer->is_kept)
		let_go(buffer);
	kept_taken = true;
	buffer->is_kept = true;
	buffer->data = kept;
	buffer->size = kept_size;
	return true;
}

static void
let_go(MqReadBuffer *buffer)
{
	if (buffer->is_kept)
		kept_taken = false;
	else if (buffer->data != NULL)
		pfree(buffer->data);
	buffer->data = NULL;
	buffer->size = 0;
	buffer->is_kept = false;
}

void
mq_read_buffer_end(MqReadBuffer *buffer, const MqLogKey *key)
{
	if (buffer->is_kept && !buffer->written && buffer->length > 0)
	{
		held = *buffer;
		held_key = *key;
	}
	let_go(buffer);
}

void
mq_read_buffer_resume(MqReadBuffer *buffer, const MqLogKey *key, MqOffset segment)
{
	MqFileStamp stamp;
	int			fd;

	if (kept_taken || held.length == 0 || held.segment != segment ||
		memcmp(&held_key, key, sizeof(MqLogKey)) != 0)
		return;
	fd = mq_segment_open(key, segment, MQ_SEGMENT_LOG, false);
	if (fd < 0 || !mq_file_stamp(fd, &stamp) || !mq_file_same_stamp(&stamp, &held.stamp))
		return;
	*buffer = held;
	held.length = 0;
	kept_taken = true;
}

void
mq_read_buffer_release(void)
{
	kept_taken = false;
}
