#!/bin/sh
# Prints the path of promtool, and gets one if there is none: out of Debian's package `prometheus`, unpacked into .var/tools and
# not installed, so that no Prometheus is started. Needs no root. Safe to run again, and at once.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
tools="$root/.var/tools"
kept="$tools/prometheus/promtool"

fail() {
  echo "promtool.sh: $1" >&2
  echo "promtool.sh: put promtool of Prometheus 2.42 or later on PATH (https://prometheus.io/download)" >&2
  exit 1
}

for candidate in "$kept" "$(command -v promtool || true)"; do
  if [ -n "$candidate" ] && [ -x "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
    echo "$candidate"
    exit 0
  fi
done

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "none on PATH, and no apt-get to fetch one"
mkdir -p "$tools"
work=$(mktemp -d "$tools/promtool.XXXXXX")
trap 'rm -rf "$work"' EXIT
download() { (cd "$work" && apt-get download -qq prometheus >"$work/log" 2>&1); }
# apt's lists may be older than the archive, or not there.
download || { [ "$(id -u)" = 0 ] && apt-get update -qq >/dev/null 2>&1 && download; } || {
  tail -n 5 "$work/log" >&2
  fail "apt-get download prometheus failed"
}
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xf - -C "$work" ./usr/bin/promtool
"$work/usr/bin/promtool" --version >/dev/null 2>&1 || fail "the promtool of the package does not run"
mkdir -p "$(dirname "$kept")"
mv -f "$work/usr/bin/promtool" "$kept"
echo "$kept"
