/*
 * mq_sql_message.h
 *	  Rows of messages, made from records.
 */
#ifndef MQ_SQL_MESSAGE_H
#define MQ_SQL_MESSAGE_H

#include "common/jsonapi.h"
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

/* Where a byte string comes from, for errors; in its stead NULL = it is an argument. */
typedef struct MqSqlPlace
{
	const char *topic;
	const char *column;
	int32		partition;
	MqOffset	offset;
} MqSqlPlace;

/* Raises 22021. */
extern void mq_sql_message_check_utf8(const MqSqlPlace *place, const uint8 *bytes, int32 len);

/* Raises 22021, 22P05.  Result lives in the current memory context. */
extern text *mq_sql_message_text(const MqSqlPlace *place, const uint8 *bytes, int32 len);

/*
 * The bytes as a text that is JSON, parsed with these actions, whose state (if
 * any) begins with a pointer that is set to the lexer.  The actions get no names
 * and no strings.  Raises 22P02 as well; for what type json takes only as jsonb.
 */
extern Datum mq_sql_message_jsonb(const MqSqlPlace *place, const uint8 *bytes, int32 len);
extern text *mq_sql_message_json(const MqSqlPlace *place, const uint8 *bytes, int32 len, JsonSemAction *action);

#endif							/* MQ_SQL_MESSAGE_H */
