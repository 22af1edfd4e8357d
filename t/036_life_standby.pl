# Deleted messages on standbys, in backups and under readers: a standby follows
# and answers like its primary, a restore to before the deletion has them, one
# to after it has not, and whoever is reading reads to the end.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqNode;
use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', conf => <<'CONF', init => { has_archiving => 1 });
autovacuum = off
checkpoint_timeout = 1h
mq.retention_check_interval = 1h
CONF
my $answers = q{SELECT o.partition, o.earliest, o.last_stable, count(m), min(m.msg_offset),
	md5(string_agg(m.value, ',' ORDER BY m.msg_offset))
	FROM mq.offsets('t') o LEFT JOIN mq.fetch_text('t', o.partition, NULL, 1000000, 1000000000) m ON true
	GROUP BY 1, 2, 3 ORDER BY 1};

sub fill
{
	my ($n) = @_;
	foreach my $partition (0, 1)
	{
		my $end = $primary->safe_psql('postgres', "SELECT last_stable FROM mq.offsets('t', $partition)");
		$primary->safe_psql('postgres', join "\n", map {
			my $from = $end + 20 * $_;
			"SELECT count(mq.produce('t', rpad(i || ' ', 500, 'x'), partition => $partition)) FROM generate_series($from, $from + 19) i;"
		} 0 .. $n / 20 - 1);
	}
	return;
}

sub caught_up
{
	my ($standby) = @_;
	$primary->safe_psql('postgres', 'SELECT txid_current()');	# flushes what nobody waited for
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	return;
}

sub same_answers
{
	my ($standby, $name) = @_;
	caught_up($standby);
	return is($standby->safe_psql('postgres', $answers), $primary->safe_psql('postgres', $answers), $name);
}

sub files
{
	my ($node, $partition) = @_;
	return join ' ', sort map { m{(\d{20})\.log$} ? $1 + 0 : () } glob $node->data_dir . "/pg_mq/*/*/$partition/*.log";
}

sub files_are
{
	my ($node, $wanted, $name) = @_;
	wait_until(sub { files($node, 0) eq $wanted }, "$name: the files are '$wanted', not '" . files($node, 0) . "'");
	return pass($name);
}

$primary->safe_psql('postgres', q{SELECT mq.create_topic('t', 2, '{"segment.bytes": 65536, "retention.ms": -1}')});
fill(800);
my $standby = new_standby($primary, 'standby');
same_answers($standby, 'a standby answers like its primary');

# Readers on both keep what they read
my %cursor;
foreach my $node ($primary, $standby)
{
	my $session = $node->background_psql('postgres');
	$session->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT msg_offset, convert_from(value, 'UTF8') FROM mq_topics.t WHERE partition = 0 AND msg_offset >= 0; FETCH 5 FROM c;});
	$cursor{ $node->name } = $session;
}
is($primary->safe_psql('postgres', q{SELECT mq.delete_records('t', 0, 700)}), '700', 'messages are deleted');
same_answers($standby, 'the standby follows');
is($primary->safe_psql('postgres', q{SELECT count(*) > 3 FROM mq.segments WHERE topic = 't' AND partition = 0 AND state = 'deleting'}), 't',
	'a reader keeps the files on the primary');
like(files($standby, 0), qr/^0 /, 'and on the standby');
foreach my $node ($primary, $standby)
{
	my $session = $cursor{ $node->name };
	my @rows = split /\n/, $session->query_safe(q{FETCH ALL FROM c});
	is(scalar @rows, 795, $node->name . ': the reader reads on to the end');
	is((grep { my ($offset, $value) = /^(\d+)\|(\d+) /; !defined $offset || $offset != $value } @rows), 0, $node->name . ': and reads what was there');
	$session->query_safe('COMMIT');
	$session->quit;
}
my $left = $primary->safe_psql('postgres', q{SELECT string_agg(base_offset::text, ' ' ORDER BY base_offset) FROM mq.segments WHERE topic = 't' AND partition = 0 AND state <> 'deleting'});
files_are($primary, $left, 'the files are gone on the primary');
files_are($standby, $left, 'the files are gone on the standby');
same_answers($standby, 'nothing else has changed');

