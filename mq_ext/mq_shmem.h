/*
 * mq_shmem.h
 *	  All shared memory and all lock tranches of the extension.
 */
#ifndef MQ_SHMEM_H
#define MQ_SHMEM_H

/* called by _PG_init: installs the request and the startup hook */
extern void mq_shmem_install(void);

#endif							/* MQ_SHMEM_H */
