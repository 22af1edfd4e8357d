/*
 * mq_fdw_plan.c
 *	  SELECT from a topic, planned: which conditions the log can answer.
 *
 * The log finds offsets and times by itself, and tags without decoding a
 * message.  A condition that compares one of these columns with something
 * that stays the same during a scan is taken over exactly, so it is not
 * filtered once more; everything else the executor filters as ever.
 *
 * What stands on the other side is evaluated when the scan starts.  It may be
 * a column of another table: then the topic is the inner side of a nested
 * loop, and is started again for each outer row.
 *
 * Records come by partition and offset, and the paths say so: who asks for a
 * page of messages in that order gets it without a sort.
 *
 * Locking: none of its own; the topic's relation is locked by the parser.
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parse_coerce.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/typcache.h"

#include "base/mq_compat.h"
#include "broker/mq_scan.h"
#include "mq_ext/mq_fdw.h"
#include "mq_ext/mq_fdw_columns.h"

/* What is known of a topic's table while a query is planned. */
typedef struct FdwPlan
{
	MqFdwColumns *columns;
	MqTopic		topic;
	double		total;			/* records in all */
	double		read;			/* records that the bounds leave */
	double		record_bytes;
} FdwPlan;

/* A condition that can be pushed. */
typedef struct FdwBound
{
	MqFdwBoundKind kind;
	int			strategy;
	Expr	   *value;
} FdwBound;

static bool match_clause(PlannerInfo *root, RelOptInfo *rel, Expr *clause, FdwBound *bound);
static bool match_comparison(PlannerInfo *root, RelOptInfo *rel, OpExpr *op, FdwBound *bound);
static bool match_any(PlannerInfo *root, RelOptInfo *rel, ScalarArrayOpExpr *op, FdwBound *bound);
static MqFdwColumnKind column_of(RelOptInfo *rel, Node *node);
static Oid datetime_opfamily(void);
static bool set_time(PlannerInfo *root, RelOptInfo *rel, Node *value, Oid opno, FdwBound *bound);
static bool set_value(PlannerInfo *root, RelOptInfo *rel, Node *value, Oid type, FdwBound *bound);
static double estimate_read(PlannerInfo *root, RelOptInfo *rel, List *bounds);
static double unknown_fraction(const FdwPlan *plan, const FdwBound *bound);
static List *matching_bounds(PlannerInfo *root, RelOptInfo *rel, List *rinfos, List **others);
static double record_bytes(RelOptInfo *rel, Oid relid);
static void add_path_for(PlannerInfo *root, RelOptInfo *rel, Relids outer);
static bool has_safe_columns(const MqFdwColumns *columns);
static List *order_of_log(PlannerInfo *root, RelOptInfo *rel);
static List *append_order(PlannerInfo *root, RelOptInfo *rel, List *keys, MqFdwColumnKind kind, Oid less, bool *ordered);
static List *join_outers(PlannerInfo *root, RelOptInfo *rel);
static bool is_inner_column(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec, EquivalenceMember *em, void *arg);
static List *needed_columns(RelOptInfo *rel, List *filters);
static List *narrow_row(RelOptInfo *rel, List *tlist, List *filters, List *pushed, List *columns, List **places);
static int	place_in(List *row, int attno);

void
mq_fdw_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	FdwPlan    *plan = palloc0(sizeof(FdwPlan));
	Relation	table = table_open(relid, NoLock);
	List	   *filters;
	List	   *bounds;

	rel->fdw_private = plan;
	plan->columns = mq_fdw_columns_load(relid, RelationGetDescr(table));
	table_close(table, NoLock);
	plan->topic = *mq_topic_open_relation(relid, NoLock);

	bounds = matching_bounds(root, rel, rel->baserestrictinfo, &filters);
	plan->read = estimate_read(root, rel, bounds);
	plan->record_bytes = record_bytes(rel, relid);
	rel->tuples = plan->total;
	rel->pages = (BlockNumber) Min(ceil(plan->total * plan->record_bytes / BLCKSZ), MaxBlockNumber - 1);
	rel->rows = clamp_row_est(plan->read *
							  clauselist_selectivity(root, filters, 0, JOIN_INNER, NULL));
}

