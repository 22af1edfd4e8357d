# A hot standby answers like its primary; promotion loses nothing and shows
# nothing that was not committed.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqTest;

my $primary = new_node('primary', conf => "wal_keep_size = '64MB'");
my $standby = new_standby($primary, 'standby');

sub same_answers
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	my @here = read_topic($primary, 'orders');
	my @there = read_topic($standby, 'orders');
	is_deeply(\@there, \@here, "$what: the same messages");
	is_deeply(offsets($standby, 'orders'), offsets($primary, 'orders'), "$what: the same offsets");
	return scalar @here;
}

$primary->safe_psql('postgres', q{SELECT mq.create_topic('orders', 3, '{"segment.bytes": 65536}')});
same_answers('an empty topic');

$primary->safe_psql('postgres', q{
	SELECT count(mq.produce('orders', repeat(i::text, 20), key => i::text)) FROM generate_series(1, 3000) i});
is(same_answers('many messages in several segments'), 3000, 'all of them');

# savepoints and rollbacks
$primary->safe_psql('postgres', q{
	BEGIN;
	SELECT mq.produce('orders', 'kept', partition => 0);
	SAVEPOINT a;
	SELECT mq.produce('orders', 'gone', partition => 0);
	ROLLBACK TO a;
	COMMIT;
	BEGIN; SELECT mq.produce('orders', 'gone too', partition => 1); ROLLBACK;
});
same_answers('after rollbacks');

# a transaction that fails after its messages were appended: a deferred
# unique violation comes before, a serialization failure after PRE_COMMIT
$primary->safe_psql('postgres', q{CREATE TABLE s (k int PRIMARY KEY, v int); INSERT INTO s VALUES (1, 0), (2, 0)});
my $one = $primary->background_psql('postgres', on_error_stop => 0);
my $two = $primary->background_psql('postgres', on_error_stop => 0);
$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE') foreach ($one, $two);
$_->query('SELECT sum(v) FROM s') foreach ($one, $two);
$one->query('UPDATE s SET v = 1 WHERE k = 1');
$two->query('UPDATE s SET v = 1 WHERE k = 2');
$one->query(q{SELECT mq.produce('orders', 'first', partition => 2)});
$two->query(q{SELECT mq.produce('orders', 'second', partition => 2)});
$one->query('COMMIT');
$two->query('COMMIT');
$_->quit foreach ($one, $two);
same_answers('after a serialization failure');
is($primary->safe_psql('postgres', q{SELECT count(*) FROM mq.fetch_text('orders', 2, max_messages => 100000) WHERE value IN ('first', 'second')}),
	1, 'only one of the two is seen');

# reading is all a standby does
my ($rc, $out, $err) = $standby->psql('postgres', q{\set VERBOSITY verbose
SELECT mq.produce('orders', 'x')});
like($err, qr/25006/, 'produce on a standby is refused');
like($err, qr/primary/, 'with a hint');

# a transaction open on the primary: its messages are nowhere
my $open = $primary->background_psql('postgres');
$open->query_safe(q{BEGIN; SELECT mq.produce('orders', 'open', partition => 0)});
same_answers('with a transaction open');

# restart of the standby, kill of the standby
$standby->restart;
same_answers('after a restart of the standby');
$primary->safe_psql('postgres', q{SELECT count(mq.produce('orders', 'more', key => i::text)) FROM generate_series(1, 500) i});
crash($standby);
$standby->start;
same_answers('after a crash of the standby');

# a restartpoint, then a crash
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
$primary->safe_psql('postgres', q{SELECT count(mq.produce('orders', 'after', key => i::text)) FROM generate_series(1, 500) i});
crash($standby);
$standby->start;
same_answers('after a restartpoint and a crash');

# what WAL holds of us can be read on both
my $start = $primary->lsn('insert');
$primary->safe_psql('postgres', q{SELECT mq.produce('orders', 'one more', partition => 1)});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($primary->safe_psql('postgres', qq{SELECT record_type, partition, records FROM mq.wal_records('$start') WHERE record_type = 'APPEND'}),
	'APPEND|1|1', 'the append in WAL');
is($standby->safe_psql('postgres', qq{SELECT record_type, partition, records FROM mq.wal_records('$start') WHERE record_type = 'APPEND'}),
	'APPEND|1|1', 'the same on the standby');

# long poll on the standby: woken by what the primary commits
my $sleeper = $standby->background_psql('postgres');
$sleeper->query_until(qr/asleep/, q{
\echo asleep
CALL mq.wait('{orders}', '60 s');
\echo woken
});
$standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL mq.wait%' AND wait_event_type = 'Extension'})
  or die 'nobody sleeps';
produce($primary, 'orders', ['wake up'], partition => 2);
$sleeper->query_until(qr/woken/, '');
pass('a sleeper on the standby is woken');
$sleeper->quit;

# a standby with fewer places for open partitions than there are partitions
$primary->safe_psql('postgres', q{SELECT mq.create_topic('wide', 40)});
$standby->append_conf('postgresql.conf', 'mq.max_partitions = 16');
$standby->restart;
foreach my $round (1 .. 3)
{
	$primary->safe_psql('postgres', qq{SELECT count(mq.produce('wide', '$round-' || i, partition => i % 40)) FROM generate_series(0, 399) i});
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	is_deeply([ read_topic($standby, 'wide') ], [ read_topic($primary, 'wide') ], "40 partitions with room for 16, round $round");
}
unlike(slurp_file($standby->logfile), qr/has a hole|is damaged/, 'and no damage is seen where there is none');

# promotion: the open transaction is gone, the log goes on, the epoch shows it
my $count = same_answers('before promotion');
my $table = q{SELECT partition, count(*), min(msg_offset), sum(hashtext(encode(value, 'hex'))) FROM mq_topics.orders GROUP BY 1 ORDER BY 1};
isnt($primary->safe_psql('postgres', $table), '', 'the table has rows');
is($standby->safe_psql('postgres', $table), $primary->safe_psql('postgres', $table), 'the table shows the same');
is(($standby->psql('postgres', q{INSERT INTO mq_topics.orders (value) VALUES ('x')}))[0], 3, 'and takes no rows on a standby');
my $ends = offsets($standby, 'orders');
$standby->promote;
is(scalar(read_topic($standby, 'orders')), $count, 'all messages after promotion');
produce($standby, 'orders', ['new primary'], partition => 0);
is($standby->safe_psql('postgres', q{SELECT value FROM mq.fetch_text('orders', 0, } . $ends->{0}{last_stable} . ')'),
	'new primary', 'the promoted server goes on where the log ended');
is($standby->safe_psql('postgres', q{SELECT leader_epoch FROM mq.partitions WHERE topic = 'orders' AND partition = 0}),
	1, 'with the next leader epoch');
offsets_in_order($standby);
crash($standby);
$standby->start;
is(scalar(read_topic($standby, 'orders')), $count + 1, 'and after a crash of it');

# the transaction that was open on the old primary may still commit there
$open->query_safe('COMMIT');
is($primary->safe_psql('postgres', q{SELECT count(*) FROM mq.fetch_text('orders', 0, max_messages => 100000) WHERE value = 'open'}),
	1, 'on its own primary it commits');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM mq.fetch_text('orders', 0, max_messages => 100000) WHERE value = 'open'}),
	0, 'on the promoted server it never was');

$standby->stop;
$primary->stop;
done_testing();
