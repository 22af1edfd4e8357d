/*
 * test_retention.c
 *	  storage/mq_retention: which segments may go.
 *
 * Cases as a table, then random logs whose answer must have the properties
 * that the rules promise: no segment that goes had to stay, and the first that
 * stays may not go.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "storage/mq_retention.h"

#include "mq_selftest.h"

#define MOST	8
#define NOW		1000000

typedef struct Case
{
	const char *label;
	int64		retention_ms;
	int64		retention_bytes;
	MqOffset	log_start;
	MqOffset	lso;
	int			expected;
} Case;

/* Four segments of ten messages and 100 bytes, the newest messages 400, 300, 200 and 100 ms old; the last active. */
static const MqRetentionSegment four[] = {
	{0, 10, 100, NOW - 400},
	{10, 20, 100, NOW - 300},
	{20, 30, 100, NOW - 200},
	{30, 40, 100, NOW - 100},
};

static const Case cases[] = {
	{"no limits", -1, -1, 0, 40, 0},
	{"by time, none old enough", 400, -1, 0, 40, 0},
	{"by time, the first", 399, -1, 0, 40, 1},
	{"by time, three", 150, -1, 0, 40, 3},
	{"by time, the active one too", 50, -1, 0, 40, 4},
	{"by time, of this moment", 0, -1, 0, 40, 4},
	{"by size, all fit", -1, 400, 0, 40, 0},
	{"by size, a part of one too many", -1, 301, 0, 40, 0},
	{"by size, one too many", -1, 300, 0, 40, 1},
	{"by size, two", -1, 200, 0, 40, 2},
	{"by size, nothing kept", -1, 0, 0, 40, 4},
	{"by both", 250, 100, 0, 40, 3},
	{"a message in doubt in the third", 0, 0, 0, 25, 2},
	{"a message in doubt at its start", 0, 0, 0, 20, 2},
	{"all in doubt", 0, 0, 0, 0, 0},
	{"below the log start", -1, -1, 20, 40, 2},
	{"below the log start, but for a message", -1, -1, 19, 40, 1},
	{"all below the log start", -1, -1, 40, 40, 4},
};

static void check_cases(void);
static void check_future(void);
static void check_empty(void);
static void check_random(void);
static bool had_to_stay(const MqRetentionSegment *s, int n, int i, const MqRetentionLimits *limits);

void
test_retention(void)
{
	check_cases();
	check_future();
	check_empty();
	check_random();
}

static void
check_cases(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(cases); i++)
	{
		const Case *c = &cases[i];
		MqRetentionLimits limits = {c->retention_ms, c->retention_bytes, NOW, c->log_start, c->lso};

		selftest_int(mq_retention_choose(four, lengthof(four), &limits), c->expected, "%s", c->label);
	}
}

/* What follows a timestamp in the future waits for it, by time and not by size. */
static void
check_future(void)
{
	MqRetentionSegment s[lengthof(four)];
	MqRetentionLimits limits = {0, -1, NOW, 0, 40};

	memcpy(s, four, sizeof(s));
	s[1].max_timestamp = NOW + 1;
	selftest_int(mq_retention_choose(s, lengthof(s), &limits), 1, "a timestamp in the future holds the rest");
	limits.retention_bytes = 150;
	selftest_int(mq_retention_choose(s, lengthof(s), &limits), 4, "until the size is too much, then all go");
}

static void
check_empty(void)
{
	MqRetentionSegment s[] = {{0, 10, 100, NOW - 400}, {10, 10, 0, -1}};
	MqRetentionLimits limits = {0, 0, NOW, 0, 10};

	selftest_int(mq_retention_choose(s, 2, &limits), 1, "an empty active segment stays");
	selftest_int(mq_retention_choose(s + 1, 1, &limits), 0, "also alone");
	selftest_int(mq_retention_choose(s, 0, &limits), 0, "no segments");
}

static void
check_random(void)
{
	pg_prng_state state;
	int			wrong = 0;
	int			round;

	pg_prng_seed(&state, 20240607);
	for (round = 0; round < 20000; round++)
	{
		MqRetentionSegment s[MOST];
		MqRetentionLimits limits;
		int			n = pg_prng_uint64_range(&state, 0, MOST);
		MqOffset	next = 0;
		int			chosen;
		int			i;

		for (i = 0; i < n; i++)
		{
			s[i].base = next;
			next += pg_prng_uint64_range(&state, i + 1 < n ? 1 : 0, 20);
			s[i].next = next;
			s[i].log_bytes = (next - s[i].base) * 10;
			s[i].max_timestamp = next > s[i].base ? NOW - 200 + (int64) pg_prng_uint64_range(&state, 0, 250) : -1;
		}
		limits.retention_ms = (int64) pg_prng_uint64_range(&state, 0, 250) - 1;
		limits.retention_bytes = (int64) pg_prng_uint64_range(&state, 0, 900) - 1;
		limits.now = NOW;
		limits.lso = pg_prng_uint64_range(&state, 0, next);
		limits.log_start = pg_prng_uint64_range(&state, 0, limits.lso);
		chosen = mq_retention_choose(s, n, &limits);
		for (i = 0; i < chosen; i++)
			wrong += had_to_stay(s, n, i, &limits) ? 1 : 0;
		if (chosen < n)
			wrong += had_to_stay(s, n, chosen, &limits) ? 0 : 1;
	}
	selftest_int(wrong, 0, "random logs");
}

/* The rules in other words. */
static bool
had_to_stay(const MqRetentionSegment *s, int n, int i, const MqRetentionLimits *limits)
{
	int64		kept = 0;
	int			j;

	if (s[i].base == s[i].next || s[i].next > limits->lso)
		return true;
	for (j = i + 1; j < n; j++)
		kept += s[j].log_bytes;
	return !(s[i].next <= limits->log_start ||
			 (limits->retention_ms >= 0 && limits->now - s[i].max_timestamp > limits->retention_ms) ||
			 (limits->retention_bytes >= 0 && kept >= limits->retention_bytes));
}
