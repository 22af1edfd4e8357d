/*
 * mq_log_chores.c
 *	  What workers do for the logs: space ahead and behind, drops, sweeps.
 *
 * Nothing here is needed for correctness of an append: without a worker an
 * append reserves and rolls by itself, and a dropped topic's files wait for
 * the next worker, or for the sweep after the next boot.
 *
 * Locking: the append lock while a prepared segment is announced, with the
 *			sync lock for a moment before closed segments give space back, the
 *			table lock for the queue of drops; the sweep lock from
 *			mq_log_sweep_begin() to _end(), over catalog reads.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/mq_faults.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_remove.h"
#include "storage/mq_log_wal.h"
#include "storage/mq_segment.h"

/* A growing array of what a folder holds. */
typedef struct Collected
{
	MqLogKey	key;
	MqLogKey   *keys;
	int			n;
	int			room;
} Collected;

static void prepare(MqLog *log);
static void unreserve_removed(MqLog *log, MqOffset segment);
static bool extend_reservation(MqLog *log, MqSegmentFile kind, MqOffset base, int64 end, int64 *reserved);
static bool make_next(const MqLogKey *key);
static void trim_closed(MqLog *log);
static bool trim_segments(const MqLogKey *key, MqOffset from, MqOffset below);
static int	next_drop(MqDropEntry *entry);
static bool collect_topic(void *arg, const char *name);
static bool collect_partition(void *arg, const char *name);
static bool collect_database(void *arg, const char *name);
static bool collect_databases_topic(void *arg, const char *name);
static void add_key(Collected *c);
static bool count_entry(void *arg, const char *name);

/* Reserves the next step of segments that asked, prepares the next segment where the active one is half full. */
bool
mq_log_prepare_ahead(void)
{
	int			i;

	if (RecoveryInProgress() || mq_log_is_closed() ||
		pg_atomic_exchange_u32(&mq_log_table->space_wanted, 0) == 0)
		return false;
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log;

		if (!mq_log_slots[i].wants_space || (log = mq_log_pin_slot(i)) == NULL)
			continue;
		CHECK_FOR_INTERRUPTS();
		log->wants_space = false;	/* whatever happens, it may ask again */
		prepare(log);
		mq_log_unpin(log);
	}
	return pg_atomic_read_u32(&mq_log_table->space_wanted) != 0;
}

/*
 * Gives back what closed segments have reserved behind their ends: since the
 * last look, and once after a log was opened, for those that were closed
 * before the server went down.
 */
void
mq_log_trim_closed(void)
{
	int			i;

	if (RecoveryInProgress() || mq_log_is_closed())
		return;
	for (i = 0; i < mq_log_table->slots; i++)
	{
		MqLog	   *log = &mq_log_slots[i];

		if (!log->in_use ||
			log->trimmed_version == pg_atomic_read_u32(&log->segment_version) ||
			(log = mq_log_pin_slot(i)) == NULL)
			continue;
		CHECK_FOR_INTERRUPTS();
		trim_closed(log);
		mq_log_unpin(log);
	}
}

/*
 * Removes what committed drops have left: the record is flushed before anything
 * is unlinked.  Tries each once; true if some could not be removed.
 */
bool
mq_log_drop_pending(void)
{
	MqDropEntry entry;
	bool		removed;
	bool		failed = false;
	int			tries;

	if (RecoveryInProgress())
		return false;
	for (tries = next_drop(&entry); tries > 0; tries--)
	{
		CHECK_FOR_INTERRUPTS();
		MQ_FAULT("drop_before_wal");
		XLogFlush(mq_log_wal_drop(entry.dboid, &entry.topic));
		MQ_FAULT("drop_before_unlink");
		removed = mq_log_remove_files(entry.dboid, &entry.topic);

		/* what could not be removed waits at the end of the queue */
		LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
		mq_log_table->drop_count--;
		memmove(&mq_log_table->drops[0], &mq_log_table->drops[1],
				sizeof(MqDropEntry) * mq_log_table->drop_count);
		if (!removed)
			mq_log_table->drops[mq_log_table->drop_count++] = entry;
		LWLockRelease(&mq_log_table->lock);
		failed |= !removed;
		(void) next_drop(&entry);
	}
	return failed;
}

