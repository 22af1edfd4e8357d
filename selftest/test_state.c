/*
 * test_state.c
 *	  storage/mq_state: slots, torn slots, what a checkpoint vouches for, epochs.
 */
#include "postgres.h"

#include "storage/mq_state.h"

#include "memfile.h"
#include "mq_selftest.h"

#define THE_SEGMENT	1000

typedef struct VouchCase
{
	const char *what;
	uint64		redo[4];		/* slot 0: last, the one before; slot 1 likewise */
	bool		valid[2];
	uint64		asked;
	uint64		expected;		/* 0 = nobody vouches */
} VouchCase;

typedef struct ForgetCase
{
	uint64		redo[2];
	uint64		asked;
	uint64		left[2];
} ForgetCase;

/* Syncs in a row, each noted as write_state() does, then a crash. */
typedef struct RoomCase
{
	const char *what;
	struct
	{
		uint64		redo;
		uint64		completed;	/* by then */
	}			syncs[5];		/* redo 0 = no more */
	uint64		boot;
	uint64		expected;		/* who vouches then, and after what is unfinished was forgotten */
} RoomCase;

static const VouchCase vouch_cases[] = {
	{"no checkpoint yet", {0, 0, 0, 0}, {true, true}, PG_UINT64_MAX, 0},
	{"one", {10, 0, 0, 0}, {true, true}, 10, 10},
	{"one that is later", {10, 0, 0, 0}, {true, true}, 9, 0},
	{"the last of both slots", {20, 10, 30, 20}, {true, true}, 30, 30},
	{"the one before it", {20, 10, 30, 20}, {true, true}, 29, 20},
	{"the first", {20, 10, 30, 20}, {true, true}, 10, 10},
	{"none of them", {20, 10, 30, 20}, {true, true}, 9, 0},
	{"the newer slot is torn", {20, 10, 30, 20}, {true, false}, 30, 20},
	{"the older slot is torn", {20, 10, 30, 25}, {false, true}, 24, 0},
	{"both are", {20, 10, 30, 20}, {false, false}, 30, 0}
};

static const ForgetCase forget_cases[] = {
	{{20, 10}, 20, {20, 10}},
	{{20, 10}, 30, {20, 10}},
	{{20, 10}, 19, {10, 0}},
	{{20, 10}, 10, {10, 0}},
	{{20, 10}, 9, {0, 0}},
	{{20, 0}, 9, {0, 0}},
	{{0, 0}, 0, {0, 0}}
};

static const RoomCase room_cases[] = {
	{"a checkpoint", {{20, 10}}, 20, 20},
	{"one that did not complete", {{20, 10}}, 10, 0},
	{"two", {{20, 10}, {30, 20}}, 30, 30},
	{"the second did not complete", {{20, 10}, {30, 20}}, 20, 20},
	{"one more sync", {{20, 10}, {25, 20}}, 20, 20},
	{"two more", {{20, 10}, {25, 20}, {27, 20}}, 20, 20},
	{"four more", {{20, 10}, {25, 20}, {27, 20}, {28, 20}, {29, 20}}, 20, 20},
	{"three more, and the checkpoint they were for", {{20, 10}, {25, 20}, {27, 20}, {29, 20}}, 30, 29},
	{"three in the life of a new log", {{15, 10}, {25, 10}, {27, 10}}, 20, 15},
	{"two, a checkpoint, two more", {{15, 10}, {17, 10}, {25, 20}, {27, 20}, {29, 20}}, 20, 17}
};

static void check_layout(void);
static void check_flips(void);
static void check_key(void);
static void check_impossible(void);
static void check_epochs(void);
static void check_vouch(void);
static void check_forget(void);
static void check_room(void);
static void check_unfinished(void);
static void check_slots(void);
static void check_torn(void);
static void check_short(void);
static void make_key(MqLogKey *key);
static void make_golden(MqStateDisk *state);
static void set_checkpoint(MqStateCheckpoint *ck, uint64 redo);


