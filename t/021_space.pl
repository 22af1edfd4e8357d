# Space on disk: what closed segments had reserved behind their ends is given
# back, never under a write that is still on its way; a prepared segment is
# used once, and missed without harm.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $node = new_node('space', conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
CONF
my $data = $node->data_dir;
my $years = 0;		# how far the next message is ahead of its time

$node->safe_psql('postgres', q{
	SELECT mq.create_topic('rare', 1, '{"segment.bytes": 16777216}');
	SELECT mq.create_topic('ahead', 1, '{"segment.bytes": 65536}');
});

my %uuids = split /[|\n]/, $node->safe_psql('postgres', 'SELECT topic, topic_id FROM mq.topics');

sub dir_of
{
	my ($topic) = @_;
	my ($dir) = glob "$data/pg_mq/*/$uuids{$topic}/0";
	return $dir;
}

# The bases of a topic's segments.
sub segments
{
	my ($topic) = @_;
	my @names = sort glob dir_of($topic) . '/0*.log';
	return map { /(\d+)\.log$/ } @names;
}

# Bytes that a segment's files take behind the blocks in which they end.
sub reserved
{
	my ($topic, $base) = @_;
	my $bytes = 0;
	foreach my $kind ('log', 'batches')
	{
		my @stat = stat dir_of($topic) . "/$base.$kind" or die "$base.$kind: $!";
		my ($size, $block, $blocks) = @stat[ 7, 11, 12 ];
		my $more = $blocks * 512 - int(($size + $block - 1) / $block) * $block;
		$bytes += $more if $more > 0;
	}
	return $bytes;
}

# SQL for a message so much later than the one before that a segment begins.
sub rolling
{
	my ($size) = @_;
	$years++;
	return "SELECT mq.produce('rare', repeat('r', $size), ts => now() + '$years years');\n";
}

sub contents
{
	my ($topic) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT string_agg(left(value, 1) || length(value), ' ' ORDER BY msg_offset) FROM mq.fetch_text('$topic', 0, 0, 100000, 16777216)});
}

# A roll, with a worker

produce($node, 'rare', [ 'a' x 1000 ]);
my ($first) = segments('rare');
if (reserved('rare', $first) < 200000)
{
	$node->stop;
	plan skip_all => 'this file system reserves nothing';
}
$node->safe_psql('postgres', rolling(1000));
my @segments = segments('rare');
is(scalar @segments, 2, 'a segment was closed');
ok(wait_until(sub { reserved('rare', $first) == 0 }, 'the closed segment gives space back'), 'a closed segment keeps no reservation');
cmp_ok(reserved('rare', $segments[1]), '>=', 200000, 'the active one does');
is(contents('rare'), 'a1000 r1000', 'all is there');

# A roll while somebody still writes to the segment that it closes

my ($writer, $roller) = map { $node->background_psql('postgres') } 1 .. 2;
my $flag = "$data/mq_fault_append_after_wal";
my $log = log_end($node);
append_to_file($flag, '');
$writer->query_until(qr/begun/, "\\echo begun\nSET mq.faults = 'append_after_wal:pause';\n"
	  . "SELECT mq.produce('rare', repeat('w', 50000), ts => now() + '$years years');\n\\echo done\n");
$node->wait_for_log(qr/fault point "append_after_wal" paused/, $log);
$roller->query_until(qr/begun/, "\\echo begun\n" . rolling(30000) . "\\echo done\n");
ok(wait_until(sub { @segments = segments('rare'); @segments == 3 }, 'a segment begins'), 'a segment was closed under a write');
ok($node->poll_query_until('postgres', q{SELECT wait_event = 'MqLogSync' FROM pg_stat_activity WHERE backend_type = 'mq_ext janitor'}),
	'the janitor waits for the writer');
cmp_ok(reserved('rare', $segments[1]), '>=', 200000, 'meanwhile the space is there');
unlink $flag;
foreach my $session ($writer, $roller)
{
	$session->query_until(qr/done/, '');
	$session->quit;
}
ok(wait_until(sub { reserved('rare', $segments[1]) == 0 }, 'the closed segment gives space back'), 'afterwards it is given back');
is(contents('rare'), 'a1000 r1000 w50000 r30000', 'nothing of what was written is missing');

# A crash before the janitor has seen to it

my $janitor = worker_pid($node, 'mq_ext janitor');
kill 'STOP', $janitor;
$node->safe_psql('postgres', rolling(1000));
my $closed = (segments('rare'))[-2];
cmp_ok(reserved('rare', $closed), '>', 0, 'nobody gives space back while the janitor stands still');
$node->safe_psql('postgres', 'CHECKPOINT');
crash($node);
$node->start;
ok(wait_until(sub { reserved('rare', $closed) == 0 }, 'the closed segment gives space back'), 'after a crash it is found');
is(contents('rare'), 'a1000 r1000 w50000 r30000 r1000', 'all is there');
offsets_in_order($node);

# A segment begins while the janitor has the next one ready, but has not said so

sub prepared
{
	return -e dir_of('ahead') . '/next.batches';
}

sub ahead
{
	my ($n, $size) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		join '', map { "SELECT mq.produce('ahead', repeat('p', $size));\n" } 1 .. $n);
	return $err;
}

$flag = "$data/mq_fault_space_prepared";
append_to_file($flag, '');
set_faults($node, 'space_prepared:pause:2');
$log = log_end($node);
ahead(26, 2000);
$node->wait_for_log(qr/fault point "space_prepared" paused/, $log);
is(ahead(8, 2000), '', 'the next segment begins');
is(scalar(my @two = segments('ahead')), 2, 'so there are two');
ok(prepared(), 'and one is prepared');
unlink $flag;
clear_faults($node);
$node->poll_query_until('postgres', q{SELECT state = 'idle' FROM pg_stat_activity WHERE backend_type = 'mq_ext janitor'}) or die 'the janitor is busy';
is(ahead(1, 60000), '', 'that one is used');
is(scalar(my @rolled = segments('ahead')), 3, 'and another began');

# A prepared segment that somebody has removed

wait_until(\&prepared, 'a segment is prepared');
$node->poll_query_until('postgres', q{SELECT state = 'idle' FROM pg_stat_activity WHERE backend_type = 'mq_ext janitor'}) or die 'the janitor is busy';
unlink glob dir_of('ahead') . '/next.*';
like(ahead(1, 60000), qr/could not rename file .*next\.batches": No such file/, 'a prepared segment that is gone fails one message');
is(ahead(1, 60000), '', 'and no second one');
is(contents('ahead'), join(' ', ('p2000') x 34, ('p60000') x 2), 'nothing else is missing');
offsets_in_order($node);

$node->stop;
done_testing();
