#!/bin/sh
# The long form of the crash tests: make torture WHAT=... COUNT=... DURATION=... SEED=...
#
#   WHAT      kill9, backend, worker, stop, powercut (or one of its four kinds:
#             segments, wal, random, all), mix, checker, shim, everything;
#             or a TAP file of t/, which is then run COUNT times
#   COUNT     rounds (default 200)
#   DURATION  seconds after which nothing new begins (default: no limit)
#   SEED      default: a random one, printed
#
# Every run prints its seed and a command that repeats it; a run that fails
# keeps data directory, history and logs under TMPDIR.  Exit status 1 if any did.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
what=${WHAT:-everything}
count=${COUNT:-200}
duration=${DURATION:-}
seed=${SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
began=$(date +%s)
passed=0
failed=0

if [ "$(id -u)" = 0 ]; then
	echo "torture.sh: PostgreSQL refuses root; call it as an ordinary user" >&2
	exit 2
fi

# Seconds that are left, or nothing when there is no limit.
left() {
	[ -z "$duration" ] || echo $((began + duration - $(date +%s)))
}

result() {
	if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	echo "== $2: exit status $1"
}

# 77 says that it cannot be done here: counted as failed, a torture is asked for.
crash_run() {
	mode=$1
	shift
	rest=$(left)
	if [ -n "$rest" ] && [ "$rest" -le 0 ]; then return; fi
	echo "== $mode, $count rounds"
	status=0
	python3 -B "$here/t/checker/crash_run.py" --mode "$mode" --rounds "$count" \
		--seed "$seed" ${rest:+--seconds "$rest"} "$@" || status=$?
	result $status "$mode"
}

own_test() {
	status=0
	python3 -B "$here/t/$1" || status=$?
	result $status "$1"
}

tap_file() {
	pgxs=$(dirname "$(${PG_CONFIG:-pg_config} --pgxs)")
	n=0
	while [ $n -lt "$count" ]; do
		rest=$(left)
		if [ -n "$rest" ] && [ "$rest" -le 0 ]; then return; fi
		n=$((n + 1))
		status=0
		(cd "$here" && PATH="$(${PG_CONFIG:-pg_config} --bindir):$PATH" \
			PG_REGRESS="$pgxs/../test/regress/pg_regress" \
			prove -I "$pgxs/../test/perl" -I t "$1") || status=$?
		result $status "$1, time $n"
		[ $status = 0 ] || return 0
	done
}

echo "seed $seed; repeat: WHAT=$what COUNT=$count SEED=$seed tools/torture.sh"
case $what in
	kill9|backend|worker) crash_run "$what" --no-shim ;;
	stop) crash_run stop --no-shim --stop-seconds 20 ;;
	powercut|segments|wal|random|all|mix) crash_run "$what" ;;
	checker) own_test checker/test_checker.py ;;
	shim) own_test shim/test_shim.py ;;
	everything)
		own_test checker/test_checker.py
		own_test shim/test_shim.py
		crash_run powercut
		crash_run kill9 --no-shim
		crash_run backend --no-shim
		crash_run worker --no-shim
		crash_run mix
		;;
	*.pl) tap_file "$what" ;;
	*) echo "torture.sh: WHAT=$what is unknown" >&2; exit 2 ;;
esac
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
