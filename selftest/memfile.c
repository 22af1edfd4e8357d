/*
 * memfile.c
 *	  One file in memory, behind storage/mq_file's calls.
 *
 * Files that are pure but for a few calls of mq_file.c are linked with these
 * instead, so that what they write and how they take what they read can be
 * tested byte by byte.  Calls that no test has a use for end it.
 */
#include "postgres.h"

#include <fcntl.h>

#include "storage/fd.h"

#include "storage/mq_file.h"

#include "memfile.h"

#define THE_FD	3

uint8		memfile_bytes[MEMFILE_MAX];
size_t		memfile_size = 0;

static bool memfile_there = false;
static size_t tear_after = SIZE_MAX;


void
memfile_remove(void)
{
	memset(memfile_bytes, 0, sizeof(memfile_bytes));
	memfile_size = 0;
	memfile_there = false;
	tear_after = SIZE_MAX;
}

void
memfile_load(const void *data, size_t size)
{
	memfile_remove();
	memfile_there = true;
	memfile_size = Min(size, MEMFILE_MAX);
	if (memfile_size > 0)
		memcpy(memfile_bytes, data, memfile_size);
}

void
memfile_tear(size_t bytes)
{
	tear_after = bytes;
}

int
mq_file_open(const char *path, int flags)
{
	if (!memfile_there && (flags & O_CREAT) == 0)
	{
		errno = ENOENT;
		return -1;
	}
	memfile_there = true;
	return THE_FD;
}

void
mq_file_close(int fd)
{
	errno = EBADF;				/* callers must keep the errno that counts */
}

int64
mq_file_pread(int fd, void *buf, size_t len, off_t position)
{
	size_t		left = (size_t) position < memfile_size ? memfile_size - position : 0;
	size_t		n = Min(len, left);

	memcpy(buf, memfile_bytes + position, n);
	return (int64) n;
}

bool
mq_file_pwrite(int fd, const void *buf, size_t len, off_t position)
{
	size_t		n = Min(len, tear_after);
	bool		whole = n == len;

	if (position + len > MEMFILE_MAX)
		abort();
	memcpy(memfile_bytes + position, buf, n);
	memfile_size = Max(memfile_size, position + n);
	tear_after = SIZE_MAX;
	if (!whole)
		errno = EIO;
	return whole;
}

bool
mq_file_sync(int fd)
{
	return true;
}

bool
mq_file_sync_path(const char *path, bool is_dir)
{
	abort();
}

bool
mq_file_mkdir(const char *path)
{
	abort();
}

bool
mq_file_list(const char *path, bool (*fn) (void *arg, const char *name), void *arg)
{
	abort();
}

bool
AcquireExternalFD(void)
{
	abort();
}

void
ReserveExternalFD(void)
{
	abort();
}

void
ReleaseExternalFD(void)
{
	abort();
}
