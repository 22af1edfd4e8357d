#!/usr/bin/python3
"""Damages one segment of a running server in many ways and reads it each time.

    damage.py --conninfo C --topic T --dir PARTITION --other PARTITION
              --seed N --percent N

The closed first segment of partition 0 is damaged, what is read is compared
with table truth.  With on_damage => 'skip' nothing may be missing but what was
hit; without it the answer is all messages or SQLSTATE XX001.  Prints TAP.
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
        self.paths = {'log': base + 'log', 'batches': base + 'batches'}
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

    def check(self, what, where, hit, exact=False):
        """Reads what is there; hit = the batches that may be missing (exact: must be)."""
        hit = list(hit)
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
        for at in sorted(self.random.sample(range(len(good)), max(1, len(good) * self.args.percent // 100))):
            new = self.random.choice([good[at] ^ (1 << self.random.randrange(8)), 0, 255])
            if new == good[at]:
                new = good[at] ^ 1
            os.pwrite(self.files[kind], bytes([new]), at)
            if kind == 'log':
                hit = [b for b in self.batches if b.position <= at < b.end]
            else:
                hit = [self.batches[at // ENTRY]] if at % ENTRY != HINT else []
            self.check('one byte of .' + kind, 'byte %d: %d -> %d' % (at, good[at], new), hit)
            os.pwrite(self.files[kind], good[at:at + 1], at)

    def truncations(self, kind):
        good = self.good[kind]
        edges = [b.end for b in self.batches] if kind == 'log' else [ENTRY * i for i in range(len(self.batches))]
        count = max(3, 40 * self.args.percent // 5)
        lengths = {0, 1, len(good) - 1} | {self.random.choice(edges) for _ in range(count)} | {
            self.random.randrange(len(good)) for _ in range(count)}
        for length in sorted(lengths):
            os.ftruncate(self.files[kind], length)
            gone = [b for i, b in enumerate(self.batches)
                    if (b.end if kind == 'log' else (i + 1) * ENTRY) > length]
            self.check('.%s cut short' % kind, 'to %d' % length, gone, exact=True)
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
            self.check('blocks of %d bytes of .%s swapped' % (size, kind), '%d and %d' % (i, j), hit)
            self.put(kind, good)

    def strangers(self):
        other = {kind: self.slurp(path.replace(self.args.dir, self.args.other)) for kind, path in self.paths.items()}
        for kinds in (['log'], ['batches'], ['log', 'batches']):
            for kind in kinds:
                self.put(kind, other[kind])
            self.check('files of another partition', ' and '.join(kinds), self.batches)
            for kind in kinds:
                self.put(kind, self.good[kind])

    def run(self):
        self.check('nothing', 'before', [])
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
            print('%sok %d - %s: %d times, %d with messages lost' % (
                'not ' if bad else '', number, what, count, self.hits[what]))
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
