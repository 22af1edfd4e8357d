/*
 * mq_sql_verify.c
 *	  mq.verify(), and the function behind the view mq.stat_progress.
 *
 * Locking: mq.verify() takes AccessShareLock on a topic's relation, and gives
 *			it back when it is done with the topic: there may be many.  The
 *			view takes none.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "broker/mq_produce.h"
#include "broker/mq_topic_verify.h"
#include "mq_ext/mq_sql.h"
#include "storage/mq_progress.h"
#include "storage/mq_verify.h"

/* Whose rows are being made. */
typedef struct VerifyRows
{
	MqSqlRows	rows;
	char	   *topic;
	int32		partition;		/* -1 = none */
} VerifyRows;

static void verify_topic(VerifyRows *out, const MqTopic *topic, int32 partition);
static void verify_partition(VerifyRows *out, const MqTopic *topic, int32 partition);
static void put_finding(void *arg, const MqVerifyFinding *finding);
static MqTopic *find_topic(const pg_uuid_t *uuid);
static const char *operation_text(MqProgressOperation operation);
static int	compare_pids(const void *a, const void *b);

PG_FUNCTION_INFO_V1(mq_sql_verify);
PG_FUNCTION_INFO_V1(mq_sql_list_progress);

/* Without a topic: all that the caller may verify. */
Datum
mq_sql_verify(PG_FUNCTION_ARGS)
{
	VerifyRows	out = {0};
	int32		partition = PG_ARGISNULL(1) ? MQ_PARTITION_ANY : PG_GETARG_INT32(1);
	ListCell   *lc;

	if (PG_ARGISNULL(0) && !PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"part\" needs a topic"),
				 errhint("Give the topic as well, or leave out both to verify all topics.")));
	mq_sql_rows_begin(fcinfo, &out.rows);
	if (!PG_ARGISNULL(0))
	{
		MqTopic    *topic = mq_topic_verify_open(mq_sql_arg_name(fcinfo, 0, "topic"));

		if (!PG_ARGISNULL(1))
			mq_topic_check_partition(topic, partition);
		verify_topic(&out, topic, partition);
		return (Datum) 0;
	}
	foreach(lc, mq_topic_names())
	{
		Oid			relid = mq_topic_relation(lfirst(lc));
		MqTopic    *topic;

		CHECK_FOR_INTERRUPTS();
		if (!OidIsValid(relid) || !mq_topic_verify_allowed(relid))
			continue;
		topic = mq_topic_open_missing_ok(lfirst(lc), AccessShareLock, 0);
		if (topic != NULL && mq_topic_verify_allowed(topic->relid))
			verify_topic(&out, topic, MQ_PARTITION_ANY);
		else if (topic != NULL)
			UnlockRelationOid(topic->relid, AccessShareLock);
	}
	return (Datum) 0;
}

static void
verify_topic(VerifyRows *out, const MqTopic *topic, int32 partition)
{
	MqTopic		copy = *topic;	/* the cache may change meanwhile */
	int32		i;

	out->topic = copy.name;
	out->partition = -1;
	if (mq_topic_verify_is_lost(&copy))
	{
		MqVerifyFinding lost = {MQ_INVALID_OFFSET, true, MQ_INVALID_OFFSET, "the topic's log files are missing"};

		put_finding(out, &lost);
	}
	else if (partition != MQ_PARTITION_ANY)
		verify_partition(out, &copy, partition);
	else
	{
		for (i = 0; i < copy.partitions; i++)
			verify_partition(out, &copy, i);
	}
	UnlockRelationOid(copy.relid, AccessShareLock);
}

static void
verify_partition(VerifyRows *out, const MqTopic *topic, int32 partition)
{
	MqLogKey	key;
	MqLog	   *log;

	CHECK_FOR_INTERRUPTS();
	mq_topic_key(topic, partition, &key);
	log = mq_log_open(&key);
	out->partition = partition;
	mq_verify(log, put_finding, out);
	mq_log_unpin(log);
}

/* Sink of mq_verify(). */
static void
put_finding(void *arg, const MqVerifyFinding *finding)
{
	VerifyRows *out = arg;
	MqSqlRows  *rows = &out->rows;

	mq_sql_rows_set_text(rows, 0, out->topic);
	rows->values[1] = Int32GetDatum(out->partition);
	rows->nulls[1] = out->partition < 0;
	rows->values[2] = Int64GetDatum(finding->segment);
	rows->nulls[2] = finding->segment == MQ_INVALID_OFFSET;
	mq_sql_rows_set_text(rows, 3, finding->damaged ? "damaged" : "ok");
	rows->values[4] = Int64GetDatum(finding->bad_offset);
	rows->nulls[4] = finding->bad_offset == MQ_INVALID_OFFSET;
	if (finding->detail != NULL)
		mq_sql_rows_set_text(rows, 5, finding->detail);
	else
		mq_sql_rows_set_null(rows, 5);
	mq_sql_rows_put(rows);
}

/*
 * Work on topics of this database.  Without a name is one that has been
 * dropped or not been committed yet, and is for those who monitor.
 */
Datum
mq_sql_list_progress(PG_FUNCTION_ARGS)
{
	MqSqlRows	rows;
	MqProgress *list;
	int			n;
	int			i;

	mq_sql_rows_begin(fcinfo, &rows);
	list = mq_progress_list(&n);
	qsort(list, n, sizeof(MqProgress), compare_pids);
	for (i = 0; i < n; i++)
	{
		const MqProgress *p = &list[i];
		MqTopic    *topic;

		if (p->key.dboid != MyDatabaseId)
			continue;
		topic = find_topic(&p->key.topic);
		if (topic != NULL ? !mq_topic_can_see(topic) :
			!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
			continue;
		mq_sql_rows_set(&rows, 0, Int32GetDatum(p->pid));
		mq_sql_rows_set_text(&rows, 1, operation_text(p->operation));
		if (topic != NULL)
			mq_sql_rows_set_text(&rows, 2, topic->name);
		else
			mq_sql_rows_set_null(&rows, 2);
		mq_sql_rows_set(&rows, 3, Int32GetDatum(p->key.partition));
		mq_sql_rows_set_text(&rows, 4, p->phase);
		mq_sql_rows_set(&rows, 5, Int64GetDatum(p->done));
		mq_sql_rows_set(&rows, 6, Int64GetDatum(p->total));
		mq_sql_rows_set(&rows, 7, TimestampTzGetDatum(p->started_at));
		mq_sql_rows_put(&rows);
	}
	return (Datum) 0;
}

static MqTopic *
find_topic(const pg_uuid_t *uuid)
{
	ListCell   *lc;

	foreach(lc, mq_topic_names())
	{
		MqTopic    *topic = mq_topic_open_missing_ok(lfirst(lc), NoLock, 0);

		CHECK_FOR_INTERRUPTS();
		if (topic != NULL && memcmp(&topic->uuid, uuid, UUID_LEN) == 0)
			return topic;
	}
	return NULL;
}

static const char *
operation_text(MqProgressOperation operation)
{
	switch (operation)
	{
		case MQ_PROGRESS_NONE:
			break;
		case MQ_PROGRESS_VERIFY:
			return "verify";
	}
	return "unknown";
}

static int
compare_pids(const void *a, const void *b)
{
	int			x = ((const MqProgress *) a)->pid;
	int			y = ((const MqProgress *) b)->pid;

	return (x > y) - (x < y);
}
