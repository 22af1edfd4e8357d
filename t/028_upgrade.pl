# Versions of the SQL objects: topics made and written under 1.0's are read
# after ALTER EXTENSION ... UPDATE; 1.0's are served by the library of today;
# and what an update leaves is what CREATE EXTENSION makes.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('upgrade', extension => 0);
my $version = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'mq_ext'});

# What the extension consists of, without the OIDs.  Names are schema-qualified
# because search_path is empty.  Columns that were added by an update stand at
# the end, as they do in the full script.
my $catalogs = <<'SQL';
SET search_path = '';
CREATE TEMP TABLE members AS SELECT classid, objid FROM pg_catalog.pg_depend
	WHERE refclassid = 'pg_catalog.pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'mq_ext');
CREATE TEMP VIEW relations AS SELECT c.* FROM pg_catalog.pg_class c
	WHERE relnamespace IN ('mq'::regnamespace, 'mq_internal'::regnamespace);
SELECT 'member', pg_catalog.pg_describe_object(classid, objid, 0) FROM members ORDER BY 2;
SELECT 'function', p.oid::regprocedure::text, pg_catalog.pg_get_functiondef(p.oid), proowner::regrole, proacl, procost, prorows,
	proisstrict, provolatile, proparallel, prosecdef, proleakproof, prosrc, probin, proallargtypes::regtype[], proargmodes, proargnames, proconfig
	FROM pg_catalog.pg_proc p WHERE pronamespace IN ('mq'::regnamespace, 'mq_internal'::regnamespace) ORDER BY 2;
SELECT 'relation', oid::regclass::text, relkind, relowner::regrole, relacl, reloptions, relpersistence FROM relations
	WHERE relkind <> 't' ORDER BY 2;
SELECT 'view', oid::regclass::text, pg_catalog.pg_get_viewdef(oid) FROM relations WHERE relkind = 'v' ORDER BY 2;
SELECT 'column', r.oid::regclass::text, attnum, attname, pg_catalog.format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation,
	attacl, attisdropped FROM pg_catalog.pg_attribute a JOIN relations r ON r.oid = attrelid
	WHERE attnum > 0 AND relkind <> 't' ORDER BY 2, 3;
SELECT 'constraint', r.oid::regclass::text, conname, pg_catalog.pg_get_constraintdef(o.oid)
	FROM pg_catalog.pg_constraint o JOIN relations r ON r.oid = conrelid ORDER BY 2, 3;
SELECT 'type', oid::regtype::text, typtype, typowner::regrole, typacl FROM pg_catalog.pg_type
	WHERE typnamespace IN ('mq'::regnamespace, 'mq_internal'::regnamespace) AND typname !~ '^_?pg_toast' ORDER BY 2;
SELECT 'cast', castsource::regtype, casttarget::regtype, castfunc::regprocedure, castcontext FROM pg_catalog.pg_cast
	JOIN members ON classid = 'pg_catalog.pg_cast'::regclass AND objid = oid ORDER BY 2, 3;
SELECT 'schema', nspname, nspowner::regrole, nspacl FROM pg_catalog.pg_namespace WHERE nspname LIKE 'mq%' ORDER BY 2;
SELECT 'wrapper', fdwname, fdwhandler::regprocedure, fdwvalidator::regprocedure, fdwacl, fdwoptions
	FROM pg_catalog.pg_foreign_data_wrapper ORDER BY 2;
SELECT 'server', srvname, srvacl, srvoptions FROM pg_catalog.pg_foreign_server ORDER BY 2;
SELECT 'comment', pg_catalog.pg_describe_object(classoid, d.objoid, objsubid), description FROM pg_catalog.pg_description d
	WHERE pg_catalog.pg_describe_object(classoid, d.objoid, objsubid) ~ '\mmq' ORDER BY 2;
SELECT 'privileges', pg_catalog.pg_describe_object(i.classoid, i.objoid, objsubid), initprivs, privtype FROM pg_catalog.pg_init_privs i
	JOIN members ON classid = classoid AND objid = objoid ORDER BY 2;
SELECT 'config', (SELECT pg_catalog.array_agg(t::regclass ORDER BY t) FROM pg_catalog.unnest(extconfig) t), extcondition, extversion, extrelocatable,
	extnamespace::regnamespace FROM pg_catalog.pg_extension WHERE extname = 'mq_ext';
SQL

sub lines
{
	my ($db) = @_;
	return $node->safe_psql($db, $catalogs);
}

# A fresh one and an updated one

$node->safe_psql('postgres', 'CREATE DATABASE fresh; CREATE DATABASE updated; CREATE DATABASE old');
$node->safe_psql('fresh', 'CREATE EXTENSION mq_ext');
like(lines('fresh'), qr/^view\|mq\.topics\|.*^column\|mq\.topics\|/ms, 'the comparison sees something');

foreach my $db (qw(updated old))
{
	$node->safe_psql($db, q{CREATE EXTENSION mq_ext VERSION '1.0'});
	$node->safe_psql($db, <<'SQL');
SELECT mq.create_topic('orders', 3, '{"segment.bytes": 65536}');
SELECT mq.create_topic('long.name-with.dots'), mq.create_topic('empty');
SELECT mq.produce('orders', 'message ' || i, key => i::text, headers => '{"h": "1"}', tags => '{t}') FROM generate_series(1, 500) i;
SELECT mq.produce('long.name-with.dots', '{"a": 1}'::jsonb);
SELECT mq.produce_batch('orders', '{last,but one}', '{k1,k2}');
SQL
}
isnt(lines('updated'), lines('fresh'), 'versions differ');

