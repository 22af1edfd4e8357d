/*
 * mq_ext.h
 *	  Was this library loaded as it must be?
 */
#ifndef MQ_EXT_H
#define MQ_EXT_H

/* true in servers that name the library in shared_preload_libraries */
extern bool mq_ext_is_preloaded(void);

/* Raises 55000 when it was not. */
extern void mq_ext_require_preload(void);

#endif							/* MQ_EXT_H */
