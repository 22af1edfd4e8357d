/*
 * mq_topic.c
 *	  Topics: lookup, cache, permission check.
 *
 * Every call of mq.produce and mq.fetch begins here, so a name that was looked
 * up before must cost next to nothing: a topic's options, identity and the
 * last privilege check are kept in a hash per backend, with a shortcut for the
 * name used last.  Relcache invalidations mark entries as stale, syscache
 * invalidations of roles and relations void the privilege checks; neither
 * frees memory, so they may arrive at any moment.
 *
 * Locking: heavyweight lock on the topic's relation (rank 1), kept until the
 * transaction ends.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/mq_settings.h"
#include "broker/mq_topic.h"
#include "broker/mq_topic_identity.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "broker/mq_topic_retired.h"
#include "broker/mq_topic_rows.h"
#include "storage/mq_log.h"

/* How unlike a name may be that is offered for one that does not exist. */
#define HINT_DISTANCE		3

typedef struct TopicEntry
{
	MqTopic		topic;			/* first: the name is the hash key */
	bool		valid;
	bool		own_segment_bytes;	/* else the setting of the moment holds */
	bool		own_max_message_bytes;
	bool		check_files;	/* written to, and not yet looked for on disk */
	bool		copied;			/* the row is still the other database's */

	/* who holds RowExclusiveLock since when, and where changed_here is true */
	LocalTransactionId lock_lxid;
	SubTransactionId lock_subid;
	LocalTransactionId changed_lxid;

	/* the last attempt to mark the topic as written */
	LocalTransactionId mark_lxid;
	SubTransactionId mark_subid;

	/* the last privilege check that succeeded */
	Oid			acl_role;
	AclMode		acl_mode;
	uint64		acl_generation;
} TopicEntry;

/* Created at the first lookup. */
static HTAB *entries = NULL;

/* The entry used last; entries are removed only by the lookup that misses them. */
static TopicEntry *last_entry = NULL;

/* Moves whenever a role, a membership or a relation's privileges may have changed. */
static uint64 acl_generation = 1;

/* Moves whenever that does, and whenever an entry may have changed. */
static uint64 generation = 1;

static void invalidate_relation(Datum arg, Oid relid);
static void invalidate_privileges(Datum arg, int cacheid, uint32 hashvalue);
static inline void follow_settings(TopicEntry *entry);
static inline TopicEntry *known_entry(const char *name);
static TopicEntry *find_entry(const char *name, LOCKMODE lockmode);
static TopicEntry *lock_entry(const char *name, LOCKMODE lockmode);
static TopicEntry *build_entry(MqTopicRow *row, LOCKMODE lockmode);
static void keep_retired(MqTopic *topic, const char *text);
static void forget_entry(const char *name);
static bool check_privilege(TopicEntry *entry, AclMode privilege);
static void check_files(TopicEntry *entry);
static char *similar_name(const char *name);

void
mq_topic_init(void)
{
	mq_topic_rows_init();
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(RELOID, invalidate_privileges, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, invalidate_privileges, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, invalidate_privileges, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, invalidate_privileges, (Datum) 0);
}

/* Relcache callback: relid 0 stands for every relation. */
static void
invalidate_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS seq;
	TopicEntry *entry;

	if (entries == NULL)
		return;
	hash_seq_init(&seq, entries);
	while ((entry = hash_seq_search(&seq)) != NULL)
		if (relid == InvalidOid || entry->topic.relid == relid)
		{
			entry->valid = false;
			generation++;
		}
}

static void
invalidate_privileges(Datum arg, int cacheid, uint32 hashvalue)
{
	acl_generation++;
	generation++;
}

MqTopic *
mq_topic_open(const char *name, LOCKMODE lockmode, AclMode privilege)
{
	MqTopic    *topic = mq_topic_open_missing_ok(name, lockmode, privilege);

	if (unlikely(topic == NULL))
		mq_topic_raise_unknown(name);
	return topic;
}

