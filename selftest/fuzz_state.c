/*
 * fuzz_state.c
 *	  libFuzzer: a state file from anywhere.
 *
 * The first byte says which slots get this partition's name and a good CRC,
 * or the fuzzer would never get behind them.
 */
#include "postgres.h"

#include "storage/mq_state.h"

#include "memfile.h"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static void adopt(int slot, const MqLogKey *key);
static void check_vouch(const MqStateDisk slots[2], const bool valid[2], XLogRecPtr redo);
static void check_forget(const MqStateDisk *state, XLogRecPtr redo);
static void check_epoch(const MqStateDisk *state, const MqLogKey *key, MqEpoch epoch);
static void check_write(const MqStateDisk *state, const MqLogKey *key);


int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	MqStateDisk slots[2];
	MqLogKey	key;
	bool		valid[2];
	int			current;
	int			s;
	int			c;

	if (size == 0)
		return 0;
	memset(&key, 0, sizeof(key));
	key.partition = 3;
	memfile_load(data + 1, size - 1);
	for (s = 0; s < 2; s++)
	{
		if (data[0] & 1 << s)
			adopt(s, &key);
	}
	if (!mq_state_read(&key, slots, valid, &current))
		abort();
	if (current < 0 ? valid[0] || valid[1] :
		!valid[current] || (valid[1 - current] && slots[1 - current].sequence > slots[current].sequence))
		abort();
	for (s = 0; s < 2; s++)
	{
		for (c = 0; c < 2; c++)
			check_vouch(slots, valid, slots[s].checkpoints[c].redo);
	}
	check_vouch(slots, valid, PG_UINT64_MAX);
	if (current < 0)
		return 0;
	check_forget(&slots[current], slots[current].checkpoints[1].redo);
	check_forget(&slots[current], 0);
	check_epoch(&slots[current], &key, 17);
	check_epoch(&slots[current], &key, PG_INT32_MAX);
	if (slots[current].sequence < PG_UINT64_MAX)
		check_write(&slots[current], &key);
	return 0;
}

static void
adopt(int slot, const MqLogKey *key)
{
	MqStateDisk state;

	if (memfile_size < (size_t) (slot + 1) * MQ_STATE_SLOT_SIZE)
		return;
	memcpy(&state, memfile_bytes + slot * MQ_STATE_SLOT_SIZE, sizeof(state));
	state.magic = MQ_STATE_MAGIC;
	state.version = MQ_STATE_VERSION;
	state.topic = key->topic;
	state.partition = key->partition;
	mq_state_seal(&state);
	memcpy(memfile_bytes + slot * MQ_STATE_SLOT_SIZE, &state, sizeof(state));
}

static void
check_vouch(const MqStateDisk slots[2], const bool valid[2], XLogRecPtr redo)
{
	const MqStateCheckpoint *got = mq_state_vouch(slots, valid, redo);
	uint64		best = 0;
	int			i;

	for (i = 0; i < 4; i++)
	{
		uint64		here = slots[i / 2].checkpoints[i % 2].redo;

		if (valid[i / 2] && here <= redo)
			best = Max(best, here);
	}
	if ((got != NULL ? got->redo : 0) != best)
		abort();
}

static void
check_forget(const MqStateDisk *state, XLogRecPtr redo)
{
	MqStateDisk copy = *state;
	bool		changed = mq_state_forget_after(&copy, redo);

	if (copy.checkpoints[0].redo > redo ||
		changed != (state->checkpoints[0].redo > redo) ||
		(!changed && memcmp(&copy, state, sizeof(copy)) != 0))
		abort();
}

static void
check_epoch(const MqStateDisk *state, const MqLogKey *key, MqEpoch epoch)
{
	MqStateDisk copy = *state;
	int			n = state->epochs_used;
	bool		later = n == 0 || state->epochs[n - 1].epoch < epoch;

	mq_state_note_epoch(&copy, epoch, 99);
	mq_state_seal(&copy);
	if (!mq_state_valid(&copy, key) ||
		copy.epochs_used != (later ? Min(n + 1, MQ_STATE_EPOCHS) : n) ||
		(later && (copy.epochs[copy.epochs_used - 1].epoch != epoch ||
				   copy.epochs[copy.epochs_used - 1].start != 99)))
		abort();
}

/* What is written counts when it is read. */
static void
check_write(const MqStateDisk *state, const MqLogKey *key)
{
	MqStateDisk copy = *state;
	MqStateDisk slots[2];
	bool		valid[2];
	int			current;

	copy.log_start ^= 1;
	if (!mq_state_write(key, &copy, true) || !mq_state_read(key, slots, valid, &current) ||
		current != (int) (copy.sequence % 2) ||
		memcmp(&slots[current], &copy, sizeof(copy)) != 0)
		abort();
}
