/*
 * mq_fate.c
 *	  What became of the transaction that wrote a batch.
 *
 * A descriptor says so itself once the transaction has been settled, or when
 * there was none; otherwise core knows.
 *
 * Locking: XactTruncationLock, shared, so that pg_xact cannot forget between
 *			the look at its limit and the look into it.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"

#include "storage/mq_fate.h"

static MqFate ask_core(uint64 fxid);

MqFate
mq_fate(const MqDescriptorDisk *d)
{
	switch (d->hint & MQ_HINT_FATE)
	{
		case MQ_HINT_COMMITTED:
			return MQ_FATE_COMMITTED;
		case MQ_HINT_ABORTED:
			return MQ_FATE_ABORTED;
	}
	return d->fxid == 0 ? MQ_FATE_COMMITTED : ask_core(d->fxid);
}

/*
 * Asks the proc array (on a standby), then pg_xact.  The 64-bit xid is
 * checked against what pg_xact still covers before its low half is used.
 *
 * On a primary nobody asks for a transaction that is still running: the last
 * stable offset passes a range only when its transaction has left the proc
 * array, and what recovery has left has no transaction any more.
 */
static MqFate
ask_core(uint64 fxid)
{
	static uint64 last_fxid = 0;
	static MqFate last_fate = MQ_FATE_UNKNOWN;
	uint64		next;
	uint64		oldest;
	TransactionId xid = (TransactionId) fxid;
	MqFate		fate;

	if (fxid == last_fxid)
		return last_fate;
	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	if (fxid >= next)
		return RecoveryInProgress() ? MQ_FATE_IN_DOUBT : MQ_FATE_UNKNOWN;
	if (RecoveryInProgress() && TransactionIdIsInProgress(xid))
		return MQ_FATE_IN_DOUBT;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	oldest = next - (uint32) ((TransactionId) next - ShmemVariableCache->oldestClogXid);
	if (fxid < oldest)
		fate = MQ_FATE_UNKNOWN;
	else
		fate = TransactionIdDidCommit(xid) ? MQ_FATE_COMMITTED : MQ_FATE_ABORTED;
	LWLockRelease(XactTruncationLock);
	Assert(fate == MQ_FATE_UNKNOWN || RecoveryInProgress() || !TransactionIdIsInProgress(xid));

	last_fxid = fxid;
	last_fate = fate;
	return fate;
}
