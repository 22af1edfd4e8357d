/*
 * mq_sql_wait.c
 *	  CALL mq.wait(): the long poll of SQL clients.
 *
 * A statement that sleeps keeps its snapshot, and a snapshot that grows old
 * keeps vacuum from cleaning up, in every table of the database.  This is why
 * max_wait of mq.fetch() is short and why this is a procedure: a CALL that
 * stands on its own may give up the snapshots that its portal holds and sleep
 * without any, as COMMIT inside a procedure does.  Where somebody else still
 * holds one (a function around us, an open cursor, REPEATABLE READ) nothing
 * would be won, and the call is refused.
 *
 * It waits for messages past given positions.  If it waited for "something
 * new", what arrives between a fetch and the wait would be slept over.
 *
 * Locking: no lock on a topic's relation is kept, a DROP need not wait for the
 *			sleeper, who is woken by it instead.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "base/mq_faults.h"
#include "broker/mq_fetch.h"
#include "broker/mq_notify.h"
#include "broker/mq_topic_identity.h"
#include "mq_ext/mq_sql.h"

/* The arguments of mq.wait() */
enum
{
	ARG_TOPICS,
	ARG_TIMEOUT,
	ARG_POSITIONS
};

/* One element of the argument "positions". */
typedef struct Position
{
	char	   *topic;
	int32		partition;
	MqOffset	offset;
} Position;

typedef struct WaitList
{
	MqNotifyWait *waits;
	char	  **topics;			/* their names, for errors */
	int			n;
	int			room;
} WaitList;

static Position *read_positions(FunctionCallInfo fcinfo, int *n);
static void read_position(HeapTupleHeader row, TupleDesc desc, Position *position);
static void add_positions(WaitList *list, const Position *positions, int n);
static void add_topics(WaitList *list, ArrayType *topics, const Position *positions, int npositions);
static void add_wait(WaitList *list, MqTopic *topic, int32 partition, const MqOffset *from);
static void check_present(const WaitList *list);
static void release_snapshots(void);
static void pg_attribute_noreturn() refuse_to_wait(void);
static void check_dropped(const WaitList *list);
static void raise_dropped(const char *topic) pg_attribute_noreturn();

PG_FUNCTION_INFO_V1(mq_sql_wait);

Datum
mq_sql_wait(PG_FUNCTION_ARGS)
{
	int			timeout = mq_sql_interval_ms(fcinfo, ARG_TIMEOUT, "timeout");
	WaitList	list = {0};
	Position   *positions;
	int			npositions;
	TupleDesc	desc;
	Datum		ready;
	bool		isnull = false;
	int			i;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	positions = read_positions(fcinfo, &npositions);
	add_positions(&list, positions, npositions);
	if (!PG_ARGISNULL(ARG_TOPICS))
		add_topics(&list, PG_GETARG_ARRAYTYPE_P(ARG_TOPICS), positions, npositions);
	if (list.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mq.wait() has nothing to wait for"),
				 errhint("Pass \"topics\" or \"positions\".")));

	check_present(&list);
	release_snapshots();
	ready = BoolGetDatum(mq_notify_wait(list.waits, list.n, timeout));
	EnsurePortalSnapshotExists();

	check_dropped(&list);
	/* the last pinned first, as mq_log_unpin() likes it */
	for (i = list.n - 1; i >= 0; i--)
		mq_log_unpin(list.waits[i].log);
	return HeapTupleGetDatum(heap_form_tuple(desc, &ready, &isnull));
}

static Position *
read_positions(FunctionCallInfo fcinfo, int *n)
{
	ArrayType  *array;
	TupleDesc	desc;
	Position   *positions;
	Datum	   *elems;
	bool	   *nulls;
	int			i;

	*n = 0;
	if (PG_ARGISNULL(ARG_POSITIONS))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(ARG_POSITIONS);
	mq_sql_array(array, "positions", &elems, &nulls, n);
	desc = lookup_rowtype_tupdesc(ARR_ELEMTYPE(array), -1);
	positions = palloc((*n + 1) * sizeof(Position));
	for (i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"positions\" must not contain nulls")));
		read_position(DatumGetHeapTupleHeader(elems[i]), desc, &positions[i]);
	}
	ReleaseTupleDesc(desc);
	return positions;
}

static void
read_position(HeapTupleHeader row, TupleDesc desc, Position *position)
{
	HeapTupleData tuple;
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, desc, values, nulls);
	if (nulls[0] || nulls[1] || nulls[2])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a position must have a topic, a partition and an offset")));
	position->topic = TextDatumGetCString(values[0]);
	position->partition = DatumGetInt32(values[1]);
	position->offset = DatumGetInt64(values[2]);
	pfree(values);
	pfree(nulls);
}

