/*
 * mq_sql.c
 *	  Argument and result helpers of the SQL functions.
 *
 * The functions of this door are not strict, because most of their arguments
 * may be NULL; those that may not are refused here, by name, so that every
 * function says it in the same words.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "mq_ext/mq_sql.h"

/* From 1970 to PostgreSQL's own epoch, 2000. */
#define EPOCH_MS	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

void
mq_sql_require_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

char *
mq_sql_arg_name(FunctionCallInfo fcinfo, int argno, const char *name)
{
	mq_sql_require_arg(fcinfo, argno, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

int32
mq_sql_arg_positive(FunctionCallInfo fcinfo, int argno, const char *name)
{
	int32		value;

	mq_sql_require_arg(fcinfo, argno, name);
	value = PG_GETARG_INT32(argno);
	if (value < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be greater than zero", name),
				 errdetail("Its value is %d.", value)));
	return value;
}

/* A standby's transactions are read-only too, but the way out is another one. */
void
mq_sql_require_writable(const char *what)
{
	if (XactReadOnly && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", what),
				 errdetail("This server is a standby; it receives its messages from the primary."),
				 errhint("To write, connect to the primary.")));
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

int
mq_sql_interval_ms(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval   *interval;
	double		ms;

	mq_sql_require_arg(fcinfo, argno, name);
	interval = PG_GETARG_INTERVAL_P(argno);
	ms = (double) interval->time / 1000.0 +
		((double) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY * 1000.0;
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", name)));
	return ms >= INT_MAX ? INT_MAX : (int) ms;
}

MqTimestamp
mq_sql_timestamp(TimestampTz ts, MqSqlRounding rounding, const char *name)
{
	int64		ms;

	if (TIMESTAMP_NOT_FINITE(ts))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be finite", name)));
	ms = ts / 1000;
	if (rounding == MQ_SQL_ROUND_DOWN && ts % 1000 < 0)
		ms--;
	if (rounding == MQ_SQL_ROUND_UP && ts % 1000 > 0)
		ms++;
	return ms + EPOCH_MS;
}

void
mq_sql_array(ArrayType *array, const char *name, Datum **elems, bool **nulls, int *n)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be a one-dimensional array", name),
				 errdetail("It has %d dimensions.", ARR_NDIM(array))));
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign, elems, nulls, n);
}

char **
mq_sql_strings(ArrayType *array, const char *name, int *n)
{
	Datum	   *elems;
	bool	   *nulls;
	char	  **strings;
	int			i;

	mq_sql_array(array, name, &elems, &nulls, n);
	strings = palloc((*n + 1) * sizeof(char *));
	for (i = 0; i < *n; i++)
	{
		char	   *s;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name)));
		s = TextDatumGetCString(elems[i]);
		strings[i] = pg_server_to_any(s, strlen(s), PG_UTF8);
	}
	return strings;
}

const uint8 *
mq_sql_utf8(const text *t, int32 *len)
{
	return mq_sql_utf8_bytes(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), len);
}

const uint8 *
mq_sql_utf8_bytes(const char *s, int len, int32 *out_len)
{
	char	   *utf8;

	*out_len = len;
	if (likely(GetDatabaseEncoding() == PG_UTF8) || len == 0)
		return (const uint8 *) s;
	utf8 = pg_server_to_any(s, len, PG_UTF8);
	if (utf8 != s)
		*out_len = strlen(utf8);
	return (const uint8 *) utf8;
}

int32
mq_sql_utf8_valid(const uint8 *bytes, int32 len)
{
	return pg_encoding_verifymbstr(PG_UTF8, (const char *) bytes, len);
}

bool
mq_sql_is_text(const uint8 *bytes, int32 len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			conversion;
	unsigned char *converted;
	Size		room = Min((Size) len * MAX_CONVERSION_GROWTH + 1, INT_MAX);
	int			done;

	if (mq_sql_utf8_valid(bytes, len) != len)
		return false;
	if (likely(encoding == PG_UTF8) || encoding == PG_SQL_ASCII || len == 0)
		return true;
	conversion = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(conversion))
		return false;
	converted = MemoryContextAllocHuge(CurrentMemoryContext, room);
	done = pg_do_encoding_conversion_buf(conversion, PG_UTF8, encoding,
										 unconstify(uint8 *, bytes), len, converted, room, true);
	pfree(converted);
	return done == len;
}

text *
mq_sql_text(const uint8 *utf8, int32 len)
{
	char	   *s;

	if (likely(GetDatabaseEncoding() == PG_UTF8))
		return cstring_to_text_with_len((const char *) utf8, len);
	s = pg_any_to_server((const char *) utf8, len, PG_UTF8);
	return cstring_to_text_with_len(s, s == (const char *) utf8 ? len : strlen(s));
}

void
mq_sql_rows_begin(FunctionCallInfo fcinfo, MqSqlRows *rows)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	rows->store = rsinfo->setResult;
	rows->desc = rsinfo->setDesc;
	rows->values = palloc0(rows->desc->natts * sizeof(Datum));
	rows->nulls = palloc(rows->desc->natts * sizeof(bool));
	for (i = 0; i < rows->desc->natts; i++)
		rows->nulls[i] = true;
}

void
mq_sql_rows_put(MqSqlRows *rows)
{
	tuplestore_putvalues(rows->store, rows->desc, rows->values, rows->nulls);
}

void
mq_sql_rows_set_time(MqSqlRows *rows, int column, MqTimestamp ts)
{
	if (ts == MQ_NO_TIMESTAMP)
		mq_sql_rows_set_null(rows, column);
	else
		mq_sql_rows_set(rows, column, TimestampTzGetDatum(mq_sql_timestamptz(ts)));
}

void
mq_sql_rows_set_text(MqSqlRows *rows, int column, const char *s)
{
	mq_sql_rows_set(rows, column, CStringGetTextDatum(s));
}

TimestampTz
mq_sql_timestamptz(MqTimestamp ts)
{
	if (ts < MIN_TIMESTAMP / 1000 + EPOCH_MS)
		return DT_NOBEGIN;
	if (ts >= END_TIMESTAMP / 1000 + EPOCH_MS)
		return DT_NOEND;
	return (ts - EPOCH_MS) * 1000;
}