bool
mq_fdw_all_bounds(PlannerInfo *root, RelOptInfo *rel, List **clauses, List **values,
				  List **kinds, List **strategies)
{
	ListCell   *lc;

	*clauses = *values = *kinds = *strategies = NIL;
	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		FdwBound	bound;

		if (rinfo->pseudoconstant || !match_clause(root, rel, rinfo->clause, &bound) ||
			(bound.kind == MQ_FDW_BOUND_TAGS && list_member_int(*kinds, MQ_FDW_BOUND_TAGS)))
			return false;
		*clauses = lappend(*clauses, rinfo->clause);
		*values = lappend(*values, eval_const_expressions(root, (Node *) bound.value));
		*kinds = lappend_int(*kinds, bound.kind);
		*strategies = lappend_int(*strategies, bound.strategy);
	}
	return true;
}

/* Of what the bounds leave, without a row made of it. */
double
mq_fdw_read_cost(const RelOptInfo *rel)
{
	const FdwPlan *plan = rel->fdw_private;

	return ceil(plan->read * plan->record_bytes / BLCKSZ) * seq_page_cost;
}

/* The bounds among the conditions as FdwBounds, and the conditions that are none. */
static List *
matching_bounds(PlannerInfo *root, RelOptInfo *rel, List *rinfos, List **others)
{
	List	   *bounds = NIL;
	ListCell   *lc;

	*others = NIL;
	foreach(lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		FdwBound	bound;

		if (match_clause(root, rel, rinfo->clause, &bound))
			bounds = lappend(bounds, memcpy(palloc(sizeof(bound)), &bound, sizeof(bound)));
		else
			*others = lappend(*others, rinfo);
	}
	return bounds;
}

static bool
match_clause(PlannerInfo *root, RelOptInfo *rel, Expr *clause, FdwBound *bound)
{
	if (IsA(clause, OpExpr))
		return match_comparison(root, rel, (OpExpr *) clause, bound);
	if (IsA(clause, ScalarArrayOpExpr))
		return match_any(root, rel, (ScalarArrayOpExpr *) clause, bound);
	return false;
}

static bool
match_comparison(PlannerInfo *root, RelOptInfo *rel, OpExpr *op, FdwBound *bound)
{
	Node	   *left;
	Node	   *right;
	Oid			opno = op->opno;
	MqFdwColumnKind kind;

	if (list_length(op->args) != 2)
		return false;
	left = linitial(op->args);
	right = lsecond(op->args);
	kind = column_of(rel, left);
	if (kind == MQ_FDW_COLUMN_DROPPED)
	{
		Node	   *swap = left;

		left = right;
		right = swap;
		opno = get_commutator(opno);
		kind = column_of(rel, left);
	}
	if (!OidIsValid(opno))
		return false;

	switch (kind)
	{
		case MQ_FDW_COLUMN_PARTITION:
		case MQ_FDW_COLUMN_MSG_OFFSET:
			bound->kind = kind == MQ_FDW_COLUMN_PARTITION ? MQ_FDW_BOUND_PARTITION : MQ_FDW_BOUND_OFFSET;
			bound->strategy = get_op_opfamily_strategy(opno, INTEGER_BTREE_FAM_OID);
			return bound->strategy != 0 && set_value(root, rel, right, INT8OID, bound);
		case MQ_FDW_COLUMN_TS:
			bound->strategy = get_op_opfamily_strategy(opno, datetime_opfamily());
			return bound->strategy != 0 && set_time(root, rel, right, opno, bound);
		case MQ_FDW_COLUMN_TAGS:
			/* bytes are compared, which is what equality means but for some collations */
			bound->kind = MQ_FDW_BOUND_TAGS;
			bound->strategy = InvalidStrategy;
			return opno == OID_ARRAY_OVERLAP_OP &&
				OidIsValid(op->inputcollid) && get_collation_isdeterministic(op->inputcollid) &&
				set_value(root, rel, right, TEXTARRAYOID, bound);
		default:
			return false;
	}
}

