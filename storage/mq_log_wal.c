/*
 * mq_log_wal.c
 *	  Our WAL records: build and redo, side by side; mq_log_desc.c describes them.
 *
 * The payload of every batch is in WAL, so crash recovery, standbys, base
 * backups and point-in-time recovery cover topics as they cover tables.
 * Redo writes what the record says at the place the record names.  It never
 * decides what became of a transaction: commit records are core's, and those
 * who want to know ask core (mq_settle.c).
 *
 * Redo does its own flush of WAL before anything that pruning at the next
 * boot cannot undo: hints and removed folders.
 *
 * Locking: redo takes the locks an appender takes, because a standby's
 *			readers and restartpoints run beside it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "access/xlogrecovery.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/mq_compat.h"
#include "base/mq_faults.h"
#include "storage/mq_append_plain.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_recover.h"
#include "storage/mq_log_remove.h"
#include "storage/mq_log_start.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_log_wal.h"
#include "storage/mq_segment.h"
#include "storage/mq_settle.h"

static XLogRecPtr insert_batch(MqLogAppendPlan *plan, MqLogBatch *batch, MqDescriptorDisk *d, MqLogEnd *end);
static void link_range(MqLogAppendPlan *plan, MqOffset base, XLogRecPtr end_lsn);
static void seal_descriptors(const MqLogAppendPlan *plan, const MqLogEnd *from, MqDescriptorDisk *descriptors);
static void write_batches(const MqLogAppendPlan *plan, const MqLogEnd *from, const MqDescriptorDisk *descriptors);

static XLogRecPtr insert_small(uint8 info, const void *xlrec, uint32 len);

static void mq_redo(XLogReaderState *record);
static void mq_desc(StringInfo buf, XLogReaderState *record);
static void mq_startup(void);
static void mq_cleanup(void);
static void redo_create(const xl_mq_create *xlrec);
static void redo_append_long(const char *data, uint32 len, XLogRecPtr end_lsn);
static void redo_append_plain(const char *data, uint32 len, XLogRecPtr end_lsn);
static void redo_append(const xl_mq_append *xlrec, const uint8 *header, const uint8 *rest, XLogRecPtr end_lsn);
static void redo_roll(const xl_mq_roll *xlrec);
static MqOffset redo_first_segment(MqLog *log, const MqLogKey *key);
static void redo_config(const xl_mq_config *xlrec);
static void redo_write_config(const MqLogKey *key, const MqLogConfig *config, bool known);
static void redo_drop(const xl_mq_drop *xlrec);
static MqLog *redo_lock(const MqLogKey *key);
static void redo_unlock(MqLog *log);
static void redo_make_log(MqLog *log, const MqLogKey *key, MqOffset log_start);
static void redo_write(const MqLogKey *key, MqOffset segment, MqSegmentFile kind,
					   struct iovec *iov, int n, off_t position, bool flush);

static MQ_RMGR_CONST RmgrData mq_rmgr = {
	.rm_name = MQ_RMGR_NAME,
	.rm_redo = mq_redo,
	.rm_desc = mq_desc,
	.rm_identify = mq_log_wal_identify,
	.rm_startup = mq_startup,
	.rm_cleanup = mq_cleanup,
};

void
mq_log_wal_register(void)
{
	RegisterCustomRmgr(MQ_RMGR_ID, &mq_rmgr);
}

/*
 * The heart of an append.  From the first WAL insertion to the last write
 * nothing may fail: the record is in WAL, so the bytes must reach the tail or
 * the file, or recovery must put them there.
 */
