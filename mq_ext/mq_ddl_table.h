/*
 * mq_ddl_table.h
 *	  Which foreign tables are topics, and what those cannot have.
 */
#ifndef MQ_DDL_TABLE_H
#define MQ_DDL_TABLE_H

#include "foreign/foreign.h"

/* A foreign table on a server of ours; it need not be locked, nor be there. */
extern bool mq_ddl_table_is(Oid relid);

/*
 * Servers of ours are told by their handler, not by a name that can be changed.
 * Where the extension is not installed anybody may own a schema of that name.
 */
extern bool mq_ddl_table_is_server(ForeignServer *server);

/* Raise 0A000. */
extern void mq_ddl_table_refuse_attachment(Oid relid, const char *what) pg_attribute_noreturn();
extern void mq_ddl_table_refuse_inheritance(const char *topic) pg_attribute_noreturn();

#endif							/* MQ_DDL_TABLE_H */
