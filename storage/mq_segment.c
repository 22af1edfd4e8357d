/*
 * mq_segment.c
 *	  One segment of a partition's log: names, descriptors kept open, space.
 *
 * A segment is two files, <base>.log with record batches and <base>.batches
 * with one descriptor for each.  Nothing here knows where a log ends; that
 * is shared memory's business (mq_log.c) or recovery's (mq_log_recover.c).
 *
 * Each process keeps a few descriptors open, least recently used goes first.
 * Identity is (topic uuid, partition, base, kind): a uuid never comes back,
 * so an entry can only be stale when its topic was dropped or its segment
 * cut, and both tell us to forget it.
 *
 * Locking: none of its own.
 * Crash:   files are pruned at boot, then replayed; see storage/README.md.
 */
#include "postgres.h"

#include <fcntl.h>

#include "storage/fd.h"

#include "storage/mq_file.h"
#include "storage/mq_segment.h"

#define OPEN_FILES 64
#define KEEP_OPEN 4

#define LOG_STEP_MIN	(256 * 1024)
#define LOG_STEP_MAX	(16 * 1024 * 1024)

/* One open file of this process. */
typedef struct OpenFile
{
	pg_uuid_t	topic;
	int32		partition;
	MqSegmentFile kind;
	MqOffset	base;
	int			fd;				/* -1 = free entry */
	uint64		last_used;
} OpenFile;

static OpenFile open_files[OPEN_FILES];
static int	open_count = 0;		/* entries ever used, from the start of the array */
static uint64 use_clock = 0;

static OpenFile *victim(void);
static void close_entry(OpenFile *of);
static bool collect_base(void *arg, const char *name);
static int	compare_bases(const void *a, const void *b);

/* What collect_base() needs to know. */
typedef struct CollectState
{
	MqSegmentList *list;
	MqOffset	from;
	bool		failed;
} CollectState;

void
mq_segment_format_uuid(char *buf, const pg_uuid_t *uuid)
{
	static const char hex[] = "0123456789abcdef";
	int			i;

	for (i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*buf++ = '-';
		*buf++ = hex[uuid->data[i] >> 4];
		*buf++ = hex[uuid->data[i] & 0x0f];
	}
	*buf = '\0';
}

void
mq_segment_topic_dir(char *buf, Oid dboid, const pg_uuid_t *topic)
{
	char		uuid[UUID_LEN * 2 + 5];

	mq_segment_format_uuid(uuid, topic);
	snprintf(buf, MQ_SEGMENT_PATH_MAX, "%s/%u/%s", MQ_SEGMENT_ROOT, dboid, uuid);
}

void
mq_segment_dir(char *buf, const MqLogKey *key)
{
	size_t		len;

	mq_segment_topic_dir(buf, key->dboid, &key->topic);
	len = strlen(buf);
	snprintf(buf + len, MQ_SEGMENT_PATH_MAX - len, "/%d", key->partition);
}

void
mq_segment_path(char *buf, const MqLogKey *key, MqOffset base, MqSegmentFile kind)
{
	const char *suffix = kind == MQ_SEGMENT_LOG ? "log" : "batches";
	size_t		len;

	mq_segment_dir(buf, key);
	len = strlen(buf);
	if (base == MQ_SEGMENT_NEXT)
		snprintf(buf + len, MQ_SEGMENT_PATH_MAX - len, "/next.%s", suffix);
	else
		snprintf(buf + len, MQ_SEGMENT_PATH_MAX - len, "/%020lld.%s", (long long) base, suffix);
}

/* Is this the name of a segment's .log, and of which? */
bool
mq_segment_parse_name(const char *name, MqOffset *base)
{
	int			i;
	uint64		value = 0;

	for (i = 0; i < 20; i++)
	{
		if (name[i] < '0' || name[i] > '9')
			return false;
		if (value > (uint64) PG_INT64_MAX / 10)
			return false;
		value = value * 10 + (name[i] - '0');
	}
	if (strcmp(name + 20, ".log") != 0 || value > (uint64) PG_INT64_MAX)
		return false;
	*base = (MqOffset) value;
	return true;
}

