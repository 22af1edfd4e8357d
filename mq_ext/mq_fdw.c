/*
 * mq_fdw.c
 *	  The foreign-data wrapper of topics: validator and handler.
 *
 * The wrapper makes a topic a relation, with an owner, privileges and options
 * in the server's catalogs.  Messages are read and written through functions
 * alone: every way to use the relation as a table is refused, at planning
 * where the server plans it, and with a hint at the function to use.
 *
 * The validator is the net below mq_ddl.c: the server calls it for each
 * change of options, so whoever gets past the hook there ends here.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "commands/defrem.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "nodes/pathnodes.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "broker/mq_topic_options.h"
#include "mq_ext/mq_ddl.h"

PG_FUNCTION_INFO_V1(mq_sql_fdw_validator);
PG_FUNCTION_INFO_V1(mq_sql_fdw_handler);

static void refuse_scan(PlannerInfo *root, RelOptInfo *rel, Oid relid);
static void refuse_rows(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation rel);
static List *refuse_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan);
static void refuse_copy(ModifyTableState *state, ResultRelInfo *info);
static void refuse_truncate(List *rels, DropBehavior behavior, bool restart_seqs);
static List *refuse_import(ImportForeignSchemaStmt *statement, Oid server);
static bool analyze_nothing(Relation rel, AcquireSampleRowsFunc *func, BlockNumber *pages);
static TupleTableSlot *never_modify(EState *estate, ResultRelInfo *info,
									TupleTableSlot *slot, TupleTableSlot *plan_slot);
static void refuse_write(Oid relid, const char *verb) pg_attribute_noreturn();

/*
 * Only the option names of foreign tables mean anything.  An option of the
 * server, the wrapper, a column or a user mapping is refused.
 */
Datum
mq_sql_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *lc;

	if (catalog != ForeignTableRelationId)
	{
		if (options != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid option \"%s\"", linitial_node(DefElem, options)->defname),
					 errhint("There are no valid options in this context.")));
		PG_RETURN_VOID();
	}

	if (!mq_ddl_is_running())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot create or alter the table of a topic directly"),
				 errdetail("A topic is more than its table."),
				 errhint("Use mq.create_topic(), mq.alter_topic() and mq.add_partitions().")));
	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, MQ_TOPIC_OPTIONS_NAME) != 0)
			mq_topic_options_check(def->defname, defGetString(def));
	}
	PG_RETURN_VOID();
}

/* What is not set here the server refuses by itself, or never calls. */
Datum
mq_sql_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = refuse_scan;
	routine->AddForeignUpdateTargets = refuse_rows;
	routine->PlanForeignModify = refuse_modify;
	routine->BeginForeignInsert = refuse_copy;
	routine->ExecForeignTruncate = refuse_truncate;
	routine->ImportForeignSchema = refuse_import;
	routine->AnalyzeForeignTable = analyze_nothing;

	/* without these the server would raise its own message, and no hint, before it asks us */
	routine->ExecForeignInsert = never_modify;
	routine->ExecForeignUpdate = never_modify;
	routine->ExecForeignDelete = never_modify;
	PG_RETURN_POINTER(routine);
}

/* Planning begins here for every relation that is read, so the scan itself is never reached. */
static void
refuse_scan(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	const char *topic = mq_topic_options_topic(relid);

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot read topic \"%s\" as a table", topic),
			 errdetail("Messages are read from an offset on."),
			 errhint("SELECT * FROM mq.fetch(%s);", quote_literal_cstr(topic))));
}

static void
refuse_rows(PlannerInfo *root, Index rtindex, RangeTblEntry *rte, Relation rel)
{
	refuse_write(RelationGetRelid(rel), root->parse->commandType == CMD_DELETE ? "delete from" : "update");
}

static List *
refuse_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan)
{
	Oid			relid = planner_rt_fetch(result_relation, root)->relid;

	refuse_write(relid, plan->operation == CMD_INSERT ? "insert into" : "modify");
}

/* COPY FROM; INSERT has been refused at planning. */
static void
refuse_copy(ModifyTableState *state, ResultRelInfo *info)
{
	refuse_write(RelationGetRelid(info->ri_RelationDesc), "copy into");
}

static void
refuse_truncate(List *rels, DropBehavior behavior, bool restart_seqs)
{
	refuse_write(RelationGetRelid((Relation) linitial(rels)), "truncate");
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
			 errmsg("cannot %s topic \"%s\" as a table", verb, topic),
			 errdetail("A topic takes messages at its end and changes none."),
			 errhint("SELECT mq.produce(%s, 'value');", quote_literal_cstr(topic))));
}
