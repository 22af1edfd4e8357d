/*
 * mq_checkpoint.c
 *	  Makes what is dirty durable inside every checkpoint and restartpoint.
 *
 * Once a checkpoint has completed, WAL before its redo pointer is gone, so
 * every byte that such WAL put into our files must be on disk by then.
 * PostgreSQL has no hook for that, but it has a place that comes at the right
 * moment in the right process: "checkpoint starting" is reported right after
 * the redo pointer is fixed and before the checkpoint's own work, in online,
 * shutdown and end-of-recovery checkpoints and in restartpoints.  So we keep
 * log_checkpoints on and listen to that report.  The administrator's own wish
 * is kept: if it was off, the lines do not reach the log.
 *
 * What could silence the report is refused (log_min_messages above LOG), and
 * what happened all the same is noticed: appenders and redo compare the redo
 * pointer in pg_control with the last one served here, and sync everything
 * when a checkpoint has completed without us.
 *
 * The redo pointer served last is kept in a file too: see mq_served.h.
 *
 * Errors: a sync that fails is a PANIC, and none is ever tried again.  The
 * hook may run in a critical section, so nothing here pallocs.
 *
 * Locking: two passes.  The first takes the dirty marks of each partition
 *			under its append and sync locks; an append whose record lies below
 *			the redo pointer has then been written.  The second works without
 *			locks.  sync_all_lock keeps two passes apart.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "base/mq_compat.h"
#include "base/mq_faults.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_segment.h"
#include "storage/mq_served.h"

/* From so many dirty logs on the file system is synced as a whole. */
#define MANY_LOGS		512

static emit_log_hook_type previous_hook = NULL;
static bool show_checkpoints = true;	/* the administrator's log_checkpoints */

static void listen_for_checkpoints(ErrorData *edata);
static void guard_log_min_messages(void);
static bool check_log_min_messages(int *newval, void **extra, GucSource source);
static void serve(XLogRecPtr redo);
static void take_marks(MqLog *log, XLogRecPtr redo);
static void sync_log(MqLog *log, XLogRecPtr redo);
static void sync_segment(MqLog *log, MqOffset base);
static void sync_or_panic(const char *path, bool is_dir);
static void sync_many(XLogRecPtr redo);
static void write_state(MqLog *log, XLogRecPtr redo, bool flush);
static XLogRecPtr last_completed(void);
static void vouch(MqLog *log, XLogRecPtr redo, MqStateCheckpoint *ck);
static bool vouch_in_segment(MqLog *log, MqOffset base, uint32 count, XLogRecPtr redo, MqStateCheckpoint *ck);

void
mq_checkpoint_install(void)
{
	guard_log_min_messages();
	show_checkpoints = log_checkpoints;
	SetConfigOption("log_checkpoints", "on", PGC_POSTMASTER, PGC_S_OVERRIDE);
	previous_hook = emit_log_hook;
	emit_log_hook = listen_for_checkpoints;
}

void
mq_checkpoint_boot(XLogRecPtr redo)
{
	pg_atomic_write_u64(&mq_log_table->redo_served, redo);
}

/*
 * Cheap while the redo pointer stands still.  Takes locks of rank "table", so
 * the caller holds none of ours.
 */
void
mq_checkpoint_guard(void)
{
	static XLogRecPtr seen = InvalidXLogRecPtr;
	XLogRecPtr	redo = GetRedoRecPtr();
	XLogRecPtr	completed;
	TimeLineID	tli;

	if (redo == seen)
		return;

	/* pg_control follows only when the checkpoint is complete */
	GetOldestRestartPoint(&completed, &tli);
	if (completed > pg_atomic_read_u64(&mq_log_table->redo_served))
	{
		serve(completed);
		ereport(WARNING,
				(errmsg("a checkpoint at %X/%X completed without syncing the logs of mq_ext",
						LSN_FORMAT_ARGS(completed)),
				 errdetail("All logs have been synced now; a power failure since that checkpoint may have lost messages."),
				 errhint("Nothing may keep messages of level LOG from the server log.")));
	}
	if (completed == redo)
		seen = redo;
}

