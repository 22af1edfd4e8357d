/*
 * mq_scan_share.c
 *	  A scan's work, handed out to several processes.
 *
 * A parallel scan of a topic is cut by offsets.  Each process takes the next
 * piece of a partition when it is done with its last one, finds it through the
 * log's index and reads it as any reader does.  A batch that lies across the
 * border of two pieces is read by both, and each gives its own records of it;
 * so pieces are large beside a batch, and there are enough of them that the
 * processes end at about the same time.
 *
 * The scan's ends are those of the process that began it.
 *
 * Locking: a spinlock over what is handed out next.  All else is written before
 * others know of the share, or while nobody is at work.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "storage/spin.h"

#include "broker/mq_scan_share.h"

#define PIECES			64		/* of a scan, unless they become too small */
#define PIECE_MIN		16384
#define PIECE_MAX		(1024 * 1024)

struct MqScanShare
{
	slock_t		mutex;
	int			next_part;		/* (mutex) */
	MqOffset	next;			/* (mutex) in that part; below its start: at its start */
	pg_atomic_flag counted;
	MqOffset	piece;			/* offsets */
	int			nparts;
	MqScanSharePart parts[FLEXIBLE_ARRAY_MEMBER];
};

Size
mq_scan_share_size(int nparts)
{
	return add_size(offsetof(MqScanShare, parts), mul_size(nparts, sizeof(MqScanSharePart)));
}

void
mq_scan_share_init(MqScanShare *share, const MqScanSharePart *parts, int nparts, int64 expected)
{
	int			i;

	SpinLockInit(&share->mutex);
	pg_atomic_init_flag(&share->counted);
	share->nparts = 0;
	for (i = 0; i < nparts; i++)
	{
		if (parts[i].start < parts[i].end)
			share->parts[share->nparts++] = parts[i];
	}
	share->piece = Min(Max(expected / PIECES, PIECE_MIN), PIECE_MAX);
	mq_scan_share_restart(share);
}

void
mq_scan_share_restart(MqScanShare *share)
{
	share->next_part = 0;
	share->next = 0;
}

int
mq_scan_share_parts(const MqScanShare *share, const MqScanSharePart **parts)
{
	*parts = share->parts;
	return share->nparts;
}

bool
mq_scan_share_claim(MqScanShare *share, int *part, MqOffset *from, MqOffset *to)
{
	bool		found;

	SpinLockAcquire(&share->mutex);
	found = share->next_part < share->nparts;
	if (found)
	{
		const MqScanSharePart *at = &share->parts[share->next_part];

		*part = share->next_part;
		*from = Max(share->next, at->start);
		*to = Min(*from + share->piece, at->end);
		share->next = *to;
		if (*to == at->end)
		{
			share->next_part++;
			share->next = 0;
		}
	}
	SpinLockRelease(&share->mutex);
	return found;
}

bool
mq_scan_share_is_first(MqScanShare *share)
{
	return pg_atomic_test_set_flag(&share->counted);
}
