# A standby where it is hardest: a reader that looks while the standby becomes
# a primary, and a hole in a log, which is reported once.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $primary = new_node('primary', conf => "autovacuum = off\nwal_keep_size = 64MB");
$primary->safe_psql('postgres', q{SELECT mq.create_topic('look'); SELECT mq.create_topic('holes')});
produce($primary, 'holes', [$_]) foreach 0 .. 4;
produce($primary, 'look', ['one']);
$primary->safe_psql('postgres', 'CHECKPOINT');
my $standby = new_standby($primary, 'standby', conf => "mq.faults = 'redo_between_writes:pause'");
my $data = $standby->data_dir;

sub caught_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# A hole: batches that no WAL to come brings back

produce($primary, 'holes', [$_]) foreach 5 .. 7;
caught_up();
$standby->stop;
my $uuid = $primary->safe_psql('postgres', q{SELECT topic_id FROM mq.topics WHERE topic = 'holes'});
my ($folder) = glob "$data/pg_mq/*/$uuid/0";
truncate "$folder/00000000000000000000.batches", 2 * 48 or die;
unlink "$folder/state" or die;
$standby->start;
produce($primary, 'holes', [8]);
caught_up();
$standby->wait_for_log(qr/has a hole at offset 2/);
is($standby->safe_psql('postgres', q{SELECT state FROM mq.partitions WHERE topic = 'holes'}), 'damaged', 'a hole is damage');
is($standby->safe_psql('postgres', q{SELECT string_agg(value, ' ' ORDER BY msg_offset) FROM mq.fetch_text('holes', 0, on_damage => 'skip')}),
	'0 1 5 6 7 8', 'what is there around it can be read');

# A look that begins on the standby and ends on a primary

my ($doubtful, $holder) = map { $primary->background_psql('postgres') } 1 .. 2;
hold_fault($holder, 'pre_commit_done');
$doubtful->query_until(qr/begun/, "\\echo begun\nSET mq.faults = 'pre_commit_done:pause';\nSELECT mq.produce('look', 'two');\n");
wait_for_pause($primary, 'pre_commit_done');
$primary->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'flush', '')});
caught_up();
is($standby->safe_psql('postgres', q{SELECT last_stable, latest FROM mq.offsets('look')}), '1|2', 'a message is in doubt');

my $flag = "$data/mq_fault_redo_between_writes";
my $log = log_end($standby);
append_to_file($flag, '');
produce($primary, 'look', ['three']);
$standby->wait_for_log(qr/fault point "redo_between_writes" paused/, $log);
my $reader = $standby->background_psql('postgres');
$reader->query_until(qr/begun/, "\\echo begun\nSELECT 'seen', value FROM mq.fetch_text('look', 0);\n\\echo done\n");
my $pid = '';
wait_until(
	sub { $pid = $standby->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'MqLogAppend'}) },
	'the reader waits for redo');
kill 'STOP', $pid;
unlink $flag;
caught_up();
crash($primary);
$standby->promote;

# the settler has been there, so the standby's guess is history
produce($standby, 'holes', [9]);
$standby->poll_query_until('postgres', q{SELECT last_stable = 3 FROM mq.offsets('look')}) or die 'no promotion';
my ($writer, $new_holder) = map { $standby->background_psql('postgres') } 1 .. 2;
hold_fault($new_holder, 'pre_commit_done');
$writer->query_until(qr/begun/, "\\echo begun\nSET mq.faults = 'pre_commit_done:pause';\nSELECT mq.produce('look', 'four');\n\\echo done\n");
wait_for_pause($standby, 'pre_commit_done');
kill 'CONT', $pid;
like($reader->query_until(qr/done/, ''), qr/^seen\|one\nseen\|three\ndone/m, 'what was decided at promotion is seen');
is($standby->safe_psql('postgres', q{SELECT last_stable_offset, log_end_offset FROM mq.partitions WHERE topic = 'look'}), '3|4', 'the look did not pass what is in doubt on the new primary');
release_fault($new_holder, 'pre_commit_done');
$writer->query_until(qr/done/, '');
is(join(' ', fetch($standby, 'look', 0)), 'one three four', 'committed, it is seen');
$_->quit foreach $reader, $writer, $new_holder;
is($standby->safe_psql('postgres', q{SELECT last_stable, latest FROM mq.offsets('look')}), '4|4', 'nothing is in doubt');
offsets_in_order($standby);

my @reports = slurp_file($standby->logfile) =~ /has a hole at offset/g;
is(scalar @reports, 1, 'the hole was reported once');

$standby->stop;
done_testing();
