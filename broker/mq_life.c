/*
 * mq_life.c
 *	  Deleting messages: by offset, by age and size, all of them.
 *
 * Deleting is not part of the transaction: the log start is one number for all
 * readers, and once it has moved and the files are gone nothing can bring them
 * back.  Retiring a partition is DDL and does roll back.
 *
 * A log without files has nothing to delete and is left without.
 *
 * Locking: none of its own.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "base/mq_errors.h"
#include "broker/mq_life.h"
#include "broker/mq_topic_retired.h"
#include "storage/mq_log_start.h"

static MqLog *open_log(const MqTopic *topic, int32 partition, MqLogConfig *config);
static void check_range(const MqTopic *topic, int32 partition, const MqLogOffsets *offsets, MqOffset before);
static void delete_before(MqLog *log, const MqLogOffsets *offsets, MqOffset before);

MqOffset
mq_life_delete(const MqTopic *topic, int32 partition, MqOffset before)
{
	MqLogOffsets offsets;
	MqLogConfig config;
	MqLog	   *log;

	mq_topic_check_partition(topic, partition);
	log = open_log(topic, partition, &config);
	mq_log_offsets(log, &offsets);
	if (before == MQ_LIFE_ALL)
		before = offsets.lso;
	check_range(topic, partition, &offsets, before);
	if (mq_log_has_files(log))
		delete_before(log, &offsets, before);
	mq_log_offsets(log, &offsets);
	mq_log_unpin(log);
	return offsets.log_start;
}

/* What this transaction has altered may be rolled back. */
void
mq_life_configure(const MqTopic *topic, int32 partition, MqLog *log)
{
	MqLogConfig config = topic->log;

	if (mq_log_is_configured(log) || topic->changed_here || !mq_log_has_files(log) || RecoveryInProgress())
		return;
	config.retired = mq_topic_retired_is(topic, partition);
	mq_log_configure(log, &config);
}

/* The log, told what the topic's options are. */
static MqLog *
open_log(const MqTopic *topic, int32 partition, MqLogConfig *config)
{
	MqLogKey	key;
	MqLog	   *log;

	mq_topic_key(topic, partition, &key);
	log = mq_log_open(&key);
	*config = topic->log;
	config->retired = mq_topic_retired_is(topic, partition);
	mq_life_configure(topic, partition, log);
	return log;
}

static void
check_range(const MqTopic *topic, int32 partition, const MqLogOffsets *offsets, MqOffset before)
{
	if (before < 0 || before > offsets->lso)
		ereport(ERROR,
				(errcode(ERRCODE_MQ_OFFSET_OUT_OF_RANGE),
				 errmsg("offset %lld is out of range for partition %d of topic \"%s\"",
						(long long) before, partition, topic->name),
				 errdetail("Messages can be deleted up to offset %lld.", (long long) offsets->lso),
				 errhint("Pass -1 to delete all messages that are there.")));
}

/* Where nothing is left, the active segment goes too. */
static void
delete_before(MqLog *log, const MqLogOffsets *offsets, MqOffset before)
{
	if (before > offsets->log_start && before == offsets->leo)
		(void) mq_log_roll(log);
	if (mq_log_start_move(log, before, NULL))
		(void) mq_log_start_clean(log);
}

void
mq_life_check(const MqTopic *topic)
{
	int32		i;

	for (i = 0; i < topic->partitions; i++)
	{
		MqLogConfig config;
		MqLog	   *log;

		CHECK_FOR_INTERRUPTS();
		log = open_log(topic, i, &config);
		mq_log_start_check(log);
		mq_log_unpin(log);
	}
}

int64
mq_life_purge(const MqTopic *topic)
{
	int64		purged = 0;
	int32		i;

	mq_life_check(topic);
	for (i = 0; i < topic->partitions; i++)
	{
		MqLogOffsets offsets;
		MqLogConfig config;
		MqLog	   *log;

		CHECK_FOR_INTERRUPTS();
		log = open_log(topic, i, &config);
		mq_log_offsets(log, &offsets);
		if (mq_log_has_files(log))
			delete_before(log, &offsets, offsets.lso);
		purged += offsets.lso - offsets.log_start;
		mq_log_unpin(log);
	}
	return purged;
}

bool
mq_life_roll(const MqTopic *topic, int32 partition)
{
	MqLogConfig config;
	MqLog	   *log = open_log(topic, partition, &config);
	bool		rolled = mq_log_has_files(log) && mq_log_roll(log);

	mq_log_unpin(log);
	return rolled;
}

void
mq_life_retain(const MqTopic *topic, int32 partition, bool dry_run, MqLogRetained *result)
{
	MqLogConfig config;
	MqLog	   *log;

	/* its rollback would not bring back what went by options that were never so */
	if (topic->changed_here && !dry_run)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot apply retention to topic \"%s\" that this transaction has created or altered",
						topic->name),
				 errhint("Commit first, or pass dry_run => true.")));
	log = open_log(topic, partition, &config);
	memset(result, 0, sizeof(*result));
	if (mq_log_has_files(log))
		mq_log_retain(log, &config, dry_run, result);
	if (!dry_run)
		(void) mq_log_start_remove(log);
	mq_log_unpin(log);
}

char *
mq_life_retire(const MqTopic *topic, int32 partition)
{
	mq_topic_check_partition(topic, partition);
	if (mq_topic_retired_is(topic, partition))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition %d of topic \"%s\" is retired already", partition, topic->name)));
	if (mq_topic_retired_rest(topic) == 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot retire the last partition of topic \"%s\"", topic->name),
				 errdetail("No partition would be left to take messages."),
				 errhint("Add a partition with mq.add_partitions() first, or drop the topic.")));
	return mq_topic_retired_with(topic, partition);
}
