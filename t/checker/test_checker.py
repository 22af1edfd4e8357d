#!/usr/bin/python3
"""Tests of the checker: good histories pass, each bad one is caught by its rule.

Prints TAP.
"""
import copy
import json
import os
import subprocess
import sys
import tempfile

import checker

HERE = os.path.dirname(os.path.abspath(__file__))


class Story:
    """Writes a history one finished operation after the other."""

    def __init__(self):
        self.events = []
        self.clock = 0
        self.ops = 0

    def event(self, p, kind, f, op, **more):
        self.clock += 1
        self.events.append(dict(t=self.clock, p=p, type=kind, f=f, op=op, **more))

    def begin(self, p, f, **more):
        self.ops += 1
        self.event(p, 'invoke', f, self.ops, **more)
        return self.ops

    def send(self, p, ids, outcome='ok', topic='t', row=False, dropped=(), repeat=False, **more):
        values = [dict(id=i, crc='c' + i, topic=topic, row=row,
                       fate='drop' if i in dropped else 'keep', repeat=repeat) for i in ids]
        op = self.begin(p, 'send', values=values)
        if outcome:
            self.event(p, outcome, 'send', op, **more)

    def poll(self, p, start, msgs, seek=False, topic='t', partition=0, server='main'):
        op = self.begin(p, 'poll', topic=topic, partition=partition, seek=seek, server=server,
                        **{'from': start})
        self.event(p, 'ok', 'poll', op, msgs=[m(x) for x in msgs])

    def offsets(self, p, earliest, latest, stable, server='main', op=None):
        op = op or self.begin(p, 'offsets', server=server)
        self.event(p, 'ok', 'offsets', op, rows=[['t', 0, earliest, latest, stable]])

    def final(self, msgs, topic='t', partition=0, server='main', start=0, end=None):
        op = self.begin('final', 'final', topic=topic, partition=partition, server=server,
                        **{'from': 0})
        msgs = [m(x) for x in msgs]
        self.event('final', 'ok', 'final', op, msgs=msgs, done=True, start=start,
                   end=end if end is not None else (msgs[-1][0] + 1 if msgs else 0))

    def rows(self, ids, server='main'):
        op = self.begin('final', 'rows', server=server)
        self.event('final', 'ok', 'rows', op, ids=list(ids))

    def fail(self, p, f, sqlstate, kind='fail', **more):
        op = self.begin(p, f, **more)
        self.event(p, kind, f, op, error={'sqlstate': sqlstate, 'message': 'x'})


def m(what):
    """(offset, id) or (offset, id, crc) as a message."""
    offset, ident = what[:2]
    return [offset, ident, what[2] if len(what) > 2 else 'c' + ident]


def good():
    """Everything a run may legally show, in one history."""
    s = Story()
    s.offsets('c1', 0, 0, 0)
    s.send('p1', ['a', 'b', 'x'], row=True, dropped=['x'], ranges=[['t', 0, 0, 1]])
    s.poll('c1', 0, [(0, 'a'), (1, 'b')])
    s.send('p2', ['f1', 'f2'], outcome='fail', row=True)
    s.send('p2', ['i1', 'i2'], outcome='info', row=True)      # did commit
    s.send('p2', ['j1', 'j2'], outcome='info', row=True)      # did not
    s.send('p1', ['k1'], outcome=None)                        # never ended
    s.send('p3', ['u'], topic='u', at=[['u', 1, 0]])
    s.send('p1', ['c'])
    s.poll('c1', 2, [])
    s.poll('c1', 2, [(4, 'i1'), (5, 'i2'), (7, 'c')])         # offsets have gaps
    s.offsets('c1', 0, 8, 8)
    s.poll('c1', 1, [(1, 'b')], seek=True)
    s.poll('c2', 5, [(5, 'i2')])
    s.fail('p1', 'send', '40001', values=[dict(id='z', crc='cz', topic='t')])
    s.fail('p1', 'send', None, kind='info', values=[dict(id='y', crc='cy', topic='t')])
    s.final([(0, 'a'), (1, 'b'), (4, 'i1'), (5, 'i2'), (7, 'c')])
    s.final([], partition=1)
    s.final([(0, 'u')], topic='u', partition=1)
    s.rows(['a', 'b', 'i1', 'i2'])
    return s


def overlapping():
    """Concurrent observations may end in any order."""
    s = Story()
    slow = s.begin('c1', 'offsets', server='main')
    s.send('p1', ['a'])
    s.offsets('c2', 0, 1, 1)
    s.offsets('c1', 0, 0, 0, op=slow)
    s.final([(0, 'a')])
    return s


def two_servers():
    s = Story()
    s.send('p1', ['a', 'b'])
    s.final([(0, 'a'), (1, 'b')])
    s.final([(0, 'a')], server='standby')
    return s


def retried():
    s = Story()
    s.send('p1', ['a'], repeat=True)
    s.final([(0, 'a'), (1, 'a')])
    return s


GOOD = {'everything legal': good, 'overlapping observations': overlapping,
        'a standby behind': two_servers, 'a retry without a key': retried}


