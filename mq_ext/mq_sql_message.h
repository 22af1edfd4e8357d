/*
 * mq_sql_message.h
 *	  Rows of messages, made from records.
 */
#ifndef MQ_SQL_MESSAGE_H
#define MQ_SQL_MESSAGE_H

#include "fmgr.h"

#include "storage/mq_batch.h"

/* What becomes of key and value. */
typedef enum MqSqlForm
{
	MQ_SQL_FORM_BYTES,			/* mq.message */
	MQ_SQL_FORM_TEXT,			/* mq.message_text; bytes that are no text are an error */
	MQ_SQL_FORM_JSON,			/* mq.message_json; a value that is no JSON is an error */
	MQ_SQL_FORM_ESCAPED			/* mq.message_text; bytes that are no text are escaped */
} MqSqlForm;

typedef struct MqSqlMessages MqSqlMessages;

/* Starts the result of a set-returning function; lives in the current memory context. */
extern MqSqlMessages *mq_sql_message_begin(FunctionCallInfo fcinfo, const char *topic, MqSqlForm form);

/* An MqFetchSink: adds a row.  Raises 22021, 22P02. */
extern bool mq_sql_message_put(void *arg, int32 partition, const MqRecord *record);

#endif							/* MQ_SQL_MESSAGE_H */
