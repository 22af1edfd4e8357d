# MqShim.pm: a server under the preloaded library of t/shim, whose file calls
# fail as a test says (t/README.md has the rules).
#
#	use MqShim;
#	my $node = new_shim_node('full', conf => '...');
#	shim_rules($node, 'quota path=pg_mq/* bytes=100000');
#	my @counts = shim_counts($node);	# one for each rule: hits, fired, used
#	shim_rules($node);			# no rules any more
package MqShim;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use JSON::PP qw(decode_json);
use MqTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_shim_node shim_start shim_rules shim_counts);

my $sources = dirname(__FILE__) . '/shim';
my $library;

# A node as new_node() makes it, with the extension; skips the test file where
# there is nothing to build the library with.
sub new_shim_node
{
	my ($name, %opt) = @_;
	my $node = new_node($name, %opt, start => 0);

	build_library();
	powercut($node, 'init');
	shim_start($node);
	$node->safe_psql('postgres', 'CREATE EXTENSION mq_ext');
	return $node;
}

# Starts it, after a stop or a crash.
sub shim_start
{
	my ($node, %opt) = @_;
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{MQ_SHIM_DATA} = $node->data_dir;
	local $ENV{MQ_SHIM_DIR} = shim_dir($node);
	return $node->start(%opt);
}

# Replaces the rules; every process follows with its next call.
sub shim_rules
{
	my ($node, @rules) = @_;
	my $control = shim_dir($node) . '/control';

	append_to_file("$control.new", join '', map { "$_\n" } @rules);
	rename "$control.new", $control or die "$control: $!";
	return;
}

sub shim_counts
{
	my ($node) = @_;
	return @{ powercut($node, 'status')->{rules} };
}

sub shim_dir
{
	my ($node) = @_;
	return $node->basedir . '/shim';
}

sub build_library
{
	return if $library;
	my $path = "${PostgreSQL::Test::Utils::tmp_check}/mq_shim_$$.so";
	my @files = glob "$sources/mq_shim*.c";

	run_log([ $ENV{CC} // 'cc', '-O2', '-shared', '-fPIC', '-o', $path, @files, '-ldl' ])
	  or plan skip_all => 'no C compiler for the shim';
	$library = $path;
	return;
}

sub powercut
{
	my ($node, $command) = @_;
	my ($out, $err);

	run_log([ 'python3', '-B', "$sources/mq_powercut", $command, '--data', $node->data_dir, '--shim', shim_dir($node) ],
		'>', \$out, '2>', \$err)
	  or die "mq_powercut $command: $err";
	return decode_json($out);
}

1;
