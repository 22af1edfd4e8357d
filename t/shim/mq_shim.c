/*
 * mq_shim.c
 *	  Preloaded into a test server: remembers what was really made durable.
 *
 * kill -9 leaves the page cache alone, so it proves nothing about fsync.  This
 * library stands between the server and libc and keeps, outside the server and
 * its data directory, a second copy of pg_mq and pg_wal that holds only what a
 * power cut may not take away: the bytes of a file as of its last fsync,
 * fdatasync or O_DSYNC write, and the names of a directory as of its last
 * fsync.  sync_file_range makes nothing durable.  t/shim/mq_powercut puts that
 * copy back after the server was killed.  The same wrappers fail the n-th call
 * of a kind and play a full disk, as the control file says; t/README.md has
 * the formats.
 *
 * State is a file mapped by every process (the "table": one entry per file or
 * directory, with the range of bytes not yet durable), the durable bytes
 * f/<id> and the durable names d/<id>.  An id is never reused, an inode number
 * may be.  mq_powercut reads and writes the same layout.
 *
 * Locking: POSIX record locks on the table, one byte for all names and one for
 * each entry, names first.  The kernel drops them when a process is killed,
 * and a forked child does not inherit them.  A write holds its entry's lock
 * from the mark to the end of the write, a sync until the bytes are copied.
 * Crash:   a mark goes away only after the copy, so a process killed in the
 * middle leaves a sync half done, as a power cut would.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "mq_shim.h"

/* What is opened here is entered into the table before anyone can use it. */
static int
shim_open(const char *path, int flags, mode_t mode)
{
	char		rel[SHIM_PATH];
	struct stat before;
	bool		existed;
	int			fd;

	if (!shim_relative_path(path, rel))
		return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (shim_fault(CALL_OPEN, rel) == FAULT_ERROR)
		return -1;
	shim_lock(SHIM_LOCK_NAMES, F_WRLCK);
	existed = stat(path, &before) == 0;
	fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (fd >= 0)
		shim_remember_fd(fd, flags, rel, !existed,
					existed && (flags & O_TRUNC) ? before.st_size : 0);
	shim_lock(SHIM_LOCK_NAMES, F_UNLCK);
	return fd;
}

