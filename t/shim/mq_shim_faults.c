/*
 * mq_shim_faults.c
 *	  What fails on purpose: the n-th call of a kind, and a full disk.
 *
 * Rules stand in the control file, one a line, and are read again whenever the
 * file changes, so a test switches them at run time; their counts are shared
 * by all processes and start at zero with every change of the file.
 *
 * A quota counts what files grow by past the end of what was written or
 * reserved, so a write into reserved space is free, as on ext4 and xfs.
 *
 * Locking: counts are atomics; who first sees a new control file resets them
 *			under SHIM_LOCK_CONTROL.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mq_shim.h"

typedef enum ShimAction
{
	ACT_ERRNO, ACT_SHORT, ACT_KILL, ACT_CRASH
} ShimAction;

typedef struct ShimRule
{
	bool		is_quota;
	unsigned	calls;			/* bit per ShimCall */
	char		path[256];
	uint64_t	nth;
	uint64_t	times;			/* 0 = for ever */
	int64_t		bytes;
	ShimAction	action;
	int			error;
} ShimRule;

static const struct
{
	const char *name;
	unsigned	calls;
}			call_names[] =
{
	{"open", 1 << CALL_OPEN},
	{"read", 1 << CALL_READ}, {"pread", 1 << CALL_READ},
	{"write", 1 << CALL_WRITE}, {"pwrite", 1 << CALL_WRITE},
	{"sync", 1 << CALL_SYNC}, {"fsync", 1 << CALL_SYNC},
	{"fdatasync", 1 << CALL_SYNC},
	{"truncate", 1 << CALL_TRUNCATE}, {"ftruncate", 1 << CALL_TRUNCATE},
	{"fallocate", 1 << CALL_FALLOCATE}, {"posix_fallocate", 1 << CALL_FALLOCATE},
	{"rename", 1 << CALL_RENAME},
	{"unlink", 1 << CALL_UNLINK},
	{"mkdir", 1 << CALL_MKDIR},
	{"any", ~0u}
};

static const struct
{
	const char *name;
	ShimAction	action;
	int			error;
}			action_names[] =
{
	{"EIO", ACT_ERRNO, EIO}, {"ENOSPC", ACT_ERRNO, ENOSPC},
	{"EINTR", ACT_ERRNO, EINTR}, {"EDQUOT", ACT_ERRNO, EDQUOT},
	{"EACCES", ACT_ERRNO, EACCES}, {"EMFILE", ACT_ERRNO, EMFILE},
	{"ENOMEM", ACT_ERRNO, ENOMEM}, {"short", ACT_SHORT, 0},
	{"kill", ACT_KILL, 0}, {"crash", ACT_CRASH, 0}
};

/* in the order of ShimCall */
static const char *const class_names[] = {
	"open", "read", "write", "sync", "truncate", "fallocate", "rename",
	"unlink", "mkdir"
};

/* the control file as this process last read it */
static ShimRule rules[SHIM_RULES];
static int	nrules;
static uint64_t rules_stamp;

static void read_control(void);
static void parse_rule(char *line);
static void parse_word(ShimRule *rule, const char *word, const char *value);
static ShimFault fire(const ShimRule *rule, int number, ShimCall call,
					  const char *rel);
static void log_fault(int number, ShimCall call, const char *rel);
static void crash_server(void);

/* Says what is to happen to this call; may not return. */
ShimFault
shim_fault(ShimCall call, const char *rel)
{
	int			hot = -1;

	read_control();
	/* every rule counts the call, the first one whose turn it is decides */
	for (int i = 0; i < nrules; i++)
	{
		const ShimRule *rule = &rules[i];
		uint64_t	hit;

		if (rule->is_quota || (rule->calls & (1u << call)) == 0 ||
			fnmatch(rule->path, rel, 0) != 0)
			continue;
		hit = __atomic_add_fetch(&shim_table->u.h.count[i].hits, 1, __ATOMIC_SEQ_CST);
		if (hot < 0 && hit >= rule->nth &&
			(rule->times == 0 || hit < rule->nth + rule->times))
			hot = i;
	}
	return hot < 0 ? FAULT_NONE : fire(&rules[hot], hot, call, rel);
}

/*
 * Books the growth of a file whose end becomes at least "end"; false when a
 * quota is exceeded.  Caller holds the entry's lock.
 */
bool
shim_charge(ShimEntry *e, const char *rel, uint64_t end)
{
	int64_t		growth = end > e->reserved ? (int64_t) (end - e->reserved) : 0;

	read_control();
	if (growth == 0)
		return true;
	for (int i = 0; i < nrules; i++)
	{
		ShimCount  *count = &shim_table->u.h.count[i];

		if (!rules[i].is_quota || fnmatch(rules[i].path, rel, 0) != 0)
			continue;
		__atomic_add_fetch(&count->hits, 1, __ATOMIC_SEQ_CST);
		if (__atomic_add_fetch(&count->used, growth, __ATOMIC_SEQ_CST) > rules[i].bytes)
		{
			__atomic_sub_fetch(&count->used, growth, __ATOMIC_SEQ_CST);
			__atomic_add_fetch(&count->fired, 1, __ATOMIC_SEQ_CST);
			return false;
		}
	}
	e->reserved = end;
	return true;
}

/* Gives back what lies past "end". */
void
shim_refund(ShimEntry *e, const char *rel, uint64_t end)
{
	if (end >= e->reserved)
		return;
	for (int i = 0; i < nrules; i++)
	{
		if (rules[i].is_quota && fnmatch(rules[i].path, rel, 0) == 0)
			__atomic_sub_fetch(&shim_table->u.h.count[i].used,
							   (int64_t) (e->reserved - end), __ATOMIC_SEQ_CST);
	}
	e->reserved = end;
}

