/*
 * mq_stat.c
 *	  Counters of a partition: what went in and out since the last reset.
 *
 * There is an entry for each open partition and as many again for those that
 * were open before, so that counters outlive the slot.  Who has counted
 * nothing gives its entry back with the slot: a worker that goes through all
 * partitions costs nobody's counters.  When all entries are taken, one of a
 * partition that is not open makes way; what it had counted is gone, and
 * partitions without an entry count from that moment.
 *
 * Counters only rise.  A reset remembers where they stood, so nobody has to
 * keep others from counting meanwhile.  What is counted under the append lock
 * has one writer at a time and needs no locked instruction; the rest is added
 * up in the reader and counted once per call or segment.
 *
 * The postmaster saves the counters when it ends well, and reads and removes
 * the file at its next start.  After anything but a clean shutdown they begin
 * at zero: what is lost between could not be told.  The file stands beside
 * those of the server's own statistics, not in pg_mq, where all is the log's.
 *
 * Locking: MqStat protects the hash, the free list, which entries are in use,
 *			and the bases of resets; it is a leaf.  An attached entry is not
 *			taken away, so counting needs no lock for that.
 */
#include "postgres.h"

#include <fcntl.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_crc32c.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "base/mq_settings.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_stat.h"

#define STAT_DIR		"pg_stat"
#define STAT_FILE		"pg_stat/mq_ext.stat"
#define STAT_FILE_NEW	"pg_stat/mq_ext.stat.tmp"
#define STAT_MAGIC		0x4d515354	/* "MQST" */
#define STAT_VERSION	1

/* Entries written or read together. */
#define STAT_CHUNK		64

#define NO_ENTRY		(-1)

struct MqStatShared
{
	MqLogKey	key;
	int32		next_free;
	bool		in_use;
	bool		attached;		/* a slot points here */
	bool		dropped;		/* goes when it is detached */
	TimestampTz reset_at;
	pg_atomic_uint64 counts[MQ_STAT_COUNTERS];
	uint64		bases[MQ_STAT_COUNTERS];	/* where the counts stood at the reset */
};

typedef struct MqStatTableShared
{
	LWLock		lock;
	int			entries;
	int32		free;			/* head of the free list */
	int32		clock_hand;
	TimestampTz since;			/* from when on a partition without an entry has counted nothing */
} MqStatTableShared;

typedef struct IndexEntry
{
	MqLogKey	key;
	int32		entry;
} IndexEntry;

/* The file: a header, then the entries, all in the machine's byte order. */
typedef struct MqStatHeaderDisk
{
	uint32		magic;
	uint32		version;
	uint32		entry_size;
	uint32		entries;
	int64		since;
	uint32		unused;
	uint32		crc;			/* CRC-32C of the entries and of all before it */
} MqStatHeaderDisk;

typedef struct MqStatEntryDisk
{
	MqLogKey	key;
	int64		reset_at;
	uint64		counts[MQ_STAT_COUNTERS];
} MqStatEntryDisk;

StaticAssertDecl(sizeof(MqStatHeaderDisk) == 32, "the header of the statistics is 32 bytes on disk");
StaticAssertDecl(sizeof(MqStatEntryDisk) == 32 + 8 * MQ_STAT_COUNTERS, "an entry of the statistics has no holes");

int			mq_stat_tranche;

static MqStatTableShared *table = NULL;
static MqStat *entries = NULL;
static HTAB *entry_index = NULL;

static int	table_size(void);
static void add(MqStat *stat, MqStatCounter counter, int64 n);
static void add_alone(MqStat *stat, MqStatCounter counter, int64 n);
static MqStat *find(const MqLogKey *key);
static MqStat *find_or_make(const MqLogKey *key);
static MqStat *take_free(void);
static void remove_entry(MqStat *stat);
static bool is_zero(const MqStat *stat);
static void reset(MqStat *stat, TimestampTz now);
static void load(void);
static bool was_shut_down(void);
static bool check_file(int fd, MqStatHeaderDisk *header);
static void load_entries(int fd, const MqStatHeaderDisk *header);
static void save(int code, Datum arg);
static bool write_file(int fd);
static bool fill_entry(const MqStat *stat, MqStatEntryDisk *disk);

Size
mq_stat_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(MqStatTableShared));

	size = add_size(size, mul_size(table_size(), sizeof(MqStat)));
	return add_size(size, hash_estimate_size(table_size(), sizeof(IndexEntry)));
}

