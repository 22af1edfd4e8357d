/*
 * mq_fdw_payload.c
 *	  Columns that are members of a JSON value.
 *
 * Reading goes once over the value's text, checks that it is JSON, and on the
 * way picks up the text of the members that columns ask for; their types make
 * values of it.  The last one counts where a member stands twice, as in jsonb.
 * Escapes are looked at in what is wanted only: JSON can say what text cannot,
 * and that is nothing to a column that holds JSON or asks for another member.
 *
 * What a type says of a text that it does not take quotes that text.  Members
 * are read before a view's condition has decided who may see the message, so
 * an error of our own stands in its place, which does not.
 *
 * Writing makes the object that is read back as the same values, whatever the
 * session's settings: what is no number, boolean or JSON is a string, dates
 * and intervals are written in ISO 8601, floating-point numbers in full, and
 * so they are inside of arrays, ranges and composites.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/guc.h"
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

	/* writing */
	char	   *prefix;			/* "name": */
	bool		by_settings;	/* settings have a say in what its output function gives */

	/* reading */
	const char *type_name;
	const char *found;			/* its JSON text; NULL = absent or null */
	int			found_len;
} Member;

struct MqFdwPayload
{
	JsonLexContext *lex;		/* first: see mq_sql_message_json() */
	int			n;
	Member	   *members;
	JsonSemAction actions;

	/* while a value is parsed */
	int			depth;
	const char *name;			/* where the next name is, behind white space */
	Member	   *current;		/* the member whose value comes next */

	int			settings;		/* while an object is written: the nest level of the settings, or 0 */
};

/* What an error should tell, and where it goes. */
typedef struct Reading
{
	const Member *member;
	const MqSqlPlace *place;
	MemoryContext context;
	ErrorContextCallback *outer;
} Reading;

static MqFdwPayload *new_payload(const MqFdwColumns *columns);
static void add_member(MqFdwPayload *payload, const MqFdwColumns *columns, int at);
static bool depends_on_settings(Oid type);
static void enter(void *state);
static void leave(void *state);
static void begin_member(void *state, char *name, bool isnull);
static void end_member(void *state, char *name, bool isnull);
static Member *find_member(MqFdwPayload *payload);
static char *unescaped(const char *string, int len);
static void read_members(MqFdwPayload *payload, const MqSqlPlace *place, Datum *values, bool *nulls);
static void replace_error(void *arg);
static bool tells_of_data(int sqlerrcode);
static Datum read_member(Member *member);
static char *member_text(const Member *member);
static char *amount_text(char *text);
static void write_member(StringInfo out, MqFdwPayload *payload, Member *member, Datum value);
static int	settle_settings(void);
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
		member->type_name = format_type_with_typemod(member->column->type, member->column->typmod);
		fmgr_info(function, &member->function);
	}
	payload->actions.semstate = payload;
	payload->actions.object_start = enter;
	payload->actions.object_end = leave;
	payload->actions.array_start = enter;
	payload->actions.array_end = leave;
	payload->actions.object_field_start = begin_member;
	payload->actions.object_field_end = end_member;
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
		member->by_settings = depends_on_settings(member->base_type);
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

/* Those known to be the same under any settings; a setting more than needed does no harm. */
static bool
depends_on_settings(Oid type)
{
	Oid			element;

	while (OidIsValid(element = get_element_type(type)))
		type = getBaseType(element);
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case BYTEAOID:
		case UUIDOID:
		case JSONOID:
		case JSONBOID:
			return false;
		default:
			return get_typtype(type) != TYPTYPE_ENUM;
	}
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
	read_members(payload, place, values, nulls);
}

static void
enter(void *state)
{
	MqFdwPayload *payload = state;

	if (payload->depth++ == 0)
		payload->name = payload->lex->token_terminator;
}

static void
leave(void *state)
{
	((MqFdwPayload *) state)->depth--;
}

/* Members of the outermost object only; an array at the top has none. */
static void
begin_member(void *state, char *name, bool isnull)
{
	MqFdwPayload *payload = state;

	if (payload->depth != 1)
		return;
	payload->current = find_member(payload);
	if (payload->current != NULL)
		payload->current->found = isnull ? NULL : payload->lex->token_start;
}

static void
end_member(void *state, char *name, bool isnull)
{
	MqFdwPayload *payload = state;
	Member	   *member = payload->current;

	if (payload->depth != 1)
		return;
	if (member != NULL && member->found != NULL)
		member->found_len = payload->lex->prev_token_terminator - member->found;
	payload->current = NULL;
	/* behind the comma */
	payload->name = payload->lex->token_terminator;
}

/* The lexer has been over the name, so it is known to end. */
static Member *
find_member(MqFdwPayload *payload)
{
	const char *name = payload->name;
	const char *end;
	bool		escapes = false;
	int			len;
	int			i;

	while (*name != '"')
		name++;
	for (end = ++name; *end != '"'; end++)
	{
		if (*end == '\\')
		{
			escapes = true;
			end++;
		}
	}
	len = end - name;
	if (escapes)
	{
		name = unescaped(name - 1, len + 2);
		if (name == NULL)
			return NULL;
		len = strlen(name);
	}
	for (i = 0; i < payload->n; i++)
	{
		const char *wanted = payload->members[i].column->member;

		if (strncmp(wanted, name, len) == 0 && wanted[len] == '\0')
			return &payload->members[i];
	}
	return NULL;
}

