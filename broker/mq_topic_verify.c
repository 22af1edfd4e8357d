/*
 * mq_topic_verify.c
 *	  Who may have a topic verified.
 *
 * Verifying shows nothing of messages but their offsets, and costs a read of
 * all files; so it is not for every reader.
 *
 * Locking: AccessShareLock on the topic's relation: who drops the topic is
 *			waited for.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "broker/mq_topic_verify.h"

static void raise_cannot_verify(Oid relid, const char *name) pg_attribute_noreturn();

/* As with an owner's privilege, it is asked for before the lock. */
MqTopic *
mq_topic_verify_open(const char *name)
{
	Oid			relid = mq_topic_relation(name);
	MqTopic    *topic;

	if (OidIsValid(relid) && !mq_topic_verify_allowed(relid))
		raise_cannot_verify(relid, name);
	topic = mq_topic_open(name, AccessShareLock, 0);
	if (!mq_topic_verify_allowed(topic->relid))
		raise_cannot_verify(topic->relid, name);
	return topic;
}

bool
mq_topic_verify_allowed(Oid relid)
{
	Oid			role = GetUserId();
	Oid			owner = mq_topic_owner(relid);

	return OidIsValid(owner) &&
		(has_privs_of_role(role, ROLE_PG_READ_ALL_STATS) || has_privs_of_role(role, owner));
}

bool
mq_topic_verify_is_lost(const MqTopic *topic)
{
	return topic->ever_written && mq_topic_has_lost_files(topic);
}

static void
raise_cannot_verify(Oid relid, const char *name)
{
	Oid			owner = mq_topic_owner(relid);

	if (!OidIsValid(owner))
		mq_topic_raise_unknown(name);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to verify topic %s", name),
			 errdetail("Only the owner, role %s, and members of pg_monitor may verify it.",
					   quote_identifier(GetUserNameFromId(owner, true))),
			 errhint("GRANT pg_monitor TO %s;",
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}
