/*
 * mq_fetch_plan.c
 *	  mq.fetch() in FROM, planned as a scan of the log.
 *
 * The executor calls a function in FROM once, puts its rows into a tuplestore,
 * all columns of them, and reads them from there; for messages of a hundred
 * bytes that costs several times what reading the log does.  So where nothing
 * but mq.fetch() or mq.fetch_text() stands in FROM, a node of ours takes the
 * place of the function scan.  Rows, errors, privileges and the moments at
 * which the log is read are the same; only needed columns are made.
 *
 * Left to the function scan is what is rare: WITH ORDINALITY, ROWS FROM with
 * several functions, whole rows, LATERAL arguments, sub-selects as arguments
 * other than those evaluated beforehand, functions that somebody has altered;
 * and what parses or converts each value, wanted or not: mq.fetch_json(), and
 * mq.fetch_text() in a database that is not UTF-8.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/mq_settings.h"
#include "mq_ext/mq_fetch_plan.h"

static void add_fetch_path(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte);
static FuncExpr *plain_call(const RangeTblEntry *rte);
static bool is_fetch(Oid function);
static bool has_our_shape(const FuncExpr *call);
static bool needs_whole_row(const RelOptInfo *rel, Index rti);
static Plan *plan_fetch(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
						List *tlist, List *clauses, List *custom_plans);
static List *scan_columns(List *tlist, List *target, List *clauses);
static bool find_params(Node *node, List **params);

static const CustomPathMethods path_methods = {
	.CustomName = "MqFetch",
	.PlanCustomPath = plan_fetch,
};

static const CustomScanMethods scan_methods = {
	.CustomName = "MqFetch",
	.CreateCustomScanState = mq_fetch_scan_create,
};

static set_rel_pathlist_hook_type previous_hook = NULL;

void
mq_fetch_plan_install(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_fetch_path;
}

/* The path costs what the function scan would; there is nothing to choose. */
static void
add_fetch_path(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	FuncExpr   *call;
	CustomPath *path;
	const Path *function_scan;

	if (previous_hook != NULL)
		previous_hook(root, rel, rti, rte);
	if (!mq_enable_fetch_scan || rte->rtekind != RTE_FUNCTION || rel->reloptkind != RELOPT_BASEREL)
		return;
	if (!bms_is_empty(rel->lateral_relids) || list_length(rel->pathlist) != 1)
		return;
	call = plain_call(rte);
	if (call == NULL || !is_fetch(call->funcid) || !has_our_shape(call) || needs_whole_row(rel, rti))
		return;
	function_scan = linitial(rel->pathlist);
	if (function_scan->pathtype != T_FunctionScan)
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = function_scan->rows;
	path->path.startup_cost = function_scan->startup_cost;
	path->path.total_cost = function_scan->total_cost;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION | CUSTOMPATH_SUPPORT_BACKWARD_SCAN;
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
}

/* The only function in this place of FROM; NULL for what a function scan had better do. */
static FuncExpr *
plain_call(const RangeTblEntry *rte)
{
	RangeTblFunction *function;

	if (rte->funcordinality || list_length(rte->functions) != 1)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	if (!IsA(function->funcexpr, FuncExpr) || contain_subplans(function->funcexpr) ||
		contain_var_clause(function->funcexpr))
		return NULL;
	return (FuncExpr *) function->funcexpr;
}

/* As created by our script: no SET clause, SECURITY DEFINER or hook comes with a call. */
static bool
is_fetch(Oid function)
{
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		ours = false;

	if (function < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prolang == ClanguageId && form->proretset && !form->prosecdef && !form->proisstrict &&
		heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL))
	{
		bool		isnull;
		Datum		library = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &isnull);
		Datum		symbol = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		const char *name = TextDatumGetCString(symbol);

		ours = strcmp(name, "mq_sql_fetch") == 0 ||
			(strcmp(name, "mq_sql_fetch_text") == 0 && GetDatabaseEncoding() == PG_UTF8);
		if (ours)
			ours = strstr(TextDatumGetCString(library), "mq_ext") != NULL;
	}
	ReleaseSysCache(tuple);
	return ours && !FmgrHookIsNeeded(function);
}

/* Somebody may have added to the type, or have made a function of the same C symbol. */
static bool
has_our_shape(const FuncExpr *call)
{
	TupleDesc	desc;
	bool		ours;

	if (list_length(call->args) != MQ_FETCH_PLAN_ARGS ||
		get_typtype(call->funcresulttype) != TYPTYPE_COMPOSITE)
		return false;
	desc = lookup_rowtype_tupdesc(call->funcresulttype, -1);
	ours = desc->natts == MQ_FETCH_PLAN_COLUMNS;
	ReleaseTupleDesc(desc);
	return ours;
}

static bool
needs_whole_row(const RelOptInfo *rel, Index rti)
{
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	pull_varattnos((Node *) rel->reltarget->exprs, rti, &columns);
	foreach(lc, rel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause, rti, &columns);
	return bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, columns);
}

static Plan *
plan_fetch(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
		   List *tlist, List *clauses, List *custom_plans)
{
	CustomScan *plan = makeNode(CustomScan);
	FuncExpr   *call = plain_call(planner_rt_fetch(rel->relid, root));
	List	   *params = NIL;

	clauses = extract_actual_clauses(clauses, false);
	find_params((Node *) call->args, &params);
	plan->scan.plan.targetlist = tlist;
	plan->scan.plan.qual = clauses;
	plan->scan.scanrelid = 0;	/* there is no relation to open */
	plan->flags = path->flags;
	plan->custom_exprs = list_make1(copyObject(call));
	plan->custom_scan_tlist = scan_columns(tlist, rel->reltarget->exprs, clauses);
	plan->custom_private = list_make1(params);
	plan->methods = &scan_methods;
	return &plan->scan.plan;
}

/*
 * The row of the scan: what is needed, in the order of the result, so that it
 * mostly is the result.  The planner may still put another list in place of
 * this one, made of what the relation's target has.
 */
static List *
scan_columns(List *tlist, List *target, List *clauses)
{
	List	   *columns = NIL;
	List	   *sources = list_make3(tlist, target, clauses);
	ListCell   *lc;

	foreach(lc, pull_var_clause((Node *) sources, PVC_RECURSE_PLACEHOLDERS))
	{
		if (tlist_member(lfirst(lc), columns) == NULL)
			columns = lappend(columns, makeTargetEntry(copyObject(lfirst(lc)), list_length(columns) + 1, NULL, false));
	}
	return columns;
}

static bool
find_params(Node *node, List **params)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		*params = list_append_unique_int(*params, ((Param *) node)->paramid);
	return expression_tree_walker(node, find_params, params);
}
