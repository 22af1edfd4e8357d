# Arguments that nobody should pass, generated from the catalog: each argument of
# each function takes each hostile value of its type, plain, in a savepoint, a
# cursor, a DO block, a prepared statement, a read-only transaction and on a
# standby.  Then time-outs and cancels at any moment.  Always: an answer or an
# SQLSTATE that docs/sql.md names, nothing changed when refused, no leak, no crash.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my %documented = map { $_ => 1 } '00000',
  map { /`([0-9A-Z]{5})`/g } map { /^\| (`[0-9A-Z]{5}`[^|]*)\|/ ? $1 : () }
  split /\n/, slurp_file("$FindBin::RealBin/../docs/sql.md");
cmp_ok(scalar(keys %documented), '>', 15, 'the documentation has a table of errors');

# PostgreSQL's own, raised before we are called: a row that does not fit its
# type, JSON or a size that is too much for any type.
my %core = map { $_ => 1 } qw(22P02 54000 54001);

my $node = new_node('hostile', conf => "mq.max_sql_wait = '10ms'\nmax_stack_depth = '2MB'");
$node->safe_psql('postgres', <<'SQL');
SELECT mq.create_topic('hostile', 2);
SELECT count(mq.produce('hostile', 'v' || i, 'k', partition => i % 2)) FROM generate_series(1, 20) i;
SQL

# Arguments that are fine

my $lsn = '(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)';
my %fine = (
	topic => q{'hostile'}, partitions => '1', config => q{'{}'}, if_not_exists => 'false', if_exists => 'false', force => 'false',
	count => '1', value => q{'1'}, key => q{'k'}, headers => 'NULL', tags => q{'{t}'}, partition => '0', ts => 'now()',
	transactional => 'true', vals => q{'{"1"}'}, keys => 'NULL', from_offset => '0', max_messages => '10', max_bytes => '1000',
	max_wait => q{'0'}, on_damage => q{'error'}, n => '5', from_end => 'true', at_time => 'now()', topics => 'NULL', timeout => q{'0'},
	part => '0', before_offset => '0', dry_run => 'true', positions => q{ARRAY[('hostile', 0, 0)]::mq.position[]}, ready => 'NULL', start_lsn => $lsn, end_lsn => 'NULL');

# Hostile values by type; "big" ones are tried plainly only

my @names = (
	q{''}, q{' '}, q{'.'}, q{'..'}, q{'../../x'}, q{'%s%n%p'}, q{E'\n\x01'}, q{'x''; --'}, q{'hostile '}, q{'HOSTILE'}, q{repeat('x', 300)}, 'chr(1114111)');
