/*
 * mq_sql_message.c
 *	  Rows of messages, made from records; mq.to_text() and mq.to_jsonb().
 *
 * The tuplestore copies what it is given, and its speed is the limit of every
 * fetch.  So key and value are laid out as varlenas in two buffers that are
 * kept from row to row, and nothing else is allocated for a row without
 * headers.  Whatever does allocate (headers, JSON, conversion to another
 * encoding) does so in a scratch context, which is emptied after the row.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_headers.h"
#include "mq_ext/mq_sql_message.h"

/* Columns of mq.message and its twins */
enum
{
	COL_TOPIC,
	COL_PARTITION,
	COL_MSG_OFFSET,
	COL_TS,
	COL_KEY,
	COL_VALUE,
	COL_HEADERS,
	COL_TAGS
};

/* A varlena that grows. */
typedef struct RowBuffer
{
	struct varlena *data;
	Size		room;
} RowBuffer;

struct MqSqlMessages
{
	MqSqlRows	rows;
	MqSqlForm	form;
	const char *topic;
	RowBuffer	key;
	RowBuffer	value;
	MemoryContext home;
	MemoryContext scratch;
};

static bool needs_scratch(const MqSqlMessages *messages, const MqRecord *record);
static Datum key_datum(MqSqlMessages *messages, int32 partition, const MqRecord *record);
static Datum value_datum(MqSqlMessages *messages, int32 partition, const MqRecord *record);
static Datum text_datum(MqSqlMessages *messages, RowBuffer *buffer, const MqSqlPlace *place,
						const uint8 *bytes, int32 len);
static Datum bytes_datum(MqSqlMessages *messages, RowBuffer *buffer, const uint8 *bytes, int32 len);
static void set_headers(MqSqlMessages *messages, const MqRecord *record);
static text *escaped_text(const uint8 *bytes, int32 len);
static void parse_json(const MqSqlPlace *place, text *json, JsonSemAction *action, bool escapes);
static const char *json_problem(JsonParseErrorType error, JsonLexContext *lex);
static const char *column_text(const MqSqlPlace *place);
static const char *place_text(const MqSqlPlace *place);

PG_FUNCTION_INFO_V1(mq_sql_to_text);
PG_FUNCTION_INFO_V1(mq_sql_to_jsonb);

Datum
mq_sql_to_text(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_TEXT_P(mq_sql_message_text(NULL, (uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)));
}

