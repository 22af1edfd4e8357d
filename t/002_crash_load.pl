# kill -9 of everything, of one backend, of each worker, and a stopped worker,
# under load; the checker has the last word.  tools/torture.sh does more of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/checker";
use MqRun;
use Test::More;

my $checker = "$FindBin::RealBin/checker";

# a checker that misses a bad history would let all the rest pass
run_python('the checker finds every kind of bad history', "$checker/test_checker.py");

run_python('kill -9 of the server under load',
	"$checker/crash_run.py", '--no-shim', '--mode', 'kill9', '--rounds', 20);
run_python('kill -9 of one backend',
	"$checker/crash_run.py", '--no-shim', '--mode', 'backend', '--rounds', 15);
run_python('kill -9 of a worker, each kind in turn',
	"$checker/crash_run.py", '--no-shim', '--mode', 'worker', '--rounds', 15);
run_python('a worker stopped for a second',
	"$checker/crash_run.py", '--no-shim', '--mode', 'stop', '--rounds', 1);

done_testing();
