# Dump and restore: what a topic is comes back, its messages do not.  By every
# format and part of pg_dump, by pg_dumpall, by CREATE DATABASE ... TEMPLATE
# and by pg_upgrade.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use MqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dump', extension => 0);
my $dir = $node->basedir;

$node->safe_psql('postgres', 'CREATE ROLE app; CREATE ROLE billing; CREATE DATABASE source');
$node->safe_psql('source', <<'SQL');
CREATE EXTENSION mq_ext;
GRANT CREATE, USAGE ON SCHEMA mq_topics TO app;
GRANT USAGE ON FOREIGN SERVER mq TO app;
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO billing;
ALTER DEFAULT PRIVILEGES IN SCHEMA mq_topics GRANT SELECT ON TABLES TO billing;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT INSERT ON TABLES TO billing;

SET ROLE app;
SELECT mq.create_topic('orders.v1', 3, '{"segment.ms": 60000, "compression.type": "lz4", "retention.ms": 86400000}');
RESET ROLE;
COMMENT ON FOREIGN TABLE mq_topics.orders_v1 IS 'orders of the day';
GRANT INSERT ON mq_topics.orders_v1 TO billing;

CREATE FOREIGN TABLE shop.items (
	key text NOT NULL,
	id bigint OPTIONS (json 'item_id') NOT NULL CHECK (id > 0),
	"Total Price" numeric(10,2) OPTIONS (json 'total "price"') DEFAULT 1.5,
	headers jsonb,
	note text OPTIONS (json 'note') COLLATE "C",
	CONSTRAINT short CHECK (length(note) < 100)
) SERVER mq OPTIONS (topic 'items', partitions '4', retired '1,2', "max.message.bytes" '2048');
ALTER FOREIGN TABLE shop.items ALTER COLUMN id SET STATISTICS 7;
ALTER FOREIGN TABLE shop.items OWNER TO app;
COMMENT ON FOREIGN TABLE shop.items IS 'what''s sold';
COMMENT ON COLUMN shop.items.id IS 'number of the item';
GRANT SELECT (id, note), INSERT (id) ON shop.items TO billing;
GRANT SELECT ON shop.items TO PUBLIC;

CREATE SERVER other FOREIGN DATA WRAPPER mq_fdw;
CREATE FOREIGN TABLE shop."By-Hand" (value text) SERVER other;
ALTER FOREIGN TABLE shop."By-Hand" RENAME TO "Was-By-Hand";
CREATE VIEW shop.seen AS SELECT key, id FROM shop.items;
CREATE TABLE shop.rows (id int PRIMARY KEY);
INSERT INTO shop.rows VALUES (1);
SQL
$node->safe_psql('source', "SELECT mq.produce('$_', '{\"item_id\": 1}', partition => 0)")
  foreach qw(orders.v1 items By-Hand);

# What a database says of its topics; messages and identities apart.
my $describe = <<'SQL';
SELECT 'topic', topic, relation, owner, partitions, partitions_retired, config FROM mq.topics ORDER BY topic;
SELECT 'table', c.oid::regclass::text, s.srvname, array(SELECT unnest(f.ftoptions) ORDER BY 1), c.relowner::regrole,
	array(SELECT unnest(c.relacl)::text ORDER BY 1), obj_description(c.oid)
	FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_foreign_server s ON s.oid = f.ftserver ORDER BY 2;
SELECT 'column', a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attfdwoptions,
	a.attcollation::regcollation, a.attstattarget, a.attacl, col_description(a.attrelid, a.attnum),
	pg_get_expr(d.adbin, d.adrelid)
	FROM pg_attribute a JOIN pg_foreign_table f ON f.ftrelid = a.attrelid
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attnum > 0 AND NOT attisdropped
	ORDER BY 2, a.attnum;
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
	WHERE conrelid IN (SELECT ftrelid FROM pg_foreign_table) ORDER BY 2, 3;
SQL
my $rights = <<'SQL';
SELECT 'default', defaclnamespace::regnamespace::text, defaclacl FROM pg_default_acl ORDER BY 2;
SELECT 'schema', nspname, nspacl FROM pg_namespace WHERE nspname ~ '^(mq|shop)' ORDER BY 2;
SELECT 'server', srvname, srvacl FROM pg_foreign_server ORDER BY 2;
SQL
my $expected = $node->safe_psql('source', $describe);
my $all = $node->safe_psql('source', "$describe $rights");
like($expected, qr/topic\|items\|shop\.items\|app\|4\|2\|\{"max\.message\.bytes": "2048"\}/, 'the source is as it should be');

sub only
{
	my ($pattern) = @_;
	return join "\n", grep { /$pattern/ } split /\n/, $expected;
}

my $made = 0;