my @ints = map { "'$_'" } qw(-1 0 -2147483648 2147483647 16385);
my %hostile = (
	'text' => [@names],
	'integer' => [@ints],
	'bigint' => [ map { "'$_'" } qw(-1 0 -2 -9223372036854775808 9223372036854775807 21) ],
	'boolean' => [qw(true false)],
	'interval' => [ q{'0'}, q{'-1 s'}, q{'178000000 years'}, q{'-178000000 years'}, q{'1 us'}, q{'178000000 years -2147483648 days'} ],
	'timestamp with time zone' => [ q{'infinity'}, q{'-infinity'}, q{'294276-12-31 23:59:59.999999+00'}, q{'4713-01-01 00:00 BC'}, q{'1969-12-31 23:59:59.999+00'}, q{'epoch'} ],
	'pg_lsn' => [ q{'0/0'}, q{'0/1'}, q{'FFFFFFFF/FFFFFFFF'}, q{'7FFFFFFF/0'} ],
	'bytea' => [ q{''}, q{'\x00'}, q{'\xff'}, q{'\xc328'}, q{'\xeda080'}, q{'\xc080'}, q{'\xf4908080'} ],
	'jsonb' => [
		map({ "'$_'" } '{}', '[]', 'null', 'true', '-1e1000', '""', '"b64:"', '[[]]', '[["a"]]', '[["a","b","c"]]', '[[null,null]]', '[["a","b64:%%%"]]',
			'{"a":1}', '{"a":[]}', '{"":""}', '{"mq.tag":"x"}', '{"partitions":-1}', '{"partitions":1e9}', '{"segment.bytes":1e400}', '{"segment.ms":"x"}',
			'{"segment.ms":{}}', '{"segment.ms":99999999999999999999}', '{"segment.ms":null}', '{"topic":"other"}', '{"max.message.bytes":"1e3"}', '{"batch.size":1.5}'),
		q{(repeat('[', 1000) || repeat(']', 1000))}, q{(repeat('{"a":', 1000) || '1' || repeat('}', 1000))} ],
	'text[]' => [ q{'{}'}, q{'{NULL}'}, q{'{""}'}, q{'{{a},{b}}'}, q{'[5:6]={a,b}'}, q{'{hostile,hostile}'}, q{'{hostile,nowhere}'} ],
	'bytea[]' => [ q{'{}'}, q{'{NULL}'}, q{'{{a},{b}}'}, q{'{"\\\\xff"}'}, q{'{a,b}'} ],
	'jsonb[]' => [ q{'{}'}, q{'{NULL}'}, q{'{{1},{2}}'}, q{'{"{}","[]"}'}, q{'{1}'} ],
	'mq."position"[]' => [
		map { "'$_'" } '{}', '{NULL}', '{"(,,)"}', '{"(hostile,,)"}', '{"(hostile,0,)"}', '{"(hostile,-1,0)"}', '{"(hostile,2,0)"}', '{"(hostile,2147483647,0)"}',
		'{"(hostile,0,-1)"}', '{"(hostile,0,-2)"}', '{"(hostile,0,9223372036854775807)"}', '{"(nowhere,0,0)"}', '{{"(hostile,0,0)"},{"(hostile,1,0)"}}',
		'{"(hostile,0,0)","(hostile,0,5)"}', '{"(\"\",0,0)"}' ]);
my $mb = 1024 * 1024;
my %big = (
	'text' => [ "repeat('x', $mb)", "repeat('x', 17 * $mb)", "repeat('€', $mb)" ],
	'bytea' => [ "convert_to(repeat('x', $mb), 'UTF8')", "decode(repeat('ff', 17 * $mb), 'hex')" ],
	'jsonb' => [
		"to_jsonb(repeat('x', $mb))", "jsonb_build_object('a', repeat('x', 17 * $mb))", "(SELECT jsonb_object_agg(i::text, 'x') FROM generate_series(1, 100000) i)",
		"(SELECT jsonb_agg(jsonb_build_array('a', i::text)) FROM generate_series(1, 100000) i)" ],
	'text[]' => [ "array_fill('hostile'::text, ARRAY[200000])", "array_fill(NULL::text, ARRAY[200000])", "ARRAY[repeat('x', 17 * $mb)]" ],
	'bytea[]' => [ "array_fill('\\xff'::bytea, ARRAY[200000])", "ARRAY[convert_to(repeat('x', 17 * $mb), 'UTF8')]" ],
	'jsonb[]' => [ "array_fill('{}'::jsonb, ARRAY[200000])", "ARRAY[to_jsonb(repeat('x', 17 * $mb))]" ],
	'mq."position"[]' => [
		"array_fill(('hostile', 0, 0)::mq.position, ARRAY[100000])", "array_fill((repeat('x', 1000), 0, 0)::mq.position, ARRAY[10000])",
		"ARRAY[(repeat('x', 17 * $mb), 0, 0)::mq.position]" ]);

# Every function, from the catalog

