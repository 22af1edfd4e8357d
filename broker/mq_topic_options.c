/*
 * mq_topic_options.c
 *	  Options of a topic: names as in Kafka, defaults, checks.
 *
 * An option is one row of the table below.  A value is either a whole number
 * within bounds or one of a few words; both are kept as text in
 * pg_foreign_table, exactly as pg_dump and \d+ show them.  What a topic does
 * not set follows the setting that the row names, or else a constant, and is
 * read when it is used: it is never copied into the catalog.
 *
 * Locking: none; whoever needs a stable answer holds a lock on the relation.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/xact.h"
#include "catalog/pg_foreign_table.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/mq_settings.h"
#include "broker/mq_topic_names.h"
#include "broker/mq_topic_options.h"
#include "broker/mq_topic_retired.h"

/* What a message shares its batch with; mq.max_message_bytes has the same bound. */
#define BATCH_OVERHEAD		128

typedef enum OptionId
{
	OPTION_BATCH_SIZE,
	OPTION_COMPRESSION_TYPE,
	OPTION_MAX_MESSAGE_BYTES,
	OPTION_TIMESTAMP_TYPE,
	OPTION_PARTITIONS,
	OPTION_RETENTION_BYTES,
	OPTION_RETENTION_MS,
	OPTION_SEGMENT_BYTES,
	OPTION_SEGMENT_MS
} OptionId;

typedef struct OptionRule
{
	OptionId	id;
	const char *name;
	const char *description;
	const char *const *words;	/* NULL: a number */
	int64		min;
	int64		max;
	int64		fallback;		/* number, or index of the word */
	const int  *setting;		/* NULL: fallback holds */
	int64		setting_unit;
} OptionRule;

static const char *const compression_words[] = {"none", "lz4", NULL};
static const char *const timestamp_words[] = {"CreateTime", "LogAppendTime", NULL};

/* In the order of their names. */
static const OptionRule rules[] = {
	{
		OPTION_BATCH_SIZE, "batch.size",
		"Bytes of messages that are put into one record batch.",
		NULL, 1024, 1024 * 1024, 64 * 1024, NULL, 1
	},
	{
		OPTION_COMPRESSION_TYPE, "compression.type",
		"Compression of record batches made by SQL: none or lz4.",
		compression_words, 0, 0, 0, NULL, 1
	},
	{
		OPTION_MAX_MESSAGE_BYTES, "max.message.bytes",
		"Largest message that is accepted; mq.max_message_bytes if not set.",
		NULL, 1024, MQ_MAX_BATCH_BYTES - BATCH_OVERHEAD, 0, &mq_max_message_bytes, 1
	},
	{
		OPTION_TIMESTAMP_TYPE, "message.timestamp.type",
		"Whose time a message carries: CreateTime or LogAppendTime.",
		timestamp_words, 0, 0, 0, NULL, 1
	},
	{
		OPTION_PARTITIONS, MQ_TOPIC_OPTIONS_PARTITIONS,
		"Number of partitions; it can grow and not shrink.",
		NULL, 1, MQ_MAX_PARTITIONS, 0, &mq_default_partitions, 1
	},
	{
		OPTION_RETENTION_BYTES, "retention.bytes",
		"Size of a partition beyond which its oldest segments are removed; -1 for no limit.",
		NULL, -1, PG_INT64_MAX, -1, NULL, 1
	},
	{
		OPTION_RETENTION_MS, "retention.ms",
		"Age in milliseconds at which segments are removed; -1 for never.",
		NULL, -1, PG_INT64_MAX, INT64CONST(7) * 24 * 60 * 60 * 1000, NULL, 1
	},
	{
		OPTION_SEGMENT_BYTES, "segment.bytes",
		"Size at which a new segment file begins; mq.segment_size if not set.",
		NULL, 64 * 1024, 1024 * 1024 * 1024, 0, &mq_segment_size, 1024
	},
	{
		OPTION_SEGMENT_MS, "segment.ms",
		"Age in milliseconds at which a new segment file begins.",
		NULL, 1, PG_INT64_MAX, INT64CONST(7) * 24 * 60 * 60 * 1000, NULL, 1
	}
};

