/*
 * mq_topic_changes.c
 *	  Which options a new topic may begin with, and how they may change.
 *
 * Topics are made and altered through functions and through the server's own
 * commands.  Both come here with what stood in the catalog and what is to
 * stand there, so both obey the same rules: a topic keeps its name, its
 * partitions only grow in number, and one that is retired stays retired.
 *
 * A dump carries every option, the list of retired partitions too: a new topic
 * may begin with some.
 *
 * Locking: none; who changes options has the relation locked.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "nodes/makefuncs.h"

#include "base/mq_settings.h"
#include "broker/mq_topic_changes.h"
#include "broker/mq_topic_options.h"
#include "broker/mq_topic_retired.h"

static DefElem *option(const char *name, const char *value);
static void check_retired(List *options);
static void check_name(const char *topic, List *new);
static void check_partitions(const char *topic, List *old, List *new);
static void check_still_retired(const char *topic, List *old, List *new);

List *
mq_topic_changes_complete(List *options, const char *relname)
{
	const char *name = mq_topic_options_get(options, MQ_TOPIC_OPTIONS_NAME);

	if (mq_topic_options_get(options, MQ_TOPIC_OPTIONS_PARTITIONS) == NULL)
		options = lcons(option(MQ_TOPIC_OPTIONS_PARTITIONS, psprintf("%d", mq_default_partitions)), options);
	if (name == NULL)
		options = lcons(option(MQ_TOPIC_OPTIONS_NAME, relname), options);
	return options;
}

static DefElem *
option(const char *name, const char *value)
{
	return makeDefElem(pstrdup(name), (Node *) makeString(pstrdup(value)), -1);
}

void
mq_topic_changes_check_new(List *options)
{
	check_retired(options);
}

/* The list by itself has been checked; what it may name depends on another option. */
static void
check_retired(List *options)
{
	const char *retired = mq_topic_options_get(options, MQ_TOPIC_OPTIONS_RETIRED);
	const char *count = mq_topic_options_get(options, MQ_TOPIC_OPTIONS_PARTITIONS);
	int32	   *numbers;
	int			n;

	if (retired == NULL || count == NULL || !mq_topic_retired_parse(retired, &numbers, &n))
		return;
	if (numbers[n - 1] >= atoi(count))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition %d cannot be retired, there are %s partitions", numbers[n - 1], count),
				 errhint("Partitions are numbered from 0; name those that are to be retired.")));
	if (n >= atoi(count))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the last partition of a topic cannot be retired"),
				 errdetail("Messages must go somewhere."),
				 errhint("Leave one out, or drop the topic.")));
}

void
mq_topic_changes_check(List *old, List *new, MqTopicChanger by)
{
	const char *topic = mq_topic_options_get(old, MQ_TOPIC_OPTIONS_NAME);

	/* left by a server without the library: not a topic */
	if (topic == NULL)
		return;
	check_name(topic, new);
	check_partitions(topic, old, new);
	if (by != MQ_TOPIC_CHANGES_RETIRE)
		check_still_retired(topic, old, new);
	check_retired(new);
}

/* Consumers keep their positions under it. */
static void
check_name(const char *topic, List *new)
{
	const char *name = mq_topic_options_get(new, MQ_TOPIC_OPTIONS_NAME);

	if (name == NULL || strcmp(name, topic) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of topic \"%s\" cannot be changed", topic),
				 errdetail("Option \"%s\" says which topic the relation is.", MQ_TOPIC_OPTIONS_NAME),
				 errhint("ALTER FOREIGN TABLE ... RENAME TO gives the relation another name; for another topic name create another topic.")));
}

/* Partitions are never taken away: their messages would go with them. */
static void
check_partitions(const char *topic, List *old, List *new)
{
	const char *before = mq_topic_options_get(old, MQ_TOPIC_OPTIONS_PARTITIONS);
	const char *after = mq_topic_options_get(new, MQ_TOPIC_OPTIONS_PARTITIONS);

	if (before == NULL)
		return;
	if (after == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of partitions of topic \"%s\" cannot be reset", topic),
				 errdetail("The topic has %s partitions.", before),
				 errhint("Give a number.")));
	if (atoi(after) == atoi(before))
		return;
	if (atoi(after) < atoi(before))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of partitions of topic \"%s\" cannot shrink", topic),
				 errdetail("The topic has %s partitions, %s were asked for.", before, after),
				 errhint("Create another topic and produce the messages to it.")));
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("keys of topic \"%s\" now belong to other partitions than before", topic),
			 errdetail("The topic has %s partitions instead of %s. New messages with the key of an old one may stand in another partition, with no order between the two.",
					   after, before)));
}

/* Retiring is more than an option: a partition is emptied first. */
static void
check_still_retired(const char *topic, List *old, List *new)
{
	const char *before = mq_topic_options_get(old, MQ_TOPIC_OPTIONS_RETIRED);
	const char *after = mq_topic_options_get(new, MQ_TOPIC_OPTIONS_RETIRED);

	if (before == after || (before != NULL && after != NULL && strcmp(before, after) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" of topic \"%s\" cannot be set", MQ_TOPIC_OPTIONS_RETIRED, topic),
			 errdetail("The option lists partitions that take no more messages."),
			 errhint("Use mq.retire_partition() to retire one; a retired partition does not come back.")));
}
