/*
 * mq_ddl.h
 *	  DDL on topics: our own through the server's, everybody's under watch.
 */
#ifndef MQ_DDL_H
#define MQ_DDL_H

#include "nodes/pg_list.h"

/* called by _PG_init: installs the hooks */
extern void mq_ddl_init(void);

/*
 * called by the SQL functions: run the server's own commands, so that
 * privileges, dependencies, event triggers and logs are the server's.  Options
 * are DefElems of strings; alter obeys their defaction.  Raise what those
 * commands raise.
 */
extern Oid	mq_ddl_create(const char *relname, List *options);
extern void mq_ddl_alter(Oid relid, List *options);
extern void mq_ddl_drop(Oid relid);

/* called by the FDW's validator: may options of a foreign table be written now? */
extern bool mq_ddl_is_running(void);

/*
 * called by the install script: raises 55000 unless the extension's schema is
 * the installing role's and holds nothing but the function that asks.
 */
extern void mq_ddl_check_schema(Oid asking);

#endif							/* MQ_DDL_H */
