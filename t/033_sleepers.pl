# Sessions that wait cost the others nothing: no snapshot that holds back
# vacuum, no lock, next to no processor time while messages go elsewhere; and a
# message wakes those who wait for its topic, all of them and nobody else.
#
#	MQ_SLEEPERS=1000	how many sleep; a hundred without it
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $sleepers = $ENV{MQ_SLEEPERS} // 100;
my $half = int($sleepers / 2);
my $seconds = 4;
my $node = new_node('sleepers', conf => 'max_connections = ' . ($sleepers + 50) . "\nautovacuum = off");
$node->safe_psql('postgres', q{
	SELECT mq.create_topic(n) FROM unnest('{mine,theirs,elsewhere}'::text[]) n;
	CREATE TABLE t AS SELECT generate_series(1, 100) i;
});

# So many sessions that wait for a topic; returns the run of pgbench.
sub start_crowd
{
	my ($topic, $count) = @_;
	my $script = $node->basedir . "/wait_$topic.sql";
	my $run = { out => '', err => '' };

	append_to_file($script, "CALL mq.wait('{$topic}', '1h');\n");
	$run->{handle} = IPC::Run::start(
		[ 'pgbench', '--no-vacuum', '-c', $count, '-j', 2, '-t', 1, '-f', $script, $node->connstr('postgres') ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

sub asleep
{
	my ($topic) = @_;
	return "FROM pg_stat_activity WHERE query LIKE 'CALL mq.wait(''{$topic}''%' AND state = 'active' AND wait_event_type = 'Extension'";
}

sub wait_for_crowd
{
	my ($topic, $count) = @_;
	$node->poll_query_until('postgres', 'SELECT count(*) = ' . $count . ' ' . asleep($topic)) or die "nobody waits for $topic";
	return split /\n/, $node->safe_psql('postgres', 'SELECT pid ' . asleep($topic));
}

# Processor time of processes, in seconds; the kernel counts it in nanoseconds.
sub cpu_time
{
	my $ns = 0;
	foreach my $pid (@_)
	{
		slurp_file("/proc/$pid/schedstat") =~ /^(\d+) / or die "no figures of process $pid";
		$ns += $1;
	}
	return $ns / 1e9;
}

sub times_asleep
{
	my $sum = 0;
	foreach my $pid (@_)
	{
		slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m or die "no figures of process $pid";
		$sum += $1;
	}
	return $sum;
}

my $mine = start_crowd('mine', $half);
my $theirs = start_crowd('theirs', $sleepers - $half);
my @mine = wait_for_crowd('mine', $half);
my @theirs = wait_for_crowd('theirs', $sleepers - $half);
my @all = (@mine, @theirs);
is(scalar(@all), $sleepers, "$sleepers sessions sleep");

# What they hold

is( $node->safe_psql('postgres', 'SELECT count(backend_xmin) + count(backend_xid) ' . asleep('%')), '0', 'none has an xmin or an xid');
is( $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype <> 'virtualxid' AND pid = ANY('{" . join(',', @all) . "}')"),
	'0', 'none holds a lock');
my ($rc, $out, $err) = $node->psql('postgres', "DELETE FROM t;\nVACUUM (VERBOSE) t");
like($err, qr/100 removed, 0 remain, 0 are dead but not yet removable/, 'vacuum takes what died while they sleep');

# What they cost

my $load = $node->basedir . '/load.sql';
append_to_file($load, "SELECT mq.produce('elsewhere', 'x');\n");
my $cpu = cpu_time(@all);
my $switches = times_asleep(@all);
my $began = time;
$node->command_ok(
	[ 'pgbench', '--no-vacuum', '-c', 1, '-t', 100 * $seconds, '--rate', 100, '-f', $load, $node->connstr('postgres') ],
	'a hundred messages a second go elsewhere');
my $took = time - $began;
$cpu = cpu_time(@all) - $cpu;
is(times_asleep(@all), $switches, 'nobody was woken');
diag sprintf('%d sleepers took %.3f s of processor time in %.1f s, %.2f %% of a core', $sleepers, $cpu, $took, 100 * $cpu / $took);
cmp_ok($cpu, '<', 0.05 * $took, 'all together they take less than a twentieth of a core');

# Whom a message wakes

$node->safe_psql('postgres', q{SELECT mq.produce('mine', 'one')});
$mine->{handle}->finish;
like($mine->{out}, qr{number of transactions actually processed: $half/$half\b}, 'a message wakes all who wait for its topic')
  or diag $mine->{err};
is($node->safe_psql('postgres', 'SELECT count(*) ' . asleep('theirs')), scalar(@theirs), 'the others sleep on');
$switches = times_asleep(@theirs);
$node->safe_psql('postgres', q{SELECT mq.produce('mine', i::text, transactional => false) FROM generate_series(1, 100) i});
is(times_asleep(@theirs), $switches, 'undisturbed');
$node->safe_psql('postgres', q{SELECT mq.produce('theirs', 'one')});
$theirs->{handle}->finish;
like($theirs->{out}, qr{number of transactions actually processed: ${\scalar(@theirs)}/}, 'until theirs comes') or diag $theirs->{err};

$node->stop;
done_testing();
