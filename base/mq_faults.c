/*
 * mq_faults.c
 *	  Named points at which a test may pause, fail or crash the process.
 *
 * The setting's check hook parses its text into a block that belongs to guc.c;
 * the assign hook copies it into a static table.  A hit looks its name up in
 * that table and nowhere else, so points may stand anywhere: in the
 * postmaster, in redo, under LWLocks, in critical sections.
 *
 * This file sleeps without a latch, which nothing else in the house may: a
 * paused process must stay exactly where it is, and some that pause have no
 * latch or may not serve one.
 *
 * Locking: an advisory lock while a pause waits; see mq_faults.h.
 * Crash:   that is its purpose.
 */
#include "postgres.h"

#ifdef MQ_FAULTS

#include <ctype.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"

#include "base/mq_faults.h"

#define MAX_FAULTS			16
#define MAX_FAULT_NAME		64
#define PAUSE_POLL_US		10000

typedef enum FaultAction
{
	FAULT_ERROR,
	FAULT_FATAL,
	FAULT_PANIC,
	FAULT_CRASH,
	FAULT_KILL,
	FAULT_PAUSE,
	FAULT_FAIL,
	FAULT_SKIP
} FaultAction;

typedef struct Fault
{
	char		name[MAX_FAULT_NAME];
	FaultAction action;
	int			first;			/* number of the first hit that acts */
	int			times;			/* hits that act; INT_MAX = all */
	int			hits;			/* so far, in this process */
} Fault;

typedef struct FaultSet
{
	int			count;
	Fault		faults[MAX_FAULTS];
} FaultSet;

/* In the order of FaultAction. */
static const char *const action_names[] = {
	"error", "fatal", "panic", "crash", "kill", "pause", "fail", "skip"
};

/* The text as guc.c keeps it, and what it means; hits are this process's own. */
static char *faults_setting = NULL;
static FaultSet armed;

static bool check_faults(char **newval, void **extra, GucSource source);
static void assign_faults(const char *newval, void *extra);
static const char *parse_fault(const char *p, Fault *fault);
static const char *parse_word(const char *p, char *word, size_t size);
static const char *parse_count(const char *p, int *count);
static const char *skip_spaces(const char *p);
static bool same_fault(const Fault *a, const Fault *b);
static bool is_due(Fault *fault, const char *name);
static bool act(const Fault *fault);
static void pause_here(const char *name);
static void wait_for_lock(const char *name);
static void wait_for_file(const char *name);


void
mq_faults_define_settings(void)
{
	DefineCustomStringVariable("mq.faults",
							   "Arms fault points, for tests.",
							   "A list of name:action[:first[:times]].",
							   &faults_setting, "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE,
							   check_faults, assign_faults, NULL);
}

void
mq_faults_hit(const char *name)
{
	(void) mq_faults_fail(name);
}

bool
mq_faults_fail(const char *name)
{
	bool		fails = false;
	int			i;

	for (i = 0; i < armed.count; i++)
	{
		if (is_due(&armed.faults[i], name) && act(&armed.faults[i]))
			fails = true;
	}
	return fails;
}

/* Parses the setting into *extra; spaces are free, an empty text arms nothing. */
static bool
check_faults(char **newval, void **extra, GucSource source)
{
	FaultSet   *set = (FaultSet *) malloc(sizeof(FaultSet));
	const char *p = skip_spaces(*newval);

	if (set == NULL)
		return false;
	memset(set, 0, sizeof(*set));
	while (*p != '\0')
	{
		if (set->count == MAX_FAULTS)
		{
			GUC_check_errdetail("At most %d fault points can be armed.", MAX_FAULTS);
			p = NULL;
		}
		else
			p = parse_fault(p, &set->faults[set->count++]);
		if (p == NULL)
		{
			free(set);
			return false;
		}
	}
	*extra = set;
	return true;
}

static void
assign_faults(const char *newval, void *extra)
{
	FaultSet	before = armed;
	int			i;
	int			j;

	armed = *(const FaultSet *) extra;
	for (i = 0; i < armed.count; i++)
	{
		for (j = 0; j < before.count; j++)
		{
			if (same_fault(&armed.faults[i], &before.faults[j]))
				armed.faults[i].hits = before.faults[j].hits;
		}
	}
}

