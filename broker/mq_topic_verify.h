/*
 * mq_topic_verify.h
 *	  Who may have a topic verified.
 */
#ifndef MQ_TOPIC_VERIFY_H
#define MQ_TOPIC_VERIFY_H

#include "broker/mq_topic.h"

/* called by mq.verify: the owner may, and who monitors */

/* Takes AccessShareLock.  Raises 42501, 42704. */
extern MqTopic *mq_topic_verify_open(const char *name);

/* False also if the relation has gone. */
extern bool mq_topic_verify_allowed(Oid relid);

/* Has a topic that was written to no files at all? */
extern bool mq_topic_verify_is_lost(const MqTopic *topic);

#endif							/* MQ_TOPIC_VERIFY_H */
