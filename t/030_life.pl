# The life of a log's files: deleting by offset, by age and size, and a
# partition that is retired, with a crash at each step; a table of partitions
# that is too small; space that comes back while others have the files open.
#
# Every message says its own offset, so what a partition holds follows from
# where it begins and ends.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $node = new_node('life', conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
wal_keep_size = 1GB
mq.max_partitions = 16
mq.retention_check_interval = 1h
include_if_exists = 'faults.conf'
CONF
my $data = $node->data_dir;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub arm
{
	my ($text) = @_;
	unlink "$data/faults.conf";
	append_to_file("$data/faults.conf", $text);
	return;
}

# Messages that say their offsets, in batches of 20 with a value of 500 bytes.
sub fill
{
	my ($topic, $partition, $n, $ts) = @_;
	my $end = sql("SELECT last_stable FROM mq.offsets('$topic', $partition)");
	my $when = defined $ts ? ", ts => $ts" : '';
	my $script = '';

	while ($n > 0)
	{
		my $last = $end + ($n < 20 ? $n : 20) - 1;
		$script .= "SELECT count(mq.produce('$topic', rpad(i || ' ', 500, 'x'), partition => $partition$when)) FROM generate_series($end, $last) i;\n";
		$n -= 20;
		$end = $last + 1;
	}
	sql($script);
	return $end;
}

# A test: does the partition hold what follows from where it begins and ends?
sub is_whole
{
	my ($topic, $partition, $name) = @_;
	my $row = sql(<<"SQL");
SELECT o.earliest, o.last_stable, count(m), coalesce(min(m.msg_offset), o.earliest),
	bool_and(split_part(m.value, ' ', 1) = m.msg_offset::text)
FROM mq.offsets('$topic', $partition) o
	LEFT JOIN mq.fetch_text('$topic', $partition, NULL, 1000000, 1000000000) m ON true
GROUP BY 1, 2
SQL
	my ($first, $end, $count, $min, $right) = split /\|/, $row;

	return is($row, join('|', $first, $end, $end - $first, $first, $end > $first ? 't' : 'f'), $name) if $end > $first;
	return is("$count|$min", "0|$first", $name);
}

# Files of segments in a partition's folder.
sub segments_on_disk
{
	my ($topic, $partition) = @_;
	my $id = sql("SELECT topic_id FROM mq.topics WHERE topic = '$topic'");
	my @files = map { m{(\d+)\.log$} ? $1 + 0 : () } glob "$data/pg_mq/*/$id/$partition/*.log";
	return sort { $a <=> $b } @files;
}

sub segments_in_view
{
	my ($topic, $partition) = @_;
	return split /\n/, sql("SELECT base_offset FROM mq.segments WHERE topic = '$topic' AND partition = $partition AND state <> 'deleting' ORDER BY 1");
}

# Old files go at once, or a moment later by the janitor.
sub files_follow
{
	my ($topic, $partition, $name) = @_;
	wait_until(sub { join(' ', segments_on_disk($topic, $partition)) eq join(' ', segments_in_view($topic, $partition)) },
		"the files of $topic/$partition are those of the view");
	return pass($name);
}

