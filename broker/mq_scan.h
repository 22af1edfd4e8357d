/*
 * mq_scan.h
 *	  Records of a topic, pulled one by one out of its partitions.
 */
#ifndef MQ_SCAN_H
#define MQ_SCAN_H

#include "broker/mq_fetch.h"
#include "broker/mq_scan_share.h"
#include "broker/mq_topic.h"
#include "nodes/bitmapset.h"
#include "storage/mq_batch.h"

typedef struct MqScan MqScan;

/* What a scan is for. */
typedef enum MqScanWhat
{
	MQ_SCAN_RECORDS,
	MQ_SCAN_COUNT				/* no record is looked at; only how many there are matters */
} MqScanWhat;

/* All conditions must hold. */
typedef struct MqScanBounds
{
	const Bitmapset *partitions;	/* NULL = all that the scan was begun with */
	MqOffset	from;			/* offsets of [from, to); to 0 = nothing at all */
	MqOffset	to;
	bool		has_time;		/* then records without a timestamp are left out, */
	MqTimestamp since;			/* and so are those before and after these */
	MqTimestamp upto;
	bool		has_tags;		/* one of these */
	MqFetchTags tags;
} MqScanBounds;

extern void mq_scan_no_bounds(MqScanBounds *bounds);

/*
 * called by the doors, which have opened the topic with its lock and privilege
 *
 * Begins with a set of partitions (NULL = all) and fixes the scan's end: each
 * partition's last stable offset as of now.  Lives in a child of the current
 * memory context.  Raises what mq_log_open() raises.
 */
extern MqScan *mq_scan_begin(const MqTopic *topic, const Bitmapset *partitions, MqScanWhat what);

/* To the beginning of what the bounds leave; they must live until the next start or the end. */
extern void mq_scan_start(MqScan *scan, const MqScanBounds *bounds);

/*
 * The next record, by partition and offset; false at the end.  It points into
 * memory that is the scan's own and good until the next call.  The byte before
 * a key or a value belongs to the caller.  Raises XX001.
 */
extern bool mq_scan_next(MqScan *scan, int32 *partition, MqRecord *record);

/*
 * A scan that several processes share: the one that began it says how much
 * memory it takes and shares it before it starts, saying how many records will
 * be read, roughly; others begin with the same set of partitions and join.
 * Scan NULL: there is nothing to be had.
 */
extern Size mq_scan_shared_size(const MqScan *scan);
extern void mq_scan_share(MqScan *scan, MqScanShare *share, int64 expected);
extern void mq_scan_join(MqScan *scan, MqScanShare *share);
extern void mq_scan_unshare(MqScan *scan);	/* nothing more is read before the next start */

/* How many are left, of a scan that was begun to count. */
extern int64 mq_scan_count(MqScan *scan);
extern void mq_scan_end(MqScan *scan);

/*
 * called by planners: how many offsets the bounds leave, roughly, looking at
 * some of the partitions only; *total without bounds.  Tags are not looked at.
 */
extern double mq_scan_estimate(const MqTopic *topic, const MqScanBounds *bounds, double *total);

#endif							/* MQ_SCAN_H */
