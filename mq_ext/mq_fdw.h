/*
 * mq_fdw.h
 *	  The parts of the foreign-data wrapper, for each other.
 */
#ifndef MQ_FDW_H
#define MQ_FDW_H

#include "access/parallel.h"
#include "foreign/fdwapi.h"

/* What a pushed condition is about; what stands on its other side has the type named. */
typedef enum MqFdwBoundKind
{
	MQ_FDW_BOUND_PARTITION,		/* bigint */
	MQ_FDW_BOUND_PARTITIONS,	/* bigint[], any of */
	MQ_FDW_BOUND_OFFSET,		/* bigint */
	MQ_FDW_BOUND_TS,			/* timestamptz */
	MQ_FDW_BOUND_TS_LOCAL,		/* timestamp */
	MQ_FDW_BOUND_TS_DATE,		/* date */
	MQ_FDW_BOUND_TAGS			/* text[], any of */
} MqFdwBoundKind;

/* fdw_private of a scan's plan: lists of integers, the first two of which run along fdw_exprs. */
enum
{
	MQ_FDW_PLAN_KINDS,			/* MqFdwBoundKind */
	MQ_FDW_PLAN_STRATEGIES,		/* btree strategy numbers: column <strategy> expression */
	MQ_FDW_PLAN_COLUMNS,		/* attribute numbers that are needed, ascending */
	MQ_FDW_PLAN_PLACES,			/* runs along: where in the scan's row, counted from 1 */
	MQ_FDW_PLAN_COUNTED,		/* list of the relation's OID, where count(*) is all that is wanted; else NIL */
	MQ_FDW_PLAN_READ,			/* else: a list of how many records the scan is thought to read */
	MQ_FDW_PLAN_SHOWN			/* with the OID: the conditions for EXPLAIN, a String */
};

/* One evaluated condition narrows the bounds; false when it leaves nothing. */
struct MqScanBounds;
extern bool mq_fdw_bound_apply(struct MqScanBounds *bounds, int partitions,
							   MqFdwBoundKind kind, int strategy, Datum value, bool isnull);

/* called by the planner */
extern void mq_fdw_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern void mq_fdw_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid);
extern ForeignScan *mq_fdw_get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path,
									List *tlist, List *clauses, Plan *outer_plan);
extern void mq_fdw_get_upper_paths(PlannerInfo *root, UpperRelationKind stage,
								   RelOptInfo *input, RelOptInfo *output, void *extra);

/* The conditions of a topic's table if all of them can be pushed; false if one cannot. */
extern bool mq_fdw_all_bounds(PlannerInfo *root, RelOptInfo *rel, List **clauses, List **values,
							  List **kinds, List **strategies);
extern double mq_fdw_read_cost(const RelOptInfo *rel);

/* called by the executor, to read */
extern void mq_fdw_begin_scan(ForeignScanState *node, int eflags);
extern TupleTableSlot *mq_fdw_iterate_scan(ForeignScanState *node);
extern bool mq_fdw_recheck_scan(ForeignScanState *node, TupleTableSlot *slot);
extern Size mq_fdw_estimate_dsm(ForeignScanState *node, ParallelContext *context);
extern void mq_fdw_initialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory);
extern void mq_fdw_reinitialize_dsm(ForeignScanState *node, ParallelContext *context, void *memory);
extern void mq_fdw_shutdown_scan(ForeignScanState *node);
extern void mq_fdw_initialize_worker(ForeignScanState *node, shm_toc *toc, void *memory);
extern void mq_fdw_rescan(ForeignScanState *node);
extern void mq_fdw_end_scan(ForeignScanState *node);
extern void mq_fdw_explain_scan(ForeignScanState *node, struct ExplainState *es);

/* called by the executor and by COPY FROM, to write */
extern void mq_fdw_begin_modify(ModifyTableState *mtstate, ResultRelInfo *info,
								List *fdw_private, int subplan, int eflags);
extern void mq_fdw_begin_insert(ModifyTableState *mtstate, ResultRelInfo *info);
extern TupleTableSlot *mq_fdw_insert(EState *estate, ResultRelInfo *info,
									 TupleTableSlot *slot, TupleTableSlot *plan_slot);
extern void mq_fdw_end_insert(EState *estate, ResultRelInfo *info);

#endif							/* MQ_FDW_H */
