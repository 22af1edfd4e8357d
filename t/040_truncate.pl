# TRUNCATE and purge where a partition cannot be emptied: nothing is deleted,
# of the topics named before it either.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('truncate');
my $data = $node->data_dir;
my $locked;

END { chmod 0700, $locked if defined $locked }

plan skip_all => 'root may read everything' if $> == 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub fails
{
	my ($sql, $pattern, $name) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return like($err, $pattern, $name);
}

sub folder
{
	my ($topic, $partition) = @_;
	my $id = sql("SELECT topic_id FROM mq.topics WHERE topic = '$topic'");
	return (glob "$data/pg_mq/*/$id/$partition")[0];
}

my $counts = q{SELECT (SELECT count(*) FROM first), (SELECT count(*) FROM half WHERE partition = 0),
	(SELECT count(*) FROM far), (SELECT count(*) FROM plain)};
my @orders = ('TRUNCATE half', 'TRUNCATE first, half', 'TRUNCATE plain, half, first', 'TRUNCATE far, half', 'TRUNCATE half, far', q{SELECT mq.purge_topic('half')});

sql(<<'SQL');
CREATE SERVER other FOREIGN DATA WRAPPER mq_fdw;
CREATE FOREIGN TABLE first (partition int, value text) SERVER mq OPTIONS (partitions '2');
CREATE FOREIGN TABLE half (partition int, value text) SERVER mq OPTIONS (partitions '3');
CREATE FOREIGN TABLE far (value text) SERVER other OPTIONS (partitions '1');
CREATE TABLE plain AS SELECT 1 AS i;
INSERT INTO first SELECT i % 2, 'x' FROM generate_series(1, 10) i;
INSERT INTO half SELECT i % 3, 'x' FROM generate_series(1, 15) i;
INSERT INTO far SELECT 'x' FROM generate_series(1, 7) i;
SQL
is(sql($counts), '10|5|7|1', 'all are there');

# A folder that can no longer be read

my $folder = folder('half', 1);
$locked = $folder;
chmod 0, $locked or die;
foreach my $sql (@orders)
{
	fails($sql, qr/ERROR: .*could not read folder/, "unreadable: $sql is refused");
	is(sql($counts), '10|5|7|1', "unreadable: $sql leaves all");
}
chmod 0700, $locked or die;
undef $locked;

# A partition that the server has found unusable when it was started

$node->stop;
$locked = $folder;
chmod 0, $locked or die;
$node->start;
foreach my $sql (@orders)
{
	fails($sql, qr/ERROR:  XX001: the log in ".*" cannot be used/, "disabled: $sql is refused");
	is(sql($counts), '10|5|7|1', "disabled: $sql leaves all");
}
sql('TRUNCATE first, far');
is(sql($counts), '0|5|0|1', 'others can be emptied');

# Mended

$node->stop;
chmod 0700, $locked or die;
undef $locked;
$node->start;
is(sql('SELECT count(*) FROM half'), '15', 'nothing is lost');
is(sql(q{SELECT mq.purge_topic('half')}), '15', 'and all can be deleted');
is(sql('SELECT count(*) FROM half'), '0', 'and is');

# A pipeline is one transaction, though no block

my $script = "$data/pipeline.sql";
append_to_file($script, "\\startpipeline\nSELECT 1;\nTRUNCATE first;\nSELECT 1/0;\n\\endpipeline\n");
my ($out, $err) = run_command([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-f', $script, $node->connstr('postgres') ]);
like($err, qr/WARNING:  the messages of topic "first" are deleted at once/, 'a pipeline is warned');
$node->stop;
done_testing();
