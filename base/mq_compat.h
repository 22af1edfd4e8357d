/*
 * mq_compat.h
 *	  The only file that mentions PG_VERSION_NUM.
 *
 * What differs between PostgreSQL 15 and later versions is given one name
 * here, so that no other file needs an #if.  Only tested versions are claimed
 * in the docs.
 */
#ifndef MQ_COMPAT_H
#define MQ_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "mq_ext needs PostgreSQL 15 or newer"
#endif

/* RegisterCustomRmgr() takes a const struct from 16 on. */
#if PG_VERSION_NUM >= 160000
#define MQ_RMGR_CONST const
#else
#define MQ_RMGR_CONST
#endif

/* XLogRegisterData() takes const void * from 18 on. */
#if PG_VERSION_NUM >= 180000
#define mq_register_data(data, len)	XLogRegisterData((data), (len))
#else
#define mq_register_data(data, len)	XLogRegisterData((char *) (data), (len))
#endif

/* Extensions may name their wait events from 17 on. */
#if PG_VERSION_NUM >= 170000
#define mq_wait_event_new(name)		WaitEventExtensionNew(name)
#else
#define mq_wait_event_new(name)		((void) (name), (uint32) PG_WAIT_EXTENSION)
#endif

/* The path keys of an order by one expression that somebody asks for; outer joins no longer matter from 16 on. */
#if PG_VERSION_NUM >= 160000
#define mq_build_expression_pathkey(root, expr, opno, relids) \
	build_expression_pathkey((root), (expr), (opno), (relids), false)
#else
#define mq_build_expression_pathkey(root, expr, opno, relids) \
	build_expression_pathkey((root), (expr), NULL, (opno), (relids), false)
#endif

#endif							/* MQ_COMPAT_H */
