/*
 * wake.c
 *	  How long a sleeping consumer takes to have a message.
 *
 *	wake CONNINFO mq|notify RATE COUNT
 *
 * One thread sends so many messages a second, each a transaction of its own,
 * another sleeps until there are some and reads them, each over a connection
 * of its own.  The clock runs from just before the statement that commits is
 * sent until the consumer has the message in its hands, so it includes the
 * flush of the commit on both sides.  Prints "p50/p99" in microseconds.
 *
 * mq:      mq.produce; CALL mq.wait, then mq.fetch from the last position on
 * notify:  INSERT and pg_notify in one statement; LISTEN, then SELECT by key
 */
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS		30000

static const char *conninfo;
static int	use_mq;
static int	rate;
static int	count;
static int64_t *sent;			/* when each message was, in nanoseconds */
static int64_t *waited;			/* until each was read */

static int64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void
check(int good, PGconn *conn)
{
	if (good)
		return;
	fprintf(stderr, "wake: %s\n", PQerrorMessage(conn));
	exit(1);
}

static PGconn *
connect_and_prepare(const char *name, const char *statement)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	check(PQstatus(conn) == CONNECTION_OK, conn);
	check(PQresultStatus(PQprepare(conn, name, statement, 0, NULL)) == PGRES_COMMAND_OK, conn);
	return conn;
}

/* Runs a prepared statement with one argument. */
static PGresult *
run(PGconn *conn, const char *name, const char *argument)
{
	PGresult   *result = PQexecPrepared(conn, name, 1, &argument, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);

	check(status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK, conn);
	return result;
}

static void
sleep_until(int64_t when)
{
	struct timespec t = {when / 1000000000, when % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		;
}

static void *
produce_all(void *conn)
{
	int64_t		start = now();
	char		value[101];

	for (int i = 0; i < count; i++)
	{
		sleep_until(start + i * INT64_C(1000000000) / rate);
		snprintf(value, sizeof(value), "%0100d", i);
		sent[i] = now();
		PQclear(run(conn, "send", value));
	}
	return NULL;
}

/* Sleeps until the server has sent a notification; takes all that are there. */
static void
wait_for_notification(PGconn *conn)
{
	struct pollfd fd = {PQsocket(conn), POLLIN, 0};
	PGnotify   *notification;
	int			found = 0;

	for (;;)
	{
		while ((notification = PQnotifies(conn)) != NULL)
		{
			PQfreemem(notification);
			found = 1;
		}
		if (found)
			return;
		if (poll(&fd, 1, PATIENCE_MS) <= 0)
		{
			fprintf(stderr, "wake: no notification came\n");
			exit(1);
		}
		check(PQconsumeInput(conn), conn);
	}
}

/* Sleeps and reads until all have come; each message holds its number. */
static void
consume_all(PGconn *conn)
{
	char		position[32] = "0";

	for (int got = 0; got < count;)
	{
		PGresult   *result;
		int64_t		when;

		if (use_mq)
			PQclear(run(conn, "wait", position));
		else
			wait_for_notification(conn);
		result = run(conn, "read", position);
		when = now();
		for (int row = 0; row < PQntuples(result); row++)
		{
			int			i = atoi(PQgetvalue(result, row, 1));

			if (i != got++)
			{
				fprintf(stderr, "wake: message %d came as number %d\n", i, got - 1);
				exit(1);
			}
			waited[i] = when - sent[i];
			/* where to go on: the offset after it, or its key */
			snprintf(position, sizeof(position), "%lld", atoll(PQgetvalue(result, row, 0)) + use_mq);
		}
		PQclear(result);
	}
}

static int
compare(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	PGconn	   *producer;
	PGconn	   *consumer;
	pthread_t	thread;

	if (argc != 5 || (rate = atoi(argv[3])) <= 0 || (count = atoi(argv[4])) <= 0)
	{
		fprintf(stderr, "usage: wake CONNINFO mq|notify RATE COUNT\n");
		return 2;
	}
	conninfo = argv[1];
	use_mq = strcmp(argv[2], "mq") == 0;
	sent = calloc(count, sizeof(int64_t));
	waited = calloc(count, sizeof(int64_t));
	if (sent == NULL || waited == NULL)
		return 1;

	if (use_mq)
	{
		producer = connect_and_prepare("send", "SELECT mq.produce('bench', $1::text)");
		consumer = connect_and_prepare("read", "SELECT msg_offset, value FROM mq.fetch_text('bench', 0, $1)");
		check(PQresultStatus(PQprepare(consumer, "wait", "CALL mq.wait(positions => ARRAY[('bench', 0, $1::bigint)]::mq.position[])",
									   0, NULL)) == PGRES_COMMAND_OK, consumer);
	}
	else
	{
		producer = connect_and_prepare("send", "WITH row AS (INSERT INTO bench_queue (value) VALUES ($1) RETURNING id)"
									   " SELECT pg_notify('bench', '') FROM row");
		consumer = connect_and_prepare("read", "SELECT id, value FROM bench_queue WHERE id > $1 ORDER BY id");
		check(PQresultStatus(PQexec(consumer, "LISTEN bench")) == PGRES_COMMAND_OK, consumer);
	}
	if (pthread_create(&thread, NULL, produce_all, producer) != 0)
		return 1;
	consume_all(consumer);
	pthread_join(thread, NULL);
	PQfinish(producer);
	PQfinish(consumer);

	qsort(waited, count, sizeof(int64_t), compare);
	printf("%.1f/%.1f\n", waited[count / 2] / 1000.0, waited[(int) (count * 0.99)] / 1000.0);
	return 0;
}
