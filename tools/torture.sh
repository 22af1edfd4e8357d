#!/bin/sh
# The long form of the tests: make torture WHAT=... COUNT=... DURATION=... SEED=...
#
#   WHAT      one of the shares below, everything, or a TAP file of t/
#   COUNT     rounds, or times; each share has its own default
#   DURATION  seconds after which nothing new begins (default: no limit); a
#             share that has a length instead of rounds takes what is left
#   SEED      default: a random one, printed
#
#   share      default   what
#   kill9      500       kill -9 of the server under load
#   backend    200       of one of its backends
#   worker     200       of a worker, each kind in turn
#   stop       200       SIGSTOP of a worker for up to 20 s
#   powercut   500       a lost page cache, three ways and all at once; or one of
#                        segments, wal, random, all
#   mix        500       any of these
#   points     20        a crash at each fault point, also during recovery
#   standby    50        kill -9 of a standby, promotion under load
#   backup     20        base backup, three points in time, pg_rewind
#   full       20        full disks
#   damage     1         every byte of a segment and its companions
#   nth        20        the n-th file call fails, other operations each time
#   fuzz       20 min    each fuzzer
#   hostile    40 min    hostile arguments, time-outs, cancels
#   ddl        30 min    topics, extension and databases that come and go
#   sleepers   1         a thousand sessions that wait
#   partitions 1         ten thousand partitions
#   selftest   1         unit tests under the sanitizers
#   valgrind   1         regression tests, the server under valgrind
#   soak       3 h       memory, descriptors and files stay as they are
#   checker, shim        the tests of what the tests are made with
#
# Every run prints its seed and a command that repeats it; a run that fails
# keeps data directory, history and logs, and says where.  What cannot be done
# here is counted and says why.  Exit status 1 if anything failed.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
what=${WHAT:-everything}
seed=${SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
duration=${DURATION:-}
began=$(date +%s)
passed=0
failed=0
skipped=0
pg_config=${PG_CONFIG:-pg_config}
[ -n "${PG_CONFIG:-}" ] || [ ! -x /usr/lib/postgresql/15/bin/pg_config ] || pg_config=/usr/lib/postgresql/15/bin/pg_config
pgxs=$(dirname "$("$pg_config" --pgxs)")
PATH="$("$pg_config" --bindir):$PATH"
PG_CONFIG=$pg_config
export PATH PG_CONFIG

if [ "$(id -u)" = 0 ]; then
	echo "torture.sh: PostgreSQL refuses root; call it as an ordinary user" >&2
	exit 2
fi

# Seconds that are left, or nothing when there is no limit.
left() {
	[ -z "$duration" ] || echo $((began + duration - $(date +%s)))
}

time_is_up() {
	[ -n "$duration" ] && [ "$(left)" -le 0 ]
}

# How long a share may take that has a length: its own, or what is left.
length() {			# default
	if [ -z "$duration" ]; then echo "$1"; else left; fi
}

result() {			# status, what
	case $1 in
		0) passed=$((passed + 1)) ;;
		77) skipped=$((skipped + 1)) ;;
		*) failed=$((failed + 1)) ;;
	esac
	echo "== $2: exit status $1"
}

skip() {			# what, why
	echo "skip: $2"
	result 77 "$1"
}

program() {			# name, file below t/, arguments
	name=$1 file=$2
	shift 2
	time_is_up && return
	echo "== $name"
	status=0
	python3 -B "$here/t/$file" "$@" || status=$?
	result $status "$name"
}

crash_run() {			# mode, rounds, arguments
	mode=$1 rounds=${COUNT:-$2}
	shift 2
	program "$mode, $rounds rounds" checker/crash_run.py --mode "$mode" --rounds "$rounds" \
		--seed "$seed" ${duration:+--seconds "$(left)"} "$@"
}