void
mq_log_wal_append(MqLogAppendPlan *plan)
{
	MqLog	   *log = plan->log;
	MqLogEnd	from = log->end;
	MqLogEnd	end = log->end;
	MqDescriptorDisk descriptors[MQ_APPEND_MAX_BATCHES];
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	int			i;

	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	Assert(!plan->direct || LWLockHeldByMeInMode(&log->sync_lock, LW_SHARED));
	Assert(plan->n > 0 && plan->n <= MQ_APPEND_MAX_BATCHES);

	START_CRIT_SECTION();
	mq_log_note_epoch(log, (MqEpoch) GetWALInsertionTimeLine() - 1, log->end.leo);
	if (plan->create)
	{
		xl_mq_create xlrec;

		memset(&xlrec, 0, sizeof(xlrec));
		xlrec.key = log->key;
		xlrec.log_start = mq_log_get(&log->log_start);
		(void) insert_small(XLOG_MQ_CREATE, &xlrec, sizeof(xlrec));
	}
	if (plan->roll)
		(void) mq_log_wal_roll(&log->key, log->end.segment);
	if (log->segment_first_timestamp == MQ_NO_TIMESTAMP)
		log->segment_first_timestamp = plan->batches[0].max_timestamp;
	for (i = 0; i < plan->n; i++)
		lsn = insert_batch(plan, &plan->batches[i], &descriptors[i], &end);
	link_range(plan, from.leo, lsn);
	mq_log_set_end(log, &end);
	log->last_append_lsn = lsn;
	log->last_append_at = plan->now;
	if (plan->direct)
		LWLockRelease(&log->append_lock);

	MQ_FAULT("append_after_wal");
	seal_descriptors(plan, &from, descriptors);
	if (plan->direct)
		write_batches(plan, &from, descriptors);
	else
	{
		mq_log_tail_put(plan, &from, descriptors);
		LWLockRelease(&log->append_lock);
	}
	END_CRIT_SECTION();
}

/* One record for one batch; moves *end past it. */
static XLogRecPtr
insert_batch(MqLogAppendPlan *plan, MqLogBatch *batch, MqDescriptorDisk *d, MqLogEnd *end)
{
	MqLog	   *log = plan->log;
	xl_mq_append xlrec;
	xl_mq_append_plain plain;
	uint32		packed;

	mq_batch_set_offset(batch->data, end->leo, log->epoch);
	log->max_timestamp = Max(log->max_timestamp, batch->max_timestamp);

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.key = log->key;
	xlrec.fxid = plan->fxid;
	xlrec.segment = end->segment;
	xlrec.base_offset = end->leo;
	xlrec.max_timestamp = log->max_timestamp;
	xlrec.position = end->position;
	xlrec.number = end->batches;
	xlrec.length = batch->length;
	xlrec.count = batch->count;
	xlrec.epoch = log->epoch;

	memset(d, 0, sizeof(*d));
	d->offset_delta = end->leo - end->segment;
	d->record_count = batch->count;
	d->position = end->position;
	d->length = batch->length;
	d->fxid = plan->fxid;
	d->max_timestamp = log->max_timestamp;
	mq_batches_tie(d, batch->data);

	packed = MQ_FAULT_FAILS("append_long_record") ? 0 : mq_append_plain_pack(&xlrec, batch->data, &plain);
	XLogBeginInsert();
	if (likely(packed > 0))
	{
		mq_register_data(&plain, packed);
		mq_register_data(batch->data + MQ_BATCH_HEADER_SIZE, batch->length - MQ_BATCH_HEADER_SIZE);
		d->end_lsn = XLogInsert(MQ_RMGR_ID, XLOG_MQ_APPEND_PLAIN);
	}
	else
	{
		mq_register_data(&xlrec, sizeof(xlrec));
		mq_register_data(batch->data, batch->length);
		d->end_lsn = XLogInsert(MQ_RMGR_ID, XLOG_MQ_APPEND);
	}

	end->leo += batch->count;
	end->position += batch->length;
	end->batches++;
	return d->end_lsn;
}

/* Puts the range at the end of the partition's list, or lengthens the one that is there. */
static void
link_range(MqLogAppendPlan *plan, MqOffset base, XLogRecPtr end_lsn)
{
	MqLog	   *log = plan->log;
	MqRangeShared *range = &mq_log_ranges[plan->range];
	MqOffset	next = base;
	int			i;

	for (i = 0; i < plan->n; i++)
		next += plan->batches[i].count;

	if (!plan->extend)
	{
		range->next = MQ_LOG_NO_RANGE;
		range->log_slot = log->slot;
		range->state = MQ_RANGE_IN_DOUBT;
		range->base = base;
		range->fxid = plan->fxid;
		range->decided_lsn = InvalidXLogRecPtr;
		range->since = plan->now;
		if (log->range_tail == MQ_LOG_NO_RANGE)
			log->range_head = plan->range;
		else
			mq_log_ranges[log->range_tail].next = plan->range;
		log->range_tail = plan->range;
		plan->out->log = log;
		plan->out->slot = plan->range;
		plan->out->base = base;
	}
	range->end = next;
	range->end_lsn = end_lsn;
	plan->out->next = next;
	plan->out->end_lsn = end_lsn;
}

