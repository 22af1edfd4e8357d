/*
 * mq_sql_produce.c
 *	  mq.produce() and its relatives.
 *
 * mq.produce() is called once per message, often a million times in one
 * statement, so a call does as little as it can: no catalog look-up of its
 * own, no memory context, no copy of the value.  What stays the same from
 * call to call (the topic's name as a C string, the result row but for its
 * partition) is kept in fn_extra.  The topic itself is looked up each time:
 * the broker's cache does that in a few comparisons and knows when it has
 * become stale.
 *
 * The batch functions take whole arrays and answer with one row for each
 * partition they touched.
 *
 * Locking: ROW EXCLUSIVE on the topic's relation, as an INSERT.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "broker/mq_produce.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_headers.h"

/* The arguments of mq.produce(), of mq.produce_batch() */
enum
{
	ARG_TOPIC,
	ARG_VALUE,
	ARG_KEY,
	ARG_HEADERS,
	ARG_TAGS,
	ARG_PARTITION,
	ARG_TS,
	ARG_TRANSACTIONAL
};

enum
{
	BATCH_ARG_TOPIC,
	BATCH_ARG_VALS,
	BATCH_ARG_KEYS,
	BATCH_ARG_HEADERS,
	BATCH_ARG_TRANSACTIONAL
};

/* How a Datum becomes the bytes of a key or a value. */
typedef const uint8 *(*ToBytes) (Datum datum, int32 *len);

/* For so many partitions a call site keeps the result row. */
#define ROWS_KEPT	16

/* What one call site of mq.produce() keeps between calls. */
typedef struct ProduceCall
{
	MqTopicUse	use;			/* of the call before */
	bool		same_topic;		/* the argument is a constant */
	int			topic_len;
	char		topic[MQ_MAX_TOPIC_NAME + 1];
	HeapTupleHeader row;		/* (partition, NULL) */
	uint32		row_len;
	uint32		partition_at;	/* of the partition in the row */
	HeapTupleHeader given[ROWS_KEPT];	/* rows given out before, by partition */
} ProduceCall;

/* The row that start_call() made last; every execution of a statement needs one. */
typedef struct ProduceRow
{
	Oid			function;		/* InvalidOid = none */
	Oid			type;
	uint64		version;		/* of the type's definition */
	HeapTupleHeader row;
	uint32		len;
	uint32		partition_at;
} ProduceRow;

static ProduceRow made_row;

/* The arrays of one mq.produce_batch(). */
typedef struct BatchArrays
{
	int			n;
	Datum	   *vals;
	bool	   *val_nulls;
	Datum	   *keys;			/* NULL = no keys */
	bool	   *key_nulls;
	Datum	   *headers;		/* NULL = no headers */
	bool	   *header_nulls;
	ToBytes		value_bytes;
	ToBytes		key_bytes;
} BatchArrays;

/* What a batch put into one partition. */
typedef struct BatchRange
{
	MqOffset	base;
	int32		n;
} BatchRange;

static inline Datum produce(FunctionCallInfo fcinfo, ToBytes value_bytes, ToBytes key_bytes);
static ProduceCall *start_call(FunctionCallInfo fcinfo);
static uint64 type_version(Oid type);
static TupleDesc result_desc(FunctionCallInfo fcinfo);
static void make_row(FunctionCallInfo fcinfo);
static bool has_constant_topic(FunctionCallInfo fcinfo);
static inline MqTopic *call_topic(FunctionCallInfo fcinfo, ProduceCall *call);
static void note_topic(FunctionCallInfo fcinfo, ProduceCall *call);
static inline void fill_record(FunctionCallInfo fcinfo, MqRecord *record,
							   ToBytes value_bytes, ToBytes key_bytes);
static MqTimestamp message_time(TimestampTz ts);
static inline Datum pending_row(FunctionCallInfo fcinfo, ProduceCall *call, int32 partition);
static Datum copy_row(const ProduceCall *call, int32 partition, MemoryContext context);
static Datum stored_row(FunctionCallInfo fcinfo, const MqProduced *position);
static Datum produce_batch(FunctionCallInfo fcinfo, ToBytes value_bytes, ToBytes key_bytes);
static void read_arrays(FunctionCallInfo fcinfo, BatchArrays *arrays);
static void require_length(const char *name, int n, int nvals);
static void fill_batch_record(const BatchArrays *arrays, int i, MqRecord *record);
static void buffer_batch(MqTopic *topic, const BatchArrays *arrays, BatchRange *ranges);
static void append_batch(MqTopic *topic, const BatchArrays *arrays, BatchRange *ranges);
static void put_ranges(FunctionCallInfo fcinfo, const BatchRange *ranges, int partitions);
static const uint8 *text_bytes(Datum datum, int32 *len);
static const uint8 *jsonb_bytes(Datum datum, int32 *len);
static const uint8 *bytea_bytes(Datum datum, int32 *len);

