# A topic that is dropped while its batches are being settled: the settle
# record follows the drop in WAL, and recovery finds no folder for it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();
my $node = new_node('settle', conf => 'autovacuum = off');
my $data = $node->data_dir;

# The kinds of a topic's records from an LSN on.
sub records
{
	my ($id, $from) = @_;
	return $node->safe_psql('postgres',
		"SELECT string_agg(record_type, ' ' ORDER BY lsn) FROM mq.wal_records('$from') WHERE topic_id = '$id'");
}

$node->safe_psql('postgres', q{SELECT mq.create_topic('kept'), mq.create_topic('dropped')});
produce($node, 'kept', ['x']);
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'mq_ext settler' AND state = 'idle' AND backend_xmin IS NULL})
  or die 'the settler is never idle';

# The settler comes too late, the janitor stops between the drop's record and
# what follows.  The checkpoint leaves nothing but these two to recovery.

my $settler = worker_pid($node, 'mq_ext settler');
kill_process($settler, 'STOP');
my $log = log_end($node);
append_to_file("$data/mq_fault_drop_before_unlink", '');
set_faults($node, 'drop_before_unlink:pause');
produce($node, 'dropped', ['x']);
my ($oid, $id) = split /\|/, $node->safe_psql('postgres', q{
	SELECT d.oid, t.topic_id FROM mq.topics t, pg_database d
	WHERE t.topic = 'dropped' AND d.datname = current_database()});
my $folder = "$data/pg_mq/$oid/$id";
ok(-d $folder, 'the topic has a folder');
$node->safe_psql('postgres', 'CHECKPOINT');
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{SELECT mq.drop_topic('dropped')});
$node->wait_for_log(qr/fault point "drop_before_unlink" paused/, $log);
kill_process($settler, 'CONT');
wait_until(sub { records($id, $lsn) =~ /SETTLE/ }, 'the batch is settled');
like(records($id, $lsn), qr/^DROP( SETTLE)+$/, 'the drop comes first');

crash($node);
unlink "$data/mq_fault_drop_before_unlink" or die;
append_to_file("$data/postgresql.auto.conf", "mq.faults = ''\n");
if (ok($node->start(fail_ok => 1), 'the server starts'))
{
	ok(!-e $folder, 'the folder is gone');
	is_deeply([ fetch($node, 'kept', 0, 0) ], ['x'], 'the other topic is whole');
	$node->safe_psql('postgres', 'CHECKPOINT');
	unlike(substr(slurp_file($node->logfile), $log), qr/PANIC|TRAP/, 'nothing broke');
	$node->stop;
}
done_testing();