# Runs a TAP file again and again, each time with the next seed, until so many
# times or seconds have passed, or it fails.
tap_file() {			# file, times, or seconds and an s, VARIABLE=value...
	file=$1 times=${2%s} until=
	if [ "$times" != "$2" ]; then
		until=$(($(date +%s) + $(length "$times")))
		times=${COUNT:-1000000}
	else
		times=${COUNT:-$times}
	fi
	shift 2
	n=0
	while [ $n -lt "$times" ]; do
		time_is_up && return
		[ -z "$until" ] || [ "$(date +%s)" -lt "$until" ] || return 0
		folder=$(mktemp -d "${TMPDIR:-/tmp}/mq_tap.XXXXXX")
		status=0
		echo "== $file, time $((n + 1)), seed $((seed + n))"
		(cd "$here" && env PG_REGRESS="$pgxs/../test/regress/pg_regress" LANG=C.UTF-8 PGPORT=65432 \
			TESTDIR="$folder" PG_TEST_PORT_DIR="$folder/ports" MQ_SEED=$((seed + n)) "$@" \
			prove -I "$pgxs/../test/perl" -I t "$file") || status=$?
		result $status "$file, time $((n + 1))"
		if [ $status != 0 ]; then
			echo "kept: $folder"
			echo "repeat: $(env | grep '^MQ_' | tr '\n' ' ')${*:+$* }WHAT=$file COUNT=1 SEED=$((seed + n)) tools/torture.sh"
			return
		fi
		rm -rf "$folder"
		n=$((n + 1))
	done
}

fuzz() {
	time_is_up && return
	for source in "$here"/selftest/fuzz_*.c; do
		[ -x "${source%.c}" ] || { skip fuzz "the fuzzers are not built (make SELFTEST=1)"; return; }
	done
	seconds=$(length 1200)
	echo "== fuzz, $seconds s each"
	status=0
	"$here/tools/fuzz.sh" "$seconds" || status=$?
	result $status fuzz
}

selftest() {
	time_is_up && return
	[ -x "$here/selftest/selftest_asan" ] || { skip selftest "the unit tests are not built (make SELFTEST=1)"; return; }
	echo "== selftest"
	status=0
	(cd "$here" && env ASAN_OPTIONS=detect_leaks=0 selftest/selftest_asan) || status=$?
	result $status selftest
}

valgrind_run() {
	time_is_up && return
	echo "== valgrind"
	status=0
	"$here/tools/valgrind.sh" || status=$?
	result $status valgrind
}

share() {
	case $1 in
		kill9) crash_run kill9 500 --no-shim ;;
		backend | worker) crash_run "$1" 200 --no-shim ;;
		stop) crash_run stop 200 --no-shim --stop-seconds 20 ;;
		powercut | segments | wal | random | all | mix) crash_run "$1" 500 ;;
		points) tap_file t/012_fault_points.pl 20 ;;
		standby) program "standby, ${COUNT:-50} rounds" checker/standby_run.py --rounds "${COUNT:-50}" \
			--seed "$seed" ${duration:+--seconds "$(left)"} ;;
		backup) tap_file t/004_backup_pitr.pl 20 ;;
		full) tap_file t/009_disk_full.pl 20 ;;
		damage) tap_file t/011_damage.pl 1 MQ_DAMAGE_SEED="$seed" MQ_DAMAGE_PERCENT="${MQ_DAMAGE_PERCENT:-300}" \
			MQ_DAMAGE_BOOTS="${MQ_DAMAGE_BOOTS:-50}" ;;
		nth) tap_file t/013_nth_call.pl 20 ;;
		fuzz) fuzz ;;
		hostile) tap_file t/016_hostile_arguments.pl 2400s ;;
		ddl) tap_file t/018_ddl_under_load.pl 1800s ;;
		sleepers) tap_file t/033_sleepers.pl 1 MQ_SLEEPERS="${MQ_SLEEPERS:-1000}" ;;
		partitions) tap_file t/034_many_partitions.pl 1 MQ_PARTITIONS="${MQ_PARTITIONS:-10000}" ;;
		selftest) selftest ;;
		valgrind) valgrind_run ;;
		soak) program soak checker/soak.py --seconds "$(length 10800)" --seed "$seed" ;;
		checker) program checker checker/test_checker.py ;;
		shim) program shim shim/test_shim.py ;;
		*.pl) tap_file "$1" 1 ;;
		*) echo "torture.sh: WHAT=$1 is unknown" >&2; exit 2 ;;
	esac
}

echo "seed $seed; repeat: WHAT=$what ${COUNT:+COUNT=$COUNT }SEED=$seed tools/torture.sh"
if [ "$what" = everything ]; then
	what="checker shim selftest powercut kill9 backend worker stop mix points standby backup full damage nth
		fuzz hostile ddl sleepers partitions valgrind soak"
fi
for one in $what; do
	share "$one" || [ $? = 1 ]
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