static void
seal_descriptors(const MqLogAppendPlan *plan, const MqLogEnd *from, MqDescriptorDisk *descriptors)
{
	MqBatchesIdentity id;
	int			i;

	mq_segment_identity(&id, &plan->log->key, from->segment);
	for (i = 0; i < plan->n; i++)
		mq_batches_seal(&descriptors[i], &id, from->batches + i);
}

static void
write_batches(const MqLogAppendPlan *plan, const MqLogEnd *from, const MqDescriptorDisk *descriptors)
{
	struct iovec iov[MQ_APPEND_MAX_BATCHES];
	char		path[MQ_SEGMENT_PATH_MAX];
	int			i;

	for (i = 0; i < plan->n; i++)
	{
		iov[i].iov_base = plan->batches[i].data;
		iov[i].iov_len = plan->batches[i].length;
	}
	if (!mq_file_pwritev(plan->log_fd, iov, plan->n, from->position) ||
		MQ_FAULT_FAILS("append_write"))
	{
		mq_segment_path(path, &plan->log->key, from->segment, MQ_SEGMENT_LOG);
		mq_log_file_error("write file", path, PANIC);
	}
	MQ_FAULT("append_between_writes");
	if (!mq_file_pwrite(plan->batches_fd, descriptors, (size_t) plan->n * MQ_BATCHES_ENTRY_SIZE,
						(off_t) from->batches * MQ_BATCHES_ENTRY_SIZE))
	{
		mq_segment_path(path, &plan->log->key, from->segment, MQ_SEGMENT_BATCHES);
		mq_log_file_error("write file", path, PANIC);
	}
}

XLogRecPtr
mq_log_wal_roll(const MqLogKey *key, MqOffset segment)
{
	xl_mq_roll	xlrec;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.key = *key;
	xlrec.segment = segment;
	return insert_small(XLOG_MQ_ROLL, &xlrec, sizeof(xlrec));
}

XLogRecPtr
mq_log_wal_start(const MqLogKey *key, MqOffset log_start, MqOffset first_segment)
{
	xl_mq_start xlrec;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.key = *key;
	xlrec.log_start = log_start;
	xlrec.first_segment = first_segment;
	return insert_small(XLOG_MQ_START, &xlrec, sizeof(xlrec));
}

XLogRecPtr
mq_log_wal_remove(const MqLogKey *key)
{
	xl_mq_remove xlrec;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.key = *key;
	return insert_small(XLOG_MQ_REMOVE, &xlrec, sizeof(xlrec));
}

XLogRecPtr
mq_log_wal_config(const MqLogKey *key, const MqLogConfig *config, bool known)
{
	xl_mq_config xlrec;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.key = *key;
	xlrec.retention_ms = config->retention_ms;
	xlrec.retention_bytes = config->retention_bytes;
	xlrec.retired = config->retired ? 1 : 0;
	xlrec.known = known ? 1 : 0;
	return insert_small(XLOG_MQ_CONFIG, &xlrec, sizeof(xlrec));
}

XLogRecPtr
mq_log_wal_abort(const MqLogKey *key, uint64 fxid, MqOffset base, MqOffset next)
{
	xl_mq_abort xlrec;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.key = *key;
	xlrec.fxid = fxid;
	xlrec.base = base;
	xlrec.next = next;
	return insert_small(XLOG_MQ_ABORT, &xlrec, sizeof(xlrec));
}

XLogRecPtr
mq_log_wal_settle(const xl_mq_settle *settle, const xl_mq_run *runs)
{
	XLogBeginInsert();
	mq_register_data(settle, sizeof(*settle));
	if (settle->naborted > 0)
		mq_register_data(runs, sizeof(xl_mq_run) * settle->naborted);
	return XLogInsert(MQ_RMGR_ID, XLOG_MQ_SETTLE);
}

