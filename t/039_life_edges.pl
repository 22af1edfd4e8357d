# Deleting where it meets something else: rolled and empty segments, crashes and
# promotion; checkpoints between record and effect; readers that begin, stay or
# fail; partitions that are retired under a reader; servers that nobody reads.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $conf = <<'CONF';
autovacuum = off
checkpoint_timeout = 1h
mq.retention_check_interval = 1h
CONF

sub fill
{
	my ($node, $topic, $n, $partition) = @_;
	$partition //= 0;
	my $end = $node->safe_psql('postgres', "SELECT last_stable FROM mq.offsets('$topic', $partition)");
	$node->safe_psql('postgres', join "\n", map {
		my $from = $end + 20 * $_;
		"SELECT count(mq.produce('$topic', rpad(i || ' ', 500, 'x'), partition => $partition)) FROM generate_series($from, $from + 19) i;"
	} 0 .. $n / 20 - 1);
	return;
}

sub caught_up
{
	my ($primary, $standby) = @_;
	$primary->safe_psql('postgres', 'SELECT txid_current()');
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	return;
}

sub offsets_of
{
	my ($node, $topic) = @_;
	return $node->safe_psql('postgres', "SELECT earliest || ' ' || last_stable || ' ' || count(m) FROM mq.offsets('$topic', 0) LEFT JOIN mq.fetch('$topic', 0, NULL, 100000, 100000000) m ON true GROUP BY earliest, last_stable");
}

sub files
{
	my ($node, $topic, $partition) = @_;
	my $id = $node->safe_psql('postgres', "SELECT topic_id FROM mq.topics WHERE topic = '$topic'");
	return files_of($node, $id, $partition);
}

sub files_of
{
	my ($node, $id, $partition) = @_;
	return join ' ', sort { $a <=> $b } map { m{(\d{20})\.log$} ? $1 + 0 : () } glob $node->data_dir . "/pg_mq/*/$id/$partition/*.log";
}

# A segment is begun, the primary goes down before anything is in it
{
	my $primary = new_node('rolls', conf => $conf);
	$primary->safe_psql('postgres', q{SELECT mq.create_topic('t')});
	fill($primary, 't', 100);
	my $standby = new_standby($primary, 'rolls_too');
	$primary->safe_psql('postgres', q{SELECT mq.roll_segment('t')});
	caught_up($primary, $standby);
	$primary->restart;
	fill($primary, 't', 20);
	caught_up($primary, $standby);
	is(offsets_of($primary, 't'), '0 120 120', 'a restart after a roll: the primary');
	is(offsets_of($standby, 't'), '0 120 120', 'and its standby');
	is(files($primary, 't', 0), files($standby, 't', 0), 'in the same files');

	# the same where the primary loses the empty segment's files
	$primary->safe_psql('postgres', q{SELECT mq.roll_segment('t')});
	caught_up($primary, $standby);
	$primary->stop;
	unlink glob $primary->data_dir . '/pg_mq/*/*/0/00000000000000000120.*';
	$primary->start;
	fill($primary, 't', 20);
	caught_up($primary, $standby);
	is(offsets_of($standby, 't'), '0 140 140', 'a standby follows a primary that has lost the empty segment');
	$primary->safe_psql('postgres', q{SELECT mq.roll_segment('t')});
	fill($primary, 't', 20);
	caught_up($primary, $standby);
	is(offsets_of($standby, 't'), '0 160 160', 'and on into the next');
	$primary->stop('immediate');
	$standby->promote;
	$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	is(offsets_of($standby, 't'), '0 160 160', 'promoted, it has all');
	fill($standby, 't', 20);
	is(offsets_of($standby, 't'), '0 180 180', 'and goes on counting');
	unlike(slurp_file($standby->logfile), qr/has a hole|is damaged/, 'nothing is taken for damage');
	$standby->stop;
}

# The same, and then everything is deleted; a reader holds the files
{
	my $primary = new_node('empties', conf => $conf);
	$primary->safe_psql('postgres', q{SELECT mq.create_topic('t')});
	fill($primary, 't', 100);
	my $standby = new_standby($primary, 'empties_too');
	$primary->safe_psql('postgres', q{SELECT mq.roll_segment('t')});
	$primary->safe_psql('postgres', 'CHECKPOINT');
	caught_up($primary, $standby);
	$standby->safe_psql('postgres', 'CHECKPOINT');
	$standby->restart;
	my $reader = $standby->background_psql('postgres');
	$reader->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT msg_offset FROM mq_topics.t; FETCH 5 FROM c;});
	$primary->safe_psql('postgres', q{SELECT mq.delete_records('t', 0, -1)});
	caught_up($primary, $standby);
	$primary->stop('immediate');
	$standby->promote;
	$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	fill($standby, 't', 20);
	is(scalar(my @rows = split /\n/, $reader->query_safe('FETCH ALL FROM c')), 95, 'the reader reads on through a promotion');
	$reader->query_safe('COMMIT');
	$reader->quit;
	wait_until(sub { files($standby, 't', 0) eq '100' }, 'the old file is gone');
	is(offsets_of($standby, 't'), '100 120 20', 'new messages stay');
	$standby->restart;
	is(offsets_of($standby, 't'), '100 120 20', 'after a restart too');
	$standby->stop;
}

