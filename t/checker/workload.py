#!/usr/bin/python3
"""workload.py: the load whose history the checker judges.

  workload.py load  --conninfo C --out DIR [--seed N] [--seconds S] [--stop-file F] [--create]
  workload.py final --conninfo C --out DIR [--server NAME]

Four producers write unique values ("id:crc:payload", id = producer-sequence)
to several topics: single statements, batches, transactions over many topics
with savepoints and partial rollbacks, rollbacks, errors in the middle, large
ones that spill, serializable ones that fail after the append, ones with
statement_timeout, asynchronous commits, sends that are not transactional.  Two
of them insert a row into mq_check_rows for each message, in the same
transaction.  Three consumers fetch by offset and look at the watermarks.  All
of it is planned from the seed; all of it goes on, with new connections, when
the server goes away.  Writes DIR/history.jsonl and, one for each producer and
synced line by line, DIR/acked.pN; final adds the last read of everything.
"""
import argparse
import json
import os
import random
import re
import sys
import threading
import time
import zlib

import pq

TOPICS = {'check.a': 3, 'check.b': 1, 'check.c': 2}
VALUE = re.compile(r'(p\d+-\d+):([0-9a-f]{8}):(.*)', re.S)
LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789 .,"\\\'{}'
PAYLOAD = ''.join(random.Random(7).choice(LETTERS) for _ in range(200000))


def crc(ident, key, payload):
    text = '%s|%s|%s' % (ident, '' if key is None else key, payload)
    return '%08x' % zlib.crc32(text.encode())


def decode(offset, key, value):
    """A message read, as the history shows it: [offset, id, crc of its bytes]."""
    match = VALUE.fullmatch(value) if value is not None else None
    if match is None:
        return [int(offset), '?%.60s' % value, 'none']
    actual = crc(match.group(1), key, match.group(3))
    return [int(offset), match.group(1),
            actual if actual == match.group(2) else 'bad-%s' % actual]


class History:
    """The file of events; one line is one write."""

    def __init__(self, path):
        self.file = open(path, 'a')
        self.lock = threading.Lock()
        self.ops = int(time.monotonic_ns() / 1000)      # unique over restarts, too

    def event(self, process, kind, f, op, **more):
        with self.lock:
            line = dict(t=time.monotonic_ns(), p=process, type=kind, f=f, op=op, **more)
            self.file.write(json.dumps(line, separators=(',', ':')) + '\n')
            self.file.flush()

    def begin(self, process, f, **more):
        with self.lock:
            self.ops += 1
            op = self.ops
        self.event(process, 'invoke', f, op, **more)
        return op

    def mark(self, what, **more):
        self.event('run', 'info', 'mark', 0, what=what, **more)


class Value:
    """A message to be sent."""

    def __init__(self, producer, rng, topics, large):
        producer.sequence += 1
        self.id = '%s-%d' % (producer.name, producer.sequence)
        self.topic = rng.choice(sorted(topics))
        self.key = None if rng.random() < 0.3 else 'k%d' % rng.randrange(50)
        self.partition = rng.randrange(topics[self.topic]) if rng.random() < 0.3 else None
        size = rng.choice((3, 30, 100, 100, 300)) if rng.random() < 0.9 else rng.randrange(4000)
        if large:
            size = rng.randrange(2000, 30000)
        start = rng.randrange(len(PAYLOAD) - size)
        self.payload = PAYLOAD[start:start + size]
        self.crc = crc(self.id, self.key, self.payload)
        self.fate = 'keep'

    def text(self):
        return '%s:%s:%s' % (self.id, self.crc, self.payload)

    def event(self, row):
        return {'id': self.id, 'crc': self.crc, 'topic': self.topic, 'fate': self.fate,
                'row': row}


