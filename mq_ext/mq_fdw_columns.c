/*
 * mq_fdw_columns.c
 *	  What each column of a topic's table stands for.
 *
 * A column is told by its name: seven names are parts of a message.  Any other
 * column is a member of the JSON object that the message's value is, and has
 * to say which, by an option; so a misspelt name is an error and not a column
 * of nulls.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "mq_ext/mq_fdw_columns.h"

#define MAX_TYPES	5

typedef struct Known
{
	const char *name;
	MqFdwColumnKind kind;
	Oid			types[MAX_TYPES];
	const char *wanted;
} Known;

static const Known known[] = {
	{"partition", MQ_FDW_COLUMN_PARTITION, {INT4OID}, "integer"},
	{"msg_offset", MQ_FDW_COLUMN_MSG_OFFSET, {INT8OID}, "bigint"},
	{"ts", MQ_FDW_COLUMN_TS, {TIMESTAMPTZOID}, "timestamp with time zone"},
	{"key", MQ_FDW_COLUMN_KEY, {BYTEAOID, TEXTOID, VARCHAROID}, "bytea, text or varchar"},
	{"value", MQ_FDW_COLUMN_VALUE, {BYTEAOID, TEXTOID, VARCHAROID, JSONOID, JSONBOID}, "bytea, text, varchar, json or jsonb"},
	{"headers", MQ_FDW_COLUMN_HEADERS, {JSONBOID}, "jsonb"},
	{"tags", MQ_FDW_COLUMN_TAGS, {TEXTARRAYOID}, "text[]"}
};

static MqFdwColumns *load(Oid relid, TupleDesc desc, bool altered);
static void load_column(MqFdwColumn *column, Oid relid, Form_pg_attribute attribute, bool altered);
static const Known *find_known(const char *name);
static void check_type(const Known *found, Form_pg_attribute attribute);
static const char *json_option(Oid relid, AttrNumber attnum);
static void check_all(const MqFdwColumns *columns);
static const char *known_names(void);

MqFdwColumns *
mq_fdw_columns_load(Oid relid, TupleDesc desc)
{
	return load(relid, desc, false);
}

static MqFdwColumns *
load(Oid relid, TupleDesc desc, bool altered)
{
	MqFdwColumns *columns = palloc0(sizeof(MqFdwColumns));
	int			i;

	columns->n = desc->natts;
	columns->columns = palloc0(sizeof(MqFdwColumn) * Max(desc->natts, 1));
	for (i = 0; i < desc->natts; i++)
	{
		load_column(&columns->columns[i], relid, TupleDescAttr(desc, i), altered);
		if (columns->columns[i].kind == MQ_FDW_COLUMN_PAYLOAD)
			columns->payload++;
	}
	check_all(columns);
	return columns;
}

void
mq_fdw_columns_check(Oid relid, bool altered)
{
	Relation	rel = relation_open(relid, NoLock);

	(void) load(relid, RelationGetDescr(rel), altered);
	relation_close(rel, NoLock);
}

static void
load_column(MqFdwColumn *column, Oid relid, Form_pg_attribute attribute, bool altered)
{
	const Known *found;

	if (attribute->attisdropped)
		return;
	column->name = pstrdup(NameStr(attribute->attname));
	column->type = attribute->atttypid;
	column->typmod = attribute->atttypmod;
	column->member = json_option(relid, attribute->attnum);
	found = find_known(column->name);
	if (found != NULL)
	{
		column->kind = found->kind;
		if (column->member != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
					 errmsg("column \"%s\" cannot have the option \"%s\"",
							column->name, MQ_FDW_COLUMNS_OPTION),
					 errdetail("By its name it is a part of the message, not a member of its value."),
					 errhint("Give the column another name.")));
		check_type(found, attribute);
		return;
	}
	column->kind = MQ_FDW_COLUMN_PAYLOAD;
	if (column->member == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("column \"%s\" is no part of a message", column->name),
				 errdetail("The parts of a message are %s.", known_names()),
				 /* whoever mends one of several is told of the next */
				 altered ?
				 errhint("For a member of a JSON value, declare the column with OPTIONS (%s %s). One ALTER FOREIGN TABLE can alter several columns.",
						 MQ_FDW_COLUMNS_OPTION, quote_literal_cstr(column->name)) :
				 errhint("For a member of a JSON value, declare the column with OPTIONS (%s %s).",
						 MQ_FDW_COLUMNS_OPTION, quote_literal_cstr(column->name))));
}

static const Known *
find_known(const char *name)
{
	int			i;

	for (i = 0; i < (int) lengthof(known); i++)
	{
		if (strcmp(known[i].name, name) == 0)
			return &known[i];
	}
	return NULL;
}

/* Times in the log have milliseconds; a column that promises fewer digits could not keep its word. */
static void
check_type(const Known *found, Form_pg_attribute attribute)
{
	bool		fits = false;
	int			i;

	for (i = 0; i < MAX_TYPES && OidIsValid(found->types[i]); i++)
		fits |= found->types[i] == attribute->atttypid;
	if (found->kind == MQ_FDW_COLUMN_TS && attribute->atttypmod >= 0 && attribute->atttypmod < 3)
		fits = false;
	if (fits)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
			 errmsg("column \"%s\" cannot have type %s", NameStr(attribute->attname),
					format_type_with_typemod(attribute->atttypid, attribute->atttypmod)),
			 errdetail("By its name it is a part of the message."),
			 errhint("Declare it as %s, or give the column another name.", found->wanted)));
}

/* NULL = the column has no such option. */
static const char *
json_option(Oid relid, AttrNumber attnum)
{
	ListCell   *lc;

	foreach(lc, GetForeignColumnOptions(relid, attnum))
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, MQ_FDW_COLUMNS_OPTION) == 0)
			return pstrdup(defGetString(def));
	}
	return NULL;
}

/* What no column can tell by itself: is there a value, and is each member asked for once? */
static void
check_all(const MqFdwColumns *columns)
{
	bool		has_value = columns->payload > 0;
	int			i;
	int			j;

	for (i = 0; i < columns->n; i++)
	{
		const MqFdwColumn *a = &columns->columns[i];

		has_value |= a->kind == MQ_FDW_COLUMN_VALUE;
		for (j = 0; a->kind == MQ_FDW_COLUMN_PAYLOAD && j < i; j++)
		{
			const MqFdwColumn *b = &columns->columns[j];

			if (b->kind == MQ_FDW_COLUMN_PAYLOAD && strcmp(a->member, b->member) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
						 errmsg("columns \"%s\" and \"%s\" stand for the same member of the value", b->name, a->name),
						 errdetail("Both have the option \"%s\" with the value \"%s\".",
								   MQ_FDW_COLUMNS_OPTION, a->member),
						 errhint("Drop one of them.")));
		}
	}
	if (!has_value)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("the table of a topic has no column for the message's value"),
				 errhint("Declare a column \"value\", or columns with the option \"%s\".", MQ_FDW_COLUMNS_OPTION)));
}

static const char *
known_names(void)
{
	StringInfoData names;
	int			i;

	initStringInfo(&names);
	for (i = 0; i < (int) lengthof(known); i++)
		appendStringInfo(&names, "%s%s", i == 0 ? "" : i + 1 < (int) lengthof(known) ? ", " : " and ", known[i].name);
	return names.data;
}