MqTopic *
mq_topic_open_missing_ok(const char *name, LOCKMODE lockmode, AclMode privilege)
{
	TopicEntry *entry = find_entry(name, lockmode);
	MqTopic    *topic;

	if (unlikely(entry == NULL))
		return NULL;
	topic = &entry->topic;
	if (privilege != 0)
	{
		if (unlikely(!check_privilege(entry, privilege)))
			return NULL;
		if (unlikely(entry->check_files))
			check_files(entry);
	}
	follow_settings(entry);
	topic->changed_here = entry->changed_lxid == MyProc->lxid;
	return topic;
}

MqTopic *
mq_topic_open_relation(Oid relid, LOCKMODE lockmode)
{
	TopicEntry *entry = last_entry;
	char		name[MQ_MAX_TOPIC_NAME + 1];
	MqTopicRow	row;

	/* a name of our own: the lookup may remove the entry */
	if (entry != NULL && entry->valid && entry->topic.relid == relid)
		strlcpy(name, entry->topic.name, sizeof(name));
	else if (mq_topic_rows_find_relation(relid, &row))
		strlcpy(name, row.name, sizeof(name));
	else
		mq_topic_raise_unknown(mq_topic_options_topic(relid));
	entry = find_entry(name, lockmode);
	if (entry == NULL || entry->topic.relid != relid)
		mq_topic_raise_unknown(name);
	if (unlikely(entry->check_files))
		check_files(entry);
	follow_settings(entry);
	entry->topic.changed_here = entry->changed_lxid == MyProc->lxid;
	return &entry->topic;
}

/* For options that the topic does not have. */
static inline void
follow_settings(TopicEntry *entry)
{
	if (!entry->own_segment_bytes)
		entry->topic.log.segment_bytes = (int64) mq_segment_size * 1024;
	if (!entry->own_max_message_bytes)
		entry->topic.max_message_bytes = mq_max_message_bytes;
}

void
mq_topic_open_to_produce(MqTopicUse *use, const char *name)
{
	/* what changes while we look must be looked at again */
	uint64		before = generation;

	use->topic = mq_topic_open(name, RowExclusiveLock, ACL_INSERT);
	/* a copied row is to be tried again each time */
	use->generation = ((TopicEntry *) use->topic)->copied ? 0 : before;
	use->lxid = MyProc->lxid;
	use->subid = GetCurrentSubTransactionId();
	use->role = GetUserId();
}

MqTopic *
mq_topic_open_again(const MqTopicUse *use)
{
	if (unlikely(use->topic == NULL || XactReadOnly || use->generation != generation || use->lxid != MyProc->lxid ||
				 use->subid != GetCurrentSubTransactionId() || use->role != GetUserId()))
		return NULL;
	follow_settings((TopicEntry *) use->topic);
	return use->topic;
}

/* The entry of that name, whether valid or not; NULL if there is none. */
static inline TopicEntry *
known_entry(const char *name)
{
	if (likely(last_entry != NULL && strcmp(last_entry->topic.name, name) == 0))
		return last_entry;
	if (entries == NULL || strlen(name) > MQ_MAX_TOPIC_NAME)
		return NULL;
	return hash_search(entries, name, HASH_FIND, NULL);
}

/*
 * The short way: the entry is there, and the lock was taken by this
 * subtransaction, so it cannot have been lost since.  Only RowExclusiveLock is
 * remembered: it is what a million calls of mq.produce in one statement ask
 * for, and nobody gives it back early.
 */
static TopicEntry *
find_entry(const char *name, LOCKMODE lockmode)
{
	TopicEntry *entry = known_entry(name);

	if (likely(entry != NULL && entry->valid && lockmode == RowExclusiveLock &&
			   entry->lock_lxid == MyProc->lxid &&
			   entry->lock_subid == GetCurrentSubTransactionId()))
	{
		last_entry = entry;
		return entry;
	}
	return lock_entry(name, lockmode);
}

