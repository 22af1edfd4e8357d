/*
 * mq_fdw_count.c
 *	  SELECT count(*) of a topic, planned.
 *
 * A batch says in its header how many records it holds, so that messages can
 * be counted without being looked at.  Where count(*) is all that a query wants
 * of a topic, and the log answers all its conditions, the scan gives one row,
 * the count.  Each batch is still read and its CRC checked, as by any reader.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "mq_ext/mq_fdw.h"

static List *count_target(PlannerInfo *root, RelOptInfo *output);
static bool is_plain_count(const Node *node);
static char *shown_clauses(Index varno, Oid relid, List *clauses);

void
mq_fdw_get_upper_paths(PlannerInfo *root, UpperRelationKind stage,
					   RelOptInfo *input, RelOptInfo *output, void *extra)
{
	const Query *query = root->parse;
	List	   *target;
	List	   *clauses;
	List	   *values;
	List	   *kinds;
	List	   *strategies;
	List	   *private;
	ForeignPath *path;
	Oid			relid;

	if (stage != UPPERREL_GROUP_AGG || output->fdw_private != NULL ||
		input->reloptkind != RELOPT_BASEREL || input->fdw_private == NULL ||
		query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL)
		return;
	target = count_target(root, output);
	if (target == NIL ||
		!mq_fdw_all_bounds(root, input, &clauses, &values, &kinds, &strategies))
		return;

	relid = planner_rt_fetch(input->relid, root)->relid;
	private = lappend(list_make5(kinds, strategies, NIL, NIL, list_make1_oid(relid)), NIL);
	if (clauses != NIL)
		private = lappend(private, makeString(shown_clauses(input->relid, relid, clauses)));
	output->fdw_private = private;	/* once is enough */
	path = create_foreign_upper_path(root, output, root->upper_targets[UPPERREL_GROUP_AGG],
									 1, 0, mq_fdw_read_cost(input) + cpu_tuple_cost, NIL, NULL,
									 list_make3(values, private, target));
	path->path.parallel_safe = false;
	add_path(output, (Path *) path);
}

/* The one aggregate that the scan gives, as its target list; NIL where there is more than that. */
static List *
count_target(PlannerInfo *root, RelOptInfo *output)
{
	List	   *nodes = pull_var_clause((Node *) root->upper_targets[UPPERREL_GROUP_AGG]->exprs,
										PVC_INCLUDE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_INCLUDE_PLACEHOLDERS);
	ListCell   *lc;

	foreach(lc, nodes)
		if (!is_plain_count(lfirst(lc)))
			return NIL;
	return add_to_flat_tlist(NIL, nodes);
}

static bool
is_plain_count(const Node *node)
{
	const Aggref *agg = (const Aggref *) node;

	return IsA(node, Aggref) && agg->aggfnoid == F_COUNT_ && agg->aggstar &&
		agg->aggfilter == NULL && agg->aggdistinct == NIL && agg->aggorder == NIL &&
		agg->agglevelsup == 0 && agg->aggsplit == AGGSPLIT_SIMPLE;
}

static char *
shown_clauses(Index varno, Oid relid, List *clauses)
{
	Node	   *all = (Node *) make_ands_explicit(copyObject(clauses));

	/* the context has one relation */
	ChangeVarNodes(all, varno, 1, 0);
	return deparse_expression(all, deparse_context_for(get_rel_name(relid), relid), false, false);
}
