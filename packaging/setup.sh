#!/bin/sh
# Installs what building, testing and showing kmsfs needs, on Debian 12 and its
# likes, as root. It installs packages that are missing and does nothing else;
# when nothing is missing it prints nothing. "setup.sh bench" is for make bench.
set -eu

packages="gcc libc6-dev fuse3 systemd-sysv systemd-container dbus nginx-light openssl curl ca-certificates util-linux procps iproute2 nftables gdb e2fsprogs nodejs npm
	bsdextrautils cpio file git jq make openssh-client perl python3 rsync xxd xz-utils
	apache2-bin haproxy openssh-server postgresql redis-tools sshfs stunnel4"
programs="gcc fusermount3 systemctl systemd-nspawn nginx openssl curl mount ps ss nft gcore mkfs.ext4 node npm
	hexdump cpio file git jq make ssh-keygen perl python3 rsync xxd xz
	apache2 haproxy sshd psql redis-check-rdb sshfs stunnel4"
case "$*" in
'') ;;
bench)
	packages="fuse3 gcc gocryptfs libc6-dev libfuse3-dev make pkg-config util-linux"
	programs="fusermount3 gcc gocryptfs make mount pkg-config"
	;;
*)
	echo "usage: packaging/setup.sh [bench]" >&2
	exit 2
	;;
esac
go_needed=1.26

fail() {
	echo "setup: $*" >&2
	exit 1
}

check_go() {
	command -v go >/dev/null || fail "go is missing: install Go $go_needed or later from https://go.dev/dl/ and put it into PATH"
	# Outside the checkout, so that go.mod does not make an old go fetch a newer one.
	have=$(cd / && GOTOOLCHAIN=local go env GOVERSION) || fail "go does not run: go env GOVERSION failed"
	have=${have#go}
	major=${have%%.*}
	minor=${have#*.}
	minor=${minor%%[!0-9]*}
	case $major$minor in
	'' | *[!0-9]*) return ;; # a development version
	esac
	if [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt "${go_needed#1.}" ]; }; then
		fail "Go $go_needed or later is needed; $(command -v go) is $have"
	fi
}

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing_packages() {
	for p in $packages; do
		if [ "$p" = nginx-light ] && has_nginx; then
			continue # another flavour of nginx is as good
		fi
		case $p in
		nodejs | npm) ! command -v "${p%js}" >/dev/null || continue ;; # from elsewhere
		esac
		is_installed "$p" || printf ' %s' "$p"
	done
}

has_nginx() {
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]
}

# service names what Debian would start and enable when it installs a package.
# apache2-bin and redis-tools are the programs without their services.
service() {
	case $1 in
	nginx-light) echo nginx ;;
	haproxy) echo haproxy ;;
	openssh-server) echo ssh ;;
	esac
}

# A web server on port 80 is not what anybody asked for here, nor a database.
# The masks are in /run, and only for services that were not there before.
install_packages() {
	new_services=
	for p in $1; do
		new_services="$new_services $(service "$p")"
	done
	no_cluster=/etc/postgresql-common/createcluster.d/kmsfs-setup.conf
	trap 'undo' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	for s in $new_services; do
		! has_systemd || systemctl --quiet --runtime mask "$s.service"
	done
	case " $1 " in
	*" postgresql "*)
		mkdir -p "${no_cluster%/*}"
		echo "create_main_cluster = false" >"$no_cluster"
		;;
	esac
	export DEBIAN_FRONTEND=noninteractive
	# RUNLEVEL speaks to invoke-rc.d where systemd does not run.
	apt-get -q update
	# shellcheck disable=SC2086 # words
	RUNLEVEL=1 apt-get -q -y --no-install-recommends install $1
	command -v update-rc.d >/dev/null || return 0
	for s in $new_services; do
		update-rc.d "$s" disable
		echo "setup: $s was installed but neither started nor enabled; to use it otherwise: systemctl enable --now $s"
	done
}

undo() {
	rm -f "$no_cluster"
	for s in $new_services; do
		! has_systemd || systemctl --quiet --runtime unmask "$s.service"
	done
}

has_systemd() {
	[ -d /run/systemd/system ]
}

check_go

if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
	PATH=$PATH:/usr/sbin:/sbin
	missing=
	for p in $programs; do
		command -v "$p" >/dev/null || missing="$missing $p"
	done
	[ -z "$missing" ] || fail "this is not Debian; install what has these programs:$missing"
	exit 0
fi

missing=$(missing_packages)
missing=${missing# }
if [ -z "$missing" ]; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	fail "these packages are missing: $missing; install them as root: apt-get install --no-install-recommends $missing"
fi
echo "setup: installing $missing"
install_packages "$missing"