def story(*steps):
    def make():
        s = Story()
        for name, *args in steps:
            kwargs = args.pop() if args and isinstance(args[-1], dict) else {}
            getattr(s, name)(*args, **kwargs)
        return s
    return make


AB = ('send', 'p1', ['a', 'b'])
END = ('final', [(0, 'a'), (1, 'b')])
BAD = [
    ('lost write', 'acknowledged, absent', story(AB, ('final', [(0, 'a')]))),
    ('lost write', 'all of it', story(AB, ('final', []))),
    ('lost write', 'read, then gone', story(
        ('send', 'p1', ['a', 'b'], {'outcome': 'info'}), ('poll', 'c', 0, [(0, 'a')]),
        ('final', []), ('send', 'p1', ['x']), ('final', [(0, 'x')], {'topic': 't'}))),
    ('aborted read', 'at the end', story(
        ('send', 'p1', ['a', 'b'], {'outcome': 'fail'}), END)),
    ('aborted read', 'once, by a reader', story(
        AB, ('send', 'p1', ['x'], {'outcome': 'fail'}), ('poll', 'c', 2, [(2, 'x')]), END)),
    ('aborted read', 'rolled back to a savepoint', story(
        ('send', 'p1', ['a', 'b'], {'dropped': ['b']}), END)),
    ('phantom', 'never sent', story(AB, ('final', [(0, 'a'), (1, 'b'), (2, 'q')]))),
    ('phantom', 'wrong bytes', story(AB, ('final', [(0, 'a'), (1, 'b', 'zz')]))),
    ('phantom', 'another topic', story(AB, END, ('final', [(0, 'a')], {'topic': 'u'}))),
    ('phantom', 'before it was sent', story(('poll', 'c', 0, [(0, 'a')]), AB, END)),
    ('duplicate', 'two offsets', story(AB, ('final', [(0, 'a'), (1, 'b'), (2, 'a')]))),
    ('duplicate', 'two partitions', story(AB, END, ('final', [(0, 'a')], {'partition': 1}))),
    ('duplicate', 'at two times', story(AB, ('poll', 'c', 0, [(5, 'a')]), END)),
    ('inconsistent offset', 'two readers', story(
        AB, ('poll', 'c', 1, [(1, 'b')]), ('poll', 'd', 1, [(1, 'a')]), END)),
    ('inconsistent offset', 'two servers', story(
        AB, END, ('poll', 'd', 0, [(0, 'b')], {'server': 'standby'}))),
    ('inconsistent offset', 'not what the producer was told (range)', story(
        ('send', 'p1', ['a', 'b'], {'ranges': [['t', 0, 5, 6]]}), END)),
    ('inconsistent offset', 'not what the producer was told (offset)', story(
        ('send', 'p1', ['a', 'b'], {'at': [['a', 0, 1]]}), END)),
    ('poll skip', 'within a read', story(AB, ('send', 'p1', ['d']),
                                        ('poll', 'c', 0, [(0, 'a'), (2, 'd')]),
                                        ('final', [(0, 'a'), (1, 'b'), (2, 'd')]))),
    ('poll skip', 'between two reads', story(
        AB, ('send', 'p1', ['d']), ('poll', 'c', 0, [(0, 'a')]), ('poll', 'c', 1, [(2, 'd')]),
        ('final', [(0, 'a'), (1, 'b'), (2, 'd')]))),
    ('poll skip', 'nothing where something is', story(
        AB, ('offsets', 'd', 0, 2, 2), ('poll', 'c', 0, []), END)),
    ('non-monotonic poll', 'between two reads', story(
        AB, ('poll', 'c', 0, [(0, 'a'), (1, 'b')]), ('poll', 'c', 2, [(1, 'b')]), END)),
    ('non-monotonic poll', 'within a read', story(
        AB, ('poll', 'c', 0, [(1, 'b'), (0, 'a')]), END)),
    ('non-monotonic send', 'between transactions', story(
        ('send', 'p1', ['b']), ('send', 'p1', ['a']), END)),
    ('non-monotonic send', 'within one', story(('send', 'p1', ['b', 'a']), END)),
    ('watermark regression', 'last stable', story(
        AB, ('offsets', 'c', 0, 2, 2), ('offsets', 'd', 0, 2, 1), END)),
    ('watermark regression', 'high watermark', story(
        AB, ('offsets', 'c', 0, 3, 2), ('offsets', 'd', 0, 2, 2), END)),
    ('watermark regression', 'log start', story(
        AB, ('offsets', 'c', 1, 2, 2), ('offsets', 'd', 0, 2, 2), END)),
    ('watermark regression', 'below what was read', story(
        AB, ('poll', 'c', 0, [(0, 'a'), (1, 'b')]), ('offsets', 'd', 0, 2, 1), END)),
    ('watermark regression', 'crossed', story(AB, ('offsets', 'c', 0, 1, 2), END)),
    ('watermark regression', 'position out of range', story(
        AB, ('fail', 'c', 'poll', 'MQ005', {'topic': 't', 'partition': 0, 'from': 2}), END)),
    ('row/message atomicity', 'row without message', story(
        ('send', 'p1', ['a', 'b'], {'row': True, 'outcome': 'info'}), ('send', 'p1', ['c']),
        ('final', [(0, 'c')]), ('rows', ['a', 'b']))),
    ('row/message atomicity', 'message without row', story(
        ('send', 'p1', ['a', 'b'], {'row': True}), END, ('rows', ['a']))),
    ('row/message atomicity', 'row twice', story(
        ('send', 'p1', ['a', 'b'], {'row': True}), END, ('rows', ['a', 'b', 'b']))),
    ('row/message atomicity', 'half a transaction', story(
        ('send', 'p1', ['a', 'b'], {'outcome': 'info'}), ('final', [(0, 'a')]),
        ('send', 'p1', ['c']), ('final', [(0, 'a'), (1, 'c')]))),
    ('divergence', 'other value', story(
        AB, END, ('final', [(0, 'a'), (1, 'a')], {'server': 'standby'}))),
    ('divergence', 'a hole', story(
        AB, END, ('final', [(1, 'b')], {'server': 'standby'}))),
    ('divergence', 'other bytes', story(
        AB, END, ('final', [(0, 'a', 'zz'), (1, 'b')], {'server': 'standby'}))),
    ('divergence', 'other rows', story(
        ('send', 'p1', ['a', 'b'], {'row': True}), END, ('rows', ['a', 'b']),
        ('rows', ['a'], {'server': 'standby'}))),
    ('damage', 'XX001', story(
        AB, ('fail', 'c', 'poll', 'XX001', {'topic': 't', 'partition': 0, 'from': 0}), END)),
    ('unexpected error', 'internal error', story(
        AB, ('fail', 'c', 'poll', 'XX000', {'topic': 't', 'partition': 0, 'from': 0}), END)),
    ('no final read', 'a topic was forgotten', story(
        AB, END, ('send', 'p1', ['u'], {'topic': 'u'}))),
    ('no final read', 'it failed', story(
        AB, END, ('fail', 'final', 'final', '57P01',
                  {'topic': 't', 'partition': 1, 'from': 0, 'server': 'main'}))),
]