/*
 * Vouches for the whole log as of its last append: a checkpoint whose redo
 * pointer lies behind that finds it synced.
 */
void
mq_checkpoint_sync_one(MqLog *log)
{
	XLogRecPtr	redo;

	LWLockAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE);
	redo = Max(log->last_append_lsn, pg_atomic_read_u64(&mq_log_table->redo_served));
	take_marks(log, redo);
	if (log->sync_wanted)
		sync_log(log, redo);
	LWLockRelease(&mq_log_table->sync_all_lock);
}

static void
listen_for_checkpoints(ErrorData *edata)
{
	if (edata->funcname != NULL && strncmp(edata->funcname, "LogCheckpoint", 13) == 0)
	{
		if (strcmp(edata->funcname, "LogCheckpointStart") == 0 && mq_log_is_attached() &&
			!MQ_FAULT_FAILS("checkpoint_unheard"))
			serve(GetRedoRecPtr());
		if (!show_checkpoints)
			edata->output_to_server = false;
	}
	if (previous_hook != NULL)
		previous_hook(edata);
}

/* Refuses to start, or to reload, with a setting that would silence us. */
static void
guard_log_min_messages(void)
{
	struct config_generic **variables = get_guc_variables();
	int			n = GetNumConfigOptions();
	int			i;

	if (log_min_messages == FATAL || log_min_messages == PANIC)
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mq_ext needs log_min_messages to be \"log\" or lower"),
				 errdetail("Checkpoints are noticed by what they report at level LOG."),
				 errhint("Set log_min_messages to \"warning\" and start again.")));
	for (i = 0; i < n; i++)
	{
		if (strcmp(variables[i]->name, "log_min_messages") == 0)
			((struct config_enum *) variables[i])->check_hook = check_log_min_messages;
	}
}

static bool
check_log_min_messages(int *newval, void **extra, GucSource source)
{
	if ((*newval == FATAL || *newval == PANIC) &&
		(source <= PGC_S_ARGV || !IsUnderPostmaster))
	{
		GUC_check_errmsg("mq_ext needs log_min_messages to be \"log\" or lower");
		GUC_check_errdetail("Checkpoints are noticed by what they report at level LOG.");
		return false;
	}
	return true;
}

/* Makes durable all that lies below the redo pointer, and more. */
static void
serve(XLogRecPtr redo)
{
	int			wanted = 0;
	int			i;

	LWLockAcquire(&mq_log_table->sync_all_lock, LW_EXCLUSIVE);
	if (!MQ_FAULT_FAILS("checkpoint_sync"))
	{
		for (i = 0; i < mq_log_table->slots; i++)
		{
			MqLog	   *log = &mq_log_slots[i];

			if (log->in_use)
				take_marks(log, redo);
			wanted += log->sync_wanted ? 1 : 0;
		}
		MQ_FAULT("checkpoint_marks_taken");
		if (wanted >= MANY_LOGS && mq_file_can_sync_all())
			sync_many(redo);
		for (i = 0; i < mq_log_table->slots; i++)
		{
			MqLog	   *log = &mq_log_slots[i];

			if (log->sync_wanted)
				sync_log(log, redo);
		}
		MQ_FAULT("checkpoint_synced");
	}
	if (pg_atomic_read_u64(&mq_log_table->redo_served) < redo)
	{
		if (!mq_served_write(redo))
			mq_log_file_error("write file", MQ_SERVED_FILE, PANIC);
		pg_atomic_write_u64(&mq_log_table->redo_served, redo);
	}
	LWLockRelease(&mq_log_table->sync_all_lock);
}

