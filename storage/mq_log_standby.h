/*
 * mq_log_standby.h
 *	  What readers of a hot standby may see of a log.
 */
#ifndef MQ_LOG_STANDBY_H
#define MQ_LOG_STANDBY_H

#include "storage/mq_log.h"

/* Moves the last stable offset past what has been decided since. */
extern void mq_log_standby_refresh(MqLog *log);

#endif							/* MQ_LOG_STANDBY_H */