void
test_state(void)
{
	check_layout();
	check_flips();
	check_key();
	check_impossible();
	check_epochs();
	check_vouch();
	check_forget();
	check_room();
	check_unfinished();
	check_slots();
	check_torn();
	check_short();
}

static void
check_layout(void)
{
	MqStateDisk state;
	MqLogKey	key;

	make_key(&key);
	make_golden(&state);
	mq_state_seal(&state);
	selftest_pinned(&state, sizeof(state), "state.bin");
	selftest_ok(mq_state_valid(&state, &key), "a sealed slot is valid");

	memset(&state, 0xff, sizeof(state));
	mq_state_init(&state, &key);
	selftest_ok(!mq_state_valid(&state, &key), "one that is not sealed isn't");
	mq_state_seal(&state);
	selftest_ok(mq_state_valid(&state, &key) && state.sequence == 0 && state.epochs_used == 0 &&
				state.checkpoints[0].redo == 0 && state.checkpoints[0].segment == -1 &&
				state.checkpoints[1].redo == 0 && state.checkpoints[1].segment == -1,
				"a new state knows no checkpoint and no epoch");
}

static void
check_flips(void)
{
	MqStateDisk state;
	MqLogKey	key;
	uint8	   *bytes = (uint8 *) &state;
	int			wrong = 0;
	int			bit;

	make_key(&key);
	make_golden(&state);
	mq_state_seal(&state);
	for (bit = 0; bit < (int) sizeof(state) * 8; bit++)
	{
		bytes[bit / 8] ^= 1 << bit % 8;
		if (mq_state_valid(&state, &key))
		{
			wrong++;
			selftest_note("bit %d of byte %d", bit % 8, bit / 8);
		}
		bytes[bit / 8] ^= 1 << bit % 8;
	}
	selftest_int(wrong, 0, "every flipped bit of a slot is seen");
}

static void
check_key(void)
{
	MqStateDisk state;
	MqLogKey	key;
	int			i;
	int			wrong = 0;

	make_key(&key);
	make_golden(&state);
	mq_state_seal(&state);
	for (i = 0; i < UUID_LEN; i++)
	{
		key.topic.data[i] ^= 0x10;
		wrong += mq_state_valid(&state, &key);
		key.topic.data[i] ^= 0x10;
	}
	selftest_int(wrong, 0, "no other topic's slot is valid");
	key.partition++;
	selftest_ok(!mq_state_valid(&state, &key), "no other partition's");
}

/* Good CRCs of what is no state all the same. */
static void
check_impossible(void)
{
	MqStateDisk state;
	MqLogKey	key;

	make_key(&key);
	memset(&state, 0, sizeof(state));
	mq_state_seal(&state);
	selftest_ok(!mq_state_valid(&state, &key), "zeros with a CRC");
	make_golden(&state);
	state.magic ^= 1;
	mq_state_seal(&state);
	selftest_ok(!mq_state_valid(&state, &key), "another magic number");
	make_golden(&state);
	state.version++;
	mq_state_seal(&state);
	selftest_ok(!mq_state_valid(&state, &key), "a later version");
	make_golden(&state);
	state.epochs_used = MQ_STATE_EPOCHS + 1;
	mq_state_seal(&state);
	selftest_ok(!mq_state_valid(&state, &key), "more epochs than there are places");
	state.epochs_used = MQ_STATE_EPOCHS;
	mq_state_seal(&state);
	selftest_ok(mq_state_valid(&state, &key), "as many as there are places");
}

