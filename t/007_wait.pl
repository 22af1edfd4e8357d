# Long polls: CALL mq.wait() sleeps without a snapshot and without a lock on
# the topic, is woken by the commit of what it waits for and by nothing else,
# and by the end of the topic.  A hundred sleepers cost nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $sleepers = 100;
my $node = new_node('wait', conf => "max_connections = 150\nmq.max_sql_wait = '1h'");
$node->safe_psql('postgres', "SELECT mq.create_topic(n) FROM unnest('{t,other,tagged}'::text[]) n");

my $past_start = q{positions => ARRAY[('t', 0, 0)]::mq.position[], timeout => '1h'};
my $writer = $node->background_psql('postgres');

# Starts a statement in a session of its own; returns when it sleeps.
sub start_waiting
{
	my ($server, $sql) = @_;
	my $session = $server->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_until(qr/started/, "\\echo started\n$sql;\n");
	is_asleep($server, $pid);
	return ($session, $pid);
}

sub is_asleep
{
	my ($server, $pid) = @_;
	$server->poll_query_until('postgres',
		"SELECT state = 'active' AND wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
	  or die "process $pid does not sleep";
	return;
}

# What the sleeper holds back or keeps locked.
sub holds
{
	my ($server, $pid) = @_;
	return $server->safe_psql('postgres', <<"SQL");
SELECT coalesce(backend_xid::text, '-'), coalesce(backend_xmin::text, '-'),
	(SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND locktype = 'relation')
FROM pg_stat_activity a WHERE pid = $pid
SQL
}

sub switches
{
	my (@pids) = @_;
	my $sum = 0;
	foreach my $pid (@pids)
	{
		slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m
		  or die "no figures of process $pid";
		$sum += $1;
	}
	return $sum;
}

# Alone, in a transaction, in a DO block

my ($session, $pid) = start_waiting($node, "CALL mq.wait($past_start)");
is(holds($node, $pid), '-|-|0', 'a sleeping CALL holds no xid, no xmin, no lock');
$writer->query_safe(q{BEGIN; SELECT mq.produce('t', 'never'); ROLLBACK});
$writer->query_safe(q{BEGIN; SELECT mq.produce('t', 'first')});
is_asleep($node, $pid);
pass('what is not committed wakes nobody');
$writer->query_safe('COMMIT');
is($session->query_safe("SELECT value FROM mq.fetch_text('t')"), "t\nfirst", 'a commit wakes');
$session->quit;

$past_start =~ s/0, 0/0, 1/;
($session, $pid) = start_waiting($node, "BEGIN; CALL mq.wait($past_start)");
is(holds($node, $pid), '-|-|0', 'nor does one in a READ COMMITTED transaction');
$writer->query_safe(q{SELECT mq.produce('t', 'second', transactional => false)});
is($session->query_safe("SELECT value FROM mq.fetch_text('t', 0, 1); COMMIT"), "t\nsecond",
	'a produce without transaction wakes');
$session->quit;

$past_start =~ s/0, 1/0, 2/;
($session, $pid) = start_waiting($node,
	"DO \$\$DECLARE r boolean; BEGIN CALL mq.wait($past_start, ready => r);"
	  . " PERFORM mq.produce('other', r::text); END\$\$");
is(holds($node, $pid), '-|-|0', 'nor one in a DO block');
$writer->query_safe(q{SELECT mq.produce('t', 'third')});
is($session->query_safe("SELECT value FROM mq.fetch_text('other')"), 'true', 'the block goes on');
$session->quit;

# Topics alone: past their ends, any of them

($session, $pid) = start_waiting($node, "CALL mq.wait('{t,other,tagged}', '1h')");
$writer->query_safe(q{SELECT mq.produce('other', 'second')});
is($session->query_safe('SELECT 1'), "t\n1", 'any of the topics wakes');

# The end of the topic

$node->safe_psql('postgres', q{SELECT mq.create_topic('gone')});
my ($victim) = start_waiting($node, "CALL mq.wait('{other,gone}', '1h')");
$node->safe_psql('postgres', q{SELECT mq.drop_topic('gone')});
pass('a drop does not wait for the sleeper');
$victim->query('SELECT 1');
like($victim->{stderr}, qr/topic "gone" does not exist/, 'the drop wakes the sleeper, who is told');
$victim->quit;

# A fetch that waits

($session, $pid) = start_waiting($node,
	q{SELECT value FROM mq.fetch_text('tagged', tags => '{yes}', max_wait => '1h')});
$writer->query_safe(q{SELECT mq.produce('tagged', 'no'); SELECT mq.produce('tagged', 'no', tags => '{no}')});
is_asleep($node, $pid);
$writer->query_safe(q{SELECT mq.produce('tagged', 'yes', tags => '{no,yes}')});
is($session->query_safe('SELECT 1'), "yes\n1", 'a fetch waits for its tag');
$session->quit;

# Cancelled and terminated sleepers leave nothing that harms the next

($session, $pid) = start_waiting($node, "CALL mq.wait('{t}', '1h')");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$session->query('SELECT 1');
like($session->{stderr}, qr/canceling statement due to user request/, 'a sleeper is cancelled');
$session->{stderr} = '';
$session->query_until(qr/started/, "\\echo started\nCALL mq.wait('{t}', '1h');\n");
is_asleep($node, $pid);
my ($killed, $killed_pid) = start_waiting($node, "CALL mq.wait('{t}', '1h')");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($killed_pid, 60000)");
$writer->query_safe(q{SELECT mq.produce('t', 'after')});
is($session->query_safe('SELECT 2'), "t\n2", 'the others are woken as before');
$session->quit;

# A crowd

my $script = $node->basedir . '/wait.sql';
append_to_file($script, "CALL mq.wait('{t}', '1h');\n");
my ($out, $err) = ('', '');
my $crowd = IPC::Run::start(
	[ 'pgbench', '--no-vacuum', '-c', $sleepers, '-j', 2, '-t', 1, '-f', $script, $node->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$err);
my $asleep = q{FROM pg_stat_activity WHERE query LIKE 'CALL mq.wait%' AND state = 'active' AND wait_event_type = 'Extension'};
$node->poll_query_until('postgres', "SELECT count(*) = $sleepers $asleep") or die 'no crowd';
my @crowd = split /\n/, $node->safe_psql('postgres', "SELECT pid $asleep");
is( $node->safe_psql('postgres', "SELECT count(backend_xmin) + count(backend_xid) $asleep"),
	'0', "$sleepers sleepers hold back nothing");

my $before = switches(@crowd);
$node->safe_psql('postgres', q{SELECT mq.produce('other', i::text, transactional => false) FROM generate_series(1, 300) i});
is(switches(@crowd), $before, 'nor are they woken by what they do not wait for');

$node->safe_psql('postgres', q{SELECT mq.produce('t', 'for all')});
IPC::Run::finish($crowd);
like($out, qr{number of transactions actually processed: $sleepers/$sleepers}, 'one message wakes them all');

$writer->quit;
$node->stop;
done_testing();
