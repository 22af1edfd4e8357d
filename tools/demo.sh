#!/bin/bash
# demo.sh start|stop = make demo, make demo-stop: builds and installs mq_ext
# if the installed one differs, starts a private server and runs demo.sql on
# the machine's own package log.  The server stays up until demo.sh stop, but
# with CI=true it stops at the end.
set -u
# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

scratch=
child=
max_lines=20000

# shellcheck disable=SC2317,SC2329  # called by the trap
cleanup()
{
	trap '' INT TERM HUP
	[ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null
	remove_scratch "$scratch"
}

# Stops the demos that were started from this clone.
stop()
{
	local dir found=
	for dir in "${TMPDIR:-/tmp}"/mq_demo.* /tmp/mq_demo.*; do
		if [ -O "$dir/clone" ] && [ "$(cat "$dir/clone")" = "$top" ]; then
			found=$dir
			stop_servers "$dir" INT
			remove_scratch "$dir"
			echo "stopped the server in $dir and removed the folder"
		fi
	done
	[ -n "$found" ]
}

# Was this very build installed before?
is_installed()
{
	local share
	share=$("$pgbin/pg_config" --sharedir)/extension
	cmp -s "$src/mq_ext.so" "$("$pgbin/pg_config" --pkglibdir)/mq_ext.so" &&
		cmp -s "$src/mq_ext.control" "$share/mq_ext.control" &&
		for sql in "$src"/mq_ext--*.sql; do
			cmp -s "$sql" "$share/${sql##*/}" || return 1
		done
}

build()
{
	run_as_user make -s -j "$(nproc)" || die "the build failed"
	if is_installed; then
		echo "mq_ext is installed already"
	else
		# shellcheck disable=SC2119
		install_build || die "the installation failed"
		echo "installed mq_ext into $("$pgbin/pg_config" --pkglibdir)"
	fi
}

start_server()
{
	local data=$scratch/data log=$scratch/server.log
	run_as_user "$pgbin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
		--no-sync >"$scratch/initdb.log" 2>&1 || { cat "$scratch/initdb.log"; die "initdb failed"; }
	{
		cat "$src/mq_ext.conf"
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$scratch'"
	} >>"$data/postgresql.conf"
	run_as_user "$pgbin/pg_ctl" -D "$data" -l "$log" -w -s start ||
		{ tail -n 20 "$log"; die "the server did not start"; }
	run_as_user "$pgbin/createdb" -h "$scratch" -U postgres demo || die "createdb failed"
}

# Lines of a real file, in COPY's text format.
take_input()
{
	local file
	for file in /var/log/dpkg.log /var/lib/dpkg/status; do
		[ ! -s "$file" ] || break
	done
	head -n "$max_lines" "$file" | iconv -c -f UTF-8 -t UTF-8 | sed 's/\\/\\\\/g; s/\t/\\t/g; s/\r/\\r/g' >"$scratch/t/input.txt"
	echo "input: the first $(wc -l <"$scratch/t/input.txt") lines of $file"
}

start()
{
	"$top/tools/packages.sh" run || die "packages are missing"
	stop || true
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	make_scratch mq_demo
	build
	start_server
	take_input
	echo
	run_as_user env -C "$scratch/t" "$pgbin/psql" -X -a -v ON_ERROR_STOP=1 -h "$scratch" -U postgres -d demo \
		-f "$src/tools/demo.sql" || { tail -n 20 "$scratch/server.log"; die "the demo failed"; }
	echo
	if [ "${CI:-}" = true ]; then
		stop_servers "$scratch" INT
		echo "CI=true: stopped the server and removed its folder"
		return
	fi
	echo "$top" >"$scratch/clone"
	trap - EXIT INT TERM HUP
	echo "The server is still up, as user $user, with its files in $scratch."
	echo "  connect:  $pgbin/psql -h $scratch -U postgres demo"
	echo "  stop:     make demo-stop"
}

leave_caller
case ${1:-} in
	start) start ;;
	stop) stop || echo "no demo of this clone is running" ;;
	*) die "usage: $0 start|stop" ;;
esac
