/*
 * mq_log_desc.c
 *	  Our WAL records in words.
 *
 * For pg_walinspect, which shows what the resource manager says, and for
 * mq.wal_records().  A record that is shorter than its struct is malformed
 * and shown as nothing.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "access/xlogreader.h"

#include "storage/mq_append_plain.h"
#include "storage/mq_log_wal.h"
#include "storage/mq_segment.h"

static bool describe_sized(const char *data, uint32 len, uint8 type, MqLogWalInfo *out);
static bool read_append(const char *data, uint32 len, uint8 type, xl_mq_append *append);

const char *
mq_log_wal_identify(uint8 info)
{
	switch (info & ~XLR_INFO_MASK)
	{
		case XLOG_MQ_CREATE:
			return "CREATE";
		case XLOG_MQ_APPEND:
		case XLOG_MQ_APPEND_PLAIN:
			return "APPEND";
		case XLOG_MQ_ROLL:
			return "ROLL";
		case XLOG_MQ_ABORT:
			return "ABORT";
		case XLOG_MQ_SETTLE:
			return "SETTLE";
		case XLOG_MQ_DROP:
			return "DROP";
		case XLOG_MQ_START:
			return "START";
		case XLOG_MQ_REMOVE:
			return "REMOVE";
		case XLOG_MQ_CONFIG:
			return "CONFIG";
	}
	return NULL;
}

bool
mq_log_wal_describe(XLogReaderState *record, MqLogWalInfo *info)
{
	uint8		type = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	if (XLogRecGetRmid(record) != MQ_RMGR_ID)
		return false;
	memset(info, 0, sizeof(*info));
	info->type = mq_log_wal_identify(type);
	info->base_offset = MQ_INVALID_OFFSET;
	info->records = -1;
	return info->type != NULL &&
		describe_sized(XLogRecGetData(record), XLogRecGetDataLen(record), type, info);
}

/* Fills in what the type tells; false when the record is shorter than its struct. */
static bool
describe_sized(const char *data, uint32 len, uint8 type, MqLogWalInfo *out)
{
	char		uuid[UUID_LEN * 2 + 5];
	char	   *text = out->description;
	size_t		room = sizeof(out->description);
	xl_mq_append append;

	if (type == XLOG_MQ_DROP)
	{
		const xl_mq_drop *drop = (const xl_mq_drop *) data;

		if (len < sizeof(*drop))
			return false;
		out->key.dboid = drop->dboid;
		out->key.topic = drop->topic;
		mq_segment_format_uuid(uuid, &drop->topic);
		snprintf(text, room, "database %u topic %s", drop->dboid, uuid);
		return true;
	}

	if (len < sizeof(MqLogKey))
		return false;
	memcpy(&out->key, data, sizeof(MqLogKey));
	out->has_partition = true;
	mq_segment_format_uuid(uuid, &out->key.topic);
	snprintf(text, room, "database %u topic %s partition %d",
			 out->key.dboid, uuid, out->key.partition);
	text += strlen(text);
	room -= strlen(out->description);

	if (read_append(data, len, type, &append))
	{
		out->base_offset = append.base_offset;
		out->records = append.count;
		snprintf(text, room, " segment %lld position %u batch %u bytes %u epoch %d xid " UINT64_FORMAT,
				 (long long) append.segment, append.position, append.number,
				 append.length, append.epoch, append.fxid);
	}
	else if (type == XLOG_MQ_ROLL && len >= sizeof(xl_mq_roll))
	{
		out->base_offset = ((const xl_mq_roll *) data)->segment;
		snprintf(text, room, " segment %lld", (long long) out->base_offset);
	}
	else if (type == XLOG_MQ_ABORT && len >= sizeof(xl_mq_abort))
	{
		const xl_mq_abort *abort = (const xl_mq_abort *) data;

		out->base_offset = abort->base;
		out->records = abort->next - abort->base;
		snprintf(text, room, " offsets %lld to %lld xid " UINT64_FORMAT,
				 (long long) abort->base, (long long) abort->next - 1, abort->fxid);
	}
	else if (type == XLOG_MQ_SETTLE && len >= sizeof(xl_mq_settle))
	{
		const xl_mq_settle *settle = (const xl_mq_settle *) data;

		snprintf(text, room, " segment %lld batches %u to %u aborted runs %u",
				 (long long) settle->segment, settle->from, settle->to - 1, settle->naborted);
	}
	else if (type == XLOG_MQ_START && len >= sizeof(xl_mq_start))
	{
		const xl_mq_start *start = (const xl_mq_start *) data;

		out->base_offset = start->log_start;
		snprintf(text, room, " log start %lld first segment %lld",
				 (long long) start->log_start, (long long) start->first_segment);
	}
	else if (type == XLOG_MQ_CONFIG && len >= sizeof(xl_mq_config))
	{
		const xl_mq_config *config = (const xl_mq_config *) data;

		if (config->known == 0)
			snprintf(text, room, " about to change");
		else
			snprintf(text, room, " retention.ms %lld retention.bytes %lld%s",
					 (long long) config->retention_ms, (long long) config->retention_bytes,
					 config->retired != 0 ? " retired" : "");
	}
	else if (type == XLOG_MQ_REMOVE && len >= sizeof(xl_mq_remove))
		return true;
	else if (type == XLOG_MQ_CREATE && len >= sizeof(xl_mq_create))
		snprintf(text, room, " log start %lld", (long long) ((const xl_mq_create *) data)->log_start);
	else
		return false;
	return true;
}

/* Both forms of an append say the same. */
static bool
read_append(const char *data, uint32 len, uint8 type, xl_mq_append *append)
{
	uint8		header[MQ_BATCH_HEADER_SIZE];
	const uint8 *rest;

	if (type == XLOG_MQ_APPEND_PLAIN)
		return mq_append_plain_unpack(data, len, append, header, &rest);
	if (type != XLOG_MQ_APPEND || len < sizeof(*append))
		return false;
	memcpy(append, data, sizeof(*append));
	return true;
}
