# Who may do what.  The functions, the views and what is internal come from the
# catalog; what each needs is in the tables below, and a function or a view that
# is not there fails the test.  Every role connects itself.  Then the privileges
# of the topic's relation one by one, and a search_path full of traps.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# What a role has: insert, select, column (SELECT on one), own (of topic perm),
# stats (membership of pg_read_all_stats), create, wal.  A superuser has everything.
my %roles = (
	p_owner => [qw(own insert select truncate)],
	p_insert => ['insert'],
	p_select => ['select'],
	p_both => [qw(insert select)],
	p_stranger => [],
	p_monitor => [qw(stats wal)],
	p_stats => ['stats'],
	p_create => ['create'],
	p_half_create => [],    # CREATE on the schema without USAGE on the server
	p_half_usage => [],     # and the reverse
	p_wal => ['wal'],
	p_heir => [qw(insert select)],
	p_owner_heir => [qw(own insert select truncate)],
	p_truncate => ['truncate'],
	p_mute => [],           # a member of them all, NOINHERIT
	p_super => [qw(own insert select truncate stats create wal)]);

# Any one of these will do.  "all" is what everybody has.
my %needs = (
	all => ['all'],
	insert => ['insert'],
	select => ['select'],
	truncate => ['truncate'],
	look => [qw(select column own stats)],
	own => ['own'],
	verify => [qw(own stats)],
	create => ['create'],
	wal => ['wal']);

my $long = 'integer,bigint,integer,integer,interval,text[],text';
my $produce_rest = 'jsonb,text[],integer,timestamp with time zone,boolean';

