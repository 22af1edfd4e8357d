/*
 * mq_life.h
 *	  Deleting messages: by offset, by age and size, all of them.
 *
 * What is deleted here is deleted at once: no ROLLBACK brings it back.
 * called by the doors, which have opened the topic with its lock and checked
 * what the role may do, and have refused standbys and read-only transactions.
 */
#ifndef MQ_LIFE_H
#define MQ_LIFE_H

#include "broker/mq_topic.h"
#include "storage/mq_log_retain.h"

/* A position that means the last stable offset as of the call. */
#define MQ_LIFE_ALL		((MqOffset) -1)

/*
 * called by readers too, who have the topic locked: tells the log what the
 * topic's options are, if nobody has since a crash
 */
extern void mq_life_configure(const MqTopic *topic, int32 partition, MqLog *log);

/* Deletes the messages before an offset; returns where the partition begins now.  Raises MQ005 */
extern MqOffset mq_life_delete(const MqTopic *topic, int32 partition, MqOffset before);

/*
 * Check raises if some partition cannot be emptied; purge does so first, then
 * deletes all that is visible and returns how many offsets that were.
 */
extern void mq_life_check(const MqTopic *topic);
extern int64 mq_life_purge(const MqTopic *topic);

/* Begins a new segment; false where the active one is empty. */
extern bool mq_life_roll(const MqTopic *topic, int32 partition);

/* Removes, or only counts, what the topic's options do not keep any longer. */
extern void mq_life_retain(const MqTopic *topic, int32 partition, bool dry_run, MqLogRetained *result);

/*
 * Raises 55000 for a partition that cannot be retired: one that is already,
 * and the last one that takes messages.  Result is the option to be set.
 */
extern char *mq_life_retire(const MqTopic *topic, int32 partition);

#endif							/* MQ_LIFE_H */
