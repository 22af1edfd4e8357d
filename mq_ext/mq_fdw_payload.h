/*
 * mq_fdw_payload.h
 *	  Columns that are members of a JSON value.
 */
#ifndef MQ_FDW_PAYLOAD_H
#define MQ_FDW_PAYLOAD_H

#include "mq_ext/mq_fdw_columns.h"
#include "mq_ext/mq_sql_message.h"

typedef struct MqFdwPayload MqFdwPayload;

/* Prepares for the payload columns among the attribute numbers; NULL when there are none. */
extern MqFdwPayload *mq_fdw_payload_reader(const MqFdwColumns *columns, List *attnums);
extern MqFdwPayload *mq_fdw_payload_writer(const MqFdwColumns *columns);

/*
 * Sets their values and nulls from a message's value (NULL = none).  Raises
 * 22021, 22P02, and the code that a column's type raises for what is no value
 * of it.  Values live in the current memory context.
 */
extern void mq_fdw_payload_read(MqFdwPayload *payload, const MqSqlPlace *place,
								const uint8 *value, int32 len, Datum *values, bool *nulls);

/* The JSON object of those that are not null, in UTF-8; NULL when all are. */
extern const uint8 *mq_fdw_payload_write(MqFdwPayload *payload, const Datum *values,
										 const bool *nulls, int32 *len);

#endif							/* MQ_FDW_PAYLOAD_H */
