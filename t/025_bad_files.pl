# Logs whose files cannot be read, for a moment or for good: they stand in the
# way of nobody else, neither at boot nor in recovery, in checkpoints, in views
# or for the settler, and nothing of theirs is lost once the cause is mended.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqShim;
use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $node = new_shim_node('bad', conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
mq.max_partitions = 64
CONF
my $data = $node->data_dir;

$node->safe_psql('postgres', q{
	SELECT mq.create_topic('many', 40);
	SELECT mq.create_topic('lone');
	SELECT mq.create_topic('short');
	SELECT mq.create_topic('unlisted', 1, '{"segment.bytes": 65536}');
	SELECT mq.create_topic('good');
	SELECT mq.create_topic('bad');
});
my %uuids = split /[|\n]/, $node->safe_psql('postgres', 'SELECT topic, topic_id FROM mq.topics');

# the next run must be able to remove it, however this one ends
my ($folder, $half);
END { chmod 0700, grep { defined } $folder, $half }

sub sqlstate
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/ ? $1 : '';
}

sub contents
{
	my ($topic) = @_;
	return join ' ', fetch($node, $topic, 0);
}

sub state
{
	my ($topic) = @_;
	return $node->safe_psql('postgres', "SELECT DISTINCT state FROM mq.partitions WHERE topic = '$topic'");
}

# How many descriptors of a topic say that they are settled, and how many do not.
sub settled
{
	my ($topic) = @_;
	my @count = (0, 0);
	foreach my $file (glob "$data/pg_mq/*/$uuids{$topic}/*/0*.batches")
	{
		my $bytes = slurp_file($file);
		$count[ ord(substr $bytes, $_ * 48 + 43, 1) & 0x80 ? 0 : 1 ]++ foreach 0 .. length($bytes) / 48 - 1;
	}
	return @count;
}

sub wait_for_settled
{
	my ($topic, $n) = @_;
	return wait_until(sub { join(' ', settled($topic)) eq "$n 0" }, "$topic is settled");
}

# A process that stands still until the next crash, or SIGCONT.
sub stop_settler
{
	my $pid = worker_pid($node, 'mq_ext settler');
	$node->poll_query_until('postgres', "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid")
	  or die 'the settler is busy';
	kill 'STOP', $pid;
	return $pid;
}

# More logs to settle than the table has places, while others want places, too.
# Recovery fills the table with those that are last in the folder: whoever
# begins with the first ones finds no place for them.

sub produce_to_many
{
	$node->safe_psql('postgres', join '', map { "SELECT mq.produce('many', 'x', partition => $_);\n" } @_);
	return;
}

produce_to_many(0 .. 39);
ok(wait_for_settled('many', 40), 'a message in each of 40 partitions');
$node->safe_psql('postgres', 'CHECKPOINT');
stop_settler();
my ($many) = glob "$data/pg_mq/*/$uuids{many}";
opendir my $dh, $many or die "$many: $!";
produce_to_many(reverse grep { /^\d+$/ } readdir $dh);
closedir $dh;
is((settled('many'))[0], 40, 'and another one that is not settled when the server dies');
crash($node);
$node->append_conf('postgresql.conf', 'mq.max_partitions = 16');
shim_start($node);
is(scalar(read_topic($node, 'many')), 80, '40 partitions with room for 16');
ok(wait_for_settled('many', 80), 'all of them are settled');

# No descriptor or no memory left while a log is loaded: this caller's trouble

produce($node, 'lone', ['one']);
ok(wait_for_settled('lone', 1), 'a message is settled');
foreach my $case ([ 'open', 'EMFILE', '53000' ], [ 'read', 'ENOMEM', '53200' ])
{
	my ($call, $error, $expected) = @$case;
	my $before = contents('lone');
	# the others take its place
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->safe_psql('postgres', q{SELECT count(*) FROM mq.offsets('many')});
	shim_rules($node, "fail call=$call path=pg_mq/*/$uuids{lone}/0/state nth=1 times=0 error=$error");
	is(sqlstate(q{SELECT * FROM mq.fetch('lone')}), $expected, "$error: an error");
	cmp_ok((shim_counts($node))[0]{fired}, '>', 0, "$error: in a call on the log's files");
	shim_rules($node);
	is(contents('lone'), $before, "$error: the next caller can read the log");
	is(sqlstate(q{SELECT mq.produce('lone', 'x', transactional => false)}), '', "$error: and write to it");
	is(state('lone'), 'active', "$error: nothing is wrong with it");
}

