/*
 * mq_sql_headers.h
 *	  Headers and tags between SQL and the bytes of a record.
 */
#ifndef MQ_SQL_HEADERS_H
#define MQ_SQL_HEADERS_H

#include "utils/array.h"
#include "utils/jsonb.h"

#include "storage/mq_batch.h"

/*
 * Sets the record's headers from a jsonb value and an array of tags, each of
 * which may be NULL.  Raises 22023, 22004.  The bytes live in the current
 * memory context.
 */
extern void mq_sql_headers_encode(MqRecord *record, Jsonb *headers, ArrayType *tags);

/*
 * The record's headers as jsonb and its tags as text[]; a NULL pointer when
 * there are none.  Results live in the current memory context.
 */
extern void mq_sql_headers_decode(const MqRecord *record, Jsonb **headers, ArrayType **tags);

#endif							/* MQ_SQL_HEADERS_H */