# Every function: what it needs, and calls.
my %functions = (
	'mq.create_topic(text,integer,jsonb,boolean)' =>
	  [ create => q{SELECT mq.create_topic('new')}, q{SELECT mq.create_topic('new', 2, '{"segment.ms": 9}', true)} ],
	'mq.alter_topic(text,jsonb)' => [ own => q{SELECT mq.alter_topic('perm', '{"segment.ms": 7}')}, q{SELECT mq.alter_topic('perm', '{}')} ],
	'mq.add_partitions(text,integer)' => [ own => q{SELECT mq.add_partitions('perm', 1)} ],
	'mq.drop_topic(text,boolean,boolean)' =>
	  [ own => q{SELECT mq.drop_topic('perm')}, q{SELECT mq.drop_topic('perm', true, true)} ],
	'mq.describe_topic(text)' => [ look => q{SELECT mq.describe_topic('perm')} ],
	'mq.topic_config(text)' => [ look => q{SELECT mq.topic_config('perm')} ],
	"mq.produce(text,text,text,$produce_rest)" =>
	  [ insert => q{SELECT mq.produce('perm', 'v')}, q{SELECT mq.produce('perm', 'v', transactional => false)} ],
	"mq.produce(text,jsonb,text,$produce_rest)" => [ insert => q{SELECT mq.produce('perm', '{}'::jsonb)} ],
	"mq.produce(text,bytea,bytea,$produce_rest)" => [ insert => q{SELECT mq.produce('perm', '\xff'::bytea)} ],
	'mq.produce_batch(text,text[],text[],jsonb[],boolean)' =>
	  [ insert => q{SELECT mq.produce_batch('perm', '{a,b}')}, q{SELECT mq.produce_batch('perm', '{}')} ],
	'mq.produce_batch_json(text,jsonb[],text[],jsonb[],boolean)' =>
	  [ insert => q{SELECT mq.produce_batch_json('perm', '{1}')} ],
	'mq.produce_batch_bytes(text,bytea[],bytea[],jsonb[],boolean)' =>
	  [ insert => q{SELECT mq.produce_batch_bytes('perm', '{a}', transactional => false)} ],
	'mq.last_produced()' => [ all => q{SELECT mq.last_produced()} ],
	'mq.partition_for(text,bytea)' => [ all => q{SELECT mq.partition_for('perm', 'k')} ],
	"mq.\"fetch\"(text,$long)" => [ select => q{SELECT mq.fetch('perm')}, q{SELECT mq.fetch('perm', 0, -1)} ],
	"mq.fetch_text(text,$long)" => [ select => q{SELECT mq.fetch_text('perm', tags => '{none}')} ],
	"mq.fetch_json(text,$long)" => [ select => q{SELECT mq.fetch_json('perm', 0, -1)} ],
	'mq.peek(text,integer,integer,boolean)' => [ select => q{SELECT mq.peek('perm')}, q{SELECT mq.peek('perm', 1, 0, false)} ],
	'mq.offsets(text,integer)' => [ select => q{SELECT mq.offsets('perm')} ],
	'mq.offset_at(text,integer,timestamp with time zone)' => [ select => q{SELECT mq.offset_at('perm', 0, now())} ],
	'mq.wait(text[],interval,mq."position"[],boolean)' => [
		select => q{CALL mq.wait('{perm}', '0')},
		q{CALL mq.wait(positions => '{"(perm,0,0)"}', timeout => '0')} ],
	'mq.to_text(bytea)' => [ all => q{SELECT mq.to_text('v')} ],
	'mq.to_jsonb(bytea)' => [ all => q{SELECT mq.to_jsonb('1')} ],
	'mq.delete_records(text,integer,bigint)' => [ truncate => q{SELECT mq.delete_records('perm', 0, 0)}, q{SELECT mq.delete_records('perm', 1, -1)} ],
	'mq.purge_topic(text)' => [ truncate => q{SELECT mq.purge_topic('perm')} ],
	'mq.retire_partition(text,integer)' => [ own => q{SELECT mq.retire_partition('perm', 1)} ],
	'mq.roll_segment(text,integer)' => [ own => q{SELECT mq.roll_segment('perm')}, q{SELECT mq.roll_segment('perm', 0)} ],
	'mq.run_retention(text,boolean)' => [ own => q{SELECT mq.run_retention('perm')}, q{SELECT mq.run_retention('perm', true)} ],
	'mq.stat_reset(text)' => [ own => q{SELECT mq.stat_reset('perm')} ],
	'mq.verify(text,integer)' => [ verify => q{SELECT mq.verify('perm')}, q{SELECT mq.verify('perm', 0)} ],
	'mq.version()' => [ all => q{SELECT mq.version()} ],
	'mq.wal_records(pg_lsn,pg_lsn)' => [ wal => q{SELECT mq.wal_records(pg_current_wal_flush_lsn())} ]);

# Every view: the topics it shows.
my %views = (
	'mq.topics' => 'SELECT DISTINCT topic FROM mq.topics',
	'mq.partitions' => 'SELECT DISTINCT topic FROM mq.partitions',
	'mq.segments' => 'SELECT DISTINCT topic FROM mq.segments',
	'mq.stat_topics' => 'SELECT DISTINCT topic FROM mq.stat_topics',
	'mq.stat_partitions' => 'SELECT DISTINCT topic FROM mq.stat_partitions',
	'mq.transactions' => 'SELECT DISTINCT p.topic FROM mq.transactions, unnest(partitions) p');

# Views that show what is being done, where there is something to see.
my %views_elsewhere = ('mq.stat_progress' => '032_verify', 'mq.stat_workers' => '031_stat');

# What one does to the relation itself.
my @commands = (
	[ select => 'SELECT * FROM mq_topics.perm' ],
	[ insert => q{INSERT INTO mq_topics.perm (key, value) VALUES ('k', 'v')} ],
	[ own => q{ALTER FOREIGN TABLE mq_topics.perm OPTIONS (ADD "segment.ms" '9')} ],
	[ own => 'DROP FOREIGN TABLE mq_topics.perm' ],
	[ own => q{COMMENT ON FOREIGN TABLE mq_topics.perm IS 'mine'} ]);

my $node = new_node('permissions', conf => "synchronous_commit = local");

