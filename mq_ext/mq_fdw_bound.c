/*
 * mq_fdw_bound.c
 *	  Conditions on a topic's columns as bounds of a scan.
 *
 * Each condition narrows the bounds by exactly what it excludes.  Offsets and
 * partitions are whole numbers, so that is easy; times in the log have
 * milliseconds, timestamptz has microseconds and two infinities, and the log
 * may hold times beyond what timestamptz can say, which are shown as infinite.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "broker/mq_scan.h"
#include "mq_ext/mq_fdw.h"
#include "mq_ext/mq_sql.h"

static bool narrow_partition(MqScanBounds *bounds, int partitions, int strategy, int64 value);
static bool narrow_partitions(MqScanBounds *bounds, int partitions, ArrayType *array);
static bool keep_partitions(MqScanBounds *bounds, Bitmapset *set);
static bool narrow_offset(MqScanBounds *bounds, int strategy, int64 value);
static bool narrow_time(MqScanBounds *bounds, int strategy, TimestampTz value);
static bool narrow_far_time(MqScanBounds *bounds, int strategy, TimestampTz value, int overflow);
static MqTimestamp first_from(TimestampTz value);
static MqTimestamp last_upto(TimestampTz value);
static bool set_tags(MqScanBounds *bounds, ArrayType *array);
static bool can_be_tag(const text *tag);

/* What is compared with null is not true. */
bool
mq_fdw_bound_apply(MqScanBounds *bounds, int partitions, MqFdwBoundKind kind,
				   int strategy, Datum value, bool isnull)
{
	int			overflow;
	TimestampTz time;

	if (isnull)
		return false;
	switch (kind)
	{
		case MQ_FDW_BOUND_PARTITION:
			return narrow_partition(bounds, partitions, strategy, DatumGetInt64(value));
		case MQ_FDW_BOUND_PARTITIONS:
			return narrow_partitions(bounds, partitions, DatumGetArrayTypeP(value));
		case MQ_FDW_BOUND_OFFSET:
			return narrow_offset(bounds, strategy, DatumGetInt64(value));
		case MQ_FDW_BOUND_TS:
			return narrow_time(bounds, strategy, DatumGetTimestampTz(value));
		case MQ_FDW_BOUND_TS_LOCAL:
			time = timestamp2timestamptz_opt_overflow(DatumGetTimestamp(value), &overflow);
			return narrow_far_time(bounds, strategy, time, overflow);
		case MQ_FDW_BOUND_TS_DATE:
			time = date2timestamptz_opt_overflow(DatumGetDateADT(value), &overflow);
			return narrow_far_time(bounds, strategy, time, overflow);
		case MQ_FDW_BOUND_TAGS:
			return set_tags(bounds, DatumGetArrayTypeP(value));
	}
	return false;
}

static bool
narrow_partition(MqScanBounds *bounds, int partitions, int strategy, int64 value)
{
	Bitmapset  *set = NULL;
	int			i;

	for (i = 0; i < partitions; i++)
	{
		if ((strategy == BTLessStrategyNumber && i < value) ||
			(strategy == BTLessEqualStrategyNumber && i <= value) ||
			(strategy == BTEqualStrategyNumber && i == value) ||
			(strategy == BTGreaterEqualStrategyNumber && i >= value) ||
			(strategy == BTGreaterStrategyNumber && i > value))
			set = bms_add_member(set, i);
	}
	return keep_partitions(bounds, set);
}

static bool
narrow_partitions(MqScanBounds *bounds, int partitions, ArrayType *array)
{
	Bitmapset  *set = NULL;
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	int			i;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elems, &nulls, &n);
	for (i = 0; i < n; i++)
	{
		int64		value = nulls[i] ? -1 : DatumGetInt64(elems[i]);

		if (value >= 0 && value < partitions)
			set = bms_add_member(set, (int) value);
	}
	return keep_partitions(bounds, set);
}

static bool
keep_partitions(MqScanBounds *bounds, Bitmapset *set)
{
	if (bounds->partitions != NULL)
		set = bms_int_members(set, bounds->partitions);
	bounds->partitions = set;
	return !bms_is_empty(set);
}