PG_FUNCTION_INFO_V1(mq_sql_produce);
PG_FUNCTION_INFO_V1(mq_sql_produce_json);
PG_FUNCTION_INFO_V1(mq_sql_produce_bytes);
PG_FUNCTION_INFO_V1(mq_sql_produce_batch);
PG_FUNCTION_INFO_V1(mq_sql_produce_batch_json);
PG_FUNCTION_INFO_V1(mq_sql_produce_batch_bytes);
PG_FUNCTION_INFO_V1(mq_sql_last_produced);
PG_FUNCTION_INFO_V1(mq_sql_partition_for);

Datum
mq_sql_produce(PG_FUNCTION_ARGS)
{
	return produce(fcinfo, text_bytes, text_bytes);
}

Datum
mq_sql_produce_json(PG_FUNCTION_ARGS)
{
	return produce(fcinfo, jsonb_bytes, text_bytes);
}

Datum
mq_sql_produce_bytes(PG_FUNCTION_ARGS)
{
	return produce(fcinfo, bytea_bytes, bytea_bytes);
}

Datum
mq_sql_produce_batch(PG_FUNCTION_ARGS)
{
	return produce_batch(fcinfo, text_bytes, text_bytes);
}

Datum
mq_sql_produce_batch_json(PG_FUNCTION_ARGS)
{
	return produce_batch(fcinfo, jsonb_bytes, text_bytes);
}

Datum
mq_sql_produce_batch_bytes(PG_FUNCTION_ARGS)
{
	return produce_batch(fcinfo, bytea_bytes, bytea_bytes);
}

Datum
mq_sql_last_produced(PG_FUNCTION_ARGS)
{
	MqSqlRows	rows;
	const MqProducedRange *ranges;
	int			n;
	int			i;

	mq_sql_rows_begin(fcinfo, &rows);
	ranges = mq_produce_last(&n);
	for (i = 0; i < n; i++)
	{
		mq_sql_rows_set_text(&rows, 0, ranges[i].topic);
		mq_sql_rows_set(&rows, 1, Int32GetDatum(ranges[i].partition));
		mq_sql_rows_set(&rows, 2, Int64GetDatum(ranges[i].base));
		mq_sql_rows_set(&rows, 3, Int64GetDatum(ranges[i].last));
		mq_sql_rows_put(&rows);
	}
	return (Datum) 0;
}

Datum
mq_sql_partition_for(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea	   *key = PG_GETARG_BYTEA_PP(1);
	/* no lock: who has no privilege may ask, and must not hold up others */
	MqTopic    *topic = mq_topic_open(name, NoLock, 0);

	PG_RETURN_INT32(mq_produce_partition_for(topic, (uint8 *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
}

/* One message.  Hot, hence made once for each kind of value; see the top of the file. */
static pg_attribute_always_inline Datum
produce(FunctionCallInfo fcinfo, ToBytes value_bytes, ToBytes key_bytes)
{
	ProduceCall *call = fcinfo->flinfo->fn_extra;
	MqTopic    *topic;
	MqRecord	record;
	int32		partition = MQ_PARTITION_ANY;
	MqProduced	position;

	if (unlikely(call == NULL))
		call = start_call(fcinfo);
	mq_sql_require_arg(fcinfo, ARG_TOPIC, "topic");
	mq_sql_require_arg(fcinfo, ARG_TRANSACTIONAL, "transactional");
	topic = call_topic(fcinfo, call);
	if (!PG_ARGISNULL(ARG_PARTITION))
	{
		partition = PG_GETARG_INT32(ARG_PARTITION);
		mq_topic_check_partition(topic, partition);
	}
	fill_record(fcinfo, &record, value_bytes, key_bytes);

	if (likely(PG_GETARG_BOOL(ARG_TRANSACTIONAL)))
		return pending_row(fcinfo, call, mq_produce_record(topic, &record, partition));
	mq_produce_now(topic, &record, &partition, 1, &position);
	return stored_row(fcinfo, &position);
}

/* Prepares a result row in which only the partition differs from call to call. */
static ProduceCall *
start_call(FunctionCallInfo fcinfo)
{
	ProduceCall *call;

	if (made_row.function != fcinfo->flinfo->fn_oid ||
		made_row.version != type_version(made_row.type))
		make_row(fcinfo);

	/* a copy: the next statement may make another while this one still runs */
	call = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, MAXALIGN(sizeof(ProduceCall)) + made_row.len);
	call->row = (HeapTupleHeader) ((char *) call + MAXALIGN(sizeof(ProduceCall)));
	memcpy(call->row, made_row.row, made_row.len);
	call->row_len = made_row.len;
	call->partition_at = made_row.partition_at;
	call->use.topic = NULL;
	call->same_topic = has_constant_topic(fcinfo);
	call->topic_len = -1;
	memset(call->given, 0, sizeof(call->given));
	fcinfo->flinfo->fn_extra = call;
	return call;
}

/* Changes whenever the row type does. */
static uint64
type_version(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_TUPDESC)->tupDesc_identifier;
}

static TupleDesc
result_desc(FunctionCallInfo fcinfo)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(desc);
}

