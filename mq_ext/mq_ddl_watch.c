/*
 * mq_ddl_watch.c
 *	  Everybody's DDL on topics, under watch.
 *
 * A foreign table on a server of ours is a topic, whether mq.create_topic()
 * or a command written by hand makes it, and everything that the server can
 * do to a foreign table can be done to a topic, unless it would promise what
 * does not happen.  Event triggers could not see to that: they can be
 * disabled, and session_replication_role passes them by.
 *
 * The ProcessUtility hook sees a command before and after it is run.  Before,
 * it completes a CREATE FOREIGN TABLE and gives the clearer refusals; after, it
 * makes the topic of the new relation, and carries out a TRUNCATE.  Commands of
 * a function, a DO block or an extension's script come here, too.
 *
 * The object access hook sees what is being done, in whatever way: it knows the
 * relation by its OID, with the lock held, where the name in a command may mean
 * another relation a moment later.  So options are checked there, inheritance
 * and triggers are refused there, and columns that change are noted for a look
 * when the command is done.  A drop is never refused: whichever way a relation
 * goes, its topic goes with it, and a column that goes with its type, say, is
 * missed by those who use the table.
 *
 * pg_upgrade puts back what the catalog held, rows of mq_internal.topics
 * included; nothing here stands in its way.
 *
 * Locking: what the server's commands take.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "broker/mq_topic_changes.h"
#include "broker/mq_topic_identity.h"
#include "broker/mq_topic_options.h"
#include "broker/mq_topic_rows.h"
#include "broker/mq_xact_topics.h"
#include "mq_ext/mq_ddl.h"
#include "mq_ext/mq_ddl_new.h"
#include "mq_ext/mq_ddl_run.h"
#include "mq_ext/mq_ddl_table.h"
#include "mq_ext/mq_ddl_truncate.h"
#include "mq_ext/mq_ddl_watch.h"
#include "mq_ext/mq_fdw_columns.h"
#include "storage/mq_log.h"
#include "storage/mq_settle.h"

/* Topics whose columns have changed, in the transaction's memory, and of which transaction. */
static List *touched = NIL;
static LocalTransactionId touched_lxid = InvalidLocalTransactionId;

static ProcessUtility_hook_type next_utility_hook = NULL;
static object_access_hook_type next_access_hook = NULL;

static void watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
						  ProcessUtilityContext context, ParamListInfo params,
						  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static void refuse_statement(Node *statement);
static void refuse_new_parent(AlterTableStmt *statement);
static void check_touched(void);
static void watch_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg);
static void on_drop(Oid relid);
static void on_options_change(Oid relid);
static void on_new_trigger(Oid trigger);
static void touch(Oid relid);
static Datum read_now(Oid catalog, Oid index, AttrNumber key, Oid value, AttrNumber column, bool *isnull);
static Oid	topic_of_range(RangeVar *relation);

void
mq_ddl_watch_init(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	next_access_hook = object_access_hook;
	object_access_hook = watch_access;
}

static void
watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	bool		drops_database = IsA(pstmt->utilityStmt, DropdbStmt);
	bool		creates = mq_ddl_new_is(pstmt->utilityStmt);
	bool		claimed = false;
	int			depth;
	MqDdlRun	run;

	mq_settle_single_user();
	refuse_statement(pstmt->utilityStmt);
	if (creates)
	{
		pstmt = mq_ddl_new_prepare(pstmt, &claimed);
		read_only_tree = false;
	}
	depth = mq_ddl_run_begin(pstmt->utilityStmt, context == PROCESS_UTILITY_TOPLEVEL);
	if (next_utility_hook != NULL)
		next_utility_hook(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	mq_ddl_run_end(depth, &run);

	/* the statement may be gone by now, unless it is our copy */
	if (creates)
		mq_ddl_new_finish((CreateForeignTableStmt *) pstmt->utilityStmt, run.made, claimed);
	/* a part of a command may leave columns as no command would */
	if (context != PROCESS_UTILITY_SUBCOMMAND)
		check_touched();
	if (run.truncated != NIL)
		mq_ddl_truncate_finish(&run);
	if (drops_database && mq_log_is_attached())
		mq_xact_note_drop_database();
}

/*
 * Raises 0A000 for what users may not do to a topic's relation, where the
 * server would raise an error that says less, or find another one first.
 */
static void
refuse_statement(Node *statement)
{
	Oid			relid;

	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			refuse_new_parent((AlterTableStmt *) statement);
			break;
		case T_CreateTrigStmt:
			relid = topic_of_range(((CreateTrigStmt *) statement)->relation);
			if (OidIsValid(relid))
				mq_ddl_table_refuse_attachment(relid, "trigger");
			break;
		case T_RuleStmt:
			relid = topic_of_range(((RuleStmt *) statement)->relation);
			if (OidIsValid(relid))
				mq_ddl_table_refuse_attachment(relid, "rule");
			break;
		default:
			break;
	}
}

static void
refuse_new_parent(AlterTableStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		RangeVar   *other;
		Oid			relid;

		if (command->subtype == AT_AddInherit)
			other = (RangeVar *) command->def;
		else if (command->subtype == AT_AttachPartition)
			other = ((PartitionCmd *) command->def)->name;
		else
			continue;
		relid = topic_of_range(statement->relation);
		if (!OidIsValid(relid))
			relid = topic_of_range(other);
		if (OidIsValid(relid))
			mq_ddl_table_refuse_inheritance(mq_topic_options_topic(relid));
	}
}

