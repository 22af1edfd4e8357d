/*
 * mq_log_segments.c
 *	  Which segment of a log holds an offset.
 *
 * The names of a log's files are the list of its segments.  Reading the folder
 * costs more than a short fetch does otherwise, so a process remembers the
 * lists of some logs.  One is good as long as no segment has come or gone since,
 * which the version in the log's slot tells; the version also changes when the
 * slot gets another log.  A file that somebody has taken away behind our back
 * is noticed, and the folder is read anew, so that what is missing is told of
 * in the same words as ever.
 *
 * Locking: none.  What is read of the slot is atomic.
 */
#include "postgres.h"

#include "storage/mq_log_internal.h"
#include "storage/mq_log_segments.h"
#include "storage/mq_segment.h"

#define REMEMBERED		16		/* logs, by their slots */

typedef struct Remembered
{
	MqLogKey	key;
	int			slot;
	uint32		version;
	MqSegmentList list;			/* empty: nothing is remembered */
} Remembered;

static Remembered remembered[REMEMBERED];

static bool is_good(const Remembered *entry, const MqLog *log, uint32 version);
static MqOffset find(const MqSegmentList *list, MqOffset offset);

bool
mq_log_segments_find(MqLog *log, MqOffset offset, MqOffset *segment)
{
	Remembered *entry = &remembered[log->slot % REMEMBERED];
	uint32		version = pg_atomic_read_u32(&log->segment_version);

	/* what should be before the first may have been brought back */
	if (is_good(entry, log, version) && entry->list.bases[0] <= offset)
	{
		*segment = find(&entry->list, offset);
		if (mq_segment_open(&log->key, *segment, MQ_SEGMENT_BATCHES, false) >= 0)
			return true;
	}

	mq_segment_list_free(&entry->list);
	if (!mq_segment_list(&log->key, 0, &entry->list))
		return false;
	entry->key = log->key;
	entry->slot = log->slot;
	entry->version = version;	/* as it was before the folder was read */
	*segment = find(&entry->list, offset);
	return true;
}

static bool
is_good(const Remembered *entry, const MqLog *log, uint32 version)
{
	return entry->list.n > 0 && entry->slot == log->slot &&
		entry->version == version && memcmp(&entry->key, &log->key, sizeof(entry->key)) == 0;
}

static MqOffset
find(const MqSegmentList *list, MqOffset offset)
{
	int			low = 0;
	int			high = list->n;

	if (list->n == 0)
		return -1;
	while (high - low > 1)
	{
		int			mid = low + (high - low) / 2;

		if (list->bases[mid] <= offset)
			low = mid;
		else
			high = mid;
	}
	return list->bases[low];
}
