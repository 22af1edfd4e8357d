#!/usr/bin/python3
"""checker.py: judges a history of a run against the log's promises.

  checker.py HISTORY... [--acked FILE...] [--verdict FILE] [--min-acked N]
             [--allow SQLSTATE,...]

A history has one JSON object a line; t/README.md describes them.  Prints what
was seen and what was violated, one line each; the last line is the verdict,
which is also written as JSON.  Exit status 0: nothing violated, 1: something
was, 2: the input cannot be judged.

A rule is a generator below RULES: it takes a History and yields one dict for
each violation.
"""
import argparse
import bisect
import collections
import json
import sys

# Errors that crashes, kills, conflicts and full disks are expected to cause;
# any other is itself a finding.  Class 08 and no SQLSTATE: connection lost.
EXPECTED_ERRORS = ('40001', '40P01', '55P03', '57014', '57P01', '57P02', '57P03',
                   '57P05', '53100', '53300', '53400')
SHOWN = 20

Value = collections.namedtuple('Value', 'id crc topic fate row repeat op')
Place = collections.namedtuple('Place', 'server topic partition offset')


class BadInput(Exception):
    pass


class Op:
    """One operation: its invocation and, perhaps, its end."""

    def __init__(self, event):
        self.invoke = event
        self.f = event['f']
        self.process = event['p']
        self.start = event['t']
        self.end = None
        self.outcome = 'info'
        self.result = {}
        self.values = []

    def finish(self, event):
        self.end = event['t']
        self.outcome = event['type']
        self.result = event


class History:
    """All operations in the order they began, and what is known from them."""

    def __init__(self):
        self.ops = []
        self.values = {}            # id -> Value
        self.acked = {}             # id -> where it was said to be acknowledged
        self.reads = []             # (Place, id, crc, Op), every time one was read
        self.final = collections.defaultdict(list)   # server -> [(Place, id, crc)]
        self.ends = {}              # (server, topic, partition) -> Op of the last page
        self.rows_of = collections.defaultdict(list)    # server -> ids of the rows of the table
        self.errors = collections.Counter()

    # Reading

    def load(self, paths):
        events = []
        for path in paths:
            with open(path) as f:
                lines = f.read().split('\n')
            for number, line in enumerate(lines, 1):
                if not line:
                    continue
                try:
                    event = json.loads(line)
                    events.append((event['t'], len(events), event))
                except (ValueError, KeyError, TypeError):
                    if number == len(lines):
                        continue    # the line at which the client was killed
                    raise BadInput('%s:%d is not an event' % (path, number))
        self.take(e for _, _, e in sorted(events))

    def take(self, events):
        """Pairs ends with invocations; a process does one thing at a time."""
        pending = {}
        for event in events:
            key = (event['p'], event.get('op'))
            if event['type'] == 'invoke':
                pending[key] = op = Op(event)
                self.ops.append(op)
                for v in event.get('values', ()):
                    self.sent(op, v)
            elif event['f'] != 'mark':
                if key not in pending:
                    raise BadInput('an end without a beginning: %s' % json.dumps(event)[:200])
                pending.pop(key).finish(event)
        for op in self.ops:
            self.digest(op)

    def sent(self, op, raw):
        value = Value(raw['id'], raw['crc'], raw['topic'], raw.get('fate', 'keep'),
                      raw.get('row', False), raw.get('repeat', False), op)
        if value.id in self.values and not value.repeat:
            raise BadInput('value %s was sent twice by the test itself' % value.id)
        self.values[value.id] = value
        op.values.append(value)

    def digest(self, op):
        if op.f == 'send' and op.outcome == 'ok':
            for value in op.values:
                if value.fate == 'keep':
                    self.acked[value.id] = 'history'
        if op.f in ('poll', 'final') and op.outcome == 'ok':
            self.digest_read(op)
        if op.f == 'rows' and op.outcome == 'ok':
            self.rows_of[op.invoke.get('server', 'main')] += op.result['ids']
        error = op.result.get('error')
        if error:
            self.errors[error.get('sqlstate') or 'connection lost'] += 1

    def digest_read(self, op):
        server = op.invoke.get('server', 'main')
        topic, partition = op.invoke['topic'], op.invoke['partition']
        for offset, ident, crc in op.result['msgs']:
            place = Place(server, topic, partition, offset)
            self.reads.append((place, ident, crc, op))
            if op.f == 'final':
                self.final[server].append((place, ident, crc))
        if op.f == 'final' and op.result.get('done'):
            self.ends[(server, topic, partition)] = op

    def load_acked(self, paths):
        for path in paths:
            with open(path) as f:
                lines = f.read().split('\n')
            for line in lines[:-1]:     # what follows the last newline was cut
                self.acked.setdefault(line.split(' ')[0], path)

    # Questions several rules ask

    def main_server(self):
        return 'main' if 'main' in self.final or not self.final else sorted(self.final)[0]

    @property
    def rows(self):
        return self.rows_of.get(self.main_server())

    def final_places(self):
        """id -> places in the final read of the first server."""
        places = collections.defaultdict(list)
        for place, ident, _ in self.final[self.main_server()]:
            places[ident].append(place)
        return places

    def known_offsets(self):
        """(topic, partition) -> sorted offsets at which a message was ever read."""
        offsets = collections.defaultdict(set)
        for place, _, _, _ in self.reads:
            offsets[(place.topic, place.partition)].add(place.offset)
        return {key: sorted(v) for key, v in offsets.items()}

    def in_order_of_end(self, f, outcome='ok'):
        ops = [op for op in self.ops if op.f == f and op.outcome == outcome]
        return sorted(ops, key=lambda op: op.end)


