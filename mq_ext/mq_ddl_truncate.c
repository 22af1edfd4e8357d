/*
 * mq_ddl_truncate.c
 *	  TRUNCATE of topics.
 *
 * TRUNCATE deletes messages as mq.purge_topic() does, at once.  No ROLLBACK
 * brings them back, so the command must have nothing left to fail of: while
 * the server runs it, topics are only looked at.  When it is done, with all
 * its tables, their triggers and the topics of other servers, messages go.
 *
 * Locking: the server has locked the relations.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/rel.h"

#include "broker/mq_life.h"
#include "mq_ext/mq_ddl_truncate.h"

static void empty(Oid relid, bool warn);

void
mq_ddl_truncate_note(List *rels)
{
	ListCell   *lc;

	foreach(lc, rels)
		mq_life_check(mq_topic_open_relation(RelationGetRelid((Relation) lfirst(lc)), NoLock));
	foreach(lc, rels)
	{
		Oid			relid = RelationGetRelid((Relation) lfirst(lc));

		/* another module may truncate without a command, and then nobody comes later */
		if (!mq_ddl_run_note_truncated(relid))
			empty(relid, true);
	}
}

/* The list is the transaction's, which nothing below ends. */
void
mq_ddl_truncate_finish(const MqDdlRun *run)
{
	bool		warn = IsInTransactionBlock(run->top_level);
	ListCell   *lc;

	foreach(lc, run->truncated)
		empty(lfirst_oid(lc), warn);
}

static void
empty(Oid relid, bool warn)
{
	MqTopic    *topic = mq_topic_open_relation(relid, NoLock);

	if (warn)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("the messages of topic \"%s\" are deleted at once", topic->name),
				 errdetail("A ROLLBACK does not bring them back.")));
	(void) mq_life_purge(topic);
}
