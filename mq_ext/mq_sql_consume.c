/*
 * mq_sql_consume.c
 *	  mq.fetch() and its twins, mq.offsets(), mq.offset_at().
 *
 * They only translate: arguments into a request, records into rows.  What a
 * reader may see, and when it waits, is decided in broker/mq_fetch.c.  A fetch
 * in FROM is mostly not called at all: see mq_fetch_plan.c.
 *
 * Locking: ACCESS SHARE on the topic's relation, as a SELECT.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/mq_settings.h"
#include "broker/mq_fetch.h"
#include "broker/mq_produce.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_retired.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_consume.h"
#include "mq_ext/mq_sql_message.h"

/* The arguments of mq.fetch() */
enum
{
	ARG_TOPIC,
	ARG_PARTITION,
	ARG_FROM_OFFSET,
	ARG_MAX_MESSAGES,
	ARG_MAX_BYTES,
	ARG_MAX_WAIT,
	ARG_TAGS,
	ARG_ON_DAMAGE
};

static Datum fetch(FunctionCallInfo fcinfo, MqSqlForm form);
static void read_request(FunctionCallInfo fcinfo, MqFetchRequest *request);
static void read_start(FunctionCallInfo fcinfo, MqFetchRequest *request);
static void read_tags(FunctionCallInfo fcinfo, MqFetchRequest *request);
static MqLogDamage read_damage(FunctionCallInfo fcinfo);
static void put_offsets(MqSqlRows *rows, const MqTopic *topic, int32 partition);

PG_FUNCTION_INFO_V1(mq_sql_fetch);
PG_FUNCTION_INFO_V1(mq_sql_fetch_text);
PG_FUNCTION_INFO_V1(mq_sql_fetch_json);
PG_FUNCTION_INFO_V1(mq_sql_offsets);
PG_FUNCTION_INFO_V1(mq_sql_offset_at);

Datum
mq_sql_fetch(PG_FUNCTION_ARGS)
{
	return fetch(fcinfo, MQ_SQL_FORM_BYTES);
}

Datum
mq_sql_fetch_text(PG_FUNCTION_ARGS)
{
	return fetch(fcinfo, MQ_SQL_FORM_TEXT);
}

Datum
mq_sql_fetch_json(PG_FUNCTION_ARGS)
{
	return fetch(fcinfo, MQ_SQL_FORM_JSON);
}

Datum
mq_sql_offsets(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTopic    *topic = mq_topic_open(name, AccessShareLock, ACL_SELECT);
	MqSqlRows	rows;
	int32		i;

	mq_sql_rows_begin(fcinfo, &rows);
	mq_sql_rows_set_text(&rows, 0, topic->name);
	if (!PG_ARGISNULL(1))
	{
		mq_topic_check_partition(topic, PG_GETARG_INT32(1));
		put_offsets(&rows, topic, PG_GETARG_INT32(1));
		return (Datum) 0;
	}
	for (i = 0; i < topic->partitions; i++)
		if (!mq_topic_retired_gone(topic, i))
			put_offsets(&rows, topic, i);
	return (Datum) 0;
}

Datum
mq_sql_offset_at(PG_FUNCTION_ARGS)
{
	char	   *name = mq_sql_arg_name(fcinfo, 0, "topic");
	MqTimestamp at_time;
	MqTopic    *topic;
	MqLogKey	key;
	MqLog	   *log;
	MqOffset	offset;

	mq_sql_require_arg(fcinfo, 1, "partition");
	mq_sql_require_arg(fcinfo, 2, "at_time");
	at_time = mq_sql_timestamp(PG_GETARG_TIMESTAMPTZ(2), MQ_SQL_ROUND_UP, "at_time");
	topic = mq_topic_open(name, AccessShareLock, ACL_SELECT);
	mq_topic_check_partition(topic, PG_GETARG_INT32(1));
	mq_topic_key(topic, PG_GETARG_INT32(1), &key);
	log = mq_log_open(&key);
	offset = mq_fetch_offset_at(log, at_time);
	mq_log_unpin(log);
	if (offset == MQ_INVALID_OFFSET)
		PG_RETURN_NULL();
	PG_RETURN_INT64(offset);
}