/* Follows the control file; costs one stat when nothing changed. */
static void
read_control(void)
{
	static char text[8192];
	char		path[SHIM_PATH + 16];
	struct stat st;
	uint64_t	stamp = 1;
	char	   *line;
	char	   *rest;
	ssize_t		len = 0;
	int			fd;
	int			save = errno;

	snprintf(path, sizeof(path), "%s/control", shim_dir);
	if (stat(path, &st) == 0)
		stamp = ((uint64_t) st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec) ^
			((uint64_t) st.st_ino << 40) ^ ((uint64_t) st.st_size << 52);
	errno = save;
	if (stamp == rules_stamp)
		return;

	nrules = 0;
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0)
	{
		len = syscall(SYS_read, fd, text, sizeof(text) - 1);
		syscall(SYS_close, fd);
	}
	text[len > 0 ? len : 0] = '\0';
	for (line = strtok_r(text, "\n", &rest); line != NULL;
		 line = strtok_r(NULL, "\n", &rest))
		parse_rule(line);
	rules_stamp = stamp;

	shim_lock(SHIM_LOCK_CONTROL, F_WRLCK);
	if (shim_table->u.h.control_stamp != stamp)
	{
		memset(shim_table->u.h.count, 0, sizeof(shim_table->u.h.count));
		shim_table->u.h.control_stamp = stamp;
	}
	shim_lock(SHIM_LOCK_CONTROL, F_UNLCK);
	errno = save;
}

static void
parse_rule(char *line)
{
	ShimRule	rule = {.path = "*", .nth = 1, .times = 1,.error = EIO};
	char	   *rest;
	char	   *word = strtok_r(line, " \t", &rest);

	if (word == NULL || word[0] == '#')
		return;
	if (nrules >= SHIM_RULES)
		shim_die("too many rules in the control file");
	errno = EINVAL;
	if (strcmp(word, "quota") == 0)
		rule.is_quota = true;
	else if (strcmp(word, "fail") != 0)
		shim_die(word);
	while ((word = strtok_r(NULL, " \t", &rest)) != NULL)
	{
		char	   *value = strchr(word, '=');

		if (value == NULL)
			shim_die(word);
		*value++ = '\0';
		parse_word(&rule, word, value);
	}
	rules[nrules++] = rule;
}

/* A word that is not understood stops the server: a typo would test nothing. */
static void
parse_word(ShimRule *rule, const char *word, const char *value)
{
	if (strcmp(word, "path") == 0)
		snprintf(rule->path, sizeof(rule->path), "%s", value);
	else if (strcmp(word, "nth") == 0)
		rule->nth = strtoull(value, NULL, 10);
	else if (strcmp(word, "times") == 0)
		rule->times = strtoull(value, NULL, 10);
	else if (strcmp(word, "bytes") == 0)
		rule->bytes = strtoll(value, NULL, 10);
	else if (strcmp(word, "call") == 0)
	{
		char		list[256];
		char	   *rest;

		snprintf(list, sizeof(list), "%s", value);
		for (char *name = strtok_r(list, ",", &rest); name != NULL;
			 name = strtok_r(NULL, ",", &rest))
		{
			int			i = 0;

			while (i < lengthof(call_names) && strcmp(call_names[i].name, name) != 0)
				i++;
			if (i == lengthof(call_names))
				shim_die(name);
			rule->calls |= call_names[i].calls;
		}
	}
	else if (strcmp(word, "error") == 0)
	{
		int			i = 0;

		while (i < lengthof(action_names) && strcmp(action_names[i].name, value) != 0)
			i++;
		if (i == lengthof(action_names))
			shim_die(value);
		rule->action = action_names[i].action;
		rule->error = action_names[i].error;
	}
	else
		shim_die(word);
}

static ShimFault
fire(const ShimRule *rule, int number, ShimCall call, const char *rel)
{
	__atomic_add_fetch(&shim_table->u.h.count[number].fired, 1, __ATOMIC_SEQ_CST);
	log_fault(number, call, rel);
	switch (rule->action)
	{
		case ACT_CRASH:
			crash_server();
			/* FALLTHROUGH */
		case ACT_KILL:
			kill(getpid(), SIGKILL);
			break;
		case ACT_SHORT:
			if (call == CALL_READ || call == CALL_WRITE)
				return FAULT_SHORT;
			break;
		case ACT_ERRNO:
			break;
	}
	errno = rule->error != 0 ? rule->error : EIO;
	return FAULT_ERROR;
}

/* One line for each fault in MQ_SHIM_DIR/log, for whoever reads the failure. */
static void
log_fault(int number, ShimCall call, const char *rel)
{
	char		path[SHIM_PATH + 16];
	char		line[SHIM_PATH + 64];
	int			len;
	int			fd;

	snprintf(path, sizeof(path), "%s/log", shim_dir);
	fd = syscall(SYS_openat, AT_FDCWD, path,
				 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%d rule %d %s %s\n", (int) getpid(), number,
				   class_names[call], rel);
	syscall(SYS_write, fd, line, len);
	syscall(SYS_close, fd);
}

/* Kills the postmaster; the others notice and go. */
static void
crash_server(void)
{
	char		path[2 * SHIM_PATH];
	char		text[32] = "";
	int			fd;
	long		pid;

	snprintf(path, sizeof(path), "%s/postmaster.pid", getenv("MQ_SHIM_DATA"));
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (syscall(SYS_read, fd, text, sizeof(text) - 1) > 0 &&
		(pid = strtol(text, NULL, 10)) > 1)
		kill((pid_t) pid, SIGKILL);
	syscall(SYS_close, fd);
}
