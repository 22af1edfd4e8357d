/*
 * mq_log_start.h
 *	  The log start moves up, and what lies below it goes.
 */
#ifndef MQ_LOG_START_H
#define MQ_LOG_START_H

#include "storage/mq_log.h"
#include "storage/mq_log_wal.h"

/*
 * called by those who delete messages.  Moves the log start up to "to", or to
 * the LSO if that comes first, if these are still the log's options (NULL =
 * whatever they are); WAL is flushed on return.  False: it was there
 * already, and no segment lies before it.  Raises for a log that is dropped or disabled.
 */
extern bool mq_log_start_move(MqLog *log, MqOffset to, const MqLogConfig *config);

/* called before more than one log is emptied: raises if moving the start would, as far as can be known */
extern void mq_log_start_check(MqLog *log);

/*
 * Removes the files of segments before the first one kept, unless readers that
 * began earlier may need them.  True when none are left; what is left is the
 * janitor's.  Never raises.
 */
extern bool mq_log_start_clean(MqLog *log);

/* called by the janitor, on standbys too; true if some are left, *failed if not for readers alone */
extern bool mq_log_start_clean_all(bool *failed);

/* called by the janitor: puts changed options of logs into WAL */
extern void mq_log_start_note_configs(void);

/* called by the janitor: removes the folder of a retired partition that is empty */
extern bool mq_log_start_remove(MqLog *log);

/*
 * called by readers: from enter to leave no file is removed that the log had
 * when the reader entered.  What an error leaves entered ends with the
 * transaction.
 */
extern int	mq_log_start_enter(MqLog *log); /* result is for leave */
extern void mq_log_start_leave(MqLog *log, int turn);
extern void mq_log_start_leave_all(void);	/* never raises */

/* called by redo */
extern void mq_log_start_redo(const xl_mq_start *xlrec, XLogRecPtr end_lsn);
extern void mq_log_start_redo_remove(const xl_mq_remove *xlrec, XLogRecPtr end_lsn);

#endif							/* MQ_LOG_START_H */
