# MqTest.pm: what the TAP tests share, on top of PostgreSQL::Test::Cluster.
#
#	use MqTest;
#	my $node = new_node('primary', conf => "mq.segment_size = '64kB'");
#	$node->safe_psql('postgres', q{SELECT mq.create_topic('t')});
#	crash($node);
#	$node->start;
#
# The node has the settings of mq_ext.conf (fsync = on among them) and the
# extension in database postgres.  Nothing here sleeps for a fixed time.
package MqTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use MqNode;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  new_node new_standby
  crash kill_process children_of
  need_fault_points set_faults clear_faults hold_fault release_fault wait_for_pause
  wait_until log_end worker_pid served in_control
  produce fetch offsets read_topic offsets_in_order
);

my $conf_file = dirname(__FILE__) . '/../mq_ext.conf';

# Nodes

# A new cluster.  conf: lines for postgresql.conf; start => 0, extension => 0;
# init: more arguments for PostgreSQL::Test::Cluster's init.
sub new_node
{
	my ($name, %opt) = @_;
	my $node = MqNode->new($name);

	$node->init(
		allows_streaming => 1,
		extra => [ '--encoding=UTF8', '--locale=C' ],
		%{ $opt{init} // {} });
	$node->append_conf('postgresql.conf', slurp_file($conf_file));
	$node->append_conf('postgresql.conf', "restart_after_crash = on");
	$node->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};
	$node->start unless defined $opt{start} && !$opt{start};
	$node->safe_psql('postgres', 'CREATE EXTENSION mq_ext')
	  if $node->{_pid} && !(defined $opt{extension} && !$opt{extension});
	return $node;
}

# A streaming standby of a running node, made from a base backup, started
# unless start => 0.
sub new_standby
{
	my ($primary, $name, %opt) = @_;
	my $standby = MqNode->new($name);

	$primary->backup("for_$name");
	$standby->init_from_backup($primary, "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};
	$standby->start unless defined $opt{start} && !$opt{start};
	return $standby;
}

# Crashes

# Ends a server as a power cut would for its processes: kill -9 of the
# postmaster and of all its descendants, and waits until they are gone.  The
# postmaster is stopped first, so that it starts no new ones.
sub crash
{
	my ($node) = @_;
	my $postmaster = $node->{_pid} or die "node is not running";

	kill 'STOP', $postmaster;
	my @pids = ($postmaster, children_of($postmaster));
	kill 'KILL', @pids;
	wait_until(sub { !grep { is_alive($_) } @pids }, 'all processes are dead');
	$node->{_pid} = undef;

	# A postmaster that nobody has reaped yet keeps its successor from
	# starting; some containers never reap.
	foreach (1 .. 50)
	{
		return unless -e "/proc/$postmaster";
		usleep(10_000);
	}
	unlink $node->data_dir . '/postmaster.pid',
	  $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	return;
}

# kill -9 (or another signal) of one process; waits for its end if it is fatal.
sub kill_process
{
	my ($pid, $signal) = @_;
	$signal //= 'KILL';
	kill $signal, $pid or die "could not signal $pid: $!";
	wait_until(sub { !is_alive($pid) }, "process $pid is gone")
	  if $signal eq 'KILL';
	return;
}

# All descendants of a process.
sub children_of
{
	my ($parent) = @_;
	my %children;
	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		my ($pid, undef, $ppid) = read_stat($file) or next;
		push @{ $children{$ppid} }, $pid if defined $ppid;
	}
	my @found;
	my @todo = ($parent);
	while (defined(my $pid = shift @todo))
	{
		push @found, @{ $children{$pid} // [] };
		push @todo, @{ $children{$pid} // [] };
	}
	return @found;
}

# Pid, state and parent of a process, or nothing.
sub read_stat
{
	my ($file) = @_;
	open my $fh, '<', $file or return;
	my $line = <$fh>;
	close $fh;
	return unless defined $line && $line =~ /^(\d+) \(.*\) (\S) (\d+) /s;
	return ($1, $2, $3);
}

# A zombie that nobody reaps is dead enough.
sub is_alive
{
	my ($pid) = @_;
	my (undef, $state) = read_stat("/proc/$pid/stat");
	return defined $state && $state ne 'Z' && $state ne 'X';
}

# Fault points (base/mq_faults.h)

# Skips the whole test file when the installed library has no fault points.
sub need_fault_points
{
	my ($dir) = run_command([ 'pg_config', '--pkglibdir' ]);
	slurp_file("$dir/mq_ext.so") =~ /mq\.faults/
	  or plan skip_all => 'the installed library has no fault points (make MQ_FAULTS=1)';
	return;
}

# Arms fault points for every process: set_faults($node, 'name:action', ...).
# Returns when new sessions see them.
sub set_faults
{
	my ($node, @faults) = @_;
	my $list = join ', ', @faults;

	$node->safe_psql('postgres', "ALTER SYSTEM SET mq.faults = '$list'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('mq.faults') = '$list'")
	  or die 'mq.faults did not change';
	return;
}

sub clear_faults
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET mq.faults');
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('mq.faults') = ''")
	  or die 'mq.faults did not change';
	return;
}

# Processes that reach a point with action "pause" wait while the session
# (from $node->background_psql) holds it.
sub hold_fault
{
	my ($session, $name) = @_;
	$session->query_safe("SELECT pg_advisory_lock(hashtext('$name'))");
	return;
}

sub release_fault
{
	my ($session, $name) = @_;
	$session->query_safe("SELECT pg_advisory_unlock(hashtext('$name'))");
	return;
}

# Waits until so many processes (1) stand at a held point.
sub wait_for_pause
{
	my ($node, $name, $count) = @_;
	$count //= 1;
	$node->poll_query_until('postgres',
		"SELECT count(*) >= $count FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
		  . " AND (classid::bigint << 32 | objid::bigint) = hashtext('$name')")
	  or die "nobody paused at $name";
	return;
}

# Waiting

sub wait_until
{
	my ($condition, $what) = @_;
	foreach (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $condition->();
		usleep(10_000);
	}
	die "timed out waiting until $what";
}

# Where the server's log ends now: the offset for $node->wait_for_log().
sub log_end
{
	my ($node) = @_;
	return -s $node->logfile // 0;
}

# The pid of a worker process, once it runs: worker_pid($node, 'mq settler').
sub worker_pid
{
	my ($node, $type) = @_;
	my $pid = '';
	wait_until(
		sub {
			$pid = $node->safe_psql('postgres',
				"SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'");
			$pid =~ /^\d+$/;
		},
		"$type runs");
	return $pid;
}

# The last redo pointer served, as storage/mq_served.c writes it.
sub served
{
	my ($node) = @_;
	my ($magic, $version, $redo) = unpack 'VVQ<', slurp_file($node->data_dir . '/pg_mq/served');
	return sprintf '%X/%X', $redo >> 32, $redo & 0xffffffff;
}

# The redo pointer of the last checkpoint that completed.
sub in_control
{
	my ($node) = @_;
	my ($out) = run_command([ 'pg_controldata', $node->data_dir ]);
	return $out =~ /REDO location:\s+(\S+)/ ? $1 : 'none';
}

# Messages

sub quote
{
	my ($text) = @_;
	return 'NULL' unless defined $text;
	$text =~ s/'/''/g;
	return "E'$text'" if $text =~ s/\\/\\\\/g;
	return "'$text'";
}

# Produces values of text in one transaction; key, partition for all of them.
sub produce
{
	my ($node, $topic, $values, %opt) = @_;
	my $args = join '', map { ", $_ => " . quote($opt{$_}) } grep { $_ ne 'db' } sort keys %opt;

	$node->safe_psql(
		$opt{db} // 'postgres',
		"BEGIN;\n"
		  . join('', map { 'SELECT mq.produce(' . quote($topic) . ', ' . quote($_) . "$args);\n" } @$values)
		  . "COMMIT;\n");
	return;
}

# The values of up to so many (100) messages of a partition from an offset on.
sub fetch
{
	my ($node, $topic, $partition, $from, $max) = @_;
	$from //= 'NULL';
	$max //= 100;
	return split /\n/,
	  $node->safe_psql('postgres',
		    'SELECT value FROM mq.fetch_text('
		  . quote($topic)
		  . ", $partition, $from, $max)");
}

# A topic's offsets: { partition => { earliest, latest, last_stable } }.
sub offsets
{
	my ($node, $topic) = @_;
	my %offsets;
	foreach my $row (split /\n/,
		$node->safe_psql('postgres',
			'SELECT partition, earliest, latest, last_stable FROM mq.offsets(' . quote($topic) . ')'))
	{
		my ($partition, @values) = split /\|/, $row;
		@{ $offsets{$partition} }{qw(earliest latest last_stable)} = @values;
	}
	return \%offsets;
}

# Everything in a topic, from the start of every partition to its end:
# a list of [partition, offset, key, value], keys and values as text.
sub read_topic
{
	my ($node, $topic, $db) = @_;
	my $name = quote($topic);
	my $out = $node->safe_psql($db // 'postgres', <<"SQL");
WITH RECURSIVE page AS (
	SELECT o.partition, o.earliest AS next, o.last_stable, NULL::mq.message_text[] AS rows
	FROM mq.offsets($name) o
	UNION ALL
	SELECT p.partition, coalesce(m.rows[cardinality(m.rows)].msg_offset + 1, p.last_stable), p.last_stable, m.rows
	FROM page p, LATERAL (
		SELECT array_agg(f ORDER BY f.msg_offset) AS rows
		FROM mq.fetch_text($name, p.partition, p.next, 10000, 16777216) f) m
	WHERE p.next < p.last_stable)
SELECT r.partition, r.msg_offset, r.key, r.value FROM page, unnest(rows) r ORDER BY 1, 2
SQL
	return map { [ split /\|/, $_, 4 ] } split /\n/, $out;
}

# A test: in every partition log start <= last stable <= high watermark <= end.
sub offsets_in_order
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$node->safe_psql('postgres', <<'SQL'), '', $name // 'offsets are in order');
SELECT topic, partition, log_start_offset, last_stable_offset, high_watermark, log_end_offset
FROM mq.partitions
WHERE NOT (log_start_offset <= last_stable_offset AND last_stable_offset <= high_watermark
           AND high_watermark <= log_end_offset)
SQL
}

1;