/*
 * Whether what the command has left of a topic's columns can be read and
 * written.  A dump adds the options of columns one by one, after the table; it
 * also says, as for functions, that not everything is there yet.
 */
static void
check_touched(void)
{
	List	   *relids = touched;
	ListCell   *lc;

	if (likely(relids == NIL))
		return;
	touched = NIL;
	if (touched_lxid != MyProc->lxid || !check_function_bodies)
		return;					/* of a transaction that failed, or of a dump */
	CommandCounterIncrement();
	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);

		/* locked already, unless what touched it was rolled back */
		if (!ConditionalLockRelationOid(relid, AccessShareLock))
			continue;
		if (mq_ddl_table_is(relid))
			mq_fdw_columns_check(relid, true);
	}
}

static void
watch_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_access_hook != NULL)
		next_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0)
		on_drop(object_id);
	if (IsBinaryUpgrade)
		return;
	if (access == OAT_POST_ALTER && class_id == ForeignTableRelationId)
		on_options_change(object_id);
	else if (access == OAT_POST_ALTER && class_id == InheritsRelationId)
	{
		Oid			parent = ((ObjectAccessPostAlter *) arg)->auxiliary_id;

		if (mq_ddl_table_is(object_id) || mq_ddl_table_is(parent))
			mq_ddl_table_refuse_inheritance(mq_topic_options_topic(mq_ddl_table_is(object_id) ? object_id : parent));
	}
	else if (access == OAT_POST_CREATE && class_id == TriggerRelationId)
		on_new_trigger(object_id);
	else if (access == OAT_POST_CREATE && class_id == RelationRelationId && sub_id == 0)
		mq_ddl_run_note_made(object_id);
	else if (class_id == RelationRelationId && sub_id > 0 &&
			 (access == OAT_POST_ALTER || access == OAT_POST_CREATE || (access == OAT_DROP && mq_ddl_run_alters())) &&
			 mq_ddl_table_is(object_id))
		touch(object_id);
}

/* The relation is still there, and locked. */
static void
on_drop(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	if (relkind == RELKIND_FOREIGN_TABLE)
		(void) mq_topic_identity_forget(relid);
	else if (relkind == RELKIND_RELATION && relid == mq_topic_rows_table())
		mq_topic_identity_forget_all(); /* DROP EXTENSION ... CASCADE */
}

/* The catalog caches still have what was there before this step of the command. */
static void
on_options_change(Oid relid)
{
	List	   *before;
	List	   *after;
	Datum		datum;
	bool		isnull;
	const char *retired;

	if (!mq_ddl_table_is(relid) || !mq_topic_options_load(relid, &before))
		return;
	datum = read_now(ForeignTableRelationId, ForeignTableRelidIndexId, Anum_pg_foreign_table_ftrelid, relid,
					 Anum_pg_foreign_table_ftoptions, &isnull);
	after = isnull ? NIL : untransformRelOptions(datum);
	retired = mq_topic_options_get(after, MQ_TOPIC_OPTIONS_RETIRED);
	mq_topic_changes_check(before, after,
						   mq_ddl_is_retiring(relid, retired) ? MQ_TOPIC_CHANGES_RETIRE : MQ_TOPIC_CHANGES_OWNER);
	if (mq_topic_options_get(after, MQ_TOPIC_OPTIONS_NAME) != NULL)
		mq_xact_note_alter(mq_topic_options_get(after, MQ_TOPIC_OPTIONS_NAME));
}

/* The name in CREATE TRIGGER may have come to mean a topic only after refuse_statement() had looked. */
static void
on_new_trigger(Oid trigger)
{
	bool		isnull;
	Datum		relid = read_now(TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, trigger,
								 Anum_pg_trigger_tgrelid, &isnull);

	if (!isnull && mq_ddl_table_is(DatumGetObjectId(relid)))
		mq_ddl_table_refuse_attachment(DatumGetObjectId(relid), "trigger");
}

static void
touch(Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	if (touched_lxid != MyProc->lxid)
		touched = NIL;
	touched_lxid = MyProc->lxid;
	touched = list_append_unique_oid(touched, relid);
	MemoryContextSwitchTo(old);
}

/* A column of a catalog's row as the command in progress has left it. */
static Datum
read_now(Oid catalog, Oid index, AttrNumber key, Oid value, AttrNumber column, bool *isnull)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), column - 1);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;
	Datum		datum = (Datum) 0;

	*isnull = true;
	ScanKeyInit(&scankey, key, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
	scan = systable_beginscan(rel, index, true, SnapshotSelf, 1, &scankey);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		datum = heap_getattr(tuple, column, RelationGetDescr(rel), isnull);
	if (!*isnull)
		datum = datumCopy(datum, attribute->attbyval, attribute->attlen);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return datum;
}

/* The topic's relation that a command names; InvalidOid if it names none. */
static Oid
topic_of_range(RangeVar *relation)
{
	Oid			relid = relation == NULL ? InvalidOid : RangeVarGetRelid(relation, NoLock, true);

	return mq_ddl_table_is(relid) ? relid : InvalidOid;
}
