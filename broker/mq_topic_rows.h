/*
 * mq_topic_rows.h
 *	  Rows of mq_internal.topics.
 *
 * For mq_topic.c and mq_ddl.c only.
 */
#ifndef MQ_TOPIC_ROWS_H
#define MQ_TOPIC_ROWS_H

#include "base/mq_types.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

typedef struct MqTopicRow
{
	ItemPointerData tid;
	Oid			relation;
	pg_uuid_t	uuid;
	char		name[MQ_MAX_TOPIC_NAME + 1];
	Oid			database;
	bool		ever_written;
	TimestampTz created_at;
	bool		ours;			/* this version was written by the transaction in progress */
} MqTopicRow;

/* The table's OID; InvalidOid where the extension is not installed. */
extern Oid	mq_topic_rows_table(void);

/* As of now, whatever the transaction's isolation level. */
extern bool mq_topic_rows_find(const char *name, MqTopicRow *row);
extern bool mq_topic_rows_find_relation(Oid relid, MqTopicRow *row);
extern List *mq_topic_rows_list(void);	/* of MqTopicRow *, by name */

extern void mq_topic_rows_insert(const MqTopicRow *row);
extern void mq_topic_rows_delete(const MqTopicRow *row);

/*
 * False, and nothing changed, when another transaction has the row, when it has
 * moved, and when tid is invalid.  Waits for no row.
 */
extern bool mq_topic_rows_update(const MqTopicRow *row);

/* called by _PG_init */
extern void mq_topic_rows_init(void);

#endif							/* MQ_TOPIC_ROWS_H */