static bool
match_any(PlannerInfo *root, RelOptInfo *rel, ScalarArrayOpExpr *op, FdwBound *bound)
{
	bound->kind = MQ_FDW_BOUND_PARTITIONS;
	bound->strategy = BTEqualStrategyNumber;
	return op->useOr && column_of(rel, linitial(op->args)) == MQ_FDW_COLUMN_PARTITION &&
		get_op_opfamily_strategy(op->opno, INTEGER_BTREE_FAM_OID) == BTEqualStrategyNumber &&
		set_value(root, rel, lsecond(op->args), INT8ARRAYOID, bound);
}

/* MQ_FDW_COLUMN_DROPPED for all that is not a plain column of this relation. */
static MqFdwColumnKind
column_of(RelOptInfo *rel, Node *node)
{
	const FdwPlan *plan = rel->fdw_private;
	Var		   *var = (Var *) node;

	if (!IsA(node, Var) || var->varno != rel->relid || var->varlevelsup != 0 || var->varattno <= 0)
		return MQ_FDW_COLUMN_DROPPED;
	return plan->columns->columns[var->varattno - 1].kind;
}

/* It holds the comparisons with date and timestamp too, and has no name in the headers. */
static Oid
datetime_opfamily(void)
{
	return lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
}

/* In the type that it is compared as, which may hold more than timestamptz. */
static bool
set_time(PlannerInfo *root, RelOptInfo *rel, Node *value, Oid opno, FdwBound *bound)
{
	Oid			left;
	Oid			right;

	op_input_types(opno, &left, &right);
	bound->kind = right == DATEOID ? MQ_FDW_BOUND_TS_DATE :
		right == TIMESTAMPOID ? MQ_FDW_BOUND_TS_LOCAL : MQ_FDW_BOUND_TS;
	return set_value(root, rel, value, right, bound);
}

/* The other side, if it stays the same during a scan; in the type that the executor expects. */
static bool
set_value(PlannerInfo *root, RelOptInfo *rel, Node *value, Oid type, FdwBound *bound)
{
	if (bms_is_member(rel->relid, pull_varnos(root, value)) ||
		contain_volatile_functions(value) || contain_subplans(value))
		return false;
	value = coerce_to_target_type(NULL, value, exprType(value), type, -1,
								  COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	bound->value = (Expr *) value;
	return value != NULL;
}

/*
 * How many records are read.  What is known now narrows what the log itself
 * says there is; what will be known later is guessed as the server would.
 */
static double
estimate_read(PlannerInfo *root, RelOptInfo *rel, List *bounds)
{
	FdwPlan    *plan = rel->fdw_private;
	MqScanBounds known;
	double		fraction = 1;
	ListCell   *lc;

	mq_scan_no_bounds(&known);
	foreach(lc, bounds)
	{
		FdwBound   *bound = lfirst(lc);
		Node	   *value = estimate_expression_value(root, (Node *) bound->value);

		if (bound->kind == MQ_FDW_BOUND_TAGS || !IsA(value, Const))
			fraction *= unknown_fraction(plan, bound);
		else if (!mq_fdw_bound_apply(&known, plan->topic.partitions, bound->kind, bound->strategy,
									 ((Const *) value)->constvalue, ((Const *) value)->constisnull))
			known.to = 0;
	}
	return mq_scan_estimate(&plan->topic, &known, &plan->total) * fraction;
}

static double
unknown_fraction(const FdwPlan *plan, const FdwBound *bound)
{
	switch (bound->kind)
	{
		case MQ_FDW_BOUND_PARTITION:
			if (bound->strategy == BTEqualStrategyNumber)
				return 1.0 / plan->topic.partitions;
			return DEFAULT_INEQ_SEL;
		case MQ_FDW_BOUND_PARTITIONS:
			return Min(1.0, 2.0 / plan->topic.partitions);
		case MQ_FDW_BOUND_OFFSET:
			if (bound->strategy == BTEqualStrategyNumber)
				return Min(1.0, plan->topic.partitions / Max(plan->total, 1.0));
			return DEFAULT_INEQ_SEL;
		case MQ_FDW_BOUND_TS:
		case MQ_FDW_BOUND_TS_LOCAL:
		case MQ_FDW_BOUND_TS_DATE:
			return bound->strategy == BTEqualStrategyNumber ? DEFAULT_EQ_SEL : DEFAULT_INEQ_SEL;
		case MQ_FDW_BOUND_TAGS:
			return DEFAULT_INEQ_SEL;
	}
	return 1;
}

/* What ANALYZE has found, else what the types of the columns suggest. */
static double
record_bytes(RelOptInfo *rel, Oid relid)
{
	if (rel->tuples > 0 && rel->pages > 0)
		return (double) rel->pages * BLCKSZ / rel->tuples;
	return Max(get_relation_data_width(relid, NULL), 16);
}

void
mq_fdw_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	ListCell   *lc;

	add_path_for(root, rel, rel->lateral_relids);
	foreach(lc, join_outers(root, rel))
		add_path_for(root, rel, bms_union(lfirst(lc), rel->lateral_relids));
}

