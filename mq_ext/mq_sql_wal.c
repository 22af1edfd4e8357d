/*
 * mq_sql_wal.c
 *	  mq.wal_records(): our records in the write-ahead log.
 *
 * pg_waldump cannot load an extension's resource manager, so it shows nothing
 * of them; and pg_walinspect shows all records, with a description only.  This
 * function reads WAL the way pg_walinspect does, leaves out what is not ours,
 * and has columns for topic, partition and offsets.
 *
 * Locking: none; WAL that is removed while we read is an error.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogreader.h"
#include "access/xlogrecovery.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/uuid.h"

#include "mq_ext/mq_sql.h"
#include "storage/mq_log_wal.h"

static XLogRecPtr last_known_lsn(void);
static void check_bounds(XLogRecPtr start, XLogRecPtr end, XLogRecPtr known);
static XLogReaderState *open_reader(XLogRecPtr start);
static void close_file(void *arg);
static bool read_record(XLogReaderState *reader);
static void put_record(MqSqlRows *rows, XLogReaderState *reader);

PG_FUNCTION_INFO_V1(mq_sql_wal_records);

Datum
mq_sql_wal_records(PG_FUNCTION_ARGS)
{
	XLogRecPtr	known = last_known_lsn();
	XLogRecPtr	start;
	XLogRecPtr	end;
	XLogReaderState *reader;
	MemoryContext reading;
	MemoryContext scratch;
	MemoryContext caller;
	MqSqlRows	rows;

	mq_sql_require_arg(fcinfo, 0, "start_lsn");
	start = PG_GETARG_LSN(0);
	end = PG_ARGISNULL(1) ? known : PG_GETARG_LSN(1);
	check_bounds(start, end, known);

	mq_sql_rows_begin(fcinfo, &rows);
	if (start == end)
		return (Datum) 0;
	reading = AllocSetContextCreate(CurrentMemoryContext, "mq WAL reader", ALLOCSET_DEFAULT_SIZES);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "mq WAL record", ALLOCSET_DEFAULT_SIZES);

	/* the reader allocates as it reads, and keeps what it allocates */
	caller = MemoryContextSwitchTo(reading);
	reader = open_reader(start);
	while (reader != NULL && read_record(reader) && reader->EndRecPtr <= end)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		put_record(&rows, reader);
		MemoryContextReset(scratch);
		MemoryContextSwitchTo(reading);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(scratch);
	MemoryContextDelete(reading);
	return (Datum) 0;
}

/* Up to where there is WAL that will stay. */
static XLogRecPtr
last_known_lsn(void)
{
	return RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetFlushRecPtr(NULL);
}

static void
check_bounds(XLogRecPtr start, XLogRecPtr end, XLogRecPtr known)
{
	/* the first page of all WAL belongs to initdb and cannot be read */
	if (start < XLOG_BLCKSZ || start > known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"start_lsn\" is out of range"),
				 errdetail("It is %X/%X; the last known LSN is %X/%X.",
						   LSN_FORMAT_ARGS(start), LSN_FORMAT_ARGS(known))));
	if (end < start || end > known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"end_lsn\" is out of range"),
				 errdetail("It is %X/%X; it may lie between \"start_lsn\", %X/%X, and the last known LSN, %X/%X.",
						   LSN_FORMAT_ARGS(end), LSN_FORMAT_ARGS(start), LSN_FORMAT_ARGS(known))));
}

/*
 * Stands before the first record that begins at start or later; NULL when
 * there is none.  The reader ends with the current memory context, and so does
 * its file, which no resource owner knows: also when an error ends them.
 */
static XLogReaderState *
open_reader(XLogRecPtr start)
{
	ReadLocalXLogPageNoWaitPrivate *private = palloc0(sizeof(ReadLocalXLogPageNoWaitPrivate));
	XLogReaderState *reader = XLogReaderAllocate(wal_segment_size, NULL,
												 XL_ROUTINE(.page_read = &read_local_xlog_page_no_wait,
															.segment_open = &wal_segment_open,
															.segment_close = &wal_segment_close),
												 private);
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	if (reader == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while allocating a WAL reading processor.")));
	callback->func = close_file;
	callback->arg = reader;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	if (!XLogRecPtrIsInvalid(XLogFindNextRecord(reader, start)))
		return reader;
	if (!private->end_of_wal)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not find a valid WAL record after %X/%X", LSN_FORMAT_ARGS(start)),
				 errhint("WAL before the last checkpoint may have been removed.")));
	return NULL;
}

static void
close_file(void *arg)
{
	XLogReaderState *reader = arg;

	if (reader->seg.ws_file >= 0)
		wal_segment_close(reader);
}

/* False at the end of WAL, which may fall into the middle of a record. */
static bool
read_record(XLogReaderState *reader)
{
	ReadLocalXLogPageNoWaitPrivate *private = reader->private_data;
	char	   *problem = NULL;

	if (XLogReadRecord(reader, &problem) != NULL)
		return true;
	if (private->end_of_wal)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read WAL at %X/%X", LSN_FORMAT_ARGS(reader->EndRecPtr)),
			 problem == NULL ? 0 : errdetail_internal("%s", problem)));
}

/* Makes a row of the record if it is one of ours. */
static void
put_record(MqSqlRows *rows, XLogReaderState *reader)
{
	MqLogWalInfo info;

	if (XLogRecGetRmid(reader) != MQ_RMGR_ID || !mq_log_wal_describe(reader, &info))
		return;
	mq_sql_rows_set(rows, 0, LSNGetDatum(reader->ReadRecPtr));
	mq_sql_rows_set(rows, 1, LSNGetDatum(reader->EndRecPtr));
	rows->nulls[2] = !TransactionIdIsValid(XLogRecGetXid(reader));
	rows->values[2] = TransactionIdGetDatum(XLogRecGetXid(reader));
	mq_sql_rows_set_text(rows, 3, info.type);
	mq_sql_rows_set(rows, 4, UUIDPGetDatum(&info.key.topic));
	rows->nulls[5] = !info.has_partition;
	rows->values[5] = Int32GetDatum(info.key.partition);
	rows->nulls[6] = info.base_offset == MQ_INVALID_OFFSET;
	rows->values[6] = Int64GetDatum(info.base_offset);
	rows->nulls[7] = info.records < 0;
	rows->values[7] = Int32GetDatum(info.records);
	mq_sql_rows_set_text(rows, 8, info.description);
	mq_sql_rows_put(rows);
}
