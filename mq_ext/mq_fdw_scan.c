/*
 * mq_fdw_scan.c
 *	  SELECT from a topic, executed.
 *
 * A row is a virtual tuple that points into the batch it came from.  Only the
 * columns that the plan needs are made; a scan that needs none counts.  A
 * short key or value becomes a varlena where it stands: the byte before it
 * ended its length, has been read, and takes the one-byte header.  A longer
 * one is copied into a buffer that is kept from row to row.  Whatever else
 * allocates does so in the memory of the row.
 *
 * The end of a scan is fixed when the executor starts.  Its bounds are
 * evaluated at the first row and again at each rescan, since they may be
 * parameters of a join.
 *
 * Locking: none of its own; the executor has locked the topic's relation.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "base/mq_settings.h"
#include "broker/mq_scan.h"
#include "mq_ext/mq_fdw.h"
#include "mq_ext/mq_fdw_columns.h"
#include "mq_ext/mq_fdw_payload.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_headers.h"
#include "mq_ext/mq_sql_message.h"

/* The longest bytes that a varlena with a header of one byte holds. */
#define SHORT_BYTES		(VARATT_SHORT_MAX - VARHDRSZ_SHORT)

/* Where the longer keys, or values, are laid out. */
typedef struct RowBuffer
{
	struct varlena *data;
	Size		room;
} RowBuffer;

typedef struct FdwScan
{
	MqScan	   *scan;
	char		topic[MQ_MAX_TOPIC_NAME + 1];
	int			partitions;

	/* the conditions, and what they come to */
	List	   *kinds;
	List	   *strategies;
	List	   *values;			/* ExprStates */
	ExprContext *econtext;
	MemoryContext bounds_context;
	MqScanBounds bounds;
	bool		started;
	bool		nothing;
	bool		counts;			/* gives one row, the count */
	bool		given;

	/* the columns that are needed, payload columns aside */
	int			n;
	int		   *at;				/* places in the row, counted from 0 */
	MqFdwColumn *columns;
	MqFdwPayload *payload;
	RowBuffer	key;
	RowBuffer	value;
	MemoryContext context;
} FdwScan;

static void require_bound(const FdwScan *state, Relation rel);
static void begin_columns(FdwScan *state, Relation rel, List *needed, List *places);
static Bitmapset *fixed_partitions(FdwScan *state, ForeignScan *plan, bool *nothing);
static TupleTableSlot *give_count(FdwScan *state, TupleTableSlot *slot);
static void start_scan(FdwScan *state);
static bool apply_bounds(FdwScan *state);
static void fill_row(FdwScan *state, int32 partition, const MqRecord *record, TupleTableSlot *slot);
static Datum typed_bytes(FdwScan *state, const MqFdwColumn *column, RowBuffer *buffer,
						 int32 partition, MqOffset offset, const uint8 *bytes, int32 len);
static inline Datum as_varlena(FdwScan *state, RowBuffer *buffer, const uint8 *bytes, int32 len);
static void check_length(const MqFdwColumn *column, const MqSqlPlace *place, const text *t);

void
mq_fdw_begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	Relation	rel = node->ss.ss_currentRelation;
	FdwScan    *state = palloc0(sizeof(FdwScan));
	List	   *needed = list_nth(plan->fdw_private, MQ_FDW_PLAN_COLUMNS);
	List	   *counted = list_nth(plan->fdw_private, MQ_FDW_PLAN_COUNTED);
	Bitmapset  *partitions;
	MqTopic    *topic;

	node->fdw_state = state;
	topic = mq_topic_open_relation(counted != NIL ? linitial_oid(counted) : RelationGetRelid(rel), NoLock);
	strlcpy(state->topic, topic->name, sizeof(state->topic));
	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	state->partitions = topic->partitions;
	state->kinds = list_nth(plan->fdw_private, MQ_FDW_PLAN_KINDS);
	state->strategies = list_nth(plan->fdw_private, MQ_FDW_PLAN_STRATEGIES);
	state->values = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	state->econtext = node->ss.ps.ps_ExprContext;
	state->context = CurrentMemoryContext;
	state->bounds_context = AllocSetContextCreate(CurrentMemoryContext, "mq scan bounds",
												  ALLOCSET_SMALL_SIZES);
	if (mq_require_bound)
		require_bound(state, rel);
	state->counts = counted != NIL;
	if (!state->counts)
		begin_columns(state, rel, needed, list_nth(plan->fdw_private, MQ_FDW_PLAN_PLACES));
	memset(node->ss.ss_ScanTupleSlot->tts_isnull, true,
		   node->ss.ss_ScanTupleSlot->tts_tupleDescriptor->natts);
	partitions = fixed_partitions(state, plan, &state->nothing);
	if (!state->nothing)
		state->scan = mq_scan_begin(topic, partitions, needed == NIL ? MQ_SCAN_COUNT : MQ_SCAN_RECORDS);
}