/* In the postmaster also sees to the file: at once, and again at its end. */
void
mq_stat_shmem_init(bool found_unused)
{
	HASHCTL		ctl;
	bool		found;
	int			i;

	table = ShmemInitStruct("mq_ext statistics", sizeof(MqStatTableShared), &found);
	entries = ShmemInitStruct("mq_ext statistics entries", mul_size(table_size(), sizeof(MqStat)), &found);
	ctl.keysize = sizeof(MqLogKey);
	ctl.entrysize = sizeof(IndexEntry);
	entry_index = ShmemInitHash("mq_ext statistics hash", table_size(), table_size(),
								&ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	if (!found)
	{
		LWLockInitialize(&table->lock, mq_stat_tranche);
		table->entries = table_size();
		table->free = 0;
		table->clock_hand = 0;
		table->since = GetCurrentTimestamp();
		memset(entries, 0, sizeof(MqStat) * table->entries);
		for (i = 0; i < table->entries; i++)
		{
			int			c;

			entries[i].next_free = i + 1 < table->entries ? i + 1 : NO_ENTRY;
			for (c = 0; c < MQ_STAT_COUNTERS; c++)
				pg_atomic_init_u64(&entries[i].counts[c], 0);
		}
	}
	if (IsUnderPostmaster || IsBootstrapProcessingMode())
		return;
	load();
	on_shmem_exit(save, (Datum) 0);
}

void
mq_stat_count_in(MqLog *log, int64 messages, const MqStatIn *in)
{
	MqStat	   *stat = log->stat;

	Assert(LWLockHeldByMeInMode(&log->append_lock, LW_EXCLUSIVE));
	add_alone(stat, MQ_STAT_MESSAGES_IN, messages);
	add_alone(stat, MQ_STAT_BYTES_IN, in->bytes);
	add_alone(stat, MQ_STAT_BATCHES_IN, in->batches);
	add_alone(stat, MQ_STAT_PRODUCE_CALLS, in->calls);
	add_alone(stat, MQ_STAT_PRODUCE_TIME, in->usec);
}

void
mq_stat_count_out(MqLog *log, const MqStatOut *out)
{
	add(log->stat, MQ_STAT_FETCH_CALLS, out->calls);
	add(log->stat, MQ_STAT_MESSAGES_OUT, out->messages);
	add(log->stat, MQ_STAT_BYTES_OUT, out->bytes);
	add(log->stat, MQ_STAT_FILTERED_OUT, out->filtered);
}

void
mq_stat_count_read(MqLog *log, const MqStatRead *read)
{
	add(log->stat, MQ_STAT_READS, read->reads);
	add(log->stat, MQ_STAT_READ_BYTES, read->bytes);
	add(log->stat, MQ_STAT_READ_TIME, read->usec);
}

void
mq_stat_count_deleted(MqLog *log, int64 messages, int64 bytes)
{
	add(log->stat, MQ_STAT_DELETED_MESSAGES, messages);
	add(log->stat, MQ_STAT_DELETED_BYTES, bytes);
}

/* The callback's error may hold other locks of ours; MqStat ranks above them all. */
void
mq_stat_count_error(const MqLogKey *key)
{
	int			code = geterrcode();

	if (code != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		code != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE &&
		ERRCODE_TO_CATEGORY(code) != ERRCODE_INSUFFICIENT_RESOURCES)
		return;
	if (LWLockHeldByMe(&table->lock))
		return;
	LWLockAcquire(&table->lock, LW_EXCLUSIVE);
	add(find_or_make(key), MQ_STAT_REJECTED, 1);
	LWLockRelease(&table->lock);
}

void
mq_stat_read(const MqLogKey *key, MqStatValues *values)
{
	MqStat	   *stat;
	int			c;

	memset(values, 0, sizeof(*values));
	LWLockAcquire(&table->lock, LW_SHARED);
	stat = find(key);
	values->reset_at = stat != NULL ? stat->reset_at : table->since;
	for (c = 0; stat != NULL && c < MQ_STAT_COUNTERS; c++)
		values->counts[c] = pg_atomic_read_u64(&stat->counts[c]) - stat->bases[c];
	LWLockRelease(&table->lock);
}

/* A partition that has no entry gets one, to show since when it has counted nothing. */
void
mq_stat_reset(const MqLogKey *key)
{
	LWLockAcquire(&table->lock, LW_EXCLUSIVE);
	reset(find_or_make(key), GetCurrentTimestamp());
	LWLockRelease(&table->lock);
}

void
mq_stat_reset_database(Oid dboid)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	LWLockAcquire(&table->lock, LW_EXCLUSIVE);
	for (i = 0; i < table->entries; i++)
	{
		if (entries[i].in_use && entries[i].key.dboid == dboid)
			reset(&entries[i], now);
	}
	LWLockRelease(&table->lock);
}

MqStat *
mq_stat_attach(const MqLogKey *key)
{
	MqStat	   *stat;

	LWLockAcquire(&table->lock, LW_EXCLUSIVE);
	stat = find_or_make(key);
	stat->attached = true;
	LWLockRelease(&table->lock);
	return stat;
}

