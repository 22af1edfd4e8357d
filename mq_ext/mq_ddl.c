/*
 * mq_ddl.c
 *	  DDL on topics: our own through the server's, everybody's under watch.
 *
 * A topic's relation is made, changed and dropped by the server's own
 * commands, which we build and run; so ownership, privileges, dependencies,
 * event triggers and the log are what users know.  The same commands written
 * by hand would make relations that are no topics, or change topics behind
 * our back, and are refused here.  Event triggers could not do that: they can
 * be disabled, and session_replication_role passes them by.
 *
 * The ProcessUtility hook sees a command before it does anything and gives
 * the clearer message.  Below it lie two nets that see what was done, in
 * whatever way: the FDW's validator, called for every change of a foreign
 * table's options, and the object access hook, called for every link of
 * inheritance and for every drop.  A drop is never refused: whichever way a
 * relation goes, its topic goes with it.
 *
 * Our own command is announced before it is run, and the announcement names
 * the subtransaction: if the command fails, that subtransaction ends and the
 * announcement with it, so nothing has to be cleaned up.
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
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/proc.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "broker/mq_topic.h"
#include "broker/mq_topic_identity.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "broker/mq_topic_rows.h"
#include "broker/mq_xact_topics.h"
#include "mq_ext/mq_ddl.h"
#include "storage/mq_log.h"
#include "storage/mq_settle.h"

#define SERVER_NAME			"mq"
#define EXTENSION_SCHEMA	"mq"
#define INTERNAL_SCHEMA		"mq_internal"

typedef enum OwnState
{
	OWN_NONE,
	OWN_ANNOUNCED,				/* the next command of this kind is ours */
	OWN_RUNNING
} OwnState;

/* Holds only in the transaction and subtransaction that it names. */
typedef struct OwnCommand
{
	OwnState	state;
	NodeTag		kind;
	LocalTransactionId lxid;
	SubTransactionId subid;
} OwnCommand;

static OwnCommand own = {OWN_NONE, T_Invalid, InvalidLocalTransactionId, InvalidSubTransactionId};

static ProcessUtility_hook_type next_utility_hook = NULL;
static object_access_hook_type next_access_hook = NULL;

static void watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
						  ProcessUtilityContext context, ParamListInfo params,
						  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static bool is_own(Node *statement);
static void refuse_statement(Node *statement);
static void refuse_create(const char *server_name);
static bool only_changes_owner(AlterTableStmt *statement);
static Oid	topic_of_range(RangeVar *relation);
static void refuse_change(Oid relid) pg_attribute_noreturn();
static void refuse_attachment(Oid relid, const char *what) pg_attribute_noreturn();
static void watch_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg);
static void on_drop(Oid relid);
static void refuse_inheritance(Oid child, Oid parent);
static ColumnDef *column(const char *name, Oid type);
static void run_own(Node *statement, const char *query);
static bool own_holds(void);
static RangeVar *range_of(Oid relid);

void
mq_ddl_init(void)
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
	Node	   *statement = pstmt->utilityStmt;
	bool		drops_database = IsA(statement, DropdbStmt);

	mq_settle_single_user();
	if (!is_own(statement))
		refuse_statement(statement);
	if (next_utility_hook != NULL)
		next_utility_hook(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);

	/* the statement may be gone by now */
	if (drops_database && mq_log_is_attached())
		mq_xact_note_drop_database();
}

/*
 * True once for each announcement: commands of the user's that run inside
 * ours, from event triggers, are not ours.
 */
static bool
is_own(Node *statement)
{
	if (own.state != OWN_ANNOUNCED || own.kind != nodeTag(statement) || !own_holds())
		return false;
	own.state = OWN_RUNNING;
	return true;
}

/* Raises 0A000 for what users may not do to a topic's relation. */
static void
refuse_statement(Node *statement)
{
	Oid			relid = InvalidOid;

	switch (nodeTag(statement))
	{
		case T_CreateForeignTableStmt:
			refuse_create(((CreateForeignTableStmt *) statement)->servername);
			break;
		case T_AlterTableStmt:
			if (!only_changes_owner((AlterTableStmt *) statement))
				relid = topic_of_range(((AlterTableStmt *) statement)->relation);
			break;
		case T_RenameStmt:
			relid = topic_of_range(((RenameStmt *) statement)->relation);
			break;
		case T_AlterObjectSchemaStmt:
			relid = topic_of_range(((AlterObjectSchemaStmt *) statement)->relation);
			break;
		case T_CreateTrigStmt:
			relid = topic_of_range(((CreateTrigStmt *) statement)->relation);
			if (OidIsValid(relid))
				refuse_attachment(relid, "trigger");
			break;
		case T_RuleStmt:
			relid = topic_of_range(((RuleStmt *) statement)->relation);
			if (OidIsValid(relid))
				refuse_attachment(relid, "rule");
			break;
		default:
			break;
	}
	if (OidIsValid(relid))
		refuse_change(relid);
}

