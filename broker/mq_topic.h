/*
 * mq_topic.h
 *	  Topics: lookup, cache, permission check.
 *
 * A topic is a foreign table (its privileges are the topic's, its options the
 * topic's options) and a row of mq_internal.topics (its identity).  MqTopic
 * structs live in a per-backend cache that relcache invalidations empty; a
 * pointer is good until the next lookup.
 */
#ifndef MQ_TOPIC_H
#define MQ_TOPIC_H

#include "base/mq_types.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "storage/mq_log.h"

typedef struct MqTopic
{
	char		name[MQ_MAX_TOPIC_NAME + 1];
	Oid			relid;
	pg_uuid_t	uuid;
	bool		ever_written;	/* may be stale false; never stale true */
	bool		changed_here;	/* created or altered by the transaction in progress */
	int32		partitions;		/* numbers ever given, retired ones too */
	int32		nretired;		/* see mq_topic_retired.h */
	int32	   *retired;		/* ascending */
	MqLogConfig log;
	int32		max_message_bytes;
	int32		batch_size;
	MqCodec		codec;
	bool		log_append_time;
} MqTopic;

/*
 * called by the doors.  Take the lock, which the transaction keeps; producers
 * take RowExclusiveLock and pay for it once per subtransaction, readers
 * AccessShareLock, views NoLock.  A privilege (any of the bits; 0 = none, for
 * those who only look at the topic) is checked for GetUserId(); then lost log
 * files are refused as well.  Raise 42501, 55000 (not preloaded, files lost),
 * 42704 (_missing_ok returns NULL instead).
 */
extern MqTopic *mq_topic_open(const char *name, LOCKMODE lockmode, AclMode privilege);
extern MqTopic *mq_topic_open_missing_ok(const char *name, LOCKMODE lockmode, AclMode privilege);

/* The same for a relation whose privileges the server has checked, perhaps those of a view's owner. */
extern MqTopic *mq_topic_open_relation(Oid relid, LOCKMODE lockmode);

/* A topic opened with RowExclusiveLock and ACL_INSERT, and what was the case then. */
typedef struct MqTopicUse
{
	MqTopic    *topic;			/* NULL = none */
	uint64		generation;		/* of the cache and of privileges */
	LocalTransactionId lxid;
	SubTransactionId subid;
	Oid			role;
} MqTopicUse;

/*
 * called for each message: opens the same topic for the same purpose, in the
 * first case noting how.  NULL: something is different now, or the transaction
 * must not write; open it by name.
 */
extern void mq_topic_open_to_produce(MqTopicUse *use, const char *name);
extern MqTopic *mq_topic_open_again(const MqTopicUse *use);

extern void mq_topic_check_partition(const MqTopic *topic, int32 partition);	/* 22023 */
extern void mq_topic_check_writable(const MqTopic *topic, int32 partition); /* and 55000 for one that is retired */
extern void mq_topic_key(const MqTopic *topic, int32 partition, MqLogKey *key);

/*
 * called by views and descriptions: may the role look at the topic?  It may if
 * it owns it, may SELECT from its relation or a column of it, or monitors.
 * False for a topic that has just been dropped.
 */
extern bool mq_topic_can_see(const MqTopic *topic);

/* called by produce: notes in the catalog that files may exist from now on.  Never waits. */
extern void mq_topic_mark_written(MqTopic *topic);

/* called by views: all topics of this database, names as char * */
extern List *mq_topic_names(void);

/* called by DDL; refuses before it locks: 42501 unless the role owns the relation */
extern MqTopic *mq_topic_open_owned(const char *name, LOCKMODE lockmode);
extern bool mq_topic_is_owned(Oid relid);	/* by this role; false also when it is gone */
extern void mq_topic_check_owner(Oid relid, const char *name);
extern Oid	mq_topic_relation(const char *name);	/* InvalidOid: none */
extern Oid	mq_topic_owner(Oid relid);	/* InvalidOid if the relation has just gone */
extern bool mq_topic_is_topic(Oid relid);
extern bool mq_topic_has_lost_files(const MqTopic *topic);	/* one that was written to */
extern void mq_topic_raise_unknown(const char *name) pg_attribute_noreturn();	/* 42704 */
extern void mq_topic_raise_no_privilege(const MqTopic *topic, AclMode privilege) pg_attribute_noreturn();	/* 42501 */

/* called by _PG_init */
extern void mq_topic_init(void);

#endif							/* MQ_TOPIC_H */
