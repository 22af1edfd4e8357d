/*
 * mq_selftest.c
 *	  Runs the tests of the pure files and prints TAP.
 *
 * The pure files (formats, searches, decisions) are compiled into this
 * program as they are, without a server.  A new one gets a test_<concept>.c
 * with one function, a line in tests[] and its name in the Makefile.
 *
 *	  mq_selftest [-w] [-g golden directory] [concept ...]
 *
 * -w writes the pinned files that are missing, once, when a format is made.
 */
#include "postgres.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "mq_selftest.h"

typedef struct Test
{
	const char *concept;
	void		(*run) (void);
} Test;

static const Test tests[] = {
	{"bytes", test_bytes},
	{"batch", test_batch},
	{"codec", test_codec},
	{"batches", test_batches},
	{"state", test_state},
	{"segment", test_segment},
	{"retention", test_retention},
	{"append_plain", test_append_plain}
};

static const char *golden_directory = "selftest/golden";
static bool write_missing = false;
static int	tests_run = 0;
static int	tests_failed = 0;

static bool is_wanted(const Test *test, int argc, char **argv);
static void report(bool passed, const char *label, va_list args) pg_attribute_printf(2, 0);
static void note_bytes(const char *what, const uint8 *data, size_t len);
static int	hex_digit(char c);


int
main(int argc, char **argv)
{
	int			i;

	if (argc >= 2 && strcmp(argv[1], "-w") == 0)
	{
		write_missing = true;
		argc--;
		argv++;
	}
	if (argc >= 3 && strcmp(argv[1], "-g") == 0)
	{
		golden_directory = argv[2];
		argc -= 2;
		argv += 2;
	}
	for (i = 0; i < (int) lengthof(tests); i++)
	{
		if (!is_wanted(&tests[i], argc, argv))
			continue;
		selftest_note("%s", tests[i].concept);
		tests[i].run();
	}
	printf("1..%d\n", tests_run);
	if (tests_failed > 0)
		selftest_note("%d of %d failed", tests_failed, tests_run);
	return tests_failed == 0 && tests_run > 0 ? 0 : 1;
}

void
selftest_ok(bool passed, const char *label,...)
{
	va_list		args;

	va_start(args, label);
	report(passed, label, args);
	va_end(args);
}

void
selftest_int(int64 got, int64 expected, const char *label,...)
{
	va_list		args;

	va_start(args, label);
	report(got == expected, label, args);
	va_end(args);
	if (got != expected)
		selftest_note("  got " INT64_FORMAT ", expected " INT64_FORMAT, got, expected);
}

void
selftest_bytes(const void *got, size_t got_len, const void *expected, size_t expected_len,
			   const char *label,...)
{
	bool		same = got_len == expected_len && (got_len == 0 || memcmp(got, expected, got_len) == 0);
	va_list		args;

	va_start(args, label);
	report(same, label, args);
	va_end(args);
	if (!same)
	{
		note_bytes("got", (const uint8 *) got, got_len);
		note_bytes("expected", (const uint8 *) expected, expected_len);
	}
}

void
selftest_note(const char *text,...)
{
	va_list		args;

	printf("# ");
	va_start(args, text);
	vprintf(text, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void
selftest_bail_out(const char *text,...)
{
	va_list		args;

	printf("Bail out! ");
	va_start(args, text);
	vprintf(text, args);
	va_end(args);
	printf("\n");
	exit(1);
}

uint8 *
selftest_alloc(size_t len)
{
	/* nothing is a pointer too, and one that may not be read */
	uint8	   *p = (uint8 *) malloc(len);

	if (p == NULL && len > 0)
		selftest_bail_out("out of memory");
	return p;
}

uint8 *
selftest_copy(const void *data, size_t len)
{
	uint8	   *p = selftest_alloc(len);

	if (len > 0)
		memcpy(p, data, len);
	return p;
}

uint8 *
selftest_hex(const char *hex, size_t *len)
{
	uint8	   *p = selftest_alloc(strlen(hex) / 2 + 1);

	*len = 0;
	while (*hex != '\0')
	{
		if (*hex == ' ')
		{
			hex++;
			continue;
		}
		if (hex_digit(hex[0]) < 0 || hex_digit(hex[1]) < 0)
			selftest_bail_out("bad hex: %s", hex);
		p[(*len)++] = (uint8) (hex_digit(hex[0]) * 16 + hex_digit(hex[1]));
		hex += 2;
	}
	return p;
}

uint8 *
selftest_golden_file(const char *name, size_t *len)
{
	char		path[MAXPGPATH];
	FILE	   *file;
	long		size;
	uint8	   *data;

	snprintf(path, sizeof(path), "%s/%s", golden_directory, name);
	file = fopen(path, "rb");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		selftest_bail_out("cannot read %s", path);
	rewind(file);
	data = selftest_alloc((size_t) size);
	if (fread(data, 1, (size_t) size, file) != (size_t) size)
		selftest_bail_out("cannot read %s", path);
	fclose(file);
	*len = (size_t) size;
	return data;
}

void
selftest_pinned(const void *data, size_t len, const char *name)
{
	char		path[MAXPGPATH];
	size_t		golden_len;
	uint8	   *golden;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", golden_directory, name);
	if (write_missing && access(path, F_OK) != 0)
	{
		file = fopen(path, "wb");
		if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0)
			selftest_bail_out("cannot write %s", path);
		selftest_note("wrote %s", path);
	}
	golden = selftest_golden_file(name, &golden_len);
	selftest_bytes(data, len, golden, golden_len, "the layout of %s", name);
	free(golden);
}

/* Without arguments every test runs. */
static bool
is_wanted(const Test *test, int argc, char **argv)
{
	int			i;

	for (i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], test->concept) == 0)
			return true;
	}
	return argc <= 1;
}

static void
report(bool passed, const char *label, va_list args)
{
	tests_run++;
	if (!passed)
		tests_failed++;
	printf("%s %d - ", passed ? "ok" : "not ok", tests_run);
	vprintf(label, args);
	printf("\n");
	fflush(stdout);
}

/* The first bytes; whole batches do not help a reader. */
static void
note_bytes(const char *what, const uint8 *data, size_t len)
{
	size_t		i;

	printf("#   %s %zu bytes:", what, len);
	for (i = 0; i < len && i < 64; i++)
		printf(" %02x", data[i]);
	printf("%s\n", i < len ? " ..." : "");
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}