bool
mq_segment_parse_uuid(const char *name, pg_uuid_t *uuid)
{
	char		again[UUID_LEN * 2 + 5];
	int			i;
	const char *p = name;

	if (strlen(name) != UUID_LEN * 2 + 4)
		return false;
	for (i = 0; i < UUID_LEN; i++)
	{
		unsigned int byte;

		if (*p == '-')
			p++;
		if (strspn(p, "0123456789abcdef") < 2 || sscanf(p, "%2x", &byte) != 1)
			return false;
		uuid->data[i] = (unsigned char) byte;
		p += 2;
	}
	/* only our own spelling is ours */
	mq_segment_format_uuid(again, uuid);
	return strcmp(again, name) == 0;
}

/* A plain decimal number up to max, as folders of databases and partitions are named. */
bool
mq_segment_parse_number(const char *name, uint32 max, uint32 *number)
{
	uint64		value = 0;
	const char *p;

	if (*name == '\0' || (*name == '0' && name[1] != '\0'))
		return false;
	for (p = name; *p; p++)
	{
		if (*p < '0' || *p > '9' || p - name > 10)
			return false;
		value = value * 10 + (*p - '0');
	}
	if (value > max)
		return false;
	*number = (uint32) value;
	return true;
}

bool
mq_segment_make_dirs(const MqLogKey *key)
{
	char		path[MQ_SEGMENT_PATH_MAX];

	if (!mq_file_mkdir(MQ_SEGMENT_ROOT))
		return false;
	snprintf(path, sizeof(path), "%s/%u", MQ_SEGMENT_ROOT, key->dboid);
	if (!mq_file_mkdir(path))
		return false;
	mq_segment_topic_dir(path, key->dboid, &key->topic);
	if (!mq_file_mkdir(path))
		return false;
	mq_segment_dir(path, key);
	return mq_file_mkdir(path);
}

bool
mq_segment_sync_parents(const MqLogKey *key, char *path)
{
	mq_segment_topic_dir(path, key->dboid, &key->topic);
	if (!mq_file_sync_path(path, true))
		return false;
	snprintf(path, MQ_SEGMENT_PATH_MAX, "%s/%u", MQ_SEGMENT_ROOT, key->dboid);
	if (!mq_file_sync_path(path, true))
		return false;
	strlcpy(path, MQ_SEGMENT_ROOT, MQ_SEGMENT_PATH_MAX);
	if (!mq_file_sync_path(path, true))
		return false;
	strlcpy(path, ".", MQ_SEGMENT_PATH_MAX);
	return mq_file_sync_path(path, true);
}

int
mq_segment_open(const MqLogKey *key, MqOffset base, MqSegmentFile kind, bool create)
{
	char		path[MQ_SEGMENT_PATH_MAX];
	OpenFile   *of;
	int			fd;
	int			i;

	for (i = 0; i < open_count; i++)
	{
		of = &open_files[i];
		if (of->fd >= 0 && of->base == base && of->kind == kind &&
			of->partition == key->partition &&
			memcmp(&of->topic, &key->topic, UUID_LEN) == 0)
		{
			of->last_used = ++use_clock;
			return of->fd;
		}
	}

	of = victim();
	mq_segment_path(path, key, base, kind);
	fd = mq_file_open(path, O_RDWR | (create ? O_CREAT : 0));
	if (fd < 0)
	{
		ReleaseExternalFD();
		return -1;
	}
	of->topic = key->topic;
	of->partition = key->partition;
	of->kind = kind;
	of->base = base;
	of->fd = fd;
	of->last_used = ++use_clock;
	return fd;
}

void
mq_segment_forget(const pg_uuid_t *topic)
{
	int			i;

	for (i = 0; i < open_count; i++)
	{
		if (open_files[i].fd >= 0 &&
			memcmp(&open_files[i].topic, topic, UUID_LEN) == 0)
			close_entry(&open_files[i]);
	}
}

void
mq_segment_forget_file(const MqLogKey *key, MqOffset base)
{
	int			i;

	for (i = 0; i < open_count; i++)
	{
		OpenFile   *of = &open_files[i];

		if (of->fd >= 0 && of->base == base && of->partition == key->partition &&
			memcmp(&of->topic, &key->topic, UUID_LEN) == 0)
			close_entry(of);
	}
}