/*
 * A path, and what it costs: bytes from files, then records.  And one for several
 * processes, each of which gives a share of the rows, as of a table.
 */
static void
add_path_for(PlannerInfo *root, RelOptInfo *rel, Relids outer)
{
	FdwPlan    *plan = rel->fdw_private;
	ParamPathInfo *param = get_baserel_parampathinfo(root, rel, outer);
	double		read = plan->read;
	double		rows = rel->rows;
	List	   *others;
	QualCost	filter;
	Cost		startup;
	Cost		io;
	Cost		cpu;
	ForeignPath *path;
	int			workers;
	double		share;

	if (param != NULL)
	{
		ListCell   *lc;

		foreach(lc, matching_bounds(root, rel, param->ppi_clauses, &others))
			read *= unknown_fraction(plan, lfirst(lc));
		rows = Min(param->ppi_rows, clamp_row_est(read));
		param->ppi_rows = rows;
	}
	(void) matching_bounds(root, rel, rel->baserestrictinfo, &others);
	cost_qual_eval(&filter, others, root);
	startup = cpu_operator_cost * 100 + filter.startup;
	io = ceil(read * plan->record_bytes / BLCKSZ) * seq_page_cost;
	cpu = read * (cpu_tuple_cost + filter.per_tuple) + rel->reltarget->cost.per_tuple * rows;
	path = create_foreignscan_path(root, rel, NULL, rows, startup, startup + io + cpu,
								   order_of_log(root, rel), outer, NULL, NIL);
	/* in each of several processes it would have another end */
	path->path.parallel_safe = false;
	add_path(rel, (Path *) path);

	workers = outer != NULL || !rel->consider_parallel ? 0 :
		compute_parallel_worker(rel, read * plan->record_bytes / BLCKSZ, -1, max_parallel_workers_per_gather);
	if (workers <= 0 || !has_safe_columns(plan->columns))
		return;
	share = workers + (parallel_leader_participation ? Max(0, 1 - 0.3 * workers) : 0);
	path = create_foreignscan_path(root, rel, NULL, clamp_row_est(rows / share),
								   startup, startup + io + cpu / share, NIL, NULL, NULL, NIL);
	path->path.parallel_aware = true;
	path->path.parallel_workers = workers;
	add_partial_path(rel, (Path *) path);
}

/*
 * A payload column calls its type's input function, which nobody has asked
 * whether it may run in a worker: that of a domain checks its constraints.
 */
