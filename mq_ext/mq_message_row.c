/*
 * mq_message_row.c
 *	  A record as the values of a row.
 *
 * Only the columns that a plan needs are made.  A short key or value becomes a
 * varlena where it stands: the byte before it is ours and takes the one-byte
 * header.  A longer one is copied into a buffer that is kept from row to row.
 * Whatever else allocates does so in the memory of the row.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "mq_ext/mq_message_row.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_headers.h"
#include "mq_ext/mq_sql_message.h"

/* The longest bytes that a varlena with a header of one byte holds. */
#define SHORT_BYTES		(VARATT_SHORT_MAX - VARHDRSZ_SHORT)

static Datum typed_bytes(MqMessageRow *row, const MqFdwColumn *column, MqMessageBuffer *buffer,
						 int32 partition, MqOffset offset, const uint8 *bytes, int32 len);
static inline Datum as_varlena(MqMessageRow *row, MqMessageBuffer *buffer, const uint8 *bytes, int32 len);
static void check_length(const MqFdwColumn *column, const MqSqlPlace *place, const text *t);

void
mq_message_row_begin(MqMessageRow *row)
{
	row->context = CurrentMemoryContext;
	memset(&row->key, 0, sizeof(row->key));
	memset(&row->value, 0, sizeof(row->value));
}

void
mq_message_row_fill(MqMessageRow *row, int32 partition, const MqRecord *record,
					Datum *values, bool *nulls)
{
	Jsonb	   *headers = NULL;
	ArrayType  *tags = NULL;
	bool		decoded = record->header_count == 0;
	int			i;

	for (i = 0; i < row->n; i++)
	{
		const MqFdwColumn *column = &row->columns[i];
		int			at = row->at[i];

		nulls[at] = false;
		switch (column->kind)
		{
			case MQ_FDW_COLUMN_PARTITION:
				values[at] = Int32GetDatum(partition);
				break;
			case MQ_FDW_COLUMN_MSG_OFFSET:
				values[at] = Int64GetDatum(record->offset);
				break;
			case MQ_FDW_COLUMN_TS:
				values[at] = TimestampTzGetDatum(mq_sql_timestamptz(record->timestamp));
				nulls[at] = record->timestamp == MQ_NO_TIMESTAMP;
				break;
			case MQ_FDW_COLUMN_KEY:
				nulls[at] = record->key == NULL;
				if (record->key == NULL)
					break;
				values[at] = column->type == BYTEAOID ?
					as_varlena(row, &row->key, record->key, record->key_len) :
					typed_bytes(row, column, &row->key, partition, record->offset, record->key, record->key_len);
				break;
			case MQ_FDW_COLUMN_VALUE:
				nulls[at] = record->value == NULL;
				if (record->value == NULL)
					break;
				values[at] = column->type == BYTEAOID ?
					as_varlena(row, &row->value, record->value, record->value_len) :
					typed_bytes(row, column, &row->value, partition, record->offset, record->value, record->value_len);
				break;
			default:
				if (!decoded)
					mq_sql_headers_decode(record, &headers, &tags);
				decoded = true;
				values[at] = column->kind == MQ_FDW_COLUMN_TAGS ? PointerGetDatum(tags) : PointerGetDatum(headers);
				nulls[at] = DatumGetPointer(values[at]) == NULL;
				break;
		}
	}
}

/* A key or a value as text or JSON. */
static Datum
typed_bytes(MqMessageRow *row, const MqFdwColumn *column, MqMessageBuffer *buffer,
			int32 partition, MqOffset offset, const uint8 *bytes, int32 len)
{
	MqSqlPlace	place = {row->topic, column->name, partition, offset};
	Datum		result;

	if (column->type == JSONBOID)
		return mq_sql_message_jsonb(&place, bytes, len);
	if (column->type == JSONOID)
		return PointerGetDatum(mq_sql_message_json(&place, bytes, len, &nullSemAction));
	if (GetDatabaseEncoding() != PG_UTF8)
		result = PointerGetDatum(mq_sql_message_text(&place, bytes, len));
	else
	{
		if (!row->checked)
			mq_sql_message_check_utf8(&place, bytes, len);
		result = as_varlena(row, buffer, bytes, len);
	}
	if (column->typmod >= 0)
		check_length(column, &place, DatumGetTextPP(result));
	return result;
}

/* The byte before belongs to us: see mq_scan_next(). */
static inline Datum
as_varlena(MqMessageRow *row, MqMessageBuffer *buffer, const uint8 *bytes, int32 len)
{
	if (len <= SHORT_BYTES)
	{
		uint8	   *start = unconstify(uint8 *, bytes) - VARHDRSZ_SHORT;

		SET_VARSIZE_SHORT(start, len + VARHDRSZ_SHORT);
		return PointerGetDatum(start);
	}
	if (buffer->room < (Size) len + VARHDRSZ)
	{
		if (buffer->data != NULL)
			pfree(buffer->data);
		buffer->room = (Size) len + len / 2 + VARHDRSZ;
		buffer->data = MemoryContextAlloc(row->context, buffer->room);
	}
	SET_VARSIZE(buffer->data, len + VARHDRSZ);
	memcpy(VARDATA(buffer->data), bytes, len);
	return PointerGetDatum(buffer->data);
}

/* varchar(n) is a promise; messages produced through functions do not know of it. */
static void
check_length(const MqFdwColumn *column, const MqSqlPlace *place, const text *t)
{
	int			length = pg_mbstrlen_with_len(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));

	if (length <= column->typmod - VARHDRSZ)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
			 errmsg("message %s is too long for type %s", place->column,
					format_type_with_typemod(column->type, column->typmod)),
			 errdetail("At offset %lld of partition %d of topic \"%s\": it has %d characters.",
					   (long long) place->offset, place->partition, place->topic, length),
			 errhint("Declare the column without a length.")));
}
