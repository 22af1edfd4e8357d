# An append's record in WAL has a short form and a long one, which versions
# before 1.1 wrote for every batch.  Both are replayed to the same bytes, after
# a crash and on a standby, and show as the same.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

need_fault_points();

my $primary = new_node('primary', conf => "autovacuum = off\ncheckpoint_timeout = 1h\nwal_keep_size = 64MB");
my $standby = new_standby($primary, 'standby');
my @topics = qw(none lz4 append);
my %long = (set => "SET mq.faults = 'append_long_record:skip';");

$primary->safe_psql('postgres', q{
	CREATE EXTENSION pg_walinspect;
	SELECT mq.create_topic('none', 1, '{"retention.ms": -1, "segment.bytes": 65536}');
	SELECT mq.create_topic('lz4', 1, '{"retention.ms": -1, "compression.type": "lz4"}');
	SELECT mq.create_topic('append', 1, '{"retention.ms": -1, "message.timestamp.type": "LogAppendTime"}')});

# Batches of one message and of many, of one time, of several, of a time that
# is older than another's; some that are rolled back, some outside a transaction.
sub load
{
	my (%opt) = @_;
	my $script = $opt{set} // '';
	foreach my $topic (@topics)
	{
		$script .= qq{
			SELECT mq.produce('$topic', 'one', key => 'k', ts => '2024-05-01');
			SELECT mq.produce('$topic', 'older', ts => '2024-04-01');
			SELECT mq.produce('$topic', NULL::text, key => 'now', transactional => false);
			SELECT mq.produce_batch('$topic', array_agg(repeat(i::text, 50))) FROM generate_series(1, 100) i;
			SELECT count(mq.produce('$topic', repeat('x', 1000), ts => '2024-06-01'::timestamptz - make_interval(secs => i)))
				FROM generate_series(1, 100) i;
			BEGIN; SELECT mq.produce('$topic', 'no'); ROLLBACK;
			SELECT mq.produce('$topic', repeat('large', 10000), headers => '{"a": "b"}');};
	}
	$primary->safe_psql('postgres', $script);
	return;
}

# What a node's logs consist of, but for what became of each transaction: that
# is noted when somebody looks.
sub files
{
	my ($node) = @_;
	my %files;
	read_topic($node, $_) foreach @topics;
	foreach my $path (glob $node->data_dir . '/pg_mq/*/*/0/0*')
	{
		my $bytes = slurp_file($path);
		my ($name) = $path =~ m{(pg_mq/.*)};
		if ($name =~ /batches$/)
		{
			substr($bytes, 48 * $_ + 43, 1) = '' foreach reverse 0 .. length($bytes) / 48 - 1;
		}
		$files{$name} = unpack 'H*', $bytes;
	}
	return \%files;
}

sub sound
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql('postgres', q{SELECT DISTINCT status FROM mq.verify()}), 'ok', "$what: all is sound");
}

# The size of the record of one small message, and what is shown of it.
sub record
{
	my (%opt) = @_;
	my $start = $primary->lsn('insert');
	my $set = $opt{set} // '';
	$primary->safe_psql('postgres', "$set SELECT mq.produce('none', 'the same', ts => '2024-07-01', key => 'k')");
	my $seen = $primary->safe_psql('postgres', qq{
		SELECT record_type, records, base_offset = (SELECT latest - 1 FROM mq.offsets('none')), xid IS NOT NULL,
			regexp_replace(description, ' (position|batch|xid) \\d+', '', 'g')
		FROM mq.wal_records('$start') WHERE record_type = 'APPEND'});
	return ($seen, split /\|/, $primary->safe_psql('postgres', qq{
		SELECT main_data_length, description = (SELECT description FROM mq.wal_records('$start') WHERE record_type = 'APPEND')
		FROM pg_get_wal_records_info_till_end_of_wal('$start') WHERE resource_manager = 'mq_ext' AND record_type = 'APPEND'}));
}

my ($short_seen, $short_size, $short_described) = record();
my ($long_seen, $long_size, $long_described) = record(%long);
my $records = length('0000') + length('0k') + length('0the same') + length('0');
is($short_size, 70 + $records, 'the short form');
is($long_size, 88 + 61 + $records, 'the long form');
like($short_seen, qr/^APPEND\|1\|t\|t\|database \d+ topic \S+ partition 0 segment 0 bytes 77 epoch 0$/, 'what is shown of it');
is($long_seen, $short_seen, 'both show as the same');
is("$short_described $long_described", 't t', 'pg_walinspect says what we say');

# On a standby nothing but redo writes

load();
load(%long);
load();
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
my $files = files($primary);
cmp_ok(scalar keys %$files, '>=', 8, 'several segments');
is_deeply(files($standby), $files, 'the standby has the same bytes');
sound($standby, 'standby');

# A boot cuts away what came after the last checkpoint, and redo brings it back

$primary->safe_psql('postgres', 'CHECKPOINT');
load(%long);
load();
load(%long);
$files = files($primary);
my @read = map { [ read_topic($primary, $_) ] } @topics;
crash($primary);
$primary->start;
is_deeply(files($primary), $files, 'the same bytes after a crash');
is_deeply([ map { [ read_topic($primary, $_) ] } @topics ], \@read, 'and the same messages');
sound($primary, 'primary');
offsets_in_order($primary);

# Both go on

load();
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is_deeply(files($standby), files($primary), 'the standby still has the same bytes');
offsets_in_order($standby);

$standby->stop;
$primary->stop;
done_testing();
