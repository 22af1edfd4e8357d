/*
 * mq_ddl_truncate.h
 *	  TRUNCATE of topics.
 */
#ifndef MQ_DDL_TRUNCATE_H
#define MQ_DDL_TRUNCATE_H

#include "mq_ext/mq_ddl_run.h"

/* called by the wrapper, with what TRUNCATE has locked: raises if they cannot be emptied, deletes nothing yet */
extern void mq_ddl_truncate_note(List *rels);

/* called when the command is done; WARNING where a ROLLBACK might be hoped for */
extern void mq_ddl_truncate_finish(const MqDdlRun *run);

#endif							/* MQ_DDL_TRUNCATE_H */