# The rules

def lost_write(h):
    """An acknowledged value, or one that somebody read, is absent at the end."""
    places = h.final_places()
    for ident, source in h.acked.items():
        if ident not in places:
            yield {'value': ident, 'acknowledged_in': source}
    told = set(h.acked)
    for place, ident, _, op in h.reads:
        if ident not in places and ident not in told and ident in h.values:
            told.add(ident)
            yield {'value': ident, 'read_by': op.process, 'at': place}


def aborted_read(h):
    """A value of a failed transaction, or of one rolled back in part, was read."""
    for place, ident, _, op in h.reads:
        value = h.values.get(ident)
        if value and (value.fate == 'drop' or value.op.outcome == 'fail'):
            yield {'value': ident, 'read_by': op.process, 'at': place,
                   'why': 'rolled back to a savepoint' if value.op.outcome != 'fail'
                   else 'the transaction failed'}


def phantom(h):
    """A value was read that nobody sent there, or whose bytes are wrong."""
    for place, ident, crc, op in h.reads:
        value = h.values.get(ident)
        if value is None:
            yield {'value': ident, 'read_by': op.process, 'at': place, 'why': 'never sent'}
        elif value.topic != place.topic:
            yield {'value': ident, 'read_by': op.process, 'at': place,
                   'why': 'sent to topic %s' % value.topic}
        elif value.crc != crc:
            yield {'value': ident, 'read_by': op.process, 'at': place,
                   'why': 'crc %s, not %s' % (crc, value.crc)}
        elif op.end < value.op.start:
            yield {'value': ident, 'read_by': op.process, 'at': place,
                   'why': 'read before it was sent'}


def duplicate(h):
    """A value stands at two offsets or in two partitions."""
    places = collections.defaultdict(set)
    for place, ident, _, _ in h.reads:
        places[ident].add(place[1:])
    for ident, where in places.items():
        value = h.values.get(ident)
        if len(where) > 1 and not (value and value.repeat):
            yield {'value': ident, 'at': sorted(where)}


