# Messages and everything a transaction can do: savepoints against a model,
# PREPARE, failures after the append, deferred triggers, procedures that commit,
# cursors, parallel plans, topics made and dropped on the way.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use List::Util qw(sum);
use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{MQ_SEED} // int(rand(1_000_000));
note "seed $seed; repeat: MQ_SEED=$seed prove t/017_transactions.pl";
srand($seed);

my $node = new_node('transactions', conf => <<'CONF');
max_prepared_transactions = 10
max_parallel_workers = 4
CONF

# Runs a script to its end; returns its output and the SQLSTATEs of its errors.
sub run
{
	my ($script) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', "\\set VERBOSITY sqlstate\n$script", on_error_stop => 0, stdout => \$out, stderr => \$err);
	return ($out, join(' ', $err =~ /(?:ERROR|FATAL):\s+(\S{5})$/mg));
}

# A test: the script fails with just these SQLSTATEs.
sub fails
{
	my ($states, $script, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $got) = run($script);
	return is($got, $states, $name);
}

# A test: what is in the topic from its first message, partition by partition.
sub holds
{
	my ($topic, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_deeply([ map { $_->[3] } read_topic($node, $topic) ], $expected, $name);
}

sub topic
{
	my ($name, $partitions) = @_;
	$partitions //= 1;
	$node->safe_psql('postgres', "SELECT mq.create_topic('$name', $partitions)");
	return;
}

# PREPARE TRANSACTION

topic('prep');
fails('0A000', "BEGIN; SELECT mq.produce('prep', 'x'); PREPARE TRANSACTION 'p';", 'no PREPARE after produce');
fails('0A000', "BEGIN; SAVEPOINT s; SELECT mq.produce('prep', 'x'); RELEASE s; PREPARE TRANSACTION 'p';", 'nor after produce in a savepoint');
fails('0A000', "BEGIN; SELECT mq.create_topic('never'); PREPARE TRANSACTION 'p';", 'nor after create');
fails('0A000', "BEGIN; SELECT mq.drop_topic('prep'); PREPARE TRANSACTION 'p';", 'nor after drop');
fails('0A000', "BEGIN; SELECT mq.create_topic('never'), mq.drop_topic('never'); PREPARE TRANSACTION 'p';", 'nor after both');
holds('prep', [], 'a refused PREPARE leaves no message');
is($node->safe_psql('postgres', 'SELECT count(*) FROM mq.topics'), '1', 'and no topic');
fails('', <<'SQL', 'a transaction that fetched, or wrote at once, may PREPARE');
BEGIN; SELECT mq.fetch('prep'); SELECT mq.produce('prep', 'now', transactional => false); PREPARE TRANSACTION 'p';
SELECT mq.produce('prep', 'meanwhile');
ROLLBACK PREPARED 'p';
SQL
holds('prep', [ 'now', 'meanwhile' ], 'what was written at once stays');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'nothing stays prepared');

# Savepoints, nested, rolled back and released at random, against a model

topic("model$_", 3) foreach 1 .. 2;
my %model = map { ("model$_" => [ [], [], [] ]) } 1 .. 2;
my $number = 0;