# 1.0's SQL with this library: every function and view

sub serves
{
	my ($db) = @_;
	my @read = read_topic($node, 'orders', $db);
	is(scalar(@read), 502, "$db: messages are read");
	is($node->safe_psql($db, <<'SQL'), "t\nt\n3\n{\"a\": 1}\n2\nt\nt\nt\nt\n3\n502", "$db: functions and views");
SELECT mq.version() LIKE 'mq_ext % (SQL %)';
SELECT count(*) = 3 FROM mq.topics;
SELECT count(*) FROM mq.describe_topic('orders');
SELECT value FROM mq.fetch_json('long.name-with.dots');
SELECT count(*) FROM mq.peek('orders', 2, 0);
SELECT count(*) > 0 FROM mq.topic_config('orders') WHERE source = 'topic';
SELECT count(*) = 5 FROM mq.partitions;
SELECT count(*) >= 4 FROM mq.segments;
SELECT count(*) = 0 FROM mq.transactions;
SELECT count(*) FROM mq.offsets('orders');
SELECT sum(messages_estimate) FROM mq.topics WHERE topic = 'orders';
SQL
	is($node->safe_psql($db, <<'SQL'), "t\nx\nt\n\nmq_topics.made|3\nt", "$db: write, wait, alter, make and drop");
SET client_min_messages = error;
SELECT (mq.produce('empty', 'x', transactional => false)).msg_offset >= 0;
SELECT value FROM mq.fetch_text('empty', 0, 0);
CALL mq.wait('{empty}', '1 s', '{"(empty,0,0)"}');
SELECT mq.alter_topic('empty', '{"segment.ms": 5}');
SELECT mq.create_topic('made', 2), mq.add_partitions('made', 1);
SELECT mq.drop_topic('made');
SQL
	return @read;
}

my @before = serves('updated');
is_deeply([ serves('old') ], \@before, 'the same in both');
ok($node->safe_psql('old', 'SELECT mq.version()') =~ /\(SQL 1\.0\)/, 'and it is 1.0\'s');

# The update, and its rollback

my $old = lines('old');
$node->safe_psql('old', 'BEGIN; ALTER EXTENSION mq_ext UPDATE; ROLLBACK');
is(lines('old'), $old, 'an update that is rolled back leaves nothing');

$node->safe_psql('updated', 'ALTER EXTENSION mq_ext UPDATE');
is(lines('updated'), lines('fresh'), 'an updated database has the catalogs of a fresh one');
is($node->safe_psql('updated', 'SELECT mq.version()'), "mq_ext $version (SQL $version)", 'both versions are those of today');
is_deeply([ read_topic($node, 'orders', 'updated') ], \@before, 'messages are there');
is($node->safe_psql('updated', q{SELECT value FROM mq.fetch_json('long.name-with.dots')}), '{"a": 1}', 'of every topic');
is($node->safe_psql('updated', q{SELECT DISTINCT partitions_retired FROM mq.topics}), '0', 'with what is new');
produce($node, 'orders', ['after'], db => 'updated', partition => '0');
is(scalar(read_topic($node, 'orders', 'updated')), 503, 'and go on');
$node->safe_psql('updated', 'CREATE FOREIGN TABLE by_hand (value bytea) SERVER mq; ALTER FOREIGN TABLE mq_topics.orders RENAME TO purchases');
is($node->safe_psql('updated', q{SELECT relation FROM mq.topics WHERE topic IN ('orders', 'by_hand') ORDER BY topic}),
	"by_hand\nmq_topics.purchases", 'as tables, too');

# The same after a crash: what 1.0 wrote, what 1.0's SQL still writes

crash($node);
$node->start;
is_deeply([ read_topic($node, 'orders', 'old') ], \@before, '1.0: all is the same after a crash');
is(scalar(read_topic($node, 'orders', 'updated')), 503, 'updated: the same');
$node->safe_psql('old', 'SET client_min_messages = warning; DROP EXTENSION mq_ext CASCADE');
is($node->safe_psql('old', q{SELECT count(*) FROM pg_namespace WHERE nspname IN ('mq_topics', 'mq_internal')}), '0', '1.0 can be dropped');

# Without the library a relation would be no topic

$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
foreach my $sql ('CREATE FOREIGN TABLE t (value bytea) SERVER mq', q{ALTER FOREIGN TABLE by_hand OPTIONS (SET partitions '2')})
{
	my ($rc, $out, $err) = $node->psql('updated', "\\set VERBOSITY verbose\n$sql");
	like($err, qr/55000: mq_ext must be loaded via shared_preload_libraries/, "not preloaded: $sql");
}
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'mq_ext'");
$node->start;
is($node->safe_psql('updated', q{SELECT topic, partitions FROM mq.topics WHERE relation = 'by_hand'::regclass}), 'by_hand|1', 'nothing has changed');
$node->stop;
done_testing();
