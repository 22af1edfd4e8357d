/*
 * mq_faults.h
 *	  Named points at which a test may pause, fail or crash the process.
 *
 * Compiled to nothing without MQ_FAULTS.  Points are armed by the setting
 *	  mq.faults = 'name:action[:first[:times]], ...'
 * (SUSET, may stand in postgresql.conf; at most 16 entries; a name is letters,
 * digits, '_', '-' and '.', below 64 bytes).  The action is taken from the
 * first'th hit of a process on (default 1), times times (default: always).
 * Hits are counted per process, whoever is forked begins with its parent's
 * count; an entry that a new value repeats unchanged keeps its count.
 *
 *	  error		ereport(ERROR)
 *	  fatal		ereport(FATAL)
 *	  panic		ereport(PANIC)
 *	  crash		_exit(2), as a segfault would look to the postmaster
 *	  kill		kill -9 of the postmaster and of this process
 *	  pause		wait for the tester, see below
 *	  fail		MQ_FAULT_FAILS() is true: the caller acts as if a call had
 *				failed.  Nothing at a plain MQ_FAULT().
 *	  skip		as fail, and nothing is written to the server's log: for
 *				leaving a step out.
 *
 * A pause waits for an exclusive advisory lock and lets it go at once.  The
 * tester, in another session of the same database, holds it:
 *	  SELECT pg_advisory_lock(hashtext('name'));
 *	  SELECT pg_advisory_unlock(hashtext('name'));
 * and sees the wait in pg_locks (pg_blocking_pids()).  Where no lock can be
 * waited for (no database, no transaction, a critical section, an LWLock
 * held, interrupts held off as after the commit record), the process looks
 * every 10 ms whether the file mq_fault_<name> in the data directory is gone
 * and writes 'fault point "name" paused' to the server's log when it begins.
 */
#ifndef MQ_FAULTS_H
#define MQ_FAULTS_H

#ifdef MQ_FAULTS
extern void mq_faults_define_settings(void);

/* Raises what the point is armed with; allocates nothing itself, needs no lock. */
extern void mq_faults_hit(const char *name);

/* The same, and true when the point is armed with "fail" or "skip". */
extern bool mq_faults_fail(const char *name);

#define MQ_FAULT(name)		mq_faults_hit(name)
#define MQ_FAULT_FAILS(name)	mq_faults_fail(name)
#else
#define MQ_FAULT(name)		((void) 0)
#define MQ_FAULT_FAILS(name)	false
#endif

#endif							/* MQ_FAULTS_H */