static void
require_bound(const FdwScan *state, Relation rel)
{
	ListCell   *lc;

	foreach(lc, state->kinds)
	{
		if (lfirst_int(lc) == MQ_FDW_BOUND_OFFSET || lfirst_int(lc) == MQ_FDW_BOUND_TS)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot read topic \"%s\" without a bound on \"msg_offset\" or \"ts\"", state->topic),
			 errdetail("The query would read the whole log, which the setting \"%s\" forbids.", "mq.require_bound"),
			 errhint("Add a condition such as ts >= now() - interval '1 hour', or set mq.require_bound to off.")));
}

/* Columns that nobody needs are null in every row, and are set so once. */
static void
begin_columns(FdwScan *state, Relation rel, List *needed, List *places)
{
	MqFdwColumns *columns = mq_fdw_columns_load(RelationGetRelid(rel), RelationGetDescr(rel));
	ListCell   *lc;
	ListCell   *place;

	state->payload = mq_fdw_payload_reader(columns, needed);
	state->at = palloc(sizeof(int) * (list_length(needed) + 1));
	state->columns = palloc(sizeof(MqFdwColumn) * (list_length(needed) + 1));
	forboth(lc, needed, place, places)
	{
		int			at = lfirst_int(lc) - 1;

		if (columns->columns[at].kind == MQ_FDW_COLUMN_PAYLOAD)
			continue;
		state->at[state->n] = lfirst_int(place) - 1;
		state->columns[state->n++] = columns->columns[at];
	}
}

/*
 * The partitions that no rescan will go beyond; NULL = any.  Parameters of a
 * join have no value yet, and the scan's end must be fixed now.
 */
static Bitmapset *
fixed_partitions(FdwScan *state, ForeignScan *plan, bool *nothing)
{
	ListCell   *kind;
	ListCell   *strategy;
	ListCell   *value;
	MqScanBounds bounds;

	if (!bms_is_empty(plan->scan.plan.extParam) || !bms_is_empty(plan->scan.plan.allParam))
		return NULL;
	mq_scan_no_bounds(&bounds);
	forthree(kind, state->kinds, strategy, state->strategies, value, state->values)
	{
		Datum		datum;
		bool		isnull;

		if (lfirst_int(kind) != MQ_FDW_BOUND_PARTITION && lfirst_int(kind) != MQ_FDW_BOUND_PARTITIONS)
			continue;
		datum = ExecEvalExpr((ExprState *) lfirst(value), state->econtext, &isnull);
		if (!mq_fdw_bound_apply(&bounds, state->partitions, lfirst_int(kind), lfirst_int(strategy), datum, isnull))
			*nothing = true;
	}
	return bms_copy(bounds.partitions);
}

TupleTableSlot *
mq_fdw_iterate_scan(ForeignScanState *node)
{
	FdwScan    *state = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	int32		partition;
	MqRecord	record;

	ExecClearTuple(slot);
	if (unlikely(!state->started))
		start_scan(state);
	if (state->counts)
		return give_count(state, slot);
	if (unlikely(state->nothing) || !mq_scan_next(state->scan, &partition, &record))
		return slot;
	if (state->n > 0 || state->payload != NULL)
		fill_row(state, partition, &record, slot);
	return ExecStoreVirtualTuple(slot);
}

static TupleTableSlot *
give_count(FdwScan *state, TupleTableSlot *slot)
{
	if (state->given)
		return slot;
	state->given = true;
	slot->tts_values[0] = Int64GetDatum(state->nothing ? 0 : mq_scan_count(state->scan));
	slot->tts_isnull[0] = false;
	return ExecStoreVirtualTuple(slot);
}

void
mq_fdw_rescan(ForeignScanState *node)
{
	FdwScan    *state = node->fdw_state;

	state->started = state->given = false;
}

