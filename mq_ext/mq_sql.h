/*
 * mq_sql.h
 *	  Argument and result helpers of the SQL functions.
 *
 * Bytes in the log are UTF-8 and times are milliseconds since 1970; this is
 * where they meet the database's encoding and timestamptz.  Results live in
 * the current memory context, or are the argument itself.
 */
#ifndef MQ_SQL_H
#define MQ_SQL_H

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "base/mq_types.h"

/* arguments; each raises 22004 for a NULL and 22023 for what cannot be */

extern void mq_sql_require_arg(FunctionCallInfo fcinfo, int argno, const char *name);
extern char *mq_sql_arg_name(FunctionCallInfo fcinfo, int argno, const char *name);
extern int32 mq_sql_arg_positive(FunctionCallInfo fcinfo, int argno, const char *name);

/* Raises 25006 in a read-only transaction and on a standby, 25000 in a parallel one. */
extern void mq_sql_require_writable(const char *what);

/* Milliseconds, at most INT_MAX. */
extern int	mq_sql_interval_ms(FunctionCallInfo fcinfo, int argno, const char *name);

/* Rounded down, or up if asked for; finite. */
typedef enum MqSqlRounding
{
	MQ_SQL_ROUND_DOWN,
	MQ_SQL_ROUND_UP
} MqSqlRounding;

extern MqTimestamp mq_sql_timestamp(TimestampTz ts, MqSqlRounding rounding, const char *name);

/* The elements of a one-dimensional array.  Raises 22023 for more dimensions. */
extern void mq_sql_array(ArrayType *array, const char *name, Datum **elems, bool **nulls, int *n);

/* The elements of a text array without NULLs, as C strings in UTF-8. */
extern char **mq_sql_strings(ArrayType *array, const char *name, int *n);

/* encoding */

/* The text's bytes in UTF-8; does not copy if the database's encoding is UTF-8. */
extern const uint8 *mq_sql_utf8(const text *t, int32 *len);
extern const uint8 *mq_sql_utf8_bytes(const char *s, int len, int32 *out_len);

/* How many bytes from the start are good UTF-8 without a zero byte. */
extern int32 mq_sql_utf8_valid(const uint8 *bytes, int32 len);

/* Can the bytes be text in the database's encoding? */
extern bool mq_sql_is_text(const uint8 *bytes, int32 len);

/* Good UTF-8 as text of the database's encoding.  Raises 22P05 for characters it lacks. */
extern text *mq_sql_text(const uint8 *utf8, int32 len);

/* results */

/* Rows of a set-returning function; columns not set are NULL. */
typedef struct MqSqlRows
{
	Tuplestorestate *store;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
} MqSqlRows;

extern void mq_sql_rows_begin(FunctionCallInfo fcinfo, MqSqlRows *rows);
extern void mq_sql_rows_put(MqSqlRows *rows);

static inline void
mq_sql_rows_set(MqSqlRows *rows, int column, Datum value)
{
	rows->values[column] = value;
	rows->nulls[column] = false;
}

static inline void
mq_sql_rows_set_null(MqSqlRows *rows, int column)
{
	rows->nulls[column] = true;
}

/* The column is NULL for MQ_NO_TIMESTAMP, infinite for times beyond timestamptz. */
extern void mq_sql_rows_set_time(MqSqlRows *rows, int column, MqTimestamp ts);
extern void mq_sql_rows_set_text(MqSqlRows *rows, int column, const char *s);

extern TimestampTz mq_sql_timestamptz(MqTimestamp ts);

#endif							/* MQ_SQL_H */
