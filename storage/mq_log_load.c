/*
 * mq_log_load.c
 *	  Reads what a slot of the table must know of its log from disk.
 *
 * Happens when a partition is opened for the first time since boot, or again
 * after its slot had been given away.  The end is found as recovery finds it;
 * walking back to the last settled descriptor tells what is left in doubt.
 *
 * A log that cannot be read is disabled: to writers and readers alike it must
 * not look like one that is empty.  Who is only short of descriptors or memory
 * has learned nothing of the log, and leaves it to the next opener.
 *
 * Locking: the caller holds the append lock exclusively.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/xlog.h"

#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_segment.h"

static bool was_disabled(const MqLogKey *key);
static bool give_up(MqLog *log);
static void mark_loaded(MqLog *log);
static bool load_files(MqLog *log, const MqStateDisk slots[2], const bool valid[2]);
static bool load_end(MqLog *log, const MqSegmentList *list, const MqStateDisk slots[2], const bool valid[2]);
static int64 leo_of_state(const MqStateDisk slots[2], const bool valid[2]);
static void load_settled(MqLog *log, const MqSegmentList *list);
static MqTimestamp first_timestamp(MqLog *log);

bool
mq_log_load(MqLog *log)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current = -1;
	char		dir[MQ_SEGMENT_PATH_MAX];
	bool		state_there;
	bool		usable;

	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	if (log->loaded)
		return true;
	mq_segment_dir(dir, &log->key);
	errno = 0;
	log->has_files = mq_file_exists(dir);
	if (!log->has_files && errno == ENOENT)
	{
		log->live = !RecoveryInProgress();
		mark_loaded(log);
		return true;
	}

	/* a log that cannot be read must not look like one that is empty */
	state_there = log->has_files && !was_disabled(&log->key) &&
		mq_state_read(&log->key, slots, valid, &current);
	usable = state_there || errno == ENOENT;
	if (usable && current >= 0)
	{
		const MqStateDisk *state = &slots[current];

		pg_atomic_write_u64(&log->log_start, state->log_start);
		pg_atomic_write_u64(&log->first_segment, state->first_segment);
		log->stated_segment = log->removed_below = state->first_segment;
		log->config_known = mq_state_get_config(state, &log->config);
		if (state->epochs_used > 0)
			mq_log_note_epoch(log, state->epochs[state->epochs_used - 1].epoch,
							  state->epochs[state->epochs_used - 1].start);
	}
	if (!usable || !load_files(log, slots, valid))
		return give_up(log);

	/*
	 * A start that failed half-way leaves a folder without a valid state; the
	 * next append or redo must write it, or a checkpoint would miss it.
	 */
	if (current < 0 && (!state_there || log->end.segment < 0))
		log->has_files = false;
	else if (current < 0)
		log->state = MQ_LOG_DAMAGED;

	pg_atomic_write_u64(&log->leo, log->end.leo);
	pg_atomic_write_u64(&log->hw, log->end.leo);
	mq_log_go_live(log);
	mq_log_check(log);
	mark_loaded(log);
	if (log->left_in_doubt && !RecoveryInProgress())
		mq_log_note_unsettled(log);
	return true;
}

/* By errno: true when the log is disabled now, false when the next opener may have more luck. */
static bool
give_up(MqLog *log)
{
	char		dir[MQ_SEGMENT_PATH_MAX];
	bool		dropped = log->dropped;

	if (mq_file_is_shortage())
	{
		mq_log_reset(log);
		log->dropped = dropped;
		return false;
	}
	mq_segment_dir(dir, &log->key);
	log->state = MQ_LOG_DISABLED;
	mq_log_file_error("read the log in folder", dir, LOG_SERVER_ONLY);
	mark_loaded(log);
	return true;
}

/* Could boot not check it? */
static bool
was_disabled(const MqLogKey *key)
{
	static const pg_uuid_t none;
	int			i;

	errno = EIO;
	if (mq_log_table->disabled_overflow)
		return true;
	for (i = 0; i < mq_log_table->disabled; i++)
	{
		const MqLogKey *d = &mq_log_table->disabled_keys[i];

		if (d->dboid != key->dboid)
			continue;
		if (memcmp(&d->topic, &none, UUID_LEN) == 0 ||
			(memcmp(&d->topic, &key->topic, UUID_LEN) == 0 &&
			 (d->partition == -1 || d->partition == key->partition)))
			return true;
	}
	errno = 0;
	return false;
}

/* Others look at the flag without the lock: all that was read must be there before it. */
static void
mark_loaded(MqLog *log)
{
	pg_write_barrier();
	log->loaded = true;
}

