# Edges of the SQL functions that need a whole server: another extension's
# callback that produces while a transaction commits, a settler that lags, a
# line in the server's log, file descriptors, topics that go while somebody
# looks, rows of a copied database that are written by two.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The other extension

my $late = "${PostgreSQL::Test::Utils::tmp_check}/mq_late_$$.so";
my ($include) = run_command([ 'pg_config', '--includedir-server' ]);
run_log([ $ENV{CC} // 'cc', '-O1', '-shared', '-fPIC', '-D_GNU_SOURCE', "-I$include", '-o', $late, "$FindBin::RealBin/late/mq_late.c" ])
  or plan skip_all => 'no C compiler for the other extension';

my $node = new_node('edges', conf => <<"CONF");
shared_preload_libraries = '$late, mq_ext'
max_prepared_transactions = 2
mq.max_partitions = 32
autovacuum = off
CONF
$node->safe_psql('postgres', "CREATE FUNCTION skip_xids(bigint) RETURNS void LANGUAGE c AS '$late', 'mq_late_skip_xids'");
my $has_faults = $node->safe_psql('postgres', q{SELECT current_setting('mq.faults', true) IS NOT NULL}) eq 't';

# Runs a script to its end; returns its output and the SQLSTATEs of its errors.
sub run
{
	my ($script, %opt) = @_;
	my ($out, $err) = ('', '');

	$node->psql($opt{db} // 'postgres', "\\set VERBOSITY sqlstate\n$script", on_error_stop => 0, stdout => \$out, stderr => \$err);
	return ($out, join(' ', $err =~ /(?:ERROR|FATAL):\s+(\S{5})$/mg));
}

# A test: the script fails with just these SQLSTATEs.
sub fails
{
	my ($states, $script, $name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $got) = run($script, %opt);
	return is($got, $states, $name);
}

# A session whose errors show their SQLSTATEs.
sub session
{
	my ($db) = @_;
	my $session = $node->background_psql($db // 'postgres', on_error_stop => 0);
	$session->query_safe('\set VERBOSITY sqlstate');
	return $session;
}

# Starts a statement in a session without waiting for its end.
sub begin_query
{
	my ($session, $query) = @_;
	$session->query_until(qr/begun/, "\\echo begun\n$query;\n");
	return;
}

# Ends what was begun; returns its output and its SQLSTATE.
sub end_query
{
	my ($session) = @_;
	my $out = $session->query('\echo :SQLSTATE');
	$session->{stderr} = '';
	return $out;
}

# Waits until a session that was given a statement waits for a lock in it, or has
# ended it.  The observer may be in a transaction, which sees one state unless told.
sub wait_for_stop
{
	my ($observer, $pid, $statement) = @_;
	wait_until(
		sub {
			$observer->query_safe(<<"SQL") =~ /^t$/m;
SELECT pg_stat_clear_snapshot();
SELECT wait_event_type = 'Lock' OR state LIKE 'idle%' FROM pg_stat_activity WHERE pid = $pid AND query LIKE '%$statement%'
SQL
		}, "process $pid stops");
	return;
}

# Nobody adds to a transaction that is being committed

sub late
{
	my ($command, $body, $end) = @_;
	return "BEGIN; SET LOCAL mq_late.command = \$c\$$command\$c\$; " . ($body // '') . ' ' . ($end // 'COMMIT;');
}

$node->safe_psql('postgres', <<'SQL');
SELECT mq.create_topic('late', 1), mq.create_topic('stays', 1);
CREATE TABLE late (v text PRIMARY KEY);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN PERFORM mq.produce('late', NEW.v); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell();
SELECT mq.produce('stays', 'x');
SQL
my $whole = q{INSERT INTO late VALUES ('never'); SELECT mq.produce('late', 'never');};
fails('55000', late(q{SELECT mq.produce('late', 'x')}, $whole), 'no produce while the transaction commits');
fails('55000', late(q{SELECT mq.produce('late', 'x')}), 'nor by one that did nothing before');
fails('55000', late(q{SELECT mq.produce('late', 'x', transactional => false)}, $whole), 'nor outside the transaction');
fails('55000', late(q{SELECT mq.produce_batch('late', '{x}')}, $whole), 'nor in a batch');
fails('55000', late(q{SELECT mq.create_topic('newborn')}, $whole), 'no topic is made');
fails('55000', late(q{SELECT mq.drop_topic('stays')}, $whole), 'none is dropped');
fails('55000', late(q{DROP FOREIGN TABLE mq_topics.stays}), 'in no way');
fails('55000', late(q{SELECT mq.produce('late', 'x')}, '', "PREPARE TRANSACTION 'p';"), 'PREPARE is an end, too');
is($node->safe_psql('postgres', q{SELECT count(*) FROM late; SELECT count(*) FROM mq.fetch('late'); SELECT string_agg(topic, ',' ORDER BY topic) FROM mq.topics;}),
	"0\n0\nlate,stays", 'such a transaction fails as a whole');
fails('', late(q{SELECT count(*) FROM mq.fetch('stays')}, q{INSERT INTO late VALUES ('row'); SELECT mq.produce('late', 'before');}),
	'a late fetch does no harm, and deferred triggers come before');
is(join(',', map { $_->[3] } read_topic($node, 'late')), 'before,row', 'their messages are there');
fails('', "SELECT mq.produce('late', 'next');", 'the next transaction is as any other');
is($node->safe_psql('postgres', 'SELECT count(*) FROM mq.transactions'), '0', 'nothing is left in flight');

# mq.log_min_duration_produce

sub logged
{
	my ($setting, $script) = @_;
	my $from = log_end($node);

	$node->safe_psql('postgres', "SET mq.log_min_duration_produce = '$setting';\n$script");
	my $log = substr slurp_file($node->logfile), $from;
	return join ' ', $log =~ /LOG:  mq_ext: appending this transaction's messages took \d+ ms, (\d+) ranges$/mg;
}

my $both = q{BEGIN; SELECT mq.produce('late', 'x'), mq.produce('stays', 'x'); COMMIT;};
is(logged('0', $both), '2', 'an append is logged');
is(logged('0', "$both $both"), '2 2', 'each of them');
is(logged('-1', $both), '', 'not if that is off');
is(logged('1h', $both), '', 'nor one that was fast');
is(logged('0', q{BEGIN; SELECT mq.produce('late', 'x'); ROLLBACK; SELECT mq.fetch('late');}), '', 'nor what appends nothing');

# An error of mq.wal_records leaves no file open

is($node->safe_psql('postgres', <<'SQL'), "50\nt", 'mq.wal_records closes its file when it fails');
SET synchronous_commit = off;
CREATE TEMP TABLE at AS SELECT pg_current_wal_lsn() AS lsn;
DO $$BEGIN FOR i IN 1..400 LOOP PERFORM mq.produce('late', 'x'); COMMIT; END LOOP; END$$;
SET synchronous_commit = on;
CREATE TEMP TABLE failures (n int);
SET work_mem = '64kB';
SET temp_file_limit = 0;
SELECT count(*) AS before FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/fd') \gset
DO $$
DECLARE n int := 0;
BEGIN
	FOR i IN 1..50 LOOP
		BEGIN
			PERFORM count(*) FROM at, mq.wal_records(at.lsn);
		EXCEPTION WHEN configuration_limit_exceeded THEN n := n + 1;
		END;
	END LOOP;
	INSERT INTO failures VALUES (n);
END$$;
SELECT n FROM failures;
SELECT count(*) < :before + 20 FROM pg_ls_dir('/proc/' || pg_backend_pid() || '/fd');
SQL

# A topic is dropped between its lookup and what follows.  Who needs a row of
# pg_class that he has not cached waits for it while another locks the table.

$node->safe_psql('postgres', q{SELECT mq.create_topic('warm', 1), mq.create_topic('going', 1)});
foreach my $call (q{CALL mq.wait('{%s}', '0')}, q{CALL mq.wait(positions => '{"(%s,0,0)"}', timeout => '0')})
{
	my ($looker, $dropper) = (session(), session());
	my $pid = $looker->query_safe('SELECT pg_backend_pid()');

	$looker->query(sprintf $call, 'warm');
	$dropper->query_safe(q{SELECT wait_event_type, state FROM pg_stat_activity; SELECT count(*) FROM mq.topics});
	$dropper->query_safe('BEGIN; LOCK TABLE pg_class');
	begin_query($looker, sprintf $call, 'going');
	wait_for_stop($dropper, $pid, 'going');
	$dropper->query_safe(q{SELECT mq.drop_topic('going'); COMMIT});
	like(end_query($looker), qr/42704/, sprintf("a topic that goes in %s does not exist", $call));
	$_->quit foreach $looker, $dropper;
	$node->safe_psql('postgres', q{SELECT mq.create_topic('going', 1)});
}

SKIP:
{
	skip 'the installed library has no fault points', 1 unless $has_faults;
	my ($sleeper, $holder) = (session(), session());

	$node->safe_psql('postgres', q{SELECT mq.produce('going', 'x', transactional => false)});
	my ($folder) = glob $node->data_dir . '/pg_mq/*/' . $node->safe_psql('postgres', q{SELECT topic_id FROM mq.topics WHERE topic = 'going'});
	hold_fault($holder, 'wait_topic_found');
	$sleeper->query_safe(q{SET mq.faults = 'wait_topic_found:pause'});
	begin_query($sleeper, q{CALL mq.wait('{going}', '10 s')});
	wait_for_pause($node, 'wait_topic_found');
	$node->safe_psql('postgres', q{SELECT mq.drop_topic('going')});
	wait_until(sub { !-e $folder }, 'the files have gone');
	$node->safe_psql('postgres', q{SELECT mq.create_topic('wide', 100); SELECT count(*) FROM mq.describe_topic('wide')});
	release_fault($holder, 'wait_topic_found');
	like(end_query($sleeper), qr/42704/, 'nobody sleeps for a topic whose log has gone before');
	$_->quit foreach $sleeper, $holder;
}

# Rows of a copied database

$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', q{CREATE EXTENSION mq_ext; SELECT mq.create_topic(t, 4) FROM unnest('{a,b,c,d,e}'::text[]) t});
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE original") foreach qw(copy1 copy2 copy3);

# A look at a topic writes nothing that its DROP would trip over
my $looker = session('copy1');
$looker->query('BEGIN; SELECT count(*) FROM mq.topics');
fails('', q{SET statement_timeout = '10 s'; SELECT mq.drop_topic('a');}, 'a topic is dropped while the views are read', db => 'copy1');
$looker->quit;

# What was read without a lock is not kept when it has changed
$looker = session('copy2');
my $locker = session('copy2');
my $pid = $looker->query_safe('SELECT pg_backend_pid()');
$locker->query_safe('BEGIN; LOCK TABLE mq_internal.topics IN SHARE MODE');
begin_query($looker, q{SELECT mq.partition_for('b', 'foobar')});
wait_for_stop($locker, $pid, 'partition_for');
$locker->query(q{SELECT mq.add_partitions('b', 6); COMMIT});
end_query($looker);
$looker->query_safe('SET default_transaction_read_only = on');
is($looker->query_safe(q{SELECT mq.partition_for('b', 'foobar')}), '6', 'new partitions count at once');
$_->quit foreach $looker, $locker;

# A row that has moved is not written at its old place
$looker = session('copy3');
$locker = session('copy3');
$pid = $looker->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('copy3', q{SELECT mq.drop_topic('a')});
$locker->query_safe('BEGIN; LOCK TABLE mq_internal.topics IN SHARE MODE');
begin_query($looker, q{SELECT count(*) FROM mq.fetch('d')});
wait_for_stop($locker, $pid, 'mq.fetch');
$locker->query_safe('CLUSTER mq_internal.topics USING topics_pkey; COMMIT');
like(end_query($looker), qr/^0\n00000$/m, 'a row that VACUUM FULL moves is left alone');
$_->quit foreach $looker, $locker;
is($node->safe_psql('copy3', <<'SQL'), "b,c,d,e\nb,c,d,e", 'and all topics are still what they were');
SET client_min_messages = error;
SELECT count(mq.produce(topic, topic)) FROM mq.topics \g /dev/null
SELECT string_agg(name, ',' ORDER BY name) FROM mq_internal.topics
WHERE relation::regclass::text = 'mq_topics.' || name AND database_oid = (SELECT oid FROM pg_database WHERE datname = current_database());
SELECT string_agg(m.value, ',' ORDER BY m.value) FROM mq.topics t, mq.fetch_text(t.topic) m WHERE m.value = t.topic;
SQL

# A settler that lags by ten million transactions

my $settler = worker_pid($node, 'mq_ext settler');
my $before = $node->safe_psql('postgres', q{SELECT last_stable FROM mq.offsets('stays')});
kill 'STOP', $settler or die "could not stop the settler: $!";
fails('', "SELECT mq.produce('stays', 'unsettled');", 'produce while the settler stands still');
$node->safe_psql('postgres', 'SELECT skip_xids(9900000)');
fails('', "SELECT mq.produce('stays', 'some lag');", 'a lag that can be borne');
$node->safe_psql('postgres', 'SELECT skip_xids(200000)');
fails('55000 55000 55000', <<'SQL', 'a lag of ten million transactions');
SELECT mq.produce('stays', 'x');
SELECT mq.produce('stays', 'x', transactional => false);
BEGIN; INSERT INTO late VALUES ('lags'); COMMIT;
SELECT count(*) FROM mq.fetch('stays');
SQL
is($node->safe_psql('postgres', q{SELECT count(*) FROM late WHERE v = 'lags'}), '0', 'it fails the whole transaction');
kill 'CONT', $settler or die "could not continue the settler: $!";
ok($node->poll_query_until('postgres', q{SELECT (mq.produce('stays', 'settled', transactional => false)).msg_offset > 0}),
	'once the settler has caught up it is over');
is($node->safe_psql('postgres', qq{SELECT string_agg(value, ',') FROM mq.fetch_text('stays', 0, $before)}), 'unsettled,some lag,settled', 'nothing came in between');

# A transaction that is as old and still open is no lag: the settler keeps up

my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN; SELECT pg_current_xact_id()');
$node->safe_psql('postgres', 'SELECT skip_xids(11000000)');
# a round of the settler that began before this jump may still be on its way
foreach (1, 2)
{
	$node->poll_query_until('postgres', q{SELECT (mq.produce('stays', 'after the jump', transactional => false)).msg_offset > 0})
	  or die 'the settler has not settled all';
	$node->safe_psql('postgres', 'SELECT pg_sleep(0.5)');
}
fails('', q{SELECT count(mq.produce('stays', i::text, transactional => false)) FROM generate_series(1, 1500) i;},
	'an old transaction elsewhere stops nobody');
$old->query_safe('COMMIT');
$old->quit;

# Tags that no message can have, in a database whose text is any bytes

$node->safe_psql('postgres', q{CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'});
$node->safe_psql('bytes', q{CREATE EXTENSION mq_ext; SELECT mq.create_topic('tagged'); SELECT mq.produce('tagged', 'x', tags => '{eu}')});
is($node->safe_psql('bytes', qq{SELECT count(*) FROM mq_topics.tagged WHERE tags && ARRAY[E'\\xff', $_]}), $_ eq q{'eu'} ? '1' : '0', "none is that and $_")
  foreach q{'eu'}, q{E'\\xff\\xc3'};

offsets_in_order($node);
is(join("\n", grep { /PANIC|TRAP:|terminated by signal|XX000|could not open relation|leak|still referenced/ } split /\n/, slurp_file($node->logfile)),
	'', 'nothing broke, nothing leaked');
$node->stop;
done_testing();
