/*
 * mq_log_space.h
 *	  Room for an append: an active segment that is not full, space reserved in it.
 *
 * Inside storage/ only.  Callers hold the append lock exclusively.
 */
#ifndef MQ_LOG_SPACE_H
#define MQ_LOG_SPACE_H

#include "storage/mq_log_internal.h"
#include "storage/mq_log_wal.h"

/* Sees to it that the active segment is there and not full; says in the plan what WAL must know.  Raises 53100 */
extern void mq_log_space_make(MqLog *log, MqLogAppendPlan *plan);

/* Space for n batches of so many bytes: the critical section must not meet a full disk.  Raises 53100 */
extern void mq_log_space_reserve(MqLog *log, int n, int64 bytes);

/* A new active segment at the log's end, without its WAL record.  Raises */
extern void mq_log_space_roll(MqLog *log);

#endif							/* MQ_LOG_SPACE_H */