/* The part of loading that reads segments; false with errno. */
static bool
load_files(MqLog *log, const MqStateDisk slots[2], const bool valid[2])
{
	MqSegmentList list;
	bool		ok;
	int			save_errno;

	if (!mq_segment_list(&log->key, mq_log_get(&log->first_segment), &list))
		return false;
	ok = load_end(log, &list, slots, valid);
	save_errno = errno;
	if (ok)
		load_settled(log, &list);
	mq_segment_list_free(&list);
	errno = save_errno;
	return ok;
}

static bool
load_end(MqLog *log, const MqSegmentList *list, const MqStateDisk slots[2], const bool valid[2])
{
	MqLogFound	found;

	if (!mq_log_find_end(&log->key, list, PG_UINT64_MAX, mq_log_get(&log->first_segment),
						 mq_state_vouch(slots, valid, PG_UINT64_MAX), &found))
		return false;
	if (found.damaged)
		log->state = MQ_LOG_DAMAGED;
	log->damaged_segment = found.damaged_segment;
	log->end = found.end;
	if (found.there.batches > 0)
	{
		log->max_timestamp = found.last.max_timestamp;
		log->last_append_lsn = found.last.end_lsn;
	}

	/* an empty segment behind the last batch is the active one */
	if (list->n > 0 && list->bases[list->n - 1] > found.end.segment)
	{
		log->end.segment = list->bases[list->n - 1];
		log->end.batches = 0;
		log->end.position = 0;
	}
	log->end.leo = Max(log->end.leo, log->end.segment);
	log->end.leo = Max(log->end.leo, leo_of_state(slots, valid));
	log->segment_first_timestamp = first_timestamp(log);
	return true;
}

/* The log end that completed checkpoints remember, so that an emptied log counts on. */
static int64
leo_of_state(const MqStateDisk slots[2], const bool valid[2])
{
	int64		leo = 0;
	int			s;
	int			c;

	for (s = 0; s < 2; s++)
	{
		if (!valid[s])
			continue;
		leo = Max(leo, slots[s].log_start);
		for (c = 0; c < 2; c++)
			leo = Max(leo, slots[s].checkpoints[c].redo != 0 ? slots[s].checkpoints[c].leo : 0);
	}
	return leo;
}

/* Walks back to the last settled descriptor: what comes after it is left in doubt. */
static void
load_settled(MqLog *log, const MqSegmentList *list)
{
	MqOffset	lso = mq_log_get(&log->log_start);
	int			i;

	log->settled_segment = list->n > 0 ? list->bases[0] : 0;
	log->settled_batch = 0;
	for (i = list->n - 1; i >= 0 && log->settled_batch == 0; i--)
	{
		MqBatchesIdentity id;
		char		path[MQ_SEGMENT_PATH_MAX];
		uint32		number;
		int			fd;

		mq_segment_path(path, &log->key, list->bases[i], MQ_SEGMENT_BATCHES);
		fd = mq_file_open(path, O_RDONLY);
		if (fd < 0)
			continue;
		mq_segment_identity(&id, &log->key, list->bases[i]);
		for (number = Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE; number > 0; number--)
		{
			MqDescriptorDisk d;

			if (!mq_segment_read_batches(&fd, number - 1, 1, &d))
				break;
			if (mq_batches_valid(&d, &id, number - 1) && (d.hint & MQ_HINT_SETTLED) != 0)
			{
				log->settled_segment = list->bases[i];
				log->settled_batch = number;
				lso = Max(lso, list->bases[i] + d.offset_delta + d.record_count);
				break;
			}
		}
		mq_file_close(fd);
	}
	log->decided_segment = log->settled_segment;
	log->decided_batch = log->settled_batch;
	log->left_in_doubt = log->end.segment >= 0 &&
		(log->settled_segment < log->end.segment ? log->end.leo > lso :
		 log->settled_batch < log->end.batches);
	log->unsettled = log->left_in_doubt;
	pg_atomic_write_u64(&log->lso, Max(lso, log->settled_batch == 0 && list->n > 0 ? list->bases[0] : 0));
}

/* When the active segment begins, by its first batch; it rolls by that. */
static MqTimestamp
first_timestamp(MqLog *log)
{
	uint8		header[MQ_BATCH_HEADER_SIZE];
	MqBatchInfo info;
	char		path[MQ_SEGMENT_PATH_MAX];
	MqTimestamp result = MQ_NO_TIMESTAMP;
	int			fd;

	if (log->end.segment < 0 || log->end.batches == 0)
		return MQ_NO_TIMESTAMP;
	mq_segment_path(path, &log->key, log->end.segment, MQ_SEGMENT_LOG);
	fd = mq_file_open(path, O_RDONLY);
	if (fd < 0)
		return MQ_NO_TIMESTAMP;
	if (mq_file_pread(fd, header, sizeof(header), 0) == sizeof(header) &&
		mq_batch_parse(header, PG_INT32_MAX, &info) == MQ_BATCH_OK)
		result = info.base_timestamp;
	mq_file_close(fd);
	return result;
}
