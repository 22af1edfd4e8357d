/*
 * mq_file.c
 *	  The only open, pread, pwrite, fsync, rename and unlink.
 *
 * One place for the rules every file call of ours obeys: retry on EINTR,
 * finish short reads and writes, tell the wait event, honour fsync = off,
 * flush the directory after a rename, never retry a failed fsync.
 *
 * BasicOpenFile is used, not the virtual file descriptors of fd.c: a
 * descriptor that an append needs inside its critical section must not be
 * closed behind its back.  What keeps descriptors open for longer than a
 * call (mq_segment.c) accounts for them with AcquireExternalFD().
 *
 * Locking: none.  Nothing here raises or pallocs, but for temporary files.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "commands/tablespace.h"
#include "pgstat.h"
#include "port/pg_iovec.h"
#include "storage/fd.h"

#include "base/mq_faults.h"
#include "base/mq_waits.h"
#include "storage/mq_file.h"

static bool remove_entry(void *arg, const char *name);

/* What remove_entry() needs to know. */
typedef struct RemoveState
{
	const char *path;
	bool		ok;
} RemoveState;

int
mq_file_open(const char *path, int flags)
{
	int			fd;

	do
		fd = BasicOpenFile(path, flags | O_CLOEXEC | PG_BINARY);
	while (fd < 0 && errno == EINTR);
	return fd;
}

void
mq_file_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Reads len bytes, fewer only when the file ends. */
int64
mq_file_pread(int fd, void *buf, size_t len, off_t position)
{
	size_t		done = 0;

	pgstat_report_wait_start(mq_waits_file_read());
	while (done < len)
	{
		ssize_t		n = pread(fd, (char *) buf + done, len - done, position + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
		{
			pgstat_report_wait_end();
			return -1;
		}
		if (n == 0)
			break;
		done += n;
	}
	pgstat_report_wait_end();
	return (int64) done;
}

bool
mq_file_pwrite(int fd, const void *buf, size_t len, off_t position)
{
	struct iovec iov;

	iov.iov_base = unconstify(void *, buf);
	iov.iov_len = len;
	return mq_file_pwritev(fd, &iov, 1, position);
}

/* Writes all of iov, which it uses up. */
bool
mq_file_pwritev(int fd, struct iovec *iov, int iovcnt, off_t position)
{
	bool		ok = true;

	pgstat_report_wait_start(mq_waits_file_write());
	while (iovcnt > 0)
	{
		ssize_t		n;

		errno = 0;
		if (iovcnt == 1)
			n = pwrite(fd, iov->iov_base, iov->iov_len, position);
		else
			n = pwritev(fd, iov, Min(iovcnt, PG_IOV_MAX), position);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (n == 0 && iov->iov_len > 0))
		{
			/* a write of nothing without an error means no space */
			if (errno == 0)
				errno = ENOSPC;
			ok = false;
			break;
		}
		position += n;
		while (iovcnt > 0 && (size_t) n >= iov->iov_len)
		{
			n -= iov->iov_len;
			iov++;
			iovcnt--;
		}
		if (iovcnt > 0)
		{
			iov->iov_base = (char *) iov->iov_base + n;
			iov->iov_len -= n;
		}
	}
	pgstat_report_wait_end();
	return ok;
}

/* Makes the file's bytes durable.  A failure is final: never call it again. */
bool
mq_file_sync(int fd)
{
	int			rc;

	if (MQ_FAULT_FAILS("file_sync"))
	{
		errno = EIO;
		return false;
	}
	pgstat_report_wait_start(mq_waits_file_sync());
	rc = pg_fsync(fd);
	pgstat_report_wait_end();
	return rc == 0;
}

/* Makes a file or the entries of a directory durable; one that is gone needs nothing. */
bool
mq_file_sync_path(const char *path, bool is_dir)
{
	int			fd = mq_file_open(path, is_dir ? O_RDONLY : O_RDWR);
	bool		ok;
	int			save_errno;

	if (fd < 0)
		return errno == ENOENT;
	ok = mq_file_sync(fd);
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	return ok;
}

/* Before Linux 5.8 syncfs() did not say what could not be written. */
bool
mq_file_can_sync_all(void)
{
#ifdef HAVE_SYNCFS
	struct utsname system;
	int			major;
	int			minor;

	return uname(&system) == 0 && sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
		(major > 5 || (major == 5 && minor >= 8));
#else
	return false;
#endif
}

bool
mq_file_sync_all(const char *path)
{
#ifdef HAVE_SYNCFS
	int			fd = mq_file_open(path, O_RDONLY);
	bool		ok;
	int			save_errno;

	if (fd < 0)
		return false;
	ok = !enableFsync || syncfs(fd) == 0;
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	return ok;
#else
	errno = ENOSYS;
	return false;
#endif
}

bool
mq_file_truncate(int fd, off_t size)
{
	int			rc;

	do
		rc = ftruncate(fd, size);
	while (rc < 0 && errno == EINTR);
	return rc == 0;
}

bool
mq_file_rename(const char *from, const char *to)
{
	return rename(from, to) == 0;
}

bool
mq_file_unlink(const char *path)
{
	return unlink(path) == 0 || errno == ENOENT;
}

bool
mq_file_mkdir(const char *path)
{
	return MakePGDirectory(path) == 0 || errno == EEXIST;
}

int64
mq_file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (int64) st.st_size : -1;
}

int64
mq_file_size_fd(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (int64) st.st_size : -1;
}

