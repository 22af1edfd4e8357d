/*
 * mq_xact_topics.c
 *	  The topics that a transaction has created, altered and dropped.
 *
 * Catalog rows roll back by themselves, files do not.  So the files of a
 * dropped topic go after commit, through the janitor; and those of a topic
 * that was created here, and appended to just before a commit that failed, go
 * the same way.  Room in the janitor's queue is reserved before commit: after
 * it nothing may fail.
 *
 * Options that workers obey (retention) are kept with each log, outside the
 * catalog.  Those of a topic that was created or altered are suspended right
 * before the commit record and put into shared memory right after it: a crash
 * in between leaves a log whose messages nobody deletes, until somebody who
 * knows the catalog uses it.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/mq_settings.h"
#include "broker/mq_topic_retired.h"
#include "broker/mq_xact.h"
#include "broker/mq_xact_topics.h"
#include "storage/mq_log.h"

/* A topic created or dropped by this transaction. */
typedef struct TopicNote
{
	pg_uuid_t	topic;
	Oid			dboid;
	int			level;			/* of the subtransaction that did it */
	bool		drop;
	bool		reserved;		/* has a place in the janitor's queue */
	struct TopicNote *next;
} TopicNote;

/* A topic altered by this transaction, whatever has become of that. */
typedef struct AlterNote
{
	char		name[MQ_MAX_TOPIC_NAME + 1];
	struct AlteredLog *logs;
	int			n;
	struct AlterNote *next;
} AlterNote;

/* One of its logs, pinned before commit. */
typedef struct AlteredLog
{
	MqLog	   *log;
	MqLogConfig before;
	MqLogConfig after;
	bool		known;			/* before */
} AlteredLog;

/* In the transaction's memory, forgotten with it. */
static TopicNote *notes = NULL;
static AlterNote *alters = NULL;

/* Nest level of the subtransaction that dropped the extension; 0 = none. */
static int	drops_all_level = 0;

/* Was this transaction a DROP DATABASE?  It has no subtransactions. */
static bool drops_database = false;

static void add_note(Oid dboid, const pg_uuid_t *topic, bool drop);
static void suspend_altered(AlterNote *alter, int *budget);
static void configure_altered(const AlterNote *alter, bool committed);

void
mq_xact_note_create(const pg_uuid_t *topic)
{
	mq_xact_require_open();
	add_note(MyDatabaseId, topic, false);
}

void
mq_xact_note_drop(Oid dboid, const pg_uuid_t *topic)
{
	mq_xact_require_open();
	add_note(dboid, topic, true);
}

void
mq_xact_note_alter(const char *topic)
{
	AlterNote  *alter;

	mq_xact_require_open();
	for (alter = alters; alter != NULL; alter = alter->next)
		if (strcmp(alter->name, topic) == 0)
			return;
	alter = MemoryContextAllocZero(mq_xact_begin(), sizeof(AlterNote));
	strlcpy(alter->name, topic, sizeof(alter->name));
	alter->next = alters;
	alters = alter;
}

/* The extension goes: every folder of this database is a stranger once this has committed. */
void
mq_xact_note_drop_all(void)
{
	mq_xact_require_open();
	(void) mq_xact_begin();
	if (drops_all_level == 0)
		drops_all_level = GetCurrentTransactionNestLevel();
}

/* The janitor must not look before the commit: it would find the database still there. */
void
mq_xact_note_drop_database(void)
{
	drops_database = true;
}

bool
mq_xact_dropped_here(const pg_uuid_t *topic)
{
	TopicNote  *note;

	for (note = notes; note != NULL; note = note->next)
	{
		if (note->drop && memcmp(&note->topic, topic, UUID_LEN) == 0)
			return true;
	}
	return false;
}