# Runs each statement in a transaction of its own that is rolled back; returns
# the SQLSTATEs.
sub try
{
	my ($role, @statements) = @_;
	my $script = join '', map { "BEGIN;\n$_;\n\\echo =:SQLSTATE\nROLLBACK;\n" } @statements;
	my $out = '';

	$node->psql('postgres', "SET client_min_messages = error;\n$script",
		extra_params => [ '-U', $role ], on_error_stop => 0, on_error_die => 0, stdout => \$out);
	my @states = $out =~ /^=(\S{5})$/mg;
	die "$role: the session ended early: $out" if @states != @statements;
	return @states;
}

sub may
{
	my ($need, @has) = @_;
	my %has = map { $_ => 1 } @has, 'all';
	return scalar grep { $has{$_} } @{ $needs{$need} };
}

# A test: a role that has such rights may do just what they say.
sub check_matrix
{
	my ($role, $name, @has) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (@todo, @wrong);

	foreach my $key (sort keys %functions)
	{
		my ($need, @calls) = @{ $functions{$key} };
		push @todo, [ $need, $_ ] foreach @calls;
	}
	push @todo, @commands;
	my @states = try($role, map { $_->[1] } @todo);
	foreach my $i (0 .. $#todo)
	{
		my ($need, $sql) = @{ $todo[$i] };
		my $expected = may($need, @has) ? '00000' : '42501';
		# let in, but the position has been deleted by others
		my $state = $states[$i] eq 'MQ005' ? '00000' : $states[$i];
		push @wrong, "$sql: $states[$i], not $expected" if $state ne $expected;
	}
	is_deeply(\@wrong, [], $name);
	return;
}

# A test: the views show these topics and no others.
sub check_views
{
	my ($role, $name, $topics) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my %shown = map { $_ => $node->safe_psql('postgres', "$views{$_} ORDER BY 1", extra_params => [ '-U', $role ]) } keys %views;

	is_deeply(\%shown, { map { $_ => $topics } keys %views }, $name);
	return;
}

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE p_super LOGIN SUPERUSER;
CREATE ROLE p_owner LOGIN;
CREATE ROLE p_insert LOGIN;
CREATE ROLE p_select LOGIN;
CREATE ROLE p_both LOGIN;
CREATE ROLE p_stranger LOGIN;
CREATE ROLE p_monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE p_stats LOGIN IN ROLE pg_read_all_stats;
CREATE ROLE p_create LOGIN;
CREATE ROLE p_half_create LOGIN;
CREATE ROLE p_half_usage LOGIN;
CREATE ROLE p_wal LOGIN;
CREATE ROLE p_truncate LOGIN;
CREATE ROLE p_heir LOGIN IN ROLE p_both;
CREATE ROLE p_owner_heir LOGIN IN ROLE p_owner;
CREATE ROLE p_mute LOGIN NOINHERIT IN ROLE p_owner, p_both, p_monitor, p_create, p_super;
SELECT mq.create_topic('perm', 2), mq.create_topic('other', 1);
ALTER FOREIGN TABLE mq_topics.perm OWNER TO p_owner;
GRANT INSERT ON mq_topics.perm TO p_insert, p_both;
GRANT SELECT ON mq_topics.perm TO p_select, p_both;
GRANT TRUNCATE ON mq_topics.perm TO p_truncate;
GRANT CREATE ON SCHEMA mq_topics TO p_create, p_half_create;
GRANT USAGE ON FOREIGN SERVER mq TO p_create, p_half_usage;
GRANT EXECUTE ON FUNCTION mq.wal_records TO p_wal;
SELECT mq.produce('perm', '{}', partition => 0), mq.produce('other', '{}');
SQL

# The tables above are complete

is($node->safe_psql('postgres', q{SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'mq'::regnamespace ORDER BY oid::regprocedure::text COLLATE "C"}),
	join("\n", sort keys %functions), 'every function has its line');
is($node->safe_psql('postgres', q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'mq'::regnamespace AND relkind <> 'c' ORDER BY oid::regclass::text COLLATE "C"}),
	join("\n", sort keys %views, keys %views_elsewhere), 'every view has its line');

