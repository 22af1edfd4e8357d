/*
 * mq_topic_names.c
 *	  What a topic and its relation may be called.
 *
 * Topic names follow Kafka: longer than an identifier, with dots and dashes,
 * case significant.  A relation's name is derived from it only as a default;
 * what ties the two together is the row in mq_internal.topics.
 *
 * Locking: mq_topic_names_claim() takes a heavyweight lock that stands for the
 * name, before any lock on the relation.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/mq_types.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_rows.h"

static void base_relation_name(const char *name, char *base);
static bool name_is_taken(const char *relname);
static void hashed_relation_name(const char *name, char *base);

/* Kafka's rule, and the two names that Kafka keeps for itself. */
void
mq_topic_names_check(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || len > MQ_MAX_TOPIC_NAME || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid topic name \"%s\"", mq_topic_names_shown(name)),
				 errdetail("A topic name has 1 to %d characters out of a-z, A-Z, 0-9, \".\", \"_\" and \"-\", and is neither \".\" nor \"..\".",
						   MQ_MAX_TOPIC_NAME),
				 errhint("Choose another name.")));
	if (strcmp(name, "__consumer_offsets") == 0 || strcmp(name, "__transaction_state") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic name \"%s\" is reserved", name),
				 errdetail("Topics of this name hold what consumer groups and producers remember."),
				 errhint("Choose another name.")));
}

/* Text may have a gigabyte, and goes to the server's log, too. */
const char *
mq_topic_names_shown(const char *text)
{
	size_t		len = strlen(text);

	if (len <= MQ_MAX_TOPIC_NAME)
		return text;
	return psprintf("%.*s...", pg_mbcliplen(text, len, 60), text);
}

/*
 * The lock is on the default relation name: names that differ only in "." and
 * "-" want the same one.
 */
void
mq_topic_names_claim(const char *name)
{
	char		base[NAMEDATALEN];

	base_relation_name(name, base);
	LockDatabaseObject(mq_topic_rows_table(), hash_bytes((unsigned char *) base, strlen(base)), 0,
					   ExclusiveLock);
}

char *
mq_topic_names_relation(const char *name)
{
	char		base[NAMEDATALEN];

	base_relation_name(name, base);
	if (strlen(name) >= NAMEDATALEN || name_is_taken(base))
		hashed_relation_name(name, base);
	return pstrdup(base);
}

/* "." and "-" become "_"; what is too long is cut. */
static void
base_relation_name(const char *name, char *base)
{
	int			i;

	strlcpy(base, name, NAMEDATALEN);
	for (i = 0; base[i] != '\0'; i++)
		if (base[i] == '.' || base[i] == '-')
			base[i] = '_';
}

/* By a relation or a type.  An array type makes way: the server renames it. */
static bool
name_is_taken(const char *relname)
{
	Oid			schema = get_namespace_oid(MQ_TOPIC_NAMES_SCHEMA, false);
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum(relname), ObjectIdGetDatum(schema));

	return OidIsValid(get_relname_relid(relname, schema)) ||
		(OidIsValid(type) && !OidIsValid(get_element_type(type)));
}

static void
hashed_relation_name(const char *name, char *base)
{
	char		suffix[16];

	snprintf(suffix, sizeof(suffix), "_%08x", hash_bytes((const unsigned char *) name, strlen(name)));
	strlcpy(base + Min(strlen(base), NAMEDATALEN - 1 - strlen(suffix)), suffix, sizeof(suffix));
}
