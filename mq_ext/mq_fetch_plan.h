/*
 * mq_fetch_plan.h
 *	  mq.fetch() in FROM, as a plan node of its own.
 */
#ifndef MQ_FETCH_PLAN_H
#define MQ_FETCH_PLAN_H

#include "nodes/plannodes.h"

/* called once, when the library is loaded: the planner's hook */
extern void mq_fetch_plan_install(void);

/* what the functions are like, as our script creates them */
#define MQ_FETCH_PLAN_ARGS		8
#define MQ_FETCH_PLAN_COLUMNS	8

/* custom_private of the node's plan */
enum
{
	MQ_FETCH_PLAN_PARAMS		/* integers: the executor's parameters in the call's arguments */
};

/* called by the executor; custom_exprs holds the call */
extern Node *mq_fetch_scan_create(CustomScan *plan);

#endif							/* MQ_FETCH_PLAN_H */