Datum
mq_sql_to_jsonb(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	return mq_sql_message_jsonb(NULL, (uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

MqSqlMessages *
mq_sql_message_begin(FunctionCallInfo fcinfo, const char *topic, MqSqlForm form)
{
	MqSqlMessages *messages = palloc0(sizeof(MqSqlMessages));

	messages->form = form;
	messages->topic = pstrdup(topic);
	messages->home = CurrentMemoryContext;
	messages->scratch = AllocSetContextCreate(CurrentMemoryContext,
											  "mq message row", ALLOCSET_DEFAULT_SIZES);
	mq_sql_rows_begin(fcinfo, &messages->rows);
	mq_sql_rows_set_text(&messages->rows, COL_TOPIC, topic);
	return messages;
}

bool
mq_sql_message_put(void *arg, int32 partition, const MqRecord *record)
{
	MqSqlMessages *messages = arg;
	MqSqlRows  *rows = &messages->rows;
	bool		scratch = needs_scratch(messages, record);
	MemoryContext old = NULL;

	if (scratch)
		old = MemoryContextSwitchTo(messages->scratch);

	mq_sql_rows_set(rows, COL_PARTITION, Int32GetDatum(partition));
	mq_sql_rows_set(rows, COL_MSG_OFFSET, Int64GetDatum(record->offset));
	mq_sql_rows_set_time(rows, COL_TS, record->timestamp);
	rows->nulls[COL_KEY] = record->key == NULL;
	if (record->key != NULL)
		rows->values[COL_KEY] = key_datum(messages, partition, record);
	rows->nulls[COL_VALUE] = record->value == NULL;
	if (record->value != NULL)
		rows->values[COL_VALUE] = value_datum(messages, partition, record);
	set_headers(messages, record);
	mq_sql_rows_put(rows);

	if (scratch)
	{
		MemoryContextSwitchTo(old);
		MemoryContextReset(messages->scratch);
	}
	return true;
}

static bool
needs_scratch(const MqSqlMessages *messages, const MqRecord *record)
{
	return record->header_count > 0 || messages->form == MQ_SQL_FORM_JSON ||
		(messages->form != MQ_SQL_FORM_BYTES && GetDatabaseEncoding() != PG_UTF8) ||
		messages->form == MQ_SQL_FORM_ESCAPED;
}

static Datum
key_datum(MqSqlMessages *messages, int32 partition, const MqRecord *record)
{
	MqSqlPlace	place = {messages->topic, "key", partition, record->offset};

	if (messages->form == MQ_SQL_FORM_BYTES)
		return bytes_datum(messages, &messages->key, record->key, record->key_len);
	return text_datum(messages, &messages->key, &place, record->key, record->key_len);
}

static Datum
value_datum(MqSqlMessages *messages, int32 partition, const MqRecord *record)
{
	MqSqlPlace	place = {messages->topic, "value", partition, record->offset};

	if (messages->form == MQ_SQL_FORM_BYTES)
		return bytes_datum(messages, &messages->value, record->value, record->value_len);
	if (messages->form == MQ_SQL_FORM_JSON)
		return mq_sql_message_jsonb(&place, record->value, record->value_len);
	return text_datum(messages, &messages->value, &place, record->value, record->value_len);
}

static Datum
text_datum(MqSqlMessages *messages, RowBuffer *buffer, const MqSqlPlace *place,
		   const uint8 *bytes, int32 len)
{
	if (messages->form == MQ_SQL_FORM_ESCAPED)
		return PointerGetDatum(escaped_text(bytes, len));
	if (GetDatabaseEncoding() != PG_UTF8)
		return PointerGetDatum(mq_sql_message_text(place, bytes, len));
	mq_sql_message_check_utf8(place, bytes, len);
	return bytes_datum(messages, buffer, bytes, len);
}

/* Lays the bytes out as a varlena in a buffer that is used again for the next row. */
static Datum
bytes_datum(MqSqlMessages *messages, RowBuffer *buffer, const uint8 *bytes, int32 len)
{
	Size		size = (Size) len + VARHDRSZ;

	if (buffer->room < size)
	{
		if (buffer->data != NULL)
			pfree(buffer->data);
		buffer->room = Max(size + size / 2, 1024);
		buffer->data = MemoryContextAlloc(messages->home, buffer->room);
	}
	SET_VARSIZE(buffer->data, size);
	memcpy(VARDATA(buffer->data), bytes, len);
	return PointerGetDatum(buffer->data);
}

static void
set_headers(MqSqlMessages *messages, const MqRecord *record)
{
	MqSqlRows  *rows = &messages->rows;
	Jsonb	   *headers = NULL;
	ArrayType  *tags = NULL;

	if (record->header_count > 0)
		mq_sql_headers_decode(record, &headers, &tags);
	rows->nulls[COL_HEADERS] = headers == NULL;
	rows->values[COL_HEADERS] = JsonbPGetDatum(headers);
	rows->nulls[COL_TAGS] = tags == NULL;
	rows->values[COL_TAGS] = PointerGetDatum(tags);
}

/*
 * Text as it is where it is text, \xNN for each byte that is not.  If the
 * database's encoding lacks a character, all beyond ASCII is shown so.
 */
static text *
escaped_text(const uint8 *bytes, int32 len)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	StringInfoData buf;
	int32		i = 0;

	if (mq_sql_is_text(bytes, len))
		return mq_sql_text(bytes, len);

	initStringInfo(&buf);
	while (i < len)
	{
		int32		good = 0;

		if (utf8)
			good = mq_sql_utf8_valid(bytes + i, len - i);
		else
			while (i + good < len && bytes[i + good] != 0 && !IS_HIGHBIT_SET(bytes[i + good]))
				good++;
		appendBinaryStringInfo(&buf, (const char *) bytes + i, good);
		i += good;
		if (i < len)
			appendStringInfo(&buf, "\\x%02x", bytes[i++]);
	}
	return cstring_to_text_with_len(buf.data, buf.len);
}

text *
mq_sql_message_text(const MqSqlPlace *place, const uint8 *bytes, int32 len)
{
	mq_sql_message_check_utf8(place, bytes, len);
	if (!mq_sql_is_text(bytes, len))
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("%s has a character that encoding \"%s\" lacks",
						column_text(place), GetDatabaseEncodingName()),
				 place == NULL ? 0 : errdetail("%s.", place_text(place)),
				 place == NULL ? 0 : errhint("Use mq.fetch() to read bytes.")));
	return mq_sql_text(bytes, len);
}

