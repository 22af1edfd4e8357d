/*
 * mq_fdw_modify.c
 *	  INSERT into a topic and COPY FROM.
 *
 * A row becomes a record of this transaction, as with mq.produce().  The
 * records of a transaction gather in batches anyway, so rows are taken one by
 * one: gathering them a second time in the executor would only copy them.
 *
 * The server leaves it to a wrapper to enforce a foreign table's constraints,
 * in INSERT as in COPY.  Here they are what a topic has of a schema, and are
 * checked for each row.
 *
 * pg_dump --include-foreign-data writes messages as they were read, with their
 * offsets, for COPY or INSERT.  A restore is told by two settings that every dump
 * begins with and that nobody else has together; it gives the messages new
 * offsets, and new partitions where the old ones are retired.
 *
 * Privileges have been checked by the server, for whomever it is that needs
 * them: behind a view that is the view's owner.
 *
 * Locking: ROW EXCLUSIVE on the topic's relation, as the server has taken it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "broker/mq_produce.h"
#include "broker/mq_topic_retired.h"
#include "mq_ext/mq_fdw.h"
#include "mq_ext/mq_fdw_columns.h"
#include "mq_ext/mq_fdw_payload.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_headers.h"

typedef struct FdwInsert
{
	MqTopic    *topic;			/* a copy: the lock keeps the topic as it is */
	MqFdwColumns *columns;
	MqFdwPayload *payload;
	bool		started;
	bool		restores;		/* takes what a dump has of messages that were elsewhere */
	MemoryContext row_context;
} FdwInsert;

static void begin(ResultRelInfo *info);
static bool is_restore(void);
static int32 produce_row(FdwInsert *insert, TupleTableSlot *slot, MqRecord *record);
static int32 fill_record(FdwInsert *insert, TupleTableSlot *slot, MqRecord *record);
static MqTimestamp row_time(TimestampTz ts);
static const uint8 *column_bytes(const MqFdwColumn *column, Datum datum, int32 *len);
static void refuse_offset(void) pg_attribute_noreturn();
static void add_payload(FdwInsert *insert, TupleTableSlot *slot, MqRecord *record);
static void show_row(const FdwInsert *insert, TupleTableSlot *slot, int32 partition, const MqRecord *record);

void
mq_fdw_begin_modify(ModifyTableState *mtstate, ResultRelInfo *info,
					List *fdw_private, int subplan, int eflags)
{
	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		begin(info);
}

void
mq_fdw_begin_insert(ModifyTableState *mtstate, ResultRelInfo *info)
{
	begin(info);
}

static void
begin(ResultRelInfo *info)
{
	Relation	rel = info->ri_RelationDesc;
	FdwInsert  *insert = palloc0(sizeof(FdwInsert));

	insert->topic = mq_topic_retired_copy(mq_topic_open_relation(RelationGetRelid(rel), RowExclusiveLock));
	insert->columns = mq_fdw_columns_load(RelationGetRelid(rel), RelationGetDescr(rel));
	insert->payload = mq_fdw_payload_writer(insert->columns);
	insert->restores = is_restore();
	insert->row_context = AllocSetContextCreate(CurrentMemoryContext, "mq insert row",
												ALLOCSET_DEFAULT_SIZES);
	info->ri_FdwState = insert;
}

/* row_security, which dumps set as well, is what pg_dump was told. */
static bool
is_restore(void)
{
	return !check_function_bodies && namespace_search_path[0] == '\0';
}

TupleTableSlot *
mq_fdw_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	FdwInsert  *insert = info->ri_FdwState;
	MemoryContext old;
	MqRecord	record;
	int32		partition;

	/* messages that came by functions need not obey them, and must be restorable all the same */
	if (info->ri_RelationDesc->rd_att->constr != NULL && !insert->restores)
	{
		slot->tts_tableOid = RelationGetRelid(info->ri_RelationDesc);
		ExecConstraints(info, slot, estate);
	}
	slot_getallattrs(slot);

	old = MemoryContextSwitchTo(insert->row_context);
	partition = produce_row(insert, slot, &record);
	if (info->ri_projectReturning != NULL || info->ri_WithCheckOptions != NIL)
		show_row(insert, slot, partition, &record);
	MemoryContextSwitchTo(old);
	MemoryContextReset(insert->row_context);
	return slot;
}

void
mq_fdw_end_insert(EState *estate, ResultRelInfo *info)
{
	FdwInsert  *insert = info->ri_FdwState;

	if (insert != NULL)
		MemoryContextDelete(insert->row_context);
	info->ri_FdwState = NULL;
}

/* Returns the partition; statistics count the statement as one call. */
static int32
produce_row(FdwInsert *insert, TupleTableSlot *slot, MqRecord *record)
{
	int32		partition = fill_record(insert, slot, record);

	if (insert->started)
		return mq_produce_further(insert->topic, record, partition);
	insert->started = true;
	return mq_produce_record(insert->topic, record, partition);
}

