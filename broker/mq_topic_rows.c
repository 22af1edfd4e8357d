/*
 * mq_topic_rows.c
 *	  Rows of mq_internal.topics.
 *
 * The table is read and written as the server reads and writes its catalogs:
 * by index, in C, with no query and so with no search_path, no trigger and no
 * privileges of the user's.  What differs is the snapshot.  A row is looked up
 * as of now (SnapshotSelf): an MVCC snapshot would leave predicate locks in a
 * SERIALIZABLE transaction, and a topic's first writer, who updates its row,
 * would then meet serialization failures over a row that no user ever asked
 * for.  Looking up as of now has a hole: a row that moves during the scan can
 * be seen in neither place; so "there is none" is confirmed by an MVCC
 * snapshot.  Lists always use one, for the same reason.
 *
 * The table's OIDs are cached until the relation cache says that something
 * happened to the table.  They are taken only from a table that belongs to
 * this extension, for where it is not installed anybody may own a schema of
 * that name.
 *
 * A row's place is good while the table is locked and no longer: VACUUM FULL
 * moves rows.  So a write looks its row up once more when it has its lock.
 *
 * Locking: AccessShareLock for reads, RowExclusiveLock for writes, on the
 * table; row locks only where they can be had at once.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "broker/mq_topic_rows.h"

#define EXTENSION_NAME		"mq_ext"
#define SCHEMA_NAME			"mq_internal"
#define TABLE_NAME			"topics"

/* Columns, as install/00_schema.sql creates them. */
#define COLUMN_RELATION		1
#define COLUMN_UUID			2
#define COLUMN_NAME			3
#define COLUMN_DATABASE		4
#define COLUMN_EVER_WRITTEN 5
#define COLUMN_CREATED_AT	6
#define COLUMNS				6

typedef struct TopicsTable
{
	Oid			table;			/* InvalidOid = to be looked up */
	Oid			by_relation;
	Oid			by_name;
} TopicsTable;

static TopicsTable topics = {InvalidOid, InvalidOid, InvalidOid};

static void forget_table(Datum arg, Oid relid);
static bool find_row(ScanKey key, Snapshot snapshot, MqTopicRow *row);
static Relation open_table(LOCKMODE lockmode);
static void read_row(Relation rel, HeapTuple tuple, MqTopicRow *row);
static HeapTuple form_tuple(Relation rel, const MqTopicRow *row);

void
mq_topic_rows_init(void)
{
	CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
}

/* Relcache callback: relid 0 stands for every relation. */
static void
forget_table(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == topics.table)
		topics.table = InvalidOid;
}

Oid
mq_topic_rows_table(void)
{
	Oid			schema;
	Oid			table;

	if (likely(OidIsValid(topics.table)))
		return topics.table;

	schema = get_namespace_oid(SCHEMA_NAME, true);
	if (!OidIsValid(schema))
		return InvalidOid;
	table = get_relname_relid(TABLE_NAME, schema);
	if (!OidIsValid(table) || get_rel_relkind(table) != RELKIND_RELATION)
		return InvalidOid;
	if (getExtensionOfObject(RelationRelationId, table) != get_extension_oid(EXTENSION_NAME, true))
		return InvalidOid;

	/* DROP EXTENSION takes the indexes away before the table and the topics */
	topics.by_relation = get_relname_relid("topics_pkey", schema);
	topics.by_name = get_relname_relid("topics_name_key", schema);
	topics.table = table;
	return table;
}

bool
mq_topic_rows_find(const char *name, MqTopicRow *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, COLUMN_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	return find_row(&key, SnapshotSelf, row) || find_row(&key, NULL, row);
}

bool
mq_topic_rows_find_relation(Oid relid, MqTopicRow *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, COLUMN_RELATION, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	return find_row(&key, SnapshotSelf, row) || find_row(&key, NULL, row);
}

