/*
 * mq_topic_identity.c
 *	  Which folder belongs to which topic: rows made, copied, forgotten; strangers.
 *
 * The name of a topic's folder is the uuid of its row.  No file is made here
 * and none removed: files come with the first append, and a folder without a
 * row is handed to a worker.
 *
 * Database copies carry rows without folders; such a row is recognised by its
 * database and gets a new uuid.  That uuid is computed from the old one and
 * the copy's OID, not drawn: until the row has been updated and committed
 * everybody must come to the same answer, and what was appended under it
 * without waiting for a commit must be found again if the transaction that
 * updated the row fails.
 *
 * Locking: the caller holds a lock on the topic's relation (rank 1); adopting
 * and sweeping need none.  Sweeping reads the catalog under storage's sweep
 * lock, which nothing but a sweep takes.
 * Crash:   a folder whose drop was committed and not carried out is found by
 * the first backend that uses the database after the next boot.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "broker/mq_topic_identity.h"
#include "broker/mq_xact_topics.h"
#include "storage/mq_log.h"

/* True once this process has compared folders and rows after a boot, or seen it done. */
static bool swept = false;

static void random_uuid(pg_uuid_t *uuid);
static pg_uuid_t folder_uuid(const MqTopicRow *row);
static pg_uuid_t *known_uuids(int *n);
static int	compare_uuids(const void *a, const void *b);

/*
 * The caller has claimed the name.  A row whose relation is gone can only have
 * been left by a server that ran without this library; it makes way.
 */
void
mq_topic_identity_insert(Oid relid, const char *name)
{
	MqTopicRow	row;

	if (mq_topic_rows_find(name, &row))
	{
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row.relation)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("topic \"%s\" already exists", name)));
		(void) mq_topic_identity_forget(row.relation);
		CommandCounterIncrement();
	}

	memset(&row, 0, sizeof(row));
	row.relation = relid;
	random_uuid(&row.uuid);
	strlcpy(row.name, name, sizeof(row.name));
	row.database = MyDatabaseId;
	row.created_at = GetCurrentTransactionStartTimestamp();
	mq_topic_rows_insert(&row);
	CommandCounterIncrement();
	mq_xact_note_create(&row.uuid);
	mq_xact_note_alter(row.name);
}

