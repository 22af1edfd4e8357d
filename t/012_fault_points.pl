# A crash at every named fault point: of one process, of the whole server, and
# during recovery.  The points are found in the sources; one that has no
# scenario here, or that its scenario does not reach, fails the test.
#
# After every crash the server is started again and everything is read: what
# was acknowledged is there once, what failed is not, rows and messages are the
# same, no offset names another message than before.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use File::Find qw(find);
use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $node = new_node('points', conf => <<'CONF');
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 4GB
mq.transaction_buffer = 64kB
include_if_exists = 'faults.conf'
CONF
my $data = $node->data_dir;

# What the clients know: "partition|offset" -> key as once read, keys that were
# acknowledged, and keys of which nobody knows.  All others have failed.
my (%seen, %acked, %unknown);
my $sent = 0;
my $log_checked = 0;

# Transactions of rows and messages, as many to each partition.  set: fault
# points for the session; n: how many transactions (1); records: messages to
# each partition (1); now: outside the transaction; fails: each second one is
# rolled back; unknown: the server may die behind a commit.  Returns whether
# the session lived to its end.
sub load
{
	my (%opt) = @_;
	my $script = $opt{set} ? "SET mq.faults = '$opt{set}';\n" : '';
	my $records = $opt{records} // 1;
	my $series = "generate_series(1, $records) i, generate_series(0, 1) p";
	my @sent;

	foreach (1 .. $opt{n} // 1)
	{
		my $name = ($opt{now} ? 'n' : 't') . ++$sent;
		my $key = "'$name.' || i || '.' || p";
		my $now = $opt{now} ? ', transactional => false' : '';
		my $produce = "SELECT count(mq.produce('ledger', repeat('x', 4000), key => $key, partition => p$now)) FROM $series;\n";
		my $fails = $opt{fails} && $sent % 2;

		push @sent, [ $name, $fails ];
		$script .= "BEGIN;\nINSERT INTO ledger SELECT $key FROM $series;\n" unless $opt{now};
		$script .= $produce;
		$script .= ($fails ? 'ROLLBACK' : 'COMMIT') . ";\n" unless $opt{now};
		$script .= "SELECT 'ack $name';\n" unless $fails;
	}
	my ($rc, $out) = $node->psql('postgres', $script, on_error_stop => 1);
	my %got = map { $_ => 1 } ($out // '') =~ /^ack (\w+)$/mg;
	foreach my $one (@sent)
	{
		my ($name, $fails) = @$one;
		my $known = $got{$name} ? \%acked : !$fails && ($opt{now} || $opt{unknown}) ? \%unknown : next;
		foreach my $i (1 .. $records)
		{
			$known->{"$name.$i.$_"} = 1 foreach 0, 1;
		}
	}
	return $rc == 0;
}

# Crashing and starting

# Arms points for every process; takes effect at the next reload or start.
sub arm
{
	my ($text) = @_;
	unlink "$data/faults.conf";
	append_to_file("$data/faults.conf", $text);
	return;
}

sub is_down
{
	return !MqTest::is_alive($node->{_pid});
}

# Waits for the end of all processes of a server whose postmaster has died.
sub bury
{
	crash($node) if $node->{_pid};
	foreach my $link (glob '/proc/[0-9]*/cwd')
	{
		my ($pid) = $link =~ /(\d+)/;
		kill 'KILL', $pid if (readlink($link) // '') eq $data;
	}
	wait_until(sub { !grep { (readlink($_) // '') eq $data } glob '/proc/[0-9]*/cwd' }, 'all processes are gone');
	# what an unreaped postmaster leaves behind
	unlink "$data/postmaster.pid", $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	return;
}

sub restart_clean
{
	bury();
	arm('');
	$node->start;
	return;
}

# One test: is everything as promised?
sub check
{
	my ($name) = @_;
	my %messages;
	my @wrong;

	foreach my $line (split /\n/, $node->safe_psql('postgres', join ' UNION ALL ', map {
		"SELECT partition, msg_offset, key FROM mq.fetch_text('ledger', $_, max_messages => 100000, max_bytes => 16777216)" } 0, 1))
	{
		my ($partition, $offset, $key) = split /\|/, $line;
		push @wrong, "offset $offset of partition $partition was $seen{\"$partition|$offset\"}, is $key"
		  if ($seen{"$partition|$offset"} // $key) ne $key;
		$seen{"$partition|$offset"} = $key;
		push @wrong, "$key stands twice" if $messages{$key}++;
		push @wrong, "$key is of a failed transaction" unless $acked{$key} || $unknown{$key};
	}
	push @wrong, map { "offset $_ is gone" } grep { !$messages{ $seen{$_} } } keys %seen;
	push @wrong, map { "$_ was acknowledged and is gone" } grep { !$messages{$_} } keys %acked;

	my %rows = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM ledger');
	push @wrong, map { "row $_ has no message" } grep { !$messages{$_} } keys %rows;
	push @wrong, map { "message $_ has no row" } grep { /^t/ && !$rows{$_} } keys %messages;

	my $order = $node->safe_psql('postgres', q{
		SELECT count(*) FROM mq.partitions WHERE NOT (log_start_offset <= last_stable_offset
			AND last_stable_offset <= high_watermark AND high_watermark <= log_end_offset)});
	push @wrong, 'offsets are not in order' if $order ne '0';
	push @wrong, 'a partition is damaged'
	  if $node->safe_psql('postgres', q{SELECT count(*) FROM mq.partitions WHERE state <> 'active'}) ne '0';

	my $log = substr(slurp_file($node->logfile), $log_checked);
	$log_checked = log_end($node);
	push @wrong, "the log says: $1"
	  while $log =~ /^(.*(?:PANIC|TRAP|[1-9]\d* damaged|has a hole|is damaged|could not .*pg_mq|cannot be settled|without syncing).*)$/mg;
	push @wrong, 'no line about the boot' unless $log =~ /mq_ext: checked the logs of \d+ partitions/;

	# what is known now stays so
	%unknown = ();
	$acked{$_} = 1 foreach keys %messages;
	return ok(!@wrong, $name) || diag(join "\n", splice(@wrong, 0, 10), '');
}

# Scenarios

# What a session does to reach a point; the points are armed for it alone.
# Loops until the session dies, because some points need a full segment.
my %in_session = (
	append_before_wal => {},
	append_after_wal => {},
	append_between_writes => {},
	append_write => {},
	append_done => {},
	# the same where the append does not go by way of a tail
	'append_before_wal large' => { records => 20 },
	'append_after_wal large' => { records => 20 },
	'append_between_writes large' => { records => 20 },
	'append_write large' => { records => 20 },
	'append_done large' => { records => 20 },
	pre_commit => {},
	pre_commit_done => {},
	pre_commit_between_groups => { records => 40, first => 2 },
	spill => { records => 40 },
	roll_before_rename => { n => 20 },
	roll_after_rename => { n => 20, prepared => 1 },
	reserve => { n => 20 },
	produce_now_before_publish => { now => 1 },
);

# What makes a worker or the checkpointer reach a point.
my %in_worker = (
	next_prepared => sub { load(n => 5, unknown => 1) },
	space_prepared => sub { load(n => 5, unknown => 1) },
	settle_before_hints => sub { load(fails => 1, n => 2, unknown => 1) },
	settle_done => sub { load(unknown => 1) },
	drop_before_wal => \&drop_a_topic,
	drop_before_unlink => \&drop_a_topic,
	sweep_database => \&drop_a_database,
	checkpoint_unheard => \&load_and_checkpoint,
	checkpoint_sync => \&load_and_checkpoint,
	checkpoint_marks_taken => \&load_and_checkpoint,
	checkpoint_synced => \&load_and_checkpoint,
	file_sync => \&load_and_checkpoint,
);

# Points of a boot, in the postmaster or the startup process: at which hit.
my %in_recovery = (
	boot_before_cut => [ 1, 2 ],
	boot_segment_removed => [ 1, 2, 3 ],
	boot_log_cut => [ 1, 2 ],
	boot_after_cut => [ 1, 2 ],
	boot_state_half_written => [1],
	redo_record => [ 1, 5 ],
	redo_between_writes => [ 1, 3 ],
);

# Points of other tests, where nothing is being written.
my %elsewhere = (
	wait_topic_found => '022_sql_edges',
	append_long_record => '038_append_records',
	reader_begins => '039_life_edges',
	verify_begun => '032_verify',
	verify_segment => '032_verify',
	map { $_ => '030_life' } qw(start_after_wal start_flushed start_moved start_stated start_half_removed
	  retention_chosen remove_before_unlink boot_old_removed));

sub drop_a_topic
{
	$node->psql('postgres', q{SELECT mq.create_topic('dropped'); SELECT mq.produce('dropped', 'x');});
	$node->psql('postgres', q{SELECT mq.drop_topic('dropped')});
	return;
}

sub drop_a_database
{
	$node->psql('postgres', 'CREATE DATABASE dropped');
	$node->psql('dropped', q{CREATE EXTENSION mq_ext; SELECT mq.create_topic('t'); SELECT mq.produce('t', 'x');});
	$node->psql('postgres', 'DROP DATABASE dropped');
	return;
}

sub load_and_checkpoint
{
	load(unknown => 1);
	$node->psql('postgres', 'CHECKPOINT');
	return;
}

# A log that is ahead of its last checkpoint by two segments and more, and a
# checkpoint that never completed.
sub prepare_recovery
{
	load(n => 3);
	$node->safe_psql('postgres', 'CHECKPOINT');
	load(n => 80, fails => 1);
	load(now => 1);
	arm("mq.faults = 'checkpoint_synced:kill'\n");
	$node->reload;
	wait_until(sub { $node->psql('postgres', 'CHECKPOINT'); is_down() }, 'the checkpoint has died');
	bury();
	return;
}

# The points that the sources name.
sub points_of_sources
{
	my %points;
	my $root = "$FindBin::RealBin/..";
	find(
		sub {
			return unless /\.c$/;
			my $text = slurp_file($_);
			$points{$1} = 1 while $text =~ /\bMQ_FAULT(?:_FAILS)?\("(\w+)"\)/g;
		},
		grep { -d } map { "$root/$_" } qw(base storage broker kafka replication bgworker mq_ext));
	return sort keys %points;
}

my %scenarios = (%in_session, %in_worker, %in_recovery);
my @points = points_of_sources();
cmp_ok(scalar @points, '>', 20, 'the sources name fault points');
is(join(' ', grep { !$scenarios{$_} && !$elsewhere{$_} } @points), '', 'each has a scenario');
my %named = map { $_ => 1 } @points;
is(join(' ', grep { !$named{ s/ .*//r } } sort keys %scenarios), '', 'each scenario has its point');

$node->safe_psql('postgres', q{
	CREATE TABLE ledger (id text PRIMARY KEY);
	SELECT mq.create_topic('ledger', 2, '{"segment.bytes": 65536}');
});
load(n => 5);
check('before the first crash');

# In a session

foreach my $scenario (grep { $named{ s/ .*//r } } sort keys %in_session)
{
	my %opt = %{ $in_session{$scenario} };
	my $point = $scenario =~ s/ .*//r;
	my $first = delete $opt{first} // 1;
	my $prepared = delete $opt{prepared};

	foreach my $action ('crash', 'kill')
	{
		my $log = log_end($node);
		my $lived = 1;
		foreach (1 .. 50)
		{
			# the janitor makes the next segment when this one is half full
			if ($prepared)
			{
				wait_until(sub { load(); my @next = glob "$data/pg_mq/*/*/0/next.batches"; @next > 0 }, 'a segment is prepared');
			}
			$lived = load(%opt, set => "$point:$action:$first");
			last unless $lived;
		}
		ok(!$lived, "$scenario:$action is reached");
		if ($action eq 'crash')
		{
			$node->wait_for_log(qr/exited with exit code 2[^\0]*database system is ready to accept connections/, $log);
		}
		else
		{
			wait_until(\&is_down, 'the postmaster is dead');
			restart_clean();
		}
		check("$scenario:$action");
	}
}

# In a worker or the checkpointer.  The server does not restart by itself here:
# a new process would reach the point again.

foreach my $point (grep { $named{$_} } sort keys %in_worker)
{
	foreach my $action ('crash', 'kill')
	{
		my $log = log_end($node);
		arm("mq.faults = '$point:$action'\nrestart_after_crash = off\n");
		$node->reload;
		my $tries = 0;
		until (is_down() || $tries++ == 200)
		{
			$in_worker{$point}->();
		}
		ok(is_down(), "$point:$action is reached") or last;
		restart_clean();
		check("$point:$action");
	}
}

# What was dropped is gone, whenever it was dropped

load();
wait_until(
	sub {
		my %topics = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT topic_id FROM mq.topics');
		my $oid = $node->safe_psql('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()');
		!(grep { !m{/$oid$} } glob "$data/pg_mq/[0-9]*") && !(grep { !$topics{ (split m{/}, $_)[-1] } } glob "$data/pg_mq/$oid/*");
	},
	'no folder is left over');
is(scalar(my @folders = glob "$data/pg_mq/[0-9]*/*"), $node->safe_psql('postgres', 'SELECT count(*) FROM mq.topics WHERE messages_estimate > 0'),
	'one folder for each topic that has messages');

# During recovery

foreach my $point (grep { $named{$_} } sort keys %in_recovery)
{
	foreach my $action ('crash', 'kill')
	{
		prepare_recovery();
		foreach my $hit (@{ $in_recovery{$point} })
		{
			arm("mq.faults = '$point:$action:$hit'\n");
			ok(!$node->start(fail_ok => 1), "$point:$action:$hit is reached");
			bury();
		}
		restart_clean();
		check("$point:$action");
	}
}

$node->stop;
done_testing();
