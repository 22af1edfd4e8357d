# Topics, the extension and databases that come and go while others produce and
# read.  Each change is rolled back now and then.  In the end rows and messages
# of the topic that stayed agree, and nothing is left of what went.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MQ_SEED} // int(rand(1_000_000));
my $rounds = $ENV{MQ_ROUNDS} // 400;
note "seed $seed; repeat: MQ_SEED=$seed prove t/018_ddl_under_load.pl";
srand($seed);

my $node = new_node('ddl', conf => "deadlock_timeout = '20ms'\nmq.segment_size = '64kB'\nlog_statement = none");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE steady_rows (id text);
SELECT mq.create_topic('steady', 2), mq.create_topic('churn', 1), mq.create_topic('granted', 1);
CREATE DATABASE original;
CREATE DATABASE victim;
CREATE DATABASE ext;
SQL
$node->safe_psql('original', q{CREATE EXTENSION mq_ext; SELECT mq.create_topic('copied', 2, '{"segment.ms": 77}'); SELECT mq.produce('copied', 'of the original')});
$node->safe_psql($_, q{CREATE EXTENSION mq_ext; SELECT mq.create_topic('here', 2)}) foreach qw(victim ext);

sub one_of { return $_[ int(rand(@_)) ] }
sub ending { return rand() < 0.7 ? 'COMMIT' : 'ROLLBACK' }

# The sessions: lists of transactions

my $id = 0;

sub write_rows
{
	my ($i) = @_;
	my $me = "w$i-" . ++$id;
	my $pad = int(rand(2000));
	my $churn = rand() < 0.4 ? q{SAVEPOINT s; SELECT mq.produce('churn', 'x'); ROLLBACK TO s; SELECT mq.produce('churn', 'y');} : '';

	# an error in churn fails the whole transaction, row and message alike
	return "BEGIN; INSERT INTO steady_rows VALUES ('$me'); SELECT mq.produce('steady', '$me', headers => jsonb_build_object('pad', repeat('p', $pad))); $churn "
	  . ending() . ';';
}

sub change_topics
{
	my ($i) = @_;
	my $topic = rand() < 0.8 ? 'churn' : 'side';
	my $n = 1 + int(rand(3));
	return one_of(
		"BEGIN; SELECT mq.drop_topic('$topic', if_exists => true); SELECT mq.create_topic('$topic', $n); SELECT mq.produce('$topic', 'born'); " . ending() . ';',
		"BEGIN; SELECT mq.create_topic('$topic', $n); " . ending() . ';',
		"BEGIN; SELECT mq.create_topic('$topic', $n, if_not_exists => true); SELECT mq.produce('$topic', 'x'); " . ending() . ';',
		"BEGIN; SELECT mq.drop_topic('$topic'); " . ending() . ';',
		"BEGIN; SELECT mq.produce('$topic', 'last words'); DROP FOREIGN TABLE IF EXISTS mq_topics.$topic; " . ending() . ';',
		"BEGIN; SELECT mq.alter_topic('$topic', '{\"segment.ms\": $n}'); " . ending() . ';',
		"BEGIN; SELECT mq.add_partitions('$topic', 1); SELECT mq.produce('$topic', 'x'); " . ending() . ';',
		"BEGIN; SELECT mq.alter_topic('steady', '{\"segment.ms\": ${n}000}'); " . ending() . ';',
		"BEGIN; CREATE FOREIGN TABLE mq_topics.$topic (value bytea) SERVER mq OPTIONS (partitions '$n'); SELECT mq.produce('$topic', 'born by hand'); " . ending() . ';',
		"BEGIN; CREATE FOREIGN TABLE IF NOT EXISTS mq_topics.$topic (value text) SERVER mq; SELECT mq.produce('$topic', 'x'); " . ending() . ';',
		"BEGIN; ALTER FOREIGN TABLE mq_topics.$topic OPTIONS (SET partitions '$n'); " . ending() . ';',
		"BEGIN; ALTER FOREIGN TABLE mq_topics.$topic RENAME TO away; SELECT mq.produce('$topic', 'x'); ALTER FOREIGN TABLE mq_topics.away RENAME TO $topic; " . ending() . ';',
		"BEGIN; SELECT mq.add_partitions('steady', 1); SELECT mq.drop_topic('steady'); ROLLBACK;",
		"BEGIN; SELECT mq.drop_topic('steady'); SELECT mq.create_topic('steady', 1); SELECT mq.produce('steady', 'of another'); ROLLBACK;",
		# two GRANTs at a time would be "tuple concurrently updated"
		$i == 1 ? 'GRANT SELECT ON mq_topics.granted TO PUBLIC; REVOKE SELECT ON mq_topics.granted FROM PUBLIC;' : 'CHECKPOINT;');
}