/* Removes the folders of databases that are gone; true if that failed for some. */
bool
mq_log_sweep_databases(bool (*exists) (Oid dboid))
{
	Collected	c;
	bool		failed = false;
	int			i;

	memset(&c, 0, sizeof(c));
	if (RecoveryInProgress())
		return false;
	if (!mq_file_list(MQ_SEGMENT_ROOT, collect_database, &c) && errno != ENOENT)
	{
		mq_log_file_error("read file", MQ_SEGMENT_ROOT, WARNING);
		return true;
	}
	for (i = 0; i < c.n; i++)
	{
		static const pg_uuid_t whole;

		if (exists(c.keys[i].dboid))
			continue;
		MQ_FAULT("sweep_database");
		XLogFlush(mq_log_wal_drop(c.keys[i].dboid, &whole));
		failed |= !mq_log_remove_files(c.keys[i].dboid, &whole);
	}
	if (c.keys != NULL)
		pfree(c.keys);
	return failed;
}

void
mq_log_drop_reserve(int n)
{
	bool		full;

	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	full = mq_log_table->drop_count + mq_log_table->drop_reserved + n > MQ_DROP_QUEUE_SIZE;
	if (!full)
		mq_log_table->drop_reserved += n;
	LWLockRelease(&mq_log_table->lock);
	if (full)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many topics are being dropped"),
				 errdetail("At most %d can wait for their files to be removed.", MQ_DROP_QUEUE_SIZE),
				 errhint("Drop fewer topics in one transaction, or wait a moment.")));
}

/* Uses one reserved place. */
void
mq_log_drop_hand_over(Oid dboid, const pg_uuid_t *topic)
{
	MqDropEntry *entry;

	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	Assert(mq_log_table->drop_reserved > 0);
	mq_log_table->drop_reserved--;
	entry = &mq_log_table->drops[mq_log_table->drop_count++];
	entry->dboid = dboid;
	entry->topic = *topic;
	LWLockRelease(&mq_log_table->lock);
	mq_log_kick(MQ_LOG_WORKER_JANITOR);
}

void
mq_log_drop_unreserve(int n)
{
	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	Assert(mq_log_table->drop_reserved >= n);
	mq_log_table->drop_reserved -= n;
	LWLockRelease(&mq_log_table->lock);
}

/*
 * True for the one process of this database that must compare the folders
 * with the catalog; the others wait here until it has, and get false.  Until
 * then nobody appends in this database, so a folder without a topic is a
 * leftover of a crash.
 */
bool
mq_log_sweep_begin(Oid dboid)
{
	bool		swept;
	int			i;

	if (RecoveryInProgress())
		return false;
	LWLockAcquire(&mq_log_table->sweep_lock, LW_EXCLUSIVE);
	LWLockAcquire(&mq_log_table->lock, LW_SHARED);
	swept = mq_log_table->swept_overflow;
	for (i = 0; i < mq_log_table->swept && !swept; i++)
		swept = mq_log_table->swept_databases[i] == dboid;
	LWLockRelease(&mq_log_table->lock);
	if (swept)
		LWLockRelease(&mq_log_table->sweep_lock);
	return !swept;
}

void
mq_log_sweep_end(Oid dboid, bool done)
{
	LWLockAcquire(&mq_log_table->lock, LW_EXCLUSIVE);
	if (done && mq_log_table->swept < MQ_SWEPT_MAX)
		mq_log_table->swept_databases[mq_log_table->swept++] = dboid;
	else if (done)
		mq_log_table->swept_overflow = true;
	LWLockRelease(&mq_log_table->lock);
	LWLockRelease(&mq_log_table->sweep_lock);
}

/* The topics that have a folder in this database; palloc'd. */
pg_uuid_t *
mq_log_list_topics(Oid dboid, int *n)
{
	Collected	c;
	char		path[MQ_SEGMENT_PATH_MAX];
	pg_uuid_t  *result = NULL;
	int			i;

	memset(&c, 0, sizeof(c));
	c.key.dboid = dboid;
	snprintf(path, sizeof(path), "%s/%u", MQ_SEGMENT_ROOT, dboid);
	if (!mq_file_list(path, collect_topic, &c) && errno != ENOENT)
		mq_log_file_error("read file", path, WARNING);
	if (c.n > 0)
	{
		result = palloc(sizeof(pg_uuid_t) * c.n);
		for (i = 0; i < c.n; i++)
			result[i] = c.keys[i].topic;
		pfree(c.keys);
	}
	*n = c.n;
	return result;
}

