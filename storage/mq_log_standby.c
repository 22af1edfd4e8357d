/*
 * mq_log_standby.c
 *	  What readers of a hot standby may see of a log.
 *
 * On a standby nobody publishes: commit records are core's and have no hook.
 * Readers therefore look themselves.  Redo appends batches; the first whose
 * transaction the proc array still counts as running bounds what may be read.
 * TransactionIdIsInProgress() is asked before pg_xact, in this order only.
 *
 * Who sleeps cannot look; while a sleeper and a batch in doubt exist, the
 * settler looks for it, every 20 ms.
 *
 * Locking: the append lock exclusively, which redo needs too; what is read
 *			under it is a few descriptors.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "storage/mq_fate.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_standby.h"
#include "storage/mq_segment.h"

static bool decide_segment(MqLog *log, MqOffset *lso);

bool		(*mq_log_sleepers_hook) (int slot) = NULL;

void
mq_log_standby_refresh(MqLog *log)
{
	MqOffset	lso;

	if (mq_log_get(&log->lso) >= mq_log_get(&log->leo))
		return;
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	if (!RecoveryInProgress())
	{
		/* promoted while we waited: from now on appenders say what is in doubt */
		mq_log_go_live(log);
		LWLockRelease(&log->append_lock);
		return;
	}
	lso = mq_log_get(&log->lso);
	while (log->end.segment >= 0 && decide_segment(log, &lso))
	{
		MqSegmentList list;
		bool		more;

		if (log->decided_segment >= log->end.segment ||
			!mq_segment_list(&log->key, log->decided_segment + 1, &list))
			break;
		more = list.n > 0;
		if (more)
		{
			log->decided_segment = list.bases[0];
			log->decided_batch = 0;
		}
		mq_segment_list_free(&list);
		if (!more)
			break;
	}
	/* nothing left undecided: offsets that no batch took are passed too */
	if (log->decided_segment == log->end.segment && log->decided_batch >= log->end.batches)
		lso = log->end.leo;
	if (lso > mq_log_get(&log->lso))
		pg_atomic_write_u64(&log->lso, lso);
	mq_log_check(log);
	LWLockRelease(&log->append_lock);
}

bool
mq_log_wake_standby(void)
{
	bool		again = false;
	int			i;

	if (!RecoveryInProgress() || mq_log_sleepers_hook == NULL)
		return false;
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log;

		if (!mq_log_sleepers_hook(i) || (log = mq_log_pin_slot(i)) == NULL)
			continue;
		again = true;
		mq_log_standby_refresh(log);
		if (mq_log_publish_hook != NULL)
			mq_log_publish_hook(i, log->dropped ? PG_INT64_MAX : mq_log_get(&log->lso));
		mq_log_unpin(log);
	}
	return again;
}

/* Moves on through one segment; true when all of it is decided. */
static bool
decide_segment(MqLog *log, MqOffset *lso)
{
	MqBatchesIdentity id;
	int			fd = mq_segment_open(&log->key, log->decided_segment, MQ_SEGMENT_BATCHES, false);
	uint32		count;

	if (fd < 0)
		return true;
	count = log->decided_segment == log->end.segment ? log->end.batches :
		Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE;
	mq_segment_identity(&id, &log->key, log->decided_segment);
	for (; log->decided_batch < count; log->decided_batch++)
	{
		MqDescriptorDisk d;

		if (!mq_segment_read_batches(&fd, log->decided_batch, 1, &d))
			return false;
		/* readers report damage when they get there */
		if (!mq_batches_valid(&d, &id, log->decided_batch))
			continue;
		if (mq_fate(&d) == MQ_FATE_IN_DOUBT)
			return false;
		*lso = Max(*lso, log->decided_segment + d.offset_delta + d.record_count);
	}
	return true;
}
