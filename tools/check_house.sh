#!/bin/sh
# check_house.sh: the rules of the house as a script; silent when all is well.
#
# Rooms include only downwards, each dangerous thing is done in one file, files
# and functions stay short, every setting is documented, nothing is left open.
# shellcheck disable=SC2129
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

say() { echo "$*" >>"$work/found"; }

: >"$work/found"
find . \( -name .git -o -name tmp_check -o -name __pycache__ \) -prune -o -type f \
	! -name '*.o' ! -name '*.so' ! -name '*.bc' ! -name 'mq_ext--*.sql' ! -name .flavour -print |
	sed 's|^\./||' | sort >"$work/files"
grep -E '^(base|storage|broker|kafka|replication|bgworker|mq_ext)/.*\.[ch]$' "$work/files" >"$work/sources"

# Sources without comments and string contents, as "file:line:text".
# shellcheck disable=SC2046
awk '
	FNR == 1 { comment = 0 }
	{
		s = $0; out = ""
		while (s != "") {
			if (comment) {
				if (!(i = index(s, "*/"))) break
				s = substr(s, i + 2); comment = 0
			} else if (match(s, /\/\*|\/\/|"|'\''/)) {
				out = out substr(s, 1, RSTART - 1)
				c = substr(s, RSTART, RLENGTH); s = substr(s, RSTART + RLENGTH)
				if (c == "//") break
				if (c == "/*") { comment = 1; continue }
				# a literal: skip to its end
				while (s != "" && (d = substr(s, 1, 1)) != c) s = substr(s, d == "\\" ? 3 : 2)
				s = substr(s, 2); out = out c c
			} else { out = out s; s = "" }
		}
		if (out ~ /[^ \t]/) print FILENAME ":" FNR ":" out
	}' $(cat "$work/sources") /dev/null >"$work/code"

# one PATTERN FILE...: code that matches stands only in those files (or folders).
one()
{
	pattern=$1
	shift
	allowed=$(printf '|%s' "$@")
	grep -E "(^|[^A-Za-z0-9_.>])($pattern)" "$work/code" | grep -vE "^(${allowed#|})" |
		sed "s#^\([^:]*:[0-9]*\):[ 	]*#\1: allowed only in $(echo "$*" | tr -d :): #" >>"$work/found"
}

files='open|openat|creat|pread|pwrite|preadv|pwritev|pwritev2|fsync|fdatasync|rename|unlink|mkdir|rmdir'
files="($files|truncate|ftruncate|fallocate|posix_fallocate|posix_fadvise|sync_file_range|fopen|opendir|rmtree)\(|pg_(pread|pwrite|preadv|pwritev|fsync|fdatasync|truncate)[a-z_]*\("
files="$files|syncfs\(|(OpenTransient|BasicOpen|PathNameOpen)File[A-Za-z]*\(|File(Read|Write|Sync|Truncate|Close)\(|Allocate(File|Dir)\(|durable_[a-z_]+\(|fsync_fname[a-z_]*\("
one "$files" storage/mq_file.c:
one 'DefineCustom[A-Za-z]+Variable' base/mq_settings.c: base/mq_faults.c:
one 'MAKE_SQLSTATE' base/mq_errors.h:
one 'PG_VERSION_NUM|PG_MAJORVERSION' base/mq_compat.h:
one 'XLogInsert|XLogBeginInsert|XLogRegister[A-Z][A-Za-z]*\(|(START|END)_CRIT_SECTION' storage/mq_log_wal.c: base/mq_compat.h:
one 'RM_EXPERIMENTAL_ID' storage/mq_log_wal.h:
one '#define[ 	]+MQ_RMGR_ID' storage/mq_log_wal.h:
one '(Unr|R)egister(Sub)?XactCallback' broker/mq_xact.c:
one 'BackgroundWorkerInitializeConnection|BackgroundWorkerUnblockSignals|pqsignal|sigaction' bgworker/mq_worker.c:
one 'PG_TRY|sigsetjmp|PG_exception_stack' bgworker/mq_worker.c: kafka/mq_kafka_conn.c:
one '(Start|Commit)TransactionCommand|AbortCurrentTransaction' bgworker/mq_worker.c: kafka/mq_kafka_conn.c:
one 'RequestAddinShmemSpace|RequestNamedLWLockTranche|LWLockNewTrancheId|shmem_(request|startup)_hook' mq_ext/mq_shmem.c:
one 'ProcessUtility_hook|object_access_hook' mq_ext/mq_ddl_watch.c:
one 'emit_log_hook' storage/mq_checkpoint.c:
one 'SPI_[a-z]|systable_beginscan|table_beginscan' bgworker/mq_janitor.c: broker/mq_topic kafka/mq_kafka_sasl.c: mq_ext/mq_ddl mq_ext/mq_fdw
one 'LWLockAcquire|LWLockConditionalAcquire' storage/ broker/ replication/ mq_ext/mq_shmem.c:
one '(socket|bind|listen|accept|accept4)\(' kafka/
one 'PG_FUNCTION_ARGS|PG_GETARG' mq_ext/
one '(fork|fork_process|pthread_create|sleep|usleep|nanosleep|pg_usleep|system|popen)\(' base/mq_faults.c:

# Who may include whom; our headers are included with their room and begin with
# mq_, or they would hide the server's.
# shellcheck disable=SC2046
awk -F'"' '
	BEGIN {
		ok["base"] = "base"
		ok["storage"] = "base storage"
		ok["broker"] = "base storage broker"
		ok["kafka"] = "base broker kafka"
		ok["replication"] = "base storage broker replication"
		ok["bgworker"] = ok["mq_ext"] = "base storage broker kafka replication bgworker mq_ext"
		sub(" mq_ext", "", ok["bgworker"])
	}
	!/^[ \t]*#[ \t]*include[ \t]*"/ { next }
	$2 ~ /^mq_[a-z_]*\.h$/ { print FILENAME ":" FNR ": include \"" $2 "\" with its room"; next }
	$2 ~ /\/mq_[a-z_0-9]*\.h$/ {
		from = FILENAME; sub("/.*", "", from); to = $2; sub("/.*", "", to)
		if (index(" " ok[from] " ", " " to " ") == 0) print FILENAME ":" FNR ": " from " may not include " to
	}' $(cat "$work/sources") /dev/null >>"$work/found"
grep -vE '/mq_[a-z0-9_]*\.[ch]$' "$work/sources" | sed 's/$/: the name must begin with mq_/' >>"$work/found"

# Length of files and functions; a function's body begins and ends in column 1.
# shellcheck disable=SC2046
awk '
	FNR == 1 { body = 0 }
	FNR == 701 { print FILENAME ": more than 700 lines" }
	/^\{/ { body = FNR; name = last }
	/^\}/ { if (/^\}[ \t]*$/ && body && FNR - body > 100) print FILENAME ":" body ": " name " has more than 100 lines"; body = 0 }
	/^[A-Za-z_]/ { last = $0; sub(/\(.*/, "", last) }' \
	$(cat "$work/sources") $(grep -E '^selftest/.*\.[ch]$' "$work/files") /dev/null >>"$work/found"

# An error that a user can meet has an SQLSTATE.
awk -F: '
	{ where = $1 ":" $2; text = substr($0, length(where) + 2) }
	/(^|[^A-Za-z0-9_])ereport\(/ { at = where; all = "" }
	at { all = all " " text
		if (text ~ /;[ \t]*$/) {
			if (all ~ /ereport\((ERROR|FATAL|PANIC|elevel)/ && all !~ /errcode/) print at ": ereport without errcode"
			at = ""
		}
	}' "$work/code" >>"$work/found"

# Every setting is explained to users, every test has its expected answer.
if [ -f base/mq_settings.c ]; then
	for name in $(grep -ohE '"mq\.[a-z_]+"' base/mq_settings.c | tr -d '"' | sort -u); do
		grep -qsF "\`$name\`" docs/settings.md || say "docs/settings.md: $name is missing"
	done
fi
sed -nE 's#^(sql|specs)/([^/]*)\.(sql|spec)$#\2#p' "$work/files" | while read -r stem; do
	[ -f "expected/$stem.out" ] || say "expected/$stem.out is missing"
	[ ! -f "sql/$stem.sql" ] || [ ! -f "specs/$stem.spec" ] || say "sql/$stem.sql and specs/$stem.spec share expected/$stem.out"
done

# Nothing left open, nothing that only exists on somebody's machine.
grep -vE '^expected/|\.(bin|png)$' "$work/files" | tr '\n' '\0' |
	xargs -0 grep -nIE '(^|[^A-Za-z0-9_])(TO''DO|FIX''ME|X''XX)([^A-Za-z0-9_]|$)|(^|[^A-Za-z0-9_.*"])/(home|work)/|[.][.]/shared' |
	cut -c 1-160 >>"$work/found"

cat "$work/found"
[ ! -s "$work/found" ]