def inconsistent_offset(h):
    """One offset showed two values, or not the one its producer was told."""
    shown = {}
    for place, ident, crc, op in h.reads:
        first = shown.setdefault(place[1:], (ident, crc, place.server, op.process))
        if first[:2] != (ident, crc):
            yield {'at': place, 'values': [first[0], ident], 'read_by': [first[3], op.process]}
    places = h.final_places()
    for op in h.in_order_of_end('send'):
        ranges = collections.defaultdict(list)
        for topic, partition, first, last in op.result.get('ranges', ()):
            ranges[(topic, partition)].append((first, last))
        for value in op.values if ranges else ():
            for place in places.get(value.id, ()) if value.fate == 'keep' else ():
                if not any(a <= place.offset <= b
                           for a, b in ranges[(place.topic, place.partition)]):
                    yield {'value': value.id, 'at': place,
                           'told': sorted(map(list, op.result['ranges']))}
        for ident, partition, offset in op.result.get('at', ()):
            for place in places.get(ident, ()):
                if (place.partition, place.offset) != (partition, offset):
                    yield {'value': ident, 'at': place, 'told': [partition, offset]}


def readers(h):
    """(reader, topic, partition) -> its successful polls, in order."""
    found = collections.defaultdict(list)
    for op in h.in_order_of_end('poll'):
        found[(op.process, op.invoke.get('server', 'main'), op.invoke['topic'],
               op.invoke['partition'])].append(op)
    return found


def poll_skip(h):
    """Successive reads of a partition pass over a message that exists there."""
    known = h.known_offsets()
    floors = stable_floors(h)
    for (process, server, topic, partition), ops in readers(h).items():
        offsets = known.get((topic, partition), [])
        position = None
        for op in ops:
            if position is None or op.invoke.get('seek'):
                position = op.invoke['from']
            for offset, _, _ in op.result['msgs']:
                missed = offsets[bisect.bisect_left(offsets, position):
                                 bisect.bisect_left(offsets, offset)]
                if missed:
                    yield {'reader': process, 'topic': topic, 'partition': partition,
                           'skipped': missed[:10], 'next_read': offset}
                position = max(position, offset + 1)
            if not op.result['msgs'] and floors.get(id(op), 0) > position:
                missed = offsets[bisect.bisect_left(offsets, position):
                                 bisect.bisect_left(offsets, floors[id(op)])]
                if missed:
                    yield {'reader': process, 'topic': topic, 'partition': partition,
                           'skipped': missed[:10], 'why': 'nothing was returned below '
                           'the last stable offset %d' % floors[id(op)]}


def non_monotonic_poll(h):
    """Successive reads of a partition go back, with no seek between."""
    for (process, server, topic, partition), ops in readers(h).items():
        position = None
        for op in ops:
            if position is None or op.invoke.get('seek'):
                position = op.invoke['from']
            for offset, _, _ in op.result['msgs']:
                if offset < position:
                    yield {'reader': process, 'topic': topic, 'partition': partition,
                           'expected_from': position, 'read': offset}
                position = max(position, offset + 1)


def non_monotonic_send(h):
    """A session's acknowledged sends to a partition have decreasing offsets."""
    places = h.final_places()
    last = {}
    for op in h.in_order_of_end('send'):
        for value in op.values:
            if value.fate != 'keep' or value.repeat:
                continue
            for place in places.get(value.id, ())[:1]:
                key = (op.process, place.topic, place.partition)
                if key in last and place.offset <= last[key][0]:
                    yield {'session': op.process, 'value': value.id, 'at': place,
                           'after': list(last[key])}
                last[key] = (place.offset, value.id)


def stable_observations(h):
    """(start, end, op, server, topic, partition, {name: at least this}) of all reads."""
    for op in h.ops:
        if op.outcome != 'ok' or op.f not in ('poll', 'final', 'offsets'):
            continue
        server = op.invoke.get('server', 'main')
        if op.f == 'offsets':
            for topic, partition, earliest, latest, stable in op.result['rows']:
                yield op, (server, topic, partition), {
                    'log start': earliest, 'high watermark': latest, 'last stable': stable}
        elif op.result['msgs']:
            yield op, (server, op.invoke['topic'], op.invoke['partition']), {
                'last stable': op.result['msgs'][-1][0] + 1}


