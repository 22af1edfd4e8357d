/*
 * mq_ddl_watch.h
 *	  Everybody's DDL on topics, under watch.
 */
#ifndef MQ_DDL_WATCH_H
#define MQ_DDL_WATCH_H

/* called by _PG_init: installs the hooks */
extern void mq_ddl_watch_init(void);

#endif							/* MQ_DDL_WATCH_H */