static void
add_positions(WaitList *list, const Position *positions, int n)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		MqTopic    *topic;

		CHECK_FOR_INTERRUPTS();
		topic = mq_topic_open(positions[i].topic, NoLock, ACL_SELECT);
		mq_topic_check_partition(topic, positions[i].partition);
		add_wait(list, topic, positions[i].partition, &positions[i].offset);
	}
}

/* A partition that has a position is waited for there and not at its end. */
static void
add_topics(WaitList *list, ArrayType *topics, const Position *positions, int npositions)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	int			i;

	mq_sql_array(topics, "topics", &elems, &nulls, &n);
	for (i = 0; i < n; i++)
	{
		MqTopic    *topic;
		bool	   *has_position;
		int			j;

		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"topics\" must not contain nulls")));
		topic = mq_topic_open(TextDatumGetCString(elems[i]), NoLock, ACL_SELECT);
		has_position = palloc0(topic->partitions * sizeof(bool));
		for (j = 0; j < npositions; j++)
		{
			if (positions[j].partition < topic->partitions &&
				strcmp(positions[j].topic, topic->name) == 0)
				has_position[positions[j].partition] = true;
		}
		for (j = 0; j < topic->partitions; j++)
		{
			if (!has_position[j])
				add_wait(list, topic, j, NULL);
		}
		pfree(has_position);
	}
}

/* Pins the partition's log and waits past "from", or past the end as it is now. */
static void
add_wait(WaitList *list, MqTopic *topic, int32 partition, const MqOffset *from)
{
	MqLogKey	key;
	MqLogOffsets offsets;
	MqNotifyWait *wait;

	if (list->n == list->room)
	{
		list->room = Max(list->room * 2, 16);
		list->waits = list->n == 0 ? palloc(list->room * sizeof(MqNotifyWait)) :
			repalloc(list->waits, list->room * sizeof(MqNotifyWait));
		list->topics = list->n == 0 ? palloc(list->room * sizeof(char *)) :
			repalloc(list->topics, list->room * sizeof(char *));
	}
	MQ_FAULT("wait_topic_found");
	mq_topic_key(topic, partition, &key);
	list->topics[list->n] = pstrdup(topic->name);
	wait = &list->waits[list->n];
	wait->log = mq_log_open(&key);
	list->n++;
	mq_log_offsets(wait->log, &offsets);
	wait->offset = from == NULL ? offsets.lso :
		mq_fetch_start(topic->name, partition, &offsets, *from);
}

/*
 * No lock kept the topics while their logs were opened, and a log that was
 * opened after its topic's files had gone would never hear of the drop.  A
 * topic that is dropped from here on finds its logs pinned and wakes us.  The
 * catalog is asked, not the cache: a drop is handed over to the janitor before
 * it is made known to the caches of others.
 */
static void
check_present(const WaitList *list)
{
	int			i;

	for (i = 0; i < list->n; i++)
	{
		if (i > 0 && strcmp(list->topics[i], list->topics[i - 1]) == 0)
			continue;
		if (!mq_topic_identity_is_current(list->topics[i], &mq_log_key(list->waits[i].log)->topic))
			raise_dropped(list->topics[i]);
	}
}

/*
 * Gives up the snapshots of the portal that runs this CALL.  Only if the
 * active snapshot is the portal's own may it be popped: any other belongs to
 * somebody who will want it back.
 */
static void
release_snapshots(void)
{
	Portal		portal = ActivePortal;

	if (IsolationUsesXactSnapshot() || portal == NULL ||
		(ActiveSnapshotSet() && portal->portalSnapshot != GetActiveSnapshot()))
		refuse_to_wait();

	if (portal->holdSnapshot != NULL)
	{
		UnregisterSnapshotFromOwner(portal->holdSnapshot, portal->resowner);
		portal->holdSnapshot = NULL;
	}
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	portal->portalSnapshot = NULL;
	InvalidateCatalogSnapshot();
	if (HaveRegisteredOrActiveSnapshot())
	{
		EnsurePortalSnapshotExists();
		refuse_to_wait();
	}
}

static void
refuse_to_wait(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("mq.wait() cannot be called while a snapshot is held"),
			 errdetail("Its sleep would keep vacuum from cleaning up."),
			 errhint("Call it outside of functions, without open cursors, and not in a REPEATABLE READ or SERIALIZABLE transaction.")));
}

static void
check_dropped(const WaitList *list)
{
	int			i;

	for (i = 0; i < list->n; i++)
	{
		if (mq_log_is_dropped(list->waits[i].log))
			raise_dropped(list->topics[i]);
	}
}

static void
raise_dropped(const char *topic)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("topic \"%s\" does not exist", topic),
			 errdetail("It was dropped while this session waited for its messages.")));
}
