# Folders of topics: none is left of what has gone, none goes that is needed.
# The extension dropped in a transaction that does more, databases whose end
# commits late, files that cannot be removed at once.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('leftovers');
my $data = $node->data_dir;

sub oid_of
{
	my ($db) = @_;
	return $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = '$db'");
}

# The topics of a database that have a folder.
sub folders
{
	my ($oid) = @_;
	return join ',', sort map { m{([^/]+)$} } glob "$data/pg_mq/$oid/*";
}

# The same, as the catalog would have it.
sub written
{
	my ($db) = @_;
	return $node->safe_psql($db,
		q{SELECT string_agg(topic_id::text, ',' ORDER BY topic_id::text) FROM mq.topics WHERE size_bytes > 0});
}

# Waits until the janitor has removed what it was told to: what is handed over
# last goes last.
sub pass_the_janitor
{
	my ($db) = @_;
	$node->safe_psql($db, q{SELECT mq.create_topic('last'); SELECT mq.produce('last', 'x');});
	my $id = $node->safe_psql($db, q{SELECT topic_id FROM mq.topics WHERE topic = 'last'});
	my $oid = oid_of($db);
	-d "$data/pg_mq/$oid/$id" or die 'no folder';
	$node->safe_psql($db, q{SELECT mq.drop_topic('last')});
	wait_until(sub { !-e "$data/pg_mq/$oid/$id" }, 'the janitor has been here');
	return;
}

# DROP EXTENSION after produce, in one transaction

my $drop = 'DROP EXTENSION mq_ext CASCADE';
my $again = q{CREATE EXTENSION mq_ext; SELECT mq.create_topic('t')};
my $write = q{SELECT mq.produce('t', 'x')};
my %endings = (
	"$write; $drop" => 'produced to before',
	"$write; SAVEPOINT s; $drop; RELEASE s" => 'dropped in a subtransaction',
	"$write; $drop; $again" => 'made anew',
	"$write; $drop; $again; $write" => 'made anew and produced to',
	"SELECT mq.create_topic('new'); SELECT mq.produce('new', 'x'); $drop" => 'of a topic made here',
	"SELECT mq.produce('t', 'x', transactional => false); $drop; $again; $write" => 'produced to outside the transaction');

$node->safe_psql('postgres', 'CREATE DATABASE ext');
my $ext = oid_of('ext');
foreach my $sql (sort keys %endings)
{
	$node->safe_psql('ext', "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS mq_ext; $drop; $again");
	$node->safe_psql('ext', "SET client_min_messages = warning; BEGIN; $sql; COMMIT; CREATE EXTENSION IF NOT EXISTS mq_ext");
	pass_the_janitor('ext');
	is(folders($ext), written('ext'), "the extension dropped: $endings{$sql}");
}

$node->safe_psql('ext', "SET client_min_messages = warning; $drop; $again");
$node->safe_psql('ext', "SET client_min_messages = warning; BEGIN; $write; SAVEPOINT s; $drop; ROLLBACK TO s; $write; COMMIT");
is($node->safe_psql('ext', q{SELECT count(*) FROM mq.fetch('t')}), '2', 'a drop that is rolled back lets what was produced be appended');
pass_the_janitor('ext');
is(folders($ext), written('ext'), 'and the folder stays');

# The first to use a database after a boot looks for folders without a topic.
# It must not look at a catalog in which the topics are gone for now.

$node->restart;
$node->safe_psql('ext', "SET client_min_messages = warning; BEGIN; $drop; $again; $write; ROLLBACK");
pass_the_janitor('ext');
my ($rc, $count) = $node->psql('ext', q{SELECT count(*) FROM mq.fetch('t')});
is($count, '2', 'a drop that is rolled back removes no files');

# DROP DATABASE that waits for a standby: the database is there until it has
# come, long after the statement is done.

sub make_database
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION mq_ext; SELECT mq.create_topic('t'); $write");
	my $oid = oid_of($db);
	-d "$data/pg_mq/$oid" or die 'no folder';
	return "$data/pg_mq/$oid";
}

my $late = make_database('late');
my $log = log_end($node);
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
my $session = $node->background_psql('postgres');
$session->query_until(qr/dropping/, "\\echo dropping\nDROP DATABASE late;\n");
ok( $node->poll_query_until('postgres', <<'SQL'), 'DROP DATABASE waits for a standby, the janitor is done looking');
SELECT count(*) = 1 FROM pg_stat_activity d, pg_stat_activity j
WHERE d.wait_event = 'SyncRep' AND d.query LIKE 'DROP DATABASE%'
	AND j.backend_type = 'mq_ext janitor' AND j.state = 'idle' AND j.state_change > d.query_start + interval '3 s'
SQL
ok(-d $late, 'the folder is there');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$session->quit;
ok(eval { wait_until(sub { !-e $late }, 'the folder is gone') }, 'it goes when the drop has committed');

# What cannot be removed is tried again, and does not hold up the rest

sub tries
{
	my ($folder) = @_;
	return scalar(() = substr(slurp_file($node->logfile), $log) =~ /WARNING: .*could not remove folder "\Q$folder\E/g);
}

my $stuck = make_database('stuck');
chmod 0500, $stuck or die;
$log = log_end($node);
$node->safe_psql('postgres', 'DROP DATABASE stuck');
ok(eval { wait_until(sub { tries(substr($stuck, 1 + length $data)) >= 3 }, 'tried again') }, 'a folder of a database is tried again');
chmod 0700, $stuck or die;
ok(eval { wait_until(sub { !-e $stuck }, 'the folder is gone') }, 'and goes at last');

$node->safe_psql('ext', q{SELECT mq.create_topic('stuck'); SELECT mq.produce('stuck', 'x');});
$stuck = "pg_mq/$ext/" . $node->safe_psql('ext', q{SELECT topic_id FROM mq.topics WHERE topic = 'stuck'});
chmod 0500, "$data/$stuck" or die;
$log = log_end($node);
$node->safe_psql('ext', q{SELECT mq.drop_topic('stuck')});
ok(eval { wait_until(sub { tries($stuck) >= 1 }, 'tried') }, 'a folder of a topic cannot be removed');
pass_the_janitor('ext');
pass('others go meanwhile');
my $tries = tries($stuck);
my $since = time;
ok(eval { wait_until(sub { tries($stuck) >= $tries + 2 }, 'tried again') }, 'it is tried again');
cmp_ok(time - $since, '>', 0.5, 'and not all the time');
chmod 0700, "$data/$stuck" or die;
ok(eval { wait_until(sub { !-e "$data/$stuck" }, 'the folder is gone') }, 'and goes at last');
is(folders($ext), written('ext'), 'nothing is left over');

$node->stop;
done_testing();