sub read_topics
{
	my $topic = one_of(qw(churn side steady granted));
	return one_of(
		"SELECT count(*) FROM mq.fetch('$topic');",
		"SELECT count(*) FROM mq.peek('$topic');",
		"SELECT count(*) FROM mq.describe_topic('$topic'), mq.topic_config('$topic');",
		"BEGIN; SELECT count(*) FROM mq.fetch('$topic'); SELECT mq.partition_for('$topic', 'k'); COMMIT;",
		"CALL mq.wait('{$topic,steady}', '5 ms');",
		'SELECT count(*) FROM mq.topics;', 'SELECT count(*) FROM mq.partitions;',
		'SELECT count(*) FROM mq.segments;', 'SELECT count(*) FROM mq.transactions;');
}

sub copy_database
{
	my ($i) = @_;
	return <<"SQL";
CREATE DATABASE copy$i TEMPLATE original;
\\c copy$i
SET client_min_messages = error;
SELECT mq.produce('copied', 'of the copy', transactional => false);
SELECT 'copy ' || count(*) || max(value) FROM mq.fetch_text('copied');
SELECT 'config ' || config::text FROM mq.topics;
SELECT mq.create_topic('own'), mq.produce('own', 'x');
@{[ rand() < 0.5 ? "SELECT mq.drop_topic('copied');" : '' ]}
\\c original
SELECT 'original ' || count(*) FROM mq.fetch('copied');
\\c postgres
DROP DATABASE copy$i;
SQL
}

sub replace_extension
{
	return one_of(
		"DROP EXTENSION mq_ext;",
		"BEGIN; DROP EXTENSION mq_ext CASCADE; ROLLBACK; SELECT mq.produce('here', 'x');",
		"BEGIN; SELECT mq.produce('here', 'x'); DROP EXTENSION mq_ext CASCADE; CREATE EXTENSION mq_ext; SELECT mq.create_topic('here', 2); " . ending() . ';',
		"DROP EXTENSION mq_ext CASCADE; CREATE EXTENSION mq_ext; SELECT mq.create_topic('here', 1);");
}

sub write_here { return q{BEGIN; SELECT mq.produce('here', 'x'); SELECT mq.fetch('here'); } . ending() . ';' }

sub replace_victim
{
	return <<'SQL';
DROP DATABASE victim WITH (FORCE);
CREATE DATABASE victim;
\c victim
CREATE EXTENSION mq_ext;
SELECT mq.create_topic('here', 2);
\c postgres
SQL
}

# What each may meet besides success: a topic that has gone or come, a deadlock,
# and what follows in a transaction that has failed.  XX000 is PostgreSQL's own
# answer when a function is dropped while a query is being parsed.
my %sessions = (
	writer1 => [ postgres => [ map { write_rows(1) } 1 .. $rounds ], qw(42704 40P01 25P02 3B001) ],
	writer2 => [ postgres => [ map { write_rows(2) } 1 .. $rounds ], qw(42704 40P01 25P02 3B001) ],
	topics1 => [ postgres => [ map { change_topics(1) } 1 .. $rounds ], qw(42704 42710 42P01 42P07 22023 40P01 25P02) ],
	topics2 => [ postgres => [ map { change_topics(2) } 1 .. $rounds ], qw(42704 42710 42P01 42P07 22023 40P01 25P02) ],
	reader => [ postgres => [ map { read_topics() } 1 .. $rounds ], qw(42704 25P02) ],
	copies => [ postgres => [ map { copy_database($_) } 1 .. $rounds / 40 ] ],
	# a DROP that lost a deadlock leaves the extension for the CREATE that follows to meet
	extension => [ ext => [ map { replace_extension() } 1 .. $rounds / 20 ], qw(2BP01 40P01 42710 25P02) ],
	user => [ ext => [ map { write_here() } 1 .. $rounds ], qw(42704 42883 3F000 40P01 25P02 55000 XX000) ],
	victim => [ postgres => [ map { replace_victim() } 1 .. $rounds / 80 ] ],
	load => [ victim => [ map { write_here() } 1 .. $rounds ], qw(42704 42883 3F000 25P02 57P01 3D000 55000 XX000) ]);

# The session in the database that is dropped begins again whenever it is killed,
# until its database is dropped no more.
my $go_on = $node->basedir . '/go_on';
append_to_file($go_on, '');

