/*
 * mq_log_retain.c
 *	  Lets the segments go that retention does not keep.
 *
 * When the active segment may go too, a new one is begun first.
 *
 * The janitor works without a catalog: what it must know of a topic stands in
 * each partition's state file.  It opens only logs that have something to
 * lose, for the others it looks at the names and sizes of files.
 *
 * Locking: none of its own; see mq_log_start.c.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/mq_faults.h"
#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_retain.h"
#include "storage/mq_log_start.h"
#include "storage/mq_retention.h"
#include "storage/mq_segment.h"
#include "storage/mq_stat.h"

static MqTimestamp now_ms(void);
static MqRetentionSegment *look(const MqLogSegmentInfo *infos, int n);
static int	choose_for(MqLog *log, const MqLogConfig *config, const MqLogSegmentInfo *infos, int n);
static bool has_limits(const MqLogConfig *config);
static bool is_older(MqTimestamp ts, const MqLogConfig *config);
static bool worth_opening(const MqLogKey *key, MqLogConfig *config);
static int	run_one(const MqLogKey *key);

void
mq_log_retain(MqLog *log, const MqLogConfig *config, bool dry_run, MqLogRetained *result)
{
	MqLogOffsets offsets;
	MqLogSegmentInfo *infos;
	MqOffset	to;
	int			n;
	int			drop;
	int			i;

	memset(result, 0, sizeof(*result));
	mq_log_offsets(log, &offsets);
	infos = mq_log_segments(log, &n);
	drop = choose_for(log, config, infos, n);
	to = drop > 0 ? infos[drop - 1].next : 0;
	for (i = 0; i < drop; i++)
	{
		if (infos[i].deleting)
			continue;
		result->segments++;
		result->bytes += infos[i].log_bytes + infos[i].batches_bytes;
	}
	if (drop > 0)
		result->messages = Max(to - Max(offsets.log_start, infos[0].base), 0);
	pfree(infos);
	if (result->segments == 0 || dry_run)
		return;

	/* the last one is active: what comes now goes to another */
	if (drop == n)
		(void) mq_log_roll(log);
	MQ_FAULT("retention_chosen");

	if (!mq_log_start_move(log, to, config))
		memset(result, 0, sizeof(*result));
	mq_stat_count_deleted(log, result->messages, result->bytes);
	(void) mq_log_start_clean(log);
}

/* How many of the segments may go now, as the topic's options have it. */
static int
choose_for(MqLog *log, const MqLogConfig *config, const MqLogSegmentInfo *infos, int n)
{
	MqRetentionLimits limits;
	MqRetentionSegment *segments = look(infos, n);
	int			drop;

	limits.retention_ms = config->retention_ms;
	limits.retention_bytes = config->retention_bytes;
	limits.now = now_ms();
	limits.log_start = mq_log_get(&log->log_start);
	limits.lso = mq_log_get(&log->lso);
	drop = mq_retention_choose(segments, n, &limits);
	pfree(segments);
	return drop;
}

static MqRetentionSegment *
look(const MqLogSegmentInfo *infos, int n)
{
	MqRetentionSegment *segments = palloc(sizeof(MqRetentionSegment) * Max(n, 1));
	int			i;

	for (i = 0; i < n; i++)
	{
		segments[i].base = infos[i].base;
		segments[i].next = infos[i].next;
		segments[i].log_bytes = infos[i].deleting ? 0 : infos[i].log_bytes;
		segments[i].max_timestamp = infos[i].max_timestamp;
	}
	return segments;
}

static MqTimestamp
now_ms(void)
{
	return GetCurrentTimestamp() / 1000 +
		(MqTimestamp) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
}

/*
 * A log whose files fail ends the run with an error; the next run begins with
 * the one behind it, so that it cannot keep the others from being looked at.
 */
int64
mq_log_retain_all(void)
{
	static MqLogKey at;
	static bool unfinished = false;
	MqLogKey   *keys;
	int64		removed = 0;
	int			n;
	int			i = 0;

	if (RecoveryInProgress() || mq_log_is_closed())
		return 0;
	keys = mq_log_list_all(&n);
	if (unfinished)
	{
		while (i < n && memcmp(&keys[i], &at, sizeof(MqLogKey)) != 0)
			i++;
		i = i < n ? i + 1 : 0;
	}
	for (; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		at = keys[i];
		unfinished = true;
		removed += run_one(&keys[i]);
	}
	unfinished = false;
	if (keys != NULL)
		pfree(keys);
	return removed;
}

static int
run_one(const MqLogKey *key)
{
	MqLogConfig config;
	MqLogRetained result;
	char		dir[MQ_SEGMENT_PATH_MAX];
	MqLog	   *log;
	bool		known;

	if (!worth_opening(key, &config))
		return 0;
	log = mq_log_open(key);
	memset(&result, 0, sizeof(result));
	/* what the slot has is newer than the state file */
	LWLockAcquire(&log->append_lock, LW_SHARED);
	known = log->config_known && !log->dropped && log->has_files && log->state != MQ_LOG_DISABLED;
	config = log->config;
	LWLockRelease(&log->append_lock);
	if (known)
	{
		mq_log_retain(log, &config, false, &result);
		mq_segment_dir(dir, key);
		if (result.segments > 0)
			ereport(LOG,
					(errmsg("mq_ext: retention removed %d segments (%lld messages, %lld bytes) of \"%s\"",
							result.segments, (long long) result.messages, (long long) result.bytes, dir)));
		(void) mq_log_start_remove(log);
	}
	mq_log_unpin(log);
	return result.segments;
}

static bool
has_limits(const MqLogConfig *config)
{
	return config->retired || config->retention_ms >= 0 || config->retention_bytes >= 0;
}

/*
 * By the state file and the first segment's age: a log that nobody uses and
 * that has nothing to lose is left in peace.
 */
static bool
worth_opening(const MqLogKey *key, MqLogConfig *config)
{
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;
	MqSegmentList list;
	int64		log_bytes = 0;
	bool		worth;
	int			i;

	if (mq_log_is_open(key))
		return true;
	if (!mq_state_read(key, slots, valid, &current) || current < 0 ||
		!mq_state_get_config(&slots[current], config) || !has_limits(config))
		return false;
	if (!mq_segment_list(key, slots[current].first_segment, &list))
		return false;
	for (i = 0; i < list.n; i++)
	{
		char		path[MQ_SEGMENT_PATH_MAX];

		mq_segment_path(path, key, list.bases[i], MQ_SEGMENT_LOG);
		log_bytes += Max(mq_file_size(path), 0);
	}
	worth = config->retired ||
		(config->retention_bytes >= 0 && log_bytes > config->retention_bytes) ||
		(config->retention_ms >= 0 && list.n > 0 && is_older(mq_log_segment_time(key, list.bases[0]), config));
	mq_segment_list_free(&list);
	return worth;
}

static bool
is_older(MqTimestamp ts, const MqLogConfig *config)
{
	return ts != MQ_NO_TIMESTAMP && ts < now_ms() - config->retention_ms;
}
