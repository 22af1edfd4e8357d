/*
 * mq_codec.c
 *	  The four codecs of a record batch: compress with LZ4, read all of them.
 *
 * Everything here reads bytes of strangers.  Output goes to the caller's
 * buffer and never past it, so a decompression bomb ends as "too large"; no
 * allocation follows a number in the input beyond what a library bounds
 * itself (LZ4: one block, 4 MB; gzip: 32 kB; zstd and snappy work in the
 * output).  Input must be consumed to its last byte: a tail that one reader
 * shows and another skips would make them disagree about a batch.
 *
 * The LZ4 frame is what Kafka's Java client writes: version 1, independent
 * blocks of 64 kB, no checksums, no content size.  Each block stands on its
 * own, so it is made with the plain block function, without a context.
 *
 * The libraries use malloc; nothing in between raises, so nothing leaks.
 *
 * Locking: none.
 * Crash:   nothing here survives.
 */
#include "postgres.h"

#include <limits.h>
#include <lz4.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mq_bytes.h"
#include "storage/mq_codec.h"

#define LZ4_BLOCK_SIZE		(64 * 1024)
#define LZ4_BLOCK_STORED	0x80000000U
#define LZ4_WORD			4

/* windowBits of zlib: the largest window, gzip header required */
#define GZIP_WINDOW_BITS	(MAX_WBITS + 16)

#define XERIAL_MAGIC_SIZE	8
#define XERIAL_HEADER_SIZE	16

#define ZSTD_FRAME_MAGIC	0xFD2FB528U
#define ZSTD_SKIP_MAGIC		0x184D2A50U
#define ZSTD_SKIP_MASK		0xFFFFFFF0U

/* magic, FLG (version 1, independent blocks), BD (64 kB), second byte of their xxh32 */
static const uint8 lz4_header[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82};

/*
 * As raw snappy this would be a length and a copy from before the beginning,
 * so no raw stream begins with it.
 */
static const uint8 xerial_magic[XERIAL_MAGIC_SIZE] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

static uint8 *put_u32_le(uint8 *p, uint32 v);
static MqBatchStatus copy_plain(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len);
static MqBatchStatus read_gzip(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len);
static MqBatchStatus inflate_members(z_stream *zs);
static MqBatchStatus read_snappy(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len);
static MqBatchStatus read_xerial(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len);
static MqBatchStatus read_lz4(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len);
static MqBatchStatus read_zstd(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len);
static bool is_zstd_frame(const uint8 *src, size_t len);


size_t
mq_codec_lz4_bound(size_t len)
{
	size_t		blocks = (len + LZ4_BLOCK_SIZE - 1) / LZ4_BLOCK_SIZE;

	return sizeof(lz4_header) + blocks * LZ4_WORD + len + LZ4_WORD;
}

size_t
mq_codec_lz4_compress(const uint8 *src, size_t len, uint8 *dst, size_t dst_size)
{
	uint8	   *p = dst;
	uint8	   *end = dst + dst_size;

	if (dst_size < sizeof(lz4_header) + LZ4_WORD)
		return 0;
	memcpy(p, lz4_header, sizeof(lz4_header));
	p += sizeof(lz4_header);
	end -= LZ4_WORD;			/* the end mark's room */

	while (len > 0)
	{
		int			block = (int) Min(len, LZ4_BLOCK_SIZE);
		int			room;
		int			size;

		if (end - p <= LZ4_WORD)
			return 0;
		room = (int) Min(end - p - LZ4_WORD, block - 1);
		size = room > 0 ? LZ4_compress_default((const char *) src, (char *) p + LZ4_WORD, block, room) : 0;
		if (size > 0)
			p = put_u32_le(p, (uint32) size) + size;
		else
		{
			/* does not shrink: stored */
			if (end - p - LZ4_WORD < block)
				return 0;
			p = put_u32_le(p, (uint32) block | LZ4_BLOCK_STORED);
			memcpy(p, src, block);
			p += block;
		}
		src += block;
		len -= block;
	}
	p = put_u32_le(p, 0);
	return (size_t) (p - dst);
}