static bool
has_safe_columns(const MqFdwColumns *columns)
{
	int			i;

	for (i = 0; i < columns->n; i++)
	{
		Oid			type = columns->columns[i].type;
		Oid			element;
		Oid			function;
		Oid			param;

		if (columns->columns[i].kind != MQ_FDW_COLUMN_PAYLOAD)
			continue;
		while (OidIsValid(element = get_element_type(type)))
			type = element;
		if (get_typtype(type) != TYPTYPE_BASE && get_typtype(type) != TYPTYPE_ENUM)
			return false;
		getTypeInputInfo(type, &function, &param);
		if (func_parallel(function) != PROPARALLEL_SAFE)
			return false;
	}
	return true;
}

/* By partition, then by offset; a column that is held to one value is no part of an order. */
static List *
order_of_log(PlannerInfo *root, RelOptInfo *rel)
{
	const FdwPlan *plan = rel->fdw_private;
	List	   *keys = NIL;
	bool		ordered = true;

	if (plan->topic.partitions > 1)
		keys = append_order(root, rel, keys, MQ_FDW_COLUMN_PARTITION, Int4LessOperator, &ordered);
	if (ordered)
		keys = append_order(root, rel, keys, MQ_FDW_COLUMN_MSG_OFFSET, Int8LessOperator, &ordered);
	return keys;
}

/* *ordered becomes false when nobody asks for an order by that column. */
static List *
append_order(PlannerInfo *root, RelOptInfo *rel, List *keys, MqFdwColumnKind kind, Oid less, bool *ordered)
{
	const FdwPlan *plan = rel->fdw_private;
	const MqFdwColumn *column = plan->columns->columns;
	List	   *key;
	Var		   *var;
	int			i;

	for (i = 0; i < plan->columns->n && column[i].kind != kind; i++)
		;
	*ordered = false;
	if (i == plan->columns->n)
		return keys;
	var = makeVar(rel->relid, i + 1, column[i].type, column[i].typmod, InvalidOid, 0);
	key = mq_build_expression_pathkey(root, (Expr *) var, less, rel->relids);
	if (key == NIL)
		return keys;
	*ordered = true;
	if (((PathKey *) linitial(key))->pk_eclass->ec_has_const)
		return keys;
	return list_concat(keys, key);
}

/* The sets of other relations whose columns would bound a scan. */
static List *
join_outers(PlannerInfo *root, RelOptInfo *rel)
{
	const FdwPlan *plan = rel->fdw_private;
	List	   *rinfos = NIL;
	List	   *outers = NIL;
	ListCell   *lc;
	int			i;

	foreach(lc, rel->joininfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(rinfo, rel))
			rinfos = lappend(rinfos, rinfo);
	}
	for (i = 0; rel->has_eclass_joins && i < plan->columns->n; i++)
		rinfos = list_concat(rinfos,
							 generate_implied_equalities_for_column(root, rel, is_inner_column,
																	&plan->columns->columns[i],
																	rel->lateral_referencers));
	foreach(lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Relids		outer = bms_del_member(bms_copy(rinfo->clause_relids), rel->relid);
		FdwBound	bound;
		ListCell   *seen;

		if (!match_clause(root, rel, rinfo->clause, &bound))
			continue;
		foreach(seen, outers)
		{
			if (bms_equal(lfirst(seen), outer))
				break;
		}
		if (seen == NULL)
			outers = lappend(outers, outer);
	}
	return outers;
}

static bool
is_inner_column(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec, EquivalenceMember *em, void *arg)
{
	const FdwPlan *plan = rel->fdw_private;
	Var		   *var = (Var *) em->em_expr;

	return column_of(rel, (Node *) var) != MQ_FDW_COLUMN_DROPPED &&
		&plan->columns->columns[var->varattno - 1] == arg;
}

