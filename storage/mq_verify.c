/*
 * mq_verify.c
 *	  Looks at every byte of one partition's log and says what is wrong.
 *
 * The log's slot says what there must be: where the log begins and ends, and
 * how far it is settled.  Then comes the state file, then the folder (what
 * should be there and what should not), then segment after segment, each of
 * which must begin where the one before ends.  Nothing is changed, nor is the
 * log marked as damaged: who reads around damage does so all the same.
 *
 * Appends go on meanwhile; what they add is not looked at.  Retention goes on
 * as well, so what was found in a segment is told only when the segment is
 * still kept at its end.
 *
 * Locking: the append lock and the sync lock exclusively for a moment, to know
 *			where the log ends and that it has been written up to there.  Where
 *			the state file looks damaged, sync_all_lock and the append lock
 *			shared for a second look: a checkpoint may just be writing it.
 * Memory:	a context of its own for what was found in one segment.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/mq_faults.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_progress.h"
#include "storage/mq_segment.h"
#include "storage/mq_verify.h"
#include "storage/mq_verify_segment.h"

#define STRANGERS_MAX	10

/* What the folder holds. */
typedef struct Folder
{
	int			n;
	int			room;
	MqOffset   *bases;			/* of .log and of .batches, later sorted and each once */
	bool		failed;
	bool		has_state;
	int			nstrangers;
	char		strangers[STRANGERS_MAX][NAMEDATALEN];
} Folder;

static void begin(MqVerify *v, MqLog *log);
static void report_whole(MqVerify *v, const char *fmt,...) pg_attribute_printf(2, 3);
static void tell(MqVerify *v);
static bool read_folder(MqVerify *v, Folder *folder);
static bool note_name(void *arg, const char *name);
static void note_stranger(char *buf, const char *name);
static bool parse_name(const char *name, MqOffset *base);
static void check_folder(MqVerify *v, const Folder *folder);
static void check_state(MqVerify *v, bool there);
static bool look_at_state(MqVerify *v, MqStateDisk slots[2], bool valid[2]);
static void check_slot(MqVerify *v, const MqStateDisk *state);
static void check_vouched(MqVerify *v, const MqStateCheckpoint *ck);
static int64 total_bytes(MqVerify *v, const Folder *folder);
static void check_segments(MqVerify *v, const Folder *folder);
static void get_sizes(MqVerify *v);
static int	compare_offsets(const void *a, const void *b);

void
mq_verify(MqLog *log, MqVerifySink sink, void *arg)
{
	MqVerify   *v = palloc0(sizeof(MqVerify));
	Folder	   *folder = palloc0(sizeof(Folder));

	v->sink = sink;
	v->arg = arg;
	v->segment = MQ_INVALID_OFFSET;
	v->context = AllocSetContextCreate(CurrentMemoryContext, "mq verify", ALLOCSET_DEFAULT_SIZES);
	mq_progress_begin(MQ_PROGRESS_VERIFY, &log->key, "checking state file");
	begin(v, log);
	if (v->state == MQ_LOG_DISABLED)
		report_whole(v, "the log is disabled: its files could not be read when the server started, or when it was opened");
	else if (read_folder(v, folder))
	{
		check_state(v, folder->has_state);
		check_folder(v, folder);
		tell(v);
		mq_progress_phase("reading segments", total_bytes(v, folder));
		check_segments(v, folder);
	}
	tell(v);
	mq_progress_end();

	MemoryContextDelete(v->context);
	mq_payload_free(&v->memory);
	if (v->buffer != NULL)
		pfree(v->buffer);
	if (folder->bases != NULL)
		pfree(folder->bases);
	pfree(folder);
	pfree(v);
}

/* Something is wrong with the segment at hand, or with the log as a whole. */
void
mq_verify_report(MqVerify *v, MqOffset bad_offset, const char *fmt,...)
{
	int			save_errno = errno;
	MqVerifyFinding *finding;
	MemoryContext old;
	char		text[1024];
	va_list		args;

	if (++v->findings > MQ_VERIFY_FINDINGS_MAX)
		return;
	errno = save_errno;
	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	old = MemoryContextSwitchTo(v->context);
	finding = palloc(sizeof(MqVerifyFinding));
	finding->segment = v->segment;
	finding->damaged = true;
	finding->bad_offset = bad_offset;
	finding->detail = pstrdup(text);
	v->details = lappend(v->details, finding);
	MemoryContextSwitchTo(old);
}

static void
report_whole(MqVerify *v, const char *fmt,...)
{
	char		text[1024];
	va_list		args;

	va_start(args, fmt);
	(void) vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	v->segment = MQ_INVALID_OFFSET;
	mq_verify_report(v, MQ_INVALID_OFFSET, "%s", text);
}

