/*
 * test_segment.c
 *	  storage/mq_segment: names of files and folders, steps of reservation.
 */
#include "postgres.h"

#include "storage/mq_segment.h"

#include "mq_selftest.h"

typedef struct NameCase
{
	const char *name;
	int64		base;			/* -1 = no segment */
} NameCase;

typedef struct NumberCase
{
	const char *name;
	uint32		max;
	int64		number;			/* -1 = none */
} NumberCase;

typedef struct ReserveCase
{
	MqSegmentFile kind;
	int64		need;
	int64		reserved;
	int64		segment_bytes;
	int64		expected;
} ReserveCase;

#define KB	INT64CONST(1024)
#define MB	(1024 * KB)

static const NameCase name_cases[] = {
	{"00000000000000000000.log", 0},
	{"00000000000000000042.log", 42},
	{"09223372036854775807.log", PG_INT64_MAX},
	{"09223372036854775808.log", -1},
	{"18446744073709551616.log", -1},
	{"99999999999999999999.log", -1},
	{"00000000000000000042.batches", -1},
	{"00000000000000000042.log.old", -1},
	{"00000000000000000042.LOG", -1},
	{"00000000000000000042.lo", -1},
	{"00000000000000000042", -1},
	{"0000000000000000042.log", -1},
	{"000000000000000000042.log", -1},
	{"-0000000000000000042.log", -1},
	{"+0000000000000000042.log", -1},
	{" 0000000000000000042.log", -1},
	{"0000000000000000004a.log", -1},
	{"0000000000000000004\xd9.log", -1},
	{"next.log", -1},
	{"state", -1},
	{"4", -1},
	{"", -1}
};

static const NumberCase number_cases[] = {
	{"0", 16383, 0}, {"1", 16383, 1}, {"16383", 16383, 16383}, {"16384", 16383, -1},
	{"4294967295", PG_UINT32_MAX, PG_UINT32_MAX}, {"4294967296", PG_UINT32_MAX, -1},
	{"99999999999", PG_UINT32_MAX, -1}, {"18446744073709551616", PG_UINT32_MAX, -1},
	{"18446744073709551617", PG_UINT32_MAX, -1},
	{"", 9, -1}, {"00", 9, -1}, {"01", 9, -1}, {"+1", 9, -1}, {"-1", 9, -1}, {" 1", 9, -1},
	{"1 ", 9, -1}, {"1a", 9, -1}, {"0x1", 9, -1}, {"pgsql_tmp", PG_UINT32_MAX, -1}
};

#define UUID	"0123456b-89ab-cdef-f0e1-d2c3b4a59687"

/* Each is 36 characters, or nearly. */
static const char *const bad_uuids[] = {
	"", "0", "0123456b-89ab-cdef-f0e1-d2c3b4a5968", UUID "0",
	"0123456B-89ab-cdef-f0e1-d2c3b4a59687",
	"0123456b089ab-cdef-f0e1-d2c3b4a59687",
	"0123456b-89ab-cdef-f0e1-d2c3b4a5968g",
	"0123456b--9ab-cdef-f0e1-d2c3b4a59687",
	"0123456b-89ab-cdef-f0e1-d2c3b4a5968 ",
	" 123456b-89ab-cdef-f0e1-d2c3b4a59687",
	"+1+2+3+4+5+6+7+8+9+a+b+c+d+e+f+0+1+2",
	"0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x0x",
	"-00-00-00-00-00-00-00-00-00-00-00000",
	"-00-00-00-00-00-00-00-00-00-00-00-00",
	"-00-00-00-00-00-00-00-00-00-00-00--0",
	"0123456b89abcdeff0e1d2c3b4a596870000",
	"{123456b-89ab-cdef-f0e1-d2c3b4a5968}",
	"------------------------------------",
	"                                    "
};

static const ReserveCase reserve_cases[] = {
	{MQ_SEGMENT_LOG, 1, 0, 256 * MB, 256 * KB},
	{MQ_SEGMENT_LOG, 257 * KB, 256 * KB, 256 * MB, 512 * KB},
	{MQ_SEGMENT_LOG, 9 * MB, 8 * MB, 256 * MB, 16 * MB},
	{MQ_SEGMENT_LOG, 33 * MB, 32 * MB, 256 * MB, 48 * MB},
	{MQ_SEGMENT_LOG, 241 * MB, 240 * MB, 250 * MB, 250 * MB},
	{MQ_SEGMENT_LOG, 251 * MB, 250 * MB, 250 * MB, 251 * MB},
	{MQ_SEGMENT_LOG, 10 * MB, 0, 256 * MB, 10 * MB},
	{MQ_SEGMENT_LOG, 1, 0, 64 * KB, 64 * KB},
	{MQ_SEGMENT_BATCHES, 48, 0, 256 * MB, 64 * KB},
	{MQ_SEGMENT_BATCHES, 9 * MB, 8 * MB, 256 * MB, 12 * MB},
	{MQ_SEGMENT_BATCHES, 48, 0, 64 * KB, 16 * KB}
};

