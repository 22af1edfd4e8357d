/*
 * mq_fdw_columns.h
 *	  What each column of a topic's table stands for.
 */
#ifndef MQ_FDW_COLUMNS_H
#define MQ_FDW_COLUMNS_H

#include "access/tupdesc.h"

#define MQ_FDW_COLUMNS_OPTION	"json"	/* of a column: the payload member it stands for */

typedef enum MqFdwColumnKind
{
	MQ_FDW_COLUMN_DROPPED,
	MQ_FDW_COLUMN_PARTITION,
	MQ_FDW_COLUMN_MSG_OFFSET,
	MQ_FDW_COLUMN_TS,
	MQ_FDW_COLUMN_KEY,
	MQ_FDW_COLUMN_VALUE,
	MQ_FDW_COLUMN_HEADERS,
	MQ_FDW_COLUMN_TAGS,
	MQ_FDW_COLUMN_PAYLOAD
} MqFdwColumnKind;

typedef struct MqFdwColumn
{
	MqFdwColumnKind kind;
	const char *name;
	Oid			type;
	int32		typmod;
	const char *member;			/* of a payload column: in the server's encoding */
} MqFdwColumn;

/* Columns by attribute number less one. */
typedef struct MqFdwColumns
{
	int			n;
	int			payload;		/* how many are payload columns */
	MqFdwColumn *columns;
} MqFdwColumns;

/* Raises 42611 for columns that do not fit.  Result lives in the current memory context. */
extern MqFdwColumns *mq_fdw_columns_load(Oid relid, TupleDesc desc);

/* called by DDL that makes or alters it: raises 42611 for a relation whose columns do not fit; the caller has it locked */
extern void mq_fdw_columns_check(Oid relid, bool altered);

#endif							/* MQ_FDW_COLUMNS_H */
