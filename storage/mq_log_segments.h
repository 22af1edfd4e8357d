/*
 * mq_log_segments.h
 *	  Which segment of a log holds an offset.
 */
#ifndef MQ_LOG_SEGMENTS_H
#define MQ_LOG_SEGMENTS_H

#include "storage/mq_log.h"

/*
 * The base of the last closed segment that begins at the offset or before it,
 * else of the first that there is; *segment = -1 when there is none.  The
 * caller keeps files of the log from being removed.  False with errno set when
 * the folder cannot be read.
 */
extern bool mq_log_segments_find(MqLog *log, MqOffset offset, MqOffset *segment);

#endif							/* MQ_LOG_SEGMENTS_H */
