/*
 * mq_ddl.c
 *	  DDL on topics through the server's own commands.
 *
 * A topic's relation is made, changed and dropped by commands that we build
 * and run; so ownership, privileges, dependencies, event triggers and the log
 * are what users know.  What makes a topic of the relation, and what may be
 * done to it, is seen to where commands written by hand are seen to as well:
 * in mq_ddl_watch.c.
 *
 * One change is ours alone: which partitions are retired.  It is announced
 * before its command is run, with the subtransaction that will run it: if the
 * command fails, that subtransaction ends and the announcement with it, so
 * nothing has to be cleaned up.
 *
 * Locking: what the server's commands take.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/proc.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "mq_ext/mq_ddl.h"
#include "mq_ext/mq_ddl_new.h"

#define SERVER_NAME			"mq"
#define EXTENSION_SCHEMA	"mq"

/* Holds only in the transaction and subtransaction that it names. */
typedef struct Retirement
{
	LocalTransactionId lxid;
	SubTransactionId subid;
	Oid			relid;
	const char *retired;
} Retirement;

static Retirement retirement = {InvalidLocalTransactionId, InvalidSubTransactionId, InvalidOid, NULL};

static ColumnDef *column(const char *name, Oid type);
static void run_own(Node *statement, const char *query);
static RangeVar *range_of(Oid relid);

Oid
mq_ddl_create(const char *relname, List *options)
{
	CreateForeignTableStmt *statement = makeNode(CreateForeignTableStmt);
	char	   *schema = MQ_TOPIC_NAMES_SCHEMA;

	statement->base.relation = makeRangeVar(schema, pstrdup(relname), -1);
	statement->base.tableElts = list_make5(column("partition", INT4OID),
										   column("msg_offset", INT8OID),
										   column("ts", TIMESTAMPTZOID),
										   column("key", BYTEAOID),
										   column("value", BYTEAOID));
	statement->base.tableElts = lappend(statement->base.tableElts, column("headers", JSONBOID));
	statement->base.tableElts = lappend(statement->base.tableElts, column("tags", TEXTARRAYOID));
	statement->base.oncommit = ONCOMMIT_NOOP;
	statement->servername = SERVER_NAME;
	statement->options = options;
	run_own((Node *) statement, "CREATE FOREIGN TABLE by mq.create_topic()");
	return get_relname_relid(relname, get_namespace_oid(schema, false));
}

static ColumnDef *
column(const char *name, Oid type)
{
	return makeColumnDef(name, type, -1, get_typcollation(type));
}

bool
mq_ddl_can_create(void)
{
	return mq_ddl_new_is_allowed(get_namespace_oid(MQ_TOPIC_NAMES_SCHEMA, false), SERVER_NAME);
}

/* Event triggers fire as for a command of the user's, hence PROCESS_UTILITY_QUERY. */
static void
run_own(Node *statement, const char *query)
{
	PlannedStmt *pstmt = makeNode(PlannedStmt);

	pstmt->commandType = CMD_UTILITY;
	pstmt->utilityStmt = statement;
	pstmt->stmt_location = -1;
	ProcessUtility(pstmt, query, false, PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

void
mq_ddl_alter(Oid relid, List *options)
{
	AlterTableStmt *statement = makeNode(AlterTableStmt);
	AlterTableCmd *command = makeNode(AlterTableCmd);

	if (options == NIL)
		return;
	command->subtype = AT_GenericOptions;
	command->def = (Node *) options;
	statement->relation = range_of(relid);
	statement->cmds = list_make1(command);
	statement->objtype = OBJECT_FOREIGN_TABLE;
	run_own((Node *) statement, "ALTER FOREIGN TABLE by mq.alter_topic()");
}

/* The relation is locked, so its name stays. */
static RangeVar *
range_of(Oid relid)
{
	return makeRangeVar(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid), -1);
}

void
mq_ddl_drop(Oid relid)
{
	DropStmt   *statement = makeNode(DropStmt);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *relname = get_rel_name(relid);

	if (schema == NULL || relname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic was dropped concurrently")));
	statement->removeType = OBJECT_FOREIGN_TABLE;
	statement->objects = list_make1(list_make2(makeString(schema), makeString(relname)));
	statement->behavior = DROP_RESTRICT;
	run_own((Node *) statement, "DROP FOREIGN TABLE by mq.drop_topic()");
}

void
mq_ddl_retire(Oid relid, const char *retired)
{
	Retirement	outer = retirement; /* an event trigger may have called us */
	List	   *options;
	DefElem    *change;

	(void) mq_topic_options_load(relid, &options);
	change = makeDefElemExtended(NULL, pstrdup(MQ_TOPIC_OPTIONS_RETIRED), (Node *) makeString(pstrdup(retired)),
								 mq_topic_options_get(options, MQ_TOPIC_OPTIONS_RETIRED) == NULL ? DEFELEM_ADD : DEFELEM_SET,
								 -1);
	retirement.lxid = MyProc->lxid;
	retirement.subid = GetCurrentSubTransactionId();
	retirement.relid = relid;
	retirement.retired = retired;
	mq_ddl_alter(relid, list_make1(change));
	retirement = outer;
}

/* The text is looked at last: it lives no longer than the command. */
bool
mq_ddl_is_retiring(Oid relid, const char *retired)
{
	return retirement.lxid == MyProc->lxid && retirement.subid == GetCurrentSubTransactionId() &&
		retirement.relid == relid && retired != NULL && strcmp(retirement.retired, retired) == 0;
}

/*
 * CREATE EXTENSION makes the schema if it is not there.  If it is, whoever
 * filled it could have put functions in the way of ours.
 */
void
mq_ddl_check_schema(Oid asking)
{
	Oid			schema = get_namespace_oid(EXTENSION_SCHEMA, false);
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	Relation	rel;
	ScanKeyData key[2];
	SysScanDesc scan;

	ReleaseSysCache(tuple);
	if (owner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema \"%s\" exists and belongs to another role", EXTENSION_SCHEMA),
				 errdetail("Its owner is role %s.", quote_identifier(GetUserNameFromId(owner, true))),
				 errhint("Drop or rename the schema, or install as its owner.")));

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(NamespaceRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(schema));
	rel = table_open(DependRelationId, AccessShareLock);
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress object;

		if ((depend->classid == ExtensionRelationId && depend->objid == CurrentExtensionObject) ||
			(depend->classid == ProcedureRelationId && depend->objid == asking))
			continue;
		ObjectAddressSubSet(object, depend->classid, depend->objid, depend->objsubid);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema \"%s\" exists and is not empty", EXTENSION_SCHEMA),
				 errdetail("It contains %s.", getObjectDescription(&object, false)),
				 errhint("Drop or rename the schema.")));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}
