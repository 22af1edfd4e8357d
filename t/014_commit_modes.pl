# synchronous_commit and synchronous_standby_names mean for a message what they
# mean for a row: asynchronous commits are seen when they are durable and not
# before, synchronous ones when the standby has confirmed them.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('primary', conf => <<'CONF');
autovacuum = off
wal_keep_size = 64MB
wal_writer_delay = 10s
CONF
$node->safe_psql('postgres', q{CREATE TABLE ledger (id text); SELECT mq.create_topic('orders')});

# Values of all messages, in order.
sub values_of
{
	my ($server) = @_;
	return $server->safe_psql('postgres', q{SELECT string_agg(value, ',' ORDER BY msg_offset) FROM mq.fetch_text('orders', 0, max_messages => 100000)});
}

# synchronous_commit = off

# While the settler stands still nobody flushes for it: the walwriter sleeps
# for 10 s, or stands still, too.
my $lsn = $node->lsn('insert');
produce($node, 'orders', ['first']);
my $settler = worker_pid($node, 'mq_ext settler');
my $walwriter = worker_pid($node, 'walwriter');
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM mq.wal_records('$lsn') WHERE record_type = 'SETTLE'")
  or die 'nothing was settled';
wait_until(sub { $node->safe_psql('postgres', "SELECT state FROM pg_stat_activity WHERE pid = $settler") eq 'idle' }, 'the settler is idle');
kill 'STOP', $settler, $walwriter;
my $async = $node->background_psql('postgres');
$async->query_safe(q{
	SET synchronous_commit = off;
	BEGIN; INSERT INTO ledger VALUES ('async'); SELECT mq.produce('orders', 'async'); COMMIT;});
is($async->query_safe('SELECT id FROM ledger'), 'async', 'an asynchronous commit: the row is seen');
is($async->query_safe('SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()'), 't', 'its commit is not flushed');
is($async->query_safe(q{SELECT string_agg(value, ',') FROM mq.fetch_text('orders', 0)}), 'first', 'its message is not seen');
is(values_of($node), 'first', 'by others neither');
is($async->query_safe('SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()'), 't', 'reading has flushed nothing');

# the crash takes it back, and nobody has read it
crash($node);
$node->start;
is(values_of($node), 'first', 'a crash takes the message back');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ledger'), '0', 'and its row');
produce($node, 'orders', ['second']);
is(values_of($node), 'first,second', 'its offset is handed out again, nobody has seen it');

# Whatever a reader has seen survives: readers race with asynchronous commits
# and the crash comes at once.
foreach my $round (1 .. 5)
{
	my $before = offsets($node, 'orders')->{0}{last_stable};
	my $writer = $node->background_psql('postgres');
	$writer->query_safe('SET synchronous_commit = off');
	my $seen = '';
	foreach my $i (1 .. 20)
	{
		$writer->query_safe("BEGIN; INSERT INTO ledger VALUES ('$round.$i'); SELECT mq.produce('orders', '$round.$i'); COMMIT;");
		$seen = values_of($node) if $i % 4 == 0;
	}
	wait_until(sub { $seen = values_of($node); $seen =~ /,$round\.\d/ }, 'one is published') if $round % 2;
	crash($node);
	$node->start;
	my $after = values_of($node);
	is(substr($after, 0, length $seen), $seen, "round $round: what was read is there after the crash");
	is($node->safe_psql('postgres', q{SELECT string_agg(id, ',' ORDER BY split_part(id, '.', 1)::int, split_part(id, '.', 2)::int) FROM ledger}),
		$after =~ s/^first,second,?//r, "round $round: rows and messages are the same");
	offsets_in_order($node);
}

# the settler publishes by itself, though the walwriter sleeps
$node->safe_psql('postgres', q{SET synchronous_commit = off; SELECT mq.produce('orders', 'published')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM mq.fetch_text('orders', 0, max_messages => 100000) WHERE value = 'published'}),
	'an asynchronous commit is published without anybody else writing');

# a synchronous commit flushes what was before it
$node->safe_psql('postgres', q{SET synchronous_commit = off; SELECT mq.produce('orders', 'off'); SET synchronous_commit = on; SELECT mq.produce('orders', 'on')});
like(values_of($node), qr/published,off,on$/, 'a synchronous commit publishes what was before it');

