/*
 * mq_ddl_table.c
 *	  Which foreign tables are topics, and what those cannot have.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "broker/mq_topic_options.h"
#include "broker/mq_topic_rows.h"
#include "mq_ext/mq_ddl_table.h"

#define INTERNAL_SCHEMA		"mq_internal"

bool
mq_ddl_table_is(Oid relid)
{
	HeapTuple	tuple;
	Oid			serverid;
	ForeignServer *server;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		return false;
	tuple = SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		return false;
	serverid = ((Form_pg_foreign_table) GETSTRUCT(tuple))->ftserver;
	ReleaseSysCache(tuple);
	server = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	return server != NULL && mq_ddl_table_is_server(server);
}

bool
mq_ddl_table_is_server(ForeignServer *server)
{
	ForeignDataWrapper *wrapper = GetForeignDataWrapperExtended(server->fdwid, FDW_MISSING_OK);

	return wrapper != NULL && OidIsValid(wrapper->fdwhandler) &&
		get_func_namespace(wrapper->fdwhandler) == get_namespace_oid(INTERNAL_SCHEMA, true) &&
		OidIsValid(mq_topic_rows_table());
}

void
mq_ddl_table_refuse_attachment(Oid relid, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot create a %s on topic \"%s\"", what, mq_topic_options_topic(relid)),
			 errdetail("Messages also reach a topic by other ways than its table, and the %s would not run for them.", what),
			 errhint("Consume the topic instead.")));
}

/*
 * Inheritance would show a topic's messages as rows of an ordinary table, or
 * change its columns with those of a parent.
 */
void
mq_ddl_table_refuse_inheritance(const char *topic)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("topic \"%s\" cannot take part in inheritance", topic),
			 errdetail("A topic's table is neither a parent nor a child nor a table partition."),
			 errhint("Use a view over the topics and tables.")));
}
