/*
 * mq_state.h
 *	  The state file of a partition: two slots written in turn.
 */
#ifndef MQ_STATE_H
#define MQ_STATE_H

#include "access/xlogdefs.h"
#include "base/mq_types.h"
#include "storage/mq_log.h"

#define MQ_STATE_SLOT_SIZE	512
#define MQ_STATE_MAGIC		0x4d515354	/* "MQST" */
#define MQ_STATE_VERSION	1
#define MQ_STATE_EPOCHS		8

/* flags */
#define MQ_STATE_CONFIG		0x01	/* retention and RETIRED are known */
#define MQ_STATE_RETIRED	0x02	/* the partition takes no messages any more */

/* What a checkpoint vouches for. */
typedef struct MqStateCheckpoint
{
	uint64		redo;			/* 0 = none */
	int64		leo;			/* log end when the checkpoint looked; its WAL is flushed */
	int64		segment;		/* base of the segment that holds the last batch below redo; -1 = none */
	uint32		batches;		/* descriptors of it below redo */
	uint32		position;		/* bytes of its .log below redo */
} MqStateCheckpoint;

typedef struct MqStateEpoch
{
	int32		epoch;
	int32		pad;
	int64		start;
} MqStateEpoch;

typedef struct MqStateDisk
{
	uint32		magic;
	uint16		version;
	uint16		epochs_used;
	uint64		sequence;		/* the slot with the greater one counts */
	pg_uuid_t	topic;
	int32		partition;
	int32		generation;		/* of files; 0 until a log is rewritten */
	int64		log_start;
	MqStateCheckpoint checkpoints[2];	/* the last one first */
	MqStateEpoch epochs[MQ_STATE_EPOCHS];	/* oldest first */
	int64		first_segment;	/* segments before this one are gone, or going */
	int64		retention_ms;	/* the topic's, for those who have no catalog */
	int64		retention_bytes;
	uint32		flags;			/* MQ_STATE_* */
	uint8		unused[MQ_STATE_SLOT_SIZE - 272];
	uint32		crc;			/* CRC-32C of all before it */
} MqStateDisk;

/* pure */
extern void mq_state_init(MqStateDisk *state, const MqLogKey *key);
extern void mq_state_seal(MqStateDisk *state);
extern bool mq_state_valid(const MqStateDisk *state, const MqLogKey *key);
extern void mq_state_note_epoch(MqStateDisk *state, MqEpoch epoch, MqOffset start);

extern void mq_state_set_config(MqStateDisk *state, const MqLogConfig *config, bool known);
extern bool mq_state_get_config(const MqStateDisk *state, MqLogConfig *config); /* false: not known */

/* The newest checkpoint of both slots with redo <= the given one; NULL when none vouches. */
extern const MqStateCheckpoint *mq_state_vouch(const MqStateDisk slots[2], const bool valid[2],
											   XLogRecPtr redo);

/*
 * Makes checkpoints[0] free for one with this redo pointer; keeps the newest
 * that a checkpoint with redo pointer "completed", or an earlier one, may need.
 */
extern void mq_state_make_room(MqStateDisk *state, XLogRecPtr redo, XLogRecPtr completed);

/* Drops what was noted for checkpoints that never completed. True when something changed. */
extern bool mq_state_forget_after(MqStateDisk *state, XLogRecPtr redo);

/* The same in both slots; the current one then has the newest of what is left in either. */
extern bool mq_state_forget_unfinished(MqStateDisk slots[2], const bool valid[2], int current,
									   XLogRecPtr redo);

/*
 * Reads both slots and names the current one: 0, 1, or -1 when neither is
 * valid.  False with errno when the file cannot be read; a missing file is
 * ENOENT.
 */
extern bool mq_state_read(const MqLogKey *key, MqStateDisk slots[2], bool valid[2], int *current);

/* Writes the state to the slot that its next sequence number names.  False with errno. */
extern bool mq_state_create(const MqLogKey *key, MqStateDisk *state, bool flush);
extern bool mq_state_write(const MqLogKey *key, MqStateDisk *state, bool flush);	/* the file is there */

#endif							/* MQ_STATE_H */