static void
make_row(FunctionCallInfo fcinfo)
{
	TupleDesc	desc = result_desc(fcinfo);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	tuple;

	memset(nulls, true, desc->natts * sizeof(bool));
	nulls[0] = false;
	tuple = heap_form_tuple(desc, values, nulls);

	made_row.function = InvalidOid;
	if (made_row.row != NULL)
		pfree(made_row.row);
	made_row.row = NULL;
	made_row.row = MemoryContextAlloc(TopMemoryContext, tuple->t_len);
	memcpy(made_row.row, DatumGetHeapTupleHeader(HeapTupleGetDatum(tuple)), tuple->t_len);
	made_row.len = tuple->t_len;
	made_row.partition_at = tuple->t_data->t_hoff;
	made_row.type = desc->tdtypeid;
	made_row.version = type_version(desc->tdtypeid);
	made_row.function = fcinfo->flinfo->fn_oid;
}

static bool
has_constant_topic(FunctionCallInfo fcinfo)
{
	FuncExpr   *call = (FuncExpr *) fcinfo->flinfo->fn_expr;

	return call != NULL && IsA(call, FuncExpr) && IsA(linitial(call->args), Const);
}

/* The topic, which is nearly always that of the call before. */
static pg_attribute_always_inline MqTopic *
call_topic(FunctionCallInfo fcinfo, ProduceCall *call)
{
	MqTopic    *topic;

	if (unlikely(!call->same_topic || call->topic_len < 0))
		note_topic(fcinfo, call);
	topic = mq_topic_open_again(&call->use);
	if (likely(topic != NULL))
		return topic;
	mq_sql_require_writable("mq.produce()");
	mq_topic_open_to_produce(&call->use, call->topic);
	return call->use.topic;
}

static void
note_topic(FunctionCallInfo fcinfo, ProduceCall *call)
{
	text	   *name = PG_GETARG_TEXT_PP(ARG_TOPIC);
	int			len = VARSIZE_ANY_EXHDR(name);

	if (len == call->topic_len && memcmp(call->topic, VARDATA_ANY(name), len) == 0)
		return;
	if (len > MQ_MAX_TOPIC_NAME)
		mq_topic_raise_unknown(text_to_cstring(name));
	memcpy(call->topic, VARDATA_ANY(name), len);
	call->topic[len] = '\0';
	call->topic_len = len;
	call->use.topic = NULL;
}

