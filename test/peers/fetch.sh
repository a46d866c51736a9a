#!/bin/sh
# Fetches the programs that the end-to-end tests run against, from the package index of this machine's Debian (or a
# derivative), and unpacks them into build/peers. It needs no root, installs nothing and starts nothing: apt works in
# directories of its own. Run again, it only looks whether all is there.
#
#   test/peers/fetch.sh [DIRECTORY]
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
dest=${1:-$here/../../build/peers}
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)

# package, program, and how the program tells its version
programs='
radvd              usr/sbin/radvd          --version
unbound            usr/sbin/unbound        -V
tayga              usr/sbin/tayga          --help
nftables           usr/sbin/nft            --version
curl               usr/bin/curl            --version
wget               usr/bin/wget            --version
iputils-ping       bin/ping                -V
iputils-tracepath  usr/bin/tracepath       -V
traceroute         usr/bin/traceroute.db   --version
bind9-dnsutils     usr/bin/dig             -v
iperf3             usr/bin/iperf3          --version
netcat-openbsd     bin/nc.openbsd          -h
openssh-client     usr/bin/ssh             -V
openssh-server     usr/sbin/sshd           -V
tcpdump            usr/bin/tcpdump         --version
iproute2           bin/ip                  -V
dbus-daemon        usr/bin/dbus-daemon     --version
systemd-resolved   lib/systemd/systemd-resolved --version
network-manager    usr/sbin/NetworkManager --version
'
packages=$(echo "$programs" | awk 'NF { print $1 }')

# What every Debian has (the C library must be the system's), and what only maintainer scripts need.
skip='libc6 libgcc-s1 libcrypt1 gcc-12-base perl perl-base perlapi-* python3 debconf debconf-2.0 adduser passwd dpkg lsb-base
init-system-helpers sysvinit-utils systemd systemd-sysv procps ucf openssl openssl-provider-* dns-root-data runit-helper
libpam-modules libpam-runtime openssh-sftp-server mime-support update-inetd'

give_up() {
	echo "peers: $1" >&2
	echo "peers: install them by hand instead: sudo apt-get install $(echo $packages)" >&2
	exit 1
}

libraries() {
	for d in "$dest"/root/usr/lib/*-linux-gnu* "$dest"/root/lib/*-linux-gnu* "$dest"/root/usr/lib/*-linux-gnu*/systemd; do
		[ -d "$d" ] && printf '%s:' "$d"
	done
}

# locate prints the path of a program below root/: /bin may be a directory of its own or lie in /usr.
locate() {
	for p in "$dest/root/$1" "$dest/root/usr/$1" "$dest/root/${1#usr/}"; do
		[ -x "$p" ] && echo "$p" && return
	done
	return 1
}

# versions runs each program in an empty environment and prints one line of it; it fails where one cannot be started.
versions() {
	ok=0
	while read -r package program flag; do
		[ -n "$package" ] || continue
		if ! path=$(locate "$program"); then
			echo "peers: $package has no $program" >&2
			ok=1
			continue
		fi
		code=0
		out=$(env -i PATH=/nonexistent LD_LIBRARY_PATH="$(libraries)" "$path" "$flag" 2>&1 </dev/null) || code=$?
		if [ $code -ge 126 ] || echo "$out" | grep -q 'error while loading shared'; then
			echo "peers: $program does not run: $(echo "$out" | head -n 1)" >&2
			ok=1
			continue
		fi
		printf '%-18s %-24s %s\n' "$package" "$(awk -v p="$package" '$1 == p { print $2 }' "$dest/closure")" "$path"
	done <<LIST
$programs
LIST
	return $ok
}

# Nothing here belongs into version control.
echo "*" >"$dest/.gitignore"

stamp=$(cksum <"$0")
if [ "$(cat "$dest/stamp" 2>/dev/null)" = "$stamp" ] && versions; then
	exit 0
fi

for tool in apt-get apt-cache dpkg-deb; do
	command -v $tool >/dev/null || give_up "no $tool here"
done

# An own state and cache: the system's are not touched, and no lock of theirs is waited for. An empty status makes the index
# the only source of versions. The sandbox user could not read directories below a home.
rm -rf "$dest/stamp" "$dest/debs"
mkdir -p "$dest/apt/state/lists/partial" "$dest/apt/cache/archives/partial" "$dest/debs"
: >"$dest/apt/status"
cat >"$dest/apt/apt.conf" <<CONF
Dir::State "$dest/apt/state";
Dir::State::status "$dest/apt/status";
Dir::Cache "$dest/apt/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
export APT_CONFIG="$dest/apt/apt.conf"

if ! apt-get -qq update >"$dest/apt/log" 2>&1 || ! apt-cache show $packages >/dev/null 2>&1; then
	echo "peers: no fresh package index ($(grep -m 1 '^[EW]:' "$dest/apt/log" || true)); the system's is tried" >&2
	echo 'Dir::State::lists "/var/lib/apt/lists";' >>"$dest/apt/apt.conf"
	apt-cache show $packages >/dev/null 2>&1 || give_up 'not all of the packages are in the package index'
fi

# The closure over Depends and Pre-Depends, not followed through what is skipped. Of alternatives all that exist are taken.
closure=''
next=$packages
while [ -n "$next" ]; do
	closure="$closure $next"
	found=$(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances $next |
		sed -n 's/^ *|\{0,1\}\(Pre\)\{0,1\}Depends: \([^<].*\)$/\2/p' | sort -u)
	next=$(printf '%s\n' "$found" | awk -v have="$closure" -v skip="$skip" '
		BEGIN {
			n = split(have, h); for (i = 1; i <= n; i++) seen[h[i]] = 1
			n = split(skip, s); for (i = 1; i <= n; i++) if (sub(/\*$/, "", s[i])) prefix[s[i]] = 1; else seen[s[i]] = 1
		}
		NF && !seen[$1] { for (p in prefix) if (index($1, p) == 1) next; print $1 }')
done

(cd "$dest/debs" && apt-get -qq download $closure >>"$dest/apt/log" 2>&1) ||
	give_up "the packages cannot be fetched: $(grep -m 1 '^E:' "$dest/apt/log" || true)"
rm -rf "$dest/root"
mkdir "$dest/root"
for deb in "$dest"/debs/*.deb; do
	dpkg-deb -x "$deb" "$dest/root"
	dpkg-deb -W --showformat='${Package} ${Version}\n' "$deb"
done >"$dest/closure"
rm -rf "$dest/debs" "$dest/apt"

versions || give_up 'not every program runs on this system'
echo "$stamp" >"$dest/stamp"
