/*
 * mq_fdw_payload.c
 *	  Columns that are members of a JSON value.
 *
 * Reading goes once over the value's text, checks that it is JSON, and on the
 * way picks up the text of the members that columns ask for; their types make
 * values of it.  The last one counts where a member stands twice, as in jsonb.
 *
 * Writing makes the object that is read back as the same values, whatever the
 * session's settings: what is no number, boolean or JSON is a string, dates
 * and intervals are written in ISO 8601, floating-point numbers in full.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "mq_ext/mq_fdw_payload.h"
#include "mq_ext/mq_sql.h"

/* A payload column and the functions of its type. */
typedef struct Member
{
	int			at;				/* attribute number less one */
	const MqFdwColumn *column;
	FmgrInfo	function;		/* input, or output */
	Oid			ioparam;
	Oid			base_type;
	char	   *prefix;			/* writing: "name": */
	char	   *found;			/* reading: its text; NULL = absent or null */
} Member;

struct MqFdwPayload
{
	JsonLexContext *lex;		/* first: see mq_sql_message_json() */
	int			n;
	Member	   *members;
	JsonSemAction actions;

	/* while a value is parsed */
	int			depth;
	Member	   *current;		/* the member whose value comes next */
	const char *raw;			/* where that value begins, if its JSON text is wanted */
};

static MqFdwPayload *new_payload(const MqFdwColumns *columns);
static void add_member(MqFdwPayload *payload, const MqFdwColumns *columns, int at);
static void enter(void *state);
static void leave(void *state);
static inline bool is_json(const Member *member);
static void begin_member(void *state, char *name, bool isnull);
static void end_member(void *state, char *name, bool isnull);
static void take_scalar(void *state, char *token, JsonTokenType type);
static void read_member(Member *member, const MqSqlPlace *place, Datum *values, bool *nulls);
static void note_member(void *arg);
static void write_member(StringInfo out, Member *member, Datum value);
static void write_number(StringInfo out, const char *number);

MqFdwPayload *
mq_fdw_payload_reader(const MqFdwColumns *columns, List *attnums)
{
	MqFdwPayload *payload = new_payload(columns);
	ListCell   *lc;
	int			i;

	foreach(lc, attnums)
		add_member(payload, columns, lfirst_int(lc) - 1);
	for (i = 0; i < payload->n; i++)
	{
		Member	   *member = &payload->members[i];
		Oid			function;

		getTypeInputInfo(member->column->type, &function, &member->ioparam);
		member->base_type = getBaseType(member->column->type);
		fmgr_info(function, &member->function);
	}
	payload->actions.semstate = payload;
	payload->actions.object_start = enter;
	payload->actions.object_end = leave;
	payload->actions.array_start = enter;
	payload->actions.array_end = leave;
	payload->actions.object_field_start = begin_member;
	payload->actions.object_field_end = end_member;
	payload->actions.scalar = take_scalar;
	return payload->n > 0 ? payload : NULL;
}

MqFdwPayload *
mq_fdw_payload_writer(const MqFdwColumns *columns)
{
	MqFdwPayload *payload = new_payload(columns);
	int			i;

	for (i = 0; i < columns->n; i++)
		add_member(payload, columns, i);
	for (i = 0; i < payload->n; i++)
	{
		Member	   *member = &payload->members[i];
		StringInfoData prefix;
		Oid			function;
		bool		varlena;

		getTypeOutputInfo(member->column->type, &function, &varlena);
		fmgr_info(function, &member->function);
		member->base_type = getBaseType(member->column->type);
		initStringInfo(&prefix);
		escape_json(&prefix, member->column->member);
		appendStringInfoString(&prefix, ": ");
		member->prefix = prefix.data;
	}
	return payload->n > 0 ? payload : NULL;
}

static MqFdwPayload *
new_payload(const MqFdwColumns *columns)
{
	MqFdwPayload *payload = palloc0(sizeof(MqFdwPayload));

	payload->members = palloc0(sizeof(Member) * Max(columns->payload, 1));
	return payload;
}

static void
add_member(MqFdwPayload *payload, const MqFdwColumns *columns, int at)
{
	if (columns->columns[at].kind != MQ_FDW_COLUMN_PAYLOAD)
		return;
	Assert(payload->n < columns->payload);
	payload->members[payload->n].at = at;
	payload->members[payload->n++].column = &columns->columns[at];
}

void
mq_fdw_payload_read(MqFdwPayload *payload, const MqSqlPlace *place,
					const uint8 *value, int32 len, Datum *values, bool *nulls)
{
	int			i;

	for (i = 0; i < payload->n; i++)
		payload->members[i].found = NULL;
	payload->depth = 0;
	payload->current = NULL;
	if (value != NULL)
		(void) mq_sql_message_json(place, value, len, &payload->actions);
	for (i = 0; i < payload->n; i++)
		read_member(&payload->members[i], place, values, nulls);
}

