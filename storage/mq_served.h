/*
 * mq_served.h
 *	  The redo pointer that the last checkpoint with us in the server had.
 *
 * A server may run for a while without the library, if no WAL of ours is left
 * to replay.  Its checkpoints then pass LSNs of batches that a crash had left
 * in the page cache without their WAL; by pg_control alone these would look
 * vouched for.  So logs are pruned by this pointer where it is the lower one.
 */
#ifndef MQ_SERVED_H
#define MQ_SERVED_H

#include "access/xlogdefs.h"

#define MQ_SERVED_FILE	"pg_mq/served"

/* called by the checkpoint; true also when there is no pg_mq yet.  No palloc */
extern bool mq_served_write(XLogRecPtr redo);

/* called by boot: what was written, invalid when nothing valid was */
extern XLogRecPtr mq_served_read(void);

#endif							/* MQ_SERVED_H */
