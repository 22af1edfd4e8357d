/*
 * fuzz_codec.c
 *	  libFuzzer: a compressed payload from anywhere.
 *
 * The input is laid out as a batch, so that the golden files are seeds: codec
 * in the attributes, payload behind the header.  The rest of the header is
 * not looked at, but for the byte that chooses the cap.
 */
#include "postgres.h"

#include "storage/mq_codec.h"

#include "walk.h"

#define POS_CAP			0
#define POS_CODEC		22

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static void compress_and_back(const uint8 *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static const size_t caps[] = {256 * 1024, 0, 1, 100, 4096, 65536, 65537, 131072};
	MqBatchStatus status;
	size_t		cap;

	if (size < MQ_BATCH_HEADER_SIZE)
		return 0;
	cap = caps[data[POS_CAP] % lengthof(caps)];
	free(walk_decompress((MqCodec) (data[POS_CODEC] & MQ_BATCH_CODEC_MASK), data + MQ_BATCH_HEADER_SIZE,
						 size - MQ_BATCH_HEADER_SIZE, &cap, &status));
	compress_and_back(data, size);
	return 0;
}

/* Whatever goes into our own encoder comes back. */
static void
compress_and_back(const uint8 *data, size_t size)
{
	size_t		bound = mq_codec_lz4_bound(size);
	uint8	   *frame = (uint8 *) malloc(bound);
	size_t		frame_len = mq_codec_lz4_compress(data, size, frame, bound);
	size_t		back_len = size;
	MqBatchStatus status;
	uint8	   *back = walk_decompress(MQ_CODEC_LZ4, frame, frame_len, &back_len, &status);

	if (frame_len == 0 || status != MQ_BATCH_OK || back_len != size || memcmp(back, data, size) != 0)
		abort();
	free(back);
	free(frame);
}
