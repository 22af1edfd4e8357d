/*
 * mq_topic_access.c
 *	  What a role may do with a topic, beyond the privileges of its relation.
 *
 * Locking: none; a relation that goes meanwhile is nobody's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "broker/mq_topic.h"

static const char *qualified_name(Oid relid);

bool
mq_topic_can_see(const MqTopic *topic)
{
	Oid			role = GetUserId();
	Oid			owner;
	bool		missing = false;

	if (has_privs_of_role(role, ROLE_PG_READ_ALL_STATS) ||
		pg_class_aclcheck_ext(topic->relid, role, ACL_SELECT, &missing) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(topic->relid, role, ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK)
		return true;
	owner = mq_topic_owner(topic->relid);
	return OidIsValid(owner) && has_privs_of_role(role, owner);
}

bool
mq_topic_is_owned(Oid relid)
{
	Oid			owner = mq_topic_owner(relid);

	return OidIsValid(owner) && has_privs_of_role(GetUserId(), owner);
}

void
mq_topic_check_owner(Oid relid, const char *name)
{
	Oid			owner;
	const char *relation;

	if (mq_topic_is_owned(relid))
		return;
	owner = mq_topic_owner(relid);
	relation = qualified_name(relid);
	if (!OidIsValid(owner) || relation == NULL)
		return;					/* dropped a moment ago: the lookup that follows says so */
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of topic %s", name),
			 errdetail("The owner is role %s.", quote_identifier(GetUserNameFromId(owner, true))),
			 errhint("Act as the owner, or let the owner ALTER FOREIGN TABLE %s OWNER TO %s;",
					 relation, quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* InvalidOid if the relation has just gone. */
Oid
mq_topic_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
mq_topic_raise_no_privilege(const MqTopic *topic, AclMode privilege)
{
	const char *relation = qualified_name(topic->relid);
	const char *word = (privilege & ACL_INSERT) ? "INSERT" :
		(privilege & ACL_TRUNCATE) ? "TRUNCATE" : "SELECT";

	if (relation == NULL)
		mq_topic_raise_unknown(topic->name);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for topic %s", topic->name),
			 errdetail("%s privilege on %s is required.", word, relation),
			 errhint("GRANT %s ON %s TO %s;", word, relation,
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* NULL if the relation has just gone. */
static const char *
qualified_name(Oid relid)
{
	char	   *relname = get_rel_name(relid);
	char	   *schema = get_namespace_name_or_temp(get_rel_namespace(relid));

	return relname == NULL || schema == NULL ? NULL : quote_qualified_identifier(schema, relname);
}