static void check_names(void);
static void check_paths(void);
static void check_numbers(void);
static void check_uuids(void);
static void check_reserve(void);
static void make_key(MqLogKey *key);


void
test_segment(void)
{
	check_names();
	check_paths();
	check_numbers();
	check_uuids();
	check_reserve();
}

static void
check_names(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(name_cases); i++)
	{
		const NameCase *c = &name_cases[i];
		char	   *exact = (char *) selftest_copy(c->name, strlen(c->name) + 1);
		MqOffset	base = -1;
		bool		is_name = mq_segment_parse_name(exact, &base);

		selftest_ok(is_name == (c->base >= 0) && base == c->base, "file name \"%s\"", c->name);
		free(exact);
	}
}

/* What is formatted here is what is parsed here. */
static void
check_paths(void)
{
	static const MqOffset bases[] = {0, 1, 42, INT64CONST(1234567890123456789), PG_INT64_MAX};
	char		path[MQ_SEGMENT_PATH_MAX];
	MqLogKey	key;
	int			i;

	make_key(&key);
	mq_segment_topic_dir(path, key.dboid, &key.topic);
	selftest_ok(strcmp(path, "pg_mq/4294967295/" UUID) == 0, "a topic's folder");
	mq_segment_dir(path, &key);
	selftest_ok(strcmp(path, "pg_mq/4294967295/" UUID "/16383") == 0, "a partition's folder");
	mq_segment_path(path, &key, 42, MQ_SEGMENT_LOG);
	selftest_ok(strcmp(path, "pg_mq/4294967295/" UUID "/16383/00000000000000000042.log") == 0, "a .log");
	mq_segment_path(path, &key, 42, MQ_SEGMENT_BATCHES);
	selftest_ok(strcmp(path, "pg_mq/4294967295/" UUID "/16383/00000000000000000042.batches") == 0, "a .batches");
	mq_segment_path(path, &key, MQ_SEGMENT_NEXT, MQ_SEGMENT_LOG);
	selftest_ok(strcmp(path, "pg_mq/4294967295/" UUID "/16383/next.log") == 0, "the next .log");
	mq_segment_path(path, &key, MQ_SEGMENT_NEXT, MQ_SEGMENT_BATCHES);
	selftest_ok(strcmp(path, "pg_mq/4294967295/" UUID "/16383/next.batches") == 0, "the next .batches");
	for (i = 0; i < (int) lengthof(bases); i++)
	{
		MqOffset	again = -1;

		mq_segment_path(path, &key, bases[i], MQ_SEGMENT_LOG);
		selftest_ok(mq_segment_parse_name(strrchr(path, '/') + 1, &again) && again == bases[i],
					"base " INT64_FORMAT " there and back", bases[i]);
	}
}

static void
check_numbers(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(number_cases); i++)
	{
		const NumberCase *c = &number_cases[i];
		char	   *exact = (char *) selftest_copy(c->name, strlen(c->name) + 1);
		uint32		number = 0;
		bool		is_number = mq_segment_parse_number(exact, c->max, &number);

		selftest_int(is_number ? (int64) number : -1, c->number, "number \"%s\" up to %u", c->name, c->max);
		free(exact);
	}
}

static void
check_uuids(void)
{
	char		again[37];
	MqLogKey	key;
	pg_uuid_t	uuid;
	int			i;

	make_key(&key);
	memset(&uuid, 0, sizeof(uuid));
	selftest_ok(mq_segment_parse_uuid(UUID, &uuid), "uuid \"%s\"", UUID);
	selftest_bytes(uuid.data, UUID_LEN, key.topic.data, UUID_LEN, "has these bytes");
	mq_segment_format_uuid(again, &uuid);
	selftest_ok(strcmp(again, UUID) == 0, "and is written so again");
	for (i = 0; i < (int) lengthof(bad_uuids); i++)
	{
		char	   *exact = (char *) selftest_copy(bad_uuids[i], strlen(bad_uuids[i]) + 1);

		selftest_ok(!mq_segment_parse_uuid(exact, &uuid), "no uuid: \"%s\"", bad_uuids[i]);
		free(exact);
	}
}

static void
check_reserve(void)
{
	int			i;

	for (i = 0; i < (int) lengthof(reserve_cases); i++)
	{
		const ReserveCase *c = &reserve_cases[i];

		selftest_int(mq_segment_reserve_target(c->kind, c->need, c->reserved, c->segment_bytes), c->expected,
					 "reserve " INT64_FORMAT " more for " INT64_FORMAT " of " INT64_FORMAT " bytes",
					 c->expected - c->reserved, c->need, c->segment_bytes);
	}
}

static void
make_key(MqLogKey *key)
{
	static const uint8 bytes[UUID_LEN] = {
		0x01, 0x23, 0x45, 0x6b, 0x89, 0xab, 0xcd, 0xef, 0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87
	};

	memset(key, 0, sizeof(*key));
	key->dboid = PG_UINT32_MAX;
	key->partition = MQ_MAX_PARTITIONS - 1;
	memcpy(key->topic.data, bytes, UUID_LEN);
}
