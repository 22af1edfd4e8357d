/*
 * mq_log_tail.h
 *	  The tail of a log: small appends on their way to the files.
 *
 * Inside storage/ only.  All but mq_log_tail_write_for_reader() want the
 * log's append lock held exclusively.
 */
#ifndef MQ_LOG_TAIL_H
#define MQ_LOG_TAIL_H

#include "storage/mq_log_internal.h"
#include "storage/mq_log_wal.h"

/* called when shared memory is sized and built; the log table is there by then */
extern Size mq_log_tail_shmem_size(void);
extern void mq_log_tail_shmem_init(void);

/* called before an append's critical section; raises when a write fails */
extern bool mq_log_tail_prepare(MqLog *log, int n, int64 bytes);

/* called inside it; descriptors are sealed */
extern void mq_log_tail_put(const MqLogAppendPlan *plan, const MqLogEnd *from, const MqDescriptorDisk *descriptors);

/*
 * called by those who need the files: the settler, checkpoints, a roll.
 * A failed write is reported at elevel; false with errno if that returns
 */
extern bool mq_log_tail_write(MqLog *log, int elevel);

/* takes the append lock itself, if there is anything to write; raises when that fails */
extern void mq_log_tail_write_for_reader(MqLog *log);

/* called when the log is dropped */
extern void mq_log_tail_discard(MqLog *log);

#endif							/* MQ_LOG_TAIL_H */