# No descriptor left for the settler: it comes back

my ($holder, $session) = map { $node->background_psql('postgres') } 1 .. 2;
hold_fault($holder, 'append_done');
$session->query_until(qr/begun/, "\\echo begun\nSET mq.faults = 'append_done:pause';\nSELECT mq.produce('short', repeat('x', 30000));\n\\echo done\n");
wait_for_pause($node, 'append_done');
my $calls = $node->basedir . '/shim/log';
my $log = -s $calls;
shim_rules($node, "fail call=open path=pg_mq/*/$uuids{short}/0/*.batches nth=1 times=0 error=EMFILE");
release_fault($holder, 'append_done');
$session->query_until(qr/done/, '');
ok(wait_until(sub { slurp_file($calls, $log) =~ /(?:.*\n){4}/ }, 'the settler has tried again'), 'the settler cannot open a file');
shim_rules($node);
ok(wait_for_settled('short', 1), 'when it can, the log is settled');
is(state('short'), 'active', 'and it was not taken for damaged');
$_->quit foreach $holder, $session;

# A folder that cannot be listed: the settler must not take that for the end of
# the segments

produce($node, 'unlisted', ['first']);
($folder) = glob "$data/pg_mq/*/$uuids{unlisted}/0";
ok(wait_for_settled('unlisted', 1), 'the first message is settled');
my $settler = stop_settler();
produce($node, 'unlisted', [ $_ x 40000 ]) foreach 'a' .. 'd';
chmod 0300, $folder or die;
$log = log_end($node);
kill 'CONT', $settler;
$node->wait_for_log(qr/could not read folder ".*": Permission denied[^\0]*cannot be settled/, $log);
pass('the settler says that it cannot go on');
my ($rc, $out, $err) = $node->psql('postgres', q{SELECT topic, count(*) FROM mq.segments WHERE topic IN ('lone', 'unlisted') GROUP BY 1});
is($out, 'lone|1', 'the view of segments shows the others');
like($err, qr/WARNING:  could not read folder/, 'with a warning');
is(state('unlisted'), 'damaged', 'so does that of partitions');
chmod 0700, $folder or die;
produce($node, 'unlisted', ['last']);
ok(wait_for_settled('unlisted', 6), 'mended, all is settled');

# Files that were away are found again by a session that has missed them

my $reader = $node->background_psql('postgres');
my $first = q{SET client_min_messages = error; SELECT min(msg_offset) FROM mq.fetch_text('unlisted', 0, 0, on_damage => 'skip');};
my ($base) = sort glob "$folder/0*.log";
$base =~ s/\.log$//;
rename "$base.$_", "$folder/away.$_" or die foreach qw(log batches);
cmp_ok($reader->query_safe($first), '>', 0, 'a session skips a segment that is not there');
rename "$folder/away.$_", "$base.$_" or die foreach qw(log batches);
is($reader->query_safe($first), 0, 'and reads it when it is back');
$reader->quit;

# The same at boot: the log is closed, the others are not, nor is the other partition

$node->safe_psql('postgres', q{SELECT mq.create_topic('half', 2)});
$node->safe_psql('postgres', qq{SELECT mq.produce('half', 'x', partition => $_)}) foreach 0, 1;
($half) = glob "$data/pg_mq/*/" . $node->safe_psql('postgres', q{SELECT topic_id FROM mq.topics WHERE topic = 'half'}) . '/1';
$node->stop;
chmod 0300, $folder, $half or die;
shim_start($node);
is($node->safe_psql('postgres', q{SELECT count(value) FROM mq_topics.half WHERE partition = 0}), 1, 'a partition that is well is read, planned too');
is(sqlstate(q{SELECT count(value) FROM mq_topics.half WHERE partition = 1}), 'XX001', 'the other is not');
is(sqlstate(q{EXPLAIN SELECT value FROM mq_topics.half}), '', 'planning alone looks past it');
is(sqlstate(q{SELECT count(value) FROM mq_topics.half}), 'XX001', 'reading all does not');
is(state('unlisted'), 'disabled', 'boot disables a log whose folder it cannot read');
is(sqlstate(q{SELECT * FROM mq.fetch('unlisted')}), 'XX001', 'it does not look empty');
is(sqlstate(q{SELECT count(*) FROM mq_topics.unlisted}), 'XX001', 'nor does its table');
($rc, $out, $err) = $node->psql('postgres', q{SELECT topic, count(*) FROM mq.segments WHERE topic IN ('lone', 'unlisted') GROUP BY 1});
is($out, 'lone|1', 'the view of segments shows the others');
like($err, qr/WARNING:  could not read folder/, 'with a warning');
is($node->safe_psql('postgres', q{SELECT count(*) FROM mq.topics}), 7, 'so does that of topics');
produce($node, 'good', ['0']);
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop;
chmod 0700, $folder, $half or die;
shim_start($node);
is($node->safe_psql('postgres', q{SELECT count(value) FROM mq_topics.half}), 2, 'mended, both partitions are there');
is(scalar(my @values = fetch($node, 'unlisted', 0)), 6, 'mended, all is there');
is(state('unlisted'), 'active', 'and nothing is wrong with it');

