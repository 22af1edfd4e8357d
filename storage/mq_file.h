/*
 * mq_file.h
 *	  The only open, pread, pwrite, fsync, rename and unlink.
 *
 * Paths are relative to the data directory.  Functions that return bool or
 * -1 leave errno set and never raise: they serve boot, redo and critical
 * sections, where the caller decides what a failure means.
 */
#ifndef MQ_FILE_H
#define MQ_FILE_H

#include <sys/stat.h>

struct iovec;

/* called everywhere; never raise */
extern int	mq_file_open(const char *path, int flags);	/* O_CLOEXEC, O_BINARY; -1 */
extern void mq_file_close(int fd);
extern int64 mq_file_pread(int fd, void *buf, size_t len, off_t position);	/* short only at the end; -1 */
extern bool mq_file_pwrite(int fd, const void *buf, size_t len, off_t position);
extern bool mq_file_pwritev(int fd, struct iovec *iov, int iovcnt, off_t position);
extern bool mq_file_sync(int fd);
extern bool mq_file_sync_path(const char *path, bool is_dir);

/*
 * Everything of the file system that holds the path, with one call: for those
 * who would have to sync very many files.  ENOSYS where there is no such call.
 */
extern bool mq_file_can_sync_all(void);
extern bool mq_file_sync_all(const char *path);
extern bool mq_file_truncate(int fd, off_t size);
extern bool mq_file_rename(const char *from, const char *to);
extern bool mq_file_unlink(const char *path);
extern bool mq_file_mkdir(const char *path);	/* true also when it is there */
extern int64 mq_file_size(const char *path);	/* -1 */
extern int64 mq_file_size_fd(int fd);

/* By what a change of a file is told; within a tick of the system's clock it may be missed. */
typedef struct MqFileStamp
{
	uint64		inode;
	int64		size;
	int64		modified;		/* ns */
	int64		changed;
} MqFileStamp;

extern bool mq_file_stamp(int fd, MqFileStamp *stamp);
extern bool mq_file_same_stamp(const MqFileStamp *a, const MqFileStamp *b);
extern bool mq_file_exists(const char *path);	/* false with ENOENT only when it is not there */
extern bool mq_file_is_symlink(const char *path);
extern int64 mq_file_disk_free(const char *path);	/* bytes an ordinary user may still take; -1 */

/*
 * A temporary file of this transaction: it goes with CurrentResourceOwner and
 * counts against temp_file_limit.  Creating and writing it raises.
 */
extern int	mq_file_temp_create(void);
extern void mq_file_temp_write(int file, const void *buf, size_t len, off_t position);
extern bool mq_file_temp_read(int file, void *buf, size_t len, off_t position);
extern void mq_file_temp_discard(int file, off_t from, off_t to);	/* no longer needed */
extern void mq_file_temp_close(int file);

/*
 * Reserves space behind the file's end without changing its size.  False
 * with ENOSPC or EDQUOT when there is none; file systems that cannot reserve
 * count as success.
 */
extern bool mq_file_reserve(int fd, off_t from, off_t to);

/* Gives back what is reserved behind the end of a file that nobody lengthens meanwhile. */
extern bool mq_file_unreserve(const char *path);

/*
 * Calls fn for each name in the directory but . and ..; stops when fn returns
 * false.  False when the directory cannot be read (errno ENOENT: not there).
 * No palloc: the checkpointer calls it inside a critical section.
 */
extern bool mq_file_list(const char *path, bool (*fn) (void *arg, const char *name), void *arg);

/* Removes a folder and all in it; files are cut to nothing first so that space returns at once. */
extern bool mq_file_remove_tree(const char *path);

/* The error code for errno of a failed file call: 53100, 58030 ... */
extern int	mq_file_errcode(void);

/* Does errno tell of this process or machine, not of the file: no descriptor, no memory left? */
extern bool mq_file_is_shortage(void);

#endif							/* MQ_FILE_H */
