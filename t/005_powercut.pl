# The page cache is lost: what was not fsynced goes back, in four ways, after a
# kill -9 under load.  Two controls prove that the test can fail at all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/checker";
use MqRun;
use Test::More;

my $checker = "$FindBin::RealBin/checker";

run_python('the shim does what it says', "$FindBin::RealBin/shim/test_shim.py");

# control, without the extension: promises not kept by the server are noticed
run_python('a server that does not flush its commits loses some',
	"$checker/crash_run.py", '--plain', '--mode', 'wal', '--rounds', 12,
	'--conf', 'synchronous_commit = off', '--expect', 'lost write');

run_python('power cuts under load: segments, WAL, random blocks, both',
	"$checker/crash_run.py", '--mode', 'powercut', '--rounds', 16);

# control: segments that no checkpoint makes durable must be missed
run_python('without the checkpoint work the same test loses messages',
	"$checker/crash_run.py", '--mode', 'segments', '--rounds', 12,
	'--faults', 'checkpoint_sync:skip', '--expect', 'lost write');

done_testing();
