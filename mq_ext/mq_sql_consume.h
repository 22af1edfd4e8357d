/*
 * mq_sql_consume.h
 *	  The arguments of mq.fetch() and its twins.
 */
#ifndef MQ_SQL_CONSUME_H
#define MQ_SQL_CONSUME_H

#include "fmgr.h"

#include "broker/mq_fetch.h"

/*
 * What a call asks for; the topic is open, with its lock and privilege.  Lives
 * in the current memory context.  Raises what the functions raise.
 */
extern void mq_sql_fetch_request(FunctionCallInfo fcinfo, MqFetchRequest *request);

#endif							/* MQ_SQL_CONSUME_H */
