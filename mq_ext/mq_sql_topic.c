/*
 * mq_sql_topic.c
 *	  SQL functions that make, change, drop and describe topics.
 *
 * Arguments become a list of options and a command of mq_ddl.c; what the
 * options mean is known in broker/mq_topic_options.c.
 *
 * Locking: creating claims the name; altering and dropping lock the relation
 * in AccessExclusiveLock mode, after the owner has been checked.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "base/mq_settings.h"
#include "broker/mq_topic.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "broker/mq_topic_retired.h"
#include "mq_ext/mq_ddl.h"
#include "mq_ext/mq_ext.h"
#include "mq_ext/mq_sql.h"
#include "storage/mq_log.h"

PG_FUNCTION_INFO_V1(mq_sql_check_install);
PG_FUNCTION_INFO_V1(mq_sql_create_topic);
PG_FUNCTION_INFO_V1(mq_sql_alter_topic);
PG_FUNCTION_INFO_V1(mq_sql_add_partitions);
PG_FUNCTION_INFO_V1(mq_sql_drop_topic);
PG_FUNCTION_INFO_V1(mq_sql_describe_topic);
PG_FUNCTION_INFO_V1(mq_sql_topic_config);

static List *create_options(FunctionCallInfo fcinfo, const char *name);
static List *config_changes(Jsonb *config);
static char *config_value(const char *name, const JsonbValue *value);
static DefElem *option(const char *name, const char *value, DefElemAction action);
static DefElem *alter_option(List *current, DefElem *change);
static Oid	lock_for_drop(const char *name);
static MqTopic *open_described(FunctionCallInfo fcinfo);
static const char *state_text(MqLogState state);
static const char *source_text(MqTopicOptionSource source);

/* Runs first in the install script. */
Datum
mq_sql_check_install(PG_FUNCTION_ARGS)
{
	mq_ext_require_preload();
	mq_ddl_check_schema(fcinfo->flinfo->fn_oid);
	PG_RETURN_VOID();
}

Datum
mq_sql_create_topic(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	List	   *options;
	Oid			relid;

	mq_sql_require_arg(fcinfo, 3, "if_not_exists");
	mq_sql_require_writable("mq.create_topic()");
	mq_ext_require_preload();
	mq_topic_names_check(name);
	options = create_options(fcinfo, name);

	/* no need to wait for others' claims on a name that is known to be taken, or not ours to take */
	relid = mq_topic_relation(name);
	if (!OidIsValid(relid) && mq_ddl_can_create())
	{
		mq_topic_names_claim(name);
		relid = mq_topic_relation(name);
	}
	if (OidIsValid(relid))
	{
		ereport(PG_GETARG_BOOL(3) ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 PG_GETARG_BOOL(3) ? errmsg("topic \"%s\" already exists, skipping", name) :
				 errmsg("topic \"%s\" already exists", name)));
		PG_RETURN_OID(relid);
	}

	PG_RETURN_OID(mq_ddl_create(mq_topic_names_relation(name), options));
}

/* The options of the foreign table to be created. */
static List *
create_options(FunctionCallInfo fcinfo, const char *name)
{
	List	   *changes = PG_ARGISNULL(2) ? NIL : config_changes(PG_GETARG_JSONB_P(2));
	const char *partitions = NULL;
	List	   *options = NIL;
	ListCell   *lc;

	if (!PG_ARGISNULL(1))
	{
		partitions = psprintf("%d", PG_GETARG_INT32(1));
		mq_topic_options_check(MQ_TOPIC_OPTIONS_PARTITIONS, partitions);
	}
	foreach(lc, changes)
	{
		DefElem    *change = lfirst_node(DefElem, lc);

		if (change->arg == NULL)
			continue;
		if (strcmp(change->defname, MQ_TOPIC_OPTIONS_PARTITIONS) != 0)
			options = lappend(options, change);
		else if (partitions == NULL || strcmp(partitions, defGetString(change)) == 0)
			partitions = defGetString(change);
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("conflicting numbers of partitions"),
					 errdetail("Argument \"partitions\" is %s, option \"partitions\" is %s.",
							   partitions, defGetString(change)),
					 errhint("Give the number once.")));
	}
	if (partitions == NULL)
		partitions = psprintf("%d", mq_default_partitions);
	options = lcons(option(MQ_TOPIC_OPTIONS_PARTITIONS, partitions, DEFELEM_UNSPEC), options);
	return lcons(option(MQ_TOPIC_OPTIONS_NAME, name, DEFELEM_UNSPEC), options);
}

