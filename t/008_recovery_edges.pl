# Recovery where it is hardest: a log ahead of WAL, a flipped bit, a decision
# that pg_xact has forgotten, single-user recovery, a table of partitions that
# has become too small, a failed fsync.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqNode;
use MqTest;

my $node = new_node('edges', conf => "autovacuum = off\nmax_prepared_transactions = 5");
my $data = $node->data_dir;

sub topic_dir
{
	my ($topic, $partition) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT 'pg_mq/' || d.oid || '/' || t.topic_id || '/$partition'
		FROM mq.topics t, pg_database d WHERE t.topic = '$topic' AND d.datname = current_database()});
}

sub flip_bit
{
	my ($file, $position, $bit) = @_;
	open my $fh, '+<:raw', $file or die "$file: $!";
	seek $fh, $position, 0;
	read $fh, my $byte, 1;
	seek $fh, $position, 0;
	print $fh chr(ord($byte) ^ (1 << $bit));
	close $fh;
}

sub sqlstate
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/ ? $1 : '';
}

# 1. A flipped bit in a descriptor: after a crash, at the very end of the log
# and in the middle.  Nothing is cut, the damage is named, the rest is read.
foreach my $where ('last', 'middle')
{
	my $topic = "flip_$where";
	$node->safe_psql('postgres', "SELECT mq.create_topic('$topic')");
	produce($node, $topic, ["message $_"]) foreach (0 .. 9);
	my $dir = topic_dir($topic, 0);
	$node->safe_psql('postgres', 'CHECKPOINT');
	crash($node);
	my $batch = $where eq 'last' ? 9 : 4;
	flip_bit("$data/$dir/00000000000000000000.batches", 48 * $batch + 5, 3);
	$node->start;
	is($node->safe_psql('postgres', "SELECT latest FROM mq.offsets('$topic')"), 10, "$where: the log ends where it did");
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT count(*) FROM mq.fetch_text('$topic', 0)");
	like($err, qr/XX001/, "$where: XX001");
	like($err, qr/00000000000000000000\.batches" at position @{[48 * $batch]}/, "$where: file and position");
	like($err, qr/Offsets $batch to $batch /, "$where: offsets");
	is($node->safe_psql('postgres', "SELECT string_agg(value, ',') FROM mq.fetch_text('$topic', 0, on_damage => 'skip')"),
		join(',', map { "message $_" } grep { $_ != $batch } (0 .. 9)), "$where: the rest is read");
	produce($node, $topic, ['after']);
	is($node->safe_psql('postgres', "SELECT value FROM mq.fetch_text('$topic', 0, 10)"), 'after', "$where: the log goes on");
}
like(slurp_file($node->logfile), qr/is damaged: batches that a checkpoint has synced/, 'the server log says so at boot');

# a flipped bit in a batch
$node->safe_psql('postgres', "SELECT mq.create_topic('flip_log')");
produce($node, 'flip_log', ["message $_"]) foreach (0 .. 4);
my $flip_dir = topic_dir('flip_log', 0);
flip_bit("$data/$flip_dir/00000000000000000000.log", 70, 1);
is(sqlstate("SELECT * FROM mq.fetch('flip_log', 0)"), 'XX001', 'a damaged batch is reported');
is($node->safe_psql('postgres', "SELECT string_agg(value, ',') FROM mq.fetch_text('flip_log', 0, 1)"),
	'message 1,message 2,message 3,message 4', 'what follows it is read');

# 2. A log that is ahead of WAL: its ghosts must not come back under the
# transaction ids that are handed out again.  The second time the server runs
# without the library for a while, and its checkpoints pass the ghosts.
foreach my $absent (0, 1)
{
	my $topic = $absent ? 'ghost_absent' : 'ghost';
	my $what = $absent ? 'without the library' : 'a log ahead of WAL';
	$node->safe_psql('postgres', "SELECT mq.create_topic('$topic')");
	produce($node, $topic, ['real']);
	$node->stop;
	system_or_bail('cp', '-a', "$data/pg_wal", "$data.wal");
	system_or_bail('cp', '-a', "$data/global/pg_control", "$data.control");
	system_or_bail('cp', '-a', "$data/pg_xact", "$data.xact");
	$node->start;
	produce($node, $topic, ["ghost $_"]) foreach (1 .. 3);
	read_topic($node, $topic);	# brings them from shared memory to the files
	crash($node);
	system_or_bail('rm', '-rf', "$data/pg_wal", "$data/pg_xact");
	system_or_bail('mv', "$data.wal", "$data/pg_wal");
	system_or_bail('mv', "$data.xact", "$data/pg_xact");
	system_or_bail('mv', "$data.control", "$data/global/pg_control");
	my $from = log_end($node);
	if ($absent)
	{
		$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
		$node->start;
		# past the ghosts, in LSNs and in transaction ids
		$node->safe_psql('postgres', q{CREATE TABLE past AS SELECT generate_series(1, 20000); DROP TABLE past; CHECKPOINT});
		$node->safe_psql('postgres', 'SELECT pg_current_xact_id()') foreach (1 .. 10);
		$node->stop;
		$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mq_ext'");
	}
	$node->start;
	# transactions that get the ghosts' ids and commit
	$node->safe_psql('postgres', 'SELECT pg_current_xact_id()') foreach (1 .. 10);
	is($node->safe_psql('postgres', "SELECT string_agg(value, ',') FROM mq.fetch_text('$topic', 0)"), 'real', "$what: no ghost is seen");
	produce($node, $topic, ['next']);
	is($node->safe_psql('postgres', "SELECT string_agg(msg_offset || ' ' || value, ',') FROM mq.fetch_text('$topic', 0)"),
		'0 real,1 next', "$what: the ghosts' offsets are handed out again, as nobody has seen them");
	ok($node->log_contains(qr/checked the logs of \d+ partitions.*3 batches \(\d+ bytes\) cut/, $from), "$what: the boot line counts them");
}

# Descriptors or whole segments that are gone are not passed over in silence.
$node->safe_psql('postgres', q{SELECT mq.create_topic('holes', 1, '{"segment.bytes": 65536}')});
produce($node, 'holes', [ ("x" x 20000) ]) foreach (1 .. 12);
my $holes = topic_dir('holes', 0);
my @segments = map { s/.*\///r =~ s/\.log//r } sort glob "$data/$holes/0*.log";
cmp_ok(scalar @segments, '>=', 4, 'several segments');
$node->stop;
truncate "$data/$holes/$segments[0].batches", 48 * 2 or die;
unlink "$data/$holes/$segments[2].log", "$data/$holes/$segments[2].batches";
$node->start;
is(sqlstate("SELECT count(*) FROM mq.fetch('holes', 0)"), 'XX001', 'a lost descriptor is reported');
is(sqlstate("SELECT count(*) FROM mq.fetch('holes', 0, " . int($segments[2]) . ')'), 'XX001', 'a lost segment too');
is($node->safe_psql('postgres', "SELECT count(*) FROM mq.fetch('holes', 0, on_damage => 'skip')"),
	12 - 1 - (int($segments[3]) - int($segments[2])), 'the rest is read');

# 3. Single-user mode recovers too.
produce($node, 'ghost', ['single']);
crash($node);
my $single = run_log([ 'postgres', '--single', '-D', $data, 'postgres' ], '<', \"SELECT 1;\n", '>', \my $so, '2>', \my $se);
like($se . $so, qr/checked the logs of/, 'single-user mode prunes and recovers');
$node->start;
is($node->safe_psql('postgres', "SELECT value FROM mq.fetch_text('ghost', 0, 2)"), 'single', 'and nothing is lost');

# 4. Shared memory too small at the restart: more partitions than places.
$node->safe_psql('postgres', "SELECT mq.create_topic('wide', 40)");
$node->safe_psql('postgres', q{SELECT count(mq.produce('wide', i::text, partition => i % 40)) FROM generate_series(0, 399) i});
crash($node);
$node->append_conf('postgresql.conf', 'mq.max_partitions = 16');
$node->start;
is(scalar(read_topic($node, 'wide')), 400, 'all messages of 40 partitions with room for 16');
is(sqlstate(q{BEGIN; SELECT count(mq.produce('wide', i::text, partition => i % 40)) FROM generate_series(0, 399) i; COMMIT;}),
	'53400', 'one transaction cannot write to more than are open at once');
$node->safe_psql('postgres', qq{SELECT mq.produce('wide', 'more', partition => $_)}) foreach (0 .. 39);
$node->safe_psql('postgres', 'CHECKPOINT');
is(scalar(read_topic($node, 'wide')), 440, 'but one after the other');
crash($node);
$node->append_conf('postgresql.conf', 'mq.max_partitions = 1024');
$node->start;
is(scalar(read_topic($node, 'wide')), 440, 'and all is there after a crash');

# 5. Decisions outlive pg_xact: replay from an old backup across a truncation.
$node->safe_psql('postgres', "SELECT mq.create_topic('settled')");
$node->backup('old');
my $lsn = $node->lsn('insert');
produce($node, 'settled', ['committed']);
$node->psql('postgres', q{BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT mq.produce('settled', 'x'); ROLLBACK});
$node->poll_query_until('postgres',
	"SELECT count(*) > 0 FROM mq.wal_records('$lsn') WHERE record_type = 'SETTLE'")
  or die 'nothing was settled';
SKIP:
{
	my $first = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
	$node->safe_psql('postgres', q{
		ALTER DATABASE template0 ALLOW_CONNECTIONS true;
		CREATE PROCEDURE burn(n int) LANGUAGE plpgsql AS $$
		BEGIN FOR i IN 1 .. n LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$;
		SET synchronous_commit = off;
		CALL burn(70000);});
	foreach my $db ('template0', 'template1', 'postgres')
	{
		$node->safe_psql($db, 'VACUUM FREEZE');
	}
	ok(!-e "$data/pg_xact/0000" || $node->safe_psql('postgres', "SELECT age(datfrozenxid) < 60000 FROM pg_database ORDER BY 1 LIMIT 1") eq 't',
		'pg_xact can be truncated');
	my $old = MqNode->new('old');
	$old->init_from_backup($node, 'old', has_streaming => 1);
	$old->start;
	$node->wait_for_catchup($old, 'replay', $node->lsn('insert'));
	is($old->safe_psql('postgres', "SELECT value FROM mq.fetch_text('settled', 0)"), 'committed',
		'a message whose transaction pg_xact has forgotten');
	$old->stop;
}

# 6. After pg_resetwal topics stay closed until somebody says so.
$node->stop;
command_ok([ 'pg_resetwal', '-D', $data ], 'pg_resetwal');
$node->start;
is(sqlstate("SELECT mq.produce('ghost', 'x')"), '55000', 'produce is refused after pg_resetwal');
is(sqlstate("SELECT * FROM mq.fetch('ghost')"), '55000', 'so is fetch');
$node->append_conf('postgresql.conf', 'mq.allow_missing_logs = on');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('mq.allow_missing_logs') = 'on'") or die;
is($node->safe_psql('postgres', "SELECT value FROM mq.fetch_text('ghost', 0, 2)"), 'single', 'until it is allowed');
$node->append_conf('postgresql.conf', 'mq.allow_missing_logs = off');
$node->restart;
produce($node, 'ghost', ['open again']);
is($node->safe_psql('postgres', "SELECT value FROM mq.fetch_text('ghost', 0, 3)"), 'open again', 'the next start knows of nothing');

$node->stop;
done_testing();
