# Worker processes: ended in every way they come back; they stand in nobody's
# way while they run; the server lives without them.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my @workers = ('mq_ext launcher', 'mq_ext janitor', 'mq_ext settler');

# Waits for a process of this type that is not the given one.
sub wait_for_successor
{
	my ($server, $type, $pid) = @_;
	return $server->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = '$type' AND pid <> $pid");
}

sub count_messages
{
	my ($server, $db) = @_;
	return $server->safe_psql($db // 'postgres',
		q{SELECT count(*) FROM mq.fetch_text('t', 0, 0, 100000)});
}

my $node = new_node('workers');
worker_pid($node, $_) foreach @workers;
$node->safe_psql('postgres', q{SELECT mq.create_topic('t')});
produce($node, 't', ['first']);
my $produced = 1;

# Idle workers

$node->poll_query_until('postgres', <<'SQL') or die 'workers do not become idle';
SELECT count(*) = 3 FROM pg_stat_activity
WHERE backend_type LIKE 'mq\_ext %' AND application_name = backend_type AND state = 'idle'
  AND xact_start IS NULL AND backend_xid IS NULL AND backend_xmin IS NULL AND datid IS NULL
SQL
pass('idle workers hold no transaction, no xmin and no database');

is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type LIKE 'mq\_ext %' AND locktype <> 'virtualxid'}),
	'0', 'idle workers hold no lock');

# SIGTERM

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
foreach my $type (@workers)
{
	my $pid = worker_pid($node, $type);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(wait_for_successor($node, $type, $pid), "$type comes back after SIGTERM");
}
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 3 AND count(DISTINCT backend_type) = 3 FROM pg_stat_activity WHERE backend_type LIKE 'mq\_ext %'}),
	'each of them once');

# both at once: the new launcher must find or replace what is there
my @pids = map { worker_pid($node, $_) } @workers;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(p) FROM unnest('{" . join(',', @pids) . "}'::int[]) p");
ok(wait_for_successor($node, $workers[$_], $pids[$_]), "$workers[$_] comes back after SIGTERM to all")
  foreach 0 .. $#workers;
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server did not restart');

# a query cancel means nothing to them
@pids = map { worker_pid($node, $_) } @workers;
$node->safe_psql('postgres', "SELECT pg_cancel_backend(p) FROM unnest('{" . join(',', @pids) . "}'::int[]) p");

# a commit that nobody flushes is published by the settler
$node->safe_psql('postgres', q{SET synchronous_commit = off; SELECT mq.produce('t', 'async')});
$produced++;
ok($node->poll_query_until('postgres', "SELECT count(*) = $produced FROM mq.fetch_text('t', 0, 0, 1000)"),
	'an asynchronous commit is published');
is_deeply([ map { worker_pid($node, $_) } @workers ], \@pids, 'a query cancel does nothing');

# Reload and signals between processes

my $log = log_end($node);
$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($_)") foreach @pids;
$node->wait_for_log(qr/\[$_\] .*logging memory contexts of PID $_/, $log) foreach @pids;
pass('workers answer signals');
$node->safe_psql('postgres', q{ALTER SYSTEM SET log_min_messages = debug2});
$node->reload;
$node->safe_psql('postgres', q{ALTER SYSTEM RESET log_min_messages});
$node->reload;
is_deeply([ map { worker_pid($node, $_) } @workers ], \@pids, 'a reload leaves the workers alone');

# Databases

$node->safe_psql('postgres', 'CREATE DATABASE one');
$node->safe_psql('one', 'CREATE EXTENSION mq_ext');
$node->safe_psql('one', q{SELECT mq.create_topic('t')});
produce($node, 't', ['in one'], db => 'one');
my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'one'});
ok(-d $node->data_dir . "/pg_mq/$oid", 'the database has a folder');

$node->safe_psql('postgres', 'CREATE DATABASE two TEMPLATE one');
pass('CREATE DATABASE ... TEMPLATE while workers run');
$node->safe_psql('postgres', 'ALTER DATABASE one RENAME TO three');
is(count_messages($node, 'three'), '1', 'ALTER DATABASE ... RENAME while workers run');
$node->safe_psql('postgres', 'DROP DATABASE three');
wait_until(sub { !-e $node->data_dir . "/pg_mq/$oid" }, 'the folder of the dropped database is gone');
pass('DROP DATABASE while workers run; its folder goes');
$node->safe_psql('postgres', 'DROP DATABASE two');
is(count_messages($node), $produced, 'other databases keep their messages');

# SIGKILL: the server restarts by itself, and everything with it

foreach my $type (@workers)
{
	my $pid = worker_pid($node, $type);
	produce($node, 't', ["before the end of $type"]);
	$produced++;
	kill_process($pid);
	ok(wait_for_successor($node, $type, $pid), "$type comes back after SIGKILL");
	worker_pid($node, $_) foreach @workers;
	is(count_messages($node), $produced, 'no message is lost');
}
offsets_in_order($node);

# A fast shutdown does not wait, neither for workers nor for sleepers

my $sleeper = $node->background_psql('postgres', on_error_stop => 0);
$sleeper->query_until(qr/sleeping/, "\\echo sleeping\nCALL mq.wait(topics => '{t}', timeout => '10 min');\n");
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL mq.wait%' AND wait_event = 'Extension' AND backend_xmin IS NULL}),
	'a session sleeps');
my $before = time;
$node->stop('fast');
cmp_ok(time - $before, '<', 30, 'a fast shutdown is fast');
eval { $sleeper->quit };

# Too few worker processes: a warning with numbers, and the server is up

foreach my $slots (0, 2, 3)
{
	$log = log_end($node);
	$node->append_conf('postgresql.conf', "max_worker_processes = $slots");
	$node->start;
	$node->wait_for_log(
		qr/WARNING: .*(too few worker processes for mq_ext|could not start worker process).*\n.*DETAIL: .*$slots.*\n.*HINT: .*max_worker_processes/,
		$log);
	pass("$slots worker processes: the log says so");
	produce($node, 't', ["with $slots worker processes"]);
	$produced++;
	is(count_messages($node), $produced, 'produce and fetch work');
	$node->stop('fast');
}
$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->start;

# On a standby they run too, and notice promotion

my $standby = new_standby($node, 'workers_standby');
my @standby_pids = map { worker_pid($standby, $_) } @workers;
$node->stop('fast');
$standby->promote;
$standby->safe_psql('postgres', q{SET synchronous_commit = off; SELECT mq.produce('t', 'async, promoted')});
$produced++;
ok($standby->poll_query_until('postgres', "SELECT count(*) = $produced FROM mq.fetch_text('t', 0, 0, 1000)"),
	'an asynchronous commit is published after promotion');
is_deeply([ map { worker_pid($standby, $_) } @workers ], \@standby_pids, 'by the same processes');
$standby->stop('fast');

done_testing();