void
mq_stat_detach(MqStat *stat)
{
	LWLockAcquire(&table->lock, LW_EXCLUSIVE);
	Assert(stat->in_use && stat->attached);
	stat->attached = false;
	if (stat->dropped)
		remove_entry(stat);
	else if (is_zero(stat))
	{
		table->since = Max(table->since, stat->reset_at);
		remove_entry(stat);
	}
	LWLockRelease(&table->lock);
}

void
mq_stat_forget(Oid dboid, const pg_uuid_t *topic)
{
	int			i;

	LWLockAcquire(&table->lock, LW_EXCLUSIVE);
	for (i = 0; i < table->entries; i++)
	{
		MqStat	   *stat = &entries[i];

		if (!stat->in_use || !mq_log_same_topic(&stat->key, dboid, topic))
			continue;
		stat->dropped = true;
		if (!stat->attached)
			remove_entry(stat);
	}
	LWLockRelease(&table->lock);
}

/* At most half of them are attached. */
static int
table_size(void)
{
	return mq_max_partitions * 2;
}

static void
add(MqStat *stat, MqStatCounter counter, int64 n)
{
	if (n != 0)
		pg_atomic_fetch_add_u64(&stat->counts[counter], n);
}

/* For counters of which a lock lets only one writer at a time come here. */
static void
add_alone(MqStat *stat, MqStatCounter counter, int64 n)
{
	pg_atomic_write_u64(&stat->counts[counter], pg_atomic_read_u64(&stat->counts[counter]) + n);
}

/* Caller holds the lock. */
static MqStat *
find(const MqLogKey *key)
{
	IndexEntry *found = hash_search(entry_index, key, HASH_FIND, NULL);

	return found != NULL ? &entries[found->entry] : NULL;
}

/* Caller holds the lock exclusively. */
static MqStat *
find_or_make(const MqLogKey *key)
{
	MqStat	   *stat = find(key);
	IndexEntry *index;

	if (stat != NULL)
		return stat;
	stat = take_free();
	stat->key = *key;
	stat->in_use = true;
	stat->attached = stat->dropped = false;
	reset(stat, table->since);
	index = hash_search(entry_index, key, HASH_ENTER, NULL);
	index->entry = stat - entries;
	return stat;
}

/* There is always one that no slot points to: see table_size(). */
static MqStat *
take_free(void)
{
	MqStat	   *stat;

	while (table->free == NO_ENTRY)
	{
		stat = &entries[table->clock_hand];
		table->clock_hand = (table->clock_hand + 1) % table->entries;
		if (!stat->attached)
		{
			table->since = GetCurrentTimestamp();
			remove_entry(stat);
		}
	}
	stat = &entries[table->free];
	table->free = stat->next_free;
	return stat;
}

static void
remove_entry(MqStat *stat)
{
	hash_search(entry_index, &stat->key, HASH_REMOVE, NULL);
	stat->in_use = false;
	stat->next_free = table->free;
	table->free = stat - entries;
}

static bool
is_zero(const MqStat *stat)
{
	int			c;

	for (c = 0; c < MQ_STAT_COUNTERS; c++)
	{
		if (pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &stat->counts[c])) != stat->bases[c])
			return false;
	}
	return true;
}

static void
reset(MqStat *stat, TimestampTz now)
{
	int			c;

	for (c = 0; c < MQ_STAT_COUNTERS; c++)
		stat->bases[c] = pg_atomic_read_u64(&stat->counts[c]);
	stat->reset_at = now;
}

/* A file that cannot be used is no reason not to start. */
static void
load(void)
{
	MqStatHeaderDisk header;
	int			fd = mq_file_open(STAT_FILE, O_RDONLY);

	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode(mq_file_errcode()),
					 errmsg("could not open file \"%s\": %m", STAT_FILE)));
		return;
	}
	if (!was_shut_down())
		ereport(LOG, (errmsg("mq_ext: statistics begin at zero because the server was not shut down")));
	else if (!check_file(fd, &header))
		ereport(LOG, (errmsg("mq_ext: statistics begin at zero because file \"%s\" is damaged or of another version",
							 STAT_FILE)));
	else
		load_entries(fd, &header);
	mq_file_close(fd);
	if (!mq_file_unlink(STAT_FILE))
		ereport(LOG,
				(errcode(mq_file_errcode()),
				 errmsg("could not remove file \"%s\": %m", STAT_FILE)));
}