static void check_retired(const char *value);
static const OptionRule *find_rule(const char *name);
static void raise_unknown(const char *name) pg_attribute_noreturn();
static bool parse_value(const OptionRule *rule, const char *value, int64 *number);
static void raise_bad_value(const OptionRule *rule, const char *value) pg_attribute_noreturn();
static int64 default_number(const OptionRule *rule);
static void set_field(MqTopic *topic, OptionId id, int64 number);

int
mq_topic_options_count(void)
{
	return lengthof(rules);
}

const char *
mq_topic_options_name(int i)
{
	return rules[i].name;
}

const char *
mq_topic_options_description(int i)
{
	return rules[i].description;
}

char *
mq_topic_options_value(int i, List *options, MqTopicOptionSource *source)
{
	const OptionRule *rule = &rules[i];
	const char *own = mq_topic_options_get(options, rule->name);
	int64		number;

	if (own != NULL)
	{
		*source = MQ_TOPIC_OPTIONS_TOPIC;
		return pstrdup(own);
	}
	*source = rule->setting != NULL ? MQ_TOPIC_OPTIONS_SETTING : MQ_TOPIC_OPTIONS_DEFAULT;
	number = default_number(rule);
	return rule->words != NULL ? pstrdup(rule->words[number]) : psprintf(INT64_FORMAT, number);
}

void
mq_topic_options_check(const char *name, const char *value)
{
	const OptionRule *rule = find_rule(name);
	int64		number;

	if (rule == NULL && strcmp(name, MQ_TOPIC_OPTIONS_RETIRED) == 0)
	{
		check_retired(value);
		return;
	}
	if (rule == NULL)
		raise_unknown(name);
	if (value != NULL && !parse_value(rule, value, &number))
		raise_bad_value(rule, value);
}

/* No option for users to set, so no rule of the table. */
static void
check_retired(const char *value)
{
	int32	   *numbers;
	int			n;

	if (value != NULL && !mq_topic_retired_parse(value, &numbers, &n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for topic option \"%s\": \"%s\"", MQ_TOPIC_OPTIONS_RETIRED,
						mq_topic_names_shown(value)),
				 errhint("It is a list of partition numbers in ascending order, such as \"1,4\".")));
}

static const OptionRule *
find_rule(const char *name)
{
	int			i;

	for (i = 0; i < (int) lengthof(rules); i++)
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	return NULL;
}

static void
raise_unknown(const char *name)
{
	StringInfoData valid;
	int			i;

	initStringInfo(&valid);
	for (i = 0; i < (int) lengthof(rules); i++)
		appendStringInfo(&valid, "%s%s", i > 0 ? ", " : "", rules[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown topic option \"%s\"", mq_topic_names_shown(name)),
			 errhint("Valid options are: %s.", valid.data)));
}

/* False when the value is neither a word of the list nor a number within the bounds. */
static bool
parse_value(const OptionRule *rule, const char *value, int64 *number)
{
	const char *digits;
	char	   *end;
	int			i;

	if (rule->words != NULL)
	{
		for (i = 0; rule->words[i] != NULL; i++)
			if (strcmp(rule->words[i], value) == 0)
			{
				*number = i;
				return true;
			}
		return false;
	}

	/* strtoll() alone would pass leading space and any sign */
	digits = value[0] == '-' && rule->min < 0 ? value + 1 : value;
	if (strspn(digits, "0123456789") != strlen(digits) || digits[0] == '\0')
		return false;
	errno = 0;
	*number = strtoll(value, &end, 10);
	return errno == 0 && *number >= rule->min && *number <= rule->max;
}