/* A checked DefElem for each member of the object; without a value for JSON null. */
static List *
config_changes(Jsonb *config)
{
	List	   *changes = NIL;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(config))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"config\" must be a JSON object"),
				 errhint("Write it as '{\"segment.bytes\": 1048576}'.")));

	it = JsonbIteratorInit(&config->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while ((token = JsonbIteratorNext(&it, &v, true)) == WJB_KEY)
	{
		char	   *name = pnstrdup(v.val.string.val, v.val.string.len);
		char	   *value;

		(void) JsonbIteratorNext(&it, &v, true);
		value = config_value(name, &v);
		mq_topic_options_check(name, value);
		changes = lappend(changes, option(name, value, DEFELEM_UNSPEC));
	}
	return changes;
}

static char *
config_value(const char *name, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of topic option \"%s\" is an object or an array", name),
					 errhint("Write a string, a number or a boolean; null resets the option to its default.")));
	}
}

static DefElem *
option(const char *name, const char *value, DefElemAction action)
{
	Node	   *arg = value == NULL ? NULL : (Node *) makeString(pstrdup(value));

	return makeDefElemExtended(NULL, pstrdup(name), arg, action, -1);
}

Datum
mq_sql_alter_topic(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTopic    *topic;
	List	   *changes;
	List	   *current;
	List	   *commands = NIL;
	ListCell   *lc;

	mq_sql_require_arg(fcinfo, 1, "config");
	mq_sql_require_writable("mq.alter_topic()");
	changes = config_changes(PG_GETARG_JSONB_P(1));
	topic = mq_topic_open_owned(name, AccessExclusiveLock);
	(void) mq_topic_options_load(topic->relid, &current);
	foreach(lc, changes)
	{
		DefElem    *command = alter_option(current, lfirst_node(DefElem, lc));

		if (command != NULL)
			commands = lappend(commands, command);
	}
	mq_ddl_alter(topic->relid, commands);
	PG_RETURN_VOID();
}

/* What ALTER FOREIGN TABLE ... OPTIONS has to do for a change; NULL = nothing. */
static DefElem *
alter_option(List *current, DefElem *change)
{
	const char *old = mq_topic_options_get(current, change->defname);
	const char *new = change->arg == NULL ? NULL : defGetString(change);

	if (new == NULL)
		return old == NULL ? NULL : option(change->defname, NULL, DEFELEM_DROP);
	return option(change->defname, new, old == NULL ? DEFELEM_ADD : DEFELEM_SET);
}

Datum
mq_sql_add_partitions(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	int32		count = mq_sql_arg_positive(fcinfo, 1, "count");
	MqTopic    *topic;
	int64		total;

	mq_sql_require_writable("mq.add_partitions()");
	topic = mq_topic_open_owned(name, AccessExclusiveLock);
	total = (int64) topic->partitions + count;
	if (total > MQ_MAX_PARTITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too many partitions for topic \"%s\"", name),
				 errdetail("The topic has %d partitions and can have %d.",
						   topic->partitions, MQ_MAX_PARTITIONS),
				 errhint("Add at most %d.", MQ_MAX_PARTITIONS - topic->partitions)));
	mq_ddl_alter(topic->relid, list_make1(option(MQ_TOPIC_OPTIONS_PARTITIONS, psprintf(INT64_FORMAT, total),
												 DEFELEM_SET)));
	PG_RETURN_INT32((int32) total);
}

Datum
mq_sql_drop_topic(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	Oid			relid;

	mq_sql_require_arg(fcinfo, 1, "if_exists");
	mq_sql_require_arg(fcinfo, 2, "force");
	mq_sql_require_writable("mq.drop_topic()");
	mq_ext_require_preload();
	relid = lock_for_drop(name);
	if (!OidIsValid(relid) && !PG_GETARG_BOOL(1))
		mq_topic_raise_unknown(name);
	if (!OidIsValid(relid))
	{
		ereport(NOTICE,
				(errmsg("topic \"%s\" does not exist, skipping", mq_topic_names_shown(name))));
		PG_RETURN_BOOL(false);
	}
	mq_ddl_drop(relid);
	PG_RETURN_BOOL(true);
}

/*
 * Locks the relation before the command does, so that two who drop the same
 * topic both hear of the topic and not of a table.  The owner of the schema
 * may drop too, as with any relation.
 */
