#!/usr/bin/python3
"""Damages one segment of a running server in many ways and reads it each time.

    damage.py --conninfo C --topic T --dir PARTITION --other PARTITION
              --seed N --percent N

The closed first segment of partition 0 is damaged, what is read is compared
with table truth.  With on_damage => 'skip' nothing may be missing but what was
hit; without it the answer is all messages or SQLSTATE XX001.  mq.verify must
name the segment and the batch that was hit, and no other.  Prints TAP.

PERCENT of the segment's bytes are changed, each in one of three ways: a bit
flipped, 0x00, 0xff.  300 = each byte in all of them, and every length.
"""
import argparse
import collections
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'checker'))
import pq  # noqa: E402

ENTRY = 48
HINT = 43
Batch = collections.namedtuple('Batch', 'first next position end')
READ = """
SELECT count(*) FILTER (WHERE f.msg_offset IS NOT NULL AND ROW(f.*) IS DISTINCT FROM ROW(t.*)),
       count(*) - count(DISTINCT coalesce(f.msg_offset, t.msg_offset)),
       string_agg(t.msg_offset::text, ',') FILTER (WHERE f.msg_offset IS NULL)
FROM mq.fetch('%s', 0, NULL, 1000000, 1000000000, on_damage => '%s') f
     FULL JOIN (SELECT * FROM truth WHERE partition = 0) t ON t.msg_offset = f.msg_offset"""