/*
 * Looks the name up, locks the relation, and looks again: while it waited for
 * the lock the topic may have been changed, dropped or made anew.
 */
static TopicEntry *
lock_entry(const char *name, LOCKMODE lockmode)
{
	TopicEntry *entry;
	MqTopicRow	row;
	Oid			relid;

	if (!mq_log_is_attached())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mq_ext must be loaded via shared_preload_libraries"),
				 errdetail("The log lives in shared memory and in WAL, and both must know it from the start of the server."),
				 errhint("Add the line shared_preload_libraries = 'mq_ext' to postgresql.conf and restart the server.")));
	if (strlen(name) > MQ_MAX_TOPIC_NAME)
		return NULL;
	mq_topic_identity_sweep();

	for (;;)
	{
		entry = known_entry(name);
		if (entry != NULL && entry->copied && !XactReadOnly)
			entry->valid = false;	/* try again to make the row our own */
		if (entry != NULL && entry->valid)
			relid = entry->topic.relid;
		else if (mq_topic_rows_find(name, &row))
			relid = row.relation;
		else
			break;

		if (lockmode != NoLock)
			LockRelationOid(relid, lockmode);
		entry = known_entry(name);
		if (entry == NULL || !entry->valid || entry->topic.relid != relid)
			entry = mq_topic_rows_find(name, &row) && row.relation == relid ?
				build_entry(&row, lockmode) : NULL;
		if (entry != NULL)
		{
			if (lockmode == RowExclusiveLock)
			{
				entry->lock_lxid = MyProc->lxid;
				entry->lock_subid = GetCurrentSubTransactionId();
			}
			last_entry = entry;
			return entry;
		}

		/* not what it was a moment ago; a row without its relation is no topic */
		if (lockmode != NoLock)
			UnlockRelationOid(relid, lockmode);
		if (!mq_topic_rows_find(name, &row) || row.relation == relid)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	forget_entry(name);
	return NULL;
}

/*
 * Makes or renews the cache entry of a row; NULL if the relation is gone.  The
 * options are read last: what comes before may learn that they have changed,
 * and an entry that is then called valid would never be looked at again.
 */