def judge(s):
    h = checker.History()
    h.take(copy.deepcopy(s.events))
    return checker.judge(h)


def run_program(s, *args, acked='', tail=''):
    """Exit status and verdict of the program itself."""
    with tempfile.TemporaryDirectory() as folder:
        history, verdict = (os.path.join(folder, n) for n in ('history', 'verdict'))
        with open(history, 'w') as f:
            f.writelines(json.dumps(e) + '\n' for e in s.events)
            f.write(tail)
        with open(os.path.join(folder, 'acked'), 'w') as f:
            f.write(acked)
        out = subprocess.run([sys.executable, os.path.join(HERE, 'checker.py'), history,
                              '--acked', os.path.join(folder, 'acked'), '--verdict', verdict,
                              *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            with open(verdict) as f:
                return out.returncode, json.load(f)
        except FileNotFoundError:
            return out.returncode, None


def test_program(check):
    code, verdict = run_program(good())
    check(code == 0 and verdict['ok'], 'program: exit status 0 for a good history')
    code, verdict = run_program(BAD[0][2]())
    check(code == 1 and list(verdict['violations']) == ['lost write'],
          'program: exit status 1 and the rule in the verdict')
    code, verdict = run_program(good(), acked='a ca t\nnowhere cn t\n')
    check(code == 1 and verdict['violations']['lost write']['count'] == 1,
          'program: a value of the acked file is missing')
    code, verdict = run_program(good(), acked='a ca t\nnowh')
    check(code == 0, 'program: an unfinished line of the acked file says nothing')
    code, verdict = run_program(good(), tail='{"t": 99, "p"')
    check(code == 0, 'program: nor does an unfinished event at the end')
    code, verdict = run_program(good(), tail='{"t": 99, "p"\n')
    check(code == 2, 'program: one in the middle cannot be judged')
    code, verdict = run_program(good(), '--min-acked', '1000')
    check(code == 2, 'program: too little was acknowledged to prove anything')


def main():
    done = [0, 0]

    def check(fine, name, why=''):
        done[0] += 1
        print('%s %d - %s' % ('ok' if fine else 'not ok', done[0], name))
        if not fine:
            done[1] += 1
            print('# %s' % why)

    for name, make in GOOD.items():
        verdict = judge(make())
        check(verdict['ok'], 'good: %s' % name, verdict['violations'])
    for rule, name, make in BAD:
        verdict = judge(make())
        check(rule in verdict['violations'], '%s: %s' % (rule, name), verdict)
    missing = {r for r, _ in checker.RULES} - {r for r, _, _ in BAD}
    check(not missing, 'every rule has a bad history', missing)
    test_program(check)
    print('1..%d' % done[0])
    return 1 if done[1] else 0


if __name__ == '__main__':
    sys.exit(main())
