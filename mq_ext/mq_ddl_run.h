/*
 * mq_ddl_run.h
 *	  The commands that are being run, and what was noted of each.
 */
#ifndef MQ_DDL_RUN_H
#define MQ_DDL_RUN_H

#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "storage/lock.h"

typedef struct MqDdlRun
{
	LocalTransactionId lxid;
	SubTransactionId subid;
	NodeTag		command;
	bool		top_level;		/* sent by the client, not from within another command or a function */
	Oid			made;			/* by CREATE FOREIGN TABLE itself: its relation */
	List	   *truncated;		/* by TRUNCATE itself: OIDs of topics' relations, in the transaction's memory */
} MqDdlRun;

/*
 * called by the ProcessUtility hook, around the command; end needs what begin
 * has returned, and gives what was noted
 */
extern int	mq_ddl_run_begin(Node *command, bool top_level);
extern void mq_ddl_run_end(int depth, MqDdlRun *run);

/*
 * called by those whom the command calls; they ask, and note, for the innermost
 * command.  No command, nothing noted.
 */
extern bool mq_ddl_run_alters(void);	/* is it ALTER TABLE, or the like? */
extern void mq_ddl_run_note_made(Oid relid);
extern bool mq_ddl_run_note_truncated(Oid relid);

#endif							/* MQ_DDL_RUN_H */
