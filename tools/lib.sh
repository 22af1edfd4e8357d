# lib.sh: what test.sh and demo.sh share.  Sourced by bash, not run.
#
# A scratch folder is made by mktemp and owned by the user who runs servers:
# the caller, or postgres if the caller is root.  The clone is copied into it
# (src/), everything temporary lies in it (t/), and cleaning up means ending
# every process whose working directory is inside and removing it.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034  # for those who source this
pgbin=/usr/lib/postgresql/15/bin

# No server may keep the caller's pipes open, and none of the caller's
# settings for make or libpq is meant for what we run.
leave_caller()
{
	local fd
	umask 022
	for fd in "/proc/$$/fd/"*; do
		fd=${fd##*/}
		if [ "$fd" -gt 2 ] && [ "$fd" != 255 ]; then
			eval "exec $fd>&-"
		fi
	done
	unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS "${!PG@}"
}

die()
{
	echo "$*" >&2
	exit 1
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# Sets $user, $scratch, $src and $TMPDIR.
make_scratch()			# name
{
	local tmp=${TMPDIR:-/tmp}
	# a socket's path may have 107 bytes
	[ ${#tmp} -le 40 ] || tmp=/tmp
	user=$(id -un)
	[ "$user" != root ] || user=postgres
	scratch=$(mktemp -d "$tmp/$1.XXXXXX") || die "mktemp failed"
	scratch=$(cd "$scratch" && pwd -P)
	src=$scratch/src
	mkdir "$src" "$scratch/t"
	tar -C "$top" --exclude=./.git --exclude=./tmp_check --exclude='*.o' --exclude='*.so' \
		--exclude='./mq_ext--*.sql' --exclude=./.flavour -cf - . | tar -C "$src" --no-same-owner -xf -
	if [ "$(id -u)" = 0 ]; then
		chown -R "$user": "$scratch"
	fi
	chmod 700 "$scratch"
	export TMPDIR=$scratch/t
}

# Runs a command in $src as $user, in a process group of its own, so that a
# signal to this script is handled at once.
run_as_user()
{
	local cmd=(env -C "$src" LANG=C.UTF-8 LC_ALL=C.UTF-8 TMPDIR="$TMPDIR")
	if [ "$(id -un)" != "$user" ]; then
		cmd=(setpriv --reuid="$user" --regid="$user" --init-groups
			"${cmd[@]}" HOME="$scratch" USER="$user" LOGNAME="$user")
	fi
	in_background "${cmd[@]}" "$@"
}

in_background()
{
	local status=0
	set -m
	"$@" </dev/null &
	child=$!
	set +m
	wait "$child" || status=$?
	child=
	return $status
}

# Prints the processes whose working directory is in a folder: "pid name".
folder_processes()		# folder
{
	local p cwd
	for p in /proc/[0-9]*; do
		cwd=$(readlink "$p/cwd" 2>/dev/null) || continue
		case $cwd in
			"$1" | "$1"/*) echo "${p#/proc/} $(cat "$p/comm" 2>/dev/null)" ;;
		esac
	done
}

# Stops the servers whose data directories are in a folder.
stop_servers()			# folder, signal
{
	local pidfile pid
	while read -r pidfile; do
		pid=$(head -n 1 "$pidfile" 2>/dev/null)
		case $(readlink "/proc/${pid:-0}/cwd") in
			"$1"/*) kill "-$2" "$pid" 2>/dev/null ;;
		esac
	done < <(find "$1" -name postmaster.pid -type f 2>/dev/null)
	for _ in $(seq 100); do
		folder_processes "$1" | grep -q ' postgres$' || return 0
		sleep 0.1
	done
}

# Ends everything in a scratch folder and removes it.  Drivers go first, or
# they would start servers again; servers are asked before they are killed
# (crash tests leave stopped and orphaned ones), or shared memory would stay.
remove_scratch()		# folder
{
	local pids
	[ -n "$1" ] && [ -d "$1" ] || return 0
	cd /
	pids=$(folder_processes "$1" | sed -n '/ postgres$/!s/ .*//p')
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -KILL $pids 2>/dev/null
	stop_servers "$1" QUIT
	for _ in $(seq 50); do
		pids=$(folder_processes "$1" | sed 's/ .*//')
		[ -n "$pids" ] || break
		# shellcheck disable=SC2086
		kill -KILL $pids 2>/dev/null
		sleep 0.1
	done
	rm -rf "$1" 2>/dev/null || as_root rm -rf "$1"
}

# Installs what was built in $src; make finds nothing left to build.
install_build()			# make variables, if any
{
	as_root env -C "$src" make --no-print-directory -s install "$@"
}
