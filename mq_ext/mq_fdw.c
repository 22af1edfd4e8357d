/*
 * mq_fdw.c
 *	  The foreign-data wrapper of topics: validator and handler.
 *
 * The wrapper makes a topic a relation, with an owner, privileges and options
 * in the server's catalogs.  Its messages are the rows: SELECT is planned in
 * mq_fdw_plan.c and executed in mq_fdw_scan.c, INSERT and COPY FROM are in
 * mq_fdw_modify.c, TRUNCATE in mq_ddl_truncate.c.  What would change a row is
 * refused at planning, with a hint at what can be done instead.
 *
 * The validator is called for each change of options, before anything is
 * written, and judges each by itself.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_table.h"
#include "commands/defrem.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "mq_ext/mq_ddl_truncate.h"
#include "mq_ext/mq_ext.h"
#include "mq_ext/mq_fdw.h"
#include "mq_ext/mq_fdw_columns.h"

PG_FUNCTION_INFO_V1(mq_sql_fdw_validator);
PG_FUNCTION_INFO_V1(mq_sql_fdw_handler);

static bool may_run_parallel(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte);
static void refuse_rows(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation rel);
static List *refuse_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan);
static int	insert_only(Relation rel);
static void truncate_later(List *rels, DropBehavior behavior, bool restart_seqs);
static List *refuse_import(ImportForeignSchemaStmt *statement, Oid server);
static bool analyze_nothing(Relation rel, AcquireSampleRowsFunc *func, BlockNumber *pages);
static TupleTableSlot *never_modify(EState *estate, ResultRelInfo *info,
									TupleTableSlot *slot, TupleTableSlot *plan_slot);
static void refuse_write(Oid relid, const char *verb) pg_attribute_noreturn();

/*
 * Foreign tables have the options of topics, columns option "json".  An option
 * of the server, the wrapper or a user mapping is refused.  What a topic's
 * options may change to is known where the old ones are: in mq_ddl_watch.c.
 */
Datum
mq_sql_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *lc;

	/* without its hooks a relation would be no topic */
	if (catalog == ForeignTableRelationId && !IsBinaryUpgrade)
		mq_ext_require_preload();
	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (catalog == ForeignTableRelationId && strcmp(def->defname, MQ_TOPIC_OPTIONS_NAME) == 0)
			mq_topic_names_check(defGetString(def));
		else if (catalog == ForeignTableRelationId)
			mq_topic_options_check(def->defname, defGetString(def));
		else if (catalog != AttributeRelationId || strcmp(def->defname, MQ_FDW_COLUMNS_OPTION) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid option \"%s\"", def->defname),
					 catalog == AttributeRelationId ?
					 errhint("The only option of a column is \"%s\".", MQ_FDW_COLUMNS_OPTION) :
					 errhint("There are no valid options in this context.")));
	}
	PG_RETURN_VOID();
}

/* What is not set here the server refuses by itself, or never calls. */
Datum
mq_sql_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = mq_fdw_get_rel_size;
	routine->GetForeignPaths = mq_fdw_get_paths;
	routine->GetForeignPlan = mq_fdw_get_plan;
	routine->GetForeignUpperPaths = mq_fdw_get_upper_paths;
	routine->BeginForeignScan = mq_fdw_begin_scan;
	routine->IterateForeignScan = mq_fdw_iterate_scan;
	routine->RecheckForeignScan = mq_fdw_recheck_scan;
	routine->ReScanForeignScan = mq_fdw_rescan;
	routine->EndForeignScan = mq_fdw_end_scan;
	routine->ExplainForeignScan = mq_fdw_explain_scan;

	routine->IsForeignScanParallelSafe = may_run_parallel;
	routine->EstimateDSMForeignScan = mq_fdw_estimate_dsm;
	routine->InitializeDSMForeignScan = mq_fdw_initialize_dsm;
	routine->ReInitializeDSMForeignScan = mq_fdw_reinitialize_dsm;
	routine->InitializeWorkerForeignScan = mq_fdw_initialize_worker;
	routine->ShutdownForeignScan = mq_fdw_shutdown_scan;

	routine->BeginForeignModify = mq_fdw_begin_modify;
	routine->EndForeignModify = mq_fdw_end_insert;
	routine->BeginForeignInsert = mq_fdw_begin_insert;
	routine->EndForeignInsert = mq_fdw_end_insert;
	routine->ExecForeignInsert = mq_fdw_insert;
	routine->IsForeignRelUpdatable = insert_only;

	routine->AddForeignUpdateTargets = refuse_rows;
	routine->PlanForeignModify = refuse_modify;
	routine->ExecForeignTruncate = truncate_later;
	routine->ImportForeignSchema = refuse_import;
	routine->AnalyzeForeignTable = analyze_nothing;

	/* without these the server would raise its own message, and no hint, before it asks us */
	routine->ExecForeignUpdate = never_modify;
	routine->ExecForeignDelete = never_modify;
	PG_RETURN_POINTER(routine);
}

/* Parts of a scan; whole scans stay with the leader, see mq_fdw_plan.c. */
static bool
may_run_parallel(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	return true;
}

static void
refuse_rows(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation rel)
{
	refuse_write(RelationGetRelid(rel), root->parse->commandType == CMD_DELETE ? "delete from" : "update");
}

static List *
refuse_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan)
{
	if (plan->operation != CMD_INSERT)
		refuse_write(planner_rt_fetch(result_relation, root)->relid, "modify");
	return NIL;
}

/* What information_schema says of the table, and of views on it. */
static int
insert_only(Relation rel)
{
	return 1 << CMD_INSERT;
}

/* The server has checked the privilege. */
static void
truncate_later(List *rels, DropBehavior behavior, bool restart_seqs)
{
	mq_ddl_truncate_note(rels);
}

static List *
refuse_import(ImportForeignSchemaStmt *statement, Oid server)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot import a foreign schema from server \"%s\"", statement->server_name),
			 errdetail("Its tables are the topics of this database, which are here already."),
			 errhint("Use mq.create_topic() to make new ones.")));
}

/* ANALYZE of a whole database must pass; the server warns and goes on. */
static bool
analyze_nothing(Relation rel, AcquireSampleRowsFunc *func, BlockNumber *pages)
{
	return false;
}

static TupleTableSlot *
never_modify(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	refuse_write(RelationGetRelid(info->ri_RelationDesc), "modify");
}

static void
refuse_write(Oid relid, const char *verb)
{
	const char *topic = mq_topic_options_topic(relid);

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s topic \"%s\"", verb, topic),
			 errdetail("A topic is append-only: it takes messages at its end and changes none."),
			 errhint("INSERT a newer message, or delete what is old with mq.delete_records().")));
}
