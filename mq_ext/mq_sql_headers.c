/*
 * mq_sql_headers.c
 *	  Headers and tags between SQL and the bytes of a record.
 *
 * In the log a record has an ordered list of headers, each a key and a value
 * that is any bytes or null; keys may repeat.  SQL shows them as a jsonb
 * object of strings.  Where an object cannot hold them (a key repeats, or
 * some bytes are no text) they become an array of [key, value] pairs, and
 * bytes that are no text are written in base64 behind the prefix "b64:".  A
 * text that begins with that prefix itself is written so too: what is read
 * can always be written back.
 *
 * A tag is a header with the key "mq.tag"; tags stand behind the user's own
 * headers and are shown in a column of their own.
 *
 * Locking: none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "broker/mq_fetch.h"
#include "mq_ext/mq_sql.h"
#include "mq_ext/mq_sql_headers.h"

#define B64_PREFIX		"b64:"
#define B64_PREFIX_LEN	4

/* Headers on their way into a record. */
typedef struct HeaderList
{
	MqHeader   *items;
	int			n;
	int			room;
} HeaderList;

static void add_object(HeaderList *list, JsonbIterator **it);
static void add_pairs(HeaderList *list, JsonbIterator **it);
static void add_pair(HeaderList *list, JsonbIterator **it);
static void add_tags(HeaderList *list, ArrayType *tags);
static MqHeader *add_header(HeaderList *list);
static void set_key(MqHeader *header, const JsonbValue *v);
static void set_value(MqHeader *header, const JsonbValue *v);
static const uint8 *decode_string(const JsonbValue *v, int32 *len);
static void pg_attribute_noreturn() refuse_headers(const char *detail);
static void write_headers(MqRecord *record, const HeaderList *list);
static bool fits_object(const MqHeader *headers, int n);
static bool is_plain(const uint8 *bytes, int32 len);
static Jsonb *make_jsonb(const MqHeader *headers, int n, bool object);
static void push_string(JsonbParseState **state, JsonbIteratorToken token,
						const uint8 *bytes, int32 len);
static char *encode_base64(const uint8 *bytes, int32 len);

void
mq_sql_headers_encode(MqRecord *record, Jsonb *headers, ArrayType *tags)
{
	HeaderList	list = {0};

	if (headers != NULL)
	{
		JsonbIterator *it = JsonbIteratorInit(&headers->root);
		JsonbValue	v;
		JsonbIteratorToken token = JsonbIteratorNext(&it, &v, false);

		if (token == WJB_BEGIN_OBJECT)
			add_object(&list, &it);
		else if (token == WJB_BEGIN_ARRAY && !v.val.array.rawScalar)
			add_pairs(&list, &it);
		else
			refuse_headers("A scalar was given.");
	}
	if (tags != NULL)
		add_tags(&list, tags);
	write_headers(record, &list);
}

void
mq_sql_headers_decode(const MqRecord *record, Jsonb **headers, ArrayType **tags)
{
	MqReader	reader;
	MqHeader	header;
	MqHeader   *own;
	Datum	   *tag_datums;
	int			nown = 0;
	int			ntags = 0;
	int			i;

	*headers = NULL;
	*tags = NULL;
	if (record->header_count == 0)
		return;

	own = palloc(record->header_count * sizeof(MqHeader));
	tag_datums = palloc(record->header_count * sizeof(Datum));
	mq_bytes_reader(&reader, record->headers, record->headers_len);
	for (i = 0; i < record->header_count && mq_batch_next_header(&reader, &header); i++)
	{
		/* a tag that is no text was not made here; it is shown as a header */
		if (mq_fetch_is_tag(&header) && header.value != NULL &&
			mq_sql_is_text(header.value, header.value_len))
			tag_datums[ntags++] = PointerGetDatum(mq_sql_text(header.value, header.value_len));
		else
			own[nown++] = header;
	}
	if (nown > 0)
		*headers = make_jsonb(own, nown, fits_object(own, nown));
	if (ntags > 0)
		*tags = construct_array(tag_datums, ntags, TEXTOID, -1, false, TYPALIGN_INT);
}

/* {"key": "value", ...} */
static void
add_object(HeaderList *list, JsonbIterator **it)
{
	JsonbValue	v;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(it, &v, true)) != WJB_END_OBJECT)
	{
		MqHeader   *header;

		if (token == WJB_KEY)
		{
			header = add_header(list);
			set_key(header, &v);
		}
		else
			set_value(&list->items[list->n - 1], &v);
	}
}

/* [["key", "value"], ...] */
static void
add_pairs(HeaderList *list, JsonbIterator **it)
{
	JsonbValue	v;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(it, &v, false)) != WJB_END_ARRAY)
	{
		if (token != WJB_BEGIN_ARRAY || v.val.array.nElems != 2)
			refuse_headers("An element of the array is not a pair.");
		add_pair(list, it);
	}
}

static void
add_pair(HeaderList *list, JsonbIterator **it)
{
	MqHeader   *header = add_header(list);
	JsonbValue	v;

	JsonbIteratorNext(it, &v, true);
	set_key(header, &v);
	JsonbIteratorNext(it, &v, true);
	set_value(header, &v);
	JsonbIteratorNext(it, &v, true);	/* the pair's end */
}

static void
add_tags(HeaderList *list, ArrayType *tags)
{
	char	  **strings;
	int			n;
	int			i;

	strings = mq_sql_strings(tags, "tags", &n);
	for (i = 0; i < n; i++)
	{
		MqHeader   *header = add_header(list);

		header->key = (const uint8 *) MQ_FETCH_TAG_KEY;
		header->key_len = MQ_FETCH_TAG_KEY_LEN;
		header->value = (const uint8 *) strings[i];
		header->value_len = strlen(strings[i]);
	}
}

