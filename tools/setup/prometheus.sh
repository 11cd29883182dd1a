#!/bin/sh
# Prints the folder of prometheus and promtool, and gets them if there are none: out of Debian's package `prometheus`, unpacked
# into .var/tools and not installed, so that no Prometheus is started. Needs no root. Safe to run again, and at once.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
tools="$root/.var/tools"
kept="$tools/prometheus"

fail() {
  echo "prometheus.sh: $1" >&2
  echo "prometheus.sh: put prometheus and promtool of 2.42 or later on PATH (https://prometheus.io/download)" >&2
  exit 1
}
both_run() { "$1/promtool" --version >/dev/null 2>&1 && "$1/prometheus" --version >/dev/null 2>&1; }

on_path=$(command -v promtool || true)
for candidate in "$kept" "${on_path%/promtool}"; do
  if [ -n "$candidate" ] && both_run "$candidate"; then
    echo "$candidate"
    exit 0
  fi
done

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "none on PATH, and no apt-get to fetch one"
mkdir -p "$tools"
work=$(mktemp -d "$tools/prometheus.XXXXXX")
trap 'rm -rf "$work"' EXIT
download() { (cd "$work" && apt-get download -qq prometheus >"$work/log" 2>&1); }
# apt's lists may be older than the archive, or not there.
download || { [ "$(id -u)" = 0 ] && apt-get update -qq >/dev/null 2>&1 && download; } || {
  tail -n 5 "$work/log" >&2
  fail "apt-get download prometheus failed"
}
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xf - -C "$work" ./usr/bin/promtool ./usr/bin/prometheus
both_run "$work/usr/bin" || fail "what the package holds does not run"
mkdir -p "$kept"
for program in promtool prometheus; do mv -f "$work/usr/bin/$program" "$kept/$program"; done
echo "$kept"