/* A slot is not given away while it is dirty, nor while a sync is wanted. */
static void
take_marks(MqLog *log, XLogRecPtr redo)
{
	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	LWLockAcquire(&log->sync_lock, LW_EXCLUSIVE);
	if (log->dirty && !log->dropped)
	{
		(void) mq_log_tail_write(log, PANIC);
		log->sync_segment = log->dirty_segment;
		log->sync_dir = log->dirty_dir;
		log->sync_parents = log->dirty_parents;
		log->sync_end = log->end;
		log->sync_lsn = log->last_append_lsn;
		log->sync_start_lsn = log->start_lsn;
		log->sync_log_start = mq_log_get(&log->log_start);
		log->sync_first_segment = mq_log_get(&log->first_segment);
		log->sync_config = log->config;
		log->sync_config_known = log->config_known;
		log->sync_wanted = true;
		log->dirty_dir = log->dirty_parents = false;

		/*
		 * What was appended behind the redo pointer is synced too, but this
		 * checkpoint does not vouch for it: the next one must look again.
		 */
		log->dirty = log->last_append_lsn > redo;
		log->dirty_segment = log->end.segment;
	}
	LWLockRelease(&log->sync_lock);
	LWLockRelease(&log->append_lock);
}

/*
 * Of very many logs the file system is synced as a whole: four and more calls
 * for each log would take half a minute for ten thousand.
 */
static void
sync_many(XLogRecPtr redo)
{
	XLogRecPtr	flush = InvalidXLogRecPtr;
	int			i;

	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];

		if (log->sync_wanted)
			flush = Max(flush, Max(log->sync_lsn, log->sync_start_lsn));
	}
	if (flush != InvalidXLogRecPtr)
		XLogFlush(flush);
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];

		if (log->sync_wanted && !log->dropped && log->state != MQ_LOG_DISABLED)
			write_state(log, redo, false);
	}
	if (!mq_file_sync_all(MQ_SEGMENT_ROOT))
		mq_log_file_error("sync the file system of folder", MQ_SEGMENT_ROOT, PANIC);
	for (i = 0; i < mq_log_table->slots; i++)
		mq_log_slots[i].sync_wanted = false;
}

static void
sync_log(MqLog *log, XLogRecPtr redo)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqSegmentList list;
	int			i;

	if (log->sync_segment == log->sync_end.segment)
		sync_segment(log, log->sync_segment);
	else
	{
		mq_segment_dir(path, &log->key);
		if (!mq_segment_list(&log->key, log->sync_segment, &list))
			mq_log_file_error("read file", path, PANIC);
		for (i = 0; i < list.n; i++)
			sync_segment(log, list.bases[i]);
		mq_segment_list_free(&list);
	}

	/* the state says where the log ends: never further than WAL would */
	if (Max(log->sync_lsn, log->sync_start_lsn) != InvalidXLogRecPtr)
		XLogFlush(Max(log->sync_lsn, log->sync_start_lsn));
	if (!log->dropped && log->state != MQ_LOG_DISABLED)
		write_state(log, redo, true);

	mq_segment_dir(path, &log->key);
	if (log->sync_dir)
		sync_or_panic(path, true);
	if (log->sync_parents && !mq_segment_sync_parents(&log->key, path))
		mq_log_file_error("fsync file", path, PANIC);
	log->sync_wanted = false;
}

static void
sync_segment(MqLog *log, MqOffset base)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	if (base < 0)
		return;
	mq_segment_path(path, &log->key, base, MQ_SEGMENT_LOG);
	sync_or_panic(path, false);
	mq_segment_path(path, &log->key, base, MQ_SEGMENT_BATCHES);
	sync_or_panic(path, false);
}

/* A file that is gone was dropped meanwhile. */
static void
sync_or_panic(const char *path, bool is_dir)
{
	if (!mq_file_sync_path(path, is_dir))
		mq_log_file_error("fsync file", path, PANIC);
}

static void
write_state(MqLog *log, XLogRecPtr redo, bool flush)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	MqStateDisk *state = &slots[0];
	char		dir[MQ_SEGMENT_PATH_MAX];

	mq_segment_dir(dir, &log->key);
	if (!mq_state_read(&log->key, slots, valid, &current))
	{
		if (errno == ENOENT && log->dropped)
			return;
		mq_log_file_error("read the state in folder", dir, PANIC);
	}
	if (current >= 0)
		state = &slots[current];
	else
		mq_state_init(state, &log->key);

	mq_state_make_room(state, redo, last_completed());
	vouch(log, redo, &state->checkpoints[0]);
	state->log_start = Max(state->log_start, log->sync_log_start);
	state->first_segment = Max(state->first_segment, log->sync_first_segment);
	mq_state_set_config(state, &log->sync_config, log->sync_config_known);
	if (log->epoch >= 0)
		mq_state_note_epoch(state, log->epoch, log->epoch_start);
	if (mq_state_write(&log->key, state, flush))
		log->stated_segment = state->first_segment;
	else if (!(errno == ENOENT && log->dropped))
		mq_log_file_error("write the state in folder", dir, PANIC);
}