my $node = new_node('edges', conf => $conf);
sub sql { return $node->safe_psql('postgres', $_[0]) }

# A crash right after the deletion, with the empty segment below the redo pointer
sql(q{SELECT mq.create_topic('e')});
fill($node, 'e', 100);
sql(q{SELECT mq.roll_segment('e')});
sql('CHECKPOINT');
{
	my $log = log_end($node);
	$node->psql('postgres', q{SET mq.faults = 'start_moved:crash'; SELECT mq.delete_records('e', 0, -1)});
	$node->wait_for_log(qr/database system is ready to accept connections/, $log);
	is(offsets_of($node, 'e'), '100 100 0', 'all is deleted');
	fill($node, 'e', 20);
	is(offsets_of($node, 'e'), '100 120 20', 'and the log goes on');
}

# What is deleted inside a segment stays deleted, whatever comes after it
sql(q{SELECT mq.create_topic('t', 2, '{"segment.bytes": 65536}')});
fill($node, 't', 400);
sql(q{SELECT mq.delete_records('t', 0, 10)});
crash($node);
$node->start;
is(offsets_of($node, 't'), '10 400 390', 'a crash');
sql(q{SELECT mq.delete_records('t', 0, 20)});
sql('CHECKPOINT');
crash($node);
$node->start;
is(offsets_of($node, 't'), '20 400 380', 'a checkpoint and a crash');
sql(q{SELECT mq.delete_records('t', 0, 30)});
$node->restart;
is(offsets_of($node, 't'), '30 400 370', 'a restart');
{
	# the redo pointer passes the record before the log is marked
	my $holder = $node->background_psql('postgres');
	my $deletes = $node->background_psql('postgres');
	hold_fault($holder, 'start_flushed');
	$deletes->query_until(qr/begun/, "SET mq.faults = 'start_flushed:pause';\n\\echo begun\nSELECT mq.delete_records('t', 0, 40);\n\\echo ended\n");
	wait_for_pause($node, 'start_flushed');
	sql('CHECKPOINT');
	release_fault($holder, 'start_flushed');
	$deletes->query_until(qr/ended/, '');
	is(offsets_of($node, 't'), '40 400 360', 'deleted beside a checkpoint');
	crash($node);
	eval { $_->quit } foreach $holder, $deletes;
	$node->start;
	is(offsets_of($node, 't'), '40 400 360', 'a checkpoint between record and effect');
}

# A reader whose transaction fails, and whose session stays
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT msg_offset FROM mq_topics.t; FETCH 5 FROM c;});
	$session->query('SELECT 1 / 0');
	$session->{stderr} = '';
	$session->query_safe('ROLLBACK');
	$session->query_safe(q{BEGIN; SAVEPOINT s; DECLARE c CURSOR FOR SELECT msg_offset FROM mq_topics.t; FETCH 5 FROM c;});
	$session->query('SELECT 1 / 0');
	$session->{stderr} = '';
	$session->query_safe('ROLLBACK TO s; COMMIT');
	sql(q{SELECT mq.delete_records('t', 0, 300)});
	wait_until(sub { files($node, 't', 0) !~ /^0\b/ }, 'files go that no reader holds any more');
	pass('a reader that failed holds nothing');
	$session->quit;
}

# A fetch that has looked where to begin, before that is deleted
{
	my $holder = $node->background_psql('postgres');
	my $reader = $node->background_psql('postgres');
	fill($node, 't', 400);
	hold_fault($holder, 'reader_begins');
	$reader->query_until(qr/begun/, "SET mq.faults = 'reader_begins:pause:1:1';\n\\echo begun\nSELECT count(*), min(msg_offset) FROM mq.fetch('t', 0, 300, 100000, 100000000);\n\\echo ended\n");
	wait_for_pause($node, 'reader_begins');
	sql(q{SELECT mq.delete_records('t', 0, 700)});
	like(files($node, 't', 0), qr/^2\d\d /, 'the files wait for it');
	release_fault($holder, 'reader_begins');
	like($reader->query_until(qr/ended/, ''), qr/^500\|300$/m, 'it reads what was there');
	wait_until(sub { files($node, 't', 0) !~ /^2/ }, 'the files are gone');
	$_->quit foreach $holder, $reader;
}

