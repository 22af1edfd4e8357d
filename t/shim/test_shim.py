#!/usr/bin/python3
"""Tests of mq_shim and mq_powercut against themselves; prints TAP.

Each case is a script run by a python that has the shim preloaded and whose
current folder is a pretended data directory; then comes the power cut, and the
tree is compared.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = [os.path.join(HERE, f) for f in
           ('mq_shim.c', 'mq_shim_state.c', 'mq_shim_faults.c')]
POWERCUT = os.path.join(HERE, 'mq_powercut')
PRELUDE = '''
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def put(path, data, at=0, sync=True):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, data, at)
    if sync: os.fsync(fd)
    os.close(fd)
def sync(path):
    fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)
def fails(call, *args):
    try: call(*args)
    except OSError as e: return errno.errorcode[e.errno]
    return None
'''


class Bench:
    """One pretended data directory and its shim folder."""

    def __init__(self, root, library):
        self.root = tempfile.mkdtemp(dir=root)
        self.data = os.path.join(self.root, 'data')
        self.shim = os.path.join(self.root, 'shim')
        self.library = library
        for sub in ('', 'pg_wal', 'pg_mq', 'base'):
            os.mkdir(os.path.join(self.data, sub))
        self.put('pg_mq/old', b'old' * 100)
        self.put('pg_wal/w1', b'\0' * 4096)
        self.powercut('init')

    def put(self, name, data):
        with open(os.path.join(self.data, name), 'wb') as f:
            f.write(data)

    def powercut(self, command, *args):
        out = subprocess.run([sys.executable, POWERCUT, command, '--data', self.data,
                              '--shim', self.shim, *args],
                             stdout=subprocess.PIPE, check=True)
        return json.loads(out.stdout)

    def control(self, text):
        path = os.path.join(self.shim, 'control')
        with open(path + '.new', 'w') as f:
            f.write(text)
        os.rename(path + '.new', path)

    def run(self, script, killed=True):
        """Runs the script under the shim and, as a rule, kills it at its end."""
        env = dict(os.environ, LD_PRELOAD=self.library, MQ_SHIM_DATA=self.data,
                   MQ_SHIM_DIR=self.shim)
        if killed:
            script += '\nsys.stdout.flush(); os.kill(os.getpid(), 9)\n'
        out = subprocess.run([sys.executable, '-S', '-B', '-c', PRELUDE + script],
                             env=env, cwd=self.data, stdout=subprocess.PIPE)
        want = -9 if killed else 0
        if out.returncode != want:
            raise AssertionError('exit %d, wanted %d' % (out.returncode, want))
        return out.stdout.decode().split()

    def tree(self, top):
        found = {}
        for base, folders, files in os.walk(os.path.join(self.data, top)):
            for name in folders:
                found[os.path.relpath(os.path.join(base, name), self.data)] = None
            for name in files:
                path = os.path.join(base, name)
                with open(path, 'rb') as f:
                    found[os.path.relpath(path, self.data)] = f.read()
        return found


def same(got, want, what=''):
    if got != want:
        def brief(x):
            return repr(x) if len(repr(x)) < 300 else repr(x)[:300] + '...'
        raise AssertionError('%s: got %s, wanted %s' % (what, brief(got), brief(want)))


OLD = {'pg_mq/old': b'old' * 100}
WAL = {'pg_wal/w1': b'\0' * 4096}


def test_synced_bytes_stay(b):
    b.run("put('pg_mq/a', b'x' * 700); put('pg_mq/a', b'y' * 50, 700, sync=False); sync('pg_mq')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/a': b'x' * 700}))


def test_overwrite_in_place_goes_back(b):
    b.run("put('pg_mq/old', b'NEW', 10, sync=False)")
    same(b.tree('pg_mq')['pg_mq/old'][10:13], b'NEW')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), OLD)


def test_later_sync_by_another_process_covers_it(b):
    b.run("put('pg_mq/old', b'NEW', 10, sync=False)")
    b.run("sync('pg_mq/old')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq')['pg_mq/old'][10:13], b'NEW')


def test_names_need_a_sync_of_the_folder(b):
    b.run("put('pg_mq/a', b'x'); os.unlink('pg_mq/old')")
    same(sorted(b.tree('pg_mq')), ['pg_mq/a'])
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), OLD)


def test_folder_synced_but_file_not(b):
    b.run("put('pg_mq/a', b'x' * 9, sync=False); sync('pg_mq')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/a': b''}))


def test_rename(b):
    b.run("put('pg_mq/next', b'seg'); sync('pg_mq'); os.rename('pg_mq/next', 'pg_mq/000')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/next': b'seg'}))
    b.run("os.rename('pg_mq/next', 'pg_mq/000'); sync('pg_mq'); put('pg_mq/000', b'ment', 3)")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/000': b'segment'}))


def test_rename_over(b):
    b.run("put('pg_mq/n', b'new'); os.rename('pg_mq/n', 'pg_mq/old')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), OLD)
    b.run("put('pg_mq/n', b'new'); os.rename('pg_mq/n', 'pg_mq/old'); sync('./pg_mq/.')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), {'pg_mq/old': b'new'})


def test_unlink_and_inode_reuse(b):
    b.run('''
for i in range(30):
    put('pg_mq/a', b'%d' % i * 600); sync('pg_mq'); os.unlink('pg_mq/a')
put('pg_mq/b', b'B' * 5, sync=False)
sync('pg_mq')''')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/b': b''}), 'a new file with an old inode')


def test_truncate(b):
    b.run('''
put('pg_mq/t', b'a' * 2000); sync('pg_mq')
fd = os.open('pg_mq/t', os.O_RDWR)
os.ftruncate(fd, 100)''')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq')['pg_mq/t'], b'a' * 2000, 'not synced')
    b.run('''
fd = os.open('pg_mq/t', os.O_RDWR)
os.ftruncate(fd, 100); os.pwrite(fd, b'z', 1500); os.fsync(fd)
os.truncate('pg_mq/t', 7)''')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq')['pg_mq/t'], b'a' * 100 + b'\0' * 1400 + b'z', 'shrunk and grown')


def test_fallocate(b):
    b.run('''
fd = os.open('pg_mq/k', os.O_RDWR | os.O_CREAT, 0o600)
assert libc.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(65536)) == 0
os.pwrite(fd, b'k' * 10, 0); os.fsync(fd)
fd = os.open('pg_mq/p', os.O_RDWR | os.O_CREAT, 0o600)
os.posix_fallocate(fd, 0, 5000); os.fsync(fd); os.pwrite(fd, b'x', 4000)
sync('pg_mq')''')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/k': b'k' * 10, 'pg_mq/p': b'\0' * 5000}))


def test_open_truncating(b):
    b.run("os.write(os.open('pg_mq/old', os.O_WRONLY | os.O_TRUNC), b'q')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), OLD)


def test_dsync_writes_are_durable(b):
    b.run('''
fd = os.open('pg_wal/w1', os.O_RDWR | os.O_DSYNC); os.pwrite(fd, b'D' * 10, 5)
fd = os.open('pg_wal/w1', os.O_RDWR); os.pwrite(fd, b'E' * 10, 500)
libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 7)''')
    b.powercut('cut', '--mode', 'wal')
    same(b.tree('pg_wal')['pg_wal/w1'], b'\0' * 5 + b'D' * 10 + b'\0' * 4081)


def test_all_ways_to_write(b):
    b.run('''
fd = os.open('pg_mq/w', os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
os.write(fd, b'ab'); os.writev(fd, [b'c', b'de'])
fd2 = os.dup(fd); os.write(fd2, b'f'); os.dup2(fd, 77); os.write(77, b'g'); os.fdatasync(77)
fd3 = os.open(os.path.join(os.getcwd(), 'pg_mq//./w'), os.O_RDWR)
os.pwritev(fd3, [b'A', b'B'], 0); os.lseek(fd3, 3, 0); os.write(fd3, b'D'); os.fsync(fd2)
os.write(fd3, b'lost'); sync('pg_mq')''')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq')['pg_mq/w'], b'ABcDefg')


def test_new_folders(b):
    b.run('''
os.makedirs('pg_mq/5/u/0'); put('pg_mq/5/u/0/s', b's')
for p in ('pg_mq/5/u/0', 'pg_mq/5', 'pg_mq'): sync(p)''')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), dict(OLD, **{'pg_mq/5': None, 'pg_mq/5/u': None}),
         'the folder of the partition was not synced in its parent')


def test_the_top_folder_itself(b):
    shutil.rmtree(os.path.join(b.data, 'pg_mq'))
    b.powercut('init')
    script = "os.mkdir('pg_mq'); put('pg_mq/a', b'x'); sync('pg_mq')"
    b.run(script)
    b.powercut('cut', '--mode', 'segments')
    same(os.path.exists(os.path.join(b.data, 'pg_mq')), False)
    b.run(script + "; sync('.')")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), {'pg_mq/a': b'x'})


def test_modes_keep_the_other_side(b):
    script = "put('pg_mq/old', b'M', 0, sync=False); put('pg_wal/w1', b'W', 0, sync=False)"
    for mode, want in (('segments', b'oW'), ('wal', b'M\0'), ('all', b'o\0'),
                       ('none', b'MW')):
        b.put('pg_mq/old', b'old' * 100)
        b.put('pg_wal/w1', b'\0' * 4096)
        b.powercut('init')
        b.run(script)
        b.powercut('cut', '--mode', mode)
        same(b.tree('pg_mq')['pg_mq/old'][:1] + b.tree('pg_wal')['pg_wal/w1'][:1], want, mode)


def test_random_keeps_blocks(b):
    seen = set()
    for seed in range(12):
        b.put('pg_mq/old', b'o' * 20480)
        b.powercut('init')
        b.run("put('pg_mq/old', b'N' * 20480, 0, sync=False); put('pg_mq/old', b'S' * 512, 1024)"
              if seed == 0 else "put('pg_mq/old', b'N' * 20480, 0, sync=False)")
        b.powercut('cut', '--mode', 'random', '--seed', str(seed))
        got = b.tree('pg_mq')['pg_mq/old']
        same(len(got), 20480)
        for at in range(0, 20480, 512):
            if seed and got[at:at + 512] not in (b'N' * 512, b'o' * 512):
                raise AssertionError('a block of two minds at %d' % at)
        seen.add(got.count(b'N') // 512)
    if len(seen) < 4:
        raise AssertionError('hardly random: %s' % sorted(seen))


def test_random_repeats_and_keeps_what_was_synced(b):
    script = '''
put('pg_mq/a', b'1' * 3000); sync('pg_mq')
put('pg_mq/a', b'2' * 9000, 3000, sync=False)
os.rename('pg_mq/old', 'pg_mq/new'); put('pg_mq/c', b'c' * 700)'''
    outcomes = []
    for seed in [3, 3] + list(range(20)):
        shutil.rmtree(os.path.join(b.data, 'pg_mq'))
        os.mkdir(os.path.join(b.data, 'pg_mq'))
        b.put('pg_mq/old', b'old' * 100)
        b.powercut('init')
        b.run(script)
        b.powercut('cut', '--mode', 'random', '--seed', str(seed))
        tree = b.tree('pg_mq')
        same(tree['pg_mq/a'][:3000], b'1' * 3000)
        same(('pg_mq/old' in tree) + ('pg_mq/new' in tree), 1, 'a rename is all or nothing')
        outcomes.append(tree)
    same(outcomes[0], outcomes[1], 'same seed')
    same({'pg_mq/new' in t for t in outcomes}, {True, False}, 'both outcomes occur')


def test_many_processes(b):
    b.run('''
import random
put('pg_mq/m', b'.' * 64000); sync('pg_mq')
pids = []
for n in range(6):
    pid = os.fork()
    if pid == 0:
        rng = random.Random(n)
        fd = os.open('pg_mq/m', os.O_RDWR)
        for i in range(400):
            os.pwrite(fd, b'%d' % n, n * 10000 + i)
            if rng.random() < 0.3: os.fdatasync(fd)
            put('pg_mq/f%d' % n, b'x', i)
            if i % 50 == 0: sync('pg_mq')
        os.fdatasync(fd)
        os._exit(0)
    pids.append(pid)
for pid in pids: assert os.waitpid(pid, 0)[1] == 0
sync('pg_mq')''')
    before = b.tree('pg_mq')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), before, 'all was synced')
    same(before['pg_mq/m'][50000:50400], b'5' * 400)


def test_killed_while_syncing(b):
    b.run('''
import signal, time
pids = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        fd = os.open('pg_mq/k%d' % n, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        sync('pg_mq')
        ack = os.open('base/ack%d' % n, os.O_WRONLY | os.O_CREAT, 0o600)
        for i in range(1000000):
            os.write(fd, b'%07d\\n' % i); os.fdatasync(fd); os.pwrite(ack, b'%07d' % i, 0)
    pids.append(pid)
while not all(os.path.exists('base/ack%d' % n) and os.path.getsize('pg_mq/k%d' % n) > 8000 for n in range(4)): pass
for pid in pids: os.kill(pid, 9)
for pid in pids: os.waitpid(pid, 0)''')
    b.powercut('cut', '--mode', 'all')
    for n in range(4):
        with open(os.path.join(b.data, 'base/ack%d' % n)) as f:
            acked = int(f.read())
        lines = b.tree('pg_mq')['pg_mq/k%d' % n].split(b'\n')[:acked + 1]
        same(lines, [b'%07d' % i for i in range(acked + 1)], 'acknowledged lines')


def test_a_kept_shim_goes_on_after_kill(b):
    b.run("put('pg_mq/old', b'1', 0, sync=False)")
    b.run("put('pg_mq/old', b'2', 1, sync=True); put('pg_mq/old', b'3', 2, sync=False)")
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq')['pg_mq/old'][:4], b'12do')


def test_nth_call_fails(b):
    b.control('fail call=pwrite path=pg_mq/* nth=3 error=EIO\n')
    got = b.run('''
fd = os.open('pg_mq/old', os.O_RDWR)
print(*[fails(os.pwrite, fd, b'x', 0) for _ in range(5)])
put('pg_wal/w1', b'other')''')
    same(got, ['None', 'None', 'EIO', 'None', 'None'])
    same(b.powercut('status')['rules'][0], {'hits': 5, 'fired': 1, 'used': 0})
    b.control('fail call=open,rename,unlink,ftruncate,fallocate,mkdir path=pg_mq/n* times=0 error=ENOSPC\n')
    got = b.run('''
fd = os.open('pg_mq/old', os.O_RDWR)
print(fails(os.open, 'pg_mq/n', os.O_CREAT), fails(os.rename, 'pg_mq/n', 'pg_mq/m'),
      fails(os.unlink, 'pg_mq/n'), fails(os.mkdir, 'pg_mq/nn'), fails(os.ftruncate, fd, 1))''')
    same(got, ['ENOSPC'] * 4 + ['None'])


def test_short_and_interrupted(b):
    b.control('fail call=write path=pg_mq/* error=short\nfail call=read path=pg_mq/* error=short\n'
              'fail call=read path=pg_mq/* nth=2 error=EINTR\n')
    got = b.run('''
fd = os.open('pg_mq/old', os.O_RDWR)
print(os.pwrite(fd, b'x' * 100, 0), os.pwrite(fd, b'x' * 100, 0), len(os.pread(fd, 20, 0)))
buf = ctypes.create_string_buffer(10)
print(libc.pread(fd, buf, ctypes.c_ulong(10), ctypes.c_long(0)), ctypes.get_errno())
print(libc.pread(fd, buf, ctypes.c_ulong(10), ctypes.c_long(0)))''')
    same(got, ['50', '100', '10', '-1', '4', '10'])


def test_failed_fsync_loses_the_bytes(b):
    b.control('fail call=fsync path=pg_mq/old error=EIO\n')
    got = b.run('''
fd = os.open('pg_mq/old', os.O_RDWR); os.pwrite(fd, b'x', 0)
print(fails(os.fsync, fd), fails(os.fsync, fd))''')
    same(got, ['EIO', 'None'])
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq'), OLD, 'a second fsync lies')


def test_kill_at_a_call(b):
    b.control('fail call=fsync path=pg_mq/* nth=2 error=kill\n')
    b.run("put('pg_mq/old', b'1', 0); put('pg_mq/old', b'2', 0); print('not reached')")
    b.control('')
    b.powercut('cut', '--mode', 'segments')
    same(b.tree('pg_mq')['pg_mq/old'][:1], b'1')


def test_quota(b):
    b.control('quota path=pg_mq/* bytes=1000\n')
    got = b.run('''
fd = os.open('pg_mq/q', os.O_RDWR | os.O_CREAT, 0o600)
print(fails(os.pwrite, fd, b'x' * 900, 0), fails(os.pwrite, fd, b'x' * 200, 900),
      fails(os.pwrite, fd, b'y' * 900, 0), fails(os.posix_fallocate, fd, 0, 1001),
      libc.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(1000)))
print(fails(os.pwrite, fd, b'z' * 100, 900), fails(put, 'pg_wal/w2', b'w' * 5000))
os.ftruncate(fd, 10)
print(fails(os.pwrite, fd, b'z' * 500, 10), fails(put, 'pg_mq/r', b'w' * 500))
os.unlink('pg_mq/q')
print(fails(put, 'pg_mq/r', b'w' * 500))''')
    same(got, ['None', 'ENOSPC', 'None', 'ENOSPC', '0', 'None', 'None', 'None', 'ENOSPC', 'None'])


def test_control_is_followed_at_run_time(b):
    got = b.run('''
fd = os.open('pg_mq/old', os.O_RDWR)
def control(text):
    with open('../shim/c', 'w') as f: f.write(text)
    os.rename('../shim/c', '../shim/control')
for text in ('', 'quota path=* bytes=0\\n', '', 'fail call=write error=EIO\\n', '# none\\n'):
    control(text)
    print(fails(os.pwrite, fd, b'x' * 10, 5000), fails(os.pwrite, fd, b'x' * 10, 0))
    os.ftruncate(fd, 300)''')
    same(got, 'None None ENOSPC None None None EIO None None None'.split())


def test_a_typo_stops_the_server(b):
    b.control('fail call=wriet error=EIO\n')
    env = dict(os.environ, LD_PRELOAD=b.library, MQ_SHIM_DATA=b.data, MQ_SHIM_DIR=b.shim)
    out = subprocess.run(['cat', 'pg_mq/old'], cwd=b.data, env=env, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE)
    same((out.returncode != 0, b'mq_shim: wriet' in out.stderr), (True, True))


def main():
    root = tempfile.mkdtemp(prefix='mq_shim_test.')
    library = os.path.join(root, 'mq_shim.so')
    subprocess.run([os.environ.get('CC', 'cc'), '-O2', '-g', '-Wall', '-Wextra', '-Werror',
                    '-shared', '-fPIC', '-o', library] + SOURCES + ['-ldl'], check=True)
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith('test_')]
    if len(sys.argv) > 1:
        tests = [(n, f) for n, f in tests if sys.argv[1] in n]
    print('1..%d' % len(tests))
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            test(Bench(root, library))
            print('ok %d - %s' % (number, name[5:]))
        except (AssertionError, subprocess.CalledProcessError) as e:
            failed += 1
            print('not ok %d - %s' % (number, name[5:]))
            print('# %s' % e)
        sys.stdout.flush()
    if failed == 0:
        shutil.rmtree(root)
    else:
        print('# kept %s' % root)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