static void
check_epochs(void)
{
	MqStateDisk state;
	MqLogKey	key;
	int			i;
	bool		good = true;

	make_key(&key);
	mq_state_init(&state, &key);
	for (i = 0; i < MQ_STATE_EPOCHS; i++)
	{
		mq_state_note_epoch(&state, i * 2, i * 100);
		good &= state.epochs_used == i + 1;
	}
	for (i = 0; i < MQ_STATE_EPOCHS; i++)
		good &= state.epochs[i].epoch == i * 2 && state.epochs[i].start == i * 100;
	selftest_ok(good, "epochs stand in their order");
	mq_state_note_epoch(&state, (MQ_STATE_EPOCHS - 1) * 2, 9999);
	mq_state_note_epoch(&state, 3, 9999);
	selftest_ok(state.epochs_used == MQ_STATE_EPOCHS &&
				state.epochs[MQ_STATE_EPOCHS - 1].start == (MQ_STATE_EPOCHS - 1) * 100,
				"one that is there, or older than the last, changes nothing");
	mq_state_note_epoch(&state, 99, 12345);
	selftest_int(state.epochs_used, MQ_STATE_EPOCHS, "one too many");
	selftest_int(state.epochs[0].epoch, 2, "pushes out the oldest");
	selftest_ok(state.epochs[MQ_STATE_EPOCHS - 1].epoch == 99 && state.epochs[MQ_STATE_EPOCHS - 1].start == 12345,
				"and stands last");
	mq_state_seal(&state);
	selftest_ok(mq_state_valid(&state, &key), "the state stays valid");
}

static void
check_vouch(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(vouch_cases); i++)
	{
		const VouchCase *c = &vouch_cases[i];
		MqStateDisk slots[2];
		MqLogKey	key;
		const MqStateCheckpoint *got;
		int			n;

		make_key(&key);
		mq_state_init(&slots[0], &key);
		mq_state_init(&slots[1], &key);
		for (n = 0; n < 4; n++)
			set_checkpoint(&slots[n / 2].checkpoints[n % 2], c->redo[n]);
		got = mq_state_vouch(slots, c->valid, c->asked);
		selftest_int(got != NULL ? got->redo : 0, c->expected, "vouches: %s", c->what);
	}
}

static void
check_forget(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(forget_cases); i++)
	{
		const ForgetCase *c = &forget_cases[i];
		MqStateDisk state;
		MqLogKey	key;
		bool		changed;

		make_key(&key);
		mq_state_init(&state, &key);
		set_checkpoint(&state.checkpoints[0], c->redo[0]);
		set_checkpoint(&state.checkpoints[1], c->redo[1]);
		changed = mq_state_forget_after(&state, c->asked);
		selftest_ok(state.checkpoints[0].redo == c->left[0] && state.checkpoints[1].redo == c->left[1] &&
					(c->left[0] != 0 || state.checkpoints[0].segment == -1) &&
					(c->left[1] != 0 || state.checkpoints[1].segment == -1),
					"of %d and %d, those up to %d are left", (int) c->redo[0], (int) c->redo[1], (int) c->asked);
		selftest_int(changed, c->redo[0] != c->left[0], "and it is told whether that changed anything");
	}
}

/* What the last completed checkpoint needs is kept, however often a log is synced behind it. */
static void
check_room(void)
{
	int			i;
	int			k;

	for (i = 0; i < (int) lengthof(room_cases); i++)
	{
		const RoomCase *c = &room_cases[i];
		const MqStateCheckpoint *got;
		MqStateDisk state;
		MqStateDisk slots[2];
		MqLogKey	key;
		bool		valid[2];
		int			current;

		make_key(&key);
		memfile_remove();
		mq_state_init(&state, &key);
		mq_state_create(&key, &state, false);
		for (k = 0; k < (int) lengthof(c->syncs) && c->syncs[k].redo != 0; k++)
		{
			mq_state_make_room(&state, c->syncs[k].redo, c->syncs[k].completed);
			set_checkpoint(&state.checkpoints[0], c->syncs[k].redo);
			mq_state_write(&key, &state, true);
		}
		selftest_ok(mq_state_read(&key, slots, valid, &current), "%s: can be read", c->what);
		got = mq_state_vouch(slots, valid, c->boot);
		selftest_int(got != NULL ? got->redo : 0, c->expected, "%s: who vouches", c->what);
		mq_state_forget_unfinished(slots, valid, current, c->boot);
		selftest_int(slots[current].checkpoints[0].redo, c->expected, "%s: it still does", c->what);
	}
}

