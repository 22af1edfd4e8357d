/*
 * mq_state.c
 *	  The state file of a partition: two slots written in turn.
 *
 * Small facts that must outlive the WAL and that no descriptor holds: the log
 * start, the leader epochs, and what the last checkpoints vouched for.  A
 * slot is one 512-byte sector with a CRC; the other slot is never touched by
 * a write, so a torn write costs the newest slot only, and the checkpoint
 * that wrote it has then not completed.  The file is never renamed.
 *
 * Locking: written by the process that performs the checkpoint, by recovery,
 *          and at creation under the append lock.
 */
#include "postgres.h"

#include <fcntl.h>

#include "port/pg_crc32c.h"

#include "storage/mq_file.h"
#include "storage/mq_segment.h"
#include "storage/mq_state.h"

StaticAssertDecl(sizeof(MqStateDisk) == MQ_STATE_SLOT_SIZE, "a slot is one sector");
StaticAssertDecl(offsetof(MqStateDisk, crc) == MQ_STATE_SLOT_SIZE - 4, "the CRC ends the slot");

static bool write_slot(const MqLogKey *key, MqStateDisk *state, int create, bool flush);
static pg_crc32c state_crc(const MqStateDisk *state);
static void state_path(char *buf, const MqLogKey *key);

void
mq_state_init(MqStateDisk *state, const MqLogKey *key)
{
	memset(state, 0, sizeof(*state));
	state->magic = MQ_STATE_MAGIC;
	state->version = MQ_STATE_VERSION;
	state->topic = key->topic;
	state->partition = key->partition;
	state->checkpoints[0].segment = -1;
	state->checkpoints[1].segment = -1;
}

void
mq_state_seal(MqStateDisk *state)
{
	state->crc = state_crc(state);
}

bool
mq_state_valid(const MqStateDisk *state, const MqLogKey *key)
{
	return state->magic == MQ_STATE_MAGIC &&
		state->version == MQ_STATE_VERSION &&
		EQ_CRC32C(state->crc, state_crc(state)) &&
		state->partition == key->partition &&
		memcmp(&state->topic, &key->topic, UUID_LEN) == 0 &&
		state->epochs_used <= MQ_STATE_EPOCHS;
}

/* Remembers where an epoch began; the oldest goes when there are too many. */
void
mq_state_note_epoch(MqStateDisk *state, MqEpoch epoch, MqOffset start)
{
	int			n = state->epochs_used;

	if (n > 0 && state->epochs[n - 1].epoch >= epoch)
		return;
	if (n == MQ_STATE_EPOCHS)
	{
		memmove(&state->epochs[0], &state->epochs[1],
				sizeof(MqStateEpoch) * (MQ_STATE_EPOCHS - 1));
		n--;
	}
	state->epochs[n].epoch = epoch;
	state->epochs[n].pad = 0;
	state->epochs[n].start = start;
	state->epochs_used = n + 1;
}

void
mq_state_set_config(MqStateDisk *state, const MqLogConfig *config, bool known)
{
	state->retention_ms = config->retention_ms;
	state->retention_bytes = config->retention_bytes;
	state->flags = (known ? MQ_STATE_CONFIG : 0) | (config->retired ? MQ_STATE_RETIRED : 0);
}

bool
mq_state_get_config(const MqStateDisk *state, MqLogConfig *config)
{
	if ((state->flags & MQ_STATE_CONFIG) == 0)
		return false;
	config->retention_ms = state->retention_ms;
	config->retention_bytes = state->retention_bytes;
	config->retired = (state->flags & MQ_STATE_RETIRED) != 0;
	return true;
}

