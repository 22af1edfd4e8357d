/*
 * mq_sql_stat.c
 *	  The functions behind the statistics views, and mq.stat_reset().
 *
 * As in mq_sql_inspect.c each function shows what the role that reads the view
 * may see.  The counters come from shared memory alone: no file is looked at
 * and no log is opened for them.
 *
 * Of the workers everybody sees that they are there, as in pg_stat_activity;
 * what they do and how they failed only who may read all statistics.
 *
 * Locking: none on relations but for a reset of one topic, which takes ACCESS
 *			SHARE.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "bgworker/mq_worker.h"
#include "broker/mq_topic_retired.h"
#include "mq_ext/mq_ext.h"
#include "mq_ext/mq_sql.h"
#include "storage/mq_stat.h"

/* Columns of mq_internal.list_stat_partitions() behind topic and partition; time columns are milliseconds. */
#define FIRST_COUNTER	2
#define RESET_COLUMN	14
#define FIRST_READ		15
#define GONE_COLUMN		18

static void put_partition(MqSqlRows *rows, const MqTopic *topic, int32 partition, bool gone);
static Datum counter_datum(const MqStatValues *values, MqStatCounter counter);
static void put_worker(MqSqlRows *rows, MqWorkerKind kind, bool details);

PG_FUNCTION_INFO_V1(mq_sql_list_stat_partitions);
PG_FUNCTION_INFO_V1(mq_sql_list_workers);
PG_FUNCTION_INFO_V1(mq_sql_stat_reset);

Datum
mq_sql_list_stat_partitions(PG_FUNCTION_ARGS)
{
	MqSqlRows	rows;
	ListCell   *lc;

	mq_ext_require_preload();
	mq_sql_rows_begin(fcinfo, &rows);
	foreach(lc, mq_topic_names())
	{
		MqTopic    *topic;
		int32		i;

		CHECK_FOR_INTERRUPTS();
		topic = mq_topic_open_missing_ok(lfirst(lc), NoLock, 0);
		if (topic == NULL || !mq_topic_can_see(topic))
			continue;
		for (i = 0; i < topic->partitions; i++)
			put_partition(&rows, topic, i, mq_topic_retired_gone(topic, i));
	}
	return (Datum) 0;
}

Datum
mq_sql_list_workers(PG_FUNCTION_ARGS)
{
	bool		details = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	MqSqlRows	rows;
	int			kind;

	mq_ext_require_preload();
	mq_sql_rows_begin(fcinfo, &rows);
	for (kind = 0; kind < MQ_WORKER_KINDS; kind++)
		put_worker(&rows, kind, details);
	return (Datum) 0;
}

/* One topic is its owner's to reset, all of the database are the database owner's. */
Datum
mq_sql_stat_reset(PG_FUNCTION_ARGS)
{
	MqTopic    *topic;
	MqLogKey	key;
	int32		i;

	mq_ext_require_preload();
	if (PG_ARGISNULL(0))
	{
		if (!pg_database_ownercheck(MyDatabaseId, GetUserId()))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of database %s", get_database_name(MyDatabaseId)),
					 errhint("Name a topic that you own.")));
		mq_stat_reset_database(MyDatabaseId);
		PG_RETURN_VOID();
	}
	topic = mq_topic_open_owned(mq_sql_arg_name(fcinfo, 0, "topic"), AccessShareLock);
	for (i = 0; i < topic->partitions; i++)
	{
		mq_topic_key(topic, i, &key);
		mq_stat_reset(&key);
	}
	PG_RETURN_VOID();
}

/* A partition that is gone is shown no more, but its topic does not forget what it has counted. */
static void
put_partition(MqSqlRows *rows, const MqTopic *topic, int32 partition, bool gone)
{
	MqStatValues values;
	MqLogKey	key;
	int			c;

	mq_topic_key(topic, partition, &key);
	mq_stat_read(&key, &values);
	mq_sql_rows_set_text(rows, 0, topic->name);
	mq_sql_rows_set(rows, 1, Int32GetDatum(partition));
	for (c = 0; c < MQ_STAT_READS; c++)
		mq_sql_rows_set(rows, FIRST_COUNTER + c, counter_datum(&values, c));
	mq_sql_rows_set(rows, RESET_COLUMN, TimestampTzGetDatum(values.reset_at));
	for (; c < MQ_STAT_COUNTERS; c++)
		mq_sql_rows_set(rows, FIRST_READ + c - MQ_STAT_READS, counter_datum(&values, c));
	mq_sql_rows_set(rows, GONE_COLUMN, BoolGetDatum(gone));
	mq_sql_rows_put(rows);
}

static Datum
counter_datum(const MqStatValues *values, MqStatCounter counter)
{
	if (counter == MQ_STAT_PRODUCE_TIME || counter == MQ_STAT_READ_TIME)
		return Float8GetDatum(values->counts[counter] / 1000.0);
	return Int64GetDatum(values->counts[counter]);
}

static void
put_worker(MqSqlRows *rows, MqWorkerKind kind, bool details)
{
	MqWorkerInfo info;
	int			i;

	mq_worker_info(kind, &info);
	for (i = 0; i < rows->desc->natts; i++)
		mq_sql_rows_set_null(rows, i);
	if (info.pid != 0)
		mq_sql_rows_set(rows, 0, Int32GetDatum(info.pid));
	mq_sql_rows_set_text(rows, 1, mq_worker_type(kind));
	if (details)
	{
		mq_sql_rows_set_text(rows, 2, info.pid == 0 ? "stopped" : info.active ? "active" : "idle");
		if (info.pid != 0)
			mq_sql_rows_set_text(rows, 3, info.reason);
		mq_sql_rows_set(rows, 4, Float8GetDatum(info.busy_usec / 1000.0));
		mq_sql_rows_set(rows, 7, Int64GetDatum(info.restarts));
	}
	if (details && info.last_error_at != 0)
	{
		/* the worker has no database, so it may have cut a character, or write in another encoding */
		int			len = pg_encoding_verifymbstr(GetDatabaseEncoding(), info.last_error, strlen(info.last_error));

		mq_sql_rows_set(rows, 5, PointerGetDatum(cstring_to_text_with_len(info.last_error, len)));
		mq_sql_rows_set(rows, 6, TimestampTzGetDatum(info.last_error_at));
	}
	mq_sql_rows_put(rows);
}