/* The newest facts are the current slot's, the checkpoints those of whoever has the newer ones left. */
static void
check_unfinished(void)
{
	MqStateDisk slots[2];
	MqLogKey	key;
	bool		valid[2] = {true, true};
	bool		torn[2] = {false, true};

	make_key(&key);
	mq_state_init(&slots[0], &key);
	mq_state_init(&slots[1], &key);
	set_checkpoint(&slots[0].checkpoints[0], 25);
	set_checkpoint(&slots[0].checkpoints[1], 20);
	set_checkpoint(&slots[1].checkpoints[0], 30);
	set_checkpoint(&slots[1].checkpoints[1], 25);
	slots[1].log_start = 7;
	selftest_ok(!mq_state_forget_unfinished(slots, valid, 1, 30) &&
				slots[1].checkpoints[0].redo == 30, "nothing is unfinished");
	selftest_ok(mq_state_forget_unfinished(slots, torn, 1, 29) &&
				slots[1].checkpoints[0].redo == 25, "a slot that is torn is no help");
	set_checkpoint(&slots[1].checkpoints[0], 30);
	set_checkpoint(&slots[1].checkpoints[1], 25);
	selftest_ok(mq_state_forget_unfinished(slots, valid, 1, 20) &&
				slots[1].checkpoints[0].redo == 20 && slots[1].checkpoints[0].segment == THE_SEGMENT &&
				slots[1].checkpoints[1].redo == 0 && slots[1].log_start == 7,
				"what only the other slot has left is taken over, and nothing else");
}

/* Slots are written in turn; the one that is not written keeps its bytes. */
static void
check_slots(void)
{
	MqStateDisk state;
	MqStateDisk slots[2];
	MqLogKey	key;
	bool		valid[2];
	int			current = 99;
	int			i;

	make_key(&key);
	memfile_remove();
	errno = 0;
	selftest_ok(!mq_state_read(&key, slots, valid, &current) && errno == ENOENT && current == -1,
				"a file that is not there");
	mq_state_init(&state, &key);
	errno = 0;
	selftest_ok(!mq_state_write(&key, &state, true) && errno == ENOENT, "is not made by a write");
	mq_state_init(&state, &key);
	selftest_ok(mq_state_create(&key, &state, true), "but when it is created");
	selftest_ok(mq_state_read(&key, slots, valid, &current) && current == 1 && !valid[0] && valid[1],
				"with one slot, the second");
	for (i = 2; i < 7; i++)
	{
		uint8		before[MQ_STATE_SLOT_SIZE];
		int			other = (i + 1) % 2;

		memcpy(before, memfile_bytes + other * MQ_STATE_SLOT_SIZE, MQ_STATE_SLOT_SIZE);
		state.log_start = i * 10;
		selftest_ok(mq_state_write(&key, &state, true) && mq_state_read(&key, slots, valid, &current) &&
					valid[0] && valid[1] && current == i % 2 &&
					slots[current].sequence == i && slots[current].log_start == i * 10 &&
					memcmp(before, memfile_bytes + other * MQ_STATE_SLOT_SIZE, MQ_STATE_SLOT_SIZE) == 0,
					"write %d goes to slot %d and leaves the other alone", i, i % 2);
	}
	selftest_int(memfile_size, 2 * MQ_STATE_SLOT_SIZE, "the file has two slots");

	/* the sequence decides, not the place */
	memcpy(memfile_bytes + MQ_STATE_SLOT_SIZE, memfile_bytes, MQ_STATE_SLOT_SIZE);
	slots[0].sequence = 3;
	mq_state_seal(&slots[0]);
	memcpy(memfile_bytes, &slots[0], MQ_STATE_SLOT_SIZE);
	selftest_ok(mq_state_read(&key, slots, valid, &current) && current == 1, "the greater sequence counts");
}

