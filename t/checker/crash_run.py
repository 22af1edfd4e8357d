#!/usr/bin/python3
"""crash_run.py: load, crashes, and the checker's verdict.

  crash_run.py --mode MODE [--rounds N] [--seed N] [--seconds S] [options]

MODE is what happens in a round, once the load has got on:
  kill9      kill -9 of the postmaster and all its children
  segments, wal, all, random
             the same, then a power cut (t/shim/mq_powercut)
  powercut   one of these four in turn
  backend    kill -9 of one backend of the load
  worker     kill -9 of one of the extension's workers
  stop       SIGSTOP of a worker while the load goes on, then SIGCONT
  mix        any of these

A server of its own runs in a scratch folder, with small segments, a tiny
transaction buffer and a checkpoint every 0.1 to 0.4 s.  After every 25 rounds,
and at the end, everything is read and judged, and a new cluster begins.

Prints its seed and a command that repeats the run, as far as the load goes;
what happens between processes is never the same twice.  Exit status 0: fine,
1: a promise was broken (data directory, history and logs are kept), 2: the run
itself failed, 77: it cannot be done here, and why.
"""
import argparse
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = os.path.join(os.path.dirname(HERE), 'shim')
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import checker          # noqa: E402
import pq               # noqa: E402
import workload         # noqa: E402

EPOCH = 25
CUTS = ('segments', 'wal', 'random', 'all')
MODES = ('kill9', 'backend', 'worker', 'stop', 'powercut', 'mix') + CUTS
# Nothing we do explains these lines of the server's log.
BAD_LOG = re.compile(r'PANIC|TRAP:|terminated by signal (?!9\b)\d|XX00[0-2]')
SETTINGS = '''
listen_addresses = ''
unix_socket_directories = '%(socket)s'
log_line_prefix = '%%m [%%p] %%b %%e '
fsync = on
wal_sync_method = fdatasync
shared_buffers = 16MB
max_connections = 40
min_wal_size = 4MB
max_wal_size = 16MB
checkpoint_timeout = 30s
checkpoint_completion_target = 0.1
deadlock_timeout = 20ms
restart_after_crash = on
autovacuum_naptime = 2s
'''
EXTENSION_SETTINGS = '''
shared_preload_libraries = 'mq_ext'
mq.transaction_buffer = '64kB'
'''


class Skip(Exception):
    """The run cannot be done here."""


class Broken(Exception):
    """The run itself, or the server, did not do what it must."""


def bindir():
    config = os.environ.get('PG_CONFIG', 'pg_config')
    try:
        return subprocess.run([config, '--bindir'], stdout=subprocess.PIPE,
                              check=True).stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        raise Skip('no pg_config')


