# Disks that are full, and one that fails: a clear error, nothing changed, the
# server stays up, what was acknowledged stays, and it goes on when there is
# space again.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqShim;
use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_shim_node('full', init => { extra => [ '--encoding=UTF8', '--locale=C', '--wal-segsize=1' ] }, conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
min_wal_size = 2MB
max_wal_size = 64MB
wal_recycle = off
CONF
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my %acked;
my $sent = 0;

$node->safe_psql('postgres', q{
	CREATE TABLE ledger (id text);
	SELECT mq.create_topic('orders', 1, '{"segment.bytes": 65536}');
	SELECT mq.create_topic('other');
});

# One transaction of a row and a message; SQLSTATE, '' when it was committed,
# and all that psql said.
sub order
{
	my (%opt) = @_;
	my $topic = $opt{topic} // 'orders';
	my $size = $opt{size} // 8000;
	my $key = 'k' . ++$sent;
	my $now = $opt{now} ? ', transactional => false' : '';
	my ($rc, $out, $err) = $node->psql('postgres', <<"SQL", on_error_stop => 1);
\\set VERBOSITY verbose
BEGIN;
INSERT INTO ledger VALUES ('$topic.$key');
SELECT mq.produce('$topic', repeat('x', $size), key => '$topic.$key'$now);
COMMIT;
SELECT 'ack';
SQL
	$acked{"$topic.$key"} = 1 if ($out // '') =~ /ack/;
	return ($err =~ /(?:ERROR|FATAL|PANIC):\s+(\w{5}):/ ? $1 : $rc ? 'lost' : '', $err);
}

# Orders until one fails; what order() returned then.
sub order_until_failure
{
	my (%opt) = @_;
	foreach (1 .. 1000)
	{
		my ($state, $err) = order(%opt);
		return ($state, $err) if $state ne '';
	}
	return ('', 'none of 1000 orders failed');
}

# Two tests: messages and rows are what was acknowledged.
sub check
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $acked = join ',', sort keys %acked;
	is($node->safe_psql('postgres', q{
			SELECT string_agg(key, ',' ORDER BY key COLLATE "C") FROM (
				SELECT key FROM mq.fetch_text('orders', 0, max_messages => 100000, max_bytes => 16777216)
				UNION ALL SELECT key FROM mq.fetch_text('other', 0, max_messages => 100000, max_bytes => 16777216)) m}),
		$acked, "$name: the messages that were acknowledged, once");
	is($node->safe_psql('postgres', q{SELECT string_agg(id, ',' ORDER BY id COLLATE "C") FROM ledger}),
		$acked, "$name: and their rows");
	offsets_in_order($node, "$name: offsets are in order");
	return;
}

sub is_up
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, "$name: the server stayed up")
	  && unlike(slurp_file($node->logfile), qr/PANIC/, "$name: no PANIC");
}

# The log's side

order() foreach (1 .. 3);
my $end = offsets($node, 'orders')->{0}{latest};
shim_rules($node, 'quota path=pg_mq/* bytes=400000');
my ($state, $err) = order_until_failure();
is($state, '53100', 'the log does not fit: 53100');
like($err, qr/could not .*"pg_mq.*: No space left on device/, 'the file is named');
like($err, qr/HINT:  Free space/, 'with a hint');
cmp_ok((shim_counts($node))[0]{fired}, '>', 0, 'it was the quota');
cmp_ok(offsets($node, 'orders')->{0}{latest}, '>', $end, 'some were written before');
$end = offsets($node, 'orders')->{0}{latest};
is((order())[0], '53100', 'and again');
is((order(topic => 'other'))[0], '53100', 'a topic without files') or diag($err);
# the janitor may just have given space back that was reserved
is((order_until_failure(now => 1))[0], '53100', 'outside the transaction');
$end = offsets($node, 'orders')->{0}{latest};
is((order(now => 1))[0], '53100', 'outside the transaction, again');
is(offsets($node, 'orders')->{0}{latest}, $end, 'no offset was used up');
check('log full');
is_up('log full');
$node->safe_psql('postgres', 'CHECKPOINT');
is_up('a checkpoint with a full log');
check('after the checkpoint');

# it may also crash meanwhile, and start with the disk still full
crash($node);
shim_start($node);
$started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
check('crash with a full log');

shim_rules($node);
is((order())[0], '', 'space again: produced');
is((order(topic => 'other'))[0], '', 'space again: the other topic');
order() foreach (1 .. 10);
check('space again');
$node->safe_psql('postgres', 'CHECKPOINT');
is_up('space again');

# Before it is full

SKIP:
{
	my ($df) = run_command([ 'df', '-Pk', $node->data_dir ]);
	my ($free) = $df =~ /\n\S+\s+\d+\s+\d+\s+(\d+)/;
	skip('more space is free than mq.min_free_disk can ask for', 7) unless defined $free && $free < 2000000000;
	$node->safe_psql('postgres', 'ALTER SYSTEM SET mq.min_free_disk = 2147483647');
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('mq.min_free_disk') <> '0'}) or die 'no reload';
	($state, $err) = order();
	is($state, '53100', 'mq.min_free_disk refuses');
	like($err, qr/DETAIL:.*must stay free/, 'with figures');
	like($err, qr/HINT:  Free space/, 'with a hint');
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET mq.min_free_disk');
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('mq.min_free_disk') = '0'}) or die 'no reload';
	is((order())[0], '', 'without it, produced');
	check('mq.min_free_disk');
}

# The side of WAL: PostgreSQL itself gives up, and nothing acknowledged is lost

my $log = log_end($node);
shim_rules($node, 'quota path=pg_wal/* bytes=3000000');
($state, $err) = order_until_failure(topic => 'other', size => 100000);
isnt($state, '', 'WAL does not fit: an order fails') or diag($err);
wait_until(sub { slurp_file($node->logfile, $log) =~ /PANIC|FATAL:.*No space left|could not write to file "pg_wal/ }, 'WAL is full');
cmp_ok((shim_counts($node))[0]{fired}, '>', 0, 'it was the quota');
shim_rules($node);
crash($node) if MqTest::is_alive($node->{_pid});
$node->{_pid} = undef;
shim_start($node);
$started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
check('WAL full');
is((order())[0], '', 'space again: produced');
check('space for WAL again');

# A sync that fails is not tried again: PANIC, recovery from WAL

foreach my $path ('*.log', '*.batches', '*/state', '*served')
{
	order() foreach (1 .. 2);
	$log = log_end($node);
	shim_rules($node, "fail call=fsync path=pg_mq/$path nth=1 times=1 error=EIO");
	$node->psql('postgres', 'CHECKPOINT');
	is((shim_counts($node))[0]{fired}, 1, "a sync of $path failed");
	$node->wait_for_log(qr/PANIC:.*pg_mq.*Input\/output error/, $log);
	$node->wait_for_log(qr/database system is ready to accept connections/, $log);
	shim_rules($node);
	check("after the failed sync of $path");
	is((order())[0], '', 'it goes on');
	$node->safe_psql('postgres', 'CHECKPOINT');
}

$node->stop;
done_testing();