my %running;
foreach my $name (sort keys %sessions)
{
	my ($db, $script) = @{ $sessions{$name} };
	my $file = $node->basedir . "/$name.sql";

	append_to_file($file, join "\n", '\set VERBOSITY sqlstate', @$script, '');
	my $run = { out => '', err => '' };
	my @psql = ('psql', '-XAtq', '-d', $node->connstr($db), '-f', $file);
	@psql = ('sh', '-c', 'while test -e "$0"; do "$@"; done', $go_on, @psql) if $name eq 'load';
	$run->{handle} = IPC::Run::start(
		\@psql, '<', \undef, '>', \$run->{out}, '2>', \$run->{err},
		IPC::Run::timer(10 * $PostgreSQL::Test::Utils::timeout_default));
	$running{$name} = $run;
}
foreach my $name ('victim', grep { $_ ne 'victim' } sort keys %running)
{
	my $run = $running{$name};
	my (undef, undef, @allowed) = @{ $sessions{$name} };
	my %allowed = map { $_ => 1 } @allowed;
	my %met;

	$run->{handle}->finish;
	unlink $go_on if $name eq 'victim';
	$met{$1}++ while $run->{err} =~ /(?:ERROR|FATAL):\s+(\S{5})$/mg;
	note "$name met ", join ', ', map { "$_: $met{$_}" } sort keys %met;
	is_deeply([ grep { !$allowed{$_} } sort keys %met ], [], "$name meets nothing unexpected")
	  or diag substr($run->{err}, 0, 3000);
}

# What stayed is whole

is($node->safe_psql('postgres', <<'SQL'), '', 'rows and messages agree');
WITH m AS (SELECT value FROM mq.offsets('steady') o, mq.fetch_text('steady', o.partition, o.earliest, 1000000, 1000000000))
(TABLE steady_rows EXCEPT ALL TABLE m) UNION ALL (TABLE m EXCEPT ALL TABLE steady_rows)
SQL
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM steady_rows'), '>', $rounds / 4, 'there are some');
my $copies = int($rounds / 40);
is(scalar(() = $running{copies}{out} =~ /^copy 1of the copy$/mg), $copies, 'each copy begins empty');
is(scalar(() = $running{copies}{out} =~ /^config \{"segment.ms": "77"\}$/mg), $copies, 'and has the options');
is(scalar(() = $running{copies}{out} =~ /^original 1$/mg), $copies, 'the original keeps its message');
offsets_in_order($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM mq.transactions'), '0', 'nothing is in flight');

# The catalog agrees with itself, in every database
foreach my $db (qw(postgres original ext victim))
{
	is($node->safe_psql($db, <<'SQL'), '', "topics and relations of $db agree");
SELECT t.name, t.relation, f.ftrelid FROM mq_internal.topics t FULL JOIN pg_foreign_table f ON f.ftrelid = t.relation
WHERE t.relation IS NULL OR f.ftrelid IS NULL
	OR t.name <> (SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'topic')
UNION ALL SELECT name, NULL, NULL FROM mq_internal.topics WHERE name NOT IN (SELECT topic FROM mq.topics)
SQL
}

# Names of folders of topics on disk, and those that should be there.
sub folders
{
	my @found = map { m{/([0-9a-f-]{32,36})$} ? $1 =~ s/-//gr : () } glob $node->data_dir . '/pg_mq/*/*';
	return join ',', sort @found;
}

sub topics
{
	return join ',', sort map {
		split /\n/, $node->safe_psql($_, q{SELECT replace(topic_id::text, '-', '') FROM mq.topics WHERE size_bytes > 0})
	} qw(postgres original ext victim);
}

my $expected = topics();
ok(eval { wait_until(sub { folders() eq $expected }, 'folders of what went are gone') }, 'nothing is left on disk of what went')
  or diag "on disk: ", folders(), "\nexpected: $expected";

# The same after a crash

my @steady = read_topic($node, 'steady');
crash($node);
$node->start;
is_deeply([ read_topic($node, 'steady') ], \@steady, 'all is the same after a crash');
is(topics(), $expected, 'the topics, too');
ok(eval { wait_until(sub { folders() eq $expected }, 'folders are as before') }, 'and their folders');
is(join("\n", grep { /PANIC|TRAP:|terminated by signal (?!9)|XX000|cache lookup failed (?!for (type|function))|tuple concurrently/ }
		  split /\n/, slurp_file($node->logfile)), '', 'nothing broke');
$node->stop;
done_testing();