static void
raise_bad_value(const OptionRule *rule, const char *value)
{
	StringInfoData hint;
	int			i;

	initStringInfo(&hint);
	if (rule->words == NULL)
		appendStringInfo(&hint, "It is a whole number from " INT64_FORMAT " to " INT64_FORMAT ".",
						 rule->min, rule->max);
	else
	{
		appendStringInfoString(&hint, "Valid values are: ");
		for (i = 0; rule->words[i] != NULL; i++)
			appendStringInfo(&hint, "%s%s", i > 0 ? ", " : "", rule->words[i]);
		appendStringInfoChar(&hint, '.');
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for topic option \"%s\": \"%s\"", rule->name,
					mq_topic_names_shown(value)),
			 errhint("%s", hint.data)));
}

static int64
default_number(const OptionRule *rule)
{
	return rule->setting != NULL ? *rule->setting * rule->setting_unit : rule->fallback;
}

const char *
mq_topic_options_get(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

char *
mq_topic_options_topic(Oid relid)
{
	List	   *options;
	const char *name = NULL;

	if (mq_topic_options_load(relid, &options))
		name = mq_topic_options_get(options, MQ_TOPIC_OPTIONS_NAME);
	return name != NULL ? pstrdup(name) : get_rel_name(relid);
}

/*
 * Reads pg_foreign_table by the relation's OID.  Not by GetForeignTable(),
 * which takes a missing row for a corrupt catalog: here the relation may have
 * been dropped a moment ago.
 */
bool
mq_topic_options_load(Oid relid, List **options)
{
	HeapTuple	tuple = SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(relid));
	Datum		datum;
	bool		isnull;

	*options = NIL;
	if (!HeapTupleIsValid(tuple))
		return false;
	datum = SysCacheGetAttr(FOREIGNTABLEREL, tuple, Anum_pg_foreign_table_ftoptions, &isnull);
	if (!isnull)
		*options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return true;
}

/* True also when a subtransaction wrote them, unless it has failed. */
bool
mq_topic_options_ours(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(FOREIGNTABLEREL, ObjectIdGetDatum(relid));
	bool		ours;

	if (!HeapTupleIsValid(tuple))
		return false;
	ours = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	ReleaseSysCache(tuple);
	return ours;
}

/*
 * Fills in the option fields.  A value that does not parse counts as not set:
 * it can only have been written behind our back, and a topic that nobody can
 * open any more would be the worse answer.
 */
void
mq_topic_options_parse(List *options, MqTopic *topic)
{
	int			i;

	for (i = 0; i < (int) lengthof(rules); i++)
	{
		const OptionRule *rule = &rules[i];
		const char *own = mq_topic_options_get(options, rule->name);
		int64		number;

		if (own == NULL || !parse_value(rule, own, &number))
			number = default_number(rule);
		set_field(topic, rule->id, number);
	}
}

static void
set_field(MqTopic *topic, OptionId id, int64 number)
{
	switch (id)
	{
		case OPTION_BATCH_SIZE:
			topic->batch_size = (int32) number;
			break;
		case OPTION_COMPRESSION_TYPE:
			topic->codec = number == 0 ? MQ_CODEC_NONE : MQ_CODEC_LZ4;
			break;
		case OPTION_MAX_MESSAGE_BYTES:
			topic->max_message_bytes = (int32) number;
			break;
		case OPTION_TIMESTAMP_TYPE:
			topic->log_append_time = number != 0;
			break;
		case OPTION_PARTITIONS:
			topic->partitions = (int32) number;
			break;
		case OPTION_RETENTION_BYTES:
			topic->log.retention_bytes = number;
			break;
		case OPTION_RETENTION_MS:
			topic->log.retention_ms = number;
			break;
		case OPTION_SEGMENT_BYTES:
			topic->log.segment_bytes = number;
			break;
		case OPTION_SEGMENT_MS:
			topic->log.segment_ms = number;
			break;
	}
}