XLogRecPtr
mq_log_wal_drop(Oid dboid, const pg_uuid_t *topic)
{
	xl_mq_drop	xlrec;

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.dboid = dboid;
	xlrec.topic = *topic;
	return insert_small(XLOG_MQ_DROP, &xlrec, sizeof(xlrec));
}

/* A record that is one struct. */
static XLogRecPtr
insert_small(uint8 info, const void *xlrec, uint32 len)
{
	XLogBeginInsert();
	mq_register_data(xlrec, len);
	return XLogInsert(MQ_RMGR_ID, info);
}

static void
mq_redo(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;
	char	   *data = XLogRecGetData(record);
	static bool gaps_reported = false;

	mq_checkpoint_guard();
	MQ_FAULT("redo_record");
	if (reachedConsistency && !gaps_reported)
	{
		mq_log_recover_report_gaps();
		gaps_reported = true;	/* later ones are reported when they are met */
	}
	switch (info)
	{
		case XLOG_MQ_CREATE:
			redo_create((xl_mq_create *) data);
			break;
		case XLOG_MQ_APPEND:
			redo_append_long(data, XLogRecGetDataLen(record), record->EndRecPtr);
			break;
		case XLOG_MQ_APPEND_PLAIN:
			redo_append_plain(data, XLogRecGetDataLen(record), record->EndRecPtr);
			break;
		case XLOG_MQ_ROLL:
			redo_roll((xl_mq_roll *) data);
			break;
		case XLOG_MQ_ABORT:
			/* no flush: no history that keeps the append can hold a commit of it */
			mq_settle_redo_abort((xl_mq_abort *) data);
			break;
		case XLOG_MQ_SETTLE:
			XLogFlush(((xl_mq_settle *) data)->decided_lsn);
			mq_settle_redo((xl_mq_settle *) data, (xl_mq_run *) (data + sizeof(xl_mq_settle)));
			break;
		case XLOG_MQ_DROP:
			XLogFlush(record->EndRecPtr);
			redo_drop((xl_mq_drop *) data);
			break;
		case XLOG_MQ_START:
			mq_log_start_redo((xl_mq_start *) data, record->EndRecPtr);
			break;
		case XLOG_MQ_REMOVE:
			mq_log_start_redo_remove((xl_mq_remove *) data, record->EndRecPtr);
			break;
		case XLOG_MQ_CONFIG:
			redo_config((xl_mq_config *) data);
			break;
		default:
			elog(PANIC, "mq_ext: unknown WAL record type %u", info);
	}
}

/* With a backup label the logs are pruned here: see mq_log_recover.h. */
static void
mq_startup(void)
{
	mq_log_recover_startup();
}

static void
mq_cleanup(void)
{
	mq_log_recover_report_gaps();
}

static void
redo_create(const xl_mq_create *xlrec)
{
	MqLog	   *log = redo_lock(&xlrec->key);

	redo_make_log(log, &xlrec->key, xlrec->log_start);
	redo_unlock(log);
}

static void
redo_append_long(const char *data, uint32 len, XLogRecPtr end_lsn)
{
	const xl_mq_append *xlrec = (const xl_mq_append *) data;
	const uint8 *batch = (const uint8 *) data + sizeof(*xlrec);

	if (len < sizeof(*xlrec) + MQ_BATCH_HEADER_SIZE || xlrec->length != len - sizeof(*xlrec))
		elog(PANIC, "mq_ext: malformed WAL record of an append");
	redo_append(xlrec, batch, batch + MQ_BATCH_HEADER_SIZE, end_lsn);
}

static void
redo_append_plain(const char *data, uint32 len, XLogRecPtr end_lsn)
{
	xl_mq_append xlrec;
	uint8		header[MQ_BATCH_HEADER_SIZE];
	const uint8 *rest;

	if (!mq_append_plain_unpack(data, len, &xlrec, header, &rest))
		elog(PANIC, "mq_ext: malformed WAL record of an append");
	redo_append(&xlrec, header, rest, end_lsn);
}

