/*
 * mq_topic_changes.h
 *	  Which options a new topic may begin with, and how they may change.
 *
 * Options are DefElems of strings, as in pg_foreign_table.  Each value by
 * itself is mq_topic_options_check()'s to judge.
 */
#ifndef MQ_TOPIC_CHANGES_H
#define MQ_TOPIC_CHANGES_H

#include "nodes/pg_list.h"

typedef enum MqTopicChanger
{
	MQ_TOPIC_CHANGES_OWNER,		/* whoever may alter the relation */
	MQ_TOPIC_CHANGES_RETIRE		/* mq.retire_partition */
} MqTopicChanger;

/*
 * called by DDL before a topic is made: adds what is not given, the topic's
 * name after the relation and the number of partitions, so that a dump has
 * them.
 */
extern List *mq_topic_changes_complete(List *options, const char *relname);

/* called by DDL when its options are written; raises 22023 */
extern void mq_topic_changes_check_new(List *options);

/* called by DDL for each change of a topic's options; raises 22023, WARNING when keys move */
extern void mq_topic_changes_check(List *old, List *new, MqTopicChanger by);

#endif							/* MQ_TOPIC_CHANGES_H */
