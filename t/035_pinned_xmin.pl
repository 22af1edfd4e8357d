# A transaction left open elsewhere, in this database and in another, holds back
# vacuum and nothing of ours: what is produced is read at once, segments roll,
# decisions settle, sleepers wake, no row of ours is written again and again.
# Nor does a long backlog make reading dearer: as many reads of files at its
# head, middle and end as in a log of a hundredth of its length.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqShim;
use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# appends go to the files at once, so that what a fetch reads is not in memory
my $node = new_shim_node('pinned', conf => "autovacuum = off\nmq.append_buffers = 0");
my $data = $node->data_dir;
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', q{
	CREATE EXTENSION pgstattuple;
	CREATE TABLE churned AS SELECT 1 AS i;
	SELECT mq.create_topic('load', 2, '{"segment.bytes": 65536}'), mq.create_topic('short', 1, '{"segment.bytes": 65536}');
	SELECT mq.produce('load', 'first', partition => 0);
	SELECT mq.produce('load', 'second', partition => 1);
	SELECT mq.produce('short', 'first');
	SELECT mq.produce('short', 'second');
});

# Whoever holds a snapshot, from before all that follows

my @pins = map { $node->background_psql($_) } qw(postgres other);
$_->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class; SELECT pg_current_xact_id()') foreach @pins;
is($node->safe_psql('postgres', q{SELECT count(backend_xmin) FROM pg_stat_activity WHERE state = 'idle in transaction'}), '2',
	'two old snapshots are held');
my ($rc, $out, $err) = $node->psql('postgres', "UPDATE churned SET i = 2;\nVACUUM (VERBOSE) churned");
like($err, qr/[1-9]\d* are dead but not yet removable/, 'and hold back vacuum');

sub catalog_size
{
	return $node->safe_psql('postgres', q{
		SELECT string_agg(c.relname || ': ' || s.table_len || ' bytes, ' || s.tuple_count || ' live, ' || s.dead_tuple_count || ' dead', '; ' ORDER BY c.relname)
		FROM pg_class c, pgstattuple(c.oid) s WHERE c.relkind = 'r' AND c.relnamespace = 'mq_internal'::regnamespace});
}

sub segments
{
	return $node->safe_psql('postgres', q{SELECT count(*) FROM mq.segments WHERE topic = 'load' AND state = 'closed'});
}

my $catalog = catalog_size();
like($catalog, qr/topics: \d+ bytes, \d+ live/, 'our tables have a size');

# Load: single transactions, rollbacks, asynchronous commits, failures after the append

my $scripts = $node->basedir;
append_to_file("$scripts/commit.sql", "SELECT mq.produce('load', repeat('x', 400));\n");
append_to_file("$scripts/rollback.sql", "BEGIN; SELECT mq.produce('load', 'never'); ROLLBACK;\n");
append_to_file("$scripts/async.sql", "SET synchronous_commit = off; SELECT mq.produce('load', repeat('y', 400));\n");
$node->command_ok(
	[
		'pgbench', '--no-vacuum', '-c', 4, '-j', 2, '-t', 500, '-f', "$scripts/commit.sql\@8", '-f', "$scripts/rollback.sql\@1",
		'-f', "$scripts/async.sql\@1", $node->connstr('postgres')
	],
	'two thousand transactions beside them');

ok($node->poll_query_until('postgres', q{SELECT bool_and(last_stable = latest) FROM mq.offsets('load')}), 'all of it is stable');
my $messages = $node->safe_psql('postgres', q{SELECT sum(latest) FROM mq.offsets('load')});
cmp_ok($messages, '>', 1500, 'the log has grown');
is(scalar(my @read = read_topic($node, 'load')), $messages, 'and is read, all of it');
$node->safe_psql('postgres', q{BEGIN; SELECT mq.produce('load', 'now', partition => 0); COMMIT});
is( $node->safe_psql('postgres', q{SELECT f.value FROM mq.offsets('load', 0) o, mq.fetch_text('load', 0, o.last_stable - 1) f}),
	'now', 'a message is read as soon as it is committed');
