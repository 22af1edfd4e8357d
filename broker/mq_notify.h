/*
 * mq_notify.h
 *	  Sleepers: "wake me when one of these partitions passes this offset".
 *
 * One shared entry per process.  Publish wakes those whose offset was passed.
 */
#ifndef MQ_NOTIFY_H
#define MQ_NOTIFY_H

#include "storage/mq_log.h"

typedef struct MqNotifyWait
{
	MqLog	   *log;			/* pinned by the caller */
	MqOffset	offset;			/* ready when the LSO is beyond it */
} MqNotifyWait;

/* called by backends */

/*
 * Sleeps until one of the waits is ready or its log was dropped (true) or the
 * timeout has passed (false).  Processes interrupts; raises nothing of its
 * own.  Holds no lock while asleep.
 */
extern bool mq_notify_wait(const MqNotifyWait *waits, int n, long timeout_ms);

/* called at the end of a transaction that failed, for a wait that was interrupted.  Never raises */
extern void mq_notify_release(void);

/*
 * called by publish (mq_log_publish_hook), with the new LSO of a slot, and
 * with the highest possible one when its log is dropped.  Caller holds no
 * append lock.  Never raises, never allocates.
 */
extern void mq_notify_wake(int slot, MqOffset lso);

/* called by the settler: does anybody sleep on this slot, on any? */
extern bool mq_notify_has_sleepers(int slot);
extern bool mq_notify_anyone(void);

/* shared memory */
extern int	mq_notify_tranche;	/* of the locks; set by mq_ext/mq_shmem.c before the init */

extern Size mq_notify_shmem_size(void);
extern void mq_notify_shmem_init(bool found);

#endif							/* MQ_NOTIFY_H */
