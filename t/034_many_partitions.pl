# Many partitions, each written to: what they take of memory, disk and time is
# reported, and bounded generously; all can be read after a crash and after a
# restart.
#
#	MQ_PARTITIONS=10000	how many, with fsync; a thousand without it, and no
#				fsync, as others may keep the disk busy
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $count = $ENV{MQ_PARTITIONS} // 1000;
my $places = 1024;
$places *= 2 while $places < $count + 16;
# a boot that finds all of them dirty cuts, replays and syncs each
my $boot_limit = 10;
my $recovery_limit = $boot_limit + $count / 100;
my $fsync = $ENV{MQ_PARTITIONS} ? 'on' : 'off';
my $conf = "fsync = $fsync\nmq.max_partitions = $places\nautovacuum = off\ncheckpoint_timeout = 1h\nmax_wal_size = 4GB";
my $node = new_node('many', conf => $conf);

sub seconds_of
{
	my ($work) = @_;
	my $began = time;
	$work->();
	return time - $began;
}

# One message for each partition, a thousand in a transaction.
sub write_all
{
	my ($round) = @_;
	for (my $from = 0; $from < $count; $from += 1000)
	{
		my $to = $from + 999 < $count ? $from + 999 : $count - 1;
		$node->safe_psql('postgres', "SELECT count(mq.produce('many', '$round ' || p, partition => p)) FROM generate_series($from, $to) p");
	}
	return;
}

# How many partitions hold exactly the messages of so many rounds.
sub count_whole
{
	my ($rounds) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT count(*) FROM generate_series(0, $count - 1) p WHERE
			(SELECT string_agg(value, ',' ORDER BY msg_offset) FROM mq.fetch_text('many', p, 0)) =
			(SELECT string_agg(r || ' ' || p, ',' ORDER BY r) FROM generate_series(1, $rounds) r)});
}

sub bytes_on_disk
{
	my ($out) = run_command([ 'du', '-s', '-k', $node->data_dir . '/pg_mq' ]);
	return (split ' ', $out)[0] * 1024;
}

# Memory of a session that has touched every partition: what the server says,
# and what the kernel says is its own.
sub session_memory
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $before = private_kb($pid);
	$session->query_safe($sql);
	my $used = $session->query_safe(q{SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'mq%' OR name = 'CacheMemoryContext'});
	my $after = private_kb($pid);
	$session->quit;
	return ($used, ($after - $before) * 1024);
}

sub private_kb
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : 0;
}

sub mb { return sprintf '%.1f MB', $_[0] / 1048576 }

my $shared = $node->safe_psql('postgres', q{SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name ILIKE 'mq%'});
diag "$count partitions, fsync $fsync, mq.max_partitions = $places: shared memory ", mb($shared), ' of ', $node->safe_psql('postgres', 'SHOW shared_memory_size');
cmp_ok($shared, '>', 0, 'shared memory has a size');
cmp_ok($shared, '<', 64 * 1048576 + $places * 16384, 'and it is reasonable');

$node->safe_psql('postgres', "SELECT mq.create_topic('many', $count)");
my $taken = seconds_of(sub { write_all(1) });
diag sprintf('first message to each: %.2f s, on disk %s', $taken, mb(bytes_on_disk()));
$taken = seconds_of(sub { $node->safe_psql('postgres', 'CHECKPOINT') });
diag sprintf('checkpoint with %d dirty partitions: %.2f s', $count, $taken);
is(count_whole(1), $count, 'each partition has its message');
my $disk = bytes_on_disk();
cmp_ok($disk, '<', $count * 1048576, 'less than 1 MB of disk for each');

my ($used, $private) = session_memory("SELECT count(*) FROM generate_series(0, $count - 1) p, mq.fetch_text('many', p, 0)");
diag 'a session that has read all of them: contexts ', mb($used), ', memory of its own grew by ', mb($private);
cmp_ok($private, '<', 32 * 1048576 + $count * 4096, 'a session that reads all of them stays small');
($used, $private) = session_memory("SELECT count(*) FROM mq.partitions");
diag 'one that has listed them: contexts ', mb($used), ', grew by ', mb($private);

# A crash, with a message for each that only WAL knows

write_all(2);
crash($node);
$taken = seconds_of(sub { $node->start });
diag sprintf('boot after a crash, %d partitions to recover: %.2f s', $count, $taken);
cmp_ok($taken, '<', $recovery_limit, "boot takes less than $recovery_limit s");
is(count_whole(2), $count, 'after a crash each has both messages');

# A clean restart

$taken = seconds_of(sub { $node->stop('fast') });
diag sprintf('fast shutdown: %.2f s', $taken);
$taken = seconds_of(sub { $node->start });
diag sprintf('boot after it: %.2f s', $taken);
cmp_ok($taken, '<', $boot_limit, "boot takes less than $boot_limit s");
is(count_whole(2), $count, 'after a restart, too');
write_all(3);
is(count_whole(3), $count, 'and all can be written to');
is($node->safe_psql('postgres', q{SELECT count(*) FROM mq.partitions WHERE state <> 'active'}), '0', 'all are active');

# Places are given back with the topic

$node->safe_psql('postgres', q{SELECT mq.drop_topic('many')});
wait_until(sub { my @left = glob $node->data_dir . '/pg_mq/[0-9]*/*'; !@left }, 'the files are gone');
$node->safe_psql('postgres', "SELECT mq.create_topic('many', $count)");
write_all(1);
is(count_whole(1), $count, 'as many again after a drop');

$node->stop;
done_testing();
