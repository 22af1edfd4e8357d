/*
 * mq_waits.h
 *	  One function per wait event of ours.
 *
 * PostgreSQL 15 and 16 know only "Extension" for extensions; from 17 on the
 * events carry the names of these functions in CamelCase (MqFetchWait ...).
 */
#ifndef MQ_WAITS_H
#define MQ_WAITS_H

extern uint32 mq_waits_file_read(void);
extern uint32 mq_waits_file_write(void);
extern uint32 mq_waits_file_sync(void);
extern uint32 mq_waits_fetch(void);
extern uint32 mq_waits_worker_main(void);

#endif							/* MQ_WAITS_H */
