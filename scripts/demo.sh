#!/usr/bin/env bash
# Builds the gateway, the shop and a provider without a model, starts them, says what to try, and ends everything on Ctrl-C or SIGTERM.
# With --check it runs what it says to try, and ends.
#
# TIDEGATE_DEMO_PORTS holds other ports ("GATEWAY ADMIN CATALOG-1 CATALOG-2 ORDERS PROVIDER [BROKER]"), TIDEGATE_DEMO_DATA
# another folder for all that it writes (emptied, so it must be a new one or an earlier demo's), TIDEGATE_DEMO_BIN a
# folder with the binaries, which are then not built. With OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY in the
# environment, `smart` is that vendor's model of the name in TIDEGATE_DEMO_MODEL (a small one without it), at the address
# in TIDEGATE_DEMO_BASE_URL (the vendor's own without it), and calls cost money.
set -euo pipefail
case "${1:-}" in
  '' | --check) ;;
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  *) echo "demo: unknown argument $1; --check and --help are known" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR="$root/target"
# A demo on other ports may run beside another one.
data=${TIDEGATE_DEMO_DATA:-target/demo${TIDEGATE_DEMO_PORTS:+-${TIDEGATE_DEMO_PORTS%% *}}}
bin=${TIDEGATE_DEMO_BIN:-target/debug}
config=examples/shop/tidegate.yaml
names=() # of what was started, in order; their process ids are in `pids`
pids=()