const MqStateCheckpoint *
mq_state_vouch(const MqStateDisk slots[2], const bool valid[2], XLogRecPtr redo)
{
	const MqStateCheckpoint *best = NULL;
	int			s;
	int			c;

	for (s = 0; s < 2; s++)
	{
		for (c = 0; valid[s] && c < 2; c++)
		{
			const MqStateCheckpoint *ck = &slots[s].checkpoints[c];

			if (ck->redo == 0 || ck->redo > redo)
				continue;
			if (best == NULL || ck->redo > best->redo)
				best = ck;
		}
	}
	return best;
}

/*
 * A log may be synced many times between two checkpoints, and if the server
 * goes down then, nothing that was noted meanwhile counts.
 */
void
mq_state_make_room(MqStateDisk *state, XLogRecPtr redo, XLogRecPtr completed)
{
	MqStateCheckpoint *ck = state->checkpoints;

	if (ck[0].redo < redo && (ck[0].redo <= completed || ck[1].redo == 0))
		ck[1] = ck[0];
}

bool
mq_state_forget_after(MqStateDisk *state, XLogRecPtr redo)
{
	bool		changed = false;

	while (state->checkpoints[0].redo > redo)
	{
		state->checkpoints[0] = state->checkpoints[1];
		memset(&state->checkpoints[1], 0, sizeof(MqStateCheckpoint));
		state->checkpoints[1].segment = -1;
		changed = true;
	}
	return changed;
}

bool
mq_state_forget_unfinished(MqStateDisk slots[2], const bool valid[2], int current, XLogRecPtr redo)
{
	MqStateDisk *now = &slots[current];
	const MqStateDisk *other = &slots[1 - current];
	bool		changed = false;
	int			s;

	for (s = 0; s < 2; s++)
		changed |= valid[s] && mq_state_forget_after(&slots[s], redo);
	if (valid[1 - current] && other->checkpoints[0].redo > now->checkpoints[0].redo)
		memcpy(now->checkpoints, other->checkpoints, sizeof(now->checkpoints));
	return changed;
}

bool
mq_state_read(const MqLogKey *key, MqStateDisk slots[2], bool valid[2], int *current)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int			fd;
	int64		got;
	int			save_errno;

	*current = -1;
	valid[0] = valid[1] = false;
	memset(slots, 0, sizeof(MqStateDisk) * 2);
	state_path(path, key);
	fd = mq_file_open(path, O_RDONLY);
	if (fd < 0)
		return false;
	got = mq_file_pread(fd, slots, sizeof(MqStateDisk) * 2, 0);
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	if (got < 0)
		return false;

	valid[0] = mq_state_valid(&slots[0], key);
	valid[1] = mq_state_valid(&slots[1], key);
	if (valid[0] && (!valid[1] || slots[0].sequence > slots[1].sequence))
		*current = 0;
	else if (valid[1])
		*current = 1;
	return true;
}

bool
mq_state_create(const MqLogKey *key, MqStateDisk *state, bool flush)
{
	return write_slot(key, state, O_CREAT, flush);
}

bool
mq_state_write(const MqLogKey *key, MqStateDisk *state, bool flush)
{
	return write_slot(key, state, 0, flush);
}

static bool
write_slot(const MqLogKey *key, MqStateDisk *state, int create, bool flush)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	int			fd;
	bool		ok;
	int			save_errno;

	state->sequence++;
	mq_state_seal(state);
	state_path(path, key);
	fd = mq_file_open(path, O_RDWR | create);
	if (fd < 0)
		return false;
	ok = mq_file_pwrite(fd, state, sizeof(*state),
						(off_t) (state->sequence % 2) * MQ_STATE_SLOT_SIZE) &&
		(!flush || mq_file_sync(fd));
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	return ok;
}

static pg_crc32c
state_crc(const MqStateDisk *state)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, state, offsetof(MqStateDisk, crc));
	FIN_CRC32C(crc);
	return crc;
}

static void
state_path(char *buf, const MqLogKey *key)
{
	size_t		len;

	mq_segment_dir(buf, key);
	len = strlen(buf);
	snprintf(buf + len, MQ_SEGMENT_PATH_MAX - len, "/state");
}
