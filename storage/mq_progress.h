/*
 * mq_progress.h
 *	  What the processes of this server that do long work have done of it.
 *
 * A process does one such work at a time.  The entry goes with
 * mq_progress_end(), which the end of a transaction calls as well, so an error
 * leaves none behind.
 */
#ifndef MQ_PROGRESS_H
#define MQ_PROGRESS_H

#include "base/mq_types.h"
#include "datatype/timestamp.h"

typedef enum MqProgressOperation
{
	MQ_PROGRESS_NONE,
	MQ_PROGRESS_VERIFY
} MqProgressOperation;

#define MQ_PROGRESS_PHASE_MAX	32

typedef struct MqProgress
{
	int			pid;
	MqProgressOperation operation;
	MqLogKey	key;
	char		phase[MQ_PROGRESS_PHASE_MAX];
	int64		done;			/* bytes */
	int64		total;
	TimestampTz started_at;
} MqProgress;

/* called by whoever works; never raise, never allocate */
extern void mq_progress_begin(MqProgressOperation operation, const MqLogKey *key, const char *phase);
extern void mq_progress_phase(const char *phase, int64 total);	/* begins at 0 */
extern void mq_progress_done(int64 done);
extern void mq_progress_end(void);	/* nothing if nothing was begun */

/* called by views; palloc'd */
extern MqProgress *mq_progress_list(int *n);

/* shared memory */
extern int	mq_progress_tranche;
extern Size mq_progress_shmem_size(void);
extern void mq_progress_shmem_init(bool found);

#endif							/* MQ_PROGRESS_H */