/* rest is the batch behind its header. */
static void
redo_append(const xl_mq_append *xlrec, const uint8 *header, const uint8 *rest, XLogRecPtr end_lsn)
{
	MqLog	   *log = redo_lock(&xlrec->key);
	MqDescriptorDisk d;
	MqBatchesIdentity id;
	struct iovec batch[] = {
		{(void *) header, MQ_BATCH_HEADER_SIZE},
		{(void *) rest, xlrec->length - MQ_BATCH_HEADER_SIZE}
	};
	struct iovec descriptor = {&d, sizeof(d)};

	redo_make_log(log, &xlrec->key, 0);
	if (xlrec->segment < redo_first_segment(log, &xlrec->key))
	{
		/* a later record, replayed before this server went down, has removed it */
		redo_unlock(log);
		return;
	}
	memset(&d, 0, sizeof(d));
	d.offset_delta = xlrec->base_offset - xlrec->segment;
	d.record_count = xlrec->count;
	d.position = xlrec->position;
	d.length = xlrec->length;
	d.end_lsn = end_lsn;
	d.fxid = xlrec->fxid;
	d.max_timestamp = xlrec->max_timestamp;
	mq_batches_tie(&d, header);
	mq_segment_identity(&id, &xlrec->key, xlrec->segment);
	mq_batches_seal(&d, &id, xlrec->number);

	if (log != NULL)
		mq_log_mark_dirty(log, xlrec->segment);
	redo_write(&xlrec->key, xlrec->segment, MQ_SEGMENT_LOG, batch, lengthof(batch),
			   xlrec->position, log == NULL);
	MQ_FAULT("redo_between_writes");
	redo_write(&xlrec->key, xlrec->segment, MQ_SEGMENT_BATCHES, &descriptor, 1,
			   (off_t) xlrec->number * MQ_BATCHES_ENTRY_SIZE, log == NULL);
	if (log == NULL)
	{
		/* a reader may have loaded the log meanwhile, without this batch */
		log = redo_lock(&xlrec->key);
		if (log == NULL)
			return;
	}
	mq_log_recover_replayed(log, xlrec, end_lsn);
	redo_unlock(log);
}

static void
redo_roll(const xl_mq_roll *xlrec)
{
	MqLog	   *log = redo_lock(&xlrec->key);

	redo_make_log(log, &xlrec->key, 0);
	if (xlrec->segment < redo_first_segment(log, &xlrec->key))
	{
		redo_unlock(log);
		return;
	}
	redo_write(&xlrec->key, xlrec->segment, MQ_SEGMENT_BATCHES, NULL, 0, 0, log == NULL);
	redo_write(&xlrec->key, xlrec->segment, MQ_SEGMENT_LOG, NULL, 0, 0, log == NULL);
	if (log != NULL && xlrec->segment > log->end.segment && xlrec->segment >= log->end.leo)
		mq_log_begin_segment(log, xlrec->segment);
	redo_unlock(log);
}

/* Without a slot only the state file knows; one that cannot be read has none removed. */
static MqOffset
redo_first_segment(MqLog *log, const MqLogKey *key)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;

	if (log != NULL)
		return mq_log_get(&log->first_segment);
	if (!mq_state_read(key, slots, valid, &current) || current < 0)
		return 0;
	return slots[current].first_segment;
}

/* Without a slot to carry it to the next checkpoint it goes into the state file at once. */
static void
redo_config(const xl_mq_config *xlrec)
{
	MqLog	   *log = redo_lock(&xlrec->key);
	MqLogConfig config;

	memset(&config, 0, sizeof(config));
	config.retention_ms = xlrec->retention_ms;
	config.retention_bytes = xlrec->retention_bytes;
	config.retired = xlrec->retired != 0;
	if (log == NULL)
	{
		redo_write_config(&xlrec->key, &config, xlrec->known != 0);
		/* a reader may have loaded the log meanwhile, with what the state said before */
		log = redo_lock(&xlrec->key);
	}
	if (log != NULL && log->state == MQ_LOG_DISABLED)
	{
		redo_unlock(log);
		redo_write_config(&xlrec->key, &config, xlrec->known != 0);
		return;
	}
	if (log != NULL && log->has_files)
	{
		config.segment_bytes = log->config.segment_bytes;
		config.segment_ms = log->config.segment_ms;
		log->config = config;
		log->config_known = xlrec->known != 0;
		mq_log_mark_dirty(log, Max(log->end.segment, 0));
	}
	redo_unlock(log);
}