void
mq_xact_topics_end_sub(bool aborted, int level)
{
	TopicNote **link;

	if (drops_all_level >= level)
		drops_all_level = aborted ? 0 : level - 1;
	for (link = &notes; *link != NULL;)
	{
		TopicNote  *note = *link;

		if (note->level >= level && aborted)
		{
			*link = note->next;
			continue;
		}
		if (note->level >= level)
			note->level = level - 1;
		link = &note->next;
	}
}

/* Room for the topics dropped, and for those created that this commit will give files. */
void
mq_xact_topics_reserve(void)
{
	TopicNote  *note;

	if (drops_all_level > 0)
	{
		pg_uuid_t  *topics;
		int			n;
		int			i;

		topics = mq_log_list_topics(MyDatabaseId, &n);
		for (i = 0; i < n; i++)
		{
			if (!mq_xact_dropped_here(&topics[i]))
				add_note(MyDatabaseId, &topics[i], true);
		}
	}
	for (note = notes; note != NULL; note = note->next)
	{
		if (!note->drop && !mq_xact_has_pending(&note->topic))
			continue;
		mq_log_drop_reserve(1);
		note->reserved = true;
	}
}

void
mq_xact_topics_suspend(void)
{
	AlterNote  *alter;
	int			budget = mq_max_partitions / 2;

	/* the state files must not get ahead of the catalog */
	if (alters != NULL)
		ForceSyncCommit();
	for (alter = alters; alter != NULL; alter = alter->next)
		suspend_altered(alter, &budget);
}

/*
 * Not more logs stay pinned than others can spare; those that are left are
 * configured when they are next used.
 */
static void
suspend_altered(AlterNote *alter, int *budget)
{
	MqTopic    *topic = mq_topic_open_missing_ok(alter->name, NoLock, 0);
	int			most;
	int32		i;

	if (topic == NULL)
		return;
	most = Min(topic->partitions, *budget);
	alter->logs = MemoryContextAlloc(mq_xact_begin(), sizeof(AlteredLog) * most);
	for (i = 0; i < topic->partitions; i++)
	{
		AlteredLog	one;
		MqLogKey	key;

		CHECK_FOR_INTERRUPTS();
		mq_topic_key(topic, i, &key);
		if (!mq_log_exists(&key))
			continue;
		one.log = mq_log_open(&key);
		one.known = mq_log_suspend(one.log, &one.before);
		one.after = topic->log;
		one.after.retired = mq_topic_retired_is(topic, i);
		if (alter->n < most)
			alter->logs[alter->n++] = one;
		else
			mq_log_unpin(one.log);
	}
	*budget -= alter->n;
}

static void
configure_altered(const AlterNote *alter, bool committed)
{
	int			i;

	for (i = 0; i < alter->n; i++)
	{
		const AlteredLog *one = &alter->logs[i];

		if (committed || one->known)
			mq_log_configure(one->log, committed ? &one->after : &one->before);
	}
}

/* Dropped topics go when the transaction has committed, created ones when it has failed. */
void
mq_xact_topics_hand_over(bool committed)
{
	TopicNote  *note;
	AlterNote  *alter;

	for (alter = alters; alter != NULL; alter = alter->next)
		configure_altered(alter, committed);

	for (note = notes; note != NULL; note = note->next)
	{
		if (!note->reserved)
			continue;
		if (note->drop == committed)
			mq_log_drop_hand_over(note->dboid, &note->topic);
		else
			mq_log_drop_unreserve(1);
		note->reserved = false;
	}
	if (drops_database && committed)
		mq_log_kick_database_sweep();
}

void
mq_xact_topics_forget(void)
{
	notes = NULL;
	alters = NULL;
	drops_all_level = 0;
	drops_database = false;
}

static void
add_note(Oid dboid, const pg_uuid_t *topic, bool drop)
{
	TopicNote  *note = MemoryContextAllocZero(mq_xact_begin(), sizeof(TopicNote));

	note->topic = *topic;
	note->dboid = dboid;
	note->level = GetCurrentTransactionNestLevel();
	note->drop = drop;
	note->next = notes;
	notes = note;
}
