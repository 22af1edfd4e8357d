/*
 * mq_log_remove.h
 *	  Folders of what was dropped, and of retired partitions that are empty.
 */
#ifndef MQ_LOG_REMOVE_H
#define MQ_LOG_REMOVE_H

#include "base/mq_types.h"

/* A topic's folder, or a database's (uuid all zeros).  False, with a WARNING: not all of it */
extern bool mq_log_remove_files(Oid dboid, const pg_uuid_t *topic);
extern bool mq_log_remove_partition_files(const MqLogKey *key);

#endif							/* MQ_LOG_REMOVE_H */