class Plan:
    """What one transaction will do: a list of steps, made before it starts."""

    KINDS = (('single', 20), ('solo', 8), ('batch', 12), ('small', 30), ('savepoints', 25),
             ('large', 4), ('many', 3), ('serializable', 10), ('error', 4), ('timeout', 4),
             ('async', 8), ('idle', 2))

    def __init__(self, producer, rng, topics):
        self.producer, self.rng, self.topics = producer, rng, topics
        kinds = [k for k in self.KINDS if k[0] not in producer.load.without]
        self.kind = rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        self.steps = []
        self.values = []
        self.commit = rng.random() < 0.88
        self.block = self.kind not in ('single', 'solo')
        getattr(self, self.kind)()

    def value(self, large=False):
        v = Value(self.producer, self.rng, self.topics, large)
        self.values.append(v)
        return v

    def send(self, large=False):
        self.steps.append(('send', [self.value(large)]))

    def send_batch(self, count):
        values = [self.value() for _ in range(count)]
        for v in values:
            v.topic, v.partition = values[0].topic, None
        self.steps.append(('batch', values))

    def single(self):
        self.block = self.producer.rows     # a row and a message need one
        self.commit = True
        self.send()

    def solo(self):
        self.steps.append(('solo', [self.value()]))

    def batch(self):
        self.block = self.producer.rows or self.rng.random() < 0.5
        self.commit = self.commit or not self.block
        self.send_batch(self.rng.randrange(1, 60))

    def small(self):
        for _ in range(self.rng.randrange(1, 8)):
            self.send()
        if not self.producer.load.plain and self.rng.random() < 0.15:
            self.steps.append(('solo', [self.value()]))

    def large(self):
        for _ in range(self.rng.randrange(3, 12)):
            self.send(large=True)

    def many(self):
        for _ in range(self.rng.randrange(2, 6)):
            self.send_batch(self.rng.randrange(50, 300))

    def savepoints(self, depth=0):
        name = 's%d' % len(self.steps)
        first = len(self.values)
        self.send()
        self.steps.append(('sql', 'SAVEPOINT %s' % name))
        inside = len(self.values)
        for _ in range(self.rng.randrange(1, 4)):
            if depth < 3 and self.rng.random() < 0.4:
                self.savepoints(depth + 1)
            else:
                self.send()
        if self.rng.random() < 0.5:
            self.steps.append(('sql', 'ROLLBACK TO SAVEPOINT %s' % name))
            for v in self.values[inside:]:
                v.fate = 'drop'
            if self.rng.random() < 0.5:
                self.send()
        elif self.rng.random() < 0.7:
            self.steps.append(('sql', 'RELEASE SAVEPOINT %s' % name))
        assert len(self.values) > first

    def serializable(self):
        self.steps.append(('sql', 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE'))
        self.steps.append(('sql', 'SELECT sum(n) FROM mq_check_conflict'))
        self.send()
        self.steps.append(('sql', 'UPDATE mq_check_conflict SET n = n + 1 WHERE id = %d'
                           % self.rng.randrange(4)))
        self.send()

    def error(self):
        self.send()
        self.steps.append(('sql', 'SAVEPOINT e'))
        self.send()
        self.steps.append(('caught', 'SELECT 1 / 0'))
        self.values[-1].fate = 'drop'
        self.steps.append(('sql', 'ROLLBACK TO SAVEPOINT e'))
        self.send()

    def timeout(self):
        self.steps.append(('sql', "SET LOCAL statement_timeout = '%dms'"
                           % self.rng.randrange(1, 8)))
        self.send_batch(self.rng.randrange(1, 200))

    def idle(self):
        self.send()
        self.steps.append(('sql', 'SELECT pg_sleep(0.05)'))
        self.send()

    # Named after the server's word; "async" is a word of Python's.
    def async_(self):
        self.steps.append(('sql', 'SET LOCAL synchronous_commit = off'))
        self.send()


setattr(Plan, 'async', Plan.async_)


class Client(threading.Thread):
    """Something with a connection that comes back after every loss."""

    def __init__(self, load, name):
        super().__init__(name=name, daemon=True)
        self.load = load
        self.rng = random.Random('%s/%s' % (load.seed, name))
        self.conn = None
        self.error = None

    def run(self):
        try:
            while not self.load.stopping.is_set():
                if self.connect():
                    self.step()
        except Exception as e:      # a bug of the load: the run is worthless
            self.error = e
            raise
        finally:
            if self.conn:
                self.conn.close()

    def connect(self):
        if self.conn:
            return True
        try:
            self.conn = pq.Connection(self.load.conninfo +
                                      ' application_name=mq_load_%s' % self.name)
            return True
        except pq.PgError:
            self.load.stopping.wait(0.02)
            return False

    def disconnect(self):
        self.conn.close()
        self.conn = None


class Producer(Client):
    def __init__(self, load, number):
        super().__init__(load, 'p%d' % number)
        self.rows = number < 2
        self.sequence = 0
        self.acked = open(os.path.join(load.out, 'acked.%s' % self.name), 'a')

    def step(self):
        plan = Plan(self, self.rng, self.load.topics)
        solo = {id(v) for kind, vs in plan.steps if kind == 'solo' for v in vs}
        values = [v for v in plan.values if id(v) not in solo]
        op = None
        if values:
            op = self.load.history.begin(
                self.name, 'send', plan=plan.kind,
                values=[v.event(self.rows) for v in values])
        outcome, more = self.attempt(plan)
        if op is None:
            return
        if outcome == 'ok' and plan.kind == 'async':
            outcome = 'info'        # a crash may take it back
        if outcome == 'ok':
            self.note(values)
        self.load.history.event(self.name, outcome, 'send', op, **more)

    def attempt(self, plan):
        """Outcome of the transaction: ok, fail or info (unknown)."""
        committing = False
        try:
            if plan.block:
                self.conn.query('BEGIN')
            committing = not plan.block
            for kind, what in plan.steps:
                self.do(kind, what)
            committing = committing or plan.commit
            if plan.block:
                self.conn.query('COMMIT' if plan.commit else 'ROLLBACK')
            if plan.block and plan.commit and self.conn.tag != 'COMMIT':
                return 'fail', {'why': self.conn.tag}
            return ('ok', self.ranges(plan)) if plan.commit else ('fail', {'why': 'rollback'})
        except pq.PgError as e:
            if not e.lost:
                self.clean_up()
            elif self.conn:
                self.disconnect()
            unknown = committing and e.lost
            return 'info' if unknown else 'fail', {'error': e.as_dict()}

    def clean_up(self):
        try:
            self.conn.query('ROLLBACK')
        except pq.PgError:
            self.disconnect()

    def do(self, kind, what):
        if kind == 'sql':
            self.conn.query(what)
        elif kind == 'caught':
            try:
                self.conn.query(what)
            except pq.PgError as e:
                if e.lost:
                    raise
        elif kind == 'send':
            v = what[0]
            self.conn.query('SELECT * FROM mq.produce($1, $2::text, $3, partition => $4)',
                            v.topic, v.text(), v.key, v.partition)
            self.insert_rows(what)
        elif kind == 'batch':
            self.conn.query('SELECT * FROM mq.produce_batch($1, $2, $3)', what[0].topic,
                            pq.array(v.text() for v in what), pq.array(v.key for v in what))
            self.insert_rows(what)
        elif kind == 'solo':
            self.send_solo(what[0])

    def insert_rows(self, values):
        if self.rows:
            self.conn.query('INSERT INTO mq_check_rows SELECT unnest($1::text[])',
                            pq.array(v.id for v in values))

    def send_solo(self, v):
        """A send that takes effect at once, whatever becomes of the transaction."""
        history = self.load.history
        op = history.begin(self.name, 'send', plan='solo', values=[v.event(False)])
        try:
            rows = self.conn.query('SELECT partition, msg_offset FROM mq.produce($1, $2::text, $3,'
                                   ' partition => $4, transactional => false)',
                                   v.topic, v.text(), v.key, v.partition)
        except pq.PgError as e:
            # a cancel may come after the append
            known = not e.lost and e.sqlstate != '57014'
            history.event(self.name, 'fail' if known else 'info', 'send', op,
                          error=e.as_dict())
            raise
        self.note([v])
        at = [[v.id, int(p), int(o)] for p, o in rows if o is not None]
        history.event(self.name, 'ok', 'send', op, at=at)

    def ranges(self, plan):
        """The offsets the server says it gave, for some transactions."""
        if self.rng.random() > 0.3 or any(k == 'solo' for k, _ in plan.steps):
            return {}
        try:
            rows = self.conn.query('SELECT topic, partition, base_offset, last_offset'
                                   ' FROM mq.last_produced()')
        except pq.PgError as e:
            if not e.lost:
                raise
            self.disconnect()
            return {}
        return {'ranges': [[t, int(p), int(a), int(b)] for t, p, a, b in rows]}

    def note(self, values):
        """Acknowledged: on disk before anyone counts on it."""
        lines = ['%s %s %s\n' % (v.id, v.crc, v.topic) for v in values if v.fate == 'keep']
        self.acked.write(''.join(lines))
        self.acked.flush()
        os.fdatasync(self.acked.fileno())
        self.load.count(len(lines))


class Consumer(Client):
    FETCH = ('SELECT msg_offset, key, value FROM mq.fetch_text($1, $2, $3, $4, $5)',
             "SELECT msg_offset, convert_from(key, 'UTF8'), convert_from(value, 'UTF8')"
             ' FROM mq.fetch($1, $2, $3, $4, $5)')

    def __init__(self, load, number):
        super().__init__(load, 'c%d' % number)
        self.sql = self.FETCH[number % 2]
        self.partitions = [(t, p) for t in sorted(load.topics) for p in range(load.topics[t])]
        self.positions = {tp: 0 for tp in self.partitions}
        self.idle = 0

    def step(self):
        if self.rng.random() < 0.1:
            return self.look(self.rng.choice(sorted(self.load.topics)))
        topic, partition = self.rng.choice(self.partitions)
        position = self.positions[(topic, partition)]
        seek = position > 0 and self.rng.random() < 0.03
        if seek:
            position = self.rng.randrange(position)
        got = self.poll(topic, partition, position, seek)
        # a reader that found nothing in a row leaves the processor to the others
        self.idle = 0 if got else self.idle + 1
        if self.idle > 2 * len(self.partitions):
            self.load.stopping.wait(0.01)

    def attempt(self, f, sql, params, **invoke):
        op = self.load.history.begin(self.name, f, server=self.load.server, **invoke)
        try:
            return op, self.conn.query(sql, *params)
        except pq.PgError as e:
            self.load.history.event(self.name, 'fail', f, op, error=e.as_dict())
            if e.lost:
                self.disconnect()
            return op, None

    def poll(self, topic, partition, position, seek):
        limit = self.rng.choice((1, 7, 100, 1000))
        size = self.rng.choice((1000, 65536, 1048576))
        op, rows = self.attempt('poll', self.sql, (topic, partition, position, limit, size),
                                topic=topic, partition=partition, seek=seek,
                                **{'from': position})
        if rows is None:
            return False
        msgs = [decode(*row) for row in rows]
        self.load.history.event(self.name, 'ok', 'poll', op, msgs=msgs)
        self.positions[(topic, partition)] = msgs[-1][0] + 1 if msgs else position
        return bool(msgs)

    def look(self, topic):
        op, rows = self.attempt('offsets', 'SELECT topic, partition, earliest, latest,'
                                ' last_stable FROM mq.offsets($1)', (topic,), topic=topic)
        if rows is not None:
            self.load.history.event(self.name, 'ok', 'offsets', op,
                                    rows=[[r[0]] + [int(x) for x in r[1:]] for r in rows])


class Load:
    """The clients of one run, as threads."""

    def __init__(self, conninfo, out, seed, topics=None, plain=False, server='main',
                 without=()):
        os.makedirs(out, exist_ok=True)
        self.without = ('solo', 'async') if plain else without      # kinds of Plan
        self.conninfo, self.out, self.seed = conninfo, out, seed
        self.topics = topics or TOPICS
        self.plain = plain          # against stub.sql
        self.server = server
        self.history = History(os.path.join(out, 'history.jsonl'))
        self.stopping = threading.Event()
        self.acked = 0
        self.changed = threading.Condition()
        self.clients = []

    def create(self):
        """Topics and tables, once."""
        conn = pq.Connection(self.conninfo)
        for topic, partitions in sorted(self.topics.items()):
            conn.query('SELECT mq.create_topic($1, $2, $3)', topic, partitions,
                       json.dumps({'segment.bytes': '65536'}))
        conn.query('CREATE TABLE mq_check_rows (id text)')
        conn.query('CREATE TABLE mq_check_conflict AS'
                   ' SELECT id, 0 AS n FROM generate_series(0, 3) id')
        conn.close()

    def start(self, producers=4, consumers=3):
        self.clients = [Producer(self, n) for n in range(producers)] + \
            [Consumer(self, n) for n in range(consumers)]
        for client in self.clients:
            client.start()

    def count(self, n):
        with self.changed:
            self.acked += n
            self.changed.notify_all()

    def wait_acked(self, more, timeout):
        """Waits until so many more values are acknowledged; False if they aren't."""
        end = time.monotonic() + timeout
        with self.changed:
            goal = self.acked + more
            while self.acked < goal:
                left = end - time.monotonic()
                if left <= 0 or any(c.error for c in self.clients):
                    return False
                self.changed.wait(min(left, 0.5))
        return True

    def stop(self, timeout=60):
        """False if a client hangs or had a bug."""
        self.stopping.set()
        end = time.monotonic() + timeout
        for client in self.clients:
            client.join(max(0.1, end - time.monotonic()))
        return not any(c.is_alive() or c.error for c in self.clients)


def final(history, conninfo, topics, server='main', timeout=30):
    """Reads everything from start to end; damage ends a partition's reading."""
    conn = pq.Connection(conninfo)
    for topic in sorted(topics):
        for partition, start, end in wait_stable(conn, topic, timeout):
            final_partition(history, conn, server, topic, partition, start, end)
    op = history.begin('final', 'rows', server=server)
    ids = [r[0] for r in conn.query('SELECT id FROM mq_check_rows')]
    history.event('final', 'ok', 'rows', op, ids=ids)
    conn.close()


def wait_stable(conn, topic, timeout):
    """Everything is decided once the last stable offset has reached the end."""
    end = time.monotonic() + timeout
    while True:
        rows = conn.query('SELECT partition, earliest, last_stable, latest FROM mq.offsets($1)'
                          ' ORDER BY 1', topic)
        if all(r[2] == r[3] for r in rows) or time.monotonic() > end:
            return [tuple(int(x) for x in r[:3]) for r in rows]
        time.sleep(0.01)


def final_partition(history, conn, server, topic, partition, start, end):
    position, done = start, False
    while not done:
        op = history.begin('final', 'final', server=server, topic=topic, partition=partition,
                           **{'from': position})
        try:
            rows = conn.query(Consumer.FETCH[0], topic, partition, position, 5000, 16777216)
        except pq.PgError as e:
            history.event('final', 'fail', 'final', op, error=e.as_dict())
            if e.lost:
                raise
            return
        msgs = [decode(*row) for row in rows]
        position = msgs[-1][0] + 1 if msgs else position
        done = not msgs or position >= end
        history.event('final', 'ok', 'final', op, msgs=msgs, done=done, start=start, end=end)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('command', choices=('load', 'final'))
    parser.add_argument('--conninfo', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--seed', default='1')
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--stop-file')
    parser.add_argument('--create', action='store_true')
    parser.add_argument('--server', default='main')
    args = parser.parse_args()
    load = Load(args.conninfo, args.out, args.seed, server=args.server)
    if args.command == 'final':
        final(load.history, args.conninfo, load.topics, args.server)
        return 0
    if args.create:
        load.create()
    end = time.monotonic() + args.seconds if args.seconds else float('inf')
    load.start()
    while time.monotonic() < end and not any(c.error for c in load.clients) and \
            not (args.stop_file and os.path.exists(args.stop_file)):
        load.stopping.wait(0.1)
    fine = load.stop()
    print('acknowledged %d' % load.acked)
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
