#!/bin/bash
# packages.sh run|test: installs the Debian packages that are missing for
# make demo or make test.  Touches nothing when none is.
set -eu

run="gcc libc6-dev make postgresql-15 postgresql-server-dev-15 liblz4-dev zlib1g-dev libzstd-dev libsnappy-dev"
tests="perl libipc-run-perl postgresql-15-pgtap python3 python3-kafka python3-lz4 clang-14 libclang-rt-14-dev"

case ${1:-} in
	run) wanted=$run ;;
	test) wanted="$run $tests" ;;
	*) echo "usage: $0 run|test" >&2; exit 2 ;;
esac

installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for p in $wanted; do
	installed "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "please install, as root:$missing" >&2; exit 1; }
	sudo=sudo
fi

apt_install()
{
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" </dev/null >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }
}

log=$(mktemp)
dropin=
# shellcheck disable=SC2317,SC2329  # called by the trap
cleanup()
{
	rm -f "$log"
	[ -z "$dropin" ] || $sudo rm -f "$dropin"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "installing$missing"
$sudo apt-get update -qq </dev/null >"$log" 2>&1 ||
	{ tail -n 20 "$log"; echo "apt-get update failed; going on with the lists at hand"; } >&2

# A first installation of a server would create and start a cluster; the
# settings that prevent it are read by a script of postgresql-common.
if ! installed postgresql-15; then
	installed postgresql-common || apt_install postgresql-common
	dropin=/etc/postgresql-common/createcluster.d/mq_ext-$$.conf
	$sudo mkdir -p "${dropin%/*}"
	echo "create_main_cluster = false" | $sudo tee "$dropin" >/dev/null
	conf=/etc/postgresql-common/createcluster.conf
	if [ "$(pg_conftool "$conf" show -bs create_main_cluster 2>/dev/null || :)" != off ]; then
		echo "create_main_cluster = false" | $sudo tee -a "$conf" >/dev/null
	fi
fi
# shellcheck disable=SC2086
apt_install $missing