/* An immediate shutdown ends the postmaster as quietly as a clean one. */
static bool
was_shut_down(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	bool		clean = crc_ok &&
	(control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return clean;
}

static bool
check_file(int fd, MqStatHeaderDisk *header)
{
	MqStatEntryDisk chunk[STAT_CHUNK];
	off_t		position = sizeof(*header);
	pg_crc32c	crc;
	uint32		left;

	if (mq_file_pread(fd, header, sizeof(*header), 0) != sizeof(*header) ||
		header->magic != STAT_MAGIC || header->version != STAT_VERSION ||
		header->entry_size != sizeof(MqStatEntryDisk) ||
		header->entries > MQ_MAX_PARTITIONS * 2 ||
		mq_file_size_fd(fd) != (int64) (sizeof(*header) + header->entries * sizeof(MqStatEntryDisk)))
		return false;

	INIT_CRC32C(crc);
	for (left = header->entries; left > 0;)
	{
		uint32		n = Min(left, STAT_CHUNK);

		if (mq_file_pread(fd, chunk, n * sizeof(chunk[0]), position) != (int64) (n * sizeof(chunk[0])))
			return false;
		COMP_CRC32C(crc, chunk, n * sizeof(chunk[0]));
		position += n * sizeof(chunk[0]);
		left -= n;
	}
	COMP_CRC32C(crc, header, offsetof(MqStatHeaderDisk, crc));
	FIN_CRC32C(crc);
	return EQ_CRC32C(header->crc, crc);
}

/* As many as there is room for: mq.max_partitions may have been lowered. */
static void
load_entries(int fd, const MqStatHeaderDisk *header)
{
	uint32		i;

	table->since = header->since;
	for (i = 0; i < header->entries && table->free != NO_ENTRY; i++)
	{
		MqStatEntryDisk disk;
		MqStat	   *stat;
		int			c;

		if (mq_file_pread(fd, &disk, sizeof(disk), sizeof(*header) + (off_t) i * sizeof(disk)) != sizeof(disk))
			break;
		stat = find_or_make(&disk.key);
		stat->reset_at = disk.reset_at;
		for (c = 0; c < MQ_STAT_COUNTERS; c++)
			pg_atomic_write_u64(&stat->counts[c], stat->bases[c] + disk.counts[c]);
	}
	if (i < header->entries)
		table->since = GetCurrentTimestamp();
}

/* Exit callback of the postmaster; after a crash there is nothing worth keeping. */
static void
save(int code, Datum arg)
{
	int			fd;
	bool		ok;
	int			save_errno;

	if (code != 0 || table == NULL)
		return;
	fd = mq_file_open(STAT_FILE_NEW, O_RDWR | O_CREAT | O_TRUNC);
	ok = fd >= 0 && write_file(fd) && mq_file_sync(fd);
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	if (ok && mq_file_rename(STAT_FILE_NEW, STAT_FILE) && mq_file_sync_path(STAT_DIR, true))
		return;
	ereport(LOG,
			(errcode(mq_file_errcode()),
			 errmsg("could not write file \"%s\": %m", STAT_FILE_NEW)));
	(void) mq_file_unlink(STAT_FILE_NEW);
}

/* Nobody else is left who could count. */
static bool
write_file(int fd)
{
	MqStatEntryDisk chunk[STAT_CHUNK];
	MqStatHeaderDisk header;
	off_t		position = sizeof(header);
	int			n = 0;
	int			i;

	memset(&header, 0, sizeof(header));
	header.magic = STAT_MAGIC;
	header.version = STAT_VERSION;
	header.entry_size = sizeof(MqStatEntryDisk);
	header.since = table->since;
	INIT_CRC32C(header.crc);
	for (i = 0; i <= table->entries; i++)
	{
		if (i < table->entries && fill_entry(&entries[i], &chunk[n]))
			n++;
		if (n == 0 || (n < STAT_CHUNK && i < table->entries))
			continue;
		if (!mq_file_pwrite(fd, chunk, n * sizeof(chunk[0]), position))
			return false;
		COMP_CRC32C(header.crc, chunk, n * sizeof(chunk[0]));
		position += n * sizeof(chunk[0]);
		header.entries += n;
		n = 0;
	}
	COMP_CRC32C(header.crc, &header, offsetof(MqStatHeaderDisk, crc));
	FIN_CRC32C(header.crc);
	return mq_file_pwrite(fd, &header, sizeof(header), 0);
}

static bool
fill_entry(const MqStat *stat, MqStatEntryDisk *disk)
{
	int			c;

	if (!stat->in_use || stat->dropped || (is_zero(stat) && stat->reset_at <= table->since))
		return false;
	disk->key = stat->key;
	disk->reset_at = stat->reset_at;
	for (c = 0; c < MQ_STAT_COUNTERS; c++)
		disk->counts[c] = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &stat->counts[c])) - stat->bases[c];
	return true;
}
