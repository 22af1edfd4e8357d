/*
 * mq_ddl.h
 *	  DDL on topics through the server's own commands.
 */
#ifndef MQ_DDL_H
#define MQ_DDL_H

#include "nodes/pg_list.h"

/*
 * called by the SQL functions: run the server's own commands, so that
 * privileges, dependencies, event triggers and logs are the server's.  Options
 * are DefElems of strings; alter obeys their defaction.  Create claims the
 * name and makes the topic, alter checks the change, as for commands written
 * by hand, see mq_ddl_watch.h.  Raise what those commands raise.
 */
extern Oid	mq_ddl_create(const char *relname, List *options);
extern void mq_ddl_alter(Oid relid, List *options);
extern void mq_ddl_drop(Oid relid);

/* called before the name is claimed: false if mq_ddl_create() would raise 42501 for the role */
extern bool mq_ddl_can_create(void);

/* called by mq.retire_partition(): sets option "retired", which nobody else may change */
extern void mq_ddl_retire(Oid relid, const char *retired);

/* called by the watch: is this the change that mq_ddl_retire() is about to make? */
extern bool mq_ddl_is_retiring(Oid relid, const char *retired);

/*
 * called by the install script: raises 55000 unless the extension's schema is
 * the installing role's and holds nothing but the function that asks.
 */
extern void mq_ddl_check_schema(Oid asking);

#endif							/* MQ_DDL_H */
