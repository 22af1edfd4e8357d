/*
 * mq_checkpoint.h
 *	  Makes what is dirty durable inside every checkpoint and restartpoint.
 */
#ifndef MQ_CHECKPOINT_H
#define MQ_CHECKPOINT_H

#include "access/xlogdefs.h"
#include "storage/mq_log.h"

/* called by _PG_init */
extern void mq_checkpoint_install(void);

/* called by appenders and redo: notices a checkpoint that completed without us, and mends it */
extern void mq_checkpoint_guard(void);

/* called by openers when the table is full: makes one log clean; caller has pinned it */
extern bool mq_checkpoint_write_start(MqLog *log, MqOffset log_start, MqOffset first);	/* caller holds sync_all_lock and has flushed; false with errno */
extern void mq_checkpoint_sync_one(MqLog *log);

/* called by boot: pg_control's checkpoint counts as served, all of it was synced by then */
extern void mq_checkpoint_boot(XLogRecPtr redo);

#endif							/* MQ_CHECKPOINT_H */
