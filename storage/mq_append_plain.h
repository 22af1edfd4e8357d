/*
 * mq_append_plain.h
 *	  The short form of an append's WAL record.
 *
 * Pure: no locks, no I/O, no palloc, no ereport; memory is the caller's.
 * Both structs stand in mq_log_wal.h; the layout is drawn in storage/README.md.
 */
#ifndef MQ_APPEND_PLAIN_H
#define MQ_APPEND_PLAIN_H

#include "storage/mq_log_wal.h"

/*
 * called by an append.  The batch is sealed and has its offset and epoch.
 * Result: how many bytes of *plain are to be written, with the batch from byte
 * MQ_BATCH_HEADER_SIZE on behind them; 0 when the batch needs the long form.
 */
extern uint32 mq_append_plain_pack(const xl_mq_append *xlrec, const uint8 *batch, xl_mq_append_plain *plain);

/*
 * called at redo and by those who describe records.  Gives back what was
 * packed: the long record, the MQ_BATCH_HEADER_SIZE bytes of the batch's header
 * and the rest of the batch, which stays where it is.  data is aligned as a
 * record's main data is.  False when it is no such record.
 */
extern bool mq_append_plain_unpack(const void *data, uint32 len, xl_mq_append *xlrec,
								   uint8 *header, const uint8 **rest);

#endif							/* MQ_APPEND_PLAIN_H */