def sweep(h, each):
    """
    Calls each(op, key, seen, floor) for every observation, where floor holds
    the highest values of observations that had ended before this one began.
    """
    events = []
    for op, key, seen in stable_observations(h):
        events.append((op.start, 0, len(events), op, key, seen))
        events.append((op.end, 1, len(events), op, key, seen))
    for op in h.ops:
        if op.f == 'poll' and op.outcome == 'ok' and not op.result['msgs']:
            key = (op.invoke.get('server', 'main'), op.invoke['topic'], op.invoke['partition'])
            events.append((op.start, 0, len(events), op, key, {}))
    highest = collections.defaultdict(dict)
    floors = {}
    for _, is_end, _, op, key, seen in sorted(events, key=lambda e: e[:3]):
        if not is_end:
            floors[(id(op), key)] = dict(highest[key])
            if not seen:
                each(op, key, seen, floors[(id(op), key)])
            continue
        each(op, key, seen, floors[(id(op), key)])
        for name, value in seen.items():
            highest[key][name] = max(highest[key].get(name, value), value)


def stable_floors(h):
    """id(op) -> last stable offset that was certain when the read began."""
    floors = {}

    def each(op, key, seen, floor):
        if op.f == 'poll' and 'last stable' in floor:
            floors[id(op)] = floor['last stable']
    sweep(h, each)
    return floors


def watermark_regression(h):
    """Log start, last stable offset or high watermark went back, or crossed."""
    found = []

    def each(op, key, seen, floor):
        if op.f != 'offsets':
            return              # reading an old message again is no regression
        for name, value in seen.items():
            if value < floor.get(name, value):
                found.append({'at': key, 'name': name, 'was': floor[name], 'is': value,
                              'seen_by': op.process})
        if seen and not seen['log start'] <= seen['last stable'] <= seen['high watermark']:
            found.append({'at': key, 'name': 'order', 'is': seen, 'seen_by': op.process})
    sweep(h, each)
    for op in h.ops:
        error = op.result.get('error') or {}
        if error.get('sqlstate') == 'MQ005' and op.f in ('poll', 'final'):
            found.append({'at': (op.invoke.get('server', 'main'), op.invoke['topic'],
                                 op.invoke['partition']),
                          'name': 'a position read before is out of range',
                          'is': error.get('message'), 'seen_by': op.process})
    return found


def atomicity(h):
    """Rows and messages of a transaction do not stand or fall together."""
    places = h.final_places()
    for op in h.ops:
        kept = [v for v in op.values if v.fate == 'keep']
        there = [v for v in kept if v.id in places]
        if op.f == 'send' and op.outcome == 'info' and 0 < len(there) < len(kept):
            yield {'session': op.process, 'why': 'part of a transaction',
                   'there': [v.id for v in there][:10],
                   'absent': [v.id for v in kept if v.id not in places][:10]}
    if h.rows is None:
        return
    rows = collections.Counter(h.rows)
    messages = collections.Counter({i: len(p) for i, p in places.items()
                                    if i in h.values and h.values[i].row})
    for ident in sorted(set(rows) | set(messages)):
        if rows[ident] != messages[ident]:
            yield {'value': ident, 'rows': rows[ident], 'messages': messages[ident]}


def divergence(h):
    """Two servers differ below the lower of their ends, or in their rows."""
    for server, ids in sorted(h.rows_of.items()):
        if sorted(ids) != sorted(h.rows or ()):
            yield {'server': server, 'rows': len(ids), h.main_server(): len(h.rows or ())}
    servers = sorted(h.final)
    if len(servers) < 2:
        return
    maps = {s: {p[1:]: (i, c) for p, i, c in h.final[s]} for s in servers}
    for (server, topic, partition), op in sorted(h.ends.items(), key=lambda x: x[0]):
        one = h.main_server()
        other = h.ends.get((one, topic, partition))
        if server == one or other is None:
            continue
        first = max(op.result['start'], other.result['start'])
        end = min(op.result['end'], other.result['end'])
        for offset in range(first, end):
            here, there = (maps[s].get((topic, partition, offset)) for s in (one, server))
            if here != there:
                yield {'topic': topic, 'partition': partition, 'offset': offset,
                       one: here, server: there}


def damage(h):
    """The server reported damage (XX001) that nobody did."""
    for op in h.ops:
        error = op.result.get('error') or {}
        if error.get('sqlstate') in ('XX001', 'XX002'):
            yield {'op': op.f, 'process': op.process, 'message': error.get('message')}


