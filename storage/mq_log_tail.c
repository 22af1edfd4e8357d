/*
 * mq_log_tail.c
 *	  The tail of a log: small appends on their way to the files.
 *
 * A small append would cost two system calls, one for each file, as much as
 * all else that is ours in a commit.  So its bytes are copied into a tail, a
 * piece of shared memory that the log borrows from a pool, and many appends
 * reach the files with one write.  That changes nothing about durability: the
 * bytes are in WAL, and a checkpoint writes the tail before it syncs, as it
 * does with dirty pages of tables.
 *
 * A tail is written by whoever needs the files: the appender that finds it
 * full or appends much, a reader, the settler a few times in a second, the
 * checkpointer.  All but the first give the tail back to the pool.  When the
 * pool is empty an append writes to the files itself.
 *
 * A write that fails leaves the tail as it was, and may be tried again.
 *
 * Locking: a tail belongs to the log that holds it and is under that log's
 *			append lock, held exclusively.  The pool has a spinlock.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "base/mq_faults.h"
#include "base/mq_settings.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_tail.h"
#include "storage/mq_segment.h"

#define TAIL_BYTES		(64 * 1024)
#define TAIL_BATCHES	384

/* Copying more than this costs as much as writing it. */
#define LARGEST_APPEND	(16 * 1024)

/* What the files of a segment do not have yet: batches from "number" on, bytes from "position" on. */
typedef struct MqTail
{
	int32		next_free;
	MqOffset	segment;
	uint32		number;
	uint32		position;
	uint32		n;				/* 0 = nothing */
	uint32		bytes;
	MqDescriptorDisk descriptors[TAIL_BATCHES];
	uint8		log[TAIL_BYTES];
} MqTail;

static MqTail *tails = NULL;

static int	pool_size(void);
static int32 take_tail(void);
static void give_back(MqLog *log);
static bool write_out(MqLog *log, MqTail *tail, MqSegmentFile *failed);
static bool write_or_raise(MqLog *log, bool keep, int elevel);

Size
mq_log_tail_shmem_size(void)
{
	return mul_size(Max(pool_size(), 1), sizeof(MqTail));
}

void
mq_log_tail_shmem_init(void)
{
	bool		found;
	int			n = pool_size();
	int			i;

	tails = ShmemInitStruct("mq_ext tails", mq_log_tail_shmem_size(), &found);
	if (found)
		return;
	SpinLockInit(&mq_log_table->tail_lock);
	for (i = 0; i < n; i++)
	{
		tails[i].next_free = i + 1 < n ? i + 1 : MQ_LOG_NO_TAIL;
		tails[i].n = tails[i].bytes = 0;
	}
	mq_log_table->tail_free = n > 0 ? 0 : MQ_LOG_NO_TAIL;
}

/*
 * Is there a tail that takes so many batches and bytes?  If not, the files
 * have all that was appended before, and the caller writes what comes next.
 */
bool
mq_log_tail_prepare(MqLog *log, int n, int64 bytes)
{
	bool		small = n <= TAIL_BATCHES && bytes <= LARGEST_APPEND;

	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	if (log->tail != MQ_LOG_NO_TAIL)
	{
		MqTail	   *tail = &tails[log->tail];

		if (!small || tail->n + n > TAIL_BATCHES || tail->bytes + bytes > TAIL_BYTES)
			(void) write_or_raise(log, small, ERROR);
	}
	else if (small)
		log->tail = take_tail();
	return small && log->tail != MQ_LOG_NO_TAIL;
}

/* Takes the plan's batches, which come right behind "from".  Cannot fail. */
void
mq_log_tail_put(const MqLogAppendPlan *plan, const MqLogEnd *from, const MqDescriptorDisk *descriptors)
{
	MqTail	   *tail = &tails[plan->log->tail];
	int			i;

	Assert(LWLockHeldByMeInMode(&plan->log->append_lock, LW_EXCLUSIVE));
	if (tail->n == 0)
	{
		tail->segment = from->segment;
		tail->number = from->batches;
		tail->position = from->position;
	}
	Assert(tail->segment == from->segment);
	Assert(tail->number + tail->n == from->batches);
	Assert(tail->position + tail->bytes == from->position);
	Assert(tail->n + plan->n <= TAIL_BATCHES && tail->bytes + plan->bytes <= TAIL_BYTES);
	for (i = 0; i < plan->n; i++)
	{
		memcpy(tail->log + tail->bytes, plan->batches[i].data, plan->batches[i].length);
		tail->bytes += plan->batches[i].length;
		tail->descriptors[tail->n++] = descriptors[i];
	}
}