int
mq_log_partitions_on_disk(Oid dboid, const pg_uuid_t *topic)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int			n = 0;

	mq_segment_topic_dir(path, dboid, topic);
	if (mq_file_list(path, count_entry, &n))
		return n;
	if (errno != ENOENT)
		mq_log_file_error("read file", path, ERROR);
	return -1;
}

/* Every partition that has a folder; palloc'd. */
MqLogKey *
mq_log_list_all(int *n)
{
	Collected	c;

	memset(&c, 0, sizeof(c));
	if (!mq_file_list(MQ_SEGMENT_ROOT, collect_databases_topic, &c) && errno != ENOENT)
		mq_log_file_error("read file", MQ_SEGMENT_ROOT, WARNING);
	*n = c.n;
	return c.keys;
}

/*
 * Works from a copy of the log's end, without locks, and announces the result
 * if the active segment is still the same.
 */
static void
prepare(MqLog *log)
{
	MqLogEnd	end;
	MqLogConfig config;
	int64		log_reserved;
	int64		batches_reserved;
	bool		half_full;
	bool		next_ready;
	bool		made = false;

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	end = log->end;
	config = log->config;
	log_reserved = log->log_reserved;
	batches_reserved = log->batches_reserved;
	next_ready = log->next_ready;
	LWLockRelease(&log->append_lock);
	if (log->dropped || end.segment < 0 || config.segment_bytes == 0)
		return;

	half_full = end.position >= config.segment_bytes / 2;
	if (log_reserved < config.segment_bytes && end.position > log_reserved / 2 &&
		!extend_reservation(log, MQ_SEGMENT_LOG, end.segment, config.segment_bytes, &log_reserved))
		return;
	if (batches_reserved < config.segment_bytes / 4 &&
		(int64) end.batches * MQ_BATCHES_ENTRY_SIZE > batches_reserved / 2 &&
		!extend_reservation(log, MQ_SEGMENT_BATCHES, end.segment, config.segment_bytes, &batches_reserved))
		return;
	if (half_full && !next_ready)
		made = make_next(&log->key);
	MQ_FAULT("space_prepared");

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	if (log->end.segment == end.segment)
	{
		log->log_reserved = Max(log->log_reserved, log_reserved);
		log->batches_reserved = Max(log->batches_reserved, batches_reserved);
	}
	if (made && !log->dropped)
		log->next_ready = true;
	LWLockRelease(&log->append_lock);
	if (end.segment < mq_log_get(&log->first_segment))
		unreserve_removed(log, end.segment);
}

/* What was reserved for a segment while it was being removed would stay until all have closed it. */
static void
unreserve_removed(MqLog *log, MqOffset segment)
{
	MqSegmentFile kind;

	for (kind = MQ_SEGMENT_LOG; kind <= MQ_SEGMENT_BATCHES; kind++)
	{
		int			fd = mq_segment_open(&log->key, segment, kind, false);
		int64		size = fd < 0 ? -1 : mq_file_size_fd(fd);

		if (size >= 0)
			(void) mq_file_truncate(fd, size);
	}
	mq_segment_forget_file(&log->key, segment);
}

/* A full disk here is no error: the append that needs the space will say so. */
static bool
extend_reservation(MqLog *log, MqSegmentFile kind, MqOffset base, int64 segment_bytes, int64 *reserved)
{
	int64		target = mq_segment_reserve_target(kind, 0, *reserved, segment_bytes);
	int			fd = mq_segment_open(&log->key, base, kind, false);

	if (fd < 0 || !mq_file_reserve(fd, *reserved, target))
		return false;
	*reserved = target;
	return true;
}

/* Two empty files with one step reserved, flushed. */
static bool
make_next(const MqLogKey *key)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqSegmentFile kind;
	bool		ok = true;

	for (kind = MQ_SEGMENT_LOG; ok && kind <= MQ_SEGMENT_BATCHES; kind++)
	{
		int			fd;

		mq_segment_path(path, key, MQ_SEGMENT_NEXT, kind);
		fd = mq_file_open(path, O_RDWR | O_CREAT | O_TRUNC);
		ok = fd >= 0 &&
			mq_file_reserve(fd, 0, mq_segment_reserve_target(kind, 0, 0, PG_INT64_MAX)) &&
			mq_file_sync(fd);
		mq_file_close(fd);
	}
	MQ_FAULT("next_prepared");
	return ok;
}