ForeignScan *
mq_fdw_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path,
				List *tlist, List *clauses, Plan *outer_plan)
{
	const FdwPlan *plan = rel->fdw_private;
	List	   *filters = NIL;
	List	   *pushed = NIL;
	List	   *values = NIL;
	List	   *kinds = NIL;
	List	   *private;
	List	   *strategies = NIL;
	List	   *columns;
	List	   *places;
	List	   *row;
	ListCell   *lc;

	/* all that this plan needs was found out when its path was made */
	if (rel->reloptkind == RELOPT_UPPER_REL)
		return make_foreignscan(tlist, NIL, 0, linitial(path->fdw_private), lsecond(path->fdw_private),
								lthird(path->fdw_private), NIL, outer_plan);
	foreach(lc, extract_actual_clauses(clauses, false))
	{
		Expr	   *clause = lfirst(lc);
		FdwBound	bound;

		if (!match_clause(root, rel, clause, &bound) ||
			(bound.kind == MQ_FDW_BOUND_TAGS && list_member_int(kinds, MQ_FDW_BOUND_TAGS)))
		{
			filters = lappend(filters, clause);
			continue;
		}
		pushed = lappend(pushed, clause);
		values = lappend(values, eval_const_expressions(root, (Node *) bound.value));
		kinds = lappend_int(kinds, bound.kind);
		strategies = lappend_int(strategies, bound.strategy);
	}
	columns = needed_columns(rel, filters);
	row = narrow_row(rel, tlist, filters, pushed, columns, &places);
	private = list_make5(kinds, strategies, columns, places, NIL);
	private = lappend(private, list_make1_int((int) Min(plan->read, INT_MAX)));
	return make_foreignscan(tlist, filters, rel->relid, values, private, row, pushed, outer_plan);
}

/*
 * What the scan's rows are like, so that they are what the plan above wants
 * and nobody has to make others of them: the columns of the target list, in its
 * order, then those that only conditions look at.  NIL, and places in the
 * table's own row, where that cannot be had.
 */
static List *
narrow_row(RelOptInfo *rel, List *tlist, List *filters, List *pushed, List *columns, List **places)
{
	const FdwPlan *plan = rel->fdw_private;
	List	   *row = NIL;
	ListCell   *lc;

	*places = columns;
	foreach(lc, tlist)
	{
		const Var  *var = (const Var *) lfirst_node(TargetEntry, lc)->expr;

		if (!IsA(var, Var) || var->varno != rel->relid || var->varattno <= 0 ||
			plan->columns->columns[var->varattno - 1].kind == MQ_FDW_COLUMN_PAYLOAD)
			return NIL;
		row = add_to_flat_tlist(row, list_make1((Var *) var));
	}
	if (row == NIL)
		return NIL;
	foreach(lc, list_concat(pull_var_clause((Node *) filters, PVC_RECURSE_PLACEHOLDERS),
							pull_var_clause((Node *) pushed, PVC_RECURSE_PLACEHOLDERS)))
	{
		const Var  *var = lfirst_node(Var, lc);

		if (var->varno != rel->relid)
			continue;
		if (var->varattno <= 0 || plan->columns->columns[var->varattno - 1].kind == MQ_FDW_COLUMN_PAYLOAD)
			return NIL;
		row = add_to_flat_tlist(row, list_make1((Var *) var));
	}

	*places = NIL;
	foreach(lc, columns)
		*places = lappend_int(*places, place_in(row, lfirst_int(lc)));
	return row;
}

static int
place_in(List *row, int attno)
{
	ListCell   *lc;

	foreach(lc, row)
		if (((Var *) lfirst_node(TargetEntry, lc)->expr)->varattno == attno)
			return foreach_current_index(lc) + 1;
	elog(ERROR, "column %d is not in the row of a topic's scan", attno);
	return 0;
}

/* Attribute numbers that the plan above or the filters look at, or all for a whole row. */
static List *
needed_columns(RelOptInfo *rel, List *filters)
{
	const FdwPlan *plan = rel->fdw_private;
	Bitmapset  *used = NULL;
	List	   *needed = NIL;
	bool		whole;
	int			i;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &used);
	pull_varattnos((Node *) filters, rel->relid, &used);
	whole = bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, used);
	for (i = 1; i <= plan->columns->n; i++)
	{
		if (plan->columns->columns[i - 1].kind != MQ_FDW_COLUMN_DROPPED &&
			(whole || bms_is_member(i - FirstLowInvalidHeapAttributeNumber, used)))
			needed = lappend_int(needed, i);
	}
	return needed;
}
