/*
 * mq_fetch_scan.c
 *	  mq.fetch() in FROM, executed.
 *
 * The log is read when the first row is asked for, to the end of the fetch,
 * and its records are kept (mq_fetch_kept.c); rows are made of them one by
 * one.  A rescan reads the log again only if the call's arguments may have
 * changed, as a function scan would.
 *
 * Locking: as the function: ACCESS SHARE on the topic's relation, which the
 *			transaction keeps.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

#include "broker/mq_fetch.h"
#include "mq_ext/mq_fetch_kept.h"
#include "mq_ext/mq_fetch_plan.h"
#include "mq_ext/mq_message_row.h"
#include "mq_ext/mq_sql_consume.h"
#include "mq_ext/mq_sql_message.h"

/* Columns of mq.message and its twins, in their order; the first is the topic's name. */
static const MqFdwColumnKind column_kinds[MQ_FETCH_PLAN_COLUMNS] = {
	MQ_FDW_COLUMN_DROPPED,
	MQ_FDW_COLUMN_PARTITION,
	MQ_FDW_COLUMN_MSG_OFFSET,
	MQ_FDW_COLUMN_TS,
	MQ_FDW_COLUMN_KEY,
	MQ_FDW_COLUMN_VALUE,
	MQ_FDW_COLUMN_HEADERS,
	MQ_FDW_COLUMN_TAGS
};

#define FIRST_COLUMN	1		/* attribute numbers */
#define VALUE_COLUMN	6
#define FETCH_ARGS		MQ_FETCH_PLAN_ARGS

typedef struct FetchScan
{
	CustomScanState css;		/* must be first */

	FmgrInfo	function;
	List	   *args;			/* ExprStates */
	Bitmapset  *params;			/* in the arguments */

	MqMessageRow row;
	bool		text;			/* key and value must be text, needed or not */
	int			topic_at;		/* place of the topic's name, -1 = not needed */
	char		topic[MQ_MAX_TOPIC_NAME + 1];
	struct varlena *topic_text; /* the same */
	MqFetchKeep keep;
	MemoryContext context;
	MqFetchKept *kept;			/* NULL = nothing is fetched yet */
} FetchScan;

static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static void begin_function(FetchScan *scan, const FuncExpr *call);
static void begin_columns(FetchScan *scan, const FuncExpr *call, List *tlist);
static TupleTableSlot *exec_scan(CustomScanState *node);
static TupleTableSlot *next_row(ScanState *node);
static bool recheck_row(ScanState *node, TupleTableSlot *slot);
static void fetch(FetchScan *scan);
static void set_topic(FetchScan *scan, const char *name);
static bool keep_text(void *arg, int32 partition, const MqRecord *record);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);
static void explain_scan(CustomScanState *node, List *ancestors, ExplainState *es);

static const CustomExecMethods exec_methods = {
	.CustomName = "MqFetch",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain_scan,
};

Node *
mq_fetch_scan_create(CustomScan *plan)
{
	FetchScan  *scan = palloc0(sizeof(FetchScan));

	NodeSetTag(scan, T_CustomScanState);
	scan->css.methods = &exec_methods;
	return (Node *) scan;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	FetchScan  *scan = (FetchScan *) node;
	CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
	FuncExpr   *call = linitial_node(FuncExpr, plan->custom_exprs);
	ListCell   *lc;

	begin_function(scan, call);
	scan->args = ExecInitExprList(call->args, (PlanState *) node);
	foreach(lc, list_nth(plan->custom_private, MQ_FETCH_PLAN_PARAMS))
		scan->params = bms_add_member(scan->params, lfirst_int(lc));
	scan->context = CurrentMemoryContext;
	begin_columns(scan, call, plan->custom_scan_tlist);
}

/* What a function scan does before it calls. */
static void
begin_function(FetchScan *scan, const FuncExpr *call)
{
	AclResult	result = pg_proc_aclcheck(call->funcid, GetUserId(), ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(call->funcid));
	InvokeFunctionExecuteHook(call->funcid);
	fmgr_info(call->funcid, &scan->function);
	fmgr_info_set_expr((Node *) call, &scan->function);
	Assert(list_length(call->args) == FETCH_ARGS);
}

