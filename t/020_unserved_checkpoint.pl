# A checkpoint that completed without us is noticed, by the next append on a
# primary and by redo on a standby; everything is synced then, and the server
# log says what could have happened.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqTest;

need_fault_points();

my $primary = new_node('primary', conf => "checkpoint_timeout = '1h'");
$primary->safe_psql('postgres', q{SELECT mq.create_topic('t')});
produce($primary, 't', ['one']);
$primary->safe_psql('postgres', 'CHECKPOINT');
my $standby = new_standby($primary, 'standby');

foreach my $node ($primary, $standby)
{
	my $name = $node->name;
	$node->append_conf('postgresql.conf', "mq.faults = 'checkpoint_unheard:skip'");
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('mq.faults') <> ''}) or die;
	my $before = in_control($node);
	produce($primary, 't', ['two']);
	$primary->safe_psql('postgres', 'CHECKPOINT');
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	$standby->safe_psql('postgres', 'CHECKPOINT') if $node == $standby;
	isnt(in_control($node), $before, "$name: a checkpoint has completed");
	isnt(served($node), in_control($node), "$name: nobody has synced the logs for it");

	my $from = log_end($node);
	produce($primary, 't', ['three']);
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	ok($node->log_contains(qr/WARNING:  a checkpoint at \S+ completed without syncing the logs of mq_ext/, $from),
		"$name: the next to come notices");
	is(served($node), in_control($node), "$name: and has synced them");
	$node->append_conf('postgresql.conf', "mq.faults = ''");
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('mq.faults') = ''}) or die;
}

$standby->stop;
$primary->stop;
done_testing();
