# The n-th file call fails, n = 1, 2, ... until the operation succeeds.  The
# operation is the first message of a new topic, more than its first segment
# holds, and reading it all.  A failure is an error and nothing has happened,
# or a PANIC and WAL knows; EINTR and short transfers nobody notices.
#
#	MQ_SEED=4711	another number and size of messages and batches; 0 without it
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqShim;
use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_shim_node('nth', conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
CONF
my %acked;		# topic => did its transaction commit?
my $topics = 0;
my $more = 0;		# has every topic got one more?

# What an operation writes: more than a segment holds, batches of any size.
my $seed = $ENV{MQ_SEED} // 0;
my ($how_many, $repeat, $options) = (9, 9000, '{"segment.bytes": 65536, "batch.size": 20000}');
if ($seed)
{
	srand $seed;
	$how_many = 2 + int(rand 40);
	$repeat = int(66000 / $how_many * (1 + rand 2));
	$options = sprintf '{"segment.bytes": 65536, "batch.size": %d}', 1024 + int(rand 60000);
}
note "MQ_SEED=$seed: $how_many messages of $repeat times their number, $options";

# Runs SQL while a rule stands.  Returns '' or the SQLSTATE or PANIC, whether
# the rule fired, and the output.
sub run_under
{
	my ($rule, $sql) = @_;
	my $log = log_end($node);
	my $fired = -s $node->basedir . '/shim/log' // 0;

	shim_rules($node, "fail path=pg_mq/* $rule");
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	shim_rules($node);
	$fired = (-s $node->basedir . '/shim/log' // 0) > $fired;
	my $state = $err =~ /(?:ERROR|FATAL|PANIC):\s+(\w{5}):/ ? $1 : $rc ? 'lost' : '';
	if ($state eq 'lost' || $err =~ /PANIC/)
	{
		$node->wait_for_log(qr/PANIC:.*pg_mq[^\0]*database system is ready to accept connections/, $log);
		$state = 'PANIC';
	}
	return ($state, $fired, $out);
}

# More messages than a segment holds, in one transaction, in a new topic.
sub produce_under
{
	my ($rule) = @_;
	my $topic = 'topic' . ++$topics;

	$node->safe_psql('postgres', qq{SELECT mq.create_topic('$topic', 1, '$options')});
	my ($state, $fired, $out) = run_under($rule, <<"SQL");
BEGIN;
INSERT INTO ledger VALUES ('$topic');
SELECT count(mq.produce('$topic', repeat(i::text, $repeat), key => i::text)) FROM generate_series(1, $how_many) i;
COMMIT;
SQL
	$acked{$topic} = $state eq '' ? 1 : 0;
	return ($state, $fired, $topic);
}

sub messages_of
{
	my ($topic) = @_;
	return qq{SELECT coalesce(string_agg(key || ':' || (value = repeat(key, $repeat)), ' ' ORDER BY msg_offset), '')
		FROM mq.fetch_text('$topic', 0, max_bytes => 16777216);};
}

# What is wrong with a topic; '' if nothing.
sub examine
{
	my ($topic) = @_;
	my $row = $node->safe_psql('postgres', "SELECT count(*) FROM ledger WHERE topic = '$topic'");
	my $messages = $node->safe_psql('postgres', messages_of($topic));
	my $expected = join ' ', $acked{$topic} ? map { "$_:true" } 1 .. $how_many : (), $more ? 'more:false' : ();

	return "its row is " . ($row ? 'there' : 'missing') if $row ne $acked{$topic};
	return "has the messages \"$messages\"" if $messages ne $expected;
	return '';
}

sub examine_all
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @wrong = map { my $what = examine($_); $what ? "$_: $what" : () } sort keys %acked;
	is(join("\n", @wrong), '', "$name: what committed is there, what failed is not");
	offsets_in_order($node, "$name: offsets are in order");
	return;
}

# One more message in each topic, so that a failure has left nothing in the way.
sub produce_in_all
{
	my ($name) = @_;
	my @failed;
	foreach my $topic (sort keys %acked)
	{
		my ($rc, $out, $err) = $node->psql('postgres', qq{
			BEGIN; SELECT mq.produce('$topic', 'more'); ROLLBACK;
			SELECT mq.produce('$topic', 'more', key => 'more', transactional => false);
			SELECT value = 'more' FROM mq.fetch_text('$topic', 0, (SELECT latest - 1 FROM mq.offsets('$topic')));});
		push @failed, "$topic: $out $err" unless $rc == 0 && $out =~ /^t$/m;
	}
	is(join("\n", @failed), '', $name);
	return;
}

$node->safe_psql('postgres', 'CREATE TABLE ledger (topic text)');

# Calls that fail for good

foreach my $error ('EIO', 'ENOSPC')
{
	my $n = 0;
	my %states;
	my @wrong;
	while ($n++ < 100)
	{
		my ($state, $fired, $topic) = produce_under("call=any nth=$n times=1 error=$error");
		my $what = examine($topic);
		push @wrong, "call $n ($state): $what" if $what;
		last if !$fired;
		push @wrong, "call $n: $state" if $state !~ /^(?:PANIC|58030|53100|)$/ || ($error eq 'ENOSPC' && $state eq '58030');
		$states{$state}++;
	}
	cmp_ok($n, '>', 10, "$error: the operation makes calls on files");
	cmp_ok($n, '<', 100, "$error: with its $n-th call spared it succeeds");
	ok($states{ $error eq 'EIO' ? '58030' : '53100' } && $states{PANIC}, "$error: some failed calls are errors, some a PANIC")
	  or diag(explain(\%states));
	is(join("\n", @wrong), '', "$error: each failure is clean");
	examine_all($error);

	# what a failure has left must not be in the way, now or at the next boot
	crash($node);
	shim_start($node);
	examine_all("$error, after a crash");
	is($node->safe_psql('postgres', q{SELECT string_agg(topic, ',') FROM mq.partitions WHERE state <> 'active'}),
		'', "$error, after a crash: no partition is damaged");
}
# Calls that are interrupted, and reads and writes that do half of it

foreach my $rule ('call=open,read,write,sync,truncate,fallocate error=EINTR', 'call=read,write error=short')
{
	my $n = 0;
	my @wrong;
	while ($n++ < 100)
	{
		my ($state, $fired, $topic) = produce_under("$rule nth=$n times=1");
		my $what = $state ne '' ? $state : examine($topic);
		push @wrong, "call $n: $what" if $what;
		last if !$fired;
	}
	ok($n > 5 && $n < 100, "$rule: tried with $n calls");
	is(join("\n", @wrong), '', "$rule: nobody notices");
}
examine_all('after interrupted calls');

# Reading: an error or everything

foreach my $rule ('call=any error=EIO', 'call=open,read error=EINTR', 'call=read error=short')
{
	my ($topic) = grep { $acked{$_} } sort keys %acked;
	my $n = 0;
	my %states;
	my @wrong;
	while ($n++ < 100)
	{
		my ($state, $fired, $out) = run_under("$rule nth=$n times=1", messages_of($topic));
		push @wrong, "call $n: $state" if $state ne '' && ($rule !~ /EIO/ || $state ne '58030');
		push @wrong, "call $n: $out" if $state eq '' && $out ne join ' ', map { "$_:true" } 1 .. $how_many;
		last if !$fired;
		$states{$state}++;
	}
	ok($n > 2 && $n < 100, "fetch, $rule: tried with $n calls");
	ok($states{ $rule =~ /EIO/ ? '58030' : '' }, "fetch, $rule: as expected") or diag(explain(\%states));
	is(join("\n", @wrong), '', "fetch, $rule: an error or all messages");
}

produce_in_all('all topics can be written to');
$more = 1;
$node->safe_psql('postgres', 'CHECKPOINT');
pass('a checkpoint has nothing in its way');
crash($node);
shim_start($node);
examine_all('at the end');
unlike(slurp_file($node->logfile), qr/is damaged|has a hole/, 'the log reports no damage');

$node->stop;
done_testing();
