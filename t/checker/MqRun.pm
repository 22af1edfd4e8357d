# MqRun.pm: how the TAP tests call the python programs of t/checker and t/shim.
#
#	run_python('name of the test', "$dir/crash_run.py", '--mode', 'kill9', ...);
#
# is one test: ok for exit status 0, skipped for 77, with the program's output
# as notes, or as diagnostics when it failed.
package MqRun;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(run_python);

sub run_python
{
	my ($name, @command) = @_;
	my @lines;

	open my $out, '-|', 'python3', '-B', @command or die "could not run python3: $!";
	while (my $line = <$out>)
	{
		chomp $line;
		push @lines, $line;
		note($line);
	}
	close $out;
	my $status = $? >> 8;

  SKIP:
	{
		if ($? != 0 && $status == 77)
		{
			my ($why) = grep { /^skip: / } @lines;
			skip($why // 'no reason given', 1);
		}
		local $Test::Builder::Level = $Test::Builder::Level + 1;
		ok($? == 0, $name) or diag(join "\n", @lines > 40 ? @lines[ -40 .. -1 ] : @lines);
	}
	return;
}

1;
