#!/bin/bash
# fuzz.sh [seconds]: runs every fuzzer that was built in selftest/ for some
# seconds, two at a time, from the inputs in selftest/corpus/<name>, or the golden files.  Output
# is TAP; an input that breaks one is printed in base64.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
seconds=${1:-30}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

one()				# name
{
	local dir=$work/$1 seeds=() f
	mkdir -p "$dir/new"
	[ ! -d "selftest/corpus/$1" ] && seeds=(selftest/golden) || seeds=("selftest/corpus/$1")
	if "selftest/$1" -max_total_time="$seconds" -artifact_prefix="$dir/" \
		"$dir/new" "${seeds[@]}" >"$dir/log" 2>&1; then
		echo "ok - $1 for $seconds s: $(tail -n 1 "$dir/log")"
		return
	fi
	echo "not ok - $1"
	tail -n 60 "$dir/log" | sed 's/^/# /'
	for f in "$dir"/crash-* "$dir"/leak-* "$dir"/timeout-* "$dir"/oom-*; do
		[ ! -f "$f" ] || { echo "# ${f##*/}:" && base64 "$f" | head -n 100 | sed 's/^/# /'; }
	done
	return 1
}

export -f one
export work seconds
for source in selftest/fuzz_*.c; do
	[ ! -e "$source" ] || basename "$source" .c
done | xargs -r -P 2 -I '{}' bash -c 'one {}'