void
mq_segment_forget_all(void)
{
	int			i;

	for (i = 0; i < open_count; i++)
	{
		if (open_files[i].fd >= 0)
			close_entry(&open_files[i]);
	}
}

void
mq_segment_identity(MqBatchesIdentity *id, const MqLogKey *key, MqOffset base)
{
	id->topic = key->topic;
	id->partition = key->partition;
	id->segment_base = base;
}

bool
mq_segment_read_batches(void *arg, uint32 first, uint32 n, MqDescriptorDisk *out)
{
	int			fd = *(int *) arg;
	int64		want = (int64) n * MQ_BATCHES_ENTRY_SIZE;
	int64		got = mq_file_pread(fd, out, want, (off_t) first * MQ_BATCHES_ENTRY_SIZE);

	if (got < 0)
		return false;
	/* what lies behind the end reads as zeros, which validate nowhere */
	if (got < want)
		memset((char *) out + got, 0, want - got);
	return true;
}

int64
mq_segment_reserve_target(MqSegmentFile kind, int64 need, int64 reserved, int64 segment_bytes)
{
	int64		scale = kind == MQ_SEGMENT_LOG ? 1 : 4;
	int64		step = reserved;

	step = Max(step, LOG_STEP_MIN / scale);
	step = Min(step, LOG_STEP_MAX / scale);
	return Max(need, Min(reserved + step, segment_bytes / scale));
}

/* Collects the bases >= from; what is there twice or oddly named is no segment. */
bool
mq_segment_list(const MqLogKey *key, MqOffset from, MqSegmentList *list)
{
	char		dir[MQ_SEGMENT_PATH_MAX];
	CollectState state = {list, from, false};

	list->n = 0;
	list->room = 0;
	list->bases = NULL;
	mq_segment_dir(dir, key);
	if (!mq_file_list(dir, collect_base, &state) && errno != ENOENT)
	{
		mq_segment_list_free(list);
		return false;
	}
	if (state.failed)
	{
		mq_segment_list_free(list);
		errno = ENOMEM;
		return false;
	}
	if (list->n > 1)
		qsort(list->bases, list->n, sizeof(MqOffset), compare_bases);
	return true;
}

void
mq_segment_list_free(MqSegmentList *list)
{
	free(list->bases);
	list->bases = NULL;
	list->n = list->room = 0;
}

/* A free entry, accounted for with fd.c; the least recently used one if need be. */
static OpenFile *
victim(void)
{
	OpenFile   *oldest = NULL;
	OpenFile   *unused = NULL;
	int			in_use = 0;
	int			i;

	for (i = 0; i < open_count; i++)
	{
		if (open_files[i].fd < 0)
		{
			unused = &open_files[i];
			continue;
		}
		in_use++;
		if (oldest == NULL || open_files[i].last_used < oldest->last_used)
			oldest = &open_files[i];
	}
	if (unused == NULL && open_count < OPEN_FILES)
	{
		unused = &open_files[open_count++];
		unused->fd = -1;
	}
	if (unused != NULL && AcquireExternalFD())
		return unused;

	/*
	 * fd.c has no room for one more, or we haven't.  An append needs both
	 * files of its segment at once, so the last few are never given up.
	 */
	if (unused == NULL || in_use >= KEEP_OPEN)
	{
		close_entry(oldest);
		unused = oldest;
	}
	ReserveExternalFD();
	return unused;
}

static void
close_entry(OpenFile *of)
{
	mq_file_close(of->fd);
	of->fd = -1;
	ReleaseExternalFD();
}

static bool
collect_base(void *arg, const char *name)
{
	CollectState *state = (CollectState *) arg;
	MqSegmentList *list = state->list;
	MqOffset	base;

	if (!mq_segment_parse_name(name, &base) || base < state->from)
		return true;
	if (list->n == list->room)
	{
		int			room = Max(16, list->room * 2);
		MqOffset   *bases = realloc(list->bases, sizeof(MqOffset) * room);

		if (bases == NULL)
		{
			state->failed = true;
			return false;
		}
		list->bases = bases;
		list->room = room;
	}
	list->bases[list->n++] = base;
	return true;
}

static int
compare_bases(const void *a, const void *b)
{
	MqOffset	x = *(const MqOffset *) a;
	MqOffset	y = *(const MqOffset *) b;

	return (x > y) - (x < y);
}
