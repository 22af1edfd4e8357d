# Statistics: they survive a clean restart and nothing else, a damaged file
# costs nothing but the counters, old partitions make way for new ones, sums
# are exact under load, a standby counts for itself; what workers tell.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $columns = 'partition, messages_in, bytes_in, batches_in, messages_out, bytes_out, produce_calls, fetch_calls,'
  . ' produce_time, rejected, filtered_out, retention_deleted_messages, retention_deleted_bytes, reads, read_bytes, read_time';

# All counters of a topic, with or without the time of the reset.
sub counters
{
	my ($server, $topic, $more) = @_;
	$more //= '';
	return $server->safe_psql('postgres',
		"SELECT $columns$more FROM mq.stat_partitions WHERE topic = '$topic' ORDER BY partition");
}

sub sums
{
	my ($server, $topic, $what, $db) = @_;
	return $server->safe_psql($db // 'postgres', "SELECT $what FROM mq.stat_topics WHERE topic = '$topic'");
}

# The file that keeps them while the server is down.
sub stat_file
{
	my ($server) = @_;
	return $server->data_dir . '/pg_stat/mq_ext.stat';
}

sub spew
{
	my ($path, $content) = @_;
	open my $fh, '>:raw', $path or die "could not write $path: $!";
	print $fh $content;
	close $fh or die "could not write $path: $!";
	return;
}

my $node = new_node('stat', conf => "mq.max_partitions = 16\nmq.track_io_timing = on");
$node->safe_psql('postgres', q{SELECT mq.create_topic('t', 2), mq.create_topic('gone')});
produce($node, 't', [ 1 .. 10 ], partition => 0);
produce($node, 't', [ 1 .. 5 ], partition => 1);
produce($node, 'gone', ['x']);
$node->safe_psql('postgres', q{SELECT mq.drop_topic('gone')});
fetch($node, 't', 0);
$node->psql('postgres', q{SET mq.min_free_disk = '2147483647kB'; SELECT mq.produce('t', 'no space', partition => 1)});

# Clean restarts

my $before = counters($node, 't', ', stats_reset');
like($before, qr/\A0\|10\|.*\n1\|5\|/, 'something was counted');
ok(!-e stat_file($node), 'a running server has no file');
foreach my $mode ('fast', 'smart')
{
	$node->stop($mode);
	ok(-s stat_file($node), "a $mode shutdown leaves a file");
	ok(!-e stat_file($node) . '.tmp', 'and nothing besides');
	$node->start;
	is(counters($node, 't', ', stats_reset'), $before, 'the counters are there again');
	ok(!-e stat_file($node), 'the file is not');
}
produce($node, 't', [11], partition => 0);
is(sums($node, 't', 'messages_in, produce_calls, rejected, messages_out'), '16|16|1|10', 'and go on');

# After anything else they begin at zero

my $zero = join "\n", map { join '|', $_, (0) x 15 } 0, 1;
my $log = log_end($node);
$node->stop('immediate');
$node->start;
is(counters($node, 't'), $zero, 'zero after an immediate shutdown');
$node->wait_for_log(qr/LOG: .*statistics begin at zero because the server was not shut down/, $log);

produce($node, 't', ['x'], partition => 0);
crash($node);
$node->start;
is(counters($node, 't'), $zero, 'zero after a power cut');

produce($node, 't', ['x'], partition => 0);
my $reset = sums($node, 't', 'stats_reset');
my $backend = $node->background_psql('postgres', on_error_stop => 0);
$log = log_end($node);
kill_process(scalar $backend->query('SELECT pg_backend_pid()'));
eval { $backend->quit };
$node->wait_for_log(qr/database system is ready to accept connections/, $log);
is(counters($node, 't'), $zero, 'zero after a crash of one process');
is(sums($node, 't', "stats_reset > '$reset'"), 't', 'and stats_reset tells');
is(scalar(fetch($node, 't', 0)), 13, 'the messages are all there');

# What was put in before the crash is not counted again by recovery; what is put in now is

produce($node, 't', ['x'], partition => 0);
is(sums($node, 't', 'messages_in, batches_in, produce_calls'), '1|1|1', 'only what is new is counted');

# A file that cannot be used

$node->stop;
my $good = slurp_file(stat_file($node));
my %bad = (
	'is empty' => '',
	'ends in its header' => substr($good, 0, 20),
	'ends early' => substr($good, 0, length($good) - 1),
	'is too long' => "$good\0",
	'is of another kind' => 'XXXX' . substr($good, 4),
	'is of another version' => substr($good, 0, 4) . pack('L', 2) . substr($good, 8),
	'has another entry size' => substr($good, 0, 8) . pack('L', 8) . substr($good, 12),
	'claims many entries' => substr($good, 0, 12) . pack('L', 0xffffffff) . substr($good, 16),
	'has a flipped bit' => substr($good, 0, 80) . chr(ord(substr($good, 80, 1)) ^ 1) . substr($good, 81));
foreach my $how (sort keys %bad)
{
	spew(stat_file($node), $bad{$how});
	$log = log_end($node);
	$node->start;
	$node->wait_for_log(qr/LOG: .*statistics begin at zero because file ".*mq_ext.stat" is damaged or of another version/, $log);
	is(counters($node, 't'), $zero, "a file that $how is ignored");
	ok(!-e stat_file($node), 'and removed');
	$node->stop;
}
spew(stat_file($node), $good);
$node->start;
is(sums($node, 't', 'messages_in, batches_in, produce_calls'), '1|1|1', 'the good one is taken');

# A transaction that fails after its append

SKIP:
{
	skip 'the installed library has no fault points', 1
	  if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'mq.faults'}) eq '0';
	my $end = offsets($node, 't')->{1}{latest};
	$node->psql('postgres', q{SET mq.faults = 'pre_commit_done:error'; SELECT mq.produce('t', 'x', partition => 1)});
	cmp_ok(offsets($node, 't')->{1}{latest}, '>', $end, 'a failed transaction has left its batch');
	is(sums($node, 't', 'messages_in, batches_in, produce_calls, rejected'), '1|1|1|0', 'it is not counted');
}
$node->safe_psql('postgres', q{SET synchronous_commit = off; SELECT mq.produce('t', 'x', partition => 1)});
is(sums($node, 't', 'messages_in, batches_in, produce_calls'), '2|2|2', 'an asynchronous commit is');

