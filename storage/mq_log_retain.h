/*
 * mq_log_retain.h
 *	  Lets the segments go that retention does not keep.
 */
#ifndef MQ_LOG_RETAIN_H
#define MQ_LOG_RETAIN_H

#include "storage/mq_log.h"

/* What a run has removed, or would remove. */
typedef struct MqLogRetained
{
	int			segments;
	int64		bytes;			/* of both files of each */
	int64		messages;
} MqLogRetained;

/*
 * Applies the limits to one log.  The options are the topic's.  Raises as
 * mq_log_start_move() and mq_log_roll() do.
 */
extern void mq_log_retain(MqLog *log, const MqLogConfig *config, bool dry_run, MqLogRetained *result);

/* called by the janitor, on a primary: every log on disk, by the options that its state file has; returns how many segments went */
extern int64 mq_log_retain_all(void);

#endif							/* MQ_LOG_RETAIN_H */
