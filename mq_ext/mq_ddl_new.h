/*
 * mq_ddl_new.h
 *	  CREATE FOREIGN TABLE on our servers makes a topic.
 */
#ifndef MQ_DDL_NEW_H
#define MQ_DDL_NEW_H

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* called by the ProcessUtility hook: does the command make a topic? */
extern bool mq_ddl_new_is(Node *statement);

/*
 * Before the command is run: a copy of it that says everything, to be run
 * instead; *claimed if the topic's name is now claimed.  After it: makes the
 * topic of the relation that the command has made (InvalidOid = none).  Raise
 * what a user is to be told.
 */
extern PlannedStmt *mq_ddl_new_prepare(PlannedStmt *pstmt, bool *claimed);
extern void mq_ddl_new_finish(CreateForeignTableStmt *statement, Oid made, bool claimed);

/*
 * called before a name is claimed.  The server refuses those who may not make
 * the topic; they need not learn which there are, nor wait for who makes it.
 */
extern bool mq_ddl_new_is_allowed(Oid schema, const char *server);

#endif							/* MQ_DDL_NEW_H */