sub restart
{
	crash($node) if $node->{_pid};
	foreach my $link (glob '/proc/[0-9]*/cwd')
	{
		my ($pid) = $link =~ /(\d+)/;
		kill 'KILL', $pid if (readlink($link) // '') eq $data;
	}
	wait_until(sub { !grep { (readlink($_) // '') eq $data } glob '/proc/[0-9]*/cwd' }, 'all processes are gone');
	unlink "$data/postmaster.pid", $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	arm('');
	$node->start;
	return;
}

# Deleting

sql(q{SELECT mq.create_topic('t', 2, '{"segment.bytes": 65536}')});
fill('t', 0, 1000);
fill('t', 1, 40);
my $before = () = segments_on_disk('t', 0);
cmp_ok($before, '>', 6, 'there are segments');
is(sql(q{SELECT mq.delete_records('t', 0, 500)}), '500', 'the log begins where it was asked to');
is_whole('t', 0, 'what is left is right');
cmp_ok(scalar(my @rest = segments_on_disk('t', 0)), '<', $before, 'files are gone at once');
files_follow('t', 0, 'and are those of the view');
is(sql(q{SELECT mq.delete_records('t', 0, 100)}), '500', 'the start never goes back');
is(sql(q{SELECT mq.delete_records('t', 1, 0)}), '0', 'nothing to delete');
crash($node);
$node->start;
is(offsets($node, 't')->{0}{earliest}, 500, 'a crash takes nothing back');
is_whole('t', 0, 'what is left is right after a crash');
$node->restart;
is(offsets($node, 't')->{0}{earliest}, 500, 'nor does a clean stop');

# A message that nobody can see yet stays
{
	my $session = $node->background_psql('postgres');
	hold_fault($session, 'pre_commit_done');
	my $writer = $node->background_psql('postgres');
	$writer->query_until(qr/begun/, "SET mq.faults = 'pre_commit_done:pause';\n\\echo begun\nSELECT mq.produce('t', '1000 ', partition => 0);\n");
	wait_for_pause($node, 'pre_commit_done');
	is(sql(q{SELECT mq.purge_topic('t')}), '540', 'a purge ends where readers end');
	is(sql(q{SELECT log_start_offset || ' ' || last_stable_offset || ' ' || log_end_offset FROM mq.partitions WHERE topic = 't' AND partition = 0}),
		'1000 1000 1001', 'a message in doubt is left');
	release_fault($session, 'pre_commit_done');
	wait_until(sub { offsets($node, 't')->{0}{last_stable} == 1001 }, 'the message is there');
	is_whole('t', 0, 'and readable');
	$writer->quit;
	$session->quit;
}

# Space comes back though an idle session has the files open
{
	fill('t', 0, 500);
	my $reader = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $reader->query_safe(q{SELECT pg_backend_pid()});
	$reader->query_safe(q{SELECT count(*) FROM mq.fetch('t', 0, NULL, 100000, 100000000)});
	my $open = grep { (readlink($_) // '') =~ m{pg_mq.*\.log} } glob "/proc/$pid/fd/*";
	cmp_ok($open, '>', 1, 'a session has files open');
	sql(q{SELECT mq.purge_topic('t')});
	files_follow('t', 0, 'the files are gone');
	my @held = grep { (readlink($_) // '') =~ m{pg_mq.*\(deleted\)} && (stat $_)[12] > 0 } glob "/proc/$pid/fd/*";
	is(scalar @held, 0, 'what is open of them takes no space');
	is($reader->query_safe(q{SELECT count(*) FROM mq.fetch('t', 0)}), '0', 'the session goes on');
	$reader->quit;
}

# Retention

sql(q{SELECT mq.create_topic('r', 1, '{"segment.bytes": 65536, "retention.ms": 3600000}')});
fill('r', 0, 600, "now() - interval '2 h'");
my $young = fill('r', 0, 200);
is(sql(q{SELECT segments > 3 AND freed_bytes > 200000 FROM mq.run_retention('r', dry_run => true)}), 't', 'a dry run counts');
is(offsets($node, 'r')->{0}{earliest}, 0, 'and changes nothing');
sql(q{SELECT mq.run_retention('r')});
my $start = offsets($node, 'r')->{0}{earliest};
cmp_ok($start, '>', 400, 'old segments are gone');
cmp_ok($start, '<=', 600, 'no young message is');
is_whole('r', 0, 'what is left is right');

sql(q{SELECT mq.alter_topic('r', '{"retention.ms": -1, "retention.bytes": 100000}')});
fill('r', 0, 600);
sql(q{SELECT mq.run_retention('r')});
my $bytes = sql(q{SELECT sum(size_bytes) FROM mq.segments WHERE topic = 'r'});
cmp_ok($bytes, '>=', 100_000, 'the log keeps what it may');
cmp_ok($bytes, '<', 100_000 + 65_536 + 2_000, 'and not a segment more');
is_whole('r', 0, 'what is left is right');

# By the janitor, for a topic that nobody has used since the server came up
sql(q{SELECT mq.create_topic('idle', 1, '{"retention.ms": 3600000}')});
fill('idle', 0, 20, "now() - interval '2 h'");
sql(q{SELECT mq.create_topic('kept', 1, '{"retention.ms": -1}')});
fill('kept', 0, 20, "now() - interval '2 h'");
my $noted = log_end($node);
sql(q{SELECT mq.alter_topic('idle', '{"retention.ms": 7000000}')});
wait_until(sub { sql(q{SELECT count(*) FROM mq.wal_records('0/1000028'::pg_lsn) WHERE record_type = 'CONFIG' AND description LIKE '%retention.ms 7000000%'}) > 0 },
	'the janitor notes the change');
$node->restart;
sql(q{ALTER SYSTEM SET mq.retention_check_interval = '100ms'});
$node->reload;
$node->wait_for_log(qr/retention removed 1 segments \(20 messages/, $noted);
is(offsets($node, 'idle')->{0}{earliest}, 20, 'the janitor removes what is too old');
is(offsets($node, 'kept')->{0}{earliest}, 0, 'and nothing else');
fill('idle', 0, 5);
is_whole('idle', 0, 'the log goes on counting');

# A change that is rolled back does not reach the janitor
sql(q{BEGIN; SELECT mq.alter_topic('kept', '{"retention.ms": 1000}'); ROLLBACK;});
sql(q{BEGIN; SAVEPOINT s; SELECT mq.alter_topic('kept', '{"retention.ms": 1000}'); ROLLBACK TO s; COMMIT;});
sql(q{SELECT mq.create_topic('later', 1, '{"retention.ms": 3600000}')});
fill('later', 0, 20, "now() - interval '2 h'");
wait_until(sub { offsets($node, 'later')->{0}{earliest} == 20 }, 'the janitor has been there');
is(offsets($node, 'kept')->{0}{earliest}, 0, 'what was rolled back is not obeyed');
sql(q{SELECT mq.alter_topic('kept', '{"retention.ms": 3600000}')});
wait_until(sub { offsets($node, 'kept')->{0}{earliest} == 20 }, 'what was committed is, though nobody writes');
pass('a change is obeyed');

# A crash between the change and the note of it: nobody deletes by options
# that may be no longer so, until somebody uses the topic
foreach my $topic ('commits', 'fails')
{
	my $left = $topic eq 'commits' ? 20 : 0;

	sql(q{ALTER SYSTEM SET mq.retention_check_interval = '1h'});
	$node->restart;
	sql(qq{SELECT mq.create_topic('$topic', 1, '{"retention.ms": 3600000}')});
	fill($topic, 0, 20, "now() - interval '2 h'");
	wait_until(sub { sql(q{SELECT count(*) FROM mq.wal_records((SELECT redo_lsn FROM pg_control_checkpoint())) WHERE record_type = 'CONFIG' AND description LIKE '%retention.ms 3600000%' AND topic_id = (SELECT topic_id FROM mq.topics WHERE topic = '} . $topic . q{')}) > 0 },
		'the janitor has noted the options');
	if ($topic eq 'commits')
	{
		sql(qq{SELECT mq.alter_topic('$topic', '{"retention.ms": -1}')});
		crash($node);
	}
	else
	{
		# all but its commit record is in WAL, and flushed
		my $holder = $node->background_psql('postgres');
		my $alters = $node->background_psql('postgres');
		hold_fault($holder, 'pre_commit_done');
		$alters->query_until(qr/begun/, qq{SET mq.faults = 'pre_commit_done:pause';\n\\echo begun\nSELECT mq.alter_topic('$topic', '{"retention.ms": -1}');\n});
		wait_for_pause($node, 'pre_commit_done');
		sql('CREATE TEMP TABLE flushes_wal (); SELECT txid_current()');
		crash($node);
		eval { $_->quit } foreach $holder, $alters;
	}
	restart();
	sql(q{ALTER SYSTEM SET mq.retention_check_interval = '100ms'});
	$node->reload;
	sql(qq{SELECT mq.create_topic('barrier_$topic', 1, '{"retention.ms": 3600000}')});
	fill("barrier_$topic", 0, 20, "now() - interval '2 h'");
	wait_until(sub { offsets($node, "barrier_$topic")->{0}{earliest} == 20 }, 'the janitor has been there');
	is(sql(qq{SELECT log_start_offset FROM mq.partitions WHERE topic = '$topic'}), 0, "a change of options and a crash: nothing is deleted");
	is(sql(qq{SELECT count(*) FROM mq.fetch('$topic', 0, 0)}), 20, 'the messages are there');
	if ($left > 0)
	{
		fill("barrier_$topic", 0, 20, "now() - interval '2 h'");
		wait_until(sub { offsets($node, "barrier_$topic")->{0}{earliest} == 40 }, 'the janitor has been there again');
	}
	else
	{
		wait_until(sub { offsets($node, $topic)->{0}{earliest} == 20 }, 'retention goes on');
	}
	is(sql(qq{SELECT count(*) FROM mq.fetch('$topic')}), $left, "a change of options and a crash: what is right in the end, when the change $topic");
}

# Retiring

sql(q{SELECT mq.create_topic('p', 3, '{"retention.ms": 3600000}')});
fill('p', $_, 20) foreach 0 .. 2;
sql(q{SELECT mq.retire_partition('p', 1)});
is(sql(q{SELECT string_agg(partition || ' ' || state, ', ' ORDER BY partition) FROM mq.partitions WHERE topic = 'p'}),
	'0 active, 1 retired, 2 active', 'it is retired');
my ($rc, undef, $stderr) = $node->psql('postgres', q{\set VERBOSITY verbose
SELECT mq.produce('p', 'x', partition => 1)});
like($stderr, qr/ERROR:  55000: partition 1 of topic "p" is retired/, 'it takes no messages');
sql(q{SELECT count(mq.produce('p', 'k', key => 'k' || i)) FROM generate_series(1, 100) i});
is(offsets($node, 'p')->{1}{last_stable}, 20, 'keys go elsewhere');
is_whole('p', 1, 'its messages are readable');
sql(q{SELECT mq.delete_records('p', 1, 20)});
wait_until(sub { sql(q{SELECT count(*) FROM mq.partitions WHERE topic = 'p'}) == 2 }, 'the empty partition is gone');
is(scalar(my @gone = segments_on_disk('p', 1)), 0, 'and its files');
($rc, undef, $stderr) = $node->psql('postgres', q{\set VERBOSITY verbose
SELECT mq.fetch('p', 1)});
like($stderr, qr/ERROR:  22023: partition 1 of topic "p" does not exist/, 'it cannot be read any more');
sql(q{SELECT mq.add_partitions('p', 1)});
is(sql(q{SELECT string_agg(partition::text, ' ' ORDER BY partition) FROM mq.partitions WHERE topic = 'p'}), '0 2 3', 'its number is not used again');
$node->restart;
is(sql(q{SELECT string_agg(partition::text, ' ' ORDER BY partition) FROM mq.partitions WHERE topic = 'p'}), '0 2 3', 'after a restart neither');
sql(q{ALTER SYSTEM RESET mq.retention_check_interval});
$node->reload;

# A crash at each step

my %steps = (
	start_after_wal => sub { "SELECT mq.delete_records('t', 0, $_[0])" },
	start_flushed => sub { "SELECT mq.delete_records('t', 0, $_[0])" },
	start_moved => sub { "SELECT mq.delete_records('t', 0, $_[0])" },
	start_stated => sub { "SELECT mq.delete_records('t', 0, $_[0])" },
	start_half_removed => sub { "SELECT mq.delete_records('t', 0, $_[0])" },
	retention_chosen => sub { q{SELECT mq.run_retention('t')} },
);
sql(q{SELECT mq.alter_topic('t', '{"retention.bytes": 70000, "retention.ms": -1}')});
foreach my $point (sort keys %steps)
{
	foreach my $action ('crash', 'kill')
	{
		my $end = fill('t', 0, 500);
		my $start = offsets($node, 't')->{0}{earliest};
		my $to = $end - 150;
		my $log = log_end($node);

		# some of it is in WAL alone, some below a checkpoint
		sql('CHECKPOINT') if $action eq 'crash';
		$end = fill('t', 0, 40);
		my ($rc) = $node->psql('postgres', "SET mq.faults = '$point:$action';\n" . $steps{$point}->($to));
		isnt($rc, 0, "$point:$action is reached");
		if ($action eq 'crash')
		{
			$node->wait_for_log(qr/database system is ready to accept connections/, $log);
		}
		else
		{
			restart();
		}
		my $now = offsets($node, 't')->{0};
		if ($point =~ /^start_(?!after_wal)/)
		{
			# retention may have gone on from there after the start
			ok($now->{earliest} >= $to && $now->{earliest} <= $to + 100, "$point:$action: the start is the new one");
		}
		else
		{
			ok($now->{earliest} == $start || ($now->{earliest} > $start && $now->{earliest} <= $to + 100), "$point:$action: the start is the old or the new one");
		}
		is($now->{last_stable}, $end, "$point:$action: the end is what it was");
		is_whole('t', 0, "$point:$action: the messages are right");
		files_follow('t', 0, "$point:$action: the files are those of the view");
		is(sql(q{SELECT * FROM mq.verify('t') WHERE status <> 'ok'}), '', "$point:$action: mq.verify finds nothing");
		unlike(substr(slurp_file($node->logfile), $log), qr/is damaged|has a hole|[1-9]\d* damaged/, "$point:$action: no damage is reported");
	}
}

# The same in the midst of the boot that tidies up
{
	my $end = fill('t', 0, 600);
	sql('CHECKPOINT');
	my ($rc) = $node->psql('postgres', "SET mq.faults = 'start_half_removed:kill';\nSELECT mq.delete_records('t', 0, $end - 10)");
	restart_to_fault('boot_old_removed:kill:1');
	restart_to_fault('boot_old_removed:kill:3');
	restart();
	is(offsets($node, 't')->{0}{earliest}, $end - 10, 'the start is the new one after crashes of the boot');
	is_whole('t', 0, 'the messages are right after crashes of the boot');
	files_follow('t', 0, 'the files are those of the view after crashes of the boot');
}

sub restart_to_fault
{
	my ($fault) = @_;

	restart_dead();
	arm("mq.faults = '$fault'\n");
	ok(!$node->start(fail_ok => 1), "$fault is reached");
	return;
}

sub restart_dead
{
	$node->{_pid} = undef unless $node->{_pid} && kill 0, $node->{_pid};
	crash($node) if $node->{_pid};
	unlink "$data/postmaster.pid", $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	return;
}

# A retired partition whose removal is interrupted
{
	sql(q{SELECT mq.create_topic('q', 2)});
	fill('q', 1, 20);
	sql(q{SELECT mq.retire_partition('q', 1)});
	sql(q{SELECT mq.delete_records('q', 1, -1)});
	my ($rc) = $node->psql('postgres', q{SET mq.faults = 'remove_before_unlink:kill'; SELECT mq.run_retention('q')});
	isnt($rc, 0, 'remove_before_unlink is reached');
	restart();
	is(sql(q{SELECT count(*) FROM mq.partitions WHERE topic = 'q'}), '1', 'redo removes the partition');
	is(scalar(my @left = segments_on_disk('q', 1)), 0, 'and its files');
}

# All that was ever written to is gone: the files are not lost
{
	sql(q{SELECT mq.create_topic('shrunk', 2); SELECT mq.produce('shrunk', 'x', partition => 0)});
	sql(q{SELECT mq.retire_partition('shrunk', 0)});
	sql(q{SELECT mq.delete_records('shrunk', 0, -1); SELECT mq.run_retention('shrunk')});
	is(sql(q{SELECT count(*) FROM mq.fetch('shrunk')}), '0', 'a topic without files of its own doing is readable');
	sql(q{SELECT mq.produce('shrunk', 'y')});
	is(sql(q{SELECT count(*) FROM mq.fetch('shrunk', 1)}), '1', 'and goes on');
}

# More partitions than places, in recovery too
{
	sql(q{SELECT mq.create_topic('many', 40, '{"segment.bytes": 65536}')});
	sql(join "\n", map { "SELECT count(mq.produce('many', rpad(i || ' ', 500, 'x'), partition => $_)) FROM generate_series(0, 199) i;" } 0 .. 39);
	sql('CHECKPOINT');
	sql(qq{SELECT mq.delete_records('many', $_, 190)}) foreach 0 .. 39;
	is(sql(q{SELECT count(*) FILTER (WHERE earliest = 190), count(*) FROM mq.offsets('many')}), '40|40', 'each begins later');
	crash($node);
	$node->start;
	is(sql(q{SELECT count(*) FILTER (WHERE earliest = 190), count(*) FROM mq.offsets('many')}), '40|40', 'after a crash too');
	is(sql(q{SELECT count(*), min(msg_offset) FROM mq.fetch('many', max_messages => 100000, max_bytes => 100000000)}), '400|190', 'and holds what it should');
	is_whole('many', 17, 'each message where it was');
}

# The records
is(sql(q{SELECT string_agg(DISTINCT record_type, ' ' ORDER BY record_type) FROM mq.wal_records('0/1000028'::pg_lsn)
	WHERE record_type IN ('START', 'CONFIG', 'REMOVE')}), 'CONFIG REMOVE START', 'WAL has records of each kind');
sql('CREATE EXTENSION pg_walinspect');
is(sql(q{SELECT count(DISTINCT record_type) FROM pg_get_wal_records_info('0/1000028', pg_current_wal_flush_lsn())
	WHERE resource_manager = 'mq_ext' AND record_type IN ('START', 'CONFIG', 'REMOVE')}), '3', 'pg_walinspect shows them');
offsets_in_order($node);

$node->stop;
done_testing();