# A disk that cannot be read at boot, with WAL to replay: batches, an abort, a
# settle record

produce($node, 'bad', ['0']);
$node->safe_psql('postgres', 'CHECKPOINT');
produce($node, 'bad', ['1']);
ok(wait_for_settled('bad', 2), 'some of the replayed messages are settled');
stop_settler();
is(sqlstate(q{SET mq.faults = 'pre_commit_done:error'; SELECT mq.produce('bad', 'failed')}), 'XX000', 'one fails');
produce($node, $_, ['2']) foreach 'good', 'bad';
crash($node);
my @rules = ("fail call=read path=pg_mq/*/$uuids{bad}/* nth=1 times=0 error=EIO");
shim_rules($node, @rules);
foreach my $boot (1, 2)
{
	shim_start($node);
	cmp_ok((shim_counts($node))[0]{fired}, '>', 0, "boot $boot: files could not be read");
	is(state('bad'), 'disabled', "boot $boot: the log is disabled");
	is(sqlstate($_), 'XX001', "boot $boot: $_") foreach q{SELECT * FROM mq.fetch('bad')}, q{SELECT mq.produce('bad', 'x')},
	  q{SELECT value FROM mq_topics.bad}, q{INSERT INTO mq_topics.bad (value) VALUES ('x')};
	is(contents('good'), $boot == 1 ? '0 2' : '0 2 1', "boot $boot: the other one is what it was");
	produce($node, 'good', [$boot]);
	ok(wait_for_settled('good', 2 + $boot), "boot $boot: and is settled");
	$node->safe_psql('postgres', 'CHECKPOINT');
	crash($node);
}
shim_rules($node);
shim_start($node);
is(contents('bad'), '0 1 2', 'mended, all is there, and what failed is not');
ok(wait_for_settled('bad', 4), 'all of it is settled');
produce($node, 'bad', ['3']);
is(contents('bad'), '0 1 2 3', 'the log goes on');
is($node->safe_psql('postgres', q{SELECT DISTINCT state FROM mq.partitions}), 'active', 'nothing is damaged');
offsets_in_order($node);
unlike(slurp_file($node->logfile), qr/PANIC|is damaged|has a hole|TRAP/, 'and nobody has said so');

# After pg_resetwal the workers leave the logs alone until they are opened

stop_settler();
produce($node, 'good', ['3']);
$node->safe_psql('postgres', 'CHECKPOINT');
crash($node);
# whether the crash has left it depends on who reaps the postmaster
unlink "$data/postmaster.pid";
command_ok([ 'pg_resetwal', '-f', '-D', $data ], 'pg_resetwal');
$log = log_end($node);
shim_start($node);
worker_pid($node, $_) foreach 'mq_ext settler', 'mq_ext janitor';
is(sqlstate(q{SELECT * FROM mq.fetch('good')}), '55000', 'topics are closed');
$node->poll_query_until('postgres', q{
	SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type IN ('mq_ext settler', 'mq_ext janitor') AND state = 'idle' AND wait_event IS NOT NULL})
  or die 'the workers are busy';
unlike(slurp_file($node->logfile, $log), qr/\[\d+\] (?:mq_ext \w+ )?ERROR/, 'the workers do not stumble over that');
is(join(' ', settled('good')), '4 1', 'they leave the logs alone');
$node->append_conf('postgresql.conf', 'mq.allow_missing_logs = on');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('mq.allow_missing_logs') = 'on'") or die;
is(contents('good'), '0 2 1 2 3', 'opened');
ok(wait_for_settled('good', 5), 'and then settled');

$node->stop;
done_testing();