# Every role on every function and view

check_matrix($_, "$_ may do what it should", @{ $roles{$_} }) foreach sort keys %roles;

# by itself: it would wait for the transaction below
foreach my $role (sort keys %roles)
{
	is((try($role, 'TRUNCATE mq_topics.perm'))[0], may('truncate', @{ $roles{$role} }) ? '00000' : '42501', "$role: TRUNCATE");
}

# A transaction that waits for a standby that is not there stays in flight.
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
my $flying = $node->background_psql('postgres', on_error_stop => 0);
$flying->query_safe('SET synchronous_commit = on');
$flying->query_until(qr/flying/, "\\echo flying\n"
	  . "BEGIN; SELECT mq.produce('perm', '{}', partition => 0), mq.produce('other', '{}'); COMMIT;\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM mq.transactions}) or die 'nothing in flight';
foreach my $role (sort keys %roles)
{
	my $has = $roles{$role};
	check_views($role, "$role sees what it should",
		$role eq 'p_super' || may('look', @$has) && !may('select', @$has) && !may('own', @$has)
		? "other\nperm"
		: may('look', @$has) ? 'perm' : '');
}

# Nothing of mq_internal is within reach, nothing runs as its owner

my @internal = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT format('SELECT mq_internal.%I(%s)', p.proname,
	(SELECT coalesce(string_agg(format('NULL::%s', t::regtype), ', ' ORDER BY n), '')
	 FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n)))
FROM pg_proc p WHERE p.pronamespace = 'mq_internal'::regnamespace
UNION ALL
SELECT format('SELECT * FROM %s', c.oid::regclass) FROM pg_class c
WHERE c.relnamespace = 'mq_internal'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S', 'f')
SQL
push @internal, 'INSERT INTO mq_internal.topics SELECT', 'DELETE FROM mq_internal.topics',
  'CREATE TABLE mq_internal.mine (i int)', 'CREATE TABLE mq.mine (i int)',
  'CREATE FUNCTION mq.mine() RETURNS int LANGUAGE sql RETURN 1',
  'ALTER FUNCTION mq.version() RENAME TO mine', 'DROP EXTENSION mq_ext CASCADE';