# More partitions than there are places: 16 are open, 32 have counters

$node->safe_psql('postgres', q{SELECT mq.create_topic('many', 100)});
my $hot = 0;
$reset = sums($node, 'many', 'stats_reset');
foreach my $partition (0 .. 99)
{
	$node->safe_psql('postgres', <<"SQL");
SELECT mq.produce('many', 'x', partition => $partition);
SELECT mq.produce('t', 'x', partition => 0);
SQL
	$hot++;
}
my ($counted, $last, $rows) = split /\|/, $node->safe_psql('postgres', <<'SQL');
SELECT count(*) FILTER (WHERE messages_in = 1), bool_and(messages_in = 1) FILTER (WHERE partition >= 90), count(*)
FROM mq.stat_partitions WHERE topic = 'many'
SQL
cmp_ok($counted, '>=', 16, 'those in use have their counters');
cmp_ok($counted, '<', 32, 'old ones have made way');
is($last, 't', 'the latest are there');
is($rows, '100', 'every partition has a row');
is($node->safe_psql('postgres', q{SELECT messages_in FROM mq.stat_partitions WHERE topic = 't' AND partition = 0}),
	1 + $hot, 'one that is always in use has lost nothing');
is($node->safe_psql('postgres', "SELECT bool_and(stats_reset > '$reset') FROM mq.stat_partitions WHERE topic = 'many' AND messages_in = 0"),
	't', 'and count from a later time on');
$node->restart;
$node->safe_psql('postgres', 'SELECT count(*) FROM mq.partitions');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM mq.stat_partitions WHERE messages_in > 0}),
	'>=', 16, 'who looks at all partitions after a restart takes the counters from few');

# Sums under load

