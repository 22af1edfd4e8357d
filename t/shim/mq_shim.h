/*
 * mq_shim.h
 *	  The table shared by all processes of a watched server, and who does what.
 *
 * mq_powercut reads and writes the table with the layout given here.
 */
#ifndef MQ_SHIM_H
#define MQ_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#define SHIM_MAGIC		"mqshim01"
#define SHIM_BUCKETS	65536
#define SHIM_ENTRIES	262144
#define SHIM_RULES		16
#define SHIM_FDS		16384
#define SHIM_PATH		1024

/* bits of ShimEntry.flags */
#define SHIM_LIVE		1		/* the inode still has a name */
#define SHIM_SYNCED		2		/* f/<id> or d/<id> exists */
#define SHIM_DIR		4
#define SHIM_WHOLE		8		/* written in ways we cannot see: copy it all */

/* bytes of the table that are locked; entry n is byte SHIM_LOCK_ENTRY + n */
#define SHIM_LOCK_NAMES		((off_t) 1 << 40)
#define SHIM_LOCK_CONTROL	(SHIM_LOCK_NAMES + 1)
#define SHIM_LOCK_ENTRY		(SHIM_LOCK_NAMES + 2)

typedef struct ShimCount
{
	uint64_t	hits;			/* calls that matched the rule */
	uint64_t	fired;			/* of those, made to fail */
	int64_t		used;			/* quota: bytes of growth so far */
} ShimCount;

typedef struct ShimHeader
{
	char		magic[8];
	uint64_t	next_id;
	uint32_t	entries;		/* in use, number 0 is never used */
	uint32_t	pad;
	uint64_t	control_stamp;	/* the control file the counts belong to */
	ShimCount	count[SHIM_RULES];
} ShimHeader;

typedef struct ShimEntry
{
	uint64_t	dev;
	uint64_t	ino;
	uint64_t	id;
	uint64_t	lo;				/* bytes [lo, hi) are not durable */
	uint64_t	hi;
	uint64_t	reserved;		/* end of what was written or fallocated */
	uint32_t	flags;
	uint32_t	next;			/* in the same bucket, 0 = none */
	uint64_t	pad;
} ShimEntry;

typedef struct ShimTable
{
	union
	{
		ShimHeader	h;
		char		page[4096];
	}			u;
	uint32_t	bucket[SHIM_BUCKETS];
	ShimEntry	entry[SHIM_ENTRIES];
} ShimTable;

_Static_assert(sizeof(ShimEntry) == 64, "mq_powercut knows this layout");
_Static_assert(sizeof(ShimHeader) == 32 + 24 * SHIM_RULES,
			   "mq_powercut knows this layout");

typedef enum ShimCall
{
	CALL_OPEN, CALL_READ, CALL_WRITE, CALL_SYNC, CALL_TRUNCATE,
	CALL_FALLOCATE, CALL_RENAME, CALL_UNLINK, CALL_MKDIR
} ShimCall;

typedef enum ShimFault
{
	FAULT_NONE, FAULT_ERROR, FAULT_SHORT
} ShimFault;

typedef struct ShimFd
{
	uint32_t	entry;			/* 0 = not ours */
	int			flags;			/* as opened */
	char	   *path;			/* below the data directory, as opened */
} ShimFd;

#pragma GCC visibility push(hidden)

/* one mapping and one descriptor per process, inherited by fork */
extern ShimTable *shim_table;
extern int	shim_table_fd;
extern bool shim_real_sync;
extern long shim_sync_us;
extern char shim_dir[SHIM_PATH];

/* mq_shim_state.c: what is durable */
extern void shim_die(const char *why);
extern bool shim_relative_path(const char *path, char *rel);
extern void shim_lock(off_t byte, int type);
extern void shim_lock_entry(ShimEntry *e, int type);
extern ShimEntry *shim_new_entry(const struct stat *st);
extern void shim_name_is_gone(const struct stat *st, const char *rel);
extern ShimFd *shim_fd(int fd);
extern void shim_remember_fd(int fd, int flags, const char *rel, bool is_new,
							 off_t truncated);
extern void shim_copy_fd(int from, int to);
extern void shim_forget_fd(int fd);
extern void shim_mark_dirty(ShimEntry *e, uint64_t lo, uint64_t hi);
extern void shim_copy_bytes(int fd, ShimEntry *e);
extern void shim_copy_names(int fd, ShimEntry *dir);
extern ssize_t shim_raw_write(int fd, const struct iovec *iov, int iovcnt, off_t pos);

/* mq_shim_faults.c: what fails on purpose; errno is set with FAULT_ERROR */
extern ShimFault shim_fault(ShimCall call, const char *rel);
extern bool shim_charge(ShimEntry *e, const char *rel, uint64_t end);
extern void shim_refund(ShimEntry *e, const char *rel, uint64_t end);

#pragma GCC visibility pop

#define lengthof(a) ((int) (sizeof(a) / sizeof((a)[0])))

#endif							/* MQ_SHIM_H */
