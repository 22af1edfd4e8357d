/*
 * mq_scan_share.h
 *	  A scan's work, handed out to several processes.
 */
#ifndef MQ_SCAN_SHARE_H
#define MQ_SCAN_SHARE_H

#include "base/mq_types.h"

typedef struct MqScanShare MqScanShare;

/* A partition's log start and last stable offset when the scan began. */
typedef struct MqScanSharePart
{
	int32		partition;
	MqOffset	start;
	MqOffset	end;
} MqScanSharePart;

extern Size mq_scan_share_size(int nparts);

/*
 * called by the process that began the scan, before others know of it.  Empty
 * parts are left out.  Expected: offsets that will be read, roughly.
 */
extern void mq_scan_share_init(MqScanShare *share, const MqScanSharePart *parts, int nparts, int64 expected);

/* All is handed out once more; nobody may be at work. */
extern void mq_scan_share_restart(MqScanShare *share);

extern int	mq_scan_share_parts(const MqScanShare *share, const MqScanSharePart **parts);

/* The next piece: offsets [*from, *to) of a part.  False when all is handed out. */
extern bool mq_scan_share_claim(MqScanShare *share, int *part, MqOffset *from, MqOffset *to);

/* True once. */
extern bool mq_scan_share_is_first(MqScanShare *share);

#endif							/* MQ_SCAN_SHARE_H */