static void
redo_write_config(const MqLogKey *key, const MqLogConfig *config, bool known)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	bool		got;
	char		dir[MQ_SEGMENT_PATH_MAX];

	mq_segment_dir(dir, key);
	LWLockAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE);
	got = mq_state_read(key, slots, valid, &current);
	if (!got && errno != ENOENT)
		mq_log_file_error("read the state in folder", dir, ERROR);
	if (got && current >= 0)
	{
		mq_state_set_config(&slots[current], config, known);
		if (!mq_state_write(key, &slots[current], true))
			mq_log_file_error("write the state in folder", dir, PANIC);
	}
	LWLockRelease(&mq_log_table->sync_all_lock);
}

/* Removes a dropped topic's folder, or a dropped database's. */
static void
redo_drop(const xl_mq_drop *xlrec)
{
	mq_log_remove_files(xlrec->dboid, &xlrec->topic);
}

/* The partition's slot with an appender's locks held; NULL when the table is full. */
static MqLog *
redo_lock(const MqLogKey *key)
{
	MqLog	   *log = mq_log_open_redo(key);

	if (log != NULL)
	{
		LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
		LWLockAcquire(&log->sync_lock, LW_SHARED);
	}
	return log;
}

static void
redo_unlock(MqLog *log)
{
	if (log == NULL)
		return;
	LWLockRelease(&log->sync_lock);
	LWLockRelease(&log->append_lock);
	mq_log_unpin_redo(log);
}

/* Folder and state file, unless they are there. */
static void
redo_make_log(MqLog *log, const MqLogKey *key, MqOffset log_start)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	bool		got;
	char		dir[MQ_SEGMENT_PATH_MAX];

	if (log != NULL && log->has_files)
		return;
	mq_segment_dir(dir, key);
	if (!mq_segment_make_dirs(key))
		mq_log_file_error("create file", dir, ERROR);
	got = mq_state_read(key, slots, valid, &current);
	/* one that cannot be read must not be taken for none */
	if (current < 0 && (got || errno == ENOENT))
	{
		mq_state_init(&slots[0], key);
		slots[0].log_start = log_start;
		if (!mq_state_create(key, &slots[0], log == NULL))
			mq_log_file_error("create file", dir, ERROR);
		/* no slot to carry the mark */
		if (log == NULL && (!mq_file_sync_path(dir, true) || !mq_segment_sync_parents(key, dir)))
			mq_log_file_error("fsync file", dir, PANIC);
	}
	if (log == NULL)
		return;
	log->has_files = true;
	log->dirty_dir = log->dirty_parents = true;
	mq_log_mark_dirty(log, Max(log->end.segment, 0));
}

/* Writes at the recorded place, making the file if need be; nothing to write still makes it. */
static void
redo_write(const MqLogKey *key, MqOffset segment, MqSegmentFile kind,
		   struct iovec *iov, int n, off_t position, bool flush)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	char		dir[MQ_SEGMENT_PATH_MAX];
	int			fd = mq_segment_open(key, segment, kind, true);

	mq_segment_path(path, key, segment, kind);
	if (fd < 0)
		mq_log_file_error("open file", path, ERROR);
	if (n > 0 && !mq_file_pwritev(fd, iov, n, position))
		mq_log_file_error("write file", path, ERROR);
	if (!flush)
		return;

	/* no slot to carry a dirty mark to the next restartpoint */
	mq_segment_dir(dir, key);
	if (!mq_file_sync(fd) || !mq_file_sync_path(dir, true))
		mq_log_file_error("fsync file", path, PANIC);
}

static void
mq_desc(StringInfo buf, XLogReaderState *record)
{
	MqLogWalInfo info;

	if (mq_log_wal_describe(record, &info))
		appendStringInfoString(buf, info.description);
}
