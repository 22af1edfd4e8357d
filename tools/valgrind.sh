#!/bin/bash
# valgrind.sh [test...]: the regression tests with the server under valgrind.
# What it finds counts when our library is in the stack.  Exit status 77 and a
# reason where it cannot be done.  Called by torture.sh, as an ordinary user.
#
# The server as packaged does not tell valgrind about its memory contexts, so
# this finds what is read before it is written, and what lies outside of the
# blocks that the contexts get from malloc.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
bin=$("${PG_CONFIG:-pg_config}" --bindir)
regress=$(dirname "$("${PG_CONFIG:-pg_config}" --pgxs)")/../test/regress/pg_regress

if ! command -v valgrind >/dev/null; then
	echo "skip: valgrind is not installed"
	exit 77
fi
if ! valgrind -q --error-exitcode=3 "$bin/postgres" --version >/dev/null 2>&1; then
	echo "skip: valgrind cannot run $bin/postgres here"
	exit 77
fi

# Tests that arm fault points need a build that has them.
if [ $# = 0 ]; then
	library=$("${PG_CONFIG:-pg_config}" --pkglibdir)/mq_ext.so
	for test in sql/*.sql; do
		grep -q 'mq\.faults' "$library" || ! grep -q 'mq\.faults' "$test" || continue
		test=${test##*/}
		set -- "$@" "${test%.sql}"
	done
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/mq_valgrind.XXXXXX")
postmaster=
stop_server()
{
	[ -z "$postmaster" ] || ! kill -INT "$postmaster" 2>/dev/null || wait "$postmaster"
	postmaster=
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

"$bin/initdb" -D "$work/data" -A trust -N -E UTF8 --locale=C -U postgres >"$work/initdb.log" || exit 1
cat mq_ext.conf - >>"$work/data/postgresql.conf" <<-CONF
	listen_addresses = ''
	unix_socket_directories = '$work'
	fsync = off
	jit = off
	statement_timeout = 0
	authentication_timeout = 600
CONF
valgrind --quiet --trace-children=yes --leak-check=no --num-callers=30 --suppressions=tools/valgrind.supp \
	--error-markers=BEGIN-OF-ERROR,END-OF-ERROR --log-file="$work/valgrind.%p" \
	"$bin/postgres" -D "$work/data" >"$work/server.log" 2>&1 &
postmaster=$!
for _ in $(seq 120); do
	"$bin/pg_isready" -q -h "$work" -U postgres && break
	kill -0 "$postmaster" 2>/dev/null || { tail -n 20 "$work/server.log"; exit 1; }
	sleep 1
done

"$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$work" -U postgres -d postgres -c 'CREATE DATABASE contrib_regression' \
	-c '\c contrib_regression' -c 'CREATE EXTENSION mq_ext' || exit 1

# Answers are compared, too, but a test that minds the time may fail here.
status=0
"$regress" --inputdir=. --outputdir="$work" --bindir="$bin" --use-existing --host="$work" --user=postgres \
	--dbname=contrib_regression "$@" >"$work/regress.log" 2>&1 || true
grep -E '^(ok|not ok|test .*\.\.\.)' "$work/regress.log"
if grep -q 'terminated by signal' "$work/server.log"; then
	grep 'terminated by signal' "$work/server.log"
	status=1
fi
stop_server

awk '
	/BEGIN-OF-ERROR/ { error = ""; on = 1; next }
	/END-OF-ERROR/ { on = 0; if (error ~ /mq_ext\.so|\(mq_[a-z_]*\.c:/) { print FILENAME ":" error; found++ } next }
	on { error = error "\n" $0 }
	END { print "valgrind: " found + 0 " errors with mq_ext in the stack"; exit found > 0 }' "$work"/valgrind.* || status=1
ran=$(grep -cE '(ok|FAILED) +[0-9]+ ms' "$work/regress.log")
[ "$ran" -gt 0 ] || { tail -n 20 "$work/regress.log"; status=1; }
if [ $status = 0 ]; then
	rm -rf "$work"
else
	echo "kept: $work"
	echo "repeat: tools/valgrind.sh $*"
fi
exit $status