static void
enter(void *state)
{
	((MqFdwPayload *) state)->depth++;
}

static void
leave(void *state)
{
	((MqFdwPayload *) state)->depth--;
}

static inline bool
is_json(const Member *member)
{
	return member->base_type == JSONOID || member->base_type == JSONBOID;
}

/* Members of the outermost object only; an array at the top has none. */
static void
begin_member(void *state, char *name, bool isnull)
{
	MqFdwPayload *payload = state;
	int			i;

	if (payload->depth != 1)
		return;
	payload->current = NULL;
	for (i = 0; i < payload->n && payload->current == NULL; i++)
	{
		if (strcmp(payload->members[i].column->member, name) == 0)
			payload->current = &payload->members[i];
	}
	if (payload->current == NULL)
		return;
	payload->current->found = NULL;
	payload->raw = NULL;
	if (!isnull && (is_json(payload->current) ||
					payload->lex->token_type == JSON_TOKEN_OBJECT_START ||
					payload->lex->token_type == JSON_TOKEN_ARRAY_START))
		payload->raw = payload->lex->token_start;
}

static void
end_member(void *state, char *name, bool isnull)
{
	MqFdwPayload *payload = state;

	if (payload->depth != 1)
		return;
	if (payload->current != NULL && payload->raw != NULL)
		payload->current->found = pnstrdup(payload->raw,
										   payload->lex->prev_token_terminator - payload->raw);
	payload->current = NULL;
}

static void
take_scalar(void *state, char *token, JsonTokenType type)
{
	MqFdwPayload *payload = state;

	if (payload->depth == 1 && payload->current != NULL)
		payload->current->found = type == JSON_TOKEN_NULL ? NULL : token;
}

typedef struct ReadError
{
	const Member *member;
	const MqSqlPlace *place;
} ReadError;

/* What the column's type says of a text that it does not take should tell where that stands. */
static void
read_member(Member *member, const MqSqlPlace *place, Datum *values, bool *nulls)
{
	ReadError	error = {member, place};
	ErrorContextCallback callback;

	callback.callback = note_member;
	callback.arg = &error;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	nulls[member->at] = member->found == NULL;
	/* a domain has a word to say about nulls as well */
	if (member->found != NULL || !member->function.fn_strict)
		values[member->at] = InputFunctionCall(&member->function, member->found,
											   member->ioparam, member->column->typmod);
	error_context_stack = callback.previous;
}

static void
note_member(void *arg)
{
	const ReadError *error = arg;

	errcontext("column \"%s\" of the message at offset %lld of partition %d of topic \"%s\"",
			   error->member->column->name, (long long) error->place->offset,
			   error->place->partition, error->place->topic);
}

const uint8 *
mq_fdw_payload_write(MqFdwPayload *payload, const Datum *values, const bool *nulls, int32 *len)
{
	StringInfoData out;
	int			i;

	out.data = NULL;
	for (i = 0; i < payload->n; i++)
	{
		Member	   *member = &payload->members[i];

		if (nulls[member->at])
			continue;
		if (out.data == NULL)
			initStringInfo(&out);
		appendStringInfoString(&out, out.len == 0 ? "{" : ", ");
		appendStringInfoString(&out, member->prefix);
		write_member(&out, member, values[member->at]);
	}
	*len = 0;
	if (out.data == NULL)
		return NULL;
	appendStringInfoChar(&out, '}');
	return mq_sql_utf8_bytes(out.data, out.len, len);
}

static void
write_member(StringInfo out, Member *member, Datum value)
{
	char		text[MAXDATELEN + 1];
	struct pg_itm interval;

	switch (member->base_type)
	{
		case BOOLOID:
			appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			write_number(out, OutputFunctionCall(&member->function, value));
			break;
		case FLOAT4OID:
			write_number(out, float_to_shortest_decimal(DatumGetFloat4(value)));
			break;
		case FLOAT8OID:
			write_number(out, double_to_shortest_decimal(DatumGetFloat8(value)));
			break;
		case JSONOID:
		case JSONBOID:
			appendStringInfoString(out, OutputFunctionCall(&member->function, value));
			break;
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			escape_json(out, JsonEncodeDateTime(text, value, member->base_type, NULL));
			break;
		case INTERVALOID:
			interval2itm(*DatumGetIntervalP(value), &interval);
			EncodeInterval(&interval, INTSTYLE_ISO_8601, text);
			escape_json(out, text);
			break;
		default:
			escape_json(out, OutputFunctionCall(&member->function, value));
			break;
	}
}

/* Infinities and the like are no numbers to JSON. */
static void
write_number(StringInfo out, const char *number)
{
	if (IsValidJsonNumber(number, strlen(number)))
		appendStringInfoString(out, number);
	else
		escape_json(out, number);
}
