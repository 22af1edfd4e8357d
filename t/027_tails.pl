# Small appends wait in shared memory: who brings them to the files, and what
# happens when they cannot be written.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();
my $node = new_node('tails', conf => "autovacuum = off\ncheckpoint_timeout = 1h");
my $data = $node->data_dir;
my $settler = worker_pid($node, 'mq_ext settler');


# The settler's xmin, empty when it has none.
sub held
{
	return $node->safe_psql('postgres', "SELECT backend_xmin FROM pg_stat_activity WHERE pid = $settler");
}

# The values of partition 0.
sub values_of
{
	my ($topic) = @_;
	return map { $_->[3] } read_topic($node, $topic);
}

sub sqlstate
{
	my ($statements) = @_;
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$statements");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : '';
}

$node->safe_psql('postgres', q{SELECT mq.create_topic('small'), mq.create_topic('other')});
produce($node, 'other', ['x']);
$node->poll_query_until('postgres',
	"SELECT state = 'idle' AND backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $settler")
  or die 'the settler is never idle';
kill_process($settler, 'STOP');

# Who needs the files

produce($node, 'small', ['one']);
# the view of topics would write the tail: the folder is found without it
my $id = $node->safe_psql('postgres', q{SELECT topic_id FROM mq_internal.topics WHERE name = 'small'});
my ($small) = grep { !-s } glob "$data/pg_mq/*/$id/0/00000000000000000000.log";
ok(defined $small, 'a small message does not go to the files at once');
is_deeply([ values_of('small') ], ['one'], 'a reader sees it');
my $one = -s $small;
cmp_ok($one, '>', 0, 'the reader has written it');
produce($node, 'small', ['two']);
is(-s $small, $one, 'another one waits');
produce($node, 'small', [ 'x' x 20000 ]);
cmp_ok(-s $small, '>', $one + 20000, 'what is large is written behind it, at once');
produce($node, 'small', ["bulk $_ " . 'y' x 1000]) foreach (1 .. 80);
cmp_ok(-s $small, '>', $one + 20000 + 60000, 'so is a tail that is full');
produce($node, 'small', ['three']);
my $before = -s $small;
$node->safe_psql('postgres', 'CHECKPOINT');
cmp_ok(-s $small, '>', $before, 'a checkpoint leaves nothing in memory');
$before = -s $small;
produce($node, 'small', ['four']);
is($node->safe_psql('postgres', q{SELECT sum(size_bytes)::bigint FROM mq.segments WHERE topic = 'small'}), -s $small, 'a view shows what is there');
cmp_ok(-s $small, '>', $before, 'and it has written the tail');
is(scalar(values_of('small')), 85, 'all messages are there, once');

# What cannot be written

$before = -s $small;
produce($node, 'small', ['five']);
my $fails = "SET mq.faults = 'append_write:fail';";
is(sqlstate("$fails SELECT count(*) FROM mq.fetch('small', 0);"), '53100', 'a reader that cannot write the tail says so');
is($node->safe_psql('postgres', "$fails SELECT count(*) FROM mq.topics;"), '2', 'the views show the others');
is(sqlstate("$fails SELECT mq.produce('small', repeat('x', 20000));"), '53100', 'an append that has to write it first fails');
is(-s $small, $before, 'nothing was written');
is((values_of('small'))[-1], 'five', 'it can be written later');

# The settler puts such a log off, keeps its snapshot, and says so.

my $log = log_end($node);
set_faults($node, 'append_write:fail');
kill_process($settler, 'CONT');
produce($node, 'small', ['six']);
$node->wait_for_log(qr/WARNING:  could not write files in folder/, $log);
my $held = held();
isnt($held, '', 'the settler holds a snapshot');
foreach (1 .. 5)
{
	$node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
	select undef, undef, undef, 0.3;
}
is(held(), $held, 'for as long as it is needed');
clear_faults($node);
$node->poll_query_until('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $settler")
  or die 'the settler still holds its snapshot';
is((values_of('small'))[-1], 'six', 'then all is settled');

# A crash finds them in WAL

kill_process($settler, 'STOP');
produce($node, 'small', ["last $_"]) foreach (1 .. 5);
$log = log_end($node);
crash($node);
$node->start;
is(join(',', (values_of('small'))[ -5 .. -1 ]), join(',', map { "last $_" } 1 .. 5), 'a crash loses nothing of it');
$node->wait_for_log(qr/LOG:  mq_ext: settled 5 batches left undecided in "pg_mq\/[^"]+", 0 of them aborted/, $log);
$node->safe_psql('postgres', q{SELECT mq.drop_topic('other')});
$node->wait_for_log(qr/LOG:  mq_ext: removed dropped log "pg_mq\//, $log);
pass('the server log tells of what was settled and what was removed');
$node->stop;
done_testing();
