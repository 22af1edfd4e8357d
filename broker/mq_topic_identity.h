/*
 * mq_topic_identity.h
 *	  Which folder belongs to which topic: rows made, copied, forgotten; strangers.
 */
#ifndef MQ_TOPIC_IDENTITY_H
#define MQ_TOPIC_IDENTITY_H

#include "broker/mq_topic_rows.h"

/*
 * called by DDL.  The name is claimed and the relation locked.  Insert gives
 * the relation a new identity, 42710 if the name has one.  Forget deletes the
 * row and notes the drop of its folder; false = no topic.  Forget all is for
 * the whole table of topics, which is about to be dropped with its rows.
 */
extern void mq_topic_identity_insert(Oid relid, const char *name);
extern bool mq_topic_identity_forget(Oid relid);
extern void mq_topic_identity_forget_all(void);

/* called by those who hold no lock: is this still the folder of the topic of that name?  Asks the catalog */
extern bool mq_topic_identity_is_current(const char *name, const pg_uuid_t *folder);

/*
 * called by lookup: makes a row that came with a copied database this
 * database's own.  False = not in the catalog yet; *row is right all the same.
 */
extern bool mq_topic_identity_adopt(MqTopicRow *row);

/*
 * called by lookup, before anything else: once after a boot, hands over the
 * folders that no row names.  Raises 53400.
 */
extern void mq_topic_identity_sweep(void);

#endif							/* MQ_TOPIC_IDENTITY_H */