/* The characters of a JSON string; NULL if they cannot be text. */
static char *
unescaped(const char *string, int len)
{
	JsonLexContext *lex = makeJsonLexContextCstringLen(unconstify(char *, string), len,
													   GetDatabaseEncoding(), true);

	return json_lex(lex) == JSON_SUCCESS ? lex->strval->data : NULL;
}

static void
read_members(MqFdwPayload *payload, const MqSqlPlace *place, Datum *values, bool *nulls)
{
	Reading		reading = {NULL, place, CurrentMemoryContext, error_context_stack};
	ErrorContextCallback callback;
	int			i;

	callback.callback = replace_error;
	callback.arg = &reading;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	for (i = 0; i < payload->n; i++)
	{
		Member	   *member = &payload->members[i];

		reading.member = member;
		nulls[member->at] = member->found == NULL;
		/* a domain has a word to say about nulls as well */
		if (member->found != NULL || !member->function.fn_strict)
			values[member->at] = read_member(member);
	}
	error_context_stack = callback.previous;
}

/*
 * Called while an error is raised, which is forgotten, with its context, when
 * another is raised here instead.
 */
static void
replace_error(void *arg)
{
	const Reading *reading = arg;
	const MqSqlPlace *place = reading->place;
	MemoryContext old = MemoryContextSwitchTo(reading->context);
	const ErrorData *error = CopyErrorData();

	MemoryContextSwitchTo(old);
	if (error->elevel != ERROR || !tells_of_data(error->sqlerrcode))
		return;
	FlushErrorState();
	error_context_stack = reading->outer;
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 errmsg("member \"%s\" of message value is not valid for type %s",
					reading->member->column->member, reading->member->type_name),
			 errdetail("At offset %lld of partition %d of topic \"%s\".",
					   (long long) place->offset, place->partition, place->topic),
			 errhint("Use mq.fetch_text() or mq.fetch() to read it.")));
}

/* And not of the state of the server. */
static bool
tells_of_data(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_INVALID_TRANSACTION_STATE):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR):
		case ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR):
			return false;
		default:
			return true;
	}
}

static Datum
read_member(Member *member)
{
	char	   *text = member->found == NULL ? NULL : member_text(member);

	if (text != NULL && member->base_type == MONEYOID)
		text = amount_text(text);
	return InputFunctionCall(&member->function, text, member->ioparam, member->column->typmod);
}

/* What the type's input function is given. */
static char *
member_text(const Member *member)
{
	const char *found = member->found;
	int			len = member->found_len;
	char	   *text;

	if (*found != '"' || member->base_type == JSONOID || member->base_type == JSONBOID)
		return pnstrdup(found, len);
	if (memchr(found, '\\', len) == NULL)
		return pnstrdup(found + 1, len - 2);
	text = unescaped(found, len);
	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("unsupported Unicode escape sequence")));
	return text;
}

/* A number, as the type money writes it in this session. */
static char *
amount_text(char *text)
{
	Datum		number;

	if (!IsValidJsonNumber(text, strlen(text)))
		return text;
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return DatumGetCString(DirectFunctionCall1(cash_out, DirectFunctionCall1(numeric_cash, number)));
}

const uint8 *
mq_fdw_payload_write(MqFdwPayload *payload, const Datum *values, const bool *nulls, int32 *len)
{
	StringInfoData out;
	int			i;

	out.data = NULL;
	payload->settings = 0;
	for (i = 0; i < payload->n; i++)
	{
		Member	   *member = &payload->members[i];

		if (nulls[member->at])
			continue;
		if (out.data == NULL)
			initStringInfo(&out);
		appendStringInfoString(&out, out.len == 0 ? "{" : ", ");
		appendStringInfoString(&out, member->prefix);
		write_member(&out, payload, member, values[member->at]);
	}
	if (payload->settings > 0)
		AtEOXact_GUC(true, payload->settings);
	*len = 0;
	if (out.data == NULL)
		return NULL;
	appendStringInfoChar(&out, '}');
	return mq_sql_utf8_bytes(out.data, out.len, len);
}

static void
write_member(StringInfo out, MqFdwPayload *payload, Member *member, Datum value)
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
		case MONEYOID:
			value = DirectFunctionCall1(cash_numeric, value);
			write_number(out, DatumGetCString(DirectFunctionCall1(numeric_out, value)));
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
			if (member->by_settings && payload->settings == 0)
				payload->settings = settle_settings();
			escape_json(out, OutputFunctionCall(&member->function, value));
			break;
	}
}

/* Until AtEOXact_GUC(), or an error: those that input functions understand whatever theirs are. */
static int
settle_settings(void)
{
	int			level = NewGUCNestLevel();

	if (DateStyle != USE_ISO_DATES)
		(void) set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (IntervalStyle != INTSTYLE_ISO_8601)
		(void) set_config_option("intervalstyle", "iso_8601", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (extra_float_digits < 1)
		(void) set_config_option("extra_float_digits", "1", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	/* names of what is elsewhere are written with their schema */
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return level;
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
