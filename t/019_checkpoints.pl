# Every kind of checkpoint is served: the redo pointer that pg_control has is
# the one up to which the logs were synced.  What would silence the report
# that tells us of checkpoints is refused; what the administrator wants of the
# log lines is kept.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqTest;

sub is_served
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(served($node), in_control($node), "served: $what");
}

my $primary = new_node('primary', conf => "log_checkpoints = off\ncheckpoint_timeout = '1h'");
$primary->safe_psql('postgres', q{SELECT mq.create_topic('t')});
produce($primary, 't', ['one']);
$primary->safe_psql('postgres', 'CHECKPOINT');
is_served($primary, 'a checkpoint on request');
unlike(slurp_file($primary->logfile), qr/checkpoint (?:starting|complete)/, 'log_checkpoints = off keeps the lines out of the log');
is($primary->safe_psql('postgres', 'SHOW log_checkpoints'), 'on', 'though the setting is on inside');

# nothing of ours is dirty: still served
$primary->safe_psql('postgres', 'CREATE TABLE x (i int); CHECKPOINT');
is_served($primary, 'a checkpoint without messages');

my $standby = new_standby($primary, 'standby');
produce($primary, 't', ['two']);
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
is(in_control($standby), in_control($primary), 'a restartpoint was made');
is_served($standby, 'a restartpoint');
$standby->stop;
is_served($standby, 'shutdown of a standby');

produce($primary, 't', ['three']);
$primary->stop;
is_served($primary, 'the checkpoint at shutdown');

$primary->start;
produce($primary, 't', ['four']);
crash($primary);
$primary->start;
is_served($primary, 'the checkpoint at the end of recovery');

# a session cannot silence the checkpointer, a file may not
$primary->safe_psql('postgres', q{SET log_min_messages = 'panic'; SELECT mq.produce('t', 'five'); CHECKPOINT});
is_served($primary, 'a session that logs nothing');
$primary->append_conf('postgresql.conf', 'log_min_messages = fatal');
my $from = log_end($primary);
$primary->reload;
$primary->wait_for_log(qr/mq_ext needs log_min_messages/, $from);
is($primary->safe_psql('postgres', 'SHOW log_min_messages'), 'warning', 'log_min_messages = fatal is not taken over');
$primary->stop;
ok(!$primary->start(fail_ok => 1), 'and a server does not start with it');
like(slurp_file($primary->logfile), qr/FATAL:  mq_ext needs log_min_messages/, 'it says why');
$primary->append_conf('postgresql.conf', 'log_min_messages = warning');
$primary->start;

# a symbolic link would be left out of base backups
$primary->stop;
my $data = $primary->data_dir;
rename "$data/pg_mq", "$data.mq" or die;
symlink "$data.mq", "$data/pg_mq" or die;
ok(!$primary->start(fail_ok => 1), 'a symbolic link pg_mq is refused');
unlink "$data/pg_mq" or die;
rename "$data.mq", "$data/pg_mq" or die;
$primary->start;
is($primary->safe_psql('postgres', q{SELECT count(*) FROM mq.fetch('t')}), 5, 'all messages are there');

# every record type, as pg_walinspect and as we see it
$primary->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');
my $start = $primary->lsn('insert');
$primary->safe_psql('postgres', q{
	SELECT mq.create_topic('r', 1, '{"segment.bytes": 65536}');
	SELECT mq.create_topic('gone');
	SELECT mq.produce('gone', 'x');
	SELECT count(mq.produce('r', repeat('x', 1000))) FROM generate_series(1, 200);
	CREATE TABLE s (k int PRIMARY KEY, v int); INSERT INTO s VALUES (1, 0), (2, 0);
	SELECT mq.drop_topic('gone')});
my @sessions = map { $primary->background_psql('postgres', on_error_stop => 0) } (1, 2);
$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE') foreach @sessions;
$_->query('SELECT sum(v) FROM s') foreach @sessions;
$sessions[$_ - 1]->query("UPDATE s SET v = 1 WHERE k = $_; SELECT mq.produce('r', 'x')") foreach (1, 2);
$_->query('COMMIT') foreach @sessions;
$_->quit foreach @sessions;
$primary->safe_psql('postgres', q{
	SELECT mq.create_topic('p', 2);
	SELECT mq.produce('p', 'x', partition => 1);
	SELECT mq.retire_partition('p', 1);
	SELECT mq.delete_records('p', 1, -1);
	SELECT mq.run_retention('p')});
my $types = 'ABORT,APPEND,CONFIG,CREATE,DROP,REMOVE,ROLL,SETTLE,START';
$primary->poll_query_until('postgres', qq{
	SELECT string_agg(DISTINCT record_type, ',' ORDER BY record_type) = '$types' FROM mq.wal_records('$start')})
  or die 'not all records were written';
is($primary->safe_psql('postgres', qq{
	SELECT string_agg(DISTINCT record_type, ',' ORDER BY record_type)
	FROM pg_get_wal_records_info_till_end_of_wal('$start') WHERE resource_manager = 'mq_ext'}),
	$types, 'pg_walinspect names all of them');
is($primary->safe_psql('postgres', qq{
	SELECT count(*) FROM pg_get_wal_records_info_till_end_of_wal('$start') WHERE resource_manager = 'mq_ext' AND description !~ '^database'}),
	0, 'and describes them');
is($primary->safe_psql('postgres', qq{SELECT sum(records) FROM mq.wal_records('$start') WHERE record_type = 'APPEND'}),
	204, 'mq.wal_records() counts the messages');

$primary->stop;
done_testing();
