/*
 * mq_selftest.h
 *	  Checks that print TAP, and the list of tests.
 */
#ifndef MQ_SELFTEST_H
#define MQ_SELFTEST_H

/* One line of TAP each; the label is a printf format. */
extern void selftest_ok(bool passed, const char *label,...) pg_attribute_printf(2, 3);
extern void selftest_int(int64 got, int64 expected, const char *label,...) pg_attribute_printf(3, 4);
extern void selftest_bytes(const void *got, size_t got_len, const void *expected, size_t expected_len,
						   const char *label,...) pg_attribute_printf(5, 6);

/* A line of comment, for the reader of a failure. */
extern void selftest_note(const char *text,...) pg_attribute_printf(1, 2);

/* Fatal: the run cannot go on. */
extern void selftest_bail_out(const char *text,...) pg_attribute_printf(1, 2) pg_attribute_noreturn();

/* Exactly len bytes of heap, so that ASan sees the byte after; free() them. */
extern uint8 *selftest_alloc(size_t len);
extern uint8 *selftest_copy(const void *data, size_t len);

/* Bytes of "0a 0b 0c"; spaces are free. */
extern uint8 *selftest_hex(const char *hex, size_t *len);

/* A file of the golden directory. */
extern uint8 *selftest_golden_file(const char *name, size_t *len);

/* A check: these bytes are those of a golden file, which -w writes when it is missing. */
extern void selftest_pinned(const void *data, size_t len, const char *name);

/* one per pure file, in test_<concept>.c; listed in mq_selftest.c */
extern void test_bytes(void);
extern void test_batch(void);
extern void test_codec(void);
extern void test_batches(void);
extern void test_state(void);
extern void test_segment(void);
extern void test_retention(void);
extern void test_append_plain(void);

#endif							/* MQ_SELFTEST_H */