# One transaction; returns its script and changes the model if it commits.
sub random_transaction
{
	my @script = ('BEGIN;');
	my @pending;    # [topic, partition, value, ...]
	my @stack;      # [savepoint, how much was pending]
	my $size = rand() < 0.3 ? 20_000 : 200;

	push @script, "SET LOCAL mq.transaction_buffer = '64kB';" if rand() < 0.7;
	foreach (1 .. 5 + int(rand(60)))
	{
		my $what = rand();
		if ($what < 0.6)
		{
			my ($topic, $partition) = ('model' . (1 + int(rand(2))), int(rand(3)));
			my $n = rand() < 0.1 ? 30 : 1;
			my $from = $number + 1;
			push @pending, [ $topic, $partition, ++$number ] foreach 1 .. $n;
			push @script, "SELECT count(mq.produce('$topic', i || repeat(' ', " . int(rand($size))
			  . "), partition => $partition)) FROM generate_series($from, $number) i;";
		}
		elsif ($what < 0.78 && @stack < 12)
		{
			my $name = 's' . int(rand(4));    # names hide each other
			push @stack, [ $name, scalar @pending ];
			push @script, "SAVEPOINT $name;";
		}
		elsif (@stack)
		{
			# the innermost of that name
			my $at = int(rand(@stack));
			my $name = $stack[$at][0];
			$at++ while grep { $_->[0] eq $name } @stack[ $at + 1 .. $#stack ];
			if ($what < 0.9)
			{
				# an error first, every other time
				push @script, 'SELECT 1 / 0;' if rand() < 0.5;
				push @script, "ROLLBACK TO $name;";
				$#pending = $stack[$at][1] - 1;
				$#stack = $at;
			}
			else
			{
				push @script, "RELEASE $name;";
				$#stack = $at - 1;
			}
		}
	}
	my $commits = rand() < 0.85;
	push @script, $commits ? 'COMMIT;' : 'ROLLBACK;';
	if ($commits)
	{
		push @{ $model{ $_->[0] }[ $_->[1] ] }, $_->[2] foreach @pending;
	}
	return join "\n", @script, '';
}

my $transactions = $ENV{MQ_TRANSACTIONS} // 60;
my ($model_out, $model_err) = run(join '', map { random_transaction() } 1 .. $transactions);
is(scalar(grep { $_ ne '22012' } split / /, $model_err), 0, "$transactions random transactions: no error but those provoked");
foreach my $topic (sort keys %model)
{
	my @rows = split /\n/, $node->safe_psql('postgres',
		"SELECT partition, rtrim(value) FROM generate_series(0, 2) p, mq.fetch_text('$topic', p, 0, 1000000, 1000000000)");
	my @got = ([], [], []);
	foreach (@rows)
	{
		my ($partition, $value) = split /\|/;
		push @{ $got[$partition] }, $value;
	}
	is_deeply(\@got, $model{$topic}, "$topic holds what the model holds, in its order");
}
cmp_ok(sum(map { scalar @$_ } map { @$_ } values %model), '>', 100, 'the model holds something');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_tmpdir()"), '0', 'no temporary file is left');

# Ten thousand exception blocks, nested two deep, with spill

topic('blocks', 2);
$node->safe_psql('postgres', <<'SQL');
SET mq.transaction_buffer = '64kB';
CREATE TABLE kept (i int);
DO $$
BEGIN
	FOR i IN 1..10000 LOOP
		BEGIN
			INSERT INTO kept VALUES (i);
			PERFORM mq.produce('blocks', i || repeat(' ', 100), partition => i % 2);
			BEGIN
				INSERT INTO kept VALUES (-i);
				PERFORM mq.produce('blocks', (-i) || repeat(' ', 100), partition => i % 2);
				IF i % 3 = 0 THEN RAISE EXCEPTION USING ERRCODE = 'P0042'; END IF;
			EXCEPTION WHEN SQLSTATE 'P0042' THEN
				NULL;
			END;
			IF i % 5 = 0 THEN PERFORM 1 / 0; END IF;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END$$;
SQL
is($node->safe_psql('postgres', <<'SQL'), '', 'rows and messages of 10,000 exception blocks are the same');
WITH m AS (SELECT rtrim(value)::int AS i FROM generate_series(0, 1) p, mq.fetch_text('blocks', p, 0, 1000000, 1000000000))
(TABLE kept EXCEPT ALL TABLE m) UNION ALL (TABLE m EXCEPT ALL TABLE kept)
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM kept'), 8000 + 5333, 'as many as they should be');

# Serializable: the failure comes after the append

topic('serial');
$node->safe_psql('postgres', 'CREATE TABLE serial (n int)');
my @pair = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
$_->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM serial') foreach @pair;
$pair[$_]->query_safe("INSERT INTO serial VALUES ($_); SELECT mq.produce('serial', '$_')") foreach 0, 1;
$pair[0]->query_safe('COMMIT');
$pair[1]->query('\set VERBOSITY sqlstate');
$pair[1]->query('COMMIT');
like($pair[1]{stderr}, qr/40001/, 'the second one fails');
$_->quit foreach @pair;
holds('serial', ['0'], 'nobody sees its message');
produce($node, 'serial', ['after']);
is($node->safe_psql('postgres', q{SELECT string_agg(msg_offset::text, ',') FROM mq.fetch('serial')}), '0,2', 'its offset is a gap');
is(offsets($node, 'serial')->{0}{last_stable}, 3, 'readers go on behind it');

# Failures at commit that come before the append: nothing is used

topic('early');
fails('23514', <<'SQL', 'a deferred constraint fails the commit');
CREATE TABLE parent (i int PRIMARY KEY);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE check_violation; END$$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON parent DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN; SELECT mq.produce('early', 'never'); INSERT INTO parent VALUES (1); COMMIT;
SQL
is(offsets($node, 'early')->{0}{latest}, 0, 'no offset was used');

# Deferred triggers that produce: at COMMIT, at SET CONSTRAINTS, one after another

topic('deferred');
fails('', <<'SQL', 'deferred triggers produce');
CREATE TABLE orders (i int PRIMARY KEY, gone boolean);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN PERFORM mq.produce('deferred', TG_OP || NEW.i); IF NEW.i = 5 THEN INSERT INTO orders VALUES (6); END IF; RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER tell AFTER INSERT OR UPDATE ON orders DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION tell();
BEGIN; SELECT mq.produce('deferred', 'first'); INSERT INTO orders VALUES (1); SELECT mq.produce('deferred', 'second'); COMMIT;
BEGIN; INSERT INTO orders VALUES (2); SET CONSTRAINTS tell IMMEDIATE; SELECT mq.produce('deferred', 'third'); COMMIT;
BEGIN; INSERT INTO orders VALUES (3); ROLLBACK;
BEGIN; SAVEPOINT s; INSERT INTO orders VALUES (4); ROLLBACK TO s; COMMIT;
INSERT INTO orders VALUES (5);
SQL
holds('deferred', [qw(first second INSERT1 INSERT2 third INSERT5 INSERT6)], 'each at its place, and those rolled back nowhere');
fails('42704', <<'SQL', 'a deferred trigger whose topic is gone fails the commit');
BEGIN; INSERT INTO orders VALUES (7); SELECT mq.drop_topic('deferred'); COMMIT;
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders WHERE i = 7'), '0', 'with its row');
is(scalar(read_topic($node, 'deferred')), 7, 'and the topic stays');

# Cursors: a held one is filled at COMMIT, by a query that produces (with SCROLL
# PostgreSQL would run it from its start again)

topic('held');
fails('', <<'SQL', 'cursors that produce and fetch');
BEGIN;
DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT mq.produce('held', i::text) FROM generate_series(1, 5) i;
FETCH 2 FROM c;
COMMIT;
CLOSE c;
BEGIN;
DECLARE a CURSOR FOR SELECT msg_offset, value FROM mq.fetch_text('held');
FETCH 2 FROM a;
SAVEPOINT s;
SELECT mq.produce('held', 'six');
FETCH 1 FROM a;
ROLLBACK TO s;
FETCH ALL FROM a;
SELECT mq.produce('held', 'seven');
COMMIT;
BEGIN;
DECLARE d SCROLL CURSOR WITH HOLD FOR SELECT value FROM mq.fetch_text('held', 0, 1, 3);
COMMIT;
FETCH LAST FROM d;
FETCH FIRST FROM d;
SQL
holds('held', [qw(1 2 3 4 5 seven)], 'a WITH HOLD cursor produces all of it, once');
my ($rows) = run("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT value FROM mq.fetch_text('held', 0, 1, 3);\nMOVE ALL FROM c;\nFETCH BACKWARD 2 FROM c;\nCOMMIT;");
like($rows, qr/^4\n3$/m, 'a fetch can be scrolled');

# Procedures that commit and roll back

topic('procedure');
fails('', <<'SQL', 'a procedure with transaction control');
CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$
DECLARE n int;
BEGIN
	FOR i IN 1..10 LOOP
		PERFORM mq.produce('procedure', i::text);
		IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
		SELECT count(*) INTO n FROM mq.fetch('procedure');
		IF n <> i / 2 THEN RAISE EXCEPTION 'sees %, not %', n, i / 2; END IF;
	END LOOP;
	PERFORM mq.produce('procedure', 'chain');
	COMMIT AND CHAIN;
	PERFORM mq.produce('procedure', 'last');
END$$;
CALL steps();
DO $$BEGIN PERFORM mq.produce('procedure', 'do'); COMMIT; PERFORM mq.produce('procedure', 'lost'); ROLLBACK; END$$;
SQL
holds('procedure', [ 2, 4, 6, 8, 10, 'chain', 'last', 'do' ], 'each COMMIT makes its own visible');
fails('2D000', 'BEGIN; CALL steps(); COMMIT;', 'no COMMIT in a procedure inside a transaction');
holds('procedure', [ 2, 4, 6, 8, 10, 'chain', 'last', 'do' ], 'and nothing of that is left');
fails('2D000', q{DO $$BEGIN PERFORM mq.produce('procedure', 'x'); BEGIN COMMIT; EXCEPTION WHEN division_by_zero THEN NULL; END; END$$;},
	'no COMMIT in an exception block');

# Several topics, one transaction; the session's last_produced tells of them all

topic($_, 2) foreach qw(multi.a multi.b multi.c);
my ($ranges) = run(<<'SQL');
BEGIN;
SELECT count(mq.produce('multi.' || t, i || t, partition => p)) FROM unnest('{c,a,b}'::text[]) t, generate_series(0, 1) p, generate_series(1, 3) i;
ROLLBACK;
BEGIN;
SELECT count(mq.produce('multi.' || t, i || t, partition => p)) FROM unnest('{c,a,b}'::text[]) t, generate_series(0, 1) p, generate_series(1, 3) i;
SELECT mq.drop_topic('multi.c');
SAVEPOINT s;
SELECT mq.drop_topic('multi.b');
ROLLBACK TO s;
COMMIT;
\echo ranges
SELECT * FROM mq.last_produced() ORDER BY 1, 2;
SQL
like($ranges, qr/ranges\nmulti\.a\|0\|0\|2\nmulti\.a\|1\|0\|2\nmulti\.b\|0\|0\|2\nmulti\.b\|1\|0\|2$/, 'what was produced to a topic dropped later is gone, the rest stands');
fails('42704', "SELECT mq.fetch('multi.c');", 'the dropped topic is gone');

# Topics that come and go within a transaction

fails('42704 42704', <<'SQL', 'create, produce and drop; create, produce, roll back');
BEGIN; SELECT mq.create_topic('brief'); SELECT mq.produce('brief', 'x'); SELECT mq.drop_topic('brief'); COMMIT;
SELECT mq.fetch('brief');
BEGIN; SELECT mq.create_topic('brief'); SELECT mq.produce('brief', 'x'); ROLLBACK;
SELECT mq.fetch('brief');
SQL
fails('', <<'SQL', 'the same name three times in one transaction');
BEGIN;
SELECT mq.create_topic('again', 1); SELECT mq.produce('again', 'first life'); SELECT mq.drop_topic('again');
SELECT mq.create_topic('again', 2); SELECT mq.produce('again', 'second life'); SAVEPOINT s; SELECT mq.drop_topic('again');
SELECT mq.create_topic('again', 1); SELECT mq.produce('again', 'third life'); ROLLBACK TO s;
SELECT mq.produce('again', 'still the second');
COMMIT;
SQL
is(join(',', sort map { $_->[3] } read_topic($node, 'again')), 'second life,still the second', 'only the one that stayed has messages');
fails('', <<'SQL', 'a topic replaced by one of the same name');
BEGIN; SELECT mq.produce('again', 'to the old'); SELECT mq.drop_topic('again'); SELECT mq.create_topic('again', 1); SELECT mq.produce('again', 'to the new'); COMMIT;
SQL
holds('again', ['to the new'], 'the new one has its own messages');
fails('0A000', "BEGIN; SELECT mq.create_topic('young'); SELECT mq.produce('young', 'x', transactional => false);",
	'no write at once to a topic of the same transaction');
fails('', <<'SQL', 'options and partitions of the moment');
BEGIN; SELECT mq.create_topic('grows', 1); SELECT mq.add_partitions('grows', 1); SELECT mq.produce('grows', 'x', partition => 1); COMMIT;
BEGIN; SELECT mq.add_partitions('grows', 1); SELECT mq.produce('grows', 'y', partition => 2); ROLLBACK;
SQL
fails('22023', "SELECT mq.produce('grows', 'y', partition => 2);", 'partitions that were rolled back are gone');
holds('grows', ['x'], 'with their messages');

# Temporary tables with ON COMMIT, LISTEN and NOTIFY next to messages

topic('mixed');
fails('', <<'SQL', 'ON COMMIT actions, NOTIFY, large objects');
BEGIN;
CREATE TEMP TABLE t1 (i int) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE t2 ON COMMIT DROP AS SELECT i FROM generate_series(1, 100) i;
LISTEN c; NOTIFY c, 'x';
SELECT lo_create(0) > 0;
SELECT count(mq.produce('mixed', i::text)) FROM t2;
COMMIT;
SELECT count(*) FROM t1;
SQL
is(scalar(read_topic($node, 'mixed')), 100, 'all messages are there');

# Parallel plans: a function that claims to be safe and produces is refused in a worker

topic('parallel');
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION liar(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$BEGIN PERFORM mq.produce('parallel', i::text); RETURN i; END$$;
CREATE FUNCTION honest(i int) RETURNS int LANGUAGE plpgsql PARALLEL UNSAFE AS
	$$BEGIN PERFORM mq.produce('parallel', i::text); RETURN i; END$$;
CREATE FUNCTION reader() RETURNS bigint LANGUAGE sql PARALLEL RESTRICTED AS $$SELECT count(*) FROM mq.fetch('parallel', 0, 0, 10000)$$;
CREATE TABLE many AS SELECT i FROM generate_series(1, 5000) i;
ALTER TABLE many SET (parallel_workers = 2);
ANALYZE many;
SQL
my $parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;\n";
fails('25000', "$parallel SELECT count(liar(i)) FROM many;", 'a parallel worker does not produce');
fails('25000', "$parallel SET force_parallel_mode = on; SELECT liar(1);", 'nor one that is forced');
is(offsets($node, 'parallel')->{0}{latest}, 0, 'nothing was written');
fails('', "$parallel SELECT count(honest(i)) FROM many;", 'the leader does');
my ($count) = run("$parallel SELECT DISTINCT reader() FROM many WHERE i > 10;");
is($count, 5000, 'a fetch runs in the leader of a parallel plan');
my ($plan) = run("$parallel EXPLAIN (COSTS OFF) SELECT mq.produce('parallel', i::text) FROM many;");
unlike($plan, qr/Gather|Parallel/, 'mq.produce makes a plan serial');

# Isolation levels, read-only, commits that are not durable

topic('levels');
fails('', <<'SQL', 'every isolation level');
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT mq.produce('levels', 'a'); COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT mq.produce('levels', 'b'); COMMIT;
BEGIN; SET LOCAL synchronous_commit = off; SELECT mq.produce('levels', 'c'); COMMIT;
SELECT mq.produce('levels', 'd');
BEGIN; SELECT mq.produce('levels', 'e'); COMMIT AND CHAIN; SELECT mq.produce('levels', 'f'); ROLLBACK AND CHAIN; SELECT mq.produce('levels', 'g'); COMMIT;
SQL
holds('levels', [qw(a b c d e g)], 'in the order of their commits');
fails('25006 25006 25006 25006 25006', <<'SQL', 'a read-only transaction writes nothing');
BEGIN READ ONLY; SELECT mq.produce('levels', 'x'); ROLLBACK;
BEGIN READ ONLY; SELECT mq.produce('levels', 'x', transactional => false); ROLLBACK;
BEGIN READ ONLY; SELECT mq.produce_batch('levels', '{x}'); ROLLBACK;
BEGIN READ ONLY; SELECT mq.create_topic('x'); ROLLBACK;
BEGIN READ ONLY; SELECT mq.drop_topic('levels'); ROLLBACK;
SQL
holds('levels', [qw(a b c d e g)], 'as before');

offsets_in_order($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM mq.transactions'), '0', 'nothing is left in flight');

# It all survives a crash

my %before = map { ($_ => [ read_topic($node, $_) ]) } qw(model1 model2 serial deferred again mixed levels);
crash($node);
$node->start;
is_deeply([ read_topic($node, $_) ], $before{$_}, "$_ is the same after a crash") foreach sort keys %before;
is(join("\n", grep { /PANIC|TRAP:|terminated by signal (?!9)|leak|still referenced/ } split /\n/, slurp_file($node->logfile)),
	'', 'nothing broke, nothing leaked');
$node->stop;
done_testing();