/* Hands on what was found of the segment at hand, or of the log as a whole, unless that was removed meanwhile. */
static void
tell(MqVerify *v)
{
	MqVerifyFinding finding = {.segment = v->segment,.bad_offset = MQ_INVALID_OFFSET};
	ListCell   *lc;

	if (!v->log->dropped &&
		(v->segment < 0 || v->segment >= mq_log_get(&v->log->first_segment)))
	{
		foreach(lc, v->details)
			v->sink(v->arg, lfirst(lc));
		if (v->findings > MQ_VERIFY_FINDINGS_MAX)
		{
			char		more[64];

			snprintf(more, sizeof(more), "%d more are not shown", v->findings - MQ_VERIFY_FINDINGS_MAX);
			finding.damaged = true;
			finding.detail = more;
			v->sink(v->arg, &finding);
		}
		else if (v->findings == 0 && v->segment >= 0)
			v->sink(v->arg, &finding);
	}
	v->details = NIL;
	v->findings = 0;
	v->segment = MQ_INVALID_OFFSET;
	MemoryContextReset(v->context);
}

/*
 * What there must be, as of now.  With both locks held no bytes are on their
 * way: what the log says it has is in the files.
 */
static void
begin(MqVerify *v, MqLog *log)
{
	MqLogOffsets offsets;
	char		path[MQ_SEGMENT_PATH_MAX];
	int			kind;

	v->log = log;
	v->state = log->state;
	v->max_timestamp = PG_INT64_MIN;
	if (v->state == MQ_LOG_DISABLED)
		return;
	/* a standby looks what has been decided; a log left by recovery goes live */
	mq_log_offsets(log, &offsets);

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	(void) mq_log_tail_write(log, ERROR);
	LWLockAcquire(&log->sync_lock, LW_EXCLUSIVE);
	v->end = log->end;
	v->lso = mq_log_get(&log->lso);
	v->settled_segment = log->settled_segment;
	v->settled_batch = log->settled_batch;
	v->epoch = log->epoch;
	v->epoch_start = log->epoch_start;
	for (kind = MQ_SEGMENT_LOG; kind <= MQ_SEGMENT_BATCHES && v->end.segment >= 0; kind++)
	{
		mq_segment_path(path, &log->key, v->end.segment, kind);
		v->active_bytes[kind] = mq_file_size(path);
	}
	LWLockRelease(&log->sync_lock);
	LWLockRelease(&log->append_lock);
	MQ_FAULT("verify_begun");
}

