/*
 * mq_worker.h
 *	  The life of a worker process: start, loop, sleep, error, exit.
 *
 * A worker brings a tick; everything else about being a process is here.
 */
#ifndef MQ_WORKER_H
#define MQ_WORKER_H

#include "datatype/timestamp.h"

typedef enum MqWorkerKind
{
	MQ_WORKER_LAUNCHER,
	MQ_WORKER_JANITOR,
	MQ_WORKER_SETTLER
} MqWorkerKind;

#define MQ_WORKER_KINDS		(MQ_WORKER_SETTLER + 1)

typedef struct MqWorker
{
	MqWorkerKind kind;
	const char *name;			/* as pg_stat_activity shows it */

	/* once after the start and once before the exit; NULL = nothing to do */
	void		(*start) (void);
	void		(*stop) (void);

	/*
	 * One round of work, in a memory context that is reset after it; may
	 * raise.  Returns for how many milliseconds to sleep unless the latch is
	 * set before.
	 */
	long		(*tick) (void);
} MqWorker;

/* called by the entry functions of the workers; exits when another process of this kind lives */
extern void mq_worker_run(const MqWorker *worker) pg_attribute_noreturn();

/* called by ticks */

/* Shows in pg_stat_activity and ps what is being done; a string constant, NULL = idle. */
extern void mq_worker_report(const char *activity);

/*
 * Shows in mq.stat_workers alone what the tick, or the sleep after it, waits
 * for; a string constant.  Good until the next tick or report.
 */
extern void mq_worker_waits(const char *reason);

/* Sleeps although the latch may be set; interrupts are handled.  May raise FATAL and exit. */
extern void mq_worker_pause(long ms);

/* Milliseconds of a clock that nobody sets. */
extern int64 mq_worker_clock(void);

/* A READ COMMITTED transaction that monitoring does not take for a long one. */
extern void mq_worker_begin(void);
extern void mq_worker_commit(void);

/* called by the launcher */
extern bool mq_worker_is_running(MqWorkerKind kind);

/* called by views */
#define MQ_WORKER_ERROR_MAX	256

typedef struct MqWorkerInfo
{
	int			pid;			/* 0 = none */
	bool		active;
	const char *reason;			/* what it does or waits for */
	int64		busy_usec;		/* in ticks, without their pauses */
	int64		restarts;
	TimestampTz last_error_at;	/* 0 = there was none */
	char		last_error[MQ_WORKER_ERROR_MAX];	/* may end within a character */
} MqWorkerInfo;

extern const char *mq_worker_type(MqWorkerKind kind);
extern void mq_worker_info(MqWorkerKind kind, MqWorkerInfo *info);

/* shared memory */
extern Size mq_worker_shmem_size(void);
extern void mq_worker_shmem_init(bool found);

#endif							/* MQ_WORKER_H */
