/*
 * mq_log_remove.c
 *	  Folders of what was dropped, and of retired partitions that are empty.
 *
 * By committed drops and by redo of their records; both may come twice.
 *
 * Locking: mq_log_drop_slots() takes the locks of the logs that go; nobody
 *			appends to them any more when their files are removed.
 */
#include "postgres.h"

#include "storage/mq_file.h"
#include "storage/mq_log_internal.h"
#include "storage/mq_log_remove.h"
#include "storage/mq_segment.h"

bool
mq_log_remove_files(Oid dboid, const pg_uuid_t *topic)
{
	static const pg_uuid_t zero;
	bool		whole = memcmp(topic, &zero, UUID_LEN) == 0;
	char		path[MQ_SEGMENT_PATH_MAX];
	char		parent[MQ_SEGMENT_PATH_MAX];

	mq_log_drop_slots(dboid, whole ? NULL : topic, -1);
	snprintf(parent, sizeof(parent), "%s/%u", MQ_SEGMENT_ROOT, dboid);
	if (whole)
	{
		mq_segment_forget_all();
		strlcpy(path, parent, sizeof(path));
		strlcpy(parent, MQ_SEGMENT_ROOT, sizeof(parent));
	}
	else
	{
		mq_segment_forget(topic);
		mq_segment_topic_dir(path, dboid, topic);
	}
	if (!mq_file_exists(path) && errno == ENOENT)
		return true;
	if (!mq_file_remove_tree(path) || !mq_file_sync_path(parent, true))
	{
		mq_log_file_error("remove folder", path, WARNING);
		return false;
	}
	ereport(LOG, (errmsg("mq_ext: removed dropped log \"%s\"", path)));
	return true;
}

/* Of a partition that was retired, and is empty. */
bool
mq_log_remove_partition_files(const MqLogKey *key)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	char		parent[MQ_SEGMENT_PATH_MAX];
	MqSegmentList list;
	int			i;

	mq_log_drop_slots(key->dboid, &key->topic, key->partition);
	mq_segment_forget(&key->topic);
	mq_segment_topic_dir(parent, key->dboid, &key->topic);
	mq_segment_dir(path, key);
	if (!mq_file_exists(path) && errno == ENOENT)
		return true;

	/* the state last: as long as it is there the partition is known to be retired and empty */
	if (!mq_segment_list(key, 0, &list))
		list.n = 0;
	for (i = 0; i < list.n; i++)
	{
		mq_segment_path(path, key, list.bases[i], MQ_SEGMENT_BATCHES);
		(void) mq_file_remove_tree(path);
		mq_segment_path(path, key, list.bases[i], MQ_SEGMENT_LOG);
		(void) mq_file_remove_tree(path);
	}
	mq_segment_list_free(&list);
	mq_segment_dir(path, key);
	if (!mq_file_remove_tree(path) || !mq_file_sync_path(parent, true))
	{
		mq_log_file_error("remove folder", path, WARNING);
		return false;
	}
	ereport(LOG, (errmsg("mq_ext: removed retired partition \"%s\"", path)));
	return true;
}
