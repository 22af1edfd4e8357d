# A standby whose answers are compared with its primary's while both are read
# under load; kill -9 of the standby, promotion under load.  tools/torture.sh
# does more of it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/checker";
use MqRun;
use Test::More;

my $rounds = $ENV{MQ_ROUNDS} // 3;

run_python('kill -9 of the standby, promotion under load',
	"$FindBin::RealBin/checker/standby_run.py", '--rounds', $rounds, defined $ENV{MQ_SEED} ? ('--seed', $ENV{MQ_SEED}) : ());

done_testing();