static void
random_uuid(pg_uuid_t *uuid)
{
	if (!pg_strong_random(uuid->data, UUID_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	uuid->data[6] = (uuid->data[6] & 0x0f) | 0x40;
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}

bool
mq_topic_identity_forget(Oid relid)
{
	MqTopicRow	row;
	pg_uuid_t	uuid;
	Oid			table = mq_topic_rows_table();

	/* the row's place must stay what it is until we are done: no VACUUM FULL in between */
	if (OidIsValid(table))
		LockRelationOid(table, RowExclusiveLock);
	if (!mq_topic_rows_find_relation(relid, &row))
		return false;

	/* a sweep later in this transaction would take the deletion for granted */
	mq_topic_identity_sweep();
	uuid = folder_uuid(&row);
	mq_topic_rows_delete(&row);
	mq_xact_note_drop(MyDatabaseId, &uuid);
	return true;
}

/*
 * DROP EXTENSION takes the table away before the topics' relations, which then
 * find no row any more.  So the topics are noted here, those without a folder
 * too: what this transaction has produced to them must not be appended.
 */
void
mq_topic_identity_forget_all(void)
{
	ListCell   *lc;

	/* as above: an extension made anew in this transaction knows none of these */
	mq_topic_identity_sweep();
	foreach(lc, mq_topic_rows_list())
	{
		pg_uuid_t	uuid = folder_uuid(lfirst(lc));

		mq_xact_note_drop(MyDatabaseId, &uuid);
	}
	mq_xact_note_drop_all();
}

bool
mq_topic_identity_is_current(const char *name, const pg_uuid_t *folder)
{
	MqTopicRow	row;
	pg_uuid_t	uuid;

	if (!mq_topic_rows_find(name, &row))
		return false;
	uuid = folder_uuid(&row);
	return memcmp(&uuid, folder, UUID_LEN) == 0;
}

/* The uuid that a row stands for: its own, or the computed one if the row was copied. */
static pg_uuid_t
folder_uuid(const MqTopicRow *row)
{
	pg_uuid_t	uuid;
	uint64		halves[2];
	unsigned char input[UUID_LEN + sizeof(Oid)];
	Oid			database = MyDatabaseId;

	if (row->database == MyDatabaseId)
		return row->uuid;

	memcpy(input, row->uuid.data, UUID_LEN);
	memcpy(input + UUID_LEN, &database, sizeof(Oid));
	halves[0] = hash_bytes_extended(input, sizeof(input), 0);
	halves[1] = hash_bytes_extended(input, sizeof(input), halves[0]);
	memcpy(uuid.data, halves, UUID_LEN);
	uuid.data[6] = (uuid.data[6] & 0x0f) | 0x80;	/* version 8: made our own way */
	uuid.data[8] = (uuid.data[8] & 0x3f) | 0x80;
	return uuid;
}

/*
 * A row that CREATE DATABASE ... TEMPLATE brought: gives it an identity of its
 * own, if that can be written now.  If not, the same identity is computed again
 * until somebody can.
 */
bool
mq_topic_identity_adopt(MqTopicRow *row)
{
	row->uuid = folder_uuid(row);
	row->database = MyDatabaseId;
	row->ever_written = false;
	if (RecoveryInProgress() || XactReadOnly || IsInParallelMode() || !mq_topic_rows_update(row))
		return false;

	/* others must look again when we commit, and we when we do not */
	CacheInvalidateRelcacheByRelid(row->relation);
	CommandCounterIncrement();
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("topic \"%s\" starts empty in database \"%s\"",
					row->name, get_database_name(MyDatabaseId)),
			 errdetail("The database is a copy; the messages of its topics are not copied.")));
	return true;
}

/*
 * Hands over the folders that belong to no row: what a crash left between a
 * drop's commit and the end of its files.  Storage keeps everybody else of
 * this database from appending until this is done, so a folder without a row
 * cannot belong to a topic that is just being made; and whoever drops a topic
 * comes here first, so a deletion that may yet be rolled back is not among
 * those we see.
 *
 * The table is locked first: whoever has it locked against us may be on the
 * way here too, and would wait for the sweep where deadlocks are not noticed.
 */
void
mq_topic_identity_sweep(void)
{
	Oid			table;
	pg_uuid_t  *folders;
	pg_uuid_t  *known;
	int			nfolders;
	int			nknown = 0;
	int			i;

	if (likely(swept) || RecoveryInProgress())
		return;
	table = mq_topic_rows_table();
	if (!OidIsValid(table))
		return;
	LockRelationOid(table, AccessShareLock);
	if (mq_log_sweep_begin(MyDatabaseId))
	{
		folders = mq_log_list_topics(MyDatabaseId, &nfolders);
		known = nfolders > 0 ? known_uuids(&nknown) : NULL;
		for (i = 0; i < nfolders; i++)
		{
			if (bsearch(&folders[i], known, nknown, sizeof(pg_uuid_t), compare_uuids) != NULL)
				continue;
			mq_log_drop_reserve(1);
			mq_log_drop_hand_over(MyDatabaseId, &folders[i]);
		}
		mq_log_sweep_end(MyDatabaseId, true);
	}
	UnlockRelationOid(table, AccessShareLock);
	swept = true;
}

/* The folder names of all topics, sorted. */
static pg_uuid_t *
known_uuids(int *n)
{
	List	   *rows = mq_topic_rows_list();
	pg_uuid_t  *uuids = palloc((list_length(rows) + 1) * sizeof(pg_uuid_t));
	ListCell   *lc;

	*n = 0;
	foreach(lc, rows)
		uuids[(*n)++] = folder_uuid(lfirst(lc));
	qsort(uuids, *n, sizeof(pg_uuid_t), compare_uuids);
	list_free_deep(rows);
	return uuids;
}

static int
compare_uuids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(pg_uuid_t));
}
