/*
 * mq_xact_topics.h
 *	  The topics that a transaction has created, altered and dropped.
 */
#ifndef MQ_XACT_TOPICS_H
#define MQ_XACT_TOPICS_H

#include "utils/uuid.h"

/*
 * called by mq_topic_identity; taken back when the subtransaction fails.  Raise
 * 55000 when the transaction is being committed: the places are reserved.
 */
extern void mq_xact_note_create(const pg_uuid_t *topic);
extern void mq_xact_note_drop(Oid dboid, const pg_uuid_t *topic);
extern void mq_xact_note_drop_all(void);	/* the extension goes, and every folder of this database */
extern void mq_xact_note_drop_database(void);	/* called by DDL: a database goes when this has committed */
extern void mq_xact_note_alter(const char *topic);	/* options are new, or have changed */
extern bool mq_xact_dropped_here(const pg_uuid_t *topic);

/* called by mq_xact at the end of a subtransaction (never raises) and before commit (raises 53400) */
extern void mq_xact_topics_end_sub(bool aborted, int level);
extern void mq_xact_topics_reserve(void);
extern void mq_xact_topics_suspend(void);	/* when all has been appended */

/* called by mq_xact at the end of the transaction; never raise */
extern void mq_xact_topics_hand_over(bool committed);
extern void mq_xact_topics_forget(void);

#endif							/* MQ_XACT_TOPICS_H */