# Synchronous replication

my $standby = new_standby($node, 'standby', conf => "wal_retrieve_retry_interval = 100ms");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(values_of($standby), values_of($node), 'the standby has the same messages');
$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$node->reload;
$node->poll_query_until('postgres', q{SELECT sync_state = 'sync' FROM pg_stat_replication}) or die 'no synchronous standby';
my $messages = values_of($node);

sub is_waiting
{
	my ($count) = @_;
	return $node->poll_query_until('postgres', "SELECT count(*) = $count FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
}

# The standby stands still: nothing is confirmed.  What was there is read on
# both servers all the time.
$standby->stop;
my @waiting = map { $node->background_psql('postgres', on_error_stop => 0) } 0 .. 2;
my @pids = map { $_->query_safe('SELECT pg_backend_pid()') } @waiting;
my @sql = (
	q{BEGIN; INSERT INTO ledger VALUES ('w0'); SELECT mq.produce('orders', 'w0'); COMMIT;},
	q{SELECT mq.produce('orders', 'w1', transactional => false);},
	q{BEGIN; INSERT INTO ledger VALUES ('w2'); SELECT mq.produce('orders', 'w2'); COMMIT;});
foreach my $i (0 .. 2)
{
	$waiting[$i]->query_until(qr/begun/, "\\echo begun\n$sql[$i]\n\\echo done\n");
	ok(is_waiting($i + 1), "w$i waits for the standby");
	is(values_of($node), $messages, "w$i is not seen");
}
is($node->safe_psql('postgres', q{SELECT latest - last_stable FROM mq.offsets('orders')}) >= 0, 1, 'offsets can be read meanwhile');
offsets_in_order($node, 'offsets are in order while three wait');

# a message that need not wait is not seen before those that came first
$node->safe_psql('postgres', q{SET synchronous_commit = local; SELECT mq.produce('orders', 'local')});
is(values_of($node), $messages, 'a local commit is not seen before those in front of it');

# a cancelled wait: committed here, with a warning
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pids[0])");
$waiting[0]->query_until(qr/done/, '');
like($waiting[0]->{stderr}, qr/WARNING:  canceling wait for synchronous replication due to user request/, 'the client is warned');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM mq.fetch_text('orders', 0, max_messages => 100000) WHERE value = 'w0'}),
	'after the cancelled wait the message is seen');
is(values_of($node), "$messages,w0", 'and only that one');

# the standby comes back: reads on it during, then all is confirmed
$standby->start;
foreach my $i (1, 2)
{
	$waiting[$i]->query_until(qr/done/, '');
	is($waiting[$i]->{stderr}, '', "w$i: confirmed without a warning");
}
$_->quit foreach @waiting;
is(values_of($node), "$messages,w0,w1,w2,local", 'all are seen once the standby has confirmed');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(values_of($standby), values_of($node), 'on the standby, too');

# A standby that has received but does not replay: remote_apply waits for
# replay, so who reads on the standby finds what was confirmed.
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}) or die 'no pause';
my $apply = $node->background_psql('postgres');
$apply->query_until(qr/begun/, "\\echo begun\nSET synchronous_commit = remote_apply;\nSELECT mq.produce('orders', 'applied');\n\\echo done\n");
ok(is_waiting(1), 'remote_apply waits for replay');
is(values_of($standby), "$messages,w0,w1,w2,local", 'the standby answers while its replay stands still');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$apply->query_until(qr/done/, '');
is(values_of($standby), "$messages,w0,w1,w2,local,applied", 'a confirmed remote_apply is seen on the standby at once');
$apply->quit;

# Confirmed is confirmed: the primary is lost, the standby has all of it
produce($node, 'orders', ['confirmed']);
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM ledger');
$messages = values_of($node);
crash($node);
$standby->promote;
$standby->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = ''});
is(values_of($standby), $messages, 'after failover all confirmed messages are there');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM ledger'), $rows, 'and all rows');
offsets_in_order($standby);
$standby->stop;

done_testing();