$node->safe_psql('postgres', q{SELECT mq.create_topic('load', 4)});
my $script = $PostgreSQL::Test::Utils::tmp_check . '/stat.pgbench';
spew($script, <<'SQL');
SELECT mq.produce('load', 'x', key => :client_id || '-' || random()::text);
BEGIN;
SELECT mq.produce_batch('load', '{1,2,3}', '{a,b,c}');
SELECT mq.produce('load', 'async', transactional => false);
COMMIT;
SELECT count(*) FROM mq.fetch('load', 1, 0, max_messages => 7);
SQL
$node->command_ok([ 'pgbench', '-n', '-c', '8', '-t', '100', '-f', $script, 'postgres' ], 'a load of 8 sessions');
is(sums($node, 'load', 'messages_in, produce_calls, fetch_calls'), '4000|2400|800', 'nothing is lost, nothing counted twice');
is($node->safe_psql('postgres', <<'SQL'), 't', 'partitions hold what was counted');
SELECT bool_and(s.messages_in = p.last_stable_offset AND s.bytes_in =
	(SELECT sum(size_bytes) FROM mq.segments g WHERE (g.topic, g.partition) = (p.topic, p.partition)))
FROM mq.stat_partitions s JOIN mq.partitions p USING (topic, partition) WHERE topic = 'load'
SQL

# Databases do not see one another's, nor reset them

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION mq_ext});
$node->safe_psql('other', q{SELECT mq.create_topic('load')});
produce($node, 'load', ['x'], db => 'other');
is($node->safe_psql('other', 'SELECT string_agg(topic, $$,$$) FROM mq.stat_topics'), 'load', 'a database shows its topics');
$node->safe_psql('other', 'SELECT mq.stat_reset()');
is(sums($node, 'load', 'messages_in', 'other'), '0', 'a reset of all is one of this database');
is(sums($node, 'load', 'messages_in'), '4000', 'the others keep theirs');

# A standby counts what it reads itself

my $standby = new_standby($node, 'stat_standby');
ok(!-e stat_file($standby), 'a base backup has no file');
$node->wait_for_catchup($standby);
is(sums($standby, 'load', 'messages_in, messages_out, fetch_calls'), '0|0|0', 'a standby begins at zero');
$standby->safe_psql('postgres', q{SELECT count(*) FROM mq.fetch('load', 0, 0, max_messages => 10)});
is(sums($standby, 'load', 'messages_in, messages_out, fetch_calls'), '0|10|1', 'and counts its reads');
$standby->restart;
is(sums($standby, 'load', 'messages_in, messages_out, fetch_calls'), '0|10|1', 'a restart keeps them');
$standby->safe_psql('postgres', q{SELECT mq.stat_reset('load')});
is(sums($standby, 'load', 'messages_out, fetch_calls'), '0|0', 'they can be reset there');
produce($node, 'load', ['x'], partition => 0);
$node->wait_for_catchup($standby);
is(sums($standby, 'load', 'messages_in'), '0', 'what redo brings is not counted');
$standby->stop;

# Workers

sub worker
{
	my ($kind, $condition) = @_;
	return $node->poll_query_until('postgres', "SELECT $condition FROM mq.stat_workers WHERE worker_type = '$kind'");
}

ok(worker($_, q{state = 'idle' AND pid IS NOT NULL AND busy_time > 0}), "the $_ is idle") foreach qw(launcher janitor settler);
my $pid = worker_pid($node, 'mq_ext janitor');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(worker('janitor', "restarts = 1 AND pid <> $pid"), 'a restart is counted');
ok(worker('settler', 'restarts = 0'), 'for the one that was restarted');

SKIP:
{
	skip 'the installed library has no fault points', 1
	  if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'mq.faults'}) eq '0';
	set_faults($node, 'settle_before_hints:error');
	produce($node, 't', ['x']);
	ok(worker('settler', q{last_error LIKE '%settle_before_hints%' AND last_error_at <= now()}), 'an error of a tick is shown');
	clear_faults($node);
	ok(worker('settler', q{state = 'idle' AND last_error IS NOT NULL AND restarts = 0}), 'and stays to be seen');
}

$node->append_conf('postgresql.conf', "max_worker_processes = 2\nmax_logical_replication_workers = 0");
$node->restart;
ok(worker('launcher', q{pid IS NOT NULL AND wait_reason = 'waiting to start a worker'}), 'the launcher has too few slots');
is( $node->safe_psql('postgres',
		q{SELECT state, wait_reason IS NULL, restarts FROM mq.stat_workers WHERE pid IS NULL}),
	'stopped|t|0', 'one worker is missing and has a row');
$node->stop;

done_testing();