/* Parses one entry and the comma behind it; NULL after an error was reported. */
static const char *
parse_fault(const char *p, Fault *fault)
{
	char		action[MAX_FAULT_NAME];
	int			i;

	fault->first = 1;
	fault->times = INT_MAX;
	fault->hits = 0;

	p = parse_word(p, fault->name, sizeof(fault->name));
	if (p == NULL || *p != ':' || (p = parse_word(p + 1, action, sizeof(action))) == NULL)
	{
		GUC_check_errdetail("A fault point is armed by name:action[:first[:times]].");
		return NULL;
	}
	for (i = 0; i < (int) lengthof(action_names); i++)
	{
		if (strcmp(action, action_names[i]) == 0)
			break;
	}
	if (i == (int) lengthof(action_names))
	{
		GUC_check_errdetail("Unknown action \"%s\" of fault point \"%s\".", action, fault->name);
		GUC_check_errhint("Actions are error, fatal, panic, crash, kill, pause, fail and skip.");
		return NULL;
	}
	fault->action = (FaultAction) i;

	if (*p == ':')
		p = parse_count(p + 1, &fault->first);
	if (p != NULL && *p == ':')
		p = parse_count(p + 1, &fault->times);
	if (p == NULL || (*p != '\0' && *p != ','))
	{
		GUC_check_errdetail("The counts of fault point \"%s\" must be positive integers.", fault->name);
		return NULL;
	}
	return *p == ',' ? skip_spaces(p + 1) : p;
}

/* Copies a word, spaces around it dropped; NULL if there is none or it is too long. */
static const char *
parse_word(const char *p, char *word, size_t size)
{
	size_t		len = 0;

	p = skip_spaces(p);
	while (isalnum((unsigned char) *p) || *p == '_' || *p == '-' || *p == '.')
	{
		if (len + 1 >= size)
			return NULL;
		word[len++] = *p++;
	}
	word[len] = '\0';
	return len > 0 ? skip_spaces(p) : NULL;
}

static const char *
parse_count(const char *p, int *count)
{
	char	   *end;
	long		value;

	p = skip_spaces(p);
	if (!isdigit((unsigned char) *p))
		return NULL;
	value = strtol(p, &end, 10);
	if (value < 1 || value > INT_MAX)
		return NULL;
	*count = (int) value;
	return skip_spaces(end);
}

static const char *
skip_spaces(const char *p)
{
	while (isspace((unsigned char) *p))
		p++;
	return p;
}

static bool
same_fault(const Fault *a, const Fault *b)
{
	return strcmp(a->name, b->name) == 0 && a->action == b->action &&
		a->first == b->first && a->times == b->times;
}

/* Counts a hit of the named point and tells whether it is one that acts. */
static bool
is_due(Fault *fault, const char *name)
{
	if (strcmp(fault->name, name) != 0 || fault->hits == INT_MAX)
		return false;
	fault->hits++;
	return fault->hits >= fault->first && fault->hits - fault->first < fault->times;
}

/* Does what the point is armed with; true when its caller shall fail. */
static bool
act(const Fault *fault)
{
	switch (fault->action)
	{
		case FAULT_ERROR:
		case FAULT_FATAL:
		case FAULT_PANIC:
			ereport(fault->action == FAULT_ERROR ? ERROR : fault->action == FAULT_FATAL ? FATAL : PANIC,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("fault point \"%s\" reached", fault->name)));
			break;
		case FAULT_CRASH:
			_exit(2);
			break;
		case FAULT_KILL:
			/* zero in a single-user backend, where it would mean the process group */
			if (PostmasterPid > 0 && PostmasterPid != getpid())
				kill(PostmasterPid, SIGKILL);
			kill(getpid(), SIGKILL);
			break;
		case FAULT_PAUSE:
			pause_here(fault->name);
			break;
		case FAULT_FAIL:
			write_stderr("fault point \"%s\" fails\n", fault->name);
			return true;
		case FAULT_SKIP:
			return true;
	}
	return false;
}

/*
 * Waits for the tester.  A heavyweight lock needs a database to be the
 * tester's, memory, and a place where a deadlock or a cancel may be raised;
 * LWLocks hold interrupts off, so they are covered by that count.
 */
static void
pause_here(const char *name)
{
	if (OidIsValid(MyDatabaseId) && CritSectionCount == 0 &&
		InterruptHoldoffCount == 0 && IsTransactionState())
		wait_for_lock(name);
	else
		wait_for_file(name);
}

/* The lock of pg_advisory_lock(hashtext(name)): a bigint key, sign-extended. */
static void
wait_for_lock(const char *name)
{
	int64		key = DatumGetInt32(hash_any((const unsigned char *) name, (int) strlen(name)));
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) key >> 32), (uint32) key, 1);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	LockRelease(&tag, ExclusiveLock, true);
}

/* The data directory is every server process's working directory. */
static void
wait_for_file(const char *name)
{
	char		path[MAX_FAULT_NAME + 16];
	struct stat st;

	snprintf(path, sizeof(path), "mq_fault_%s", name);
	if (stat(path, &st) != 0)
		return;
	write_stderr("fault point \"%s\" paused\n", name);
	while (stat(path, &st) == 0)
	{
		/* an orphan would outlive the test that killed its postmaster */
		if (IsUnderPostmaster && !PostmasterIsAlive())
			_exit(1);
		CHECK_FOR_INTERRUPTS();
		pg_usleep(PAUSE_POLL_US);
	}
}

#endif							/* MQ_FAULTS */