static Datum
fetch(FunctionCallInfo fcinfo, MqSqlForm form)
{
	MqFetchRequest request;

	mq_sql_fetch_request(fcinfo, &request);
	mq_fetch(&request, mq_sql_message_put, mq_sql_message_begin(fcinfo, request.topic->name, form));
	return (Datum) 0;
}

void
mq_sql_fetch_request(FunctionCallInfo fcinfo, MqFetchRequest *request)
{
	char	   *name = mq_sql_arg_name(fcinfo, ARG_TOPIC, "topic");

	memset(request, 0, sizeof(*request));
	read_request(fcinfo, request);
	request->topic = mq_topic_open(name, AccessShareLock, ACL_SELECT);
	/* what means "any" inside is no partition that a user may name */
	if (!PG_ARGISNULL(ARG_PARTITION))
		mq_topic_check_partition(request->topic, request->partition);
}

static void
read_request(FunctionCallInfo fcinfo, MqFetchRequest *request)
{
	read_start(fcinfo, request);
	request->max_messages = mq_sql_arg_positive(fcinfo, ARG_MAX_MESSAGES, "max_messages");
	request->max_bytes = mq_sql_arg_positive(fcinfo, ARG_MAX_BYTES, "max_bytes");

	/* a statement's snapshot holds back vacuum; CALL mq.wait() is for longer waits */
	request->max_wait_ms = Min(mq_sql_interval_ms(fcinfo, ARG_MAX_WAIT, "max_wait"), mq_max_sql_wait);
	read_tags(fcinfo, request);
	request->damage = read_damage(fcinfo);
}

static void
read_start(FunctionCallInfo fcinfo, MqFetchRequest *request)
{
	request->partition = PG_ARGISNULL(ARG_PARTITION) ? MQ_PARTITION_ANY :
		PG_GETARG_INT32(ARG_PARTITION);
	request->has_offset = !PG_ARGISNULL(ARG_FROM_OFFSET);
	if (!request->has_offset)
		return;
	request->from_offset = PG_GETARG_INT64(ARG_FROM_OFFSET);
	if (PG_ARGISNULL(ARG_PARTITION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"from_offset\" needs a partition"),
				 errdetail("Each partition has offsets of its own."),
				 errhint("Pass \"partition\" too, or leave out \"from_offset\" to read all partitions from their start.")));
}

static void
read_tags(FunctionCallInfo fcinfo, MqFetchRequest *request)
{
	if (PG_ARGISNULL(ARG_TAGS))
		return;
	request->tags = (const char *const *)
		mq_sql_strings(PG_GETARG_ARRAYTYPE_P(ARG_TAGS), "tags", &request->ntags);
	if (request->ntags == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"tags\" must not be empty"),
				 errdetail("No message has one of no tags."),
				 errhint("Leave out \"tags\" to read messages with any tags and with none.")));
}

static MqLogDamage
read_damage(FunctionCallInfo fcinfo)
{
	char	   *word = mq_sql_arg_name(fcinfo, ARG_ON_DAMAGE, "on_damage");

	if (strcmp(word, "error") == 0)
		return MQ_LOG_DAMAGE_ERROR;
	if (strcmp(word, "skip") == 0)
		return MQ_LOG_DAMAGE_SKIP;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"on_damage\": \"%s\"", mq_topic_names_shown(word)),
			 errhint("Valid values are \"error\" and \"skip\".")));
}

static void
put_offsets(MqSqlRows *rows, const MqTopic *topic, int32 partition)
{
	MqLogKey	key;
	MqLog	   *log;
	MqLogInfo	info;

	mq_topic_key(topic, partition, &key);
	log = mq_log_open(&key);
	mq_log_info(log, &info);
	mq_log_unpin(log);

	mq_sql_rows_set(rows, 1, Int32GetDatum(partition));
	mq_sql_rows_set(rows, 2, Int64GetDatum(info.offsets.log_start));
	mq_sql_rows_set(rows, 3, Int64GetDatum(info.offsets.hw));
	mq_sql_rows_set(rows, 4, Int64GetDatum(info.offsets.lso));
	mq_sql_rows_set_time(rows, 5, info.newest_timestamp);
	mq_sql_rows_put(rows);
}