# A new database, with the extension or without.
sub new_database
{
	my ($on, @extension) = @_;
	my $db = 'restored' . ++$made;
	$on->safe_psql('postgres', "CREATE DATABASE $db");
	$on->safe_psql($db, "CREATE EXTENSION mq_ext; CREATE SCHEMA shop; CREATE SERVER other FOREIGN DATA WRAPPER mq_fdw") if @extension;
	return $db;
}

sub dump_source
{
	my ($file, @args) = @_;
	command_ok([ 'pg_dump', '-d', $node->connstr('source'), '-f', "$dir/$file", @args ], "pg_dump @args");
	return "$dir/$file";
}

sub run_file
{
	my ($on, $db, $file, $name) = @_;
	return command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $on->connstr($db), '-f', $file ], $name);
}

sub restore
{
	my ($on, $db, $file, @args) = @_;
	return command_ok([ 'pg_restore', '-e', '-d', $on->connstr($db), @args, $file ], "pg_restore @args");
}

# The topics are new, empty, and work.
sub works
{
	my ($on, $db, $name, @topics) = @_;
	my $ok = 1;
	foreach my $topic (@topics)
	{
		$ok &&= $on->safe_psql($db, "SELECT count(*) FROM mq.fetch('$topic')") eq '0';
		my $id = $on->safe_psql($db, "SELECT topic_id FROM mq.topics WHERE topic = '$topic'");
		$ok &&= $id ne $node->safe_psql('source', "SELECT topic_id FROM mq.topics WHERE topic = '$topic'");
		$on->safe_psql($db, "SELECT mq.produce('$topic', '{}', partition => 0)");
		$ok &&= $on->safe_psql($db, "SELECT value FROM mq.fetch_text('$topic')") eq '{}';
	}
	ok($ok, "$name: topics are new, empty and work");
	if (grep { $_ eq 'items' } @topics)
	{
		my ($rc, $out, $err) = $on->psql($db, q{SELECT mq.produce('items', '{}', partition => 1)});
		like($err, qr/partition 1 of topic "items" .*retired/s, "$name: what was retired stays retired");
	}
	return;
}

my @topics = ('orders.v1', 'items', 'By-Hand');

# Plain

my $db = new_database($node);
run_file($node, $db, dump_source('plain.sql'), 'restore of a plain dump');
is($node->safe_psql($db, "$describe $rights"), $all, 'plain: everything is back');
works($node, $db, 'plain', @topics);
is($node->safe_psql($db, 'SELECT count(*) FROM shop.rows'), '1', 'plain: rows are');
is($node->safe_psql($db, q{SELECT has_table_privilege('billing', mq.create_topic('later'), 'SELECT')}), 't', 'plain: default privileges hold');