# A standby that goes down in between
fill(200);
$primary->safe_psql('postgres', q{SELECT mq.delete_records('t', 0, 800)});
caught_up($standby);
crash($standby);
fill(200);
$primary->safe_psql('postgres', q{SELECT mq.delete_records('t', 0, 950)});
$standby->start;
same_answers($standby, 'a standby that crashed follows');
$primary->safe_psql('postgres', 'CHECKPOINT');
caught_up($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->restart;
same_answers($standby, 'one that was stopped, too');

# Backups: one that is taken while messages go, and points in time around it
my $before = $primary->safe_psql('postgres', $answers);
$primary->backup('early');
$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('before')});
$primary->safe_psql('postgres', q{SELECT mq.delete_records('t', 1, 900)});
my $after = $primary->safe_psql('postgres', $answers);
$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('after')});

# files vanish in the midst of this one: the state file is copied before them
$primary->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_walinspect');
fill(400);
my $loader = $primary->background_psql('postgres');
$loader->query_until(qr/begun/, <<'SQL');
\echo begun
DO $$
BEGIN
	FOR i IN 1 .. 60 LOOP
		PERFORM mq.produce_batch('t', (SELECT array_agg(rpad('', 500, 'y')) FROM generate_series(1, 120)), transactional => false);
		PERFORM mq.delete_records('t', 1, (SELECT greatest(last_stable - 300, earliest) FROM mq.offsets('t', 1)));
		PERFORM mq.delete_records('t', 0, (SELECT greatest(last_stable - 300, earliest) FROM mq.offsets('t', 0)));
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
\echo ended
SQL
$primary->backup('during');
$loader->query_until(qr/ended/, '');
$loader->quit;
my $end = $primary->safe_psql('postgres', $answers);
$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('ended'); SELECT pg_switch_wal()});

sub restored
{
	my ($name, $backup, $point) = @_;
	my $node = MqNode->new($name);

	$node->init_from_backup($primary, $backup, has_restoring => 1);
	$node->append_conf('postgresql.conf', <<"CONF");
recovery_target_name = '$point'
recovery_target_timeline = 'current'
archive_mode = off
recovery_target_action = 'promote'
CONF
	$node->start;
	wait_until(sub { $node->safe_psql('postgres', 'SELECT pg_is_in_recovery()') eq 'f' }, "$name is up");
	return $node;
}

foreach my $case ([ 'at_before', 'early', 'before', $before ], [ 'at_after', 'early', 'after', $after ],
	[ 'early_ended', 'early', 'ended', $end ], [ 'during_ended', 'during', 'ended', $end ])
{
	my ($name, $backup, $point, $wanted) = @$case;
	my $node = restored($name, $backup, $point);

	is($node->safe_psql('postgres', $answers), $wanted, "$name: as it was then");
	is($node->safe_psql('postgres', q{SELECT * FROM mq.verify('t') WHERE status <> 'ok'}), '', "$name: undamaged");
	is($node->safe_psql('postgres', q{SELECT string_agg(state, ' ') FROM mq.partitions WHERE topic = 't'}), 'active active', "$name: and known to be");
	unlike(slurp_file($node->logfile), qr/has a hole/, "$name: no hole is reported");
	$node->safe_psql('postgres', q{SELECT mq.produce('t', 'z', partition => 0)});
	is($node->safe_psql('postgres', q{SELECT value FROM mq.peek('t', 1, 0)}), 'z', "$name: the log goes on");
	$node->stop;
}

# Promotion: the new primary knows what is to be kept
my $lsn = $primary->lsn('insert');
$primary->safe_psql('postgres', q{SELECT mq.create_topic('aged', 2, '{"retention.ms": 3600000}')});
$primary->safe_psql('postgres', q{SELECT mq.produce('aged', 'x', partition => p, ts => now() - interval '2 h') FROM generate_series(0, 1) p});
$primary->safe_psql('postgres', q{SELECT mq.retire_partition('aged', 1)});
$primary->poll_query_until('postgres', qq{SELECT count(*) >= 2 FROM mq.wal_records('$lsn'::pg_lsn)
	WHERE record_type = 'CONFIG' AND (description LIKE '%partition 0 retention.ms 3600000%' OR description LIKE '%partition 1 % retired')});
caught_up($standby);
$standby->append_conf('postgresql.conf', q{mq.retention_check_interval = '100ms'});
$primary->stop;
$standby->promote;
$standby->poll_query_until('postgres', q{SELECT NOT pg_is_in_recovery()});
$standby->restart;
wait_until(sub { $standby->safe_psql('postgres', q{SELECT earliest FROM mq.offsets('aged', 0)}) eq '1' }, 'retention goes on after promotion');
wait_until(sub { $standby->safe_psql('postgres', q{SELECT count(*) FROM mq.partitions WHERE topic = 'aged'}) eq '1' }, 'the retired partition goes');
pass('a promoted standby goes on with retention');
offsets_in_order($standby);
$standby->stop;
done_testing();