MqBatchStatus
mq_codec_decompress(MqCodec codec, const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	switch (codec)
	{
		case MQ_CODEC_NONE:
			return copy_plain(src, len, dst, dst_len);
		case MQ_CODEC_GZIP:
			return read_gzip(src, len, dst, dst_len);
		case MQ_CODEC_SNAPPY:
			return read_snappy(src, len, dst, dst_len);
		case MQ_CODEC_LZ4:
			return read_lz4(src, len, dst, dst_len);
		case MQ_CODEC_ZSTD:
			return read_zstd(src, len, dst, dst_len);
	}
	return MQ_BATCH_BAD_CODEC;
}

static uint8 *
put_u32_le(uint8 *p, uint32 v)
{
	p[0] = (uint8) v;
	p[1] = (uint8) (v >> 8);
	p[2] = (uint8) (v >> 16);
	p[3] = (uint8) (v >> 24);
	return p + LZ4_WORD;
}

static MqBatchStatus
copy_plain(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	if (len > *dst_len)
		return MQ_BATCH_TOO_LARGE;
	if (len > 0)
		memcpy(dst, src, len);
	*dst_len = len;
	return MQ_BATCH_OK;
}

static MqBatchStatus
read_gzip(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	z_stream	zs;
	MqBatchStatus status;

	if (len == 0 || len > UINT_MAX)
		return MQ_BATCH_BAD_COMPRESSION;
	memset(&zs, 0, sizeof(zs));
	if (inflateInit2(&zs, GZIP_WINDOW_BITS) != Z_OK)
		return MQ_BATCH_NO_MEMORY;
	zs.next_in = (Bytef *) src;
	zs.avail_in = (uInt) len;
	zs.next_out = dst;
	zs.avail_out = (uInt) Min(*dst_len, UINT_MAX);
	status = inflate_members(&zs);
	if (status == MQ_BATCH_OK)
		*dst_len = (size_t) (zs.next_out - dst);
	(void) inflateEnd(&zs);
	return status;
}

/* A gzip stream is one member or several, one behind the other. */
static MqBatchStatus
inflate_members(z_stream *zs)
{
	for (;;)
	{
		int			rc = inflate(zs, Z_NO_FLUSH);

		switch (rc)
		{
			case Z_OK:
				break;
			case Z_STREAM_END:
				if (zs->avail_in == 0)
					return MQ_BATCH_OK;
				if (inflateReset(zs) != Z_OK)
					return MQ_BATCH_BAD_COMPRESSION;
				break;
			case Z_BUF_ERROR:
				/* no progress: no room, or no input */
				return zs->avail_out == 0 ? MQ_BATCH_TOO_LARGE : MQ_BATCH_BAD_COMPRESSION;
			case Z_MEM_ERROR:
				return MQ_BATCH_NO_MEMORY;
			default:
				return MQ_BATCH_BAD_COMPRESSION;
		}
	}
}

/* Raw, as librdkafka writes it, or in blocks, as Java does. */
static MqBatchStatus
read_snappy(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	size_t		size;

	if (len >= XERIAL_MAGIC_SIZE && memcmp(src, xerial_magic, XERIAL_MAGIC_SIZE) == 0)
		return read_xerial(src, len, dst, dst_len);

	if (snappy_uncompressed_length((const char *) src, len, &size) != SNAPPY_OK)
		return MQ_BATCH_BAD_COMPRESSION;
	if (size > *dst_len)
		return MQ_BATCH_TOO_LARGE;
	if (snappy_uncompress((const char *) src, len, (char *) dst, dst_len) != SNAPPY_OK)
		return MQ_BATCH_BAD_COMPRESSION;
	return MQ_BATCH_OK;
}

/*
 * Header (magic, version, oldest compatible version), then raw snappy blocks
 * behind their lengths.  Java's reader takes a header again where a length
 * could stand; the magic is no length, being negative.
 */
