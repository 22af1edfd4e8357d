#!/bin/bash
# run.sh [row...]: what mq_ext costs beside what PostgreSQL itself takes for the
# same work with the same durability.  make bench runs all rows.  See
# bench/README.md for how, docs/benchmarks.md for results.
#
#   bench/run.sh                  all rows
#   bench/run.sh scan fetch       these
#   bench/run.sh table FILE       a summary once more as a table; measures nothing
#
# Measures the installed build in a scratch cluster of its own, as the caller
# or, if that is root, as postgres.  SCALE=small is a quick look at whether
# everything works; ROUNDS (9), SECONDS_EACH (1), ROWS (1000000) and CLIENTS
# ("1 8 32") change the amount of work.  TSV names the file of the summary.
set -u
# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"
# shellcheck source=bench/lib.sh
. "$top/bench/lib.sh"
# shellcheck source=bench/rows_write.sh
. "$top/bench/rows_write.sh"
# shellcheck source=bench/rows_read.sh
. "$top/bench/rows_read.sh"

all='single bulk copy batch bytes scan fetch depth pinned wake'
scale=${SCALE:-full}
case $scale in
	full) defaults=(9 1 1000000 300000 10000000 20000 1000 '1 8 32') ;;
	small) defaults=(1 1 50000 10000 100000 2000 500 '1 8') ;;
	*) die "SCALE is full or small" ;;
esac
rounds=${ROUNDS:-${defaults[0]}}
seconds=${SECONDS_EACH:-${defaults[1]}}
rows=${ROWS:-${defaults[2]}}
wide_rows=${defaults[3]}
deep_rows=${defaults[4]}
byte_rows=${defaults[5]}
wake_rate=${defaults[6]}
clients=${CLIENTS:-${defaults[7]}}
scratch=
child=

# shellcheck disable=SC2317,SC2329  # called by the trap
cleanup()
{
	trap '' INT TERM HUP
	[ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null
	remove_scratch "$scratch"
}

if [ "${1:-}" = table ]; then
	[ -r "${2:-}" ] || die "usage: $0 table FILE"
	table_head
	table_rows <"$2"
	exit
fi
# shellcheck disable=SC2086  # a list of words
[ $# -gt 0 ] || set -- $all
for current; do
	case " $all " in
		*" $current "*) ;;
		*) die "usage: $0 [row...], rows are: $all" ;;
	esac
done

leave_caller
refuse_test_build
tsv=${TSV:-$(mktemp --tmpdir mq_bench.XXXXXX.tsv)} || exit
printf '%s\t' row work against unit ours peer ratio lowest highest goal met >"$tsv" || die "cannot write to $tsv"
echo rounds >>"$tsv"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
make_scratch mq_bench
start_server
sql 'CREATE EXTENSION mq_ext' || die "CREATE EXTENSION failed"
describe
echo
table_head
for current; do
	"row_$current"
done
echo
echo "summary:    $tsv"
echo "total time: $SECONDS s"
! grep -q "$(printf '\tfailed\t')" "$tsv"