my $again = dump_source('again.sql');
command_ok([ 'psql', '-XqAt', '-d', $node->connstr($db), '-c', q{SELECT mq.drop_topic('later')} ], 'drop the one more topic');
command_ok([ 'pg_dump', '-d', $node->connstr($db), '-f', "$dir/second.sql" ], 'dump of what was restored');
my ($first, $second) = map { s/^\\.*\n//mgr } slurp_file($again), slurp_file("$dir/second.sql");
is($second, $first, 'plain: and dumps the same');

$db = new_database($node);
run_file($node, $db, dump_source('schema.sql', '--schema-only'), 'restore of --schema-only');
is($node->safe_psql($db, $describe), $expected, '--schema-only: definitions are back');
works($node, $db, '--schema-only', @topics);

# Over what is there

$node->safe_psql($db, q{SELECT mq.produce('orders.v1', 'x')});
run_file($node, $db, dump_source('clean.sql', '--clean', '--if-exists'), 'restore of --clean --if-exists');
is($node->safe_psql($db, "$describe $rights"), $all, '--clean: everything is back');
works($node, $db, '--clean', @topics);
$db = new_database($node);
run_file($node, $db, "$dir/clean.sql", 'the same where nothing is there');
is($node->safe_psql($db, $describe), $expected, '--clean: everything is back again');

# Custom and directory

my $custom = dump_source('custom', '-Fc');
$db = new_database($node);
restore($node, $db, $custom);
is($node->safe_psql($db, "$describe $rights"), $all, 'custom: everything is back');
works($node, $db, 'custom', @topics);
restore($node, $db, $custom, '--clean', '--if-exists');
is($node->safe_psql($db, "$describe $rights"), $all, 'pg_restore --clean: everything is back');
works($node, $db, 'pg_restore --clean', @topics);
$db = new_database($node);
restore($node, $db, $custom, '--single-transaction');
is($node->safe_psql($db, $describe), $expected, '--single-transaction: everything is back');
$db = new_database($node);
restore($node, $db, dump_source('directory', '-Fd', '-j', '2'), '-j', '2');
is($node->safe_psql($db, $describe), $expected, 'directory, in parallel: everything is back');
works($node, $db, 'directory', @topics);
$db = new_database($node);
restore($node, $db, $custom, '--no-owner', '--no-privileges', '--no-comments');
is($node->safe_psql($db, 'SELECT count(*), count(DISTINCT owner), min(owner) = current_user FROM mq.topics'), '3|1|t', '--no-owner: topics are the restoring role\'s');
works($node, $db, '--no-owner', @topics);

# Parts

$db = new_database($node, 'extension');
restore($node, $db, $custom, '-n', 'shop');
is($node->safe_psql($db, $describe), only(qr/shop\./), 'pg_restore -n: the topics of one schema');
$db = new_database($node, 'extension');
run_file($node, $db, dump_source('part.sql', '-t', 'shop.items'), 'restore of -t');
is($node->safe_psql($db, $describe), only(qr/shop\.items|shop\.seen/), 'pg_dump -t: one topic');
works($node, $db, '-t', 'items');
$db = new_database($node, 'extension');
run_file($node, $db, dump_source('schema_part.sql', '-n', 'mq_topics'), 'restore of -n mq_topics');
is($node->safe_psql($db, $describe), only(qr/mq_topics\./), 'pg_dump -n: the topics of mq_topics');
works($node, $db, '-n', 'orders.v1');

# By a role that is no superuser and owns the database

$node->safe_psql('postgres', 'CREATE ROLE app_login LOGIN IN ROLE app');
$db = new_database($node, 'extension');
$node->safe_psql($db, 'GRANT CREATE ON SCHEMA shop, mq_topics TO app_login; GRANT USAGE ON SCHEMA shop TO app_login; GRANT USAGE ON FOREIGN SERVER mq, other TO app_login');
command_ok([ 'pg_restore', '-e', '-d', $node->connstr($db) . ' user=app_login', '--no-owner', '--no-privileges', '--no-comments', '-t', 'items', '-t', 'orders_v1', $custom ],
	'pg_restore by a role with USAGE on the server and CREATE on the schema');
is($node->safe_psql($db, 'SELECT topic, owner FROM mq.topics ORDER BY 1'), "items|app_login\norders.v1|app_login", 'whose topics they are');

# What is there already

$db = new_database($node, 'extension');
$node->safe_psql($db, q{SELECT mq.create_topic('items')});
my ($rc, $out, $err) = $node->psql($db, slurp_file("$dir/part.sql") =~ s/^\\.*\n//mgr);
like($err, qr/topic "items" already exists\n.*DETAIL:  Its relation is mq_topics\.items/, 'a topic of that name is in the way');

# Other clusters

my $other = new_node('other', extension => 0);
$other->safe_psql('postgres', 'CREATE ROLE app; CREATE ROLE billing');
command_ok([ 'pg_restore', '-e', '-C', '-d', $other->connstr('postgres'), $custom ], 'pg_restore --create');
is($other->safe_psql('source', "$describe $rights"), $all, '--create: everything is back');
works($other, 'source', '--create', @topics);
$other->safe_psql('postgres', 'DROP DATABASE source');
run_file($other, 'postgres', dump_source('create.sql', '--create'), 'restore of --create');
is($other->safe_psql('source', "$describe $rights"), $all, '--create, plain: everything is back');
$other->safe_psql('postgres', 'DROP DATABASE source; DROP ROLE app; DROP ROLE billing');

command_ok([ 'pg_dumpall', '-d', $node->connstr('postgres'), '-f', "$dir/all.sql", '--exclude-database=restored*' ], 'pg_dumpall');
command_ok([ 'psql', '-XqAt', '-d', $other->connstr('postgres'), '-f', "$dir/all.sql" ], 'restore of pg_dumpall');
is($other->safe_psql('source', "$describe $rights"), $all, 'pg_dumpall: everything is back');
works($other, 'source', 'pg_dumpall', @topics);

# A copy of the database

$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE source');
is($node->safe_psql('copied', "SET client_min_messages = error; $describe"), $expected, 'TEMPLATE: everything is there');
works($node, 'copied', 'TEMPLATE', @topics);
is($node->safe_psql('source', q{SELECT count(*) FROM mq.fetch('items')}), '1', 'the source has its messages');

# Messages in a dump

$node->safe_psql('postgres', 'CREATE DATABASE carry');
$node->safe_psql('carry', <<'SQL');
CREATE EXTENSION mq_ext;
SELECT mq.create_topic('carried', 3, '{"retention.ms": -1}');
SELECT mq.produce('carried', 'v' || i, 'k' || i, headers => jsonb_build_object('h', i::text), tags => ARRAY['t' || i % 3], partition => i % 3,
	ts => '2024-01-01 00:00:00+00'::timestamptz + i * interval '1 ms') FROM generate_series(1, 300) i;
SELECT mq.produce('carried', NULL::text, 'tombstone', partition => 0), mq.produce('carried', '\x00ff'::bytea, NULL, partition => 0);
SELECT mq.delete_records('carried', 1, 50);
SELECT mq.retire_partition('carried', 2);
CREATE FOREIGN TABLE typed (value jsonb, n int OPTIONS (json 'n') CHECK (n > 0)) SERVER mq;
CREATE FOREIGN TABLE given (id int OPTIONS (json 'id') NOT NULL, twice int OPTIONS (json 'twice') GENERATED ALWAYS AS (id * 2) STORED, days daterange OPTIONS (json 'days')) SERVER mq;
INSERT INTO given (id, days) VALUES (1, '[2024-02-01,2024-03-04)');
SELECT mq.produce('given', '{"days": "empty"}');
SELECT mq.produce('typed', '{"n": -1}'), mq.produce('typed', '{"n": 2, "m": 3}');
SQL
my $messages = q{SELECT partition = 2, row_number() OVER (PARTITION BY partition ORDER BY msg_offset) * (partition = 0)::int, ts, key, value, headers, tags FROM mq_topics.carried ORDER BY partition = 2, ts, key;
	SELECT value FROM typed ORDER BY value->'n'; SELECT * FROM given ORDER BY id};
my %formats = (plain => [], custom => [ '-Fc' ], inserts => [ '--inserts' ], columns => [ '--column-inserts', '--rows-per-insert=7' ],
	secured => [ '--enable-row-security' ]);
foreach my $format (sort keys %formats)
{
	my $file = "$dir/carry.$format";
	my $to = new_database($node);
	command_ok([ 'pg_dump', '-d', $node->connstr('carry'), '-f', $file, '--include-foreign-data=mq', @{ $formats{$format} } ], "pg_dump with messages, $format");
	$format ne 'custom' ? run_file($node, $to, $file, 'restore with messages') : restore($node, $to, $file);
	# those of the retired partition have gone elsewhere
	my ($was, $is) = map { my $out = $node->safe_psql($_, $messages); join "\n", sort map { s/^[tf]\|\d+\|//r } split /\n/, $out } 'carry', $to;
	is($is, $was, "$format: the messages are there, as they were");
	is($node->safe_psql($to, q{SELECT string_agg(value, ',' ORDER BY msg_offset) FROM mq.fetch_text('carried', 0, NULL, 5)}),
		$node->safe_psql('carry', q{SELECT string_agg(value, ',' ORDER BY msg_offset) FROM mq.fetch_text('carried', 0, NULL, 5)}), "$format: in their order");
	is($node->safe_psql($to, q{SELECT count(*) FROM mq_topics.carried WHERE partition = 2}), '0', "$format: a retired partition takes none");
	($rc, $out, $err) = $node->psql($to, q{COPY mq_topics.carried (msg_offset, value) FROM stdin;
1	x
\.
});
	like($err, qr/cannot insert a non-null value into column "msg_offset"/, "$format: by hand offsets are refused");
}

# pg_upgrade, here from a version to the same one

my $new = new_node('upgraded', extension => 0, start => 0);
$node->safe_psql('postgres', "DROP DATABASE $_")
  foreach split /\n/, $node->safe_psql('postgres', q{SELECT datname FROM pg_database WHERE datname LIKE 'restored%'});
$node->safe_psql('source', 'ALTER FOREIGN TABLE shop.items DROP COLUMN note');
$node->safe_psql('source', q{SELECT mq.create_topic('never.written')});
$expected = $node->safe_psql('source', $describe);
$node->stop;
my $bindir = $node->config_data('--bindir');
chdir $dir or die;
command_ok([ 'pg_upgrade', '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $node->data_dir, '-D', $new->data_dir,
	'-p', $node->port, '-P', $new->port, '-s', $new->host ], 'pg_upgrade');
$new->start;
is($new->safe_psql('source', $describe), $expected, 'pg_upgrade: everything is there');
($rc, $out, $err) = $new->psql('source', q{SELECT mq.fetch('items')});
like($err, qr/log files of topic "items" are missing/, 'pg_upgrade: messages stayed behind');
$new->safe_psql('source', q{SET mq.allow_missing_logs = on; SELECT mq.produce('items', 'x')});
is($new->safe_psql('source', q{SELECT value FROM mq.fetch_text('items')}), 'x', 'pg_upgrade: and the topic goes on when told to');
$new->safe_psql('source', q{SELECT mq.produce('never.written', 'x'), mq.create_topic('new')});
$new->safe_psql('source', 'CREATE FOREIGN TABLE made_there (value bytea) SERVER mq; SELECT mq.produce(\'made_there\', \'x\')');
is($new->safe_psql('source', q{SELECT count(*) FROM mq.topics}), '6', 'pg_upgrade: new topics can be made');

$other->stop;
$new->stop;
done_testing();