static pg_attribute_always_inline void
fill_record(FunctionCallInfo fcinfo, MqRecord *record, ToBytes value_bytes, ToBytes key_bytes)
{
	memset(record, 0, sizeof(*record));
	if (!PG_ARGISNULL(ARG_VALUE))
		record->value = value_bytes(PG_GETARG_DATUM(ARG_VALUE), &record->value_len);
	if (!PG_ARGISNULL(ARG_KEY))
		record->key = key_bytes(PG_GETARG_DATUM(ARG_KEY), &record->key_len);
	if (!PG_ARGISNULL(ARG_HEADERS) || !PG_ARGISNULL(ARG_TAGS))
		mq_sql_headers_encode(record,
							  PG_ARGISNULL(ARG_HEADERS) ? NULL : PG_GETARG_JSONB_P(ARG_HEADERS),
							  PG_ARGISNULL(ARG_TAGS) ? NULL : PG_GETARG_ARRAYTYPE_P(ARG_TAGS));
	record->timestamp = PG_ARGISNULL(ARG_TS) ? MQ_NO_TIMESTAMP :
		message_time(PG_GETARG_TIMESTAMPTZ(ARG_TS));
}

/* Kafka counts from 1970, and -1 means none. */
static MqTimestamp
message_time(TimestampTz ts)
{
	MqTimestamp ms = mq_sql_timestamp(ts, MQ_SQL_ROUND_DOWN, "ts");

	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"ts\" is too early"),
				 errdetail("Message timestamps begin at 1970-01-01 00:00:00 UTC.")));
	return ms;
}

/*
 * The row of a message whose offset is not known before commit.  Nobody may
 * write into a function's result, so a row can be given out again, and then a
 * call leaves nothing in its caller's memory that would have to be reset.
 */
static inline Datum
pending_row(FunctionCallInfo fcinfo, ProduceCall *call, int32 partition)
{
	if (partition >= ROWS_KEPT)
		return copy_row(call, partition, CurrentMemoryContext);
	if (unlikely(call->given[partition] == NULL))
		call->given[partition] = (HeapTupleHeader)
			DatumGetPointer(copy_row(call, partition, fcinfo->flinfo->fn_mcxt));
	return PointerGetDatum(call->given[partition]);
}

static Datum
copy_row(const ProduceCall *call, int32 partition, MemoryContext context)
{
	char	   *row = MemoryContextAlloc(context, call->row_len);

	memcpy(row, call->row, call->row_len);
	memcpy(row + call->partition_at, &partition, sizeof(partition));
	return PointerGetDatum(row);
}

static Datum
stored_row(FunctionCallInfo fcinfo, const MqProduced *position)
{
	TupleDesc	desc = result_desc(fcinfo);
	int			natts = desc->natts;
	Datum	   *values = palloc0(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));

	memset(nulls, true, natts * sizeof(bool));
	values[0] = Int32GetDatum(position->partition);
	values[1] = Int64GetDatum(position->offset);
	nulls[0] = nulls[1] = false;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static Datum
produce_batch(FunctionCallInfo fcinfo, ToBytes value_bytes, ToBytes key_bytes)
{
	char	   *name = mq_sql_arg_name(fcinfo, BATCH_ARG_TOPIC, "topic");
	BatchArrays arrays = {.value_bytes = value_bytes,.key_bytes = key_bytes};
	MqTopic    *topic;
	BatchRange *ranges;
	int			partitions;

	mq_sql_require_arg(fcinfo, BATCH_ARG_TRANSACTIONAL, "transactional");
	mq_sql_require_writable("mq.produce_batch()");
	topic = mq_topic_open(name, RowExclusiveLock, ACL_INSERT);
	partitions = topic->partitions;
	read_arrays(fcinfo, &arrays);

	ranges = palloc0(partitions * sizeof(BatchRange));
	if (PG_GETARG_BOOL(BATCH_ARG_TRANSACTIONAL))
		buffer_batch(topic, &arrays, ranges);
	else if (arrays.n > 0)
		append_batch(topic, &arrays, ranges);
	put_ranges(fcinfo, ranges, partitions);
	return (Datum) 0;
}

static void
read_arrays(FunctionCallInfo fcinfo, BatchArrays *arrays)
{
	int			n;

	mq_sql_require_arg(fcinfo, BATCH_ARG_VALS, "vals");
	mq_sql_array(PG_GETARG_ARRAYTYPE_P(BATCH_ARG_VALS), "vals",
				 &arrays->vals, &arrays->val_nulls, &arrays->n);
	if (!PG_ARGISNULL(BATCH_ARG_KEYS))
	{
		mq_sql_array(PG_GETARG_ARRAYTYPE_P(BATCH_ARG_KEYS), "keys",
					 &arrays->keys, &arrays->key_nulls, &n);
		require_length("keys", n, arrays->n);
	}
	if (!PG_ARGISNULL(BATCH_ARG_HEADERS))
	{
		mq_sql_array(PG_GETARG_ARRAYTYPE_P(BATCH_ARG_HEADERS), "headers",
					 &arrays->headers, &arrays->header_nulls, &n);
		require_length("headers", n, arrays->n);
	}
}