/*
 * Servers of ours are told by their handler, not by a name that can be
 * changed.  pg_upgrade puts back what the catalog held, rows of
 * mq_internal.topics included.
 */
static void
refuse_create(const char *server_name)
{
	ForeignServer *server = GetForeignServerByName(server_name, true);
	Oid			handler;

	if (server == NULL || IsBinaryUpgrade)
		return;
	handler = GetForeignDataWrapper(server->fdwid)->fdwhandler;
	if (!OidIsValid(handler) || get_func_namespace(handler) != get_namespace_oid(INTERNAL_SCHEMA, true))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot create a foreign table on server \"%s\" directly", server_name),
			 errdetail("Its tables are topics."),
			 errhint("Use mq.create_topic().")));
}

static bool
only_changes_owner(AlterTableStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype != AT_ChangeOwner)
			return false;
	return true;
}

/* The topic's relation that the command names; InvalidOid if it names none. */
static Oid
topic_of_range(RangeVar *relation)
{
	Oid			relid;

	if (relation == NULL)
		return InvalidOid;
	relid = RangeVarGetRelid(relation, NoLock, true);
	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE ||
		!mq_topic_is_topic(relid))
		return InvalidOid;
	return relid;
}

static void
refuse_change(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot alter the table of topic \"%s\" directly", mq_topic_options_topic(relid)),
			 errdetail("A topic's table takes GRANT, REVOKE, OWNER TO, COMMENT, SECURITY LABEL and DROP."),
			 errhint("Use mq.alter_topic() to change options and mq.add_partitions() to add partitions.")));
}

static void
refuse_attachment(Oid relid, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot create a %s on topic \"%s\"", what, mq_topic_options_topic(relid)),
			 errdetail("Messages do not reach a topic through its table, so the %s would never run.", what),
			 errhint("Consume the topic instead.")));
}

static void
watch_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_access_hook != NULL)
		next_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0)
		on_drop(object_id);
	else if (access == OAT_POST_ALTER && class_id == InheritsRelationId)
		refuse_inheritance(object_id, ((ObjectAccessPostAlter *) arg)->auxiliary_id);
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

/*
 * Inheritance would show a topic's messages as rows of an ordinary table, or
 * change its columns with those of a parent.
 */
static void
refuse_inheritance(Oid child, Oid parent)
{
	Oid			relid = mq_topic_is_topic(child) ? child : parent;

	if (!mq_topic_is_topic(relid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("topic \"%s\" cannot take part in inheritance", mq_topic_options_topic(relid)),
			 errdetail("A topic's table is neither a parent nor a child nor a table partition."),
			 errhint("Use a view over the topics and tables.")));
}

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

/*
 * The announcement ends with the command, or with its subtransaction.  Event triggers fire as for a
 * command of the user's, hence PROCESS_UTILITY_QUERY.
 */
static void
run_own(Node *statement, const char *query)
{
	PlannedStmt *pstmt = makeNode(PlannedStmt);
	OwnCommand	outer = own;	/* an event trigger may have called us */

	pstmt->commandType = CMD_UTILITY;
	pstmt->utilityStmt = statement;
	pstmt->stmt_location = -1;

	own.state = OWN_ANNOUNCED;
	own.kind = nodeTag(statement);
	own.lxid = MyProc->lxid;
	own.subid = GetCurrentSubTransactionId();
	ProcessUtility(pstmt, query, false, PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	own = outer;
	CommandCounterIncrement();
}

static bool
own_holds(void)
{
	return own.lxid == MyProc->lxid && own.subid == GetCurrentSubTransactionId();
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

bool
mq_ddl_is_running(void)
{
	return IsBinaryUpgrade || (own.state == OWN_RUNNING && own_holds());
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