/* False when there is nothing to verify, or nothing that could be. */
static bool
read_folder(MqVerify *v, Folder *folder)
{
	char		dir[MQ_SEGMENT_PATH_MAX];
	bool		ok;
	int			i;
	int			n = 0;

	mq_segment_dir(dir, &v->log->key);
	ok = mq_file_list(dir, note_name, folder);
	/* in this order: what was gone when the folder was listed lies below */
	v->first_segment = mq_log_get(&v->log->first_segment);
	if (folder->failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (!ok && mq_file_is_shortage())
		mq_log_file_error("read folder", dir, ERROR);
	if (!ok && (errno != ENOENT || v->log->has_files))
		report_whole(v, "folder \"%s\" cannot be read: %m", dir);
	if (!ok)
		return false;

	if (folder->n > 1)
		qsort(folder->bases, folder->n, sizeof(MqOffset), compare_offsets);
	for (i = 0; i < folder->n; i++)
	{
		if (n == 0 || folder->bases[i] != folder->bases[n - 1])
			folder->bases[n++] = folder->bases[i];
	}
	folder->n = n;

	/* the folder of a start that failed half-way is nothing yet */
	return v->log->has_files || n > 0;
}

/* Called while the folder is open: may not raise. */
static bool
note_name(void *arg, const char *name)
{
	Folder	   *folder = arg;
	MqOffset	base;

	if (strcmp(name, "state") == 0)
		folder->has_state = true;
	else if (parse_name(name, &base))
	{
		if (folder->n == folder->room)
		{
			int			room = Max(64, folder->room * 2);
			MqOffset   *bases = palloc_extended(sizeof(MqOffset) * room, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);

			if (bases == NULL)
			{
				folder->failed = true;
				return false;
			}
			if (folder->bases != NULL)
			{
				memcpy(bases, folder->bases, sizeof(MqOffset) * folder->n);
				pfree(folder->bases);
			}
			folder->bases = bases;
			folder->room = room;
		}
		folder->bases[folder->n++] = base;
	}
	else if (strcmp(name, "next.log") != 0 && strcmp(name, "next.batches") != 0)
	{
		if (folder->nstrangers < STRANGERS_MAX)
			note_stranger(folder->strangers[folder->nstrangers], name);
		folder->nstrangers++;
	}
	return true;
}

/* The name may be anything; what is told of it is text. */
static void
note_stranger(char *buf, const char *name)
{
	strlcpy(buf, name, NAMEDATALEN);
	for (; *buf != '\0'; buf++)
	{
		if (*buf < ' ' || *buf > '~')
			*buf = '?';
	}
}

/* Is this the name of a file of a segment, and of which? */
static bool
parse_name(const char *name, MqOffset *base)
{
	char		log[NAMEDATALEN];
	int			len = strlen(name);

	if (len != 20 + strlen(".batches") || strcmp(name + 20, ".batches") != 0)
		return mq_segment_parse_name(name, base);
	snprintf(log, sizeof(log), "%.20s.log", name);
	return mq_segment_parse_name(log, base);
}

/* What should not be there. */
static void
check_folder(MqVerify *v, const Folder *folder)
{
	MqOffset	last;
	char		path[MQ_SEGMENT_PATH_MAX];
	int			i;

	mq_segment_dir(path, &v->log->key);
	for (i = 0; i < Min(folder->nstrangers, STRANGERS_MAX); i++)
		report_whole(v, "file \"%s/%s\" does not belong here", path, folder->strangers[i]);
	if (folder->nstrangers > STRANGERS_MAX)
		report_whole(v, "%d more files in folder \"%s\" do not belong there",
					 folder->nstrangers - STRANGERS_MAX, path);

	LWLockAcquire(&v->log->append_lock, LW_SHARED);
	last = v->log->end.segment;
	LWLockRelease(&v->log->append_lock);
	for (i = 0; i < folder->n; i++)
	{
		int			kind;

		/* an empty one is what a roll leaves that failed */
		for (kind = MQ_SEGMENT_LOG; kind <= MQ_SEGMENT_BATCHES && folder->bases[i] > last; kind++)
		{
			mq_segment_path(path, &v->log->key, folder->bases[i], kind);
			if (mq_file_size(path) > 0)
				report_whole(v, "file \"%s\" lies behind the end of the log", path);
		}
	}
}

static void
check_state(MqVerify *v, bool there)
{
	MqStateDisk slots[2];
	bool		valid[2];
	char		dir[MQ_SEGMENT_PATH_MAX];
	int			s;

	mq_segment_dir(dir, &v->log->key);
	if (!there)
		report_whole(v, "file \"%s/state\" is missing", dir);
	if (!there || !look_at_state(v, slots, valid))
		return;
	for (s = 0; s < 2; s++)
	{
		static const MqStateDisk zero;

		/* the first state is in the second slot */
		if (!valid[s] && s == 0 && valid[1] && slots[1].sequence == 1 && memcmp(&slots[0], &zero, sizeof(zero)) == 0)
			continue;
		if (!valid[s])
			report_whole(v, "slot %d of file \"%s/state\" is damaged, at position %d", s, dir, s * MQ_STATE_SLOT_SIZE);
		else
			check_slot(v, &slots[s]);
	}
	if (valid[0] && valid[1] &&
		(slots[0].sequence % 2 != 0 || slots[1].sequence % 2 != 1 ||
		 Max(slots[0].sequence, slots[1].sequence) - Min(slots[0].sequence, slots[1].sequence) != 1))
		report_whole(v, "the slots of file \"%s/state\" do not follow one another: they have numbers " UINT64_FORMAT " and " UINT64_FORMAT,
					 dir, slots[0].sequence, slots[1].sequence);
}

/* Both slots as they are when nobody writes them.  False if they cannot be read. */
static bool
look_at_state(MqVerify *v, MqStateDisk slots[2], bool valid[2])
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int			current;
	bool		ok;
	int64		size;
	int			save_errno;

	ok = mq_state_read(&v->log->key, slots, valid, &current);
	if (!ok || !valid[0] || !valid[1])
	{
		LWLockAcquire(&mq_log_table->sync_all_lock, LW_SHARED);
		LWLockAcquire(&v->log->append_lock, LW_SHARED);
		ok = mq_state_read(&v->log->key, slots, valid, &current);
		save_errno = errno;
		LWLockRelease(&v->log->append_lock);
		LWLockRelease(&mq_log_table->sync_all_lock);
		errno = save_errno;
	}
	mq_segment_dir(path, &v->log->key);
	strlcat(path, "/state", sizeof(path));
	if (!ok && mq_file_is_shortage())
		mq_log_file_error("read file", path, ERROR);
	if (!ok)
	{
		report_whole(v, "file \"%s\" cannot be read: %m", path);
		return false;
	}
	size = mq_file_size(path);
	if (size != 2 * MQ_STATE_SLOT_SIZE)
		report_whole(v, "file \"%s\" has %lld bytes, not %d", path, (long long) size, 2 * MQ_STATE_SLOT_SIZE);
	return true;
}