/*
 * Who appended to a segment that is closed now took the sync lock before it
 * was closed.  So once nobody holds that, the segment's files have their final
 * size, and to cut them there takes nobody's bytes or space away.
 */
static void
trim_closed(MqLog *log)
{
	MqOffset	active;
	uint32		version;

	LWLockAcquire(&log->append_lock, LW_EXCLUSIVE);
	LWLockAcquire(&log->sync_lock, LW_EXCLUSIVE);
	active = log->dropped ? -1 : log->end.segment;
	version = pg_atomic_read_u32(&log->segment_version);
	LWLockRelease(&log->sync_lock);
	LWLockRelease(&log->append_lock);

	/* what fails is tried again at the next look */
	if (active > log->trimmed_below && !trim_segments(&log->key, log->trimmed_below, active))
		return;
	log->trimmed_below = Max(active, 0);
	log->trimmed_version = version;
}

static bool
trim_segments(const MqLogKey *key, MqOffset from, MqOffset below)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	MqSegmentList list;
	MqSegmentFile kind;
	bool		ok = true;
	int			i;

	if (!mq_segment_list(key, from, &list))
		return false;
	for (i = 0; i < list.n && list.bases[i] < below; i++)
	{
		for (kind = MQ_SEGMENT_LOG; kind <= MQ_SEGMENT_BATCHES; kind++)
		{
			mq_segment_path(path, key, list.bases[i], kind);
			ok &= mq_file_unreserve(path);
		}
	}
	mq_segment_list_free(&list);
	return ok;
}

/* The oldest hand-over, which stays queued until its files are gone.  Returns how many are queued. */
static int
next_drop(MqDropEntry *entry)
{
	int			queued;

	LWLockAcquire(&mq_log_table->lock, LW_SHARED);
	queued = mq_log_table->drop_count;
	if (queued > 0)
		*entry = mq_log_table->drops[0];
	LWLockRelease(&mq_log_table->lock);
	return queued;
}

static bool
collect_database(void *arg, const char *name)
{
	Collected  *c = (Collected *) arg;
	uint32		oid;

	if (mq_segment_parse_number(name, PG_UINT32_MAX, &oid))
	{
		c->key.dboid = oid;
		add_key(c);
	}
	return true;
}

static bool
collect_topic(void *arg, const char *name)
{
	Collected  *c = (Collected *) arg;

	if (mq_segment_parse_uuid(name, &c->key.topic))
		add_key(c);
	return true;
}

/* Goes down two levels, for mq_log_list_all(). */
static bool
collect_databases_topic(void *arg, const char *name)
{
	Collected  *c = (Collected *) arg;
	char		path[MQ_SEGMENT_PATH_MAX];
	pg_uuid_t  *topics;
	uint32		oid;
	int			n;
	int			i;

	if (!mq_segment_parse_number(name, PG_UINT32_MAX, &oid))
		return true;
	topics = mq_log_list_topics(oid, &n);
	for (i = 0; i < n; i++)
	{
		c->key.dboid = oid;
		c->key.topic = topics[i];
		mq_segment_topic_dir(path, oid, &topics[i]);
		if (!mq_file_list(path, collect_partition, c) && errno != ENOENT)
			mq_log_file_error("read file", path, WARNING);
	}
	return true;
}

static bool
collect_partition(void *arg, const char *name)
{
	Collected  *c = (Collected *) arg;
	uint32		partition;

	if (mq_segment_parse_number(name, MQ_MAX_PARTITIONS - 1, &partition))
	{
		c->key.partition = partition;
		add_key(c);
	}
	return true;
}

static void
add_key(Collected *c)
{
	if (c->n == c->room)
	{
		c->room = Max(64, c->room * 2);
		c->keys = c->keys == NULL ? palloc(sizeof(MqLogKey) * c->room) :
			repalloc_huge(c->keys, sizeof(MqLogKey) * c->room);
	}
	c->keys[c->n++] = c->key;
}

static bool
count_entry(void *arg, const char *name)
{
	(*(int *) arg)++;
	return true;
}
