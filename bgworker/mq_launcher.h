/*
 * mq_launcher.h
 *	  Starts the other workers and starts them again when they die.
 */
#ifndef MQ_LAUNCHER_H
#define MQ_LAUNCHER_H

/* called by _PG_init: registers the launcher; warns when there is no room for all workers */
extern void mq_launcher_register(void);

#endif							/* MQ_LAUNCHER_H */
