#!/bin/bash
# test.sh = make test: installs what is missing, builds twice, runs every test,
# prints a summary and "N passed, N failed".  The extension as shipped stays
# installed; servers and files go, however this ends.
#
#   KEEP=1            leave the scratch folder behind
#   FUZZ_SECONDS=30   for each fuzzer
set -u
# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

passed=0 failed=0 skipped=0
summary=
scratch=
child=
tail_pid=
FUZZ_SECONDS=${FUZZ_SECONDS:-30}

cleanup()
{
	trap '' INT TERM HUP
	[ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null
	[ -z "$tail_pid" ] || kill "$tail_pid" 2>/dev/null
	if [ -n "${KEEP:-}" ] && [ -n "$scratch" ]; then
		stop_servers "$scratch" QUIT
		echo "kept: $scratch" >&2
	else
		remove_scratch "$scratch"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Runs one part of the tests, its output in $log and on the screen.
run()				# seconds allowed, command...
{
	local limit=$1 status=0
	shift
	: >"$log"
	tail -n +1 -f "$log" 2>/dev/null &
	tail_pid=$!
	run_as_user timeout -k 10 "$limit" "$@" >>"$log" 2>&1 || status=$?
	sleep 0.3
	kill "$tail_pid" 2>/dev/null
	wait "$tail_pid" 2>/dev/null
	tail_pid=
	[ $status != 124 ] || echo "timed out after $limit s"
	return $status
}

start_part()			# name
{
	part=$1
	log=$scratch/log.$part
	part_start=$SECONDS
	echo
	echo "== $part"
}

# A part whose command failed while every test in it passed counts as a failure.
end_part()			# status, passed, failed, skipped
{
	local f=$3
	if [ "$1" != 0 ] && [ "$f" = 0 ]; then
		f=1
	fi
	passed=$((passed + $2)) failed=$((failed + f)) skipped=$((skipped + $4))
	summary+=$(printf '%-28s %5d passed %4d failed %4d skipped %5d s' \
		"$part" "$2" "$f" "$4" $((SECONDS - part_start)))$'\n'
	[ "$f" = 0 ]
}

# A part that is one test.
single()			# name, seconds, command...
{
	local status=0
	start_part "$1"
	shift
	run "$@" || status=$?
	end_part $status $((status == 0)) 0 0
}

# Counts of TAP files: "passed failed skipped".
count_tap()			# file...
{
	awk '
		/^not ok/ && !/# TO''DO/ { f++; next }
		/^(not )?ok.*# (skip|SKIP)/ { s++; next }
		/^ok/ || /^not ok/ { p++; next }
		/^1\.\.0/ { s++ }
		/^Bail out!/ { f++ }
		END { print p + 0, f + 0, s + 0 }' "$@" /dev/null
}

build()				# part name, make variables
{
	local name=$1
	shift
	single "$name" 600 make -s -j "$(nproc)" all "$@" || return 1
	install_build "$@" >"$log" 2>&1 && return
	tail -n 20 "$log"
	failed=$((failed + 1))
	return 1
}

unit()				# program, name of the part
{
	local status=0
	[ -x "$src/$1" ] || return 0
	start_part "$2"
	run 300 env ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 "$1" || status=$?
	# shellcheck disable=SC2046
	end_part $status $(count_tap "$log")
}

fuzz()
{
	local status=0
	compgen -G "$src/selftest/fuzz_*.c" >/dev/null || return 0
	start_part fuzzers
	run 1200 tools/fuzz.sh "$FUZZ_SECONDS" || status=$?
	# shellcheck disable=SC2046
	end_part $status $(count_tap "$log")
}

# Tests of what the tests are made with: the checker of histories, the shim.
test_tools()
{
	local status=0
	mapfile -t files < <(cd "$src" && compgen -G 't/*/test_*.py' | sort)
	[ ${#files[@]} -gt 0 ] || return 0
	start_part "test tools"
	# shellcheck disable=SC2016
	run 300 sh -c 'for x; do echo "# $x"; /usr/bin/python3 "$x" || status=1; done; exit ${status:-0}' - \
		"${files[@]}" || status=$?
	# shellcheck disable=SC2046
	end_part $status $(count_tap "$log")
}

regress()			# regress|isolation, name of the part
{
	local status=0 dir=$src/tmp_check/$1 p f
	start_part "$2"
	run 900 make -s "installcheck-$1" || status=$?
	p=$(grep -c '\.\.\. ok\b' "$log")
	f=$(grep -c '\.\.\. FAILED' "$log")
	end_part $status "$p" "$f" 0 && return
	head -n 300 "$dir/regression.diffs" 2>/dev/null
	[ -e "$dir/log/postmaster.log" ] || show_end "$dir/log/initdb.log"
	show_end "$dir/log/postmaster.log"
}

tap()				# name of the part, files
{
	local status=0 logs=$src/tmp_check/tap/tmp_check/log tap=$scratch/t/tap tests name counts died server
	tests=$(cd "$src" && compgen -G "$2") || return 0
	start_part "$1"
	rm -rf "$tap"
	run 1200 env PERL_TEST_HARNESS_DUMP_TAP="$tap" make -s installcheck-tap \
		PROVE_TESTS="$(echo "$tests" | sort | tr '\n' ' ')" || status=$?
	mapfile -t files < <(find "$tap" -name '*.pl' 2>/dev/null | sort)
	read -r -a counts <<<"$(count_tap "${files[@]}")"
	# files that died, or ran fewer tests than planned, with no test failing
	died=$(grep -A 1 -E '^t/.*\(Wstat: .*Failed: 0\)' "$log" | grep -cE 'Non-zero|Parse errors')
	[ $status != 124 ] || died=$((died + 1))
	grep -hE '^(ok .*|1\.\.0 )# *(skip|SKIP)' "${files[@]}" /dev/null | sed 's/.*# *[a-zA-Z]* */skipped: /' | sort | uniq -c
	end_part $status "${counts[0]}" $((counts[1] + died)) "${counts[2]}" && return
	sed -nE 's/^t\/([^ ]+)\.pl .*\(Wstat: .*/\1/p' "$log" | while read -r name; do
		show_end "$logs/regress_log_$name"
		for server in "$logs/${name}_"*.log; do
			show_end "$server"
		done
	done
}

show_end()			# log file
{
	[ -e "$1" ] || return
	echo "--- the end of ${1##*/}"
	grep -avE 'LOG:  (statement|checkpoint|connection|disconnection)' "$1" | tail -n 60
}

# The library as shipped must not know a single fault point.
shipped()
{
	local lib f=0
	start_part "no fault points"
	lib=$("$pgbin/pg_config" --pkglibdir)/mq_ext.so
	: >"$log"
	if grep -q 'mq\.faults' "$lib"; then
		echo "$lib contains the setting mq.faults"
		f=$((f + 1))
	fi
	if nm -D --defined-only "$lib" | grep 'mq_faults'; then
		echo "$lib has symbols of the fault points"
		f=$((f + 1))
	fi
	end_part 0 $((2 - f)) $f 0
}

main()
{
	leave_caller
	"$top/tools/packages.sh" test || die "packages are missing"
	make_scratch mq_test
	echo "tests run as $user in $scratch"

	single house 60 make -s house
	test_tools
	single "clang warnings" 600 make -s clang
	if build "build with fault points" MQ_FAULTS=1 ASSERTS=1 SELFTEST=1; then
		unit selftest/selftest "unit tests"
		unit selftest/selftest_asan "unit tests, sanitized"
		fuzz
		regress regress "regression"
		regress isolation "isolation"
		tap "TAP" "t/*.pl"
	fi
	if build "build as shipped"; then
		shipped
		regress regress "regression, as shipped"
		tap "crash, as shipped" "t/001_*.pl"
	fi

	echo
	printf '%s\n' "$summary"
	if [ $skipped = 0 ]; then
		echo "$passed passed, $failed failed"
	else
		echo "$passed passed, $failed failed, $skipped skipped"
	fi
	[ $failed = 0 ] && [ $passed -gt 0 ]
}

main
