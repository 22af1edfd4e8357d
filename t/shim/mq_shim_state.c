/*
 * mq_shim_state.c
 *	  What is durable: the table, the bytes of files, the names of folders.
 *
 * See mq_shim.c for the idea.  All real calls go to the kernel directly, so
 * nothing here meets our own wrappers; only opendir and readdir are libc's.
 *
 * Locking: see mq_shim.c; shim_new_entry, shim_name_is_gone and
 *			shim_remember_fd need the lock of the names, shim_mark_dirty and
 *			shim_copy_bytes that of the entry.
 * Crash:   a mark goes away only after the copy.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mq_shim.h"

ShimTable  *shim_table = NULL;
int			shim_table_fd = -1;
bool		shim_real_sync = false; /* also ask the disk? MQ_SHIM_REAL_SYNC=1 */
long		shim_sync_us = 0;	/* how long a sync takes: MQ_SHIM_SYNC_US */
char		shim_dir[SHIM_PATH];

static char data_dir[SHIM_PATH];
static size_t data_len;
static ShimFd fds[SHIM_FDS];	/* this process's descriptors, inherited by fork */

static ShimEntry *find_entry(const struct stat *st);
static int	open_shadow(char kind, uint64_t id, const char *suffix, int flags);
static int	reopen(int fd, int flags);

/* A watched server that can't be watched must stop, or a test proves nothing. */
void
shim_die(const char *why)
{
	char		line[SHIM_PATH];
	int			len;

	len = snprintf(line, sizeof(line), "mq_shim: %s: %s\n", why, strerror(errno));
	syscall(SYS_write, 2, line, len);
	abort();
}

/* No table, no start: mq_powercut init makes it. */
__attribute__((constructor))
static void
attach(void)
{
	const char *data = getenv("MQ_SHIM_DATA");
	const char *dir = getenv("MQ_SHIM_DIR");
	const char *real = getenv("MQ_SHIM_REAL_SYNC");
	const char *slow = getenv("MQ_SHIM_SYNC_US");
	char		path[SHIM_PATH + 16];
	int			fd;

	if (data == NULL || dir == NULL || realpath(data, data_dir) == NULL)
		shim_die("MQ_SHIM_DATA and MQ_SHIM_DIR must name two folders");
	data_len = strlen(data_dir);
	shim_real_sync = real != NULL && strcmp(real, "1") == 0;
	if (slow != NULL)
		shim_sync_us = strtol(slow, NULL, 10) % 1000000;
	if (snprintf(shim_dir, sizeof(shim_dir), "%s", dir) >= SHIM_PATH - 64)
		shim_die("MQ_SHIM_DIR is too long");
	snprintf(path, sizeof(path), "%s/table", shim_dir);
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		shim_die("no table, run mq_powercut init first");
	/* high up, where nobody counts free descriptors */
	shim_table_fd = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 200);
	shim_table = mmap(NULL, sizeof(ShimTable), PROT_READ | PROT_WRITE, MAP_SHARED,
					  shim_table_fd, 0);
	if (shim_table == MAP_FAILED ||
		memcmp(shim_table->u.h.magic, SHIM_MAGIC, sizeof(shim_table->u.h.magic)) != 0)
		shim_die("the table is not one of mq_powercut's");
	syscall(SYS_close, fd);
}

/*
 * Says whether a path is the data directory ("."), or in pg_mq or pg_wal, and
 * gives its name below the data directory.
 */
bool
shim_relative_path(const char *path, char *rel)
{
	char		whole[2 * SHIM_PATH];
	const char *p;
	size_t		len;

	if (strstr(path, "pg_mq") == NULL && strstr(path, "pg_wal") == NULL &&
		strcmp(path, ".") != 0 && strncmp(path, data_dir, data_len) != 0)
		return false;
	if (path[0] == '/')
		len = snprintf(whole, sizeof(whole), "%s", path);
	else
	{
		if (syscall(SYS_getcwd, whole, SHIM_PATH) < 0)
			return false;
		len = strlen(whole);
		len += snprintf(whole + len, sizeof(whole) - len, "/%s", path);
	}
	if (len >= sizeof(whole) || strncmp(whole, data_dir, data_len) != 0 ||
		(whole[data_len] != '/' && whole[data_len] != '\0'))
		return false;

	/* squeeze "//", "/./" and the tail */
	len = 0;
	for (p = whole + data_len; *p != '\0'; p++)
	{
		if (p[0] == '/' && (p[1] == '/' || p[1] == '\0'))
			continue;
		if (p[0] == '/' && p[1] == '.' && (p[2] == '/' || p[2] == '\0'))
		{
			p++;
			continue;
		}
		if (len == 0 && *p == '/')
			continue;
		if (len >= SHIM_PATH - 1)
			return false;
		rel[len++] = *p;
	}
	rel[len] = '\0';
	if (len == 0)
		strcpy(rel, ".");
	return len == 0 ||
		(strncmp(rel, "pg_mq", 5) == 0 && (rel[5] == '/' || rel[5] == '\0')) ||
		(strncmp(rel, "pg_wal", 6) == 0 && (rel[6] == '/' || rel[6] == '\0'));
}