static void
require_length(const char *name, int n, int nvals)
{
	if (n != nvals)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"vals\" and \"%s\" must have the same length", name),
				 errdetail("\"vals\" has %d elements, \"%s\" has %d.", nvals, name, n),
				 errhint("Where a message has none, put a null into \"%s\".", name)));
}

static void
fill_batch_record(const BatchArrays *arrays, int i, MqRecord *record)
{
	memset(record, 0, sizeof(*record));
	record->timestamp = MQ_NO_TIMESTAMP;
	if (!arrays->val_nulls[i])
		record->value = arrays->value_bytes(arrays->vals[i], &record->value_len);
	if (arrays->keys != NULL && !arrays->key_nulls[i])
		record->key = arrays->key_bytes(arrays->keys[i], &record->key_len);
	if (arrays->headers != NULL && !arrays->header_nulls[i])
		mq_sql_headers_encode(record, DatumGetJsonbP(arrays->headers[i]), NULL);
}

/* The builders copy each record, so what was made for it may go at once. */
static void
buffer_batch(MqTopic *topic, const BatchArrays *arrays, BatchRange *ranges)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "mq produce batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	int			i;

	for (i = 0; i < arrays->n; i++)
	{
		MqRecord	record;
		BatchRange *range;

		CHECK_FOR_INTERRUPTS();
		fill_batch_record(arrays, i, &record);
		range = &ranges[i == 0 ? mq_produce_record(topic, &record, MQ_PARTITION_ANY) :
						mq_produce_further(topic, &record, MQ_PARTITION_ANY)];
		range->base = MQ_INVALID_OFFSET;
		range->n++;
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

static void
append_batch(MqTopic *topic, const BatchArrays *arrays, BatchRange *ranges)
{
	MqRecord   *records = MemoryContextAllocHuge(CurrentMemoryContext, arrays->n * sizeof(MqRecord));
	int32	   *partitions = palloc(arrays->n * sizeof(int32));
	MqProduced *positions = MemoryContextAllocHuge(CurrentMemoryContext,
												   arrays->n * sizeof(MqProduced));
	int			i;

	for (i = 0; i < arrays->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		fill_batch_record(arrays, i, &records[i]);
		partitions[i] = MQ_PARTITION_ANY;
	}
	mq_produce_now(topic, records, partitions, arrays->n, positions);
	for (i = 0; i < arrays->n; i++)
	{
		BatchRange *range = &ranges[positions[i].partition];

		if (range->n++ == 0 || positions[i].offset < range->base)
			range->base = positions[i].offset;
	}
}

static void
put_ranges(FunctionCallInfo fcinfo, const BatchRange *ranges, int partitions)
{
	MqSqlRows	rows;
	int			i;

	mq_sql_rows_begin(fcinfo, &rows);
	for (i = 0; i < partitions; i++)
	{
		if (ranges[i].n == 0)
			continue;
		mq_sql_rows_set(&rows, 0, Int32GetDatum(i));
		if (ranges[i].base == MQ_INVALID_OFFSET)
			mq_sql_rows_set_null(&rows, 1);
		else
			mq_sql_rows_set(&rows, 1, Int64GetDatum(ranges[i].base));
		mq_sql_rows_set(&rows, 2, Int32GetDatum(ranges[i].n));
		mq_sql_rows_put(&rows);
	}
}

static const uint8 *
text_bytes(Datum datum, int32 *len)
{
	return mq_sql_utf8(DatumGetTextPP(datum), len);
}

/* What a user would see of the value: its text rendering. */
static const uint8 *
jsonb_bytes(Datum datum, int32 *len)
{
	Jsonb	   *jsonb = DatumGetJsonbP(datum);
	char	   *s = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));

	return mq_sql_utf8_bytes(s, strlen(s), len);
}

static const uint8 *
bytea_bytes(Datum datum, int32 *len)
{
	bytea	   *bytes = DatumGetByteaPP(datum);

	*len = VARSIZE_ANY_EXHDR(bytes);
	return (const uint8 *) VARDATA_ANY(bytes);
}
