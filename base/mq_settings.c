/*
 * mq_settings.c
 *	  Every mq.* setting.
 *
 * A setting is one row of one of the two tables below and one variable.
 * Contexts are honest: what sizes shared memory needs a restart, what guards
 * the server belongs to the superuser, what only shapes one's own work
 * belongs to everybody.  Options of a topic are not settings.
 *
 * Locking: none.
 * Crash:   nothing here survives; values come from the configuration files.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/mq_faults.h"
#include "base/mq_settings.h"
#include "base/mq_types.h"

/* Batch header, one record's own lengths and deltas: what a message shares its batch with. */
#define BATCH_OVERHEAD		128

typedef struct IntSetting
{
	const char *name;
	const char *short_desc;
	const char *long_desc;
	int		   *variable;
	int			boot_value;
	int			min_value;
	int			max_value;
	GucContext	context;
	int			flags;
} IntSetting;

typedef struct BoolSetting
{
	const char *name;
	const char *short_desc;
	const char *long_desc;
	bool	   *variable;
	bool		boot_value;
	GucContext	context;
	int			flags;
} BoolSetting;

int			mq_max_partitions = 1024;
int			mq_max_inflight_ranges = 8192;
int			mq_segment_size = 256 * 1024;
int			mq_append_buffers = 8 * 1024;
int			mq_retention_check_interval = 5 * 60 * 1000;
int			mq_min_free_disk = 0;
bool		mq_allow_missing_logs = false;
int			mq_max_message_bytes = 1024 * 1024;
int			mq_max_sql_wait = 1000;
int			mq_log_min_duration_produce = -1;
bool		mq_track_io_timing = false;
bool		mq_require_bound = false;
bool		mq_enable_fetch_scan = true;
int			mq_default_partitions = 1;
int			mq_transaction_buffer = 8 * 1024;

static const IntSetting int_settings[] = {
	{
		"mq.max_partitions",
		"Sets the maximum number of partitions that are open at the same time.",
		"Each takes a slot in shared memory, in whichever database its topic is.",
		&mq_max_partitions, 1024, 16, MQ_MAX_PARTITIONS,
		PGC_POSTMASTER, 0
	},
	{
		"mq.max_inflight_ranges",
		"Sets the maximum number of appended ranges whose transactions have not ended.",
		"A transaction needs one range for each partition that it writes to.",
		&mq_max_inflight_ranges, 8192, 64, 1048576,
		PGC_POSTMASTER, 0
	},
	{
		"mq.append_buffers",
		"Sets the shared memory for small appends on their way to the log files.",
		"A partition that is being written to borrows about 80 kB; where none is left, and at zero, appends write to the files themselves.",
		&mq_append_buffers, 8 * 1024, 0, 1024 * 1024,
		PGC_POSTMASTER, GUC_UNIT_KB
	},
	{
		"mq.segment_size",
		"Sets the size at which a partition's log begins a new segment file.",
		"The topic option \"segment.bytes\" takes precedence.",
		&mq_segment_size, 256 * 1024, 64, 1024 * 1024,
		PGC_SIGHUP, GUC_UNIT_KB
	},
	{
		"mq.retention_check_interval",
		"Sets the time between two looks for messages that may be removed.",
		"The topic options \"retention.ms\" and \"retention.bytes\" say which.",
		&mq_retention_check_interval, 5 * 60 * 1000, 100, INT_MAX,
		PGC_SIGHUP, GUC_UNIT_MS
	},
	{
		"mq.min_free_disk",
		"Sets the free disk space below which messages are refused.",
		"Zero turns the check off.",
		&mq_min_free_disk, 0, 0, INT_MAX,
		PGC_SUSET, GUC_UNIT_KB
	},
	{
		"mq.max_message_bytes",
		"Sets the maximum size of a message.",
		"The topic option \"max.message.bytes\" takes precedence.",
		&mq_max_message_bytes, 1024 * 1024, 1024, MQ_MAX_BATCH_BYTES - BATCH_OVERHEAD,
		PGC_SUSET, GUC_UNIT_BYTE
	},
	{
		"mq.max_sql_wait",
		"Sets the maximum time that one SQL call waits for messages.",
		"A longer wait asked for by the call is cut to this.",
		&mq_max_sql_wait, 1000, 0, 60 * 60 * 1000,
		PGC_SUSET, GUC_UNIT_MS
	},
	{
		"mq.log_min_duration_produce",
		"Sets the time above which the appending of a transaction's messages is logged.",
		"Zero logs all, -1 turns this off.",
		&mq_log_min_duration_produce, -1, -1, INT_MAX,
		PGC_SUSET, GUC_UNIT_MS
	},
	{
		"mq.default_partitions",
		"Sets the number of partitions of a topic created without the option \"partitions\".",
		NULL,
		&mq_default_partitions, 1, 1, MQ_MAX_PARTITIONS,
		PGC_USERSET, 0
	},
	{
		"mq.transaction_buffer",
		"Sets the memory for a transaction's messages before they are spilled to a temporary file.",
		NULL,
		&mq_transaction_buffer, 8 * 1024, 64, MAX_KILOBYTES,
		PGC_USERSET, GUC_UNIT_KB
	}
};

static const BoolSetting bool_settings[] = {
	{
		"mq.allow_missing_logs",
		"Lets a topic whose log files are lost start again empty.",
		"Offsets and messages of the lost files are gone for good.",
		&mq_allow_missing_logs, false,
		PGC_SUSET, 0
	},
	{
		"mq.track_io_timing",
		"Collects how long appends and reads of log files take.",
		"Shown as produce_time and read_time in mq.stat_partitions.",
		&mq_track_io_timing, false,
		PGC_SUSET, 0
	},
	{
		"mq.require_bound",
		"Refuses queries that would read the whole log of a topic.",
		"A SELECT from a topic's table then needs a condition on \"msg_offset\" or \"ts\" that the log can answer.",
		&mq_require_bound, false,
		PGC_USERSET, 0
	},
	{
		"mq.enable_fetch_scan",
		"Plans mq.fetch() in FROM as a scan of the log.",
		"Otherwise the function is called and its rows are stored before they are read.",
		&mq_enable_fetch_scan, true,
		PGC_USERSET, GUC_EXPLAIN
	}
};


/* Defines every setting; a misspelt mq.* in the configuration is an error from then on. */
void
mq_settings_define(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(int_settings); i++)
	{
		const IntSetting *s = &int_settings[i];

		DefineCustomIntVariable(s->name, s->short_desc, s->long_desc, s->variable,
								s->boot_value, s->min_value, s->max_value,
								s->context, s->flags, NULL, NULL, NULL);
	}
	for (i = 0; i < (int) lengthof(bool_settings); i++)
	{
		const BoolSetting *s = &bool_settings[i];

		DefineCustomBoolVariable(s->name, s->short_desc, s->long_desc, s->variable,
								 s->boot_value, s->context, s->flags, NULL, NULL, NULL);
	}
#ifdef MQ_FAULTS
	mq_faults_define_settings();
#endif
	MarkGUCPrefixReserved("mq");
}
