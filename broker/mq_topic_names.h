/*
 * mq_topic_names.h
 *	  What a topic and its relation may be called.
 */
#ifndef MQ_TOPIC_NAMES_H
#define MQ_TOPIC_NAMES_H

#define MQ_TOPIC_NAMES_SCHEMA	"mq_topics"

/* Raises 22023. */
extern void mq_topic_names_check(const char *name);

/* A caller's text as a message shows it: cut, if no name is as long. */
extern const char *mq_topic_names_shown(const char *text);

/*
 * Locks the name until the transaction ends, so that two creators of one name
 * meet here and not in a unique index.
 */
extern void mq_topic_names_claim(const char *name);

/* The relation a new topic gets by default.  Result lives in the current memory context. */
extern char *mq_topic_names_relation(const char *name);

#endif							/* MQ_TOPIC_NAMES_H */
