# A base backup taken under load, restored to three points in time: rows and
# messages of one transaction are both there or both not.  pg_verifybackup,
# a stale backup_label, pg_rewind.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqNode;
use MqTest;

my $primary = new_node(
	'primary',
	init => { has_archiving => 1 },
	conf => "wal_log_hints = on\nwal_keep_size = '256MB'\ncheckpoint_timeout = '30s'");

$primary->safe_psql('postgres', q{
	SELECT mq.create_topic('orders', 2, '{"segment.bytes": 65536}');
	CREATE TABLE orders (id int PRIMARY KEY);
});

# one transaction: ten rows and ten messages
my $next = 0;
sub work
{
	my ($node, $n) = @_;
	foreach (1 .. $n)
	{
		my ($from, $to) = ($next, $next + 9);
		$node->safe_psql('postgres', qq{
			BEGIN;
			INSERT INTO orders SELECT generate_series($from, $to);
			SELECT count(mq.produce('orders', i::text, key => i::text)) FROM generate_series($from, $to) i;
			COMMIT;});
		$next += 10;
	}
}

sub consistent
{
	my ($node, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $rows = $node->safe_psql('postgres', 'SELECT string_agg(id::text, \',\' ORDER BY id) FROM orders');
	my $messages = join ',', sort { $a <=> $b } map { $_->[3] } read_topic($node, 'orders');
	is($messages, $rows, "$what: messages and rows are the same");
	is(scalar(split /,/, $rows), $expected, "$what: as many as there should be") if defined $expected;
	offsets_in_order($node, "$what: offsets");
}

work($primary, 20);
$primary->safe_psql('postgres', 'CHECKPOINT');
work($primary, 5);

# the backup, with a writer beside it
my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($script, <<'SQL');
\set a random(1000000, 900000000)
BEGIN;
INSERT INTO orders VALUES (:a) ON CONFLICT DO NOTHING RETURNING mq.produce('orders', id::text, key => id::text);
COMMIT;
SQL
my ($out, $err) = ('', '');
my $writer = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '2', '-T', '5', '-f', $script, '-h', $primary->host, '-p', $primary->port, 'postgres' ],
	'<', '/dev/null', '>', \$out, '2>', \$err);
$primary->poll_query_until('postgres', 'SELECT count(*) > 300 FROM orders') or die "no load: $out $err";
$primary->backup('base');
$primary->safe_psql('postgres', 'CHECKPOINT');
$writer->finish;
command_ok([ 'pg_verifybackup', $primary->backup_dir . '/base' ], 'pg_verifybackup is content');

# the points
my @points;
foreach my $i (1 .. 3)
{
	work($primary, 7);
	my $count = $primary->safe_psql('postgres', 'SELECT count(*) FROM orders');
	$primary->safe_psql('postgres', "SELECT pg_create_restore_point('point$i')");
	push @points, [ "point$i", $count ];
}
work($primary, 3);
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $all = $primary->safe_psql('postgres', 'SELECT count(*) FROM orders');
consistent($primary, $all, 'primary');

foreach my $point (@points)
{
	my ($name, $count) = @$point;
	my $node = MqNode->new("at_$name");
	$node->init_from_backup($primary, 'base', has_restoring => 1, standby => 0);
	$node->append_conf('postgresql.conf', "recovery_target_name = '$name'\nrecovery_target_action = promote\narchive_mode = off\nrecovery_target_timeline = current");
	$node->start;
	$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
	consistent($node, $count, "restored to $name");
	work($node, 2);
	consistent($node, $count + 20, "$name, going on");
	crash($node);
	$node->start;
	consistent($node, $count + 20, "$name, after a crash");
	$node->stop;
}

# a backup label that does not fit: core refuses, and tells to remove it; what
# the logs hold must be as it was
$primary->stop;
my $data = $primary->data_dir;
append_to_file("$data/backup_label", <<'L');
START WAL LOCATION: 0/F0000028 (file 0000000100000000000000F0)
CHECKPOINT LOCATION: 0/F0000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-01-01 00:00:00 UTC
LABEL: stale
START TIMELINE: 1
L
ok(!$primary->start(fail_ok => 1), 'a stale backup_label is refused');
unlink "$data/backup_label" or die;
$primary->start;
consistent($primary, $all, 'without the stale backup_label');

# pg_rewind: the old primary diverges, then follows the new one
my $standby = new_standby($primary, 'standby');
work($primary, 3);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->promote;
work($primary, 4);		# lost with the old timeline
$next -= 40;
$all += 30;
$primary->stop;
work($standby, 6);
$all += 60;
$standby->safe_psql('postgres', 'CHECKPOINT');
copy_conf($primary);
command_ok(
	[ 'pg_rewind', '--target-pgdata', $primary->data_dir, '--source-server', $standby->connstr('postgres') ],
	'pg_rewind of the old primary');
restore_conf($primary);
$primary->enable_streaming($standby);
$primary->set_standby_mode if $primary->can('set_standby_mode');
$primary->start;
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
consistent($primary, $all, 'rewound');
consistent($standby, $all, 'promoted');
is_deeply([ read_topic($primary, 'orders') ], [ read_topic($standby, 'orders') ],
	'the same messages at the same offsets');
$primary->stop;
$standby->stop;
done_testing();

# pg_rewind copies the source's configuration too
my $conf;
sub copy_conf { $conf = slurp_file($_[0]->data_dir . '/postgresql.conf') }
sub restore_conf
{
	my $file = $_[0]->data_dir . '/postgresql.conf';
	unlink $file;
	append_to_file($file, $conf);
}