int
open(const char *path, int flags,...)
{
	mode_t		mode = 0;
	va_list		ap;

	if (flags & (O_CREAT | O_TMPFILE))
	{
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return shim_open(path, flags, mode);
}

int
open64(const char *path, int flags,...)
{
	mode_t		mode = 0;
	va_list		ap;

	if (flags & (O_CREAT | O_TMPFILE))
	{
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return shim_open(path, flags, mode);
}

int
creat(const char *path, mode_t mode)
{
	return shim_open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* what fortified sources call */
int			__open_2(const char *path, int flags);
int			__open64_2(const char *path, int flags);

int
__open_2(const char *path, int flags)
{
	return shim_open(path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
	return shim_open(path, flags, 0);
}

/* Bytes written through stdio pass us by: such a file is copied whole. */
static FILE *
shim_fopen(const char *name, const char *path, const char *mode)
{
	FILE	   *(*next) (const char *, const char *);
	char		rel[SHIM_PATH];
	struct stat st;
	bool		existed;
	FILE	   *file;

	next = (FILE * (*) (const char *, const char *)) dlsym(RTLD_NEXT, name);
	if (strpbrk(mode, "wa+") == NULL || !shim_relative_path(path, rel))
		return next(path, mode);
	shim_lock(SHIM_LOCK_NAMES, F_WRLCK);
	existed = stat(path, &st) == 0;
	file = next(path, mode);
	if (file != NULL)
	{
		shim_remember_fd(fileno(file), O_RDWR, rel, !existed, 0);
		shim_table->entry[shim_fd(fileno(file))->entry].flags |= SHIM_WHOLE;
		shim_forget_fd(fileno(file));
	}
	shim_lock(SHIM_LOCK_NAMES, F_UNLCK);
	return file;
}

FILE *
fopen(const char *path, const char *mode)
{
	return shim_fopen("fopen", path, mode);
}

FILE *
fopen64(const char *path, const char *mode)
{
	return shim_fopen("fopen64", path, mode);
}

int
close(int fd)
{
	if (fd == shim_table_fd)
		return 0;				/* our locks would go with it */
	shim_forget_fd(fd);
	return syscall(SYS_close, fd);
}

int
dup(int fd)
{
	int			copy = syscall(SYS_dup, fd);

	shim_copy_fd(fd, copy);
	return copy;
}

int
dup2(int fd, int wanted)
{
	int			copy = fd == wanted ? fd : syscall(SYS_dup3, fd, wanted, 0);

	if (fd != wanted)
		shim_copy_fd(fd, copy);
	return copy;
}

static int
shim_fcntl(int fd, int command, long arg)
{
	int			rc = syscall(SYS_fcntl, fd, command, arg);

	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		shim_copy_fd(fd, rc);
	return rc;
}

int
fcntl(int fd, int command,...)
{
	va_list		ap;
	long		arg;

	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	return shim_fcntl(fd, command, arg);
}

int
fcntl64(int fd, int command,...)
{
	va_list		ap;
	long		arg;

	va_start(ap, command);
	arg = va_arg(ap, long);
	va_end(ap);
	return shim_fcntl(fd, command, arg);
}

/* Where a plain write will land. */
static off_t
write_position(int fd, int flags)
{
	struct stat st;

	if ((flags & O_APPEND) && fstat(fd, &st) == 0)
		return st.st_size;
	return lseek(fd, 0, SEEK_CUR);
}

/* All ways to write: mark, then write, under the entry's lock. */
static ssize_t
shim_write(int fd, const struct iovec *iov, int iovcnt, off_t pos)
{
	ShimFd	   *f = shim_fd(fd);
	ShimEntry  *e;
	struct iovec half;
	size_t		len = 0;
	off_t		start;
	ssize_t		done;

	if (f == NULL)
		return shim_raw_write(fd, iov, iovcnt, pos);
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	switch (shim_fault(CALL_WRITE, f->path))
	{
		case FAULT_ERROR:
			return -1;
		case FAULT_SHORT:
			half.iov_base = iov[0].iov_base;
			half.iov_len = len = (iov[0].iov_len + 1) / 2;
			iov = &half;
			iovcnt = 1;
			break;
		case FAULT_NONE:
			break;
	}

	e = &shim_table->entry[f->entry];
	shim_lock_entry(e, F_WRLCK);
	start = pos >= 0 ? pos : write_position(fd, f->flags);
	if (!shim_charge(e, f->path, start + len))
	{
		shim_lock_entry(e, F_UNLCK);
		errno = ENOSPC;
		return -1;
	}
	shim_mark_dirty(e, start, start + len);
	done = shim_raw_write(fd, iov, iovcnt, pos);
	if (done > 0 && (f->flags & (O_SYNC | O_DSYNC)))
		shim_copy_bytes(fd, e);
	shim_lock_entry(e, F_UNLCK);
	return done;
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	struct iovec iov = {(void *) buf, len};

	return shim_write(fd, &iov, 1, -1);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t pos)
{
	struct iovec iov = {(void *) buf, len};

	return shim_write(fd, &iov, 1, pos);
}

ssize_t
pwrite64(int fd, const void *buf, size_t len, off64_t pos)
{
	struct iovec iov = {(void *) buf, len};

	return shim_write(fd, &iov, 1, pos);
}

ssize_t
writev(int fd, const struct iovec *iov, int iovcnt)
{
	return shim_write(fd, iov, iovcnt, -1);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int iovcnt, off_t pos)
{
	return shim_write(fd, iov, iovcnt, pos);
}

/* a flag we don't know (RWF_DSYNC, say) only makes it more durable than we think */
ssize_t
pwritev2(int fd, const struct iovec *iov, int iovcnt, off_t pos, int flags)
{
	(void) flags;
	return shim_write(fd, iov, iovcnt, pos);
}

ssize_t
pwritev64v2(int fd, const struct iovec *iov, int iovcnt, off64_t pos, int flags)
{
	(void) flags;
	return shim_write(fd, iov, iovcnt, pos);
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int iovcnt, off64_t pos)
{
	return shim_write(fd, iov, iovcnt, pos);
}

/* Reads are only made to fail; the fortified twins come here too. */
static ssize_t
shim_read(int fd, void *buf, size_t len, off_t pos)
{
	ShimFd	   *f = shim_fd(fd);

	if (f != NULL)
	{
		ShimFault	what = shim_fault(CALL_READ, f->path);

		if (what == FAULT_ERROR)
			return -1;
		if (what == FAULT_SHORT)
			len = (len + 1) / 2;
	}
	if (pos < 0)
		return syscall(SYS_read, fd, buf, len);
	return syscall(SYS_pread64, fd, buf, len, pos);
}

ssize_t
read(int fd, void *buf, size_t len)
{
	return shim_read(fd, buf, len, -1);
}

ssize_t
pread(int fd, void *buf, size_t len, off_t pos)
{
	return shim_read(fd, buf, len, pos);
}

ssize_t
pread64(int fd, void *buf, size_t len, off64_t pos)
{
	return shim_read(fd, buf, len, pos);
}

ssize_t		__read_chk(int fd, void *buf, size_t len, size_t room);
ssize_t		__pread_chk(int fd, void *buf, size_t len, off_t pos, size_t room);

ssize_t
__read_chk(int fd, void *buf, size_t len, size_t room)
{
	return shim_read(fd, buf, len > room ? room : len, -1);
}

ssize_t
__pread_chk(int fd, void *buf, size_t len, off_t pos, size_t room)
{
	return shim_read(fd, buf, len > room ? room : len, pos);
}

ssize_t
copy_file_range(int in, off64_t *in_pos, int out, off64_t *out_pos, size_t len,
				unsigned flags)
{
	ShimFd	   *f = shim_fd(out);

	if (f != NULL)
		shim_table->entry[f->entry].flags |= SHIM_WHOLE;
	return syscall(SYS_copy_file_range, in, in_pos, out, out_pos, len, flags);
}

static int
shim_truncate(int fd, off_t size)
{
	ShimFd	   *f = shim_fd(fd);
	ShimEntry  *e;
	struct stat st;
	int			rc;

	if (f == NULL)
		return syscall(SYS_ftruncate, fd, size);
	if (shim_fault(CALL_TRUNCATE, f->path) == FAULT_ERROR)
		return -1;
	e = &shim_table->entry[f->entry];
	shim_lock_entry(e, F_WRLCK);
	if (fstat(fd, &st) == 0)
		shim_mark_dirty(e, size < st.st_size ? size : st.st_size,
				   size < st.st_size ? st.st_size : size);
	rc = syscall(SYS_ftruncate, fd, size);
	if (rc == 0)
		shim_refund(e, f->path, size);
	shim_lock_entry(e, F_UNLCK);
	return rc;
}

int
ftruncate(int fd, off_t size)
{
	return shim_truncate(fd, size);
}

int
ftruncate64(int fd, off64_t size)
{
	return shim_truncate(fd, size);
}

int
truncate(const char *path, off_t size)
{
	char		rel[SHIM_PATH];
	int			fd;
	int			rc;
	int			save;

	if (!shim_relative_path(path, rel))
		return syscall(SYS_truncate, path, size);
	fd = shim_open(path, O_WRONLY, 0);
	if (fd < 0)
		return -1;
	rc = shim_truncate(fd, size);
	save = errno;
	close(fd);
	errno = save;
	return rc;
}

static int
shim_fallocate(int fd, int mode, off_t pos, off_t len)
{
	ShimFd	   *f = shim_fd(fd);
	ShimEntry  *e;
	int			rc;

	if (f == NULL)
		return syscall(SYS_fallocate, fd, mode, pos, len);
	if (shim_fault(CALL_FALLOCATE, f->path) == FAULT_ERROR)
		return -1;
	e = &shim_table->entry[f->entry];
	shim_lock_entry(e, F_WRLCK);
	if (!shim_charge(e, f->path, pos + len))
	{
		errno = ENOSPC;
		rc = -1;
	}
	else
	{
		if (mode != FALLOC_FL_KEEP_SIZE)
			shim_mark_dirty(e, pos, pos + len);
		rc = syscall(SYS_fallocate, fd, mode, pos, len);
	}
	shim_lock_entry(e, F_UNLCK);
	return rc;
}

int
fallocate(int fd, int mode, off_t pos, off_t len)
{
	return shim_fallocate(fd, mode, pos, len);
}

int
fallocate64(int fd, int mode, off64_t pos, off64_t len)
{
	return shim_fallocate(fd, mode, pos, len);
}

/* glibc's answer is the error itself */
int
posix_fallocate(int fd, off_t pos, off_t len)
{
	return shim_fallocate(fd, 0, pos, len) == 0 ? 0 : errno;
}

int
posix_fallocate64(int fd, off64_t pos, off64_t len)
{
	return shim_fallocate(fd, 0, pos, len) == 0 ? 0 : errno;
}

/* A disk takes its time, which is when most crashes happen. */
static void
shim_slow_disk(void)
{
	struct timespec left = {0, shim_sync_us * 1000};
	int			save = errno;

	while (shim_sync_us > 0 && nanosleep(&left, &left) != 0 && errno == EINTR)
		;
	errno = save;
}

/*
 * A failed sync loses its bytes for good: Linux marks the pages clean, and a
 * second fsync says yes without having written them.
 */
static int
shim_sync(int fd, long number)
{
	ShimFd	   *f = shim_fd(fd);
	ShimEntry  *e;

	if (f == NULL)
		return shim_real_sync ? syscall(number, fd) : 0;
	shim_slow_disk();
	e = &shim_table->entry[f->entry];
	if (shim_fault(CALL_SYNC, f->path) == FAULT_ERROR)
	{
		shim_lock_entry(e, F_WRLCK);
		e->lo = e->hi = 0;
		shim_lock_entry(e, F_UNLCK);
		return -1;
	}
	if (shim_real_sync && syscall(number, fd) != 0)
		return -1;
	if (e->flags & SHIM_DIR)
		shim_copy_names(fd, e);
	else
	{
		shim_lock_entry(e, F_WRLCK);
		shim_copy_bytes(fd, e);
		shim_lock_entry(e, F_UNLCK);
	}
	return 0;
}

int
fsync(int fd)
{
	return shim_sync(fd, SYS_fsync);
}

int
fdatasync(int fd)
{
	return shim_sync(fd, SYS_fdatasync);
}

int
rename(const char *from, const char *to)
{
	char		rel_from[SHIM_PATH];
	char		rel_to[SHIM_PATH];
	bool		tracked_from = shim_relative_path(from, rel_from);
	bool		tracked_to = shim_relative_path(to, rel_to);
	struct stat st;
	bool		replaces;
	int			rc;

	if (!tracked_from && !tracked_to)
		return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
	if (shim_fault(CALL_RENAME, tracked_from ? rel_from : rel_to) == FAULT_ERROR)
		return -1;
	shim_lock(SHIM_LOCK_NAMES, F_WRLCK);
	replaces = lstat(to, &st) == 0;
	rc = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
	if (rc == 0 && replaces)
		shim_name_is_gone(&st, rel_to);
	shim_lock(SHIM_LOCK_NAMES, F_UNLCK);
	return rc;
}

static int
shim_unlink(const char *path, int flags)
{
	char		rel[SHIM_PATH];
	struct stat st;
	bool		existed;
	int			rc;

	if (!shim_relative_path(path, rel))
		return syscall(SYS_unlinkat, AT_FDCWD, path, flags);
	if (shim_fault(CALL_UNLINK, rel) == FAULT_ERROR)
		return -1;
	shim_lock(SHIM_LOCK_NAMES, F_WRLCK);
	existed = lstat(path, &st) == 0;
	rc = syscall(SYS_unlinkat, AT_FDCWD, path, flags);
	if (rc == 0 && existed)
		shim_name_is_gone(&st, rel);
	shim_lock(SHIM_LOCK_NAMES, F_UNLCK);
	return rc;
}

int
unlink(const char *path)
{
	return shim_unlink(path, 0);
}

int
rmdir(const char *path)
{
	return shim_unlink(path, AT_REMOVEDIR);
}

int
mkdir(const char *path, mode_t mode)
{
	char		rel[SHIM_PATH];
	struct stat st;
	int			rc;

	if (!shim_relative_path(path, rel))
		return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (shim_fault(CALL_MKDIR, rel) == FAULT_ERROR)
		return -1;
	shim_lock(SHIM_LOCK_NAMES, F_WRLCK);
	rc = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (rc == 0 && stat(path, &st) == 0)
		shim_new_entry(&st);
	shim_lock(SHIM_LOCK_NAMES, F_UNLCK);
	return rc;
}