/* Takes or gives back (F_UNLCK) one byte of the table. */
void
shim_lock(off_t byte, int type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET,
	.l_start = byte, .l_len = 1};
	int			save = errno;

	while (syscall(SYS_fcntl, shim_table_fd, F_SETLKW, &lock) != 0)
	{
		if (errno != EINTR)
			shim_die("cannot lock the table");
	}
	errno = save;
}

void
shim_lock_entry(ShimEntry *e, int type)
{
	shim_lock(SHIM_LOCK_ENTRY + (e - shim_table->entry), type);
}

/* Enters a file or folder that was made this moment: nothing of it is durable. */
ShimEntry *
shim_new_entry(const struct stat *st)
{
	ShimHeader *h = &shim_table->u.h;
	uint32_t   *bucket = &shim_table->bucket[st->st_ino % SHIM_BUCKETS];
	ShimEntry  *e;

	/* a process killed between unlink and our note of it left the old one */
	e = find_entry(st);
	if (e != NULL)
		e->flags &= ~SHIM_LIVE;
	if (h->entries >= SHIM_ENTRIES)
		shim_die("the table is full");
	e = &shim_table->entry[h->entries];
	memset(e, 0, sizeof(*e));
	e->dev = st->st_dev;
	e->ino = st->st_ino;
	e->id = h->next_id++;
	e->reserved = st->st_size;
	e->flags = SHIM_LIVE | (S_ISDIR(st->st_mode) ? SHIM_DIR : 0);
	e->next = *bucket;
	__atomic_store_n(bucket, h->entries++, __ATOMIC_SEQ_CST);
	return e;
}

static ShimEntry *
find_entry(const struct stat *st)
{
	uint32_t	i;

	for (i = shim_table->bucket[st->st_ino % SHIM_BUCKETS]; i != 0;
		 i = shim_table->entry[i].next)
	{
		ShimEntry  *e = &shim_table->entry[i];

		if (e->ino == st->st_ino && e->dev == st->st_dev && (e->flags & SHIM_LIVE))
			return e;
	}
	return NULL;
}

/* Notes that one name of an inode is gone; its number may be used again. */
void
shim_name_is_gone(const struct stat *st, const char *rel)
{
	ShimEntry  *e = find_entry(st);

	if (e == NULL || (!S_ISDIR(st->st_mode) && st->st_nlink > 1))
		return;
	e->flags &= ~SHIM_LIVE;
	shim_refund(e, rel, 0);
}

ShimFd *
shim_fd(int fd)
{
	if (fd < 0 || fd >= SHIM_FDS || fds[fd].entry == 0)
		return NULL;
	return &fds[fd];
}

void
shim_remember_fd(int fd, int flags, const char *rel, bool is_new, off_t truncated)
{
	struct stat st;
	ShimEntry  *e;

	if (fd >= SHIM_FDS || fstat(fd, &st) != 0)
		shim_die("too many descriptors");
	if (!is_new && !S_ISDIR(st.st_mode) && st.st_nlink == 0)
		return;
	e = is_new ? NULL : find_entry(&st);
	if (e == NULL)
	{
		e = shim_new_entry(&st);
		if (!is_new)
			e->flags |= SHIM_WHOLE;
	}
	if (truncated > 0)
		shim_mark_dirty(e, 0, truncated);
	shim_forget_fd(fd);
	fds[fd].flags = flags;
	fds[fd].path = strdup(rel);
	fds[fd].entry = e - shim_table->entry;
}

void
shim_copy_fd(int from, int to)
{
	ShimFd	   *f = shim_fd(from);

	if (to < 0 || to >= SHIM_FDS)
		return;
	shim_forget_fd(to);
	if (f != NULL)
	{
		fds[to] = *f;
		fds[to].path = strdup(f->path);
	}
}

void
shim_forget_fd(int fd)
{
	if (fd < 0 || fd >= SHIM_FDS || fds[fd].entry == 0)
		return;
	fds[fd].entry = 0;
	free(fds[fd].path);
	fds[fd].path = NULL;
}

void
shim_mark_dirty(ShimEntry *e, uint64_t lo, uint64_t hi)
{
	if (lo >= hi)
		return;
	if (e->lo == e->hi)
	{
		e->lo = lo;
		e->hi = hi;
		return;
	}
	if (lo < e->lo)
		e->lo = lo;
	if (hi > e->hi)
		e->hi = hi;
}