# A partition is retired and emptied under a reader
{
	my $standby = new_standby($node, 'edges_too');
	my $id = sql(q{SELECT topic_id FROM mq.topics WHERE topic = 't'});
	fill($node, 't', 400, 1);
	caught_up($node, $standby);
	my %readers = map { $_->name => $_->background_psql('postgres') } $node, $standby;
	$_->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT msg_offset FROM mq_topics.t WHERE partition = 1; FETCH 5 FROM c;}) foreach values %readers;

	# the reader's lock would keep ALTER waiting
	$readers{edges}->query_safe('COMMIT');
	sql(q{SELECT mq.retire_partition('t', 1)});
	$readers{edges}->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT msg_offset FROM mq_topics.t WHERE partition = 1; FETCH 5 FROM c;});
	sql(q{SELECT mq.delete_records('t', 1, -1)});
	sql(q{SELECT mq.run_retention('t')});
	is(scalar(my @rows = split /\n/, $readers{edges}->query_safe('FETCH ALL FROM c')), 395, 'a reader of a retired partition reads on');
	$readers{edges}->query_safe('COMMIT');
	wait_until(sub { sql(q{SELECT mq.run_retention('t')}); !-d $node->data_dir . "/pg_mq/5/$id/1" }, 'the folder is gone');

	# on a standby the ALTER waits for the reader, and all that follows with it
	is(scalar(@rows = split /\n/, $readers{edges_too}->query_safe('FETCH ALL FROM c')), 395, 'on a standby too');
	$readers{edges_too}->query_safe('COMMIT');
	caught_up($node, $standby);
	wait_until(sub { !-d $standby->data_dir . "/pg_mq/5/$id/1" }, 'the folder is gone on the standby');
	$_->quit foreach values %readers;
	pass('a retired partition goes when its readers have ended');
	$standby->stop;
}

# A standby that nobody can read removes files as it replays
{
	my $warm = new_standby($node, 'warm', start => 0);
	my $id = sql(q{SELECT topic_id FROM mq.topics WHERE topic = 't'});
	$warm->append_conf('postgresql.conf', 'hot_standby = off');
	$warm->start(fail_ok => 1);
	fill($node, 't', 400);
	sql(q{SELECT mq.delete_records('t', 0, -1)});
	sql('SELECT txid_current()');
	$node->wait_for_catchup($warm, 'replay', $node->lsn('flush'));
	wait_until(sub { files_of($warm, $id, 0) eq files($node, 't', 0) }, 'the files are the same');
	pass('a warm standby keeps no deleted segments');
	$warm->stop;
}

# A change of options that fails, in a transaction that has messages
{
	sql(q{SELECT mq.create_topic('o', 1, '{"retention.ms": 3600000}')});
	sql(q{SELECT mq.produce('o', 'old', ts => now() - interval '30 min')});
	$node->psql('postgres', q{SET mq.faults = 'pre_commit_done:error';
		BEGIN; SELECT mq.alter_topic('o', '{"retention.ms": 1}'); SELECT mq.produce('o', 'x', ts => now() - interval '30 min'); COMMIT;});
	my ($rc, undef, $err) = $node->psql('postgres', q{BEGIN; SELECT mq.alter_topic('o', '{"retention.ms": 1}'); SELECT mq.run_retention('o')});
	like($err, qr/cannot apply retention to topic "o" that this transaction has created or altered/, 'retention waits for the commit');
	sql(q{ALTER SYSTEM SET mq.retention_check_interval = '100ms'});
	$node->reload;
	sql(q{SELECT mq.create_topic('barrier', 1, '{"retention.ms": 3600000}')});
	sql(q{SELECT mq.produce('barrier', 'x', ts => now() - interval '2 h')});
	wait_until(sub { offsets($node, 'barrier')->{0}{earliest} == 1 }, 'the janitor has been there');
	is(sql(q{SELECT value FROM mq.fetch_text('o')}), 'old', 'options of a transaction that failed are not obeyed');
}

# A scan of more partitions than it keeps pinned, one of which goes meanwhile and
# leaves its place to another log
{
	my $many = new_node('many', conf => $conf . "mq.max_partitions = 100\n");
	$many->safe_psql('postgres', q{SELECT mq.create_topic('t', 70), mq.create_topic('filler', 99)});
	$many->safe_psql('postgres', q{SELECT count(mq.produce('t', 'x', partition => i % 70)) FROM generate_series(1, 700) i});
	$many->safe_psql('postgres', q{SELECT mq.retire_partition('t', 40)});
	my $reader = $many->background_psql('postgres');
	$reader->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT partition FROM mq_topics.t');
	$reader->query_safe('FETCH 1 FROM c');
	$many->safe_psql('postgres', q{SELECT mq.delete_records('t', 40, -1)});
	$many->safe_psql('postgres', q{SELECT count(*) FROM mq.run_retention('t')});
	$many->poll_query_until('postgres', q{SELECT count(*) = 69 FROM mq.partitions WHERE topic = 't'}) or die 'the retired partition stays';
	$many->safe_psql('postgres', q{SELECT count(mq.produce('filler', 'y', partition => i)) FROM generate_series(0, 98) i});
	is(scalar(split /\n/, $reader->query_safe('FETCH ALL FROM c')), 689, 'a scan passes over a partition that has gone');
	$reader->quit;
	$many->stop;
}

offsets_in_order($node);
is(sql(q{SELECT * FROM mq.verify() WHERE status <> 'ok'}), '', 'mq.verify finds nothing');
$node->stop;
done_testing();