/* Returns the partition asked for. */
static int32
fill_record(FdwInsert *insert, TupleTableSlot *slot, MqRecord *record)
{
	const MqFdwColumn *column = insert->columns->columns;
	Jsonb	   *headers = NULL;
	ArrayType  *tags = NULL;
	int32		partition = MQ_PARTITION_ANY;
	int			i;

	memset(record, 0, sizeof(*record));
	record->timestamp = MQ_NO_TIMESTAMP;
	for (i = 0; i < insert->columns->n; i++, column++)
	{
		Datum		datum = slot->tts_values[i];

		if (slot->tts_isnull[i])
			continue;
		switch (column->kind)
		{
			case MQ_FDW_COLUMN_PARTITION:
				partition = DatumGetInt32(datum);
				if (insert->restores && mq_topic_retired_is(insert->topic, partition))
					partition = MQ_PARTITION_ANY;
				else
					mq_topic_check_partition(insert->topic, partition);
				break;
			case MQ_FDW_COLUMN_MSG_OFFSET:
				if (!insert->restores)
					refuse_offset();
				break;
			case MQ_FDW_COLUMN_TS:
				record->timestamp = row_time(DatumGetTimestampTz(datum));
				break;
			case MQ_FDW_COLUMN_KEY:
				record->key = column_bytes(column, datum, &record->key_len);
				break;
			case MQ_FDW_COLUMN_VALUE:
				record->value = column_bytes(column, datum, &record->value_len);
				break;
			case MQ_FDW_COLUMN_HEADERS:
				headers = DatumGetJsonbP(datum);
				break;
			case MQ_FDW_COLUMN_TAGS:
				tags = DatumGetArrayTypeP(datum);
				break;
			case MQ_FDW_COLUMN_PAYLOAD:
			case MQ_FDW_COLUMN_DROPPED:
				break;
		}
	}
	if (insert->payload != NULL)
		add_payload(insert, slot, record);
	if (headers != NULL || tags != NULL)
		mq_sql_headers_encode(record, headers, tags);
	return partition;
}

/* Kafka counts from 1970, and -1 means none. */
static MqTimestamp
row_time(TimestampTz ts)
{
	MqTimestamp ms = TIMESTAMP_NOT_FINITE(ts) ? -1 : mq_sql_timestamp(ts, MQ_SQL_ROUND_DOWN, "ts");

	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value of column \"%s\" is no time that a message can have", "ts"),
				 errdetail("Message timestamps are finite and begin at 1970-01-01 00:00:00 UTC."),
				 errhint("Leave the column out for the present time.")));
	return ms;
}

/* Text in UTF-8, jsonb as its text; bytea as it is. */
static const uint8 *
column_bytes(const MqFdwColumn *column, Datum datum, int32 *len)
{
	if (column->type == JSONBOID)
	{
		Jsonb	   *jsonb = DatumGetJsonbP(datum);
		char	   *s = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));

		return mq_sql_utf8_bytes(s, strlen(s), len);
	}
	if (column->type == BYTEAOID)
	{
		bytea	   *bytes = DatumGetByteaPP(datum);

		*len = VARSIZE_ANY_EXHDR(bytes);
		return (const uint8 *) VARDATA_ANY(bytes);
	}
	return mq_sql_utf8(DatumGetTextPP(datum), len);
}

static void
refuse_offset(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("cannot insert a non-null value into column \"%s\"", "msg_offset"),
			 errdetail("Offsets are handed out when the transaction commits."),
			 errhint("Leave the column out; mq.last_produced() shows offsets after the commit.")));
}

static void
add_payload(FdwInsert *insert, TupleTableSlot *slot, MqRecord *record)
{
	int32		len;
	const uint8 *json = mq_fdw_payload_write(insert->payload, slot->tts_values, slot->tts_isnull, &len);

	if (json == NULL || (record->value != NULL && insert->restores))
		return;
	if (record->value != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot insert column \"%s\" together with members of it", "value"),
				 errdetail("The columns with the option \"%s\" make a value of their own.", MQ_FDW_COLUMNS_OPTION),
				 errhint("Leave out the one or the others.")));
	record->value = json;
	record->value_len = len;
}

/* For RETURNING and WITH CHECK OPTION: the partition is known now, and the time unless the append will set it. */
static void
show_row(const FdwInsert *insert, TupleTableSlot *slot, int32 partition, const MqRecord *record)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		nulls[i] = slot->tts_isnull[i];
		if (!nulls[i])
			values[i] = datumCopy(slot->tts_values[i], attribute->attbyval, attribute->attlen);
		if (insert->columns->columns[i].kind == MQ_FDW_COLUMN_PARTITION)
		{
			values[i] = Int32GetDatum(partition);
			nulls[i] = false;
		}
		else if (insert->columns->columns[i].kind == MQ_FDW_COLUMN_TS)
		{
			values[i] = TimestampTzGetDatum(mq_sql_timestamptz(record->timestamp));
			nulls[i] = insert->topic->log_append_time;
		}
	}
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * desc->natts);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * desc->natts);
	ExecStoreVirtualTuple(slot);
	ExecMaterializeSlot(slot);
}
