/*
 * mq_waits.c
 *	  One function per wait event of ours.
 *
 * Where the server knows named events of extensions (mq_compat.h), a name is
 * registered in shared memory by the first process that asks for it; every
 * process then remembers the number.  Elsewhere all are "Extension".
 *
 * Locking: on servers with named events the first call of a process takes an
 *			LWLock of the server for a moment.
 * Crash:   nothing here survives.
 */
#include "postgres.h"

#include "storage/proc.h"
#include "utils/wait_event.h"

#include "base/mq_compat.h"
#include "base/mq_waits.h"

static uint32 named_event(uint32 *known, const char *name);


uint32
mq_waits_file_read(void)
{
	static uint32 event = 0;

	return named_event(&event, "MqFileRead");
}

uint32
mq_waits_file_write(void)
{
	static uint32 event = 0;

	return named_event(&event, "MqFileWrite");
}

uint32
mq_waits_file_sync(void)
{
	static uint32 event = 0;

	return named_event(&event, "MqFileSync");
}

uint32
mq_waits_fetch(void)
{
	static uint32 event = 0;

	return named_event(&event, "MqFetchWait");
}

uint32
mq_waits_worker_main(void)
{
	static uint32 event = 0;

	return named_event(&event, "MqWorkerMain");
}

/* The postmaster has no PGPROC and may not take the lock that naming needs. */
static uint32
named_event(uint32 *known, const char *name)
{
	if (*known == 0 && MyProc != NULL)
		*known = mq_wait_event_new(name);
	return *known != 0 ? *known : (uint32) PG_WAIT_EXTENSION;
}
