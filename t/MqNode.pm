# MqNode.pm: a cluster whose sessions may lose their server at any statement.
#
# PostgreSQL::Test::Cluster writes a session's script to psql's standard input
# and dies of a broken pipe when psql has gone before it read it, which is what
# psql does when its connection is lost.  Here psql reads the script from a
# file, so that a lost server is what it is for every other caller of psql():
# exit status 2, with all that the session printed before.
package MqNode;

use strict;
use warnings;

use parent 'PostgreSQL::Test::Cluster';

# functions imported here would be methods and stand before those of the base class
use PostgreSQL::Test::Utils ();

my $dir;

sub psql
{
	my ($self, $db, $sql, %params) = @_;
	$dir //= PostgreSQL::Test::Utils::tempdir();
	my $file = "$dir/script.$$";

	unlink $file;
	PostgreSQL::Test::Utils::append_to_file($file, $sql);
	return $self->SUPER::psql($db, '', %params,
		extra_params => [ @{ $params{extra_params} // [] }, '-f', $file ]);
}

1;