class Damage:
    def __init__(self, args):
        self.args = args
        self.random = random.Random(args.seed)
        self.conn = pq.Connection(args.conninfo)
        base = '%s/%020d.' % (args.dir, 0)
        self.paths = {'log': base + 'log', 'batches': base + 'batches', 'state': args.dir + '/state'}
        self.files = {kind: os.open(path, os.O_RDWR) for kind, path in self.paths.items()}
        self.good = {kind: self.slurp(path) for kind, path in self.paths.items()}
        entries = [struct.unpack_from('<IIII', self.good['batches'], at)
                   for at in range(0, len(self.good['batches']), ENTRY)]
        self.batches = [Batch(o, o + n, p, p + length) for o, n, p, length in entries]
        self.visible = {int(r[0]) for r in self.conn.query("SELECT msg_offset FROM truth WHERE partition = 0")}
        self.bad = []
        self.done = collections.Counter()
        self.hits = collections.Counter()

    @staticmethod
    def slurp(path):
        with open(path, 'rb') as f:
            return f.read()

    def put(self, kind, data):
        os.pwrite(self.files[kind], data, 0)
        os.ftruncate(self.files[kind], len(data))

    def offsets(self, batches):
        return {o for b in batches for o in range(b.first, b.next)} & self.visible

    def read(self, mode):
        """(wrong, twice, missing offsets), or None for XX001."""
        try:
            wrong, twice, missing = self.conn.query(READ % (self.args.topic, mode))[0]
        except pq.PgError as e:
            if e.sqlstate == 'XX001' and mode == 'error':
                return None
            raise
        return int(wrong), int(twice), {int(o) for o in missing.split(',')} if missing else set()

    def verify(self, what, where, changed, hit):
        """mq.verify against what was done: did it change anything, and of which batches?"""
        rows = self.conn.query("SELECT base_offset, status, bad_offset, detail FROM mq.verify('%s', 0)" % self.args.topic)
        bad = [r for r in rows if r[1] != 'ok']
        named = {int(r[2]) for r in bad if r[2] is not None}
        first = {b.first for b in hit}
        wrong = None
        if bool(bad) != changed:
            wrong = 'sound' if changed else 'damaged'
        elif any(r[0] != '0' for r in bad):
            wrong = 'another segment'
        elif named - first or (first and min(first) not in named):
            wrong = 'other offsets than %s' % sorted(first)[:3]
        elif len(hit) == 1 and named != first:
            wrong = 'no offset'
        if wrong:
            self.bad.append('%s, %s: verify says %s: %s' % (what, where, wrong, bad[:3]))

    def check(self, what, where, hit, exact=False, changed=None, named=None):
        """Reads what is there; hit = the batches that may be missing (exact: must be).

        changed: is any byte not as it was; named: what mq.verify names, if not hit.
        """
        hit = list(hit)
        self.verify(what, where, bool(hit) if changed is None else changed, hit if named is None else named)
        # what became of a batch that failed is not known without its descriptor
        forgiven = 'batches' in where + what and any(not self.offsets([b]) for b in hit)
        hit = self.offsets(hit)
        self.done[what] += 1
        try:
            skip = self.read('skip')
            error = self.read('error')
        except pq.PgError as e:
            self.bad.append('%s, %s: %s' % (what, where, e))
            if e.lost:
                raise
            return
        self.hits[what] += bool(skip[2])
        if skip[0] or skip[1]:
            self.bad.append('%s, %s: %d wrong messages, %d twice' % (what, where, skip[0], skip[1]))
        if skip[2] - hit or (exact and skip[2] != hit):
            self.bad.append('%s, %s: missing %s, hit %s' % (what, where, sorted(skip[2])[:9], sorted(hit)[:9]))
        if error != (None if skip[2] else (0, 0, set())) and not (error is None and forgiven):
            self.bad.append('%s, %s: without skip %s, with it missing %s' % (what, where, error, sorted(skip[2])[:9]))

    def bytes_of(self, kind):
        good = self.good[kind]
        for which in sorted(self.random.sample(range(3 * len(good)), max(1, len(good) * self.args.percent // 100))):
            at = which // 3
            new = (good[at] ^ (1 << self.random.randrange(8)), 0, 255)[which % 3]
            if new == good[at]:
                new = good[at] ^ 1
            os.pwrite(self.files[kind], bytes([new]), at)
            if kind == 'log':
                named = hit = [b for b in self.batches if b.position <= at < b.end]
            else:
                named = [self.batches[at // ENTRY]]
                hit = named if at % ENTRY != HINT else []
            self.check('one byte of .' + kind, 'byte %d: %d -> %d' % (at, good[at], new), hit, changed=True, named=named)
            os.pwrite(self.files[kind], good[at:at + 1], at)

    def truncations(self, kind):
        good = self.good[kind]
        edges = [b.end for b in self.batches] if kind == 'log' else [ENTRY * i for i in range(len(self.batches))]
        count = max(3, 40 * self.args.percent // 5)
        lengths = {0, 1, len(good) - 1} | {self.random.choice(edges) for _ in range(count)} | {
            self.random.randrange(len(good)) for _ in range(count)}
        if self.args.percent >= 300:
            lengths = set(range(len(good)))
        for length in sorted(lengths):
            os.ftruncate(self.files[kind], length)
            gone = [b for i, b in enumerate(self.batches)
                    if (b.end if kind == 'log' else (i + 1) * ENTRY) > length]
            self.check('.%s cut short' % kind, 'to %d' % length, gone, exact=True, changed=True)
            self.put(kind, good)

    def swaps(self, kind, size):
        good = self.good[kind]
        blocks = len(good) // size
        for _ in range(max(3, 60 * self.args.percent // 5)):
            i, j = self.random.sample(range(blocks), 2)
            data = bytearray(good)
            data[i * size:(i + 1) * size] = good[j * size:(j + 1) * size]
            data[j * size:(j + 1) * size] = good[i * size:(i + 1) * size]
            changed = [at for at in range(len(good)) if data[at] != good[at]]
            if kind == 'log':
                hit = [b for b in self.batches if any(b.position <= at < b.end for at in changed)]
            else:
                hit = [self.batches[n] for n in {at // ENTRY for at in changed if at % ENTRY != HINT}]
            self.put(kind, bytes(data))
            self.check('blocks of %d bytes of .%s swapped' % (size, kind), '%d and %d' % (i, j), hit,
                       changed=bool(changed))
            self.put(kind, good)

    def strangers(self):
        other = {kind: self.slurp(path.replace(self.args.dir, self.args.other)) for kind, path in self.paths.items()}
        for kinds in (['log'], ['batches'], ['log', 'batches']):
            for kind in kinds:
                self.put(kind, other[kind])
            self.check('files of another partition', ' and '.join(kinds), self.batches)
            for kind in kinds:
                self.put(kind, self.good[kind])

    def check_state(self, what, where, slots):
        """mq.verify after damage of the state file; the segments are sound."""
        self.done[what] += 1
        self.hits[what] += 1        # mq.verify must see it
        rows = self.conn.query("SELECT base_offset, status, detail FROM mq.verify('%s', 0)" % self.args.topic)
        bad = [r for r in rows if r[1] != 'ok']
        told = {s for s in (0, 1) if any('slot %d of' % s in r[2] for r in bad)}
        if any(r[0] is not None for r in bad) or told != set(slots):
            self.bad.append('%s, %s: verify says %s' % (what, where, bad))

    def state(self):
        good = self.good['state']
        other = self.slurp(self.args.other + '/state')
        for which in sorted(self.random.sample(range(3 * len(good)), max(1, len(good) * self.args.percent // 100))):
            at = which // 3
            new = (good[at] ^ (1 << self.random.randrange(8)), 0, 255)[which % 3]
            if new == good[at]:
                new = good[at] ^ 1
            os.pwrite(self.files['state'], bytes([new]), at)
            self.check_state('one byte of state', 'byte %d: %d -> %d' % (at, good[at], new), [at // 512])
            os.pwrite(self.files['state'], good[at:at + 1], at)
        for length in range(0, len(good), max(1, 300 // self.args.percent)):
            os.ftruncate(self.files['state'], length)
            self.check_state('state cut short', 'to %d' % length, [s for s in (0, 1) if length < (s + 1) * 512])
            self.put('state', good)
        self.put('state', other)
        self.check_state('state of another partition', '', [0, 1])
        self.put('state', good[:512] + other[512:])
        self.check_state('state of another partition', 'half', [1])
        self.put('state', good)

    def run(self):
        self.check('nothing', 'before', [])
        self.state()
        for kind in ('log', 'batches'):
            self.bytes_of(kind)
            self.truncations(kind)
            self.swaps(kind, 512)
        self.swaps('batches', ENTRY)
        self.strangers()
        self.check('nothing', 'after', [])
        number = 0
        for what, count in self.done.items():
            number += 1
            bad = [b for b in self.bad if b.startswith(what + ',')]
            lost = '' if 'state' in what else ', %d with messages lost' % self.hits[what]
            print('%sok %d - %s: %d times%s' % ('not ' if bad else '', number, what, count, lost))
            for line in bad[:5]:
                print('# ' + line)
        # a segment whose damage never shows would prove nothing
        dull = [w for w in self.done if w != 'nothing' and not self.hits[w]]
        number += 1
        print('%sok %d - each kind of damage hit something' % ('not ' if dull else '', number))
        print('1..%d' % number)
        return bool(self.bad or dull)


def main():
    parser = argparse.ArgumentParser()
    for name in ('conninfo', 'topic', 'dir', 'other'):
        parser.add_argument('--' + name, required=True)
    for name in ('seed', 'percent'):
        parser.add_argument('--' + name, type=int, required=True)
    return Damage(parser.parse_args()).run()


if __name__ == '__main__':
    sys.exit(main())