/* Wherever a write breaks off, the state is the old one or, if it is all there, the new one. */
static void
check_torn(void)
{
	MqStateDisk state;
	MqStateDisk slots[2];
	MqLogKey	key;
	bool		valid[2];
	int			current;
	int			wrong = 0;
	int			half = 0;
	size_t		n;

	make_key(&key);
	for (n = 0; n < MQ_STATE_SLOT_SIZE; n++)
	{
		memfile_remove();
		make_golden(&state);
		state.sequence = 0;
		wrong += !mq_state_create(&key, &state, true);
		state.log_start = 111;
		wrong += !mq_state_write(&key, &state, true);
		state.log_start = -222;
		state.epochs[0].start = 333;
		memfile_tear(n);
		errno = 0;
		wrong += mq_state_write(&key, &state, true) || errno != EIO;
		wrong += !mq_state_read(&key, slots, valid, &current) || current != 0 ||
			slots[0].log_start != 111 || slots[0].sequence != 2;
		half += !valid[1];
	}
	selftest_int(wrong, 0, "a write torn at any byte costs nothing but itself");
	selftest_ok(half > MQ_STATE_SLOT_SIZE - 40, "and the torn slot is not valid");
}

static void
check_short(void)
{
	MqStateDisk state;
	MqStateDisk slots[2];
	MqLogKey	key;
	bool		valid[2];
	int			current;
	int			wrong = 0;
	size_t		n;

	make_key(&key);
	memfile_remove();
	mq_state_init(&state, &key);
	wrong += !mq_state_create(&key, &state, true) || !mq_state_write(&key, &state, true);
	for (n = 2 * MQ_STATE_SLOT_SIZE; n-- > 0;)
	{
		memfile_size = n;
		wrong += !mq_state_read(&key, slots, valid, &current) ||
			current != (n >= MQ_STATE_SLOT_SIZE ? 0 : -1) || valid[1];
	}
	selftest_int(wrong, 0, "a file that is cut short has the slots that are whole");
}

static void
make_key(MqLogKey *key)
{
	int			i;

	memset(key, 0, sizeof(*key));
	key->dboid = 5;
	key->partition = 0x71727374;
	for (i = 0; i < UUID_LEN; i++)
		key->topic.data[i] = (unsigned char) (0xa0 + i);
}

/* Every field differs from the others. */
static void
make_golden(MqStateDisk *state)
{
	MqLogKey	key;
	int			i;

	make_key(&key);
	mq_state_init(state, &key);
	state->sequence = UINT64CONST(0x0102030405060708);
	state->generation = 0x11121314;
	state->log_start = INT64CONST(0x2122232425262728);
	for (i = 0; i < 2; i++)
	{
		state->checkpoints[i].redo = UINT64CONST(0x3132333435363738) - i;
		state->checkpoints[i].leo = INT64CONST(0x4142434445464748) - i;
		state->checkpoints[i].segment = INT64CONST(0x5152535455565758) - i;
		state->checkpoints[i].batches = 0x61626364 - i;
		state->checkpoints[i].position = 0x01626364 - i;
	}
	for (i = 0; i < MQ_STATE_EPOCHS - 1; i++)
		mq_state_note_epoch(state, 0x01010101 * (i + 1), INT64CONST(0x0101010101010101) * (i + 1));
}

/* 0 = none */
static void
set_checkpoint(MqStateCheckpoint *ck, uint64 redo)
{
	ck->redo = redo;
	ck->leo = redo * 2;
	ck->segment = redo == 0 ? -1 : THE_SEGMENT;
}