static TopicEntry *
build_entry(MqTopicRow *row, LOCKMODE lockmode)
{
	TopicEntry *entry;
	List	   *options;
	bool		copied = false;
	bool		found;

	if (row->database != MyDatabaseId)
	{
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row->relation)))
			return NULL;
		/* without a lock somebody may be dropping the topic: his is the row */
		if (lockmode == NoLock)
			ItemPointerSetInvalid(&row->tid);
		copied = !mq_topic_identity_adopt(row);
	}
	if (!mq_topic_options_load(row->relation, &options))
		return NULL;

	if (entries == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(((MqTopic *) NULL)->name);
		ctl.entrysize = sizeof(TopicEntry);
		ctl.hcxt = AllocSetContextCreate(TopMemoryContext, "mq topic cache", ALLOCSET_DEFAULT_SIZES);
		entries = hash_create("mq topic cache", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	entry = hash_search(entries, row->name, HASH_ENTER, &found);
	if (found && entry->topic.retired != NULL)
		pfree(entry->topic.retired);
	memset((char *) entry + sizeof(entry->topic.name), 0, sizeof(TopicEntry) - sizeof(entry->topic.name));

	entry->topic.relid = row->relation;
	entry->topic.uuid = row->uuid;
	/* what we wrote ourselves may yet be rolled back */
	entry->topic.ever_written = row->ever_written && !row->ours;
	entry->check_files = entry->topic.ever_written;
	entry->copied = copied;
	mq_topic_options_parse(options, &entry->topic);
	keep_retired(&entry->topic, mq_topic_options_get(options, MQ_TOPIC_OPTIONS_RETIRED));
	entry->own_segment_bytes = mq_topic_options_get(options, "segment.bytes") != NULL;
	entry->own_max_message_bytes = mq_topic_options_get(options, "max.message.bytes") != NULL;
	if (mq_topic_options_ours(row->relation))
		entry->changed_lxid = MyProc->lxid;
	entry->valid = true;
	generation++;
	return entry;
}

/* What does not parse was written behind our back, and counts as nothing. */
static void
keep_retired(MqTopic *topic, const char *text)
{
	int32	   *numbers;
	int			n;

	if (text == NULL || !mq_topic_retired_parse(text, &numbers, &n) || n >= topic->partitions)
		return;
	topic->retired = MemoryContextAlloc(TopMemoryContext, sizeof(int32) * n);
	memcpy(topic->retired, numbers, sizeof(int32) * n);
	topic->nretired = n;
	pfree(numbers);
}

static void
forget_entry(const char *name)
{
	TopicEntry *entry;

	if (entries == NULL)
		return;
	entry = hash_search(entries, name, HASH_FIND, NULL);
	if (entry != NULL && entry->topic.retired != NULL)
		pfree(entry->topic.retired);
	if (last_entry != NULL && strcmp(last_entry->topic.name, name) == 0)
		last_entry = NULL;
	(void) hash_search(entries, name, HASH_REMOVE, NULL);
	generation++;
}

/* Raises 42501; false if the relation, which need not be locked, has just gone. */
static bool
check_privilege(TopicEntry *entry, AclMode privilege)
{
	uint64		before = acl_generation;
	Oid			role = GetUserId();
	bool		missing = false;

	if (likely(entry->acl_generation == before && entry->acl_role == role &&
			   entry->acl_mode == privilege))
		return true;
	if (pg_class_aclcheck_ext(entry->topic.relid, role, privilege, &missing) != ACLCHECK_OK)
	{
		if (missing)
			return false;
		mq_topic_raise_no_privilege(&entry->topic, privilege);
	}
	entry->acl_generation = before;
	entry->acl_role = role;
	entry->acl_mode = privilege;
	return true;
}

/* Where partitions have been retired, those that were written to may all be gone by now. */
bool
mq_topic_has_lost_files(const MqTopic *topic)
{
	int			n = mq_log_partitions_on_disk(MyDatabaseId, &topic->uuid);

	return n < 0 || (n == 0 && topic->nretired == 0);
}

/*
 * A topic that was written to and has no files has lost them: to pg_upgrade,
 * say, which carries over the catalog and not pg_mq.
 */
static void
check_files(TopicEntry *entry)
{
	const MqTopic *topic = &entry->topic;

	if (mq_topic_has_lost_files(topic))
	{
		char	   *uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&topic->uuid)));

		ereport(mq_allow_missing_logs ? WARNING : ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("log files of topic \"%s\" are missing", topic->name),
				 errdetail("Messages were written to the topic, but folder pg_mq/%u/%s holds no partition.",
						   MyDatabaseId, uuid),
				 mq_allow_missing_logs ? 0 :
				 errhint("Restore the folder, or set mq.allow_missing_logs to go on with an empty topic.")));
		pfree(uuid);
	}
	entry->check_files = false;
}

void
mq_topic_raise_unknown(const char *name)
{
	const char *similar = similar_name(name);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("topic \"%s\" does not exist", mq_topic_names_shown(name)),
			 similar != NULL ? errhint("Perhaps you meant \"%s\".", similar) : 0));
}

/* The topic whose name is nearest, if it is near; NULL if none is. */
static char *
similar_name(const char *name)
{
	int			len = strlen(name);
	int			best = Min(HINT_DISTANCE, len / 2);
	char	   *similar = NULL;
	ListCell   *lc;

	if (len > MQ_MAX_TOPIC_NAME)
		return NULL;
	foreach(lc, mq_topic_names())
	{
		char	   *candidate = lfirst(lc);
		int			distance;

		CHECK_FOR_INTERRUPTS();
		distance = varstr_levenshtein_less_equal(name, len, candidate, strlen(candidate),
												 1, 1, 1, best, true);
		/* the same name: its relation is gone, see mq_topic_identity_insert() */
		if (distance == 0)
			continue;
		if (distance <= best && (similar == NULL || distance < best))
		{
			similar = candidate;
			best = distance;
		}
	}
	return similar;
}