void
mq_fdw_end_scan(ForeignScanState *node)
{
	FdwScan    *state = node->fdw_state;

	if (state != NULL && state->scan != NULL)
		mq_scan_end(state->scan);
}

void
mq_fdw_explain_scan(ForeignScanState *node, ExplainState *es)
{
	FdwScan    *state = node->fdw_state;
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	List	   *context;

	ExplainPropertyText("Topic", state->topic, es);
	if (list_length(plan->fdw_private) > MQ_FDW_PLAN_SHOWN)
		ExplainPropertyText("Log Bounds", strVal(list_nth(plan->fdw_private, MQ_FDW_PLAN_SHOWN)), es);
	if (plan->fdw_recheck_quals == NIL)
		return;
	context = set_deparse_context_plan(es->deparse_cxt, (Plan *) plan, NIL);
	ExplainPropertyText("Log Bounds",
						deparse_expression((Node *) make_ands_explicit(plan->fdw_recheck_quals),
										   context, es->verbose, false), es);
}

static void
start_scan(FdwScan *state)
{
	state->nothing = state->scan == NULL || !apply_bounds(state);
	if (!state->nothing)
		mq_scan_start(state->scan, &state->bounds);
	state->started = true;
}

/* Evaluates the conditions; false when they leave nothing. */
static bool
apply_bounds(FdwScan *state)
{
	MemoryContext old;
	ListCell   *kind;
	ListCell   *strategy;
	ListCell   *value;
	bool		left = true;

	MemoryContextReset(state->bounds_context);
	old = MemoryContextSwitchTo(state->bounds_context);
	mq_scan_no_bounds(&state->bounds);
	forthree(kind, state->kinds, strategy, state->strategies, value, state->values)
	{
		bool		isnull;
		Datum		datum = ExecEvalExpr((ExprState *) lfirst(value), state->econtext, &isnull);

		if (!mq_fdw_bound_apply(&state->bounds, state->partitions, lfirst_int(kind),
								lfirst_int(strategy), datum, isnull))
			left = false;
	}
	MemoryContextSwitchTo(old);
	return left;
}

static void
fill_row(FdwScan *state, int32 partition, const MqRecord *record, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;
	Jsonb	   *headers = NULL;
	ArrayType  *tags = NULL;
	bool		decoded = record->header_count == 0;
	int			i;

	if (state->payload != NULL)
	{
		MqSqlPlace	place = {state->topic, "value", partition, record->offset};

		mq_fdw_payload_read(state->payload, &place, record->value, record->value_len, values, nulls);
	}
	for (i = 0; i < state->n; i++)
	{
		const MqFdwColumn *column = &state->columns[i];
		int			at = state->at[i];

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
					as_varlena(state, &state->key, record->key, record->key_len) :
					typed_bytes(state, column, &state->key, partition, record->offset, record->key, record->key_len);
				break;
			case MQ_FDW_COLUMN_VALUE:
				nulls[at] = record->value == NULL;
				if (record->value == NULL)
					break;
				values[at] = column->type == BYTEAOID ?
					as_varlena(state, &state->value, record->value, record->value_len) :
					typed_bytes(state, column, &state->value, partition, record->offset, record->value, record->value_len);
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
typed_bytes(FdwScan *state, const MqFdwColumn *column, RowBuffer *buffer,
			int32 partition, MqOffset offset, const uint8 *bytes, int32 len)
{
	MqSqlPlace	place = {state->topic, column->name, partition, offset};
	Datum		result;

	if (column->type == JSONBOID)
		return mq_sql_message_jsonb(&place, bytes, len);
	if (column->type == JSONOID)
		return PointerGetDatum(mq_sql_message_json(&place, bytes, len, &nullSemAction));
	if (GetDatabaseEncoding() != PG_UTF8)
		result = PointerGetDatum(mq_sql_message_text(&place, bytes, len));
	else
	{
		mq_sql_message_check_utf8(&place, bytes, len);
		result = as_varlena(state, buffer, bytes, len);
	}
	if (column->typmod >= 0)
		check_length(column, &place, DatumGetTextPP(result));
	return result;
}

/* The byte before belongs to us: see mq_scan_next(). */
static inline Datum
as_varlena(FdwScan *state, RowBuffer *buffer, const uint8 *bytes, int32 len)
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
		buffer->data = MemoryContextAlloc(state->context, buffer->room);
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
