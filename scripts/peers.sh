#!/usr/bin/env bash
# Installs the real peers that the tests talk to, into target/peers, without root: a Python environment with
# official clients, and from Debian's packages Prometheus' promtool and valgrind. Versions are stated here and
# nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/target/peers
mkdir -p "$peers"

say() { echo "peers: $*" >&2; }

python_packages=(
  grpcio==1.76.0 grpcio-health-checking==1.76.0 websockets==15.0.1 hypercorn==0.18.0 "httpx[http2]==0.28.1"
  opentelemetry-proto==1.45.2 opentelemetry-semantic-conventions==0.66b2
)
stamp="$peers/python-$(printf '%s\n' "${python_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then
      apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
      say "python3-venv is missing: install it with your package manager and run this again"
      exit 1
    fi
  fi
  rm -rf "$peers/python"
  python3 -m venv "$peers/python"
  "$peers/python/bin/python" -m pip install --quiet --disable-pip-version-check "${python_packages[@]}"
  touch "$stamp"
  say "installed ${python_packages[*]}"
fi

if [ ! -x "$peers/promtool" ]; then
  if command -v promtool >/dev/null; then
    ln -sf "$(command -v promtool)" "$peers/promtool"
  else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; })
    dpkg-deb -x "$folder"/prometheus_*.deb "$folder/tree"
    cp "$folder/tree/usr/bin/promtool" "$peers/promtool"
    say "installed promtool"
  fi
fi

if [ ! -x "$peers/valgrind/usr/bin/valgrind" ] && ! command -v valgrind >/dev/null; then
  unpacked=$(mktemp -d)
  (cd "$unpacked" && { apt-get download -qq valgrind || { apt-get update -qq && apt-get download -qq valgrind; }; })
  dpkg-deb -x "$unpacked"/valgrind_*.deb "$peers/valgrind"
  rm -rf "$unpacked"
  say "installed valgrind"
fi
