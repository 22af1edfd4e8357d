/*
 * mq_fdw_scan.c
 *	  SELECT from a topic, executed.
 *
 * A row is a virtual tuple that points into the batch it came from.  Only the
 * columns that the plan needs are made; a scan that needs none counts.  The
 * byte before a key or a value ended its length, has been read, and may be
 * written to.
 *
 * The end of a scan is fixed when the executor starts.  Its bounds are
 * evaluated at the first row and again at each rescan, since they may be
 * parameters of a join.
 *
 * Locking: none of its own; the executor has locked the topic's relation.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_proc.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "base/mq_settings.h"
#include "broker/mq_scan.h"
#include "mq_ext/mq_fdw.h"
#include "mq_ext/mq_fdw_columns.h"
#include "mq_ext/mq_fdw_payload.h"
#include "mq_ext/mq_message_row.h"
#include "mq_ext/mq_sql_message.h"

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

	MqMessageRow row;			/* the columns that are needed, payload columns aside */
	MqFdwPayload *payload;
} FdwScan;

static void require_bound(const FdwScan *state, Relation rel);
static void begin_columns(FdwScan *state, Relation rel, List *needed, List *places);
static Bitmapset *fixed_partitions(FdwScan *state, ForeignScan *plan, bool *nothing);
static bool may_change(Node *node, void *context);
static TupleTableSlot *give_count(FdwScan *state, TupleTableSlot *slot);
static void start_scan(FdwScan *state);
static bool apply_bounds(FdwScan *state);
static void fill_row(FdwScan *state, int32 partition, const MqRecord *record, TupleTableSlot *slot);

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
		MqFdwBoundKind kind = lfirst_int(lc);

		if (kind == MQ_FDW_BOUND_OFFSET || kind == MQ_FDW_BOUND_TS ||
			kind == MQ_FDW_BOUND_TS_LOCAL || kind == MQ_FDW_BOUND_TS_DATE)
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
	MqMessageRow *row = &state->row;
	ListCell   *lc;
	ListCell   *place;

	state->payload = mq_fdw_payload_reader(columns, needed);
	row->topic = state->topic;
	row->at = palloc(sizeof(int) * (list_length(needed) + 1));
	row->columns = palloc(sizeof(MqFdwColumn) * (list_length(needed) + 1));
	mq_message_row_begin(row);
	forboth(lc, needed, place, places)
	{
		int			at = lfirst_int(lc) - 1;

		if (columns->columns[at].kind == MQ_FDW_COLUMN_PAYLOAD)
			continue;
		row->at[row->n] = lfirst_int(place) - 1;
		row->columns[row->n++] = columns->columns[at];
	}
}

/*
 * The partitions that no rescan will go beyond; NULL = any.  The scan's end must
 * be fixed now, but the conditions are the first row's to evaluate: parameters of
 * a join have no value yet, what a function gives may change until then, and
 * there may be no first row, and then no error either.
 */
static Bitmapset *
fixed_partitions(FdwScan *state, ForeignScan *plan, bool *nothing)
{
	ListCell   *kind;
	ListCell   *strategy;
	ListCell   *expr;
	ListCell   *value;
	MqScanBounds bounds;

	mq_scan_no_bounds(&bounds);
	forfour(kind, state->kinds, strategy, state->strategies, expr, plan->fdw_exprs, value, state->values)
	{
		Datum		datum;
		bool		isnull;

		if ((lfirst_int(kind) != MQ_FDW_BOUND_PARTITION && lfirst_int(kind) != MQ_FDW_BOUND_PARTITIONS) ||
			may_change(lfirst(expr), NULL))
			continue;
		datum = ExecEvalExpr((ExprState *) lfirst(value), state->econtext, &isnull);
		if (!mq_fdw_bound_apply(&bounds, state->partitions, lfirst_int(kind), lfirst_int(strategy), datum, isnull))
			*nothing = true;
	}
	return bms_copy(bounds.partitions);
}

/* Constants and a statement's own parameters do not, nor does what only gives them another type. */
static bool
may_change(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Const:
			return false;
		case T_Param:
			return ((Param *) node)->paramkind != PARAM_EXTERN;
		case T_FuncExpr:
			if (func_volatile(((FuncExpr *) node)->funcid) != PROVOLATILE_IMMUTABLE ||
				!get_func_leakproof(((FuncExpr *) node)->funcid))
				return true;
			break;
		case T_List:
		case T_RelabelType:
		case T_ArrayExpr:
		case T_ArrayCoerceExpr:
		case T_CaseTestExpr:
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, may_change, context);
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
	if (state->row.n > 0 || state->payload != NULL)
		fill_row(state, partition, &record, slot);
	return ExecStoreVirtualTuple(slot);
}

/*
 * A row that others have changed is looked at anew with our rows as they were.
 * Servers before 15.15 also take the count from here, which is no relation's row.
 */
bool
mq_fdw_recheck_scan(ForeignScanState *node, TupleTableSlot *slot)
{
	if (((Scan *) node->ss.ps.plan)->scanrelid == 0)
		(void) mq_fdw_iterate_scan(node);
	return true;
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

Size
mq_fdw_estimate_dsm(ForeignScanState *node, ParallelContext *context)
{
	return mq_scan_shared_size(((FdwScan *) node->fdw_state)->scan);
}

void
mq_fdw_initialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	List	   *read = list_nth(plan->fdw_private, MQ_FDW_PLAN_READ);

	mq_scan_share(((FdwScan *) node->fdw_state)->scan, memory, linitial_int(read));
}

void
mq_fdw_reinitialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory)
{
	mq_scan_share_restart(memory);
}

void
mq_fdw_initialize_worker(ForeignScanState *node, shm_toc *toc, void *memory)
{
	FdwScan    *state = node->fdw_state;

	if (state->scan != NULL)
		mq_scan_join(state->scan, memory);
}

/* Nobody reads on after a shared scan was shut down; cursors, which do, do not share. */
void
mq_fdw_shutdown_scan(ForeignScanState *node)
{
	FdwScan    *state = node->fdw_state;

	if (state != NULL && state->scan != NULL)
		mq_scan_unshare(state->scan);
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
	if (state->payload != NULL)
	{
		MqSqlPlace	place = {state->topic, "value", partition, record->offset};

		mq_fdw_payload_read(state->payload, &place, record->value, record->value_len,
							slot->tts_values, slot->tts_isnull);
	}
	mq_message_row_fill(&state->row, partition, record, slot->tts_values, slot->tts_isnull);
}