def wait_until(condition, what, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise Broken('timed out: %s' % what)
        time.sleep(0.005)


def processes():
    """pid -> (state, parent)"""
    found = {}
    for path in glob.glob('/proc/[0-9]*/stat'):
        try:
            with open(path) as f:
                head, tail = f.read().rsplit(')', 1)
        except (OSError, ValueError):
            continue
        fields = tail.split()
        found[int(head.split(' ', 1)[0])] = (fields[0], int(fields[1]))
    return found


class Server:
    """One cluster, its postmaster our own child."""

    def __init__(self, root, args, rng):
        self.root = root
        self.args = args
        self.bin = bindir()
        self.data = os.path.join(root, 'data')
        self.shim = os.path.join(root, 'shim')
        self.log = os.path.join(root, 'server.log')
        self.conninfo = 'host=%s dbname=postgres connect_timeout=30' % root
        self.process = None
        self.library = None
        self.rng = rng
        self.sync_us = rng.choice((0, 300, 2000))

    def init(self):
        subprocess.run([os.path.join(self.bin, 'initdb'), '-D', self.data, '-A', 'trust', '-N',
                        '-E', 'UTF8', '--locale=C', '--wal-segsize=1', '-U', 'postgres'],
                       stdout=subprocess.DEVNULL, check=True)
        self.conninfo += ' user=postgres'
        with open(os.path.join(self.data, 'postgresql.conf'), 'a') as f:
            f.write(SETTINGS % {'socket': self.root})
            f.write('' if self.args.plain else EXTENSION_SETTINGS)
            for line in self.args.conf:
                f.write('%s\n' % line)
        if not self.args.no_shim:
            self.build_shim()
            self.powercut('init')

    def build_shim(self):
        self.library = os.path.join(self.root, 'mq_shim.so')
        try:
            subprocess.run([os.environ.get('CC', 'cc'), '-O2', '-shared', '-fPIC', '-o',
                            self.library] + sorted(glob.glob(SHIM + '/mq_shim*.c')) + ['-ldl'],
                           check=True)
        except OSError:
            raise Skip('no C compiler for the shim')

    def powercut(self, command, *args):
        out = subprocess.run([sys.executable, os.path.join(SHIM, 'mq_powercut'), command,
                              '--data', self.data, '--shim', self.shim, *args],
                             stdout=subprocess.PIPE)
        if out.returncode != 0:
            raise Broken('mq_powercut %s failed' % command)
        return json.loads(out.stdout.decode())

    def spawn(self):
        env = dict(os.environ)
        if self.library:
            env.update(LD_PRELOAD=self.library, MQ_SHIM_DATA=self.data, MQ_SHIM_DIR=self.shim,
                       MQ_SHIM_SYNC_US=str(self.sync_us))
        command = [os.path.join(self.bin, 'postgres'), '-D', self.data]
        if not self.args.plain:
            # appends straight into the files, by way of few buffers, of many
            command += ['-c', 'mq.append_buffers=' + self.rng.choice(('0', '100kB', '8MB'))]
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(
                command, env=env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def start(self):
        self.spawn()
        self.wait_ready()

    def connects(self):
        try:
            pq.Connection(self.conninfo).close()
            return True
        except pq.PgError:
            if self.process.poll() is not None:
                raise Broken('the server does not start; its log ends: %s' % self.log_tail())
            return False

    def wait_ready(self, timeout=60):
        wait_until(self.connects, 'the server accepts connections', timeout)

    def log_tail(self, lines=8):
        with open(self.log, errors='replace') as f:
            return ' | '.join(f.read().split('\n')[-lines:])

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def log_since(self, position):
        with open(self.log, 'rb') as f:
            f.seek(position)
            return f.read().decode(errors='replace')

    def crash(self):
        """kill -9 of all; the postmaster is stopped first, so that it starts no new ones."""
        postmaster = self.process.pid
        os.kill(postmaster, signal.SIGSTOP)
        children = [p for p, (_, parent) in processes().items() if parent == postmaster]
        for pid in children + [postmaster]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None

        def gone():
            now = processes()
            return all(p not in now or now[p][0] in 'ZX' for p in children)
        wait_until(gone, 'all processes are dead')

    def stop(self):
        """A fast shutdown; kill -9 if that fails."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
            return True
        except subprocess.TimeoutExpired:
            self.crash()
            return False

    def pids(self, where):
        conn = pq.Connection(self.conninfo)
        try:
            return [int(r[0]) for r in conn.query(
                'SELECT pid FROM pg_stat_activity WHERE %s ORDER BY pid' % where)]
        finally:
            conn.close()


class Checkpoints(threading.Thread):
    """CHECKPOINT every 0.1 to 0.4 s while there is a server."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.rng = server, random.Random('%s/checkpoints' % seed)
        self.stopping = threading.Event()
        self.done = 0

    def run(self):
        conn = None
        while not self.stopping.wait(self.rng.uniform(0.1, 0.4)):
            try:
                conn = conn or pq.Connection(self.server.conninfo +
                                             ' application_name=mq_checkpoints')
                conn.query('CHECKPOINT')
                self.done += 1
            except pq.PgError:
                if conn:
                    conn.close()
                conn = None


class Epoch:
    """The rounds of one cluster, from initdb to the verdict."""

    def __init__(self, root, args, seed, rounds, deadline):
        self.args, self.seed, self.rounds, self.deadline = args, seed, rounds, deadline
        self.rng = random.Random('%s/rounds' % seed)
        self.server = Server(root, args, self.rng)
        self.out = os.path.join(root, 'run')
        self.done = 0
        self.load = None

    def run(self):
        """The verdict."""
        try:
            self.prepare()
            checkpoints = Checkpoints(self.server, self.seed)
            self.load.start()
            checkpoints.start()
            try:
                self.all_rounds()
                self.get_on(20)
                hung = None
            except Broken as e:
                hung = str(e)
            checkpoints.stopping.set()
            if not self.load.stop():
                hung = 'a client hangs or failed: %s' % [c.error for c in self.load.clients]
            verdict = self.verdict(hung)
            verdict['checkpoints'] = checkpoints.done
            return verdict
        finally:
            if self.load:
                self.load.stopping.set()
            self.server.stop()

    def prepare(self):
        self.server.init()
        self.server.start()
        conn = pq.Connection(self.server.conninfo)
        if self.args.plain:
            with open(os.path.join(HERE, 'stub.sql')) as f:
                sql = f.read()
            conn.query('DO $do$ BEGIN %s END $do$' % ' '.join(
                'EXECUTE $q$%s$q$;' % s for s in re.split(r';\n\n', sql)))
        else:
            conn.query('CREATE EXTENSION mq_ext')
        if self.args.faults:
            if not conn.query("SELECT 1 FROM pg_settings WHERE name = 'mq.faults'"):
                raise Skip('the installed build has no fault points (make MQ_FAULTS=1)')
            conn.query("ALTER SYSTEM SET mq.faults = '%s'" % self.args.faults)
            conn.query('SELECT pg_reload_conf()')
        conn.close()
        self.load = workload.Load(self.server.conninfo, self.out, self.seed,
                                  plain=self.args.plain)
        self.load.create()

    def get_on(self, acks):
        if not self.load.wait_acked(acks, 10 if self.args.expect else 90):
            errors = [c.error for c in self.load.clients if c.error]
            raise Broken('the load does not get on: %s' %
                         (errors or self.server.log_tail()))

    def all_rounds(self):
        for n in range(self.rounds):
            if time.monotonic() > self.deadline:
                break
            mode = self.args.mode
            if mode == 'powercut':
                mode = CUTS[n % len(CUTS)]
            elif mode == 'mix':
                mode = self.rng.choice(CUTS + ('kill9', 'kill9', 'backend', 'worker', 'stop'))
            self.get_on(20 + self.rng.randrange(200))
            self.load.history.mark(mode, round=n)
            getattr(self, 'round_' + mode, self.round_cut)(mode)
            self.done += 1

    def round_kill9(self, mode):
        self.server.crash()
        self.restart(mode)

    def round_cut(self, mode):
        self.server.crash()
        self.cut(mode)
        self.restart(mode)

    def cut(self, mode):
        if mode in CUTS:
            seed = self.rng.randrange(1 << 30)
            wal = ['--wal'] if self.rng.random() < 0.5 else []
            lost = self.server.powercut('cut', '--mode', mode, '--seed', str(seed), *wal)
            self.load.history.mark('cut', **lost)

    def restart(self, mode):
        """Starts again; one time in four recovery is killed, too."""
        while self.rng.random() < 0.25:
            size = self.server.log_size()
            self.server.spawn()
            wait_until(lambda: re.search(r'redo starts at|ready to accept',
                                         self.server.log_since(size)) or
                       self.server.process.poll() is not None, 'recovery begins')
            if self.server.process.poll() is not None:
                raise Broken('the server does not start: %s' % self.server.log_tail())
            self.load.history.mark('kill in recovery')
            self.server.crash()
            self.cut(mode)
        self.server.start()

    def one_pid(self, where, what):
        """A process to be hurt; some are always there, some only now and then."""
        found = []

        def look():
            try:
                found[:] = self.server.pids(where)
            except pq.PgError:
                pass
            return found
        wait_until(look, what)
        return self.rng.choice(found)

    def round_backend(self, mode):
        pid = self.one_pid("application_name LIKE 'mq\\_load%'", 'there is a backend')
        self.kill_one(pid)

    def round_worker(self, mode):
        self.kill_one(self.one_pid(self.worker(), 'there is a worker'))

    def worker(self):
        """Which processes are workers: one kind after the other."""
        if self.args.plain:
            return "application_name LIKE 'mq\\_load\\_c%'"
        conn = pq.Connection(self.server.conninfo)
        kinds = conn.query("SELECT DISTINCT backend_type FROM pg_stat_activity"
                           " WHERE backend_type LIKE 'mq%' ORDER BY 1")
        conn.close()
        if not kinds:
            raise Broken('no worker of the extension runs')
        return "backend_type = '%s'" % kinds[self.done % len(kinds)][0]

    def kill_one(self, pid):
        size = self.server.log_size()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return              # it ended by itself
        wait_until(lambda: 'terminated by signal 9' in self.server.log_since(size),
                   'the postmaster notices')
        self.server.wait_ready()

    def round_stop(self, mode):
        pid = self.one_pid(self.worker(), 'there is a worker')
        try:
            os.kill(pid, signal.SIGSTOP)
            # it may have stopped with a lock of the server's: others then wait
            # for it, as they would for any of the server's own processes
            time.sleep(self.args.stop_seconds)
        finally:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.get_on(1)

    def verdict(self, hung):
        """Reads everything on the healed server and asks the checker."""
        problems = [hung] if hung else []
        was_read = False
        try:
            if self.server.process is None or self.server.process.poll() is not None:
                self.server.start()
            self.server.wait_ready()
            workload.final(self.load.history, self.server.conninfo, self.load.topics)
            was_read = True
        except (Broken, pq.PgError) as e:
            problems.append('the final read failed: %s' % e)
        if not self.server.stop():
            problems.append('a fast shutdown did not end')
        history = checker.History()
        history.load([os.path.join(self.out, 'history.jsonl')])
        history.load_acked(sorted(glob.glob(os.path.join(self.out, 'acked.*'))))
        verdict = checker.judge(history)
        log = [line for line in self.server.log_since(0).split('\n') if BAD_LOG.search(line)]
        if log:
            verdict['violations']['server log'] = {'count': len(log), 'first': log[:20]}
        if problems:
            verdict['violations']['run'] = {'count': len(problems), 'first': problems}
        verdict['ok'] = not verdict['violations']
        verdict['rounds'] = self.done
        verdict['was_read'] = was_read
        with open(os.path.join(self.out, 'verdict.json'), 'w') as f:
            json.dump(verdict, f, indent=1, default=str)
        return verdict


def repeat_command(args):
    words = ['t/checker/crash_run.py', '--mode', args.mode, '--rounds', args.rounds,
             '--seed', args.seed]
    for name in ('faults', 'expect'):
        if getattr(args, name):
            words += ['--' + name, "'%s'" % getattr(args, name)]
    for name in ('plain', 'no_shim'):
        if getattr(args, name):
            words += ['--' + name.replace('_', '-')]
    for line in args.conf:
        words += ['--conf', "'%s'" % line]
    return ' '.join(str(w) for w in words)


def run(args):
    """Exit status."""
    deadline = time.monotonic() + args.seconds if args.seconds else float('inf')
    root = args.dir or tempfile.mkdtemp(prefix='mq_run.')
    done, number, code = 0, 0, 0
    while done < args.rounds and time.monotonic() < deadline:
        folder = os.path.join(root, str(number))
        os.mkdir(folder)
        epoch = Epoch(folder, args, '%s/%d' % (args.seed, number),
                      min(3 if args.expect else EPOCH, args.rounds - done), deadline)
        try:
            verdict = epoch.run()
        except Skip:
            shutil.rmtree(root, ignore_errors=True)
            raise
        except (Broken, pq.PgError, checker.BadInput) as e:
            print('broken: %s' % e)
            code = 2
            break
        print('rounds %d to %d, %d checkpoints' % (done + 1, done + verdict['rounds'],
                                                   verdict['checkpoints']))
        checker.report(verdict)
        sys.stdout.flush()
        done += max(verdict['rounds'], 1)
        number += 1
        if args.expect:
            # a server that does not come up has not shown what was expected
            code = 0 if verdict['was_read'] and args.expect in verdict['violations'] else 1
            if code == 0:
                print('as expected: %s' % args.expect)
                break
        elif not verdict['ok']:
            code = 1
            break
        shutil.rmtree(folder)
    if code == 0 and not args.keep:
        shutil.rmtree(root, ignore_errors=True)
    else:
        print('kept: %s' % root)
        print('repeat: %s' % repeat_command(args))
    return code


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--mode', choices=MODES, required=True)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seed', type=int, default=None)
    parser.add_argument('--seconds', type=float, help='begin no round after this time')
    parser.add_argument('--stop-seconds', type=float, default=1, help='length of a SIGSTOP')
    parser.add_argument('--conf', action='append', default=[], help='more for postgresql.conf')
    parser.add_argument('--faults', help='arm fault points after the start')
    parser.add_argument('--expect', help='the rule that must be violated (negative control)')
    parser.add_argument('--no-shim', action='store_true', help='only for modes without a cut')
    parser.add_argument('--plain', action='store_true', help='no extension: stub.sql')
    parser.add_argument('--dir', help='scratch folder, not made by mktemp')
    parser.add_argument('--keep', action='store_true', help='keep it in any case')
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 30)
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
