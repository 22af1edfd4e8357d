/*
 * mq_worker.h
 *	  The life of a worker process: start, loop, sleep, error, exit.
 *
 * A worker brings a tick; everything else about being a process is here.
 */
#ifndef MQ_WORKER_H
#define MQ_WORKER_H

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

/* Sleeps although the latch may be set; interrupts are handled.  May raise FATAL and exit. */
extern void mq_worker_pause(long ms);

/* Milliseconds of a clock that nobody sets. */
extern int64 mq_worker_clock(void);

/* A READ COMMITTED transaction that monitoring does not take for a long one. */
extern void mq_worker_begin(void);
extern void mq_worker_commit(void);

/* called by the launcher */
extern bool mq_worker_is_running(MqWorkerKind kind);

/* shared memory */
extern Size mq_worker_shmem_size(void);
extern void mq_worker_shmem_init(bool found);

#endif							/* MQ_WORKER_H */