/* Makes a file's present bytes and size durable. */
void
shim_copy_bytes(int fd, ShimEntry *e)
{
	static char buf[128 * 1024];
	bool		whole = (e->flags & SHIM_WHOLE) != 0;
	uint64_t	pos = whole ? 0 : e->lo;
	uint64_t	end;
	struct stat st;
	struct stat copy;
	int			in;
	int			out;

	in = reopen(fd, O_RDONLY);
	out = open_shadow('f', e->id, "", O_RDWR | O_CREAT);
	if (fstat(fd, &st) != 0 || fstat(out, &copy) != 0)
		shim_die("fstat");
	end = whole || e->hi > (uint64_t) st.st_size ? (uint64_t) st.st_size : e->hi;
	while (pos < end)
	{
		size_t		want = end - pos < sizeof(buf) ? end - pos : sizeof(buf);
		ssize_t		got = syscall(SYS_pread64, in, buf, want, pos);

		if (got <= 0 || syscall(SYS_pwrite64, out, buf, got, pos) != got)
			shim_die("cannot copy to MQ_SHIM_DIR");
		pos += got;
	}
	if (copy.st_size != st.st_size && syscall(SYS_ftruncate, out, st.st_size) != 0)
		shim_die("cannot size the copy");
	syscall(SYS_close, in);
	syscall(SYS_close, out);
	e->flags |= SHIM_SYNCED;
	e->lo = e->hi = 0;
}

/*
 * Makes the present names of a folder durable, each as "f|d id name" in
 * d/<id>, replaced by rename.  Of the data directory only pg_mq and pg_wal
 * count.
 */
void
shim_copy_names(int fd, ShimEntry *dir)
{
	char		from[SHIM_PATH + 64];
	char		to[SHIM_PATH + 64];
	struct dirent *de;
	struct stat st;
	DIR		   *stream;
	int			out;

	shim_lock(SHIM_LOCK_NAMES, F_WRLCK);
	stream = fdopendir(reopen(fd, O_RDONLY | O_DIRECTORY));
	if (stream == NULL)
		shim_die("fdopendir");
	out = open_shadow('d', dir->id, ".new", O_WRONLY | O_CREAT | O_TRUNC);
	while ((de = readdir(stream)) != NULL)
	{
		char		line[SHIM_PATH];
		ShimEntry  *e;
		int			len;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
			(dir->id == 1 && strcmp(de->d_name, "pg_mq") != 0 &&
			 strcmp(de->d_name, "pg_wal") != 0) ||
			fstatat(dirfd(stream), de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		e = find_entry(&st);
		if (e == NULL)
		{
			e = shim_new_entry(&st);
			e->flags |= SHIM_WHOLE;
		}
		len = snprintf(line, sizeof(line), "%c %llu %s\n",
					   S_ISDIR(st.st_mode) ? 'd' : 'f',
					   (unsigned long long) e->id, de->d_name);
		if (syscall(SYS_write, out, line, len) != len)
			shim_die("cannot write names");
	}
	closedir(stream);
	syscall(SYS_close, out);
	snprintf(from, sizeof(from), "%s/d/%llu.new", shim_dir, (unsigned long long) dir->id);
	snprintf(to, sizeof(to), "%s/d/%llu", shim_dir, (unsigned long long) dir->id);
	if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
		shim_die("cannot keep names");
	dir->flags |= SHIM_SYNCED;
	shim_lock(SHIM_LOCK_NAMES, F_UNLCK);
}

/* Opens f/<id> or d/<id>. */
static int
open_shadow(char kind, uint64_t id, const char *suffix, int flags)
{
	char		path[SHIM_PATH + 64];
	int			fd;

	snprintf(path, sizeof(path), "%s/%c/%llu%s", shim_dir, kind,
			 (unsigned long long) id, suffix);
	fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		shim_die("cannot open a copy in MQ_SHIM_DIR");
	return fd;
}

/* A second descriptor of the same file, whatever the first one may do. */
static int
reopen(int fd, int flags)
{
	char		path[64];
	int			again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
	if (again < 0)
		shim_die("cannot open a file again");
	return again;
}

ssize_t
shim_raw_write(int fd, const struct iovec *iov, int iovcnt, off_t pos)
{
	if (iovcnt == 1)
		return pos < 0 ? syscall(SYS_write, fd, iov->iov_base, iov->iov_len) :
			syscall(SYS_pwrite64, fd, iov->iov_base, iov->iov_len, pos);
	return pos < 0 ? syscall(SYS_writev, fd, iov, iovcnt) :
		syscall(SYS_pwritev, fd, iov, iovcnt, (long) pos, 0L);
}
