# What was committed is there after a crash, once, at the same offset; what
# was not is not.  Runs on the build as shipped.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqTest;

my $node = new_node('crash');

$node->safe_psql('postgres', q{
	SELECT mq.create_topic('orders', 2, '{"segment.bytes": 65536}');
	CREATE TABLE orders (id int);
});

# rows and messages of one transaction
$node->safe_psql('postgres', q{
	BEGIN;
	INSERT INTO orders SELECT generate_series(1, 1000);
	SELECT count(mq.produce('orders', i::text, key => i::text)) FROM generate_series(1, 1000) i;
	COMMIT;
});
# a transaction that is open when the server dies
my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; INSERT INTO orders VALUES (-1); SELECT mq.produce('orders', '-1', key => '-1');});
# one that failed
$node->safe_psql('postgres', q{
	BEGIN; INSERT INTO orders VALUES (-2); SELECT mq.produce('orders', '-2', key => '-2'); ROLLBACK;
});
my @before = read_topic($node, 'orders');
is(scalar @before, 1000, 'all messages before the crash');

crash($node);
$node->start;

my @after = read_topic($node, 'orders');
is_deeply(\@after, \@before, 'the same messages at the same offsets after the crash');
is($node->safe_psql('postgres', q{SELECT count(*), sum(id) FROM orders}), '1000|500500', 'and the same rows');
offsets_in_order($node);

# the log goes on where it ended
my $ends = offsets($node, 'orders');
produce($node, 'orders', ['next'], partition => 0);
is(($node->safe_psql('postgres', q{SELECT max(msg_offset) FROM mq.fetch_text('orders', 0, } . $ends->{0}{last_stable} . ')')),
	$ends->{0}{last_stable}, 'the next message takes the next offset');

# a clean restart, and another crash right after it
$node->restart;
is(scalar(read_topic($node, 'orders')), 1001, 'all messages after a clean restart');
crash($node);
$node->start;
is(scalar(read_topic($node, 'orders')), 1001, 'and after a crash right behind it');

# one backend dies, the server recovers by itself
my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1});
my $victim = $node->background_psql('postgres');
$pid = $victim->query_safe('SELECT pg_backend_pid()');
produce($node, 'orders', ['before the kill'], partition => 1);
kill_process($pid);
$node->poll_query_until('postgres', 'SELECT 1', '1') or die 'no restart after the crash of a backend';
is(scalar(read_topic($node, 'orders')), 1002, 'all messages after the crash of one backend');

# every boot says in one line what it found
my $log = slurp_file($node->logfile);
my @boots = $log =~ /mq_ext: checked the logs of \d+ partitions/g;
cmp_ok(scalar @boots, '>=', 5, 'one line per boot');

$node->stop;
done_testing();
