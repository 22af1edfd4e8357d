/*
 * mq_segment.h
 *	  One segment of a partition's log: names, descriptors kept open, space.
 */
#ifndef MQ_SEGMENT_H
#define MQ_SEGMENT_H

#include "base/mq_types.h"
#include "storage/mq_batches.h"

#define MQ_SEGMENT_ROOT			"pg_mq"
#define MQ_SEGMENT_PATH_MAX		160
#define MQ_SEGMENT_NEXT			((MqOffset) -2) /* "next.log": the one prepared ahead */

typedef enum MqSegmentFile
{
	MQ_SEGMENT_LOG,
	MQ_SEGMENT_BATCHES
} MqSegmentFile;

/* names; buf holds MQ_SEGMENT_PATH_MAX bytes */
extern void mq_segment_topic_dir(char *buf, Oid dboid, const pg_uuid_t *topic);
extern void mq_segment_dir(char *buf, const MqLogKey *key);
extern void mq_segment_path(char *buf, const MqLogKey *key, MqOffset base, MqSegmentFile kind);
extern bool mq_segment_parse_name(const char *name, MqOffset *base);	/* of a .log */
extern bool mq_segment_parse_uuid(const char *name, pg_uuid_t *uuid);
extern bool mq_segment_parse_number(const char *name, uint32 max, uint32 *number);
extern void mq_segment_format_uuid(char *buf, const pg_uuid_t *uuid);	/* 37 bytes */

/* Folders of a partition, from pg_mq down.  False with errno. */
extern bool mq_segment_make_dirs(const MqLogKey *key);

/* Makes the folder's own entry durable, up to the data directory.  False with errno; path (MQ_SEGMENT_PATH_MAX) says what failed */
extern bool mq_segment_sync_parents(const MqLogKey *key, char *path);

/*
 * Descriptors kept open by this process, a small LRU.  -1 with errno.  A
 * descriptor stays good until the next mq_segment_open() of this process but
 * one: an append opens both files of its segment, then uses them.
 */
extern int	mq_segment_open(const MqLogKey *key, MqOffset base, MqSegmentFile kind, bool create);
extern void mq_segment_forget(const pg_uuid_t *topic);	/* closes what is open of a topic */
extern void mq_segment_forget_file(const MqLogKey *key, MqOffset base);
extern void mq_segment_forget_all(void);

extern void mq_segment_identity(MqBatchesIdentity *id, const MqLogKey *key, MqOffset base);

/* Reads descriptors of an open .batches file; an MqBatchesRead whose arg is the int fd. */
extern bool mq_segment_read_batches(void *arg, uint32 first, uint32 n, MqDescriptorDisk *out);

/*
 * The end to reserve up to so that "need" bytes are covered: in steps that
 * double from 256 kB to 16 MB (a quarter of that for .batches), no further
 * than a segment of segment_bytes needs.
 */
extern int64 mq_segment_reserve_target(MqSegmentFile kind, int64 need, int64 reserved, int64 segment_bytes);

/* The bases of a partition's segments in ascending order; no palloc, free with mq_segment_list_free(). */
typedef struct MqSegmentList
{
	int			n;
	int			room;
	MqOffset   *bases;			/* malloc'd: the checkpointer builds one in a critical section */
} MqSegmentList;

extern bool mq_segment_list(const MqLogKey *key, MqOffset from, MqSegmentList *list);
extern void mq_segment_list_free(MqSegmentList *list);

#endif							/* MQ_SEGMENT_H */
