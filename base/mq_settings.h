/*
 * mq_settings.h
 *	  Every mq.* setting.
 *
 * The variables are read-only outside mq_settings.c.
 */
#ifndef MQ_SETTINGS_H
#define MQ_SETTINGS_H

/* called by _PG_init, while shared_preload_libraries is processed */
extern void mq_settings_define(void);

/* PGC_POSTMASTER */
extern int	mq_max_partitions;		/* partitions open at once, 16..16384, default 1024 */
extern int	mq_max_inflight_ranges;	/* default 8192, 64..1048576 */
extern int	mq_append_buffers;		/* kB, GUC_UNIT_KB, default 8 MB, 0 = off */

/* PGC_SIGHUP */
extern int	mq_segment_size;		/* kB, GUC_UNIT_KB, default 256 MB, 64 kB..1 GB */
extern int	mq_retention_check_interval;	/* ms, default 5 min */

/* PGC_SUSET */
extern int	mq_min_free_disk;		/* kB, GUC_UNIT_KB, 0 = off (default) */
extern bool mq_allow_missing_logs;	/* default off */
extern int	mq_max_message_bytes;	/* bytes, GUC_UNIT_BYTE, default 1 MB, 1 kB..16 MB less the batch overhead */
extern int	mq_max_sql_wait;		/* ms, default 1 s, 0..1 h */
extern int	mq_log_min_duration_produce;	/* ms, -1 = off (default) */
extern bool mq_track_io_timing; /* default off */

/* PGC_USERSET */
extern bool mq_require_bound;		/* default off */
extern bool mq_enable_fetch_scan;	/* default on */
extern int	mq_default_partitions;	/* 1..16384, default 1 */
extern int	mq_transaction_buffer;	/* kB, GUC_UNIT_KB, default 8 MB, 64 kB.. */

#endif							/* MQ_SETTINGS_H */