bool
mq_file_stamp(int fd, MqFileStamp *stamp)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return false;
	stamp->inode = st.st_ino;
	stamp->size = st.st_size;
#ifdef __APPLE__
	stamp->modified = st.st_mtimespec.tv_sec * INT64CONST(1000000000) + st.st_mtimespec.tv_nsec;
	stamp->changed = st.st_ctimespec.tv_sec * INT64CONST(1000000000) + st.st_ctimespec.tv_nsec;
#else
	stamp->modified = st.st_mtim.tv_sec * INT64CONST(1000000000) + st.st_mtim.tv_nsec;
	stamp->changed = st.st_ctim.tv_sec * INT64CONST(1000000000) + st.st_ctim.tv_nsec;
#endif
	return true;
}

bool
mq_file_same_stamp(const MqFileStamp *a, const MqFileStamp *b)
{
	return a->inode == b->inode && a->size == b->size && a->modified == b->modified && a->changed == b->changed;
}

bool
mq_file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

bool
mq_file_is_symlink(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

int64
mq_file_disk_free(const char *path)
{
	struct statvfs st;

	if (statvfs(path, &st) != 0)
		return -1;
	return (int64) st.f_bavail * (int64) st.f_frsize;
}

int
mq_file_temp_create(void)
{
	PrepareTempTablespaces();
	return OpenTemporaryFile(false);
}

void
mq_file_temp_write(int file, const void *buf, size_t len, off_t position)
{
	size_t		done = 0;

	while (done < len)
	{
		int			n = FileWrite(file, (char *) unconstify(void *, buf) + done, len - done,
								  position + done, mq_waits_file_write());

		if (n <= 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write to file \"%s\": %m", FilePathName(file))));
		done += n;
	}
}

bool
mq_file_temp_read(int file, void *buf, size_t len, off_t position)
{
	size_t		done = 0;

	while (done < len)
	{
		int			n = FileRead(file, (char *) buf + done, len - done,
								 position + done, mq_waits_file_read());

		if (n <= 0)
			return false;
		done += n;
	}
	return true;
}

/* Its memory can be used again at once, and need not be written to disk.  Where that is not possible nothing happens. */
void
mq_file_temp_discard(int file, off_t from, off_t to)
{
	(void) fallocate(FileGetRawDesc(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
}

void
mq_file_temp_close(int file)
{
	FileClose(file);
}

/*
 * Reserves space with FALLOC_FL_KEEP_SIZE, so that a later pwrite cannot meet
 * a full disk on file systems that overwrite in place.
 */
bool
mq_file_reserve(int fd, off_t from, off_t to)
{
	int			rc;

	if (to <= from)
		return true;
	do
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, from, to - from);
	while (rc < 0 && errno == EINTR);
	return rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS;
}

/*
 * Cutting a file to the size that it has frees the blocks behind its end.
 * Needs no flush: a power cut brings back a reservation at worst.
 */
bool
mq_file_unreserve(const char *path)
{
	struct stat st;
	bool		ok;
	int			fd;

	if (stat(path, &st) != 0)
		return errno == ENOENT;
	if ((int64) st.st_blocks * 512 <= (int64) TYPEALIGN64(st.st_blksize, st.st_size))
		return true;
	fd = mq_file_open(path, O_RDWR);
	if (fd < 0)
		return errno == ENOENT;
	ok = fstat(fd, &st) == 0 && mq_file_truncate(fd, st.st_size);
	mq_file_close(fd);
	return ok;
}

bool
mq_file_list(const char *path, bool (*fn) (void *arg, const char *name), void *arg)
{
	DIR		   *dir = opendir(path);
	struct dirent *de;

	if (dir == NULL)
		return false;
	while (errno = 0, (de = readdir(dir)) != NULL)
	{
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (!fn(arg, de->d_name))
		{
			errno = 0;
			break;
		}
	}
	if (errno != 0)
	{
		int			save_errno = errno;

		closedir(dir);
		errno = save_errno;
		return false;
	}
	closedir(dir);
	return true;
}

bool
mq_file_remove_tree(const char *path)
{
	RemoveState state = {path, true};
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT;
	if (!S_ISDIR(st.st_mode))
	{
		/* others may hold it open: free its blocks, not only its name */
		if (S_ISREG(st.st_mode) && truncate(path, 0) != 0 && errno != ENOENT)
			return false;
		return mq_file_unlink(path);
	}
	if (!mq_file_list(path, remove_entry, &state) && errno != ENOENT)
		return false;
	if (!state.ok)
		return false;
	return rmdir(path) == 0 || errno == ENOENT;
}

static bool
remove_entry(void *arg, const char *name)
{
	RemoveState *state = (RemoveState *) arg;
	char		child[MAXPGPATH];

	if (snprintf(child, sizeof(child), "%s/%s", state->path, name) >= (int) sizeof(child))
		errno = ENAMETOOLONG;
	else if (mq_file_remove_tree(child))
		return true;
	state->ok = false;
	return false;
}

int
mq_file_errcode(void)
{
	switch (errno)
	{
		case ENOSPC:
		case EDQUOT:
			return ERRCODE_DISK_FULL;
		case EMFILE:
		case ENFILE:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		case ENOMEM:
			return ERRCODE_OUT_OF_MEMORY;
		case EACCES:
		case EPERM:
		case EROFS:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case ENOENT:
			return ERRCODE_UNDEFINED_FILE;
		default:
			return ERRCODE_IO_ERROR;
	}
}

bool
mq_file_is_shortage(void)
{
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}
