#!/usr/bin/python3
"""soak.py: hours of load, after which everything must be as large as before.

  soak.py [--seconds N] [--seed N] [--dir DIR]

The load of crash_run.py without its crashes, sessions that wait, and topics
that are dropped and made again, so that the log does not fill the disk.  All
the while it looks at each process (memory of its own, open descriptors, those
of files that were removed), at the files of pg_mq beside what the server says
there is, and at the shared memory.  What was usual in the second quarter of
the time must be usual in the last one.  Prints a line a minute; samples.tsv
has all.  Exit status as that of crash_run.py.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import crash_run            # noqa: E402
import pq                   # noqa: E402
import workload             # noqa: E402
from crash_run import Broken, Skip      # noqa: E402

# How much more than in the second quarter the last one may have: a share, or so much.
LIMITS = {'memory kB': (0.1, 4096), 'descriptors': (0.1, 40), 'removed files': (0.1, 20),
          'other files': (0.1, 40), 'shared memory kB': (0, 0)}
RETENTION = '4194304'


class Reader(workload.Consumer):
    """A consumer that begins again where the log has been cut or made anew."""

    def attempt(self, f, sql, params, **invoke):
        op, rows = super().attempt(f, sql, params, **invoke)
        if rows is None and f == 'poll':
            self.positions[(invoke['topic'], invoke['partition'])] = 0
            self.load.stopping.wait(0.01)
        return op, rows


class Sleeper(workload.Client):
    """A session that waits for messages, again and again."""

    def step(self):
        try:
            self.conn.query("CALL mq.wait('{%s}', '1 s')" % ','.join(sorted(self.load.topics)))
        except pq.PgError as e:
            if e.lost:
                self.disconnect()
            self.load.stopping.wait(0.05)


class Soak:
    def __init__(self, root, args):
        self.rng = random.Random('%s/soak' % args.seed)
        self.root, self.args = root, args
        self.server = crash_run.Server(root, args, self.rng)
        self.samples = collections.defaultdict(list)    # (what, of whom) -> [(time, value)]

    def run(self):
        """What grew, as lines."""
        try:
            self.prepare()
            self.watch()
            if not self.load.stop():
                return ['a client hangs or failed: %s' % [c.error for c in self.load.clients]]
            return self.judge() + self.bad_log()
        finally:
            if hasattr(self, 'load'):
                self.load.stopping.set()
            if not self.server.stop():
                print('a fast shutdown did not end')

    def prepare(self):
        self.server.init()
        self.server.start()
        self.conn = pq.Connection(self.server.conninfo)
        self.conn.query('CREATE EXTENSION mq_ext')
        self.load = workload.Load(self.server.conninfo, os.path.join(self.root, 'run'),
                                  self.args.seed)
        self.load.history = workload.History(os.devnull)
        self.load.create()
        self.load.clients = [workload.Producer(self.load, n) for n in range(3)] + \
            [Reader(self.load, n) for n in range(3)] + \
            [Sleeper(self.load, 's%d' % n) for n in range(2)]
        for client in self.load.clients:
            client.start()

    def watch(self):
        begin = time.monotonic()
        step = max(0.5, min(10, self.args.seconds / 120))
        said = begin
        while time.monotonic() < begin + self.args.seconds:
            self.sample(time.monotonic() - begin)
            self.make_anew()
            if time.monotonic() > said + 60:
                said = time.monotonic()
                print('%5d s: %s' % (said - begin, self.summary()))
                sys.stdout.flush()
            if any(c.error for c in self.load.clients):
                raise Broken('a client failed: %s' % [c.error for c in self.load.clients])
            self.load.stopping.wait(step)

    def make_anew(self):
        """Empties the topics that have grown: dropped, and made again."""
        for topic, size in self.conn.query('SELECT topic, size_bytes FROM mq.topics'):
            if int(size) < int(RETENTION) * self.load.topics[topic]:
                continue
            self.conn.query('TRUNCATE mq_check_rows')
            try:
                self.conn.query('SELECT mq.drop_topic($1)', topic)
                self.conn.query('SELECT mq.create_topic($1, $2, $3)', topic,
                                str(self.load.topics[topic]), '{"segment.bytes": 65536}')
            except pq.PgError as e:
                if e.lost or e.sqlstate != '40P01':
                    raise

    def note(self, what, whom, at, value):
        self.samples[(what, whom)].append((at, value))
        self.table.write('%.1f\t%s\t%s\t%d\n' % (at, what, whom, value))

    def sample(self, at):
        if not hasattr(self, 'table'):
            self.table = open(os.path.join(self.root, 'samples.tsv'), 'w', buffering=1)
        for pid, kind, name in self.conn.query(
                'SELECT pid, backend_type, application_name FROM pg_stat_activity'
                " WHERE backend_type <> 'autovacuum worker'"):
            self.look_at(pid, name if kind == 'client backend' else kind, at)
        self.look_at(str(self.server.process.pid), 'postmaster', at)
        shown = self.conn.query('SELECT count(*) FROM mq.segments')[0][0]
        files = sum(len(names) for _, _, names in os.walk(os.path.join(self.server.data, 'pg_mq')))
        self.note('other files', 'pg_mq', at, files - 2 * int(shown))
        self.note('shared memory kB', 'server', at, int(self.conn.query(
            'SELECT sum(allocated_size) / 1024 FROM pg_shmem_allocations'
            ' WHERE name IS NOT NULL')[0][0].split('.')[0]))

    def look_at(self, pid, whom, at):
        try:
            with open('/proc/%s/status' % pid) as f:
                memory = [line.split()[1] for line in f if line.startswith('RssAnon:')]
            folder = '/proc/%s/fd' % pid
            links = []
            for fd in os.listdir(folder):
                try:
                    links.append(os.readlink(os.path.join(folder, fd)))
                except OSError:
                    pass
        except OSError:
            return              # it has ended
        self.note('memory kB', whom, at, int(memory[0]))
        self.note('descriptors', whom, at, len(links))
        self.note('removed files', whom, at,
                  sum('/pg_mq/' in link and link.endswith(' (deleted)') for link in links))

    def judge(self):
        grown = []
        for (what, whom), points in sorted(self.samples.items()):
            end = self.args.seconds
            early = [v for t, v in points if end / 4 <= t < end / 2]
            late = [v for t, v in points if t >= 3 * end / 4]
            if not early or not late:
                continue
            before, after = statistics.median(early), statistics.median(late)
            share, more = LIMITS[what]
            print('%-18s %-28s %9d %9d' % (what, whom, before, after))
            if after > before + max(share * before, more):
                grown.append('%s of %s grew from %d to %d' % (what, whom, before, after))
        if len(self.samples) < 10:
            grown.append('only %d things were measured' % len(self.samples))
        return grown

    def summary(self):
        highest = collections.Counter()
        for (what, _), points in self.samples.items():
            highest[what] = max(highest[what], points[-1][1])
        return ', '.join('%s up to %d' % x for x in sorted(highest.items())) + \
            ', %d acknowledged' % self.load.acked

    def bad_log(self):
        return [line for line in self.server.log_since(0).split('\n')
                if crash_run.BAD_LOG.search(line)][:20]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--seconds', type=float, default=3 * 3600)
    parser.add_argument('--seed', type=int, default=None)
    parser.add_argument('--dir', help='scratch folder, not made by mktemp')
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 30)
    args.plain, args.no_shim, args.conf = False, True, []
    repeat = 't/checker/soak.py --seconds %d --seed %d' % (args.seconds, args.seed)
    print('seed %d; repeat: %s' % (args.seed, repeat))
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    root = args.dir or tempfile.mkdtemp(prefix='mq_run.')
    try:
        if os.geteuid() == 0:
            raise Skip('PostgreSQL refuses root')
        problems = Soak(root, args).run()
    except Skip as e:
        print('skip: %s' % e)
        shutil.rmtree(root, ignore_errors=True)
        return 77
    except (Broken, pq.PgError) as e:
        problems = ['broken: %s' % e]
    for problem in problems:
        print(problem)
    if problems:
        print('kept: %s\nrepeat: %s' % (root, repeat))
        return 1
    shutil.rmtree(root, ignore_errors=True)
    print('nothing grew')
    return 0


if __name__ == '__main__':
    sys.exit(main())