my @functions;
foreach my $row (split /\n/, $node->safe_psql('postgres', <<'SQL'))
SELECT p.oid::regproc, p.prokind, p.prokind = 'f' AND p.proparallel = 'u', string_agg(u.name || ':' || u.type::regtype, ';' ORDER BY u.n)
FROM pg_proc p LEFT JOIN LATERAL unnest(p.proargnames[1:p.pronargs], p.proargtypes) WITH ORDINALITY u(name, type, n) ON u.name IS NOT NULL
WHERE p.pronamespace = 'mq'::regnamespace GROUP BY p.oid, p.prokind, p.proparallel ORDER BY 1, p.oid
SQL
{
	my ($name, $kind, $writes, $args) = split /\|/, $row;
	$name =~ s/^"?(\w+)"?$/mq.$1/;    # overloaded names come without their schema
	push @functions, {
		name => $name,
		kind => $kind eq 'p' ? 'CALL' : 'SELECT',
		writes => $writes eq 't',
		args => [ map { [ split /:/ ] } split /;/, $args // '' ] };
}
cmp_ok(scalar(@functions), '>', 20, 'the catalog has functions');
my @unknown = grep { !exists $fine{ $_->[0] } || !exists $hostile{ $_->[1] } } map { @{ $_->{args} } } @functions;
is_deeply(\@unknown, [], 'every argument has a fine value, every type hostile ones');

# Calls: one argument is hostile, or two are NULL
sub calls
{
	my ($values) = @_;
	my @calls;

	foreach my $function (@functions)
	{
		my @args = @{ $function->{args} };
		foreach my $bad (0 .. $#args)
		{
			foreach my $value (@{ $values->{ $args[$bad][1] } // [] })
			{
				my @given = map { fine_argument($function, $_) } @args;
				push @calls, { function => $function, given => \@given, bad => $bad, type => $args[$bad][1], value => $value };
			}
		}
	}
	return @calls;
}

sub fine_argument
{
	my ($function, $arg) = @_;
	return q{'fresh'} if $arg->[0] eq 'topic' && $function->{name} eq 'mq.create_topic';
	return "$fine{ $arg->[0] }::$arg->[1]";
}

# The statement; the hostile value is a parameter if one is given.
sub statement
{
	my ($call, $parameter, $perform) = @_;
	my @given = @{ $call->{given} };

	$given[ $call->{bad} ] = $parameter // "$call->{value}::$call->{type}";
	my $what = "$call->{function}{name}(" . join(', ', @given) . ')';
	return "CALL $what" if $call->{function}{kind} eq 'CALL';
	return ($perform ? 'PERFORM' : 'SELECT') . " * FROM $what AS answer";
}

# Contexts: a call becomes a script that keeps the SQLSTATE as :state.

my %contexts = (
	plain => sub { return "BEGIN;\n" . statement($_[0]) . ";\n\\set state :SQLSTATE\nROLLBACK;\n" },
	savepoint => sub {
		return "BEGIN;\nSELECT mq.produce('hostile', 'kept');\nSAVEPOINT s;\n" . statement($_[0])
		  . ";\n\\set state :SQLSTATE\nROLLBACK TO s;\nSELECT mq.produce('hostile', 'kept');\nROLLBACK;\n";
	},
	cursor => sub {
		return undef if $_[0]{function}{kind} eq 'CALL';
		return "BEGIN;\nDECLARE c CURSOR FOR " . statement($_[0]) . ";\n\\set state :SQLSTATE\n\\if :ERROR\n\\else\nFETCH 1 FROM c;\n\\set state :SQLSTATE\nFETCH ALL FROM c;\n\\endif\nROLLBACK;\n";
	},
	do => sub {
		return undef if $_[0]{function}{kind} eq 'CALL';
		return 'DO $do$BEGIN ' . statement($_[0], undef, 1) . "; RAISE EXCEPTION USING ERRCODE = 'ZZZZZ'; END\$do\$;\n\\set state :SQLSTATE\n";
	},
	prepared => sub {
		return undef if $_[0]{function}{kind} eq 'CALL';
		return "BEGIN;\nPREPARE p($_[0]{type}) AS " . statement($_[0], '$1') . ";\nEXECUTE p(($_[0]{value})::$_[0]{type});\n\\set state :SQLSTATE\nROLLBACK;\nDEALLOCATE p;\n";
	},
	read_only => sub { return "BEGIN READ ONLY;\n" . statement($_[0]) . ";\n\\set state :SQLSTATE\nROLLBACK;\n" });

# Tests: makes all calls in a session; no answer but those documented, offsets
# as before when refused, and no write where nobody may.
sub try_calls
{
	my ($server, $context, $name, $no_writes, @calls) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($script, $out, $err) = ("SET client_min_messages = error;\n\\o /dev/null\n", '', '');
	my $ends = "SELECT sum(latest) AS ends FROM mq.offsets('hostile')\n\\gset\n\\echo";
	my @made;

	$script .= "$ends =start 00000 :ends\n";
	foreach my $call (@calls)
	{
		my $sql = $contexts{$context}->($call) // next;
		push @made, $call;
		$script .= $sql . "$ends =$#made :state :ends\n";
	}
	$server->psql('postgres', $script, on_error_stop => 0, stdout => \$out, stderr => \$err);
	my ($last, @rest) = $out =~ /^=\S+ (\S{5} \d+)$/mg;
	is(scalar(@rest), scalar(@made), "$name: " . scalar(@made) . ' calls, all answered')
	  or diag substr($err, -1000);
	my (@wrong, %met);
	$last =~ s/^\S+ //;
	foreach my $i (0 .. $#rest)
	{
		my ($state, $now) = split / /, $rest[$i];
		my $sql = substr(statement($made[$i]), 0, 300);

		$state = '00000' if $state eq 'ZZZZZ';
		$met{$state}++;
		push @wrong, "$state: $sql" if !$documented{$state} && !$core{$state};
		push @wrong, "$state, but offsets moved: $sql" if $state ne '00000' && $now != $last;
		push @wrong, "$state where nobody may write: $sql"
		  if $no_writes && $made[$i]{function}{writes} && ($state eq '00000' || $now != $last)
		  && $sql !~ /run_retention\(.*true::boolean/;    # which only counts
		$last = $now;
	}
	is_deeply(\@wrong, [], "$name: every answer is documented, what is refused changes nothing");
	note "$name: ", join ', ', map { "$_ $met{$_}" } sort keys %met;
	cmp_ok(scalar(keys %met), '>', 4, "$name: there are many answers");
	return;
}

foreach my $type (keys %hostile) { push @{ $hostile{$type} }, 'NULL' }
my @calls = calls(\%hostile);
cmp_ok(scalar(@calls), '>', 800, 'there are many calls');
foreach my $context (sort keys %contexts)
{
	try_calls($node, $context, $context, $context eq 'read_only', @calls);
}

# Large values, once

try_calls($node, 'plain', 'large', 0, calls(\%big));
foreach my $size (64, 256)
{
	my $huge = "repeat('x', $size * $mb)";
	my %states;
	foreach my $call (
		"SELECT mq.produce('hostile', $huge)", "SELECT mq.produce('hostile', convert_to($huge, 'UTF8'), transactional => false)",
		"SELECT mq.produce('hostile', 'v', key => $huge)", "SELECT mq.produce_batch('hostile', ARRAY[$huge])", "SELECT mq.create_topic($huge)")
	{
		my $err = '';
		$node->psql('postgres', "\\set VERBOSITY sqlstate\n$call", stderr => \$err);
		$states{$1}++ while $err =~ /ERROR:\s+(\S{5})$/mg;
	}
	is_deeply(\%states, { 54000 => 4, 22023 => 1 }, "$size MB are too much");
}

# A long argument is cut in messages, which also go to the server's log

my $huge = "repeat('x', 17 * $mb)";
foreach my $call (
	"fetch($huge)", "produce($huge, 'v')", "drop_topic($huge, true)", "create_topic($huge)", "fetch('hostile', on_damage => $huge)",
	"alter_topic('hostile', jsonb_build_object('segment.ms', repeat('x', $mb)))", "alter_topic('hostile', jsonb_build_object(repeat('x', $mb), 1))")
{
	my $err = '';
	$node->psql('postgres', "SELECT mq.$call", stderr => \$err);
	cmp_ok(length($err), '<', 1000, "mq.$call: the message is short");
}

# A session that makes all calls again and again does not grow

my $measure = q{SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'mq%' OR name = 'TopMemoryContext'};
my $pass = join '', map { $contexts{savepoint}->($_) } @calls;
my $grown = '';
$node->psql('postgres', "SET client_min_messages = error;\n\\o /dev/null\n"
	  . join('', map { "$pass\n\\o\n$measure;\n\\o /dev/null\n" } 1 .. 3), on_error_stop => 0, stdout => \$grown);
my @bytes = $grown =~ /^(\d+)$/mg;
is(scalar(@bytes), 3, 'three passes');
cmp_ok($bytes[2], '<', $bytes[1] + 32 * 1024, "memory does not grow: @bytes");

# Bytes that are not text

$node->safe_psql('postgres', q{SELECT mq.create_topic('bytes', 8)});
my $i = 0;
foreach my $bytes ('ff', 'c328', '00', 'eda080', 'c080', 'f4908080', 'e282')
{
	$node->safe_psql('postgres', "SELECT mq.produce('bytes', '\\x$bytes'::bytea, '\\x$bytes'::bytea, partition => $i)");
	my $err = '';
	$node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT mq.fetch_text('bytes', $i);\nSELECT mq.fetch_json('bytes', $i);\nSELECT mq.to_text('\\x$bytes');\nSELECT mq.to_jsonb('\\x$bytes');",
		on_error_stop => 0, stderr => \$err);
	is(join(' ', $err =~ /ERROR:\s+(\S{5})$/mg), '22021 22021 22021 22021', "\\x$bytes is no text");
	is($node->safe_psql('postgres', "SELECT key, value FROM mq.fetch('bytes', $i)"), "\\x$bytes|\\x$bytes", 'fetch returns it');
	like($node->safe_psql('postgres', "SELECT value FROM mq.peek('bytes', partition => $i)"), qr/^[ -~]*\\x[ -~]*$/, 'peek shows it');
	$i++;
}

# Time-outs at any moment: rows and messages of what was not cancelled

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE stopped (i bigserial);
CREATE FUNCTION row_and_message() RETURNS bigint LANGUAGE sql AS
	$$INSERT INTO stopped DEFAULT VALUES RETURNING (mq.produce('stopped', i::text || repeat(' ', 300), partition => (i % 2)::int)).partition + i$$;
SELECT mq.create_topic('stopped', 2, '{"segment.bytes": 65536}');
SQL
my $sweep = '';
foreach my $ms (1 .. 50)
{
	$sweep .= "SET statement_timeout = '$ms ms';\n$_;\n\\echo =:SQLSTATE\n"
	  foreach 'SELECT count(row_and_message()) FROM generate_series(1, ' . 20 * $ms . ')',
	  "SELECT count(mq.produce('hostile', 'x', partition => 1, transactional => false)) FROM generate_series(1, 5)",
	  "SELECT count(*) FROM mq.fetch_text('stopped', 0, 0, 100000, 100000000), mq.peek('stopped') LIMIT 100",
	  "CALL mq.wait('{hostile}', '1 h')",
	  "SELECT count(*) FROM mq.topics, mq.partitions, mq.segments",
	  "BEGIN; SELECT mq.create_topic('brief', 100); SELECT mq.produce('brief', 'x'); COMMIT; SELECT mq.drop_topic('brief')",
	  'ROLLBACK';
	$sweep .= "SET statement_timeout = 0;\nSELECT mq.drop_topic('brief', true);\n";
}
my ($out, $err) = ('', '');
$node->psql('postgres', "SET client_min_messages = error;\n\\o /dev/null\n$sweep", on_error_stop => 0, stdout => \$out, stderr => \$err);
my %met;
$met{$_}++ foreach $out =~ /^=(\S{5})$/mg;
is($met{57014} + $met{'00000'} + ($met{42704} // 0), 7 * 50, 'each statement ends, or is cancelled') or diag explain \%met;
cmp_ok($met{57014}, '>=', 50, 'many are cancelled') or diag explain \%met;
rows_and_messages('after the time-outs');

sub rows_and_messages
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql('postgres', <<'SQL'), '', "rows and messages agree $name");
WITH m AS (SELECT rtrim(value)::bigint AS i FROM generate_series(0, 1) p, mq.fetch_text('stopped', p, 0, 10000000, 1000000000))
(TABLE stopped EXCEPT ALL TABLE m) UNION ALL (TABLE m EXCEPT ALL TABLE stopped)
SQL
}

# A storm of cancels: four sessions at work, all cancelled over and over

my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM stopped');
my $work = "SET application_name = 'storm';\nSET client_min_messages = error;\n" . join '', map {
	(   "SELECT count(row_and_message()) FROM generate_series(1, 50);\n",
		"BEGIN; SAVEPOINT s; SELECT count(row_and_message()) FROM generate_series(1, 5); ROLLBACK TO s; SELECT row_and_message(); COMMIT;\nROLLBACK;\n",
		"SELECT count(*) FROM mq.fetch_text('stopped', 1, 0, 10000, 10000000);\n",
		"SELECT mq.produce('hostile', 'x', partition => 1, transactional => false);\n",
		"CALL mq.wait('{bytes}', '1 h');\n")
} 1 .. 40;
my $file = $node->basedir . '/storm.sql';
append_to_file($file, $work);
my @storm;
foreach (1 .. 4)
{
	my $session = { out => '', err => '' };
	$session->{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres'), '-f', $file ],
		'<', \undef, '>', \$session->{out}, '2>', \$session->{err},
		IPC::Run::timer(5 * $PostgreSQL::Test::Utils::timeout_default));
	push @storm, $session;
}
$node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'storm'}) or die 'no storm';
my $cancels = $node->safe_psql('postgres', <<'SQL');
DO $$
DECLARE
	cancels int := 0;
	n int;
BEGIN
	LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT count(*) FILTER (WHERE state = 'active' AND pg_cancel_backend(pid)), count(*) INTO cancels, n
			FROM pg_stat_activity WHERE application_name = 'storm';
		EXIT WHEN n = 0;
		PERFORM pg_sleep(0.002);
	END LOOP;
END$$;
SQL
%met = ();
foreach my $session (@storm)
{
	$session->{handle}->finish;
	$met{$1}++ while $session->{err} =~ /(?:ERROR|FATAL):\s+(\S{5})$/mg;
}
note 'the storm: ', join ', ', map { "$_ $met{$_}" } sort keys %met;
is_deeply([ grep { !/^(57014|25P0[12]|3B001)$/ } keys %met ], [], 'nothing but cancels, and what follows when BEGIN is cancelled');
cmp_ok($met{57014}, '>=', 160, 'every wait was cancelled, and more');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM stopped'), '>', $before, 'something got through');
rows_and_messages('after the storm');
offsets_in_order($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM mq.transactions'), '0', 'nothing is in flight');

# On a standby

my $standby = new_standby($node, 'hostile_standby');
$node->wait_for_catchup($standby);
try_calls($standby, 'plain', 'standby', 1, @calls);
$standby->stop;

is(join("\n", grep { /PANIC|TRAP:|terminated by signal|leak|still referenced|XX000/ } split(/\n/, slurp_file($_->logfile))), '', 'the log of ' . $_->name . ' is clean')
  foreach $node, $standby;
$node->stop;
done_testing();
