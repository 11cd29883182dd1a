#!/bin/sh
# Prints the path of a nats-server >= 2.10 and gets one if there is none: from Debian 13's archive, unpacked into
# .var/tools (nothing is installed, the system's own package sources stay as they are). Safe to run again.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
tools="$root/.var/tools"
kept="$tools/nats-server/usr/sbin/nats-server"

new_enough() { # path: true when it runs and is at least 2.10
  version=$("$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  [ -n "$version" ] || return 1
  # shellcheck disable=SC2086
  set -- $version
  [ "$1" -gt 2 ] || { [ "$1" -eq 2 ] && [ "$2" -ge 10 ]; }
}
fail() {
  echo "nats-server.sh: $1" >&2
  echo "nats-server.sh: put a nats-server >= 2.10 on PATH (https://github.com/nats-io/nats-server/releases)" >&2
  exit 1
}

for candidate in "$(command -v nats-server || true)" "$kept"; do
  if [ -n "$candidate" ] && [ -x "$candidate" ] && new_enough "$candidate"; then
    echo "$candidate"
    exit 0
  fi
done

command -v apt-get >/dev/null || fail "no nats-server >= 2.10 on PATH, and no apt-get to fetch one"
keyring=
for candidate in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
  [ -r "$candidate" ] && keyring=$candidate && break
done
[ -n "$keyring" ] || fail "no nats-server >= 2.10 on PATH, and the package debian-archive-keyring is missing"

# The system's own Debian mirror if it has one, so that private mirrors and proxies are respected.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
  sed -n -e 's/^URIs: *\([^ ]*\/debian\)\/* *$/\1/p' -e 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\)\/* .*/\2/p' | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}

apt="$tools/apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
echo "deb [signed-by=$keyring] $mirror trixie main" >"$apt/sources.list"
cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Architectures { "$(dpkg --print-architecture)"; };
APT::Sandbox::User "root";
CONF
APT_CONFIG="$apt/apt.conf" apt-get -qq update >&2 || fail "$mirror could not be read"
(cd "$apt" && rm -f nats-server_*.deb && APT_CONFIG="$apt/apt.conf" apt-get -qq download nats-server >&2) ||
  fail "$mirror has no nats-server for $(dpkg --print-architecture)"
rm -rf "$tools/nats-server" "$tools/nats-server.new"
dpkg -x "$apt"/nats-server_*.deb "$tools/nats-server.new"
mv "$tools/nats-server.new" "$tools/nats-server"
rm -rf "$apt"
new_enough "$kept" || fail "the nats-server of $mirror is older than 2.10"
echo "$kept"