static void
begin_columns(FetchScan *scan, const FuncExpr *call, List *tlist)
{
	TupleDesc	desc;
	MqMessageRow *row = &scan->row;
	ListCell   *lc;
	int			at = 0;

	get_expr_result_type((Node *) call, NULL, &desc);
	scan->text = TupleDescAttr(desc, VALUE_COLUMN - 1)->atttypid == TEXTOID;
	row->checked = scan->text;
	row->topic = scan->topic;
	row->at = palloc(sizeof(int) * (list_length(tlist) + 1));
	row->columns = palloc0(sizeof(MqFdwColumn) * (list_length(tlist) + 1));
	mq_message_row_begin(row);
	scan->topic_at = -1;
	scan->topic_text = palloc(MQ_MAX_TOPIC_NAME + VARHDRSZ);
	foreach(lc, tlist)
	{
		AttrNumber	attnum = castNode(Var, lfirst_node(TargetEntry, lc)->expr)->varattno;
		Form_pg_attribute attribute = TupleDescAttr(desc, attnum - 1);
		MqFdwColumn *column = &row->columns[row->n];

		Assert(attnum >= FIRST_COLUMN && attnum <= lengthof(column_kinds));
		if (attnum == FIRST_COLUMN)
			scan->topic_at = at++;
		else
		{
			column->kind = column_kinds[attnum - 1];
			column->name = NameStr(attribute->attname);
			column->type = attribute->atttypid;
			column->typmod = attribute->atttypmod;
			row->at[row->n++] = at++;
			scan->keep.keys |= column->kind == MQ_FDW_COLUMN_KEY;
			scan->keep.values |= column->kind == MQ_FDW_COLUMN_VALUE;
			scan->keep.headers |= column->kind == MQ_FDW_COLUMN_HEADERS || column->kind == MQ_FDW_COLUMN_TAGS;
		}
	}
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static TupleTableSlot *
next_row(ScanState *node)
{
	FetchScan  *scan = (FetchScan *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	MemoryContext old;
	int32		partition;
	MqRecord	record;

	ExecClearTuple(slot);
	if (unlikely(scan->kept == NULL))
		fetch(scan);
	if (!mq_fetch_kept_next(scan->kept, ScanDirectionIsForward(node->ps.state->es_direction), &partition, &record))
		return slot;
	if (scan->topic_at >= 0)
	{
		slot->tts_values[scan->topic_at] = PointerGetDatum(scan->topic_text);
		slot->tts_isnull[scan->topic_at] = false;
	}
	old = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
	mq_message_row_fill(&scan->row, partition, &record, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(slot);
}

/* Servers before 15.15 take the rows from here where they look at another row anew. */
static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	(void) next_row(node);
	return true;
}

/* Runs in the memory of the first row. */
static void
fetch(FetchScan *scan)
{
	LOCAL_FCINFO(fcinfo, FETCH_ARGS);
	ExprContext *econtext = scan->css.ss.ps.ps_ExprContext;
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	PgStat_FunctionCallUsage usage;
	MqFetchRequest request;
	MqFetchKept *kept;
	ListCell   *lc;

	InitFunctionCallInfoData(*fcinfo, &scan->function, FETCH_ARGS, InvalidOid, NULL, NULL);
	foreach(lc, scan->args)
	{
		NullableDatum *arg = &fcinfo->args[foreach_current_index(lc)];

		arg->value = ExecEvalExpr((ExprState *) lfirst(lc), econtext, &arg->isnull);
	}
	pgstat_init_function_usage(fcinfo, &usage);
	mq_sql_fetch_request(fcinfo, &request);
	set_topic(scan, request.topic->name);
	MemoryContextSwitchTo(scan->context);
	kept = mq_fetch_kept_begin(scan->keep);
	MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	scan->kept = kept;
	if (scan->text)
		mq_fetch(&request, keep_text, scan);
	else
		mq_fetch(&request, mq_fetch_kept_put, kept);
	pgstat_end_function_usage(&usage, true);
	mq_fetch_kept_rewind(kept);
	MemoryContextSwitchTo(old);
}

/* With a short header if it fits, as a function scan's would have. */
static void
set_topic(FetchScan *scan, const char *name)
{
	size_t		len = strlcpy(scan->topic, name, sizeof(scan->topic));

	if (len + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
		SET_VARSIZE_SHORT(scan->topic_text, len + VARHDRSZ_SHORT);
	else
		SET_VARSIZE(scan->topic_text, len + VARHDRSZ);
	memcpy(VARDATA_ANY(scan->topic_text), scan->topic, len);
}

/* An MqFetchSink.  All are looked at before the first row is given. */
static bool
keep_text(void *arg, int32 partition, const MqRecord *record)
{
	FetchScan  *scan = arg;
	MqSqlPlace	place = {scan->topic, "key", partition, record->offset};

	if (record->key != NULL)
		mq_sql_message_check_utf8(&place, record->key, record->key_len);
	place.column = "value";
	if (record->value != NULL)
		mq_sql_message_check_utf8(&place, record->value, record->value_len);
	return mq_fetch_kept_put(scan->kept, partition, record);
}

static void
end_scan(CustomScanState *node)
{
	FetchScan  *scan = (FetchScan *) node;

	if (scan->kept != NULL)
		mq_fetch_kept_end(scan->kept);
	scan->kept = NULL;
}

static void
rescan(CustomScanState *node)
{
	FetchScan  *scan = (FetchScan *) node;

	ExecScanReScan(&node->ss);
	if (scan->kept == NULL)
		return;
	if (bms_overlap(node->ss.ps.chgParam, scan->params))
		end_scan(node);
	else
		mq_fetch_kept_rewind(scan->kept);
}

static void
explain_scan(CustomScanState *node, List *ancestors, ExplainState *es)
{
	CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
	List	   *context = set_deparse_context_plan(es->deparse_cxt, &plan->scan.plan, ancestors);

	ExplainPropertyText("Function Call",
						deparse_expression(linitial(plan->custom_exprs), context, es->verbose, false), es);
}