def unexpected_error(h):
    """An operation failed in a way that the run does not explain."""
    for op in h.ops:
        state = (op.result.get('error') or {}).get('sqlstate')
        if state and state not in h.allowed and not state.startswith('08') and \
                state not in ('XX001', 'XX002', 'MQ005'):
            yield {'op': op.f, 'process': op.process, 'sqlstate': state,
                   'message': op.result['error'].get('message')}


def no_final_read(h):
    """A run that ended without reading everything has proved nothing."""
    topics = {(v.topic) for v in h.values.values() if v.id in h.acked}
    read = {topic for _, topic, _ in h.ends}
    for topic in sorted(topics - read):
        yield {'topic': topic}
    for op in h.ops:
        if op.f == 'final' and op.outcome != 'ok':
            yield {'topic': op.invoke['topic'], 'partition': op.invoke['partition'],
                   'error': op.result.get('error')}


RULES = (
    ('lost write', lost_write),
    ('aborted read', aborted_read),
    ('phantom', phantom),
    ('duplicate', duplicate),
    ('inconsistent offset', inconsistent_offset),
    ('poll skip', poll_skip),
    ('non-monotonic poll', non_monotonic_poll),
    ('non-monotonic send', non_monotonic_send),
    ('watermark regression', watermark_regression),
    ('row/message atomicity', atomicity),
    ('divergence', divergence),
    ('damage', damage),
    ('unexpected error', unexpected_error),
    ('no final read', no_final_read),
)


def judge(history, allowed=EXPECTED_ERRORS):
    """The verdict as a dict."""
    history.allowed = set(allowed)
    violations = {}
    for name, rule in RULES:
        found = list(rule(history))
        if found:
            violations[name] = {'count': len(found), 'first': found[:SHOWN]}
    outcomes = collections.Counter('%s %s' % (op.f, op.outcome) for op in history.ops)
    return {
        'ok': not violations,
        'violations': violations,
        'acked': len(history.acked),
        'sent': len(history.values),
        'read': len(history.reads),
        'final': {s: len(v) for s, v in sorted(history.final.items())},
        'rows': None if history.rows is None else len(history.rows),
        'operations': dict(sorted(outcomes.items())),
        'errors': dict(sorted(history.errors.items())),
    }


def report(verdict, out=sys.stdout):
    print('sent %(sent)d, acknowledged %(acked)d, read %(read)d, final %(final)s, '
          'rows %(rows)s' % verdict, file=out)
    print('operations: %s' % ', '.join('%s %d' % x for x in verdict['operations'].items()),
          file=out)
    if verdict['errors']:
        print('errors: %s' % ', '.join('%s %d' % x for x in verdict['errors'].items()),
              file=out)
    for name, what in verdict['violations'].items():
        print('VIOLATED %s: %d times' % (name, what['count']), file=out)
        for detail in what['first'][:5]:
            print('    %s' % json.dumps(detail, default=str), file=out)
    print('verdict: %s' % ('ok' if verdict['ok'] else 'violated: ' +
                           ', '.join(verdict['violations'])), file=out)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('history', nargs='+')
    parser.add_argument('--acked', nargs='*', default=[])
    parser.add_argument('--verdict')
    parser.add_argument('--min-acked', type=int, default=1)
    parser.add_argument('--allow', default='')
    args = parser.parse_args()
    history = History()
    try:
        history.load(args.history)
        history.load_acked(args.acked)
        if len(history.acked) < args.min_acked:
            raise BadInput('only %d values were acknowledged' % len(history.acked))
    except (BadInput, OSError, KeyError) as e:
        print('checker: cannot judge: %s' % e, file=sys.stderr)
        return 2
    verdict = judge(history, EXPECTED_ERRORS + tuple(filter(None, args.allow.split(','))))
    if args.verdict:
        with open(args.verdict, 'w') as f:
            json.dump(verdict, f, indent=1, default=str)
            f.write('\n')
    report(verdict)
    return 0 if verdict['ok'] else 1


if __name__ == '__main__':
    sys.exit(main())