cmp_ok(segments(), '>', 5, 'segments have rolled');
wait_until(
	sub { !grep { slurp_file($_) =~ /\A(?:.{48})*.{43}[\x00-\x7f].{4}/s } glob "$data/pg_mq/*/*/*/0*.batches" },
	'every decision is settled');
pass('every decision is settled');

# A sleeper is woken, and its own snapshot is none

my $sleeper = $node->background_psql('postgres');
$sleeper->query_until(qr/asleep/, "\\echo asleep\nCALL mq.wait('{load}', '1h');\n\\echo woken\n");
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL mq.wait%' AND wait_event_type = 'Extension' AND backend_xmin IS NULL})
  or die 'nobody sleeps';
$node->safe_psql('postgres', q{SELECT mq.produce('load', 'wake up')});
$sleeper->query_until(qr/woken/, '');
pass('a sleeper is woken');
$sleeper->quit;

is(catalog_size(), $catalog, 'our tables are as before: no row was written');
$node->safe_psql('postgres', 'CHECKPOINT');
is(catalog_size(), $catalog, 'nor by workers');

# What a fetch reads, by the length of the log

# Reads of files that a fetch of ten messages makes in a session that has read
# elsewhere, if the log is long enough for that: what there is to open is open.
sub reads_of
{
	my ($topic, $from, $end) = @_;
	my $fetch = sub { my ($at) = @_; return "SELECT count(*) FROM mq.fetch_text('$topic', 0, $at, 10);" };
	my $session = $node->background_psql('postgres');

	is($session->query_safe($fetch->(int($from + $end / 2) % ($end - 10))), '10', "$topic: ten messages somewhere");
	# a rule that never fires counts
	shim_rules($node, 'fail call=read path=pg_mq/*.log nth=1000000 error=EIO', 'fail call=read path=pg_mq/*.batches nth=1000000 error=EIO');
	is($session->query_safe($fetch->($from)), '10', "ten messages at $from");
	my @hits = map { $_->{hits} } shim_counts($node);
	shim_rules($node);
	$session->quit;
	return @hits;
}

sub grow
{
	my ($topic, $count) = @_;
	my $script = "$scripts/grow_$topic.sql";
	append_to_file($script, "SELECT mq.produce('$topic', repeat('x', 1000), partition => 0);\n");
	$node->command_ok([ 'pgbench', '--no-vacuum', '-c', 4, '-j', 2, '-t', $count / 4, '-f', $script, $node->connstr('postgres') ],
		"$topic grows by $count");
	return;
}

grow('short', 40);
grow('load', 4000);
my %length = map { $_ => offsets($node, $_)->{0}{last_stable} } qw(short load);
cmp_ok($length{load}, '>', 50 * $length{short}, 'one log is much longer than the other');
cmp_ok(segments(), '>', 50, 'it has many segments');
foreach my $place ([ head => 0 ], [ middle => 0.5 ], [ tail => 1 ])
{
	my ($name, $share) = @$place;
	my (@log, @batches);
	foreach my $topic (qw(short load))
	{
		my ($log, $batches) = reads_of($topic, int(($length{$topic} - 10) * $share), $length{$topic});
		push @log, $log;
		push @batches, $batches;
	}
	diag "$name: reads of .log $log[0] in the short log, $log[1] in the long one; of .batches $batches[0] and $batches[1]";
	cmp_ok($log[1], '>', 0, "$name: a fetch reads the log");
	cmp_ok($log[1], '<=', 2, "$name: not more often when it is long");
	# a binary search in a segment that is full takes a few steps more
	cmp_ok($batches[1], '<=', $batches[0] + 3, "$name: nor its descriptors");
}

$_->quit foreach @pins;
$node->stop;
done_testing();