cmp_ok(scalar(@internal), '>', 12, 'there is something internal');
foreach my $role (grep { $_ ne 'p_super' } sort keys %roles)
{
	my @states = try($role, @internal);
	is_deeply([ map { "$internal[$_]: $states[$_]" } grep { $states[$_] ne '42501' } 0 .. $#internal ],
		[], "$role reaches nothing internal");
}
is($node->safe_psql('postgres', <<'SQL'), '', 'no function runs as its owner, has settings, or is text to be parsed by the caller');
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace IN ('mq'::regnamespace, 'mq_internal'::regnamespace)
	AND (p.prosecdef OR p.proconfig IS NOT NULL OR NOT (l.lanname = 'c' OR l.lanname = 'sql' AND p.prosqlbody IS NOT NULL))
SQL

# Each privilege of the relation, granted, granted to all, and taken back; one on
# a column is good for looking only

my %gives = (INSERT => ['insert'], SELECT => ['select'], TRUNCATE => ['truncate'], ALL => [qw(insert select truncate)], 'SELECT (key)' => ['column']);
foreach my $privilege (qw(SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER ALL),
	'SELECT (key)', 'INSERT (value)', 'UPDATE (value)')
{
	foreach my $grantee ('p_stranger', 'PUBLIC')
	{
		$node->safe_psql('postgres', "GRANT $privilege ON mq_topics.perm TO $grantee");
		check_matrix('p_stranger', "$privilege to $grantee", @{ $gives{$privilege} // [] });
		check_views('p_stranger', "$privilege to $grantee: what is seen", $privilege =~ /SELECT|ALL/ ? 'perm' : '');
		$node->safe_psql('postgres', "REVOKE $privilege ON mq_topics.perm FROM $grantee");
	}
}
check_matrix('p_stranger', 'nothing is left after all REVOKEs');

$node->safe_psql('postgres', 'GRANT SELECT ON mq_topics.perm TO p_stranger WITH GRANT OPTION');
is_deeply([ try('p_stranger', 'GRANT SELECT ON mq_topics.perm TO p_stats', 'GRANT INSERT ON mq_topics.perm TO p_stats') ],
	[ '00000', '00000' ], 'the grant option passes on what one has; core only warns of the rest');
$node->safe_psql('postgres', 'REVOKE GRANT OPTION FOR SELECT ON mq_topics.perm FROM p_stranger; REVOKE SELECT ON mq_topics.perm FROM p_stranger');

$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$flying->quit;

# An owner who has taken his own privileges away; another owner; SET ROLE

$node->safe_psql('postgres', 'REVOKE ALL ON mq_topics.perm FROM p_owner');
check_matrix('p_owner', 'an owner without privileges keeps what is the owner\'s', 'own');
$node->safe_psql('postgres', 'GRANT ALL ON mq_topics.perm TO p_owner; ALTER FOREIGN TABLE mq_topics.perm OWNER TO p_stranger');
check_matrix('p_owner', 'the old owner has nothing');
check_matrix('p_stranger', 'the new owner has all', qw(own insert select truncate));
$node->safe_psql('postgres', 'ALTER FOREIGN TABLE mq_topics.perm OWNER TO p_owner');
is_deeply([ try('p_mute', map { "SET ROLE $_; SELECT mq.produce('perm', 'v')" } qw(p_both p_monitor p_owner)) ],
	[ '00000', '42501', '00000' ], 'NOINHERIT has to SET ROLE');

# A search_path with other functions, operators, types and tables in front

$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA trap;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE FUNCTION trap.spring() RETURNS void LANGUAGE plpgsql AS
	$$BEGIN RAISE EXCEPTION USING ERRCODE = 'TRAP1', MESSAGE = 'trapped'; END$$;
DO $$
DECLARE
	o record;
	types regtype[] := '{bool,int4,int8,oid,text,name,uuid,jsonb,bytea,timestamptz,interval,regclass,pg_lsn}';
BEGIN
	FOR o IN SELECT row_number() OVER () AS n, oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS result
		FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft = ANY (types) AND oprright = ANY (types)
	LOOP
		EXECUTE format('CREATE FUNCTION trap.op%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$BEGIN PERFORM trap.spring(); RETURN NULL; END$f$',
			o.n, o.l, o.r, o.result);
		EXECUTE format('CREATE OPERATOR trap.%s (FUNCTION = trap.op%s, LEFTARG = %s, RIGHTARG = %s)', o.oprname, o.n, o.l, o.r);
	END LOOP;
	FOR o IN SELECT proname, pg_get_function_identity_arguments(oid) AS args, prorettype::regtype AS result, proretset
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0
			AND prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')
			AND proname IN ('format', 'lower', 'now', 'length', 'pg_get_userbyid', 'jsonb_object', 'to_regclass', 'quote_ident',
				'hashtext', 'current_database', 'has_table_privilege', 'array_to_string', 'textin', 'texteq', 'oideq')
			AND 'internal'::regtype <> ALL (proargtypes) AND 'cstring'::regtype <> ALL (proargtypes)
	LOOP
		EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$BEGIN PERFORM trap.spring(); RETURN NULL; END$f$',
			o.proname, o.args, o.result);
	END LOOP;
END$$;
CREATE FUNCTION trap.pg_options_to_table(text[]) RETURNS TABLE (option_name text, option_value text) LANGUAGE plpgsql AS
	$$BEGIN PERFORM trap.spring(); END$$;
CREATE TABLE trap.pg_class (relowner oid, oid oid);
CREATE TABLE trap.pg_extension (extname text, extversion text);
CREATE TABLE trap.pg_foreign_table (ftrelid oid, ftoptions text[]);
CREATE TABLE trap.topics (relation oid, topic text);
DO $$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY '{text,int4,int8,integer,bigint,jsonb,bytea,timestamptz,interval,bool,regclass,uuid,message,message_text,position,produced}'::text[] LOOP
		EXECUTE format('CREATE DOMAIN trap.%I AS pg_catalog.money CHECK (false)', t);
	END LOOP;
END$$;
GRANT ALL ON ALL TABLES IN SCHEMA trap TO PUBLIC;
SQL
my @journey = (
	q{SELECT mq.create_topic('trapped', 2, '{"segment.ms": 5}') IS NULL},
	q{SELECT attname, atttypid FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) 'mq_topics.trapped'::pg_catalog.regclass AND attnum OPERATOR(pg_catalog.>) 0 ORDER BY attnum USING OPERATOR(pg_catalog.<)},
	q{SELECT mq.alter_topic('trapped', '{"segment.ms": 6, "compression.type": "lz4"}'), mq.add_partitions('trapped', 1)},
	q{SELECT name, value, source FROM mq.topic_config('trapped')},
	q{SELECT partition, state FROM mq.describe_topic('trapped')},
	q{SELECT mq.produce('trapped', 'v', 'k', '{"h": "1"}', '{t}', 0, '2001-01-01 00:00+00', false)},
	q{SELECT mq.produce_batch('trapped', '{a,b}', '{c,d}', transactional => false)},
	q{SELECT mq.partition_for('trapped', 'k'), mq.to_text('v'), mq.to_jsonb('1'), mq.version()},
	q{SELECT topic, owner, partitions, config, state, messages_estimate FROM mq.topics},
	q{SELECT topic, partition, last_stable_offset FROM mq.partitions},
	q{SELECT topic, partition, base_offset FROM mq.segments},
	q{SELECT * FROM mq.transactions},
	q{SELECT partition, msg_offset, key, value, headers, tags FROM mq.fetch('trapped', 0)},
	q{SELECT partition, msg_offset, key, value, headers, tags FROM mq.fetch_text('trapped', tags => '{t}')},
	q{SELECT value FROM mq.peek('trapped')},
	q{SELECT earliest, last_stable FROM mq.offsets('trapped')},
	q{SELECT mq.offset_at('trapped', 0, '2000-01-01 00:00+00')},
	q{CALL mq.wait(positions => '{"(trapped,0,0)"}', timeout => '0')},
	q{SELECT * FROM mq.last_produced()},
	q{SELECT mq.drop_topic('trapped')});

sub travel
{
	my ($role, $path) = @_;
	my ($out, $err);
	$node->psql('postgres', "SET search_path = $path;\n" . join('', map { "$_;\n" } @journey),
		extra_params => [ '-U', $role ], on_error_stop => 0, stdout => \$out, stderr => \$err);
	return join "\n", sort(split /\n/, $out), split /\n/, $err;
}

$node->safe_psql('postgres', 'GRANT TEMPORARY ON DATABASE postgres TO PUBLIC');
foreach my $role ('p_super', 'p_create')
{
	my $plain = travel($role, 'pg_catalog');
	unlike($plain, qr/ERROR/, "$role gets through without traps");
	is(travel($role, 'trap, pg_catalog'), $plain, "$role notices nothing of traps before pg_catalog");
	is(travel($role, 'trap, public, mq, mq_topics, pg_catalog'), $plain, "$role nor of more schemas");
}
my $err;
$node->psql('postgres', 'SET search_path = trap, pg_catalog; SELECT 1 + 1', on_error_stop => 0, stderr => \$err);
like($err, qr/trapped/, 'the traps are set');

# No crash, no assertion, on the way
is(join("\n", grep { /PANIC|TRAP:|terminated by signal/ } split /\n/, slurp_file($node->logfile)), '', 'the server is unharmed');
$node->stop;
done_testing();