static bool
narrow_offset(MqScanBounds *bounds, int strategy, int64 value)
{
	if (strategy == BTGreaterStrategyNumber && value == PG_INT64_MAX)
		return false;
	if (strategy == BTGreaterStrategyNumber)
		bounds->from = Max(bounds->from, value + 1);
	if (strategy == BTGreaterEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->from = Max(bounds->from, value);
	if (strategy == BTLessStrategyNumber)
		bounds->to = Min(bounds->to, value);
	if ((strategy == BTLessEqualStrategyNumber || strategy == BTEqualStrategyNumber) && value < PG_INT64_MAX)
		bounds->to = Min(bounds->to, value + 1);
	return bounds->from < bounds->to;
}

static bool
narrow_time(MqScanBounds *bounds, int strategy, TimestampTz value)
{
	MqTimestamp first = first_from(value);
	MqTimestamp last = last_upto(value);

	bounds->has_time = true;
	if (strategy == BTGreaterEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->since = Max(bounds->since, first);
	if (strategy == BTLessEqualStrategyNumber || strategy == BTEqualStrategyNumber)
		bounds->upto = Min(bounds->upto, last);
	if (strategy == BTGreaterStrategyNumber)
	{
		if (last == PG_INT64_MAX)
			return false;
		bounds->since = Max(bounds->since, last + 1);
	}
	if (strategy == BTLessStrategyNumber)
	{
		if (first == PG_INT64_MIN)
			return false;
		bounds->upto = Min(bounds->upto, first - 1);
	}
	return bounds->since <= bounds->upto;
}

/*
 * A date may lie beyond what timestamptz can say, and is then given as infinity;
 * but it lies between that and all that is finite, and is equal to nothing.
 */
static bool
narrow_far_time(MqScanBounds *bounds, int strategy, TimestampTz value, int overflow)
{
	bool		less = strategy == BTLessStrategyNumber || strategy == BTLessEqualStrategyNumber;

	if (overflow != 0 && strategy == BTEqualStrategyNumber)
		return false;
	if (overflow > 0)
		strategy = less ? BTLessStrategyNumber : BTGreaterEqualStrategyNumber;
	else if (overflow < 0)
		strategy = less ? BTLessEqualStrategyNumber : BTGreaterStrategyNumber;
	return narrow_time(bounds, strategy, value);
}

/* The first time in the log that is shown as this one or a later one. */
static MqTimestamp
first_from(TimestampTz value)
{
	if (TIMESTAMP_IS_NOBEGIN(value))
		return PG_INT64_MIN;
	if (TIMESTAMP_IS_NOEND(value))
		return mq_sql_timestamp(END_TIMESTAMP, MQ_SQL_ROUND_DOWN, "ts");
	return mq_sql_timestamp(value, MQ_SQL_ROUND_UP, "ts");
}

/* The last one that is shown as this or an earlier one. */
static MqTimestamp
last_upto(TimestampTz value)
{
	if (TIMESTAMP_IS_NOEND(value))
		return PG_INT64_MAX;
	if (TIMESTAMP_IS_NOBEGIN(value))
		return mq_sql_timestamp(MIN_TIMESTAMP, MQ_SQL_ROUND_DOWN, "ts") - 1;
	return mq_sql_timestamp(value, MQ_SQL_ROUND_DOWN, "ts");
}

/* The planner pushes one condition on tags only. */
static bool
set_tags(MqScanBounds *bounds, ArrayType *array)
{
	const char **tags;
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	int			i;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	tags = palloc(sizeof(char *) * (n + 1));
	bounds->has_tags = true;
	bounds->tags.tags = tags;
	bounds->tags.lens = palloc(sizeof(int) * (n + 1));
	bounds->tags.n = 0;
	for (i = 0; i < n; i++)
	{
		text	   *tag = nulls[i] ? NULL : DatumGetTextPP(elems[i]);
		int			at = bounds->tags.n;

		if (tag == NULL || !can_be_tag(tag))
			continue;
		tags[at] = (const char *) mq_sql_utf8(tag, &bounds->tags.lens[at]);
		bounds->tags.n++;
	}
	return bounds->tags.n > 0;
}

/* No message has a tag that is not UTF-8. */
static bool
can_be_tag(const text *tag)
{
	int			len = VARSIZE_ANY_EXHDR(tag);

	return GetDatabaseEncoding() != PG_SQL_ASCII ||
		mq_sql_utf8_valid((const uint8 *) VARDATA_ANY(tag), len) == len;
}