/* Snapshot NULL is a fresh MVCC snapshot. */
static bool
find_row(ScanKey key, Snapshot snapshot, MqTopicRow *row)
{
	ScanKeyData our_key = *key; /* the scan changes it */
	Relation	rel = open_table(AccessShareLock);
	Oid			index = key->sk_attno == COLUMN_NAME ? topics.by_name : topics.by_relation;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	if (rel == NULL)
		return false;
	scan = systable_beginscan(rel, index, OidIsValid(index), snapshot, 1, &our_key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		read_row(rel, tuple, row);
	systable_endscan(scan);
	relation_close(rel, AccessShareLock);
	return found;
}

/* NULL where the extension is not installed.  With the lock held, the cached OIDs are good. */
static Relation
open_table(LOCKMODE lockmode)
{
	Oid			table = mq_topic_rows_table();
	Relation	rel = OidIsValid(table) ? try_relation_open(table, lockmode) : NULL;

	/* getting the lock may have emptied the cache */
	if (rel != NULL && mq_topic_rows_table() != table)
	{
		relation_close(rel, lockmode);
		return NULL;
	}
	return rel;
}

static void
read_row(Relation rel, HeapTuple tuple, MqTopicRow *row)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
	int			i;

	/* later versions of the extension may have added columns at the end */
	for (i = 0; i < COLUMNS; i++)
		values[i] = heap_getattr(tuple, i + 1, RelationGetDescr(rel), &nulls[i]);

	row->tid = tuple->t_self;
	row->relation = DatumGetObjectId(values[COLUMN_RELATION - 1]);
	memcpy(&row->uuid, DatumGetUUIDP(values[COLUMN_UUID - 1]), sizeof(pg_uuid_t));
	text_to_cstring_buffer(DatumGetTextPP(values[COLUMN_NAME - 1]), row->name, sizeof(row->name));
	row->database = DatumGetObjectId(values[COLUMN_DATABASE - 1]);
	row->ever_written = DatumGetBool(values[COLUMN_EVER_WRITTEN - 1]);
	row->created_at = DatumGetTimestampTz(values[COLUMN_CREATED_AT - 1]);
	row->ours = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

List *
mq_topic_rows_list(void)
{
	List	   *rows = NIL;
	Relation	rel = open_table(AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;

	/* an empty list would say that every folder on disk is a stranger's */
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in this database", EXTENSION_NAME),
				 errhint("CREATE EXTENSION %s;", EXTENSION_NAME)));
	scan = systable_beginscan(rel, topics.by_name, OidIsValid(topics.by_name), NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MqTopicRow *row = palloc(sizeof(MqTopicRow));

		read_row(rel, tuple, row);
		rows = lappend(rows, row);
	}
	systable_endscan(scan);
	relation_close(rel, AccessShareLock);
	return rows;
}

void
mq_topic_rows_insert(const MqTopicRow *row)
{
	Relation	rel = table_open(mq_topic_rows_table(), RowExclusiveLock);

	CatalogTupleInsert(rel, form_tuple(rel, row));
	table_close(rel, NoLock);
}

static HeapTuple
form_tuple(Relation rel, const MqTopicRow *row)
{
	int			natts = RelationGetDescr(rel)->natts;
	Datum	   *values = palloc0(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));
	int			i;

	for (i = 0; i < natts; i++)
		nulls[i] = i >= COLUMNS;
	values[COLUMN_RELATION - 1] = ObjectIdGetDatum(row->relation);
	values[COLUMN_UUID - 1] = UUIDPGetDatum(&row->uuid);
	values[COLUMN_NAME - 1] = CStringGetTextDatum(row->name);
	values[COLUMN_DATABASE - 1] = ObjectIdGetDatum(row->database);
	values[COLUMN_EVER_WRITTEN - 1] = BoolGetDatum(row->ever_written);
	values[COLUMN_CREATED_AT - 1] = TimestampTzGetDatum(row->created_at);
	return heap_form_tuple(RelationGetDescr(rel), values, nulls);
}

/*
 * The caller holds a lock on the topic's relation that lets nobody else touch
 * the row.
 */
void
mq_topic_rows_delete(const MqTopicRow *row)
{
	Relation	rel = table_open(mq_topic_rows_table(), RowExclusiveLock);
	MqTopicRow	now;

	if (mq_topic_rows_find_relation(row->relation, &now))
		CatalogTupleDelete(rel, &now.tid);
	table_close(rel, NoLock);
}

/*
 * Writes the row over the version that was read.  No snapshot decides, so it
 * works alike in every isolation level; whoever comes second finds the row
 * locked or changed and leaves it alone.  But a snapshot must be held since
 * before the row was read, or the version could have been pruned away by now.
 */
bool
mq_topic_rows_update(const MqTopicRow *row)
{
	Relation	rel;
	MqTopicRow	now;
	HeapTupleData locked;
	TM_FailureData failure;
	TM_Result	result;
	Buffer		buffer;

	Assert(ActiveSnapshotSet());
	if (!ItemPointerIsValid(&row->tid))
		return false;
	rel = table_open(mq_topic_rows_table(), RowExclusiveLock);
	if (!mq_topic_rows_find_relation(row->relation, &now) ||
		!ItemPointerEquals(&now.tid, (ItemPointer) &row->tid))
	{
		table_close(rel, NoLock);
		return false;
	}
	locked.t_self = now.tid;
	result = heap_lock_tuple(rel, &locked, GetCurrentCommandId(true), LockTupleExclusive,
							 LockWaitSkip, false, &buffer, &failure);
	ReleaseBuffer(buffer);
	if (result == TM_Ok)
		CatalogTupleUpdate(rel, &locked.t_self, form_tuple(rel, row));
	table_close(rel, NoLock);
	return result == TM_Ok;
}