static Oid
lock_for_drop(const char *name)
{
	for (;;)
	{
		Oid			relid = mq_topic_relation(name);
		Oid			schema;

		if (!OidIsValid(relid))
			return InvalidOid;
		schema = get_rel_namespace(relid);
		if (!OidIsValid(schema))
			continue;			/* dropped since */
		if (!pg_namespace_ownercheck(schema, GetUserId()))
			mq_topic_check_owner(relid, name);
		LockRelationOid(relid, AccessExclusiveLock);
		if (mq_topic_relation(name) == relid)
			return relid;
		UnlockRelationOid(relid, AccessExclusiveLock);
	}
}

Datum
mq_sql_describe_topic(PG_FUNCTION_ARGS)
{
	MqTopic    *topic = open_described(fcinfo);
	MqSqlRows	rows;
	int32		i;

	mq_sql_rows_begin(fcinfo, &rows);
	for (i = 0; i < topic->partitions; i++)
	{
		MqLogKey	key;
		MqLog	   *log;
		MqLogInfo	info;

		CHECK_FOR_INTERRUPTS();
		if (mq_topic_retired_gone(topic, i))
			continue;
		mq_topic_key(topic, i, &key);
		log = mq_log_open(&key);
		mq_log_info(log, &info);
		mq_log_unpin(log);
		mq_sql_rows_set(&rows, 0, Int32GetDatum(i));
		mq_sql_rows_set_text(&rows, 1, info.state == MQ_LOG_ACTIVE && mq_topic_retired_is(topic, i) ?
							 "retired" : state_text(info.state));
		mq_sql_rows_set(&rows, 2, Int64GetDatum(info.offsets.log_start));
		mq_sql_rows_set(&rows, 3, Int64GetDatum(info.offsets.hw));
		mq_sql_rows_set(&rows, 4, Int64GetDatum(info.offsets.lso));
		mq_sql_rows_set(&rows, 5, Int32GetDatum(info.segments));
		mq_sql_rows_set(&rows, 6, Int64GetDatum(info.size_bytes));
		mq_sql_rows_set_time(&rows, 7, info.oldest_timestamp);
		mq_sql_rows_set_time(&rows, 8, info.newest_timestamp);
		mq_sql_rows_put(&rows);
	}
	return (Datum) 0;
}

/* Who may see the topic in the views may look at it here. */
static MqTopic *
open_described(FunctionCallInfo fcinfo)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTopic    *topic = mq_topic_open(name, AccessShareLock, 0);

	if (mq_topic_can_see(topic))
		return topic;
	/* for its error */
	return mq_topic_open(name, AccessShareLock, ACL_SELECT);
}

static const char *
state_text(MqLogState state)
{
	switch (state)
	{
		case MQ_LOG_ACTIVE:
			return "active";
		case MQ_LOG_DAMAGED:
			return "damaged";
		case MQ_LOG_DISABLED:
			return "disabled";
	}
	return NULL;
}

Datum
mq_sql_topic_config(PG_FUNCTION_ARGS)
{
	MqTopic    *topic = open_described(fcinfo);
	MqSqlRows	rows;
	List	   *options;
	int			i;

	mq_sql_rows_begin(fcinfo, &rows);
	(void) mq_topic_options_load(topic->relid, &options);
	for (i = 0; i < mq_topic_options_count(); i++)
	{
		MqTopicOptionSource source;
		char	   *value = mq_topic_options_value(i, options, &source);

		mq_sql_rows_set_text(&rows, 0, mq_topic_options_name(i));
		mq_sql_rows_set_text(&rows, 1, value);
		mq_sql_rows_set_text(&rows, 2, source_text(source));
		mq_sql_rows_set(&rows, 3, BoolGetDatum(source != MQ_TOPIC_OPTIONS_TOPIC));
		mq_sql_rows_set_text(&rows, 4, mq_topic_options_description(i));
		mq_sql_rows_put(&rows);
	}
	return (Datum) 0;
}

static const char *
source_text(MqTopicOptionSource source)
{
	switch (source)
	{
		case MQ_TOPIC_OPTIONS_DEFAULT:
			return "default";
		case MQ_TOPIC_OPTIONS_SETTING:
			return "setting";
		case MQ_TOPIC_OPTIONS_TOPIC:
			return "topic";
	}
	return NULL;
}