/*
 * The log start alone, between two checkpoints: files may go only when the
 * state says so.  What the state vouches for stays as it is.
 */
bool
mq_checkpoint_write_start(MqLog *log, MqOffset log_start, MqOffset first)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	MqStateDisk *state;

	Assert(LWLockHeldByMeInMode(&mq_log_table->sync_all_lock, LW_EXCLUSIVE));
	if (!mq_state_read(&log->key, slots, valid, &current))
		return false;
	state = &slots[Max(current, 0)];
	if (current < 0)
		mq_state_init(state, &log->key);
	state->log_start = Max(state->log_start, log_start);
	state->first_segment = Max(state->first_segment, first);
	if (!mq_state_write(&log->key, state, true))
		return false;
	log->stated_segment = first;
	return true;
}

/* The redo pointer that a boot would begin with now: see mq_log_recover.c. */
static XLogRecPtr
last_completed(void)
{
	XLogRecPtr	redo;
	TimeLineID	tli;

	GetOldestRestartPoint(&redo, &tli);
	return Min(redo, pg_atomic_read_u64(&mq_log_table->redo_served));
}

/* Where the log's last batch below the redo pointer ends. */
static void
vouch(MqLog *log, XLogRecPtr redo, MqStateCheckpoint *ck)
{
	MqSegmentList list;
	char		dir[MQ_SEGMENT_PATH_MAX];
	int			i;

	memset(ck, 0, sizeof(*ck));
	ck->redo = redo;
	ck->leo = log->sync_end.leo;
	ck->segment = log->sync_end.segment;
	ck->batches = log->sync_end.batches;
	ck->position = log->sync_end.position;
	if (ck->segment < 0 || (log->sync_lsn <= redo && ck->batches > 0))
		return;
	if (vouch_in_segment(log, ck->segment, ck->batches, redo, ck))
		return;

	/* none in the active segment: look in those before it */
	mq_segment_dir(dir, &log->key);
	if (!mq_segment_list(&log->key, log->sync_first_segment, &list))
		mq_log_file_error("read file", dir, PANIC);
	ck->segment = -1;
	ck->batches = ck->position = 0;
	for (i = list.n - 1; i >= 0; i--)
	{
		if (list.bases[i] < log->sync_end.segment &&
			vouch_in_segment(log, list.bases[i], PG_UINT32_MAX, redo, ck))
			break;
	}
	mq_segment_list_free(&list);
}

static bool
vouch_in_segment(MqLog *log, MqOffset base, uint32 count, XLogRecPtr redo, MqStateCheckpoint *ck)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqBatchesIdentity id;
	MqDescriptorDisk last;
	bool		ok;
	uint32		n = 0;
	int			fd;

	mq_segment_path(path, &log->key, base, MQ_SEGMENT_BATCHES);
	fd = mq_file_open(path, O_RDONLY);
	if (fd < 0)
		return false;
	mq_segment_identity(&id, &log->key, base);
	if (count == PG_UINT32_MAX)
		count = Max(mq_file_size_fd(fd), 0) / MQ_BATCHES_ENTRY_SIZE;
	n = mq_batches_search(&id, count, MQ_BATCHES_BY_END_LSN, (int64) redo,
						  mq_segment_read_batches, &fd, &ok);
	if (ok && n > 0)
		ok = mq_segment_read_batches(&fd, n - 1, 1, &last) && mq_batches_valid(&last, &id, n - 1);
	mq_file_close(fd);
	if (!ok || n == 0)
		return false;
	ck->segment = base;
	ck->batches = n;
	ck->position = last.position + last.length;
	return true;
}
