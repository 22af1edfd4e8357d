/*
 * mq_ext.c
 *	  Module start: everything that is ever switched on, in order.
 *
 * The log needs shared memory, a WAL resource manager and a hook in every
 * checkpoint from the first moment of the server on, so the library does
 * nothing at all unless shared_preload_libraries loads it.  LOAD and a call of
 * one of its functions in a server without that must not fail in _PG_init:
 * the error then would name neither the reason nor the remedy.
 *
 * Two wires go from a lower room to a higher one and are connected here:
 * storage tells the broker that a partition's visible end has moved, and asks
 * it on a standby whether anybody sleeps on a partition.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/mq_settings.h"
#include "bgworker/mq_launcher.h"
#include "broker/mq_notify.h"
#include "broker/mq_topic.h"
#include "broker/mq_xact.h"
#include "mq_ext/mq_ddl_watch.h"
#include "mq_ext/mq_ext.h"
#include "mq_ext/mq_fetch_plan.h"
#include "mq_ext/mq_shmem.h"
#include "storage/mq_checkpoint.h"
#include "storage/mq_log.h"
#include "storage/mq_log_wal.h"

PG_MODULE_MAGIC;

/* Set in the postmaster, inherited by all processes. */
static bool preloaded = false;

void		_PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	mq_settings_define();		/* first: everything below obeys settings */
	mq_checkpoint_install();	/* log_checkpoints and the log hook */
	mq_log_wal_register();		/* the resource manager */
	mq_shmem_install();			/* shared memory, locks, recovery at boot */
	mq_xact_init();				/* transaction callbacks */
	mq_topic_init();			/* the topic cache */
	mq_ddl_watch_init();		/* DDL on topics */
	mq_fetch_plan_install();	/* mq.fetch() in FROM */
	mq_log_publish_hook = mq_notify_wake;	/* the two wires */
	mq_log_sleepers_hook = mq_notify_has_sleepers;
	mq_launcher_register();		/* worker processes */
	preloaded = true;
}

bool
mq_ext_is_preloaded(void)
{
	return preloaded;
}

void
mq_ext_require_preload(void)
{
	if (!preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mq_ext must be loaded via shared_preload_libraries"),
				 errdetail("The log lives in shared memory and in WAL, and both must know it from the start of the server."),
				 errhint("Add the line shared_preload_libraries = 'mq_ext' to postgresql.conf and restart the server.")));
}
