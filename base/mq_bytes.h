/*
 * mq_bytes.h
 *	  Bounded reader and writer over memory; CRC-32C; murmur2.
 *
 * Pure: no palloc, no ereport, no locks.  A reader that runs out of bytes
 * becomes bad and stays bad; callers check once at the end.
 */
#ifndef MQ_BYTES_H
#define MQ_BYTES_H

typedef struct MqReader
{
	const uint8 *pos;
	const uint8 *end;
	bool		bad;
} MqReader;

extern void mq_bytes_reader(MqReader *r, const void *data, size_t len);
extern size_t mq_bytes_left(const MqReader *r);

/* Reading; a bad reader yields zeros and NULLs.  Never raises. */
extern int8 mq_bytes_get_i8(MqReader *r);
extern int16 mq_bytes_get_i16(MqReader *r);
extern int32 mq_bytes_get_i32(MqReader *r);
extern int64 mq_bytes_get_i64(MqReader *r);
extern uint32 mq_bytes_get_u32(MqReader *r);
extern int32 mq_bytes_get_varint(MqReader *r);	/* zig-zag, at most 5 bytes */
extern int64 mq_bytes_get_varlong(MqReader *r); /* zig-zag, at most 10 bytes */
extern const uint8 *mq_bytes_get_bytes(MqReader *r, size_t len);

/* Writing; the caller has made room.  Each returns the byte after. */
extern uint8 *mq_bytes_put_i8(uint8 *p, int8 v);
extern uint8 *mq_bytes_put_i16(uint8 *p, int16 v);
extern uint8 *mq_bytes_put_i32(uint8 *p, int32 v);
extern uint8 *mq_bytes_put_i64(uint8 *p, int64 v);
extern uint8 *mq_bytes_put_varint(uint8 *p, int32 v);
extern uint8 *mq_bytes_put_varlong(uint8 *p, int64 v);
extern int	mq_bytes_varint_size(int32 v);
extern int	mq_bytes_varlong_size(int64 v);

extern uint32 mq_bytes_crc32c(const void *data, size_t len);

/* Kafka's partitioner hash: murmur2 with seed 0x9747b28c. */
extern uint32 mq_bytes_murmur2(const void *data, size_t len);

#endif							/* MQ_BYTES_H */
