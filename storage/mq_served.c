/*
 * mq_served.c
 *	  The redo pointer that the last checkpoint with us in the server had.
 *
 * One sector, rewritten in place: a torn write fails the CRC, and pg_control
 * alone decides.
 *
 * Locking: written under sync_all_lock; read at boot.
 */
#include "postgres.h"

#include <fcntl.h>

#include "port/pg_crc32c.h"

#include "storage/mq_file.h"
#include "storage/mq_segment.h"
#include "storage/mq_served.h"

#define SERVED_MAGIC	0x4d515356	/* "MQSV" */

typedef struct MqServedDisk
{
	uint32		magic;
	uint32		version;
	uint64		redo;
	uint32		unused;
	uint32		crc;			/* CRC-32C of all before it */
} MqServedDisk;

StaticAssertDecl(sizeof(MqServedDisk) == 24, "served is 24 bytes on disk");

static pg_crc32c served_crc(const MqServedDisk *served);

bool
mq_served_write(XLogRecPtr redo)
{
	MqServedDisk served;
	bool		existed = mq_file_exists(MQ_SERVED_FILE);
	bool		ok;
	int			save_errno;
	int			fd;

	memset(&served, 0, sizeof(served));
	served.magic = SERVED_MAGIC;
	served.version = 1;
	served.redo = redo;
	served.crc = served_crc(&served);
	fd = mq_file_open(MQ_SERVED_FILE, O_RDWR | O_CREAT);
	if (fd < 0)
		return errno == ENOENT; /* no pg_mq yet */
	ok = mq_file_pwrite(fd, &served, sizeof(served), 0) && mq_file_sync(fd);
	save_errno = errno;
	mq_file_close(fd);
	errno = save_errno;
	return ok && (existed || mq_file_sync_path(MQ_SEGMENT_ROOT, true));
}

XLogRecPtr
mq_served_read(void)
{
	MqServedDisk served;
	int			fd = mq_file_open(MQ_SERVED_FILE, O_RDONLY);
	bool		ok;

	if (fd < 0)
		return InvalidXLogRecPtr;
	ok = mq_file_pread(fd, &served, sizeof(served), 0) == sizeof(served) &&
		served.magic == SERVED_MAGIC && served.version == 1 &&
		EQ_CRC32C(served.crc, served_crc(&served));
	mq_file_close(fd);
	return ok ? (XLogRecPtr) served.redo : InvalidXLogRecPtr;
}

static pg_crc32c
served_crc(const MqServedDisk *served)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, served, offsetof(MqServedDisk, crc));
	FIN_CRC32C(crc);
	return crc;
}