void
mq_topic_check_partition(const MqTopic *topic, int32 partition)
{
	if (unlikely(partition < 0 || partition >= topic->partitions))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition %d of topic \"%s\" does not exist", partition, topic->name),
				 errdetail("The topic has %d partitions, numbered from 0.", topic->partitions)));
	if (unlikely(topic->nretired > 0) && mq_topic_retired_gone(topic, partition))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition %d of topic \"%s\" does not exist", partition, topic->name),
				 errdetail("It was retired, and its messages have expired.")));
}

void
mq_topic_check_writable(const MqTopic *topic, int32 partition)
{
	if (unlikely(topic->nretired > 0) && mq_topic_retired_is(topic, partition))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition %d of topic \"%s\" is retired", partition, topic->name),
				 errdetail("It takes no more messages, and goes when the last of them has expired."),
				 errhint("Leave out the partition, or name another.")));
	mq_topic_check_partition(topic, partition);
}

void
mq_topic_key(const MqTopic *topic, int32 partition, MqLogKey *key)
{
	key->dboid = MyDatabaseId;
	key->partition = partition;
	key->topic = topic->uuid;
}

/*
 * Tries once per subtransaction.  The row is updated as part of the user's
 * transaction, so the mark stands or falls with the messages; while another
 * transaction does the same we leave it alone, and whichever comes next sees
 * to it.
 */
void
mq_topic_mark_written(MqTopic *topic)
{
	TopicEntry *entry;
	MqTopicRow	row;

	if (topic->ever_written)
		return;
	entry = last_entry;
	if (entry == NULL || topic->relid != entry->topic.relid)
		entry = hash_search(entries, topic->name, HASH_FIND, NULL);
	if (entry == NULL || (entry->mark_lxid == MyProc->lxid &&
						  entry->mark_subid == GetCurrentSubTransactionId()))
		return;
	entry->mark_lxid = MyProc->lxid;
	entry->mark_subid = GetCurrentSubTransactionId();

	/* no VACUUM FULL between the look and the update */
	LockRelationOid(mq_topic_rows_table(), RowExclusiveLock);
	if (!mq_topic_rows_find_relation(topic->relid, &row) || row.database != MyDatabaseId)
		return;
	if (row.ever_written)
	{
		/* what we wrote ourselves may yet be rolled back */
		topic->ever_written = entry->topic.ever_written = !row.ours;
		return;
	}
	row.ever_written = true;
	(void) mq_topic_rows_update(&row);
}

List *
mq_topic_names(void)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, mq_topic_rows_list())
		names = lappend(names, pstrdup(((MqTopicRow *) lfirst(lc))->name));
	return names;
}

/* The owner is asked for before the lock, or anybody could stop all producers. */
MqTopic *
mq_topic_open_owned(const char *name, LOCKMODE lockmode)
{
	Oid			relid = mq_topic_relation(name);
	MqTopic    *topic;

	if (OidIsValid(relid))
		mq_topic_check_owner(relid, name);
	topic = mq_topic_open(name, lockmode, 0);
	mq_topic_check_owner(topic->relid, name);
	return topic;
}

Oid
mq_topic_relation(const char *name)
{
	MqTopicRow	row;

	if (strlen(name) > MQ_MAX_TOPIC_NAME || !mq_topic_rows_find(name, &row) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row.relation)))
		return InvalidOid;
	return row.relation;
}

bool
mq_topic_is_topic(Oid relid)
{
	MqTopicRow	row;

	return mq_topic_rows_find_relation(relid, &row);
}
