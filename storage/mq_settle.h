/*
 * mq_settle.h
 *	  Decisions made durable: what became of a batch's transaction.
 */
#ifndef MQ_SETTLE_H
#define MQ_SETTLE_H

#include "access/transam.h"
#include "storage/mq_log.h"
#include "storage/mq_log_wal.h"

/* called by the settler */
extern bool mq_settle_pending(void);
extern void mq_settle_request(void);
/* Settles all that is decided; false when a range of a transaction older than "below" is not yet. */
extern bool mq_settle_all(FullTransactionId below);
extern void mq_settle_after_recovery(void); /* every log on disk, once after boot or promotion */

/* called before each utility command: does that once in single-user mode */
extern void mq_settle_single_user(void);

/* called by producers: raises 55000 when settling lags too far behind */
extern void mq_settle_check_lag(void);

/* called at redo */
extern void mq_settle_redo(const xl_mq_settle *xlrec, const xl_mq_run *runs);
extern void mq_settle_redo_abort(const xl_mq_abort *xlrec);

#endif							/* MQ_SETTLE_H */