/*
 * The value is parsed once more than needed, because jsonb's own error could
 * not say which message it met.
 */
Datum
mq_sql_message_jsonb(const MqSqlPlace *place, const uint8 *bytes, int32 len)
{
	text	   *json = mq_sql_message_text(place, bytes, len);

	parse_json(place, json, &nullSemAction, true);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(json)));
}

text *
mq_sql_message_json(const MqSqlPlace *place, const uint8 *bytes, int32 len, JsonSemAction *action)
{
	text	   *json = mq_sql_message_text(place, bytes, len);

	parse_json(place, json, action, false);
	return json;
}

/* Without escapes, strings that text cannot hold pass, as in type json. */
static void
parse_json(const MqSqlPlace *place, text *json, JsonSemAction *action, bool escapes)
{
	JsonLexContext *lex = makeJsonLexContextCstringLen(VARDATA(json), VARSIZE(json) - VARHDRSZ,
													   GetDatabaseEncoding(), escapes);
	JsonParseErrorType error;

	if (action->semstate != NULL)
		*(JsonLexContext **) action->semstate = lex;
	error = pg_parse_json(lex, action);
	if (error != JSON_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("%s is not valid JSON", column_text(place)),
				 place == NULL ? errdetail("%s", json_errdetail(error, lex)) :
				 errdetail("%s: %s", place_text(place), json_problem(error, lex)),
				 place == NULL ? 0 : errhint("Use mq.fetch_text() or mq.fetch() to read it.")));
}

/* Quotes nothing of the message: whoever reads a view need not be allowed to see it. */
static const char *
json_problem(JsonParseErrorType error, JsonLexContext *lex)
{
	switch (error)
	{
		case JSON_UNICODE_CODE_POINT_ZERO:
		case JSON_UNICODE_ESCAPE_FORMAT:
		case JSON_UNICODE_HIGH_SURROGATE:
		case JSON_UNICODE_LOW_SURROGATE:
			return json_errdetail(error, lex);
		default:
			break;
	}
	if (lex->token_start == NULL)
		return _("The input string ended unexpectedly.");
	return psprintf(_("It goes wrong at character %d."),
					pg_mbstrlen_with_len(lex->input, lex->token_start - lex->input) + 1);
}

void
mq_sql_message_check_utf8(const MqSqlPlace *place, const uint8 *bytes, int32 len)
{
	int32		valid = mq_sql_utf8_valid(bytes, len);

	if (unlikely(valid != len))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("%s is not valid UTF-8 text", column_text(place)),
				 place == NULL ? errdetail("Byte %d is 0x%02x.", valid, bytes[valid]) :
				 errdetail("%s: byte %d is 0x%02x.", place_text(place), valid, bytes[valid]),
				 place == NULL ? 0 : errhint("Use mq.fetch() to read bytes.")));
}

static const char *
column_text(const MqSqlPlace *place)
{
	return place == NULL ? "value" : psprintf("message %s", place->column);
}

static const char *
place_text(const MqSqlPlace *place)
{
	return psprintf("At offset %lld of partition %d of topic \"%s\"",
					(long long) place->offset, place->partition, place->topic);
}
