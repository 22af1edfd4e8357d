/*
 * golden.h
 *	  The golden record batches and what is in them.
 */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "storage/mq_batch.h"

typedef struct GoldenSet GoldenSet;

typedef struct GoldenFile
{
	const char *name;
	const GoldenSet *set;
	MqCodec		codec;
	int16		attributes;		/* without the codec's bits */
} GoldenFile;

extern const GoldenFile golden_files[];
extern const int golden_file_count;

/* Fields of the header that are the same in all files of a set. */
extern void golden_info(const GoldenSet *set, MqBatchInfo *info);

/* Record i of a set; it points into static memory that the next call reuses. */
extern void golden_record(const GoldenSet *set, int i, MqRecord *record);

#endif							/* GOLDEN_H */