static MqBatchStatus
read_xerial(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	MqReader	r;
	size_t		done = 0;

	mq_bytes_reader(&r, src, len);
	while (mq_bytes_left(&r) > 0)
	{
		const uint8 *block;
		size_t		size;
		int32		block_len;

		if (mq_bytes_left(&r) >= XERIAL_HEADER_SIZE && memcmp(r.pos, xerial_magic, XERIAL_MAGIC_SIZE) == 0)
		{
			(void) mq_bytes_get_bytes(&r, XERIAL_HEADER_SIZE);
			continue;
		}
		block_len = mq_bytes_get_i32(&r);
		block = block_len > 0 ? mq_bytes_get_bytes(&r, block_len) : NULL;
		if (block == NULL ||
			snappy_uncompressed_length((const char *) block, block_len, &size) != SNAPPY_OK)
			return MQ_BATCH_BAD_COMPRESSION;
		if (size > *dst_len - done)
			return MQ_BATCH_TOO_LARGE;
		if (snappy_uncompress((const char *) block, block_len, (char *) dst + done, &size) != SNAPPY_OK)
			return MQ_BATCH_BAD_COMPRESSION;
		done += size;
	}
	*dst_len = done;
	return MQ_BATCH_OK;
}

/*
 * One frame.  Linked blocks and checksums, which Kafka does not write, are
 * read and checked all the same; no output is made of a frame that does not
 * end.
 */
static MqBatchStatus
read_lz4(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	LZ4F_dctx  *ctx;
	size_t		done = 0;
	size_t		hint = 1;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION)))
		return MQ_BATCH_NO_MEMORY;
	while (hint != 0)
	{
		size_t		in = len;
		size_t		out = *dst_len - done;

		hint = LZ4F_decompress(ctx, dst + done, &out, src, &in, NULL);
		if (LZ4F_isError(hint))
			break;
		src += in;
		len -= in;
		done += out;
		if (in == 0 && out == 0)
			break;
	}
	LZ4F_freeDecompressionContext(ctx);

	if (LZ4F_isError(hint))
		return strcmp(LZ4F_getErrorName(hint), "ERROR_allocation_failed") == 0 ?
			MQ_BATCH_NO_MEMORY : MQ_BATCH_BAD_COMPRESSION;
	if (hint != 0)
		return done == *dst_len ? MQ_BATCH_TOO_LARGE : MQ_BATCH_BAD_COMPRESSION;
	if (len > 0)
		return MQ_BATCH_BAD_COMPRESSION;
	*dst_len = done;
	return MQ_BATCH_OK;
}

/*
 * One frame or several, each decompressed at one go: the output is the
 * window, so a frame that declares a huge one costs nothing.
 */
static MqBatchStatus
read_zstd(const uint8 *src, size_t len, uint8 *dst, size_t *dst_len)
{
	ZSTD_DCtx  *ctx;
	size_t		done = 0;
	MqBatchStatus status = MQ_BATCH_OK;

	if (len == 0)
		return MQ_BATCH_BAD_COMPRESSION;
	ctx = ZSTD_createDCtx();
	if (ctx == NULL)
		return MQ_BATCH_NO_MEMORY;
	while (len > 0 && status == MQ_BATCH_OK)
	{
		size_t		frame;
		size_t		size;

		frame = is_zstd_frame(src, len) ? ZSTD_findFrameCompressedSize(src, len) : 0;
		if (frame == 0 || ZSTD_isError(frame))
		{
			status = MQ_BATCH_BAD_COMPRESSION;
			break;
		}
		size = ZSTD_decompressDCtx(ctx, dst + done, *dst_len - done, src, frame);
		if (!ZSTD_isError(size))
			done += size;
		else
			status = ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall ?
				MQ_BATCH_TOO_LARGE : MQ_BATCH_BAD_COMPRESSION;
		src += frame;
		len -= frame;
	}
	ZSTD_freeDCtx(ctx);
	if (status == MQ_BATCH_OK)
		*dst_len = done;
	return status;
}

/* The library also reads formats of before 1.0, which no producer writes. */
static bool
is_zstd_frame(const uint8 *src, size_t len)
{
	uint32		magic;

	if (len < sizeof(magic))
		return false;
	magic = (uint32) src[0] | (uint32) src[1] << 8 | (uint32) src[2] << 16 | (uint32) src[3] << 24;
	return magic == ZSTD_FRAME_MAGIC || (magic & ZSTD_SKIP_MASK) == ZSTD_SKIP_MAGIC;
}
