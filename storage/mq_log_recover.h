/*
 * mq_log_recover.h
 *	  What happens to the logs at boot and while WAL is replayed.
 */
#ifndef MQ_LOG_RECOVER_H
#define MQ_LOG_RECOVER_H

#include "storage/mq_log_wal.h"

/* called by the postmaster (or single-user backend) when shared memory is new */
extern void mq_log_recover_boot(void);

/* called at redo */
extern void mq_log_recover_startup(void);	/* rm_startup: prunes when there is a backup label */
extern void mq_log_recover_replayed(MqLog *log, const xl_mq_append *xlrec, XLogRecPtr end_lsn);
extern void mq_log_recover_report_gaps(void);	/* rm_cleanup */

#endif							/* MQ_LOG_RECOVER_H */