static MqHeader *
add_header(HeaderList *list)
{
	if (list->items == NULL)
	{
		list->room = 8;
		list->items = palloc(list->room * sizeof(MqHeader));
	}
	else if (list->n == list->room)
	{
		list->room *= 2;
		list->items = repalloc(list->items, list->room * sizeof(MqHeader));
	}
	return &list->items[list->n++];
}

static void
set_key(MqHeader *header, const JsonbValue *v)
{
	if (v->type != jbvString)
		refuse_headers("The key of a header is not a string.");
	header->key = decode_string(v, &header->key_len);
	if (mq_fetch_is_tag(header))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header key \"%s\" is reserved", MQ_FETCH_TAG_KEY),
				 errdetail("Headers with this key hold the message's tags."),
				 errhint("Use the argument \"tags\".")));
}

static void
set_value(MqHeader *header, const JsonbValue *v)
{
	if (v->type == jbvNull)
	{
		header->value = NULL;
		header->value_len = 0;
		return;
	}
	if (v->type != jbvString)
		refuse_headers("The value of a header is neither a string nor null.");
	header->value = decode_string(v, &header->value_len);
}

/* A string's bytes: those behind the prefix decoded, else its text in UTF-8. */
static const uint8 *
decode_string(const JsonbValue *v, int32 *len)
{
	const char *s = v->val.string.val;
	int			slen = v->val.string.len;
	char	   *decoded;

	if (slen < B64_PREFIX_LEN || memcmp(s, B64_PREFIX, B64_PREFIX_LEN) != 0)
		return mq_sql_utf8_bytes(s, slen, len);

	s += B64_PREFIX_LEN;
	slen -= B64_PREFIX_LEN;
	decoded = palloc(pg_b64_dec_len(slen) + 1);
	*len = pg_b64_decode(s, slen, decoded, pg_b64_dec_len(slen));
	if (*len < 0)
		refuse_headers("What follows the prefix \"b64:\" is not base64.");
	return (const uint8 *) decoded;
}

static void
refuse_headers(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid message headers"),
			 errdetail("%s", detail),
			 errhint("Give an object of strings, {\"key\": \"value\"}, or an array of pairs, [[\"key\", \"value\"]].")));
}

static void
write_headers(MqRecord *record, const HeaderList *list)
{
	size_t		size = 0;
	uint8	   *buf;
	uint8	   *p;
	int			i;

	record->header_count = list->n;
	record->headers = NULL;
	record->headers_len = 0;
	if (list->n == 0)
		return;

	for (i = 0; i < list->n; i++)
		size += mq_batch_header_size(list->items[i].key_len,
									 list->items[i].value == NULL ? -1 : list->items[i].value_len);
	buf = p = palloc(size);
	for (i = 0; i < list->n; i++)
	{
		const MqHeader *header = &list->items[i];

		p = mq_batch_put_header(p, header->key, header->key_len, header->value, header->value_len);
	}
	Assert(p == buf + size);
	record->headers = buf;
	record->headers_len = size;
}

/* Headers are few; those that are many and all different pay for it. */
static bool
fits_object(const MqHeader *headers, int n)
{
	int			i;
	int			j;

	if (n > 1000)
		return false;
	for (i = 0; i < n; i++)
	{
		const MqHeader *a = &headers[i];

		if (!is_plain(a->key, a->key_len) ||
			(a->value != NULL && !is_plain(a->value, a->value_len)))
			return false;
		for (j = 0; j < i; j++)
		{
			if (headers[j].key_len == a->key_len &&
				memcmp(headers[j].key, a->key, a->key_len) == 0)
				return false;
		}
	}
	return true;
}

/* Can the bytes stand as they are in a jsonb string? */
static bool
is_plain(const uint8 *bytes, int32 len)
{
	if (len >= B64_PREFIX_LEN && memcmp(bytes, B64_PREFIX, B64_PREFIX_LEN) == 0)
		return false;
	return mq_sql_is_text(bytes, len);
}

static Jsonb *
make_jsonb(const MqHeader *headers, int n, bool object)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;
	JsonbValue	null = {.type = jbvNull};
	JsonbIteratorToken value_token = object ? WJB_VALUE : WJB_ELEM;
	int			i;

	pushJsonbValue(&state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < n; i++)
	{
		const MqHeader *header = &headers[i];

		if (!object)
			pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		push_string(&state, object ? WJB_KEY : WJB_ELEM, header->key, header->key_len);
		if (header->value == NULL)
			pushJsonbValue(&state, value_token, &null);
		else
			push_string(&state, value_token, header->value, header->value_len);
		if (!object)
			pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	result = pushJsonbValue(&state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(result);
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const uint8 *bytes, int32 len)
{
	JsonbValue	v;

	v.type = jbvString;
	if (is_plain(bytes, len))
	{
		v.val.string.val = pg_any_to_server((const char *) bytes, len, PG_UTF8);
		v.val.string.len = v.val.string.val == (const char *) bytes ? len : strlen(v.val.string.val);
	}
	else
	{
		v.val.string.val = encode_base64(bytes, len);
		v.val.string.len = strlen(v.val.string.val);
	}
	pushJsonbValue(state, token, &v);
}

static char *
encode_base64(const uint8 *bytes, int32 len)
{
	int			room = pg_b64_enc_len(len);
	char	   *s = palloc(B64_PREFIX_LEN + room + 1);
	int			written;

	memcpy(s, B64_PREFIX, B64_PREFIX_LEN);
	written = pg_b64_encode((const char *) bytes, len, s + B64_PREFIX_LEN, room);
	if (written < 0)
		elog(ERROR, "could not encode %d bytes in base64", len);
	s[B64_PREFIX_LEN + written] = '\0';
	return s;
}
