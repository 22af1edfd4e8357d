/*
 * mq_topic_options.h
 *	  Options of a topic: names as in Kafka, defaults, checks.
 *
 * Options stand in pg_foreign_table as DefElems of strings, next to the
 * option "topic", which holds the name and is no option for users.
 */
#ifndef MQ_TOPIC_OPTIONS_H
#define MQ_TOPIC_OPTIONS_H

#include "broker/mq_topic.h"

#define MQ_TOPIC_OPTIONS_NAME		"topic"
#define MQ_TOPIC_OPTIONS_PARTITIONS	"partitions"
#define MQ_TOPIC_OPTIONS_RETIRED	"retired"	/* numbers of retired partitions, ascending, with commas */

typedef enum MqTopicOptionSource
{
	MQ_TOPIC_OPTIONS_DEFAULT,	/* built in */
	MQ_TOPIC_OPTIONS_SETTING,	/* a setting of the server or the session */
	MQ_TOPIC_OPTIONS_TOPIC		/* the topic's own */
} MqTopicOptionSource;

/* called by DDL: all options, in the order of their names */
extern int	mq_topic_options_count(void);
extern const char *mq_topic_options_name(int i);
extern const char *mq_topic_options_description(int i);

/* The value in force, given the topic's own options.  Result lives in the current memory context. */
extern char *mq_topic_options_value(int i, List *options, MqTopicOptionSource *source);

/* Raises 22023 for an unknown name or a bad value (NULL: none), with what is allowed as the hint. */
extern void mq_topic_options_check(const char *name, const char *value);

/* An option's own value; NULL = not set. */
extern const char *mq_topic_options_get(List *options, const char *name);

/* The topic that a relation is, or else the relation's name; palloc'd, for messages. */
extern char *mq_topic_options_topic(Oid relid);

/* called by lookup: a foreign table's options; false when there is no such table */
extern bool mq_topic_options_load(Oid relid, List **options);
extern void mq_topic_options_parse(List *options, MqTopic *topic);
extern bool mq_topic_options_ours(Oid relid);	/* written by the transaction in progress? */

#endif							/* MQ_TOPIC_OPTIONS_H */
