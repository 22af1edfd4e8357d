#!/usr/bin/python3
"""standby_run.py: a standby under load, and the checker's verdict.

  standby_run.py [--rounds N] [--seed N] [--seconds S] [options]

Clients write to a primary and read from it, others read from its synchronous
standby all the while, so that the checker compares what the two answer.  In
each round the standby gets kill -9 and comes back, sometimes with another one
during its recovery; in every third, and in the last one, the primary gets
kill -9 under load, the standby is promoted, and a new standby is made of it by
a base backup.  A value that was acknowledged must outlive all of that.

Prints its seed and a command that repeats the run.  Exit status as that of
crash_run.py.
"""
import argparse
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import checker              # noqa: E402
import crash_run            # noqa: E402
import pq                   # noqa: E402
import workload             # noqa: E402
from crash_run import Broken, Skip, wait_until      # noqa: E402

EPOCH = 12
CONF = ["synchronous_standby_names = '*'", "wal_keep_size = '512MB'",
        'wal_receiver_status_interval = 1s', 'wal_retrieve_retry_interval = 50ms',
        'hot_standby_feedback = off']
# What a failover may take back: commits that waited for no standby, or whose
# wait was cancelled.
WITHOUT = ('async', 'timeout')


class Pair(crash_run.Epoch):
    """The rounds of one primary, its standby and their successors."""

    def prepare(self):
        self.root = self.server.root
        self.servers = [self.server]
        self.server.init()
        self.server.start()
        local = self.server.conninfo + " options='-c synchronous_commit=local'"
        conn = pq.Connection(local)
        conn.query('CREATE EXTENSION mq_ext')
        conn.close()
        self.load = workload.Load(local, self.out, self.seed, server='main0', without=WITHOUT)
        self.load.create()
        self.load.conninfo = self.server.conninfo
        self.readers = []
        self.new_standby()

    def new_standby(self):
        """A base backup of the primary, started, and readers of it."""
        number = len(self.servers)
        root = os.path.join(self.root, 's%d' % number)
        os.mkdir(root)
        standby = crash_run.Server(root, self.args, self.rng)
        standby.conninfo += ' user=postgres'
        done = subprocess.run([os.path.join(standby.bin, 'pg_basebackup'), '-D', standby.data,
                               '-c', 'fast', '-R', '-X', 'stream', '-d', self.server.conninfo],
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise Broken('pg_basebackup failed: %s' % done.stderr.decode())
        with open(os.path.join(standby.data, 'postgresql.conf'), 'a') as f:
            f.write("unix_socket_directories = '%s'\n" % root)
        standby.start()
        self.standby = standby
        self.servers.append(standby)
        view = copy.copy(self.load)
        view.conninfo, view.server = standby.conninfo, 'standby%d' % number
        view.stopping = self.load.stopping
        for n in range(2):
            reader = workload.Consumer(view, 10 * number + n)
            reader.start()
            self.readers.append(reader)
            self.load.clients.append(reader)

    def all_rounds(self):
        for n in range(self.rounds):
            if time.monotonic() > self.deadline:
                break
            self.get_on(20 + self.rng.randrange(200))
            self.load.history.mark('kill standby', round=n)
            self.kill_standby()
            if n % 3 == 2 or n == self.rounds - 1:
                self.get_on(20 + self.rng.randrange(200))
                self.load.history.mark('promote', round=n)
                self.promote()
            self.done += 1

    def kill_standby(self):
        self.standby.crash()
        while self.rng.random() < 0.25:
            self.standby.spawn()
            time.sleep(self.rng.uniform(0.02, 0.3))     # anywhere in its recovery
            if self.standby.process.poll() is not None:
                raise Broken('the standby does not start: %s' % self.standby.log_tail())
            self.standby.crash()
        self.standby.start()

    def promote(self):
        self.server.crash()
        # what only the old one had shown, ends of the log of aborted transactions, may go back
        self.load.server = 'main%d' % len(self.servers)
        old, self.server = self.server, self.standby
        conn = pq.Connection(self.server.conninfo)
        if conn.query('SELECT pg_promote(true, 60)')[0][0] != 't':
            raise Broken('the standby was not promoted: %s' % self.server.log_tail())
        conn.close()
        for reader in self.readers:
            reader.load.conninfo = 'host=/nowhere'      # it stays where it is, if at all
        shutil.rmtree(old.data)
        self.load.conninfo = self.server.conninfo
        self.new_standby()
        self.get_on(20)

    def verdict(self, hung):
        """Also reads everything on the standby, once it has all."""
        problems = []
        try:
            self.catch_up()
            workload.final(self.load.history, self.standby.conninfo, self.load.topics,
                           server='standby')
        except (Broken, pq.PgError) as e:
            problems.append('the final read of the standby failed: %s' % e)
        verdict = super().verdict(hung)
        for server in self.servers:
            if server is not self.server:
                server.stop()
                problems += [line for line in server.log_since(0).split('\n')
                             if crash_run.BAD_LOG.search(line)]
        if problems:
            verdict['violations']['standby'] = {'count': len(problems), 'first': problems[:20]}
            verdict['ok'] = False
        return verdict

    def catch_up(self):
        primary, standby = (pq.Connection(s.conninfo) for s in (self.server, self.standby))
        end = primary.query('SELECT pg_current_wal_insert_lsn()')[0][0]
        wait_until(lambda: standby.query('SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn',
                                         end)[0][0] == 't', 'the standby has replayed all')
        primary.close()
        standby.close()

    def run(self):
        try:
            return super().run()
        finally:
            for server in getattr(self, 'servers', []):
                server.stop()


def repeat_command(args):
    return 't/checker/standby_run.py --rounds %d --seed %d' % (args.rounds, args.seed)


def run(args):
    deadline = time.monotonic() + args.seconds if args.seconds else float('inf')
    root = args.dir or tempfile.mkdtemp(prefix='mq_run.')
    done, number, code = 0, 0, 0
    while done < args.rounds and time.monotonic() < deadline and code == 0:
        folder = os.path.join(root, str(number))
        os.mkdir(folder)
        try:
            pair = Pair(folder, args, '%s/%d' % (args.seed, number),
                        min(EPOCH, args.rounds - done), deadline)
            verdict = pair.run()
        except (Broken, pq.PgError, checker.BadInput) as e:
            print('broken: %s' % e)
            code = 2
            break
        print('rounds %d to %d, %d servers' % (done + 1, done + verdict['rounds'],
                                               len(pair.servers)))
        checker.report(verdict)
        sys.stdout.flush()
        done += max(verdict['rounds'], 1)
        number += 1
        if not verdict['ok']:
            code = 1
            break
        shutil.rmtree(folder)
    if code == 0:
        shutil.rmtree(root, ignore_errors=True)
    else:
        print('kept: %s' % root)
        print('repeat: %s' % repeat_command(args))
    return code


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seed', type=int, default=None)
    parser.add_argument('--seconds', type=float, help='begin no round after this time')
    parser.add_argument('--dir', help='scratch folder, not made by mktemp')
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 30)
    # what crash_run's classes ask for
    args.mode, args.plain, args.no_shim, args.faults, args.expect = 'standby', False, True, None, None
    args.conf = CONF
    print('seed %d; repeat: %s' % (args.seed, repeat_command(args)))
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        if os.geteuid() == 0:
            raise Skip('PostgreSQL refuses root')
        return run(args)
    except Skip as e:
        print('skip: %s' % e)
        return 77


if __name__ == '__main__':
    sys.exit(main())