/* One whose CRC is right: does it say what can be?  It may have been written after our look at the log. */
static void
check_slot(MqVerify *v, const MqStateDisk *state)
{
	MqLogOffsets now;
	int			i;

	mq_log_offsets(v->log, &now);
	if (state->log_start < 0 || state->log_start > now.leo || state->first_segment > state->log_start)
		report_whole(v, "the state file says that the log starts at offset %lld in the segment at offset %lld, and it ends at %lld",
					 (long long) state->log_start, (long long) state->first_segment, (long long) now.leo);
	for (i = 1; i < state->epochs_used; i++)
	{
		if (state->epochs[i].epoch <= state->epochs[i - 1].epoch || state->epochs[i].start < state->epochs[i - 1].start)
			report_whole(v, "the state file says that leader epoch %d begins at offset %lld, and epoch %d at offset %lld",
						 state->epochs[i - 1].epoch, (long long) state->epochs[i - 1].start,
						 state->epochs[i].epoch, (long long) state->epochs[i].start);
	}
	for (i = 0; i < lengthof(state->checkpoints); i++)
	{
		if (state->checkpoints[i].redo != 0)
			check_vouched(v, &state->checkpoints[i]);
	}
}

/* That the batches themselves are there is seen when their segment is walked. */
static void
check_vouched(MqVerify *v, const MqStateCheckpoint *ck)
{
	MqLogEnd	end;

	LWLockAcquire(&v->log->append_lock, LW_SHARED);
	end = v->log->end;
	LWLockRelease(&v->log->append_lock);
	/* a segment that has been removed since is vouched for in vain */
	if (ck->segment >= 0 && ck->segment < mq_log_get(&v->log->first_segment))
		return;
	if (ck->leo > end.leo || ck->segment > end.segment ||
		(ck->segment == end.segment && (ck->batches > end.batches || ck->position > end.position)))
		report_whole(v, "a checkpoint at %X/%X vouches for %u batches in the segment at offset %lld and for log end %lld; "
					 "the log ends with %u batches in the segment at offset %lld, at offset %lld",
					 LSN_FORMAT_ARGS(ck->redo), ck->batches, (long long) ck->segment, (long long) ck->leo,
					 end.batches, (long long) end.segment, (long long) end.leo);
}

static int64
total_bytes(MqVerify *v, const Folder *folder)
{
	int64		total = 0;
	int			i;

	for (i = 0; i < folder->n; i++)
	{
		v->segment = folder->bases[i];
		if (v->segment < v->first_segment || v->segment > v->end.segment)
			continue;
		get_sizes(v);
		total += Max(v->bytes[MQ_SEGMENT_LOG], 0) + Max(v->bytes[MQ_SEGMENT_BATCHES], 0);
	}
	v->segment = MQ_INVALID_OFFSET;
	return total;
}

/* From the first segment kept to the active one; each begins where the one before ends. */
static void
check_segments(MqVerify *v, const Folder *folder)
{
	int			i = 0;

	if (v->end.segment < v->first_segment)
		return;					/* none, or none left */
	while (i < folder->n && folder->bases[i] < v->first_segment)
		i++;
	v->expected = v->first_segment;
	for (;; i++)
	{
		/* the active one has no files: it is looked at all the same */
		bool		there = i < folder->n && folder->bases[i] <= v->end.segment;

		v->segment = there ? folder->bases[i] : v->end.segment;
		v->next_segment = v->segment == v->end.segment ? v->end.leo :
			i + 1 < folder->n ? Min(folder->bases[i + 1], v->end.segment) : v->end.segment;
		MQ_FAULT("verify_segment");
		CHECK_FOR_INTERRUPTS();
		get_sizes(v);
		mq_segment_forget_file(&v->log->key, v->segment);
		mq_verify_segment(v);
		if (v->segment == v->end.segment)
			break;
		tell(v);
	}
}

/* The active segment's as they were when the log's end was taken. */
static void
get_sizes(MqVerify *v)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int			kind;

	for (kind = MQ_SEGMENT_LOG; kind <= MQ_SEGMENT_BATCHES; kind++)
	{
		mq_segment_path(path, &v->log->key, v->segment, kind);
		v->bytes[kind] = v->segment == v->end.segment ? v->active_bytes[kind] : mq_file_size(path);
	}
}

static int
compare_offsets(const void *a, const void *b)
{
	MqOffset	x = *(const MqOffset *) a;
	MqOffset	y = *(const MqOffset *) b;

	return (x > y) - (x < y);
}