bool
mq_log_tail_write(MqLog *log, int elevel)
{
	return write_or_raise(log, false, elevel);
}

void
mq_log_tail_write_for_reader(MqLog *log)
{
	/*
	 * Whoever has seen the end has seen the tail that it stands in.  Of those
	 * who come together one writes it, and the others need no lock.
	 */
	while (*(volatile int32 *) &log->tail != MQ_LOG_NO_TAIL)
	{
		if (!LWLockAcquireOrWait(&log->append_lock, LW_EXCLUSIVE))
			continue;
		(void) write_or_raise(log, false, ERROR);
		LWLockRelease(&log->append_lock);
		return;
	}
	pg_read_barrier();
}

void
mq_log_tail_discard(MqLog *log)
{
	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	if (log->tail != MQ_LOG_NO_TAIL)
		give_back(log);
}

static int
pool_size(void)
{
	return (int) ((int64) mq_append_buffers * 1024 / sizeof(MqTail));
}

static int32
take_tail(void)
{
	int32		tail;

	SpinLockAcquire(&mq_log_table->tail_lock);
	tail = mq_log_table->tail_free;
	if (tail != MQ_LOG_NO_TAIL)
		mq_log_table->tail_free = tails[tail].next_free;
	SpinLockRelease(&mq_log_table->tail_lock);
	return tail;
}

static void
give_back(MqLog *log)
{
	int32		tail = log->tail;

	/* for readers, who look without the lock: the files have it */
	pg_write_barrier();
	log->tail = MQ_LOG_NO_TAIL;
	tails[tail].n = tails[tail].bytes = 0;
	SpinLockAcquire(&mq_log_table->tail_lock);
	tails[tail].next_free = mq_log_table->tail_free;
	mq_log_table->tail_free = tail;
	SpinLockRelease(&mq_log_table->tail_lock);
}

/* Brings the tail into the files, .log first.  False with errno when that fails. */
static bool
write_out(MqLog *log, MqTail *tail, MqSegmentFile *failed)
{
	int			fd;

	if (tail->n == 0)
		return true;
	*failed = MQ_SEGMENT_LOG;
	fd = mq_segment_open(&log->key, tail->segment, MQ_SEGMENT_LOG, false);
	if (MQ_FAULT_FAILS("append_write"))
	{
		errno = ENOSPC;
		return false;
	}
	if (fd < 0 ||
		!mq_file_pwrite(fd, tail->log, tail->bytes, tail->position))
		return false;
	MQ_FAULT("append_between_writes");
	*failed = MQ_SEGMENT_BATCHES;
	fd = mq_segment_open(&log->key, tail->segment, MQ_SEGMENT_BATCHES, false);
	if (fd < 0 ||
		!mq_file_pwrite(fd, tail->descriptors, (size_t) tail->n * MQ_BATCHES_ENTRY_SIZE,
						(off_t) tail->number * MQ_BATCHES_ENTRY_SIZE))
		return false;
	tail->n = tail->bytes = 0;
	return true;
}

static bool
write_or_raise(MqLog *log, bool keep, int elevel)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqSegmentFile failed;
	MqTail	   *tail;

	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	if (log->tail == MQ_LOG_NO_TAIL)
		return true;
	tail = &tails[log->tail];
	if (!write_out(log, tail, &failed))
	{
		int			save_errno = errno;

		mq_segment_path(path, &log->key, tail->segment, failed);
		mq_log_file_error("write file", path, elevel);
		errno = save_errno;
		return false;
	}
	if (!keep)
		give_back(log);
	return true;
}
