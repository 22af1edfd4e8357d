/*
 * memfile.h
 *	  One file in memory, behind storage/mq_file's calls.
 */
#ifndef MEMFILE_H
#define MEMFILE_H

#define MEMFILE_MAX		4096

/* There is no file now; the first open with O_CREAT makes it. */
extern void memfile_remove(void);

/* There is one with these bytes, or as many of them as there is room for. */
extern void memfile_load(const void *data, size_t size);

/* Its bytes and how many there are; both may be changed. */
extern uint8 memfile_bytes[MEMFILE_MAX];
extern size_t memfile_size;

/* The next write stops after so many bytes and fails. */
extern void memfile_tear(size_t bytes);

#endif							/* MEMFILE_H */