# Whatever is started gets a process group of its own (`set -m`), so that what it starts ends with it and Ctrl-C,
# which a terminal sends to a whole group, reaches this script alone.
stop() {
  trap '' INT TERM HUP
  trap - EXIT
  for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  for _ in $(seq 100); do # ten seconds, after which it is not asked any more
    local alive=0
    for pid in "${pids[@]}"; do if kill -0 "$pid" 2>/dev/null; then alive=1; fi; done
    [ $alive = 1 ] || break
    sleep 0.1
  done
  for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  # The numbers may soon be another's. Before anything was started, the files are another demo's.
  [ ${#pids[@]} = 0 ] || rm -f "$data"/*.pid
}
trap stop EXIT
trap 'stop; exit 0' INT TERM HUP

fail() { echo "demo: $*" >&2; exit 1; }

read -r -a ports <<<"${TIDEGATE_DEMO_PORTS:-8080 9080 7001 7002 7003 7100 4222}"
[ ${#ports[@]} = 6 ] || [ ${#ports[@]} = 7 ] || fail "TIDEGATE_DEMO_PORTS must hold six ports: gateway, admin, catalog-1, catalog-2, orders, provider; and by choice that of the broker"
gateway=127.0.0.1:${ports[0]} admin=127.0.0.1:${ports[1]}
catalog_1=127.0.0.1:${ports[2]} catalog_2=127.0.0.1:${ports[3]} orders=127.0.0.1:${ports[4]}
provider=127.0.0.1:${ports[5]}
# A broker is started where there is a port for it: `nats-server` as it is installed, or fetched into target/peers, where
# the tests look for it, too.
broker='' nats='' broker_port=${ports[6]:-}
if [ -n "${ports[6]:-}" ]; then
  look_for_nats() {
    for place in "$(command -v nats-server || true)" target/peers/nats/usr/sbin/nats-server; do
      if [ -z "$nats" ] && [ -n "$place" ] && [ -x "$place" ]; then nats=$place; fi
    done
  }
  look_for_nats
  if [ -z "$nats" ]; then
    echo "demo: fetching nats-server, for messages" >&2
    why_no_broker=$(scripts/fetch.sh nats-server target/peers/nats 2>&1 >/dev/null) || true
    look_for_nats
  fi
  # Whoever has a broker there already keeps it.
  if [ -n "$nats" ] && ! (exec 3<>"/dev/tcp/127.0.0.1/${ports[6]}") 2>/dev/null; then broker=127.0.0.1:${ports[6]}; fi
  unset 'ports[6]'
fi

taken=()
for port in "${ports[@]}"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then taken+=("$port"); fi
done
[ ${#taken[@]} = 0 ] || fail "the ports ${taken[*]} of 127.0.0.1 are taken; end what listens there (ss -ltnp shows it)"

# Nobody runs on these ports, so what an earlier demo left is of no use to anyone, its process numbers least of all.
if [ -n "${TIDEGATE_DEMO_DATA:-}" ] && [ -e "$data" ] && [ ! -e "$data/.demo" ]; then
  rmdir "$data" 2>/dev/null || fail "TIDEGATE_DEMO_DATA is $data, which holds what no demo wrote: name a new folder"
fi
rm -rf "$data"
mkdir -p "$data"
touch "$data/.demo"

# Other ports or another provider than those of the configuration: a copy of it that has them.
real=() # kind of provider, environment variable with its key, model
if [ -n "${OPENAI_API_KEY:-}" ]; then
  real=(openai OPENAI_API_KEY gpt-4o-mini)
elif [ -n "${ANTHROPIC_API_KEY:-}" ]; then
  real=(anthropic ANTHROPIC_API_KEY claude-haiku-4-5)
elif [ -n "${GEMINI_API_KEY:-}" ]; then
  real=(gemini GEMINI_API_KEY gemini-2.5-flash)
fi
# A text as YAML has it, for a replacement of sed's between bars.
quoted() {
  printf "'%s'" "${1//\'/\'\'}" | sed 's/[&|\\]/\\&/g'
}
if [ -n "${TIDEGATE_DEMO_PORTS:-}${real[*]}" ]; then
  provide=
  if [ ${#real[@]} -gt 0 ]; then
    # Their prices are those of the catalogue.
    provide="/^  prices:/d; /input: \"0.10\"/d"
    at=${TIDEGATE_DEMO_BASE_URL:+, baseUrl: $(quoted "$TIDEGATE_DEMO_BASE_URL")}
    provide="$provide; s|kind: openai-compatible, baseUrl: [^,}]*|kind: ${real[0]}$at, keys: [{env: ${real[1]}}]|; t"
    provide="$provide; s|model: mock|model: $(quoted "${TIDEGATE_DEMO_MODEL:-${real[2]}}")|; t"
  fi
  # One substitution a line, so that a new port is not taken for an old one.
  sed -e "s/127.0.0.1:8080/$gateway/; t; s/127.0.0.1:9080/$admin/; t; s/127.0.0.1:7001/$catalog_1/; t" \
    -e "s/127.0.0.1:7002/$catalog_2/; t; s/127.0.0.1:7003/$orders/; t" \
    -e "$provide" \
    -e "s/127.0.0.1:4222/${broker:-127.0.0.1:4222}/; t" \
    -e "s/127.0.0.1:7100/$provider/" "$config" >"$data/tidegate.yaml"
  cp examples/shop/demo-key.txt examples/shop/catalog.openapi.json examples/shop/prices.binpb "$data/"
  config=$data/tidegate.yaml
fi

start() { # name, command...: its output is in a log of that name
  local name=$1
  shift
  set -m
  "$@" >"$data/$name.log" 2>&1 </dev/null &
  set +m
  names+=("$name")
  pids+=($!)
  echo $! >"$data/$name.pid"
}

build() { # arguments of the build
  set -m
  cargo build --quiet "$@" &
  set +m
  pids=($!)
  # Waiting is what a signal interrupts; a command in the foreground would be waited for first.
  wait "${pids[0]}" || fail "the build failed"
  pids=()
}
if [ -z "${TIDEGATE_DEMO_BIN:-}" ]; then
  echo "demo: building (the first time takes some minutes)"
  build --package tidegate --package tidegate-mock-provider --package shop
fi

start catalog-1 "$bin/catalog" --listen "$catalog_1" --store "$data/catalog-1.sqlite" --instance catalog-1
start catalog-2 "$bin/catalog" --listen "$catalog_2" --store "$data/catalog-2.sqlite" --instance catalog-2 --slow 40
start orders "$bin/orders" --listen "$orders" --store "$data/orders.sqlite" --instance orders-1
start provider "$bin/mock-provider" --listen "$provider"
[ -z "$broker" ] || start broker "$nats" -a 127.0.0.1 -p "${broker##*:}" -js -sd "$data/broker"
start gateway "$bin/tidegate" run --config "$config" --data-dir "$data/gateway"

get() { # address, path: the status alone, without needing curl
  exec 3<>"/dev/tcp/${1/://}" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n' "$2" >&3
  read -r _ status _ <&3 || status=0
  exec 3>&-
  echo "$status"
} 2>/dev/null
died() { # name, status
  tail -n 20 "$data/$1.log" >&2
  fail "$1 ended with status $2; its log is $data/$1.log"
}
ready() { # name, address
  local pid status
  pid=$(cat "$data/$1.pid")
  for _ in $(seq 150); do
    if ! kill -0 "$pid" 2>/dev/null; then
      status=0
      wait "$pid" || status=$?
      died "$1" "$status"
    fi
    if status=$(get "$2" "${3:-/readyz}") && [ "$status" = 200 ]; then return; fi
    sleep 0.1
  done
  fail "$1 is not ready after 15 s; its log is $data/$1.log"
}
ready catalog-1 "$catalog_1"
ready catalog-2 "$catalog_2"
ready orders "$orders"
ready provider "$provider" /v1/models
ready gateway "$admin"

jetstream() { # subject, settings: asks the broker as its protocol has it
  exec 3<>"/dev/tcp/${broker/://}" || return 1
  printf 'CONNECT {"verbose":false}\r\nSUB _INBOX.demo 1\r\nPUB %s _INBOX.demo %s\r\n%s\r\n' "$1" "${#2}" "$2" >&3
  timeout 2 grep -m 1 -a '^{' <&3
  exec 3>&-
} 2>/dev/null
if [ -n "$broker" ]; then
  for _ in $(seq 50); do
    if jetstream '$JS.API.STREAM.CREATE.SHOP' '{"name": "SHOP", "subjects": ["shop.>"], "num_replicas": 1}' | grep -q '"config"'; then break; fi
    sleep 0.1
  done
fi

tries=(
  "A routed call"
  "curl -si http://$gateway/v1/products -H 'x-api-key: demo-key'"
  "The same, in version 2, asked for by media type"
  "curl -s http://$gateway/products -H 'accept: application/vnd.shop.v2+json'"
  "A limit of 5 in ten seconds: eight calls, 200 until 429"
  "curl -so /dev/null -w '%{http_code} ' 'http://$gateway/v1/products?[1-8]' -H 'x-api-key: demo-key'; echo"
  "An outage that nobody notices: one of two instances dies, every answer is 200"
  "kill \$(cat $data/catalog-1.pid); for i in 1 2 3 4 5 6 7 8; do curl -so /dev/null -w '%{http_code} ' http://$gateway/v1/greeting; done; echo"
  "Why a request goes where it goes, and how its endpoints are"
  "TIDEGATE_DATA_DIR=$data/gateway $bin/tidegate routes explain GET http://$gateway/v1/products -c $config --admin $admin"
  "A model, asked as OpenAI's SDK does (others: see docs/ai.md), and who answered"
  "curl -si http://$gateway/ai/v1/chat/completions -H 'x-api-key: demo-key' -d '{\"model\": \"smart\", \"messages\": [{\"role\": \"user\", \"content\": \"What is a tide?\"}]}'"
  "The same as Anthropic's SDK does, word by word"
  "curl -siN http://$gateway/ai/v1/messages -H 'te: trailers' -H 'connection: te' -H 'x-api-key: demo-key' -H 'anthropic-version: 2023-06-01' -d '{\"model\": \"smart\", \"max_tokens\": 100, \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"What is a tide?\"}]}'"
  "A prompt as a REST API: typed in, typed out"
  "curl -si 'http://$gateway/v1/describe?product=Sea+chart' -H 'x-api-key: demo-key'"
  "The same prompt as a tool of MCP (its client is no SDK, but curl), with a receipt"
  "curl -s http://$gateway/mcp -H 'x-api-key: demo-key' -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2026-07-28' -H 'mcp-method: tools/call' -H 'mcp-name: describe' -d '{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/call\", \"params\": {\"name\": \"describe\", \"arguments\": {\"product\": \"Sea chart\"}, \"_meta\": {\"io.modelcontextprotocol/protocolVersion\": \"2026-07-28\", \"io.modelcontextprotocol/clientInfo\": {\"name\": \"curl\", \"version\": \"8\"}, \"io.modelcontextprotocol/clientCapabilities\": {}}}}'; echo"
  "One answer from three calls, in parallel: an order that is placed first, the products and a greeting"
  "id=\$(curl -s http://$gateway/v1/orders -H 'x-api-key: demo-key' -d '{\"items\": [{\"productId\": 1, \"quantity\": 2}]}' | grep -o '\"id\":[0-9]*' | head -n 1 | cut -d: -f2); curl -si http://$gateway/v1/order-page/\$id -H 'x-api-key: demo-key'"
  "REST in, gRPC out: a price, and a stream of prices as server-sent events"
  "curl -s http://$gateway/v1/prices/1; echo; curl -sN http://$gateway/v1/prices/1:watch -H 'accept: text/event-stream'"
  "Metrics"
  "curl -s http://$admin/metrics | grep ^tidegate_requests_total"
  "An answer that is kept: the second comes without the service"
  "for i in 1 2; do curl -si http://$gateway/cached/products | grep -i ^cache-status; done"
)

if [ -n "$broker" ]; then
  tries+=(
    "A request that becomes a message of a broker's, kept before it is answered; sent again it is known"
    "for i in 1 2; do curl -s http://$gateway/v1/wishes -H 'x-api-key: demo-key' -H 'content-type: application/json' -H 'idempotency-key: wish-1' -d '{\"product\": \"Sextant\"}'; echo; done"
  )
fi

if [ "${1:-}" = --check ]; then
  out() { bash -c "${tries[$1]}"; }
  expect() { # what, where, text
    case "$2" in *"$3"*) echo "demo: $1: ok" ;; *) printf '%s\n' "$2" >&2; fail "$1: expected ‘$3’" ;; esac
  }
  expect "routed call" "$(out 1)" '"Sea chart","price":1890'
  expect "versioned call" "$(out 3)" '"currency":"EUR"'
  sleep 2.1 # the bucket is full again
  expect "limited call" "$(out 5)" '200 200 200 200 200 429 429 429'
  expect "unnoticed outage" "$(out 7)" '200 200 200 200 200 200 200 200'
  expect "explained route" "$(out 9)" 'keyAuth'
  expect "model" "$(out 11)" 'x-tidegate-provider: '
  expect "streamed model" "$(out 13)" 'event: message_stop'
  expect "prompt" "$(out 15)" '{"text":'
  expect "tool" "$(out 17)" '"tidegate/receipt"'
  expect "composed answer" "$(out 19)" '"greeting":"Welcome aboard"'
  expect "transcoded call" "$(out 21)" '"name":"Sea chart","cents":"1890"'
  expect "transcoded stream" "$(out 21)" 'event: end'
  expect "metrics" "$(out 23)" 'route="products"'
  expect "kept answer" "$(out 25)" 'tidegate; hit'
  if [ -n "$broker" ]; then expect "published message" "$(out 27)" '"duplicate":true'; fi
  exit 0
fi

broker_told="none, and so nothing is published: ${why_no_broker:-${broker_port:+port $broker_port is taken}}"
[ -z "$broker" ] || broker_told=nats://$broker
cat <<END

Tidegate is running.

  the gateway      http://$gateway
  admin, metrics   http://$admin     (admin token: $data/gateway/admin-token)
  catalog          http://$catalog_1 and, slower, http://$catalog_2
  orders           http://$orders
  provider         http://$provider (of models, without a model: six dialects)
  broker           $broker_told
  configuration    $config (edit it: it is applied at once)
  logs             $data/*.log

Try, in another terminal in this folder:
END
for ((at = 0; at < ${#tries[@]}; at += 2)); do
  printf '\n  # %s\n  %s\n' "${tries[at]}" "${tries[at + 1]}"
done
printf '\nCtrl-C ends everything.\n'

# A service that was asked to end (status 0, as in the outage above) is missed by nobody. One that breaks, and a
# gateway that ends at all, ends the demo.
running=("${pids[@]}")
while [ ${#running[@]} -gt 0 ]; do
  status=0
  wait -n -p gone "${running[@]}" || status=$?
  for at in "${!pids[@]}"; do
    [ "${pids[at]}" = "$gone" ] || continue
    name=${names[at]}
    [ "$status" = 0 ] && [ "$name" != gateway ] || died "$name" "$status"
    # Its number may soon be another's, who is not to be ended with the demo.
    unset "pids[at]" "names[at]"
    rm -f "$data/$name.pid"
    echo "demo: $name was asked to end; the others go on"
  done
  left=()
  for pid in "${running[@]}"; do [ "$pid" = "$gone" ] || left+=("$pid"); done
  running=("${left[@]}")
done
