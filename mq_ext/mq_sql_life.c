/*
 * mq_sql_life.c
 *	  mq.delete_records(), mq.purge_topic(), mq.retire_partition(),
 *	  mq.roll_segment(), mq.run_retention().
 *
 * Who may TRUNCATE the topic's relation may delete its messages; retiring,
 * rolling and retention are the owner's.
 *
 * Locking: ROW EXCLUSIVE on the topic's relation, so that it is not dropped
 *			meanwhile; retiring a partition, as all DDL on topics, ACCESS
 *			EXCLUSIVE.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"

#include "broker/mq_life.h"
#include "broker/mq_topic_retired.h"
#include "mq_ext/mq_ddl.h"
#include "mq_ext/mq_sql.h"

PG_FUNCTION_INFO_V1(mq_sql_delete_records);
PG_FUNCTION_INFO_V1(mq_sql_purge_topic);
PG_FUNCTION_INFO_V1(mq_sql_retire_partition);
PG_FUNCTION_INFO_V1(mq_sql_roll_segment);
PG_FUNCTION_INFO_V1(mq_sql_run_retention);

static void retain_topic(const MqTopic *topic, bool dry_run, MqSqlRows *rows);
static void retain_all(bool dry_run, MqSqlRows *rows);

Datum
mq_sql_delete_records(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTopic    *topic;

	mq_sql_require_arg(fcinfo, 1, "partition");
	mq_sql_require_arg(fcinfo, 2, "before_offset");
	mq_sql_require_writable("mq.delete_records()");
	topic = mq_topic_open(name, RowExclusiveLock, ACL_TRUNCATE);
	PG_RETURN_INT64(mq_life_delete(topic, PG_GETARG_INT32(1), PG_GETARG_INT64(2)));
}

Datum
mq_sql_purge_topic(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");

	mq_sql_require_writable("mq.purge_topic()");
	PG_RETURN_INT64(mq_life_purge(mq_topic_open(name, RowExclusiveLock, ACL_TRUNCATE)));
}

Datum
mq_sql_retire_partition(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTopic    *topic;
	char	   *retired;

	mq_sql_require_arg(fcinfo, 1, "partition");
	mq_sql_require_writable("mq.retire_partition()");
	topic = mq_topic_open_owned(name, AccessExclusiveLock);
	retired = mq_life_retire(topic, PG_GETARG_INT32(1));
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("keys of topic \"%s\" now belong to other partitions than before", topic->name),
			 errdetail("%d of its %d partitions take messages now.",
					   mq_topic_retired_rest(topic) - 1, topic->partitions)));
	mq_ddl_retire(topic->relid, retired);
	PG_RETURN_VOID();
}

Datum
mq_sql_roll_segment(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTopic    *topic;
	int32		rolled = 0;
	int32		i;

	mq_sql_require_writable("mq.roll_segment()");
	topic = mq_topic_open_owned(name, RowExclusiveLock);
	if (!PG_ARGISNULL(1))
	{
		mq_topic_check_partition(topic, PG_GETARG_INT32(1));
		PG_RETURN_INT32(mq_life_roll(topic, PG_GETARG_INT32(1)) ? 1 : 0);
	}
	for (i = 0; i < topic->partitions; i++)
	{
		CHECK_FOR_INTERRUPTS();
		rolled += mq_life_roll(topic, i) ? 1 : 0;
	}
	PG_RETURN_INT32(rolled);
}

Datum
mq_sql_run_retention(PG_FUNCTION_ARGS)
{
	MqSqlRows	rows;
	bool		dry_run;

	mq_sql_require_arg(fcinfo, 1, "dry_run");
	dry_run = PG_GETARG_BOOL(1);
	if (!dry_run)
		mq_sql_require_writable("mq.run_retention()");
	mq_sql_rows_begin(fcinfo, &rows);
	if (PG_ARGISNULL(0))
		retain_all(dry_run, &rows);
	else
		retain_topic(mq_topic_open_owned(mq_sql_arg_name(fcinfo, 0, "topic"), RowExclusiveLock), dry_run, &rows);
	return (Datum) 0;
}

/* All topics of this database that the role owns. */
static void
retain_all(bool dry_run, MqSqlRows *rows)
{
	ListCell   *lc;

	foreach(lc, mq_topic_names())
	{
		char	   *name = lfirst(lc);
		Oid			relid = mq_topic_relation(name);
		MqTopic    *topic;

		CHECK_FOR_INTERRUPTS();
		if (!OidIsValid(relid) || !mq_topic_is_owned(relid))
			continue;
		topic = mq_topic_open_missing_ok(name, RowExclusiveLock, 0);
		if (topic != NULL && mq_topic_is_owned(topic->relid))
			retain_topic(topic, dry_run, rows);
	}
}

static void
retain_topic(const MqTopic *topic, bool dry_run, MqSqlRows *rows)
{
	int32		i;

	for (i = 0; i < topic->partitions; i++)
	{
		MqLogRetained result;

		CHECK_FOR_INTERRUPTS();
		if (mq_topic_retired_gone(topic, i))
			continue;
		mq_life_retain(topic, i, dry_run, &result);
		mq_sql_rows_set_text(rows, 0, topic->name);
		mq_sql_rows_set(rows, 1, Int32GetDatum(i));
		mq_sql_rows_set(rows, 2, Int32GetDatum(result.segments));
		mq_sql_rows_set(rows, 3, Int64GetDatum(result.bytes));
		mq_sql_rows_put(rows);
	}
}
