/*
 * mq_ddl_new.c
 *	  CREATE FOREIGN TABLE on our servers makes a topic.
 *
 * Before the command is run the topic's name is claimed, and what the server
 * would not find wrong is refused; after it the relation gets its row of
 * mq_internal.topics.  That it has made one, and which, is known from the
 * object access hook: IF NOT EXISTS may have made none, and an event trigger
 * may have given its name to another by then.
 *
 * Locking: claims the topic's name, then what the server's command takes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "broker/mq_topic.h"
#include "broker/mq_topic_changes.h"
#include "broker/mq_topic_identity.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "mq_ext/mq_ddl_new.h"
#include "mq_ext/mq_ddl_table.h"
#include "mq_ext/mq_fdw_columns.h"

static void check_new(CreateForeignTableStmt *statement, Oid schema);
static void claim(CreateForeignTableStmt *statement, Oid schema, Oid made);

/* Where the server refuses to create anything, it is left to say so. */
bool
mq_ddl_new_is(Node *statement)
{
	ForeignServer *server;

	if (!IsA(statement, CreateForeignTableStmt) || IsBinaryUpgrade || XactReadOnly || IsInParallelMode())
		return false;
	server = GetForeignServerByName(((CreateForeignTableStmt *) statement)->servername, true);
	return server != NULL && mq_ddl_table_is_server(server);
}

/*
 * The copy has the schema, which must not be another one when we look for the
 * relation, and the options that a dump needs.
 */
PlannedStmt *
mq_ddl_new_prepare(PlannedStmt *pstmt, bool *claimed)
{
	CreateForeignTableStmt *statement;
	RangeVar   *relation;
	Oid			schema;

	pstmt = copyObject(pstmt);
	statement = (CreateForeignTableStmt *) pstmt->utilityStmt;
	relation = statement->base.relation;
	schema = RangeVarGetCreationNamespace(relation);
	if (relation->schemaname == NULL)
		relation->schemaname = get_namespace_name(schema);
	if (relation->schemaname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("the schema for relation \"%s\" was dropped concurrently", relation->relname)));
	statement->options = mq_topic_changes_complete(statement->options, relation->relname);
	*claimed = mq_ddl_new_is_allowed(schema, statement->servername) &&
		(!statement->base.if_not_exists || !OidIsValid(get_relname_relid(relation->relname, schema)));
	if (*claimed)
	{
		check_new(statement, schema);
		claim(statement, schema, InvalidOid);
	}
	return pstmt;				/* if not, the server says what there is to say */
}

bool
mq_ddl_new_is_allowed(Oid schema, const char *server)
{
	ForeignServer *found = GetForeignServerByName(server, true);

	return found != NULL &&
		pg_namespace_aclcheck(schema, GetUserId(), ACL_CREATE) == ACLCHECK_OK &&
		pg_foreign_server_aclcheck(found->serverid, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
}

static void
check_new(CreateForeignTableStmt *statement, Oid schema)
{
	const char *name = mq_topic_options_get(statement->options, MQ_TOPIC_OPTIONS_NAME);

	mq_topic_names_check(name);
	if (isAnyTempNamespace(schema) || statement->base.relation->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("topic \"%s\" cannot be temporary", name),
				 errdetail("A topic's messages are there for other sessions, too."),
				 errhint("Create it in another schema, and drop it when it is no longer needed.")));
	if (statement->base.inhRelations != NIL || statement->base.partbound != NULL)
		mq_ddl_table_refuse_inheritance(name);
}

/*
 * After a wait for somebody who made the same relation the server says that it
 * exists; a topic that is another relation already is ours to tell of.
 */
static void
claim(CreateForeignTableStmt *statement, Oid schema, Oid made)
{
	const char *name = mq_topic_options_get(statement->options, MQ_TOPIC_OPTIONS_NAME);
	Oid			relid;
	char	   *other;

	mq_topic_names_claim(name);
	relid = mq_topic_relation(name);
	other = get_rel_name(relid);
	if (other == NULL || get_relname_relid(statement->base.relation->relname, schema) != made)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("topic \"%s\" already exists", name),
			 errdetail("Its relation is %s, and a topic has one.",
					   quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), other)),
			 errhint("Use that relation or a view of it, or give option \"%s\" another name.",
					 MQ_TOPIC_OPTIONS_NAME)));
}

void
mq_ddl_new_finish(CreateForeignTableStmt *statement, Oid made, bool claimed)
{
	RangeVar   *relation = statement->base.relation;
	Oid			schema;
	List	   *options;

	if (!OidIsValid(made) && statement->base.if_not_exists)
		return;					/* it was there before */

	CommandCounterIncrement();
	schema = get_namespace_oid(relation->schemaname, true);
	if (!OidIsValid(made) || !OidIsValid(schema) || get_relname_relid(relation->relname, schema) != made ||
		!mq_ddl_table_is(made) || mq_topic_is_topic(made) || !mq_topic_options_ours(made))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" was changed before it was a topic", relation->relname),
				 errdetail("An event trigger has dropped, moved or renamed it."),
				 errhint("Let event triggers leave foreign tables of server \"%s\" alone.", statement->servername)));

	/* there was a relation of that name, and then there was none; or a privilege has just been granted */
	if (!claimed)
	{
		check_new(statement, schema);
		claim(statement, schema, made);
	}
	(void) mq_topic_options_load(made, &options);
	mq_topic_changes_check_new(options);
	if (check_function_bodies)
		mq_fdw_columns_check(made, false);
	mq_topic_identity_insert(made, mq_topic_options_get(options, MQ_TOPIC_OPTIONS_NAME));
}
