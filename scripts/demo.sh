#!/usr/bin/env bash
# Builds the gateway and the shop, starts them, says what to try, and ends everything on Ctrl-C or SIGTERM.
# With --check it runs what it says to try, and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR="$root/target"
data="$root/target/demo"
config=examples/shop/tidegate.yaml
pids=()

stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  # The numbers may soon be another's. Before anything was started, the files are another demo's.
  [ ${#pids[@]} = 0 ] || rm -f "$data"/*.pid
}
trap stop EXIT
trap 'stop; exit 0' INT TERM

fail() { echo "demo: $*" >&2; exit 1; }

taken=()
for port in 8080 9080 7001 7002 7003; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then taken+=("$port"); fi
done
[ ${#taken[@]} = 0 ] || fail "the ports ${taken[*]} of 127.0.0.1 are taken; end what listens there (ss -ltnp shows it)"

# Nobody runs on these ports, so what an earlier demo left is of no use to anyone, its process numbers least of all.
rm -rf "$data"
mkdir -p "$data"

echo "demo: building (the first time takes some minutes)"
cargo build --quiet --package tidegate
(cd examples/shop && cargo build --quiet)

bin="$CARGO_TARGET_DIR/debug"
start() { # name, command...
  local name=$1
  shift
  "$@" >"$data/$name.log" 2>&1 &
  pids+=($!)
  echo $! >"$data/$name.pid"
}
start catalog-1 "$bin/catalog" --listen 127.0.0.1:7001 --store "$data/catalog-1.sqlite" --instance catalog-1
start catalog-2 "$bin/catalog" --listen 127.0.0.1:7002 --store "$data/catalog-2.sqlite" --instance catalog-2 --slow 40
start orders "$bin/orders" --listen 127.0.0.1:7003 --store "$data/orders.sqlite" --instance orders-1
start gateway "$bin/tidegate" run --config "$config" --data-dir "$data/gateway"

ready() { # name, port
  for _ in $(seq 150); do
    kill -0 "$(cat "$data/$1.pid")" 2>/dev/null || { tail -n 20 "$data/$1.log" >&2; fail "$1 ended"; }
    if status=$(get "$2" /readyz) && [ "$status" = 200 ]; then return; fi
    sleep 0.1
  done
  fail "$1 is not ready after 15 s; its log is $data/$1.log"
}
get() { # port, path: the status alone, without needing curl
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n' "$2" >&3
  read -r _ status _ <&3 || status=0
  exec 3>&-
  echo "$status"
} 2>/dev/null
ready catalog-1 7001
ready catalog-2 7002
ready orders 7003
ready gateway 9080

tries=(
  "A routed call"
  "curl -si http://127.0.0.1:8080/v1/products -H 'x-api-key: demo-key'"
  "The same, in version 2, asked for by media type"
  "curl -s http://127.0.0.1:8080/products -H 'accept: application/vnd.shop.v2+json'"
  "A limit of 5 in ten seconds: eight calls, 200 until 429"
  "curl -so /dev/null -w '%{http_code} ' 'http://127.0.0.1:8080/v1/products?[1-8]' -H 'x-api-key: demo-key'; echo"
  "An outage that nobody notices: one of two instances dies, every answer is 200"
  "kill \$(cat target/demo/catalog-1.pid); for i in 1 2 3 4 5 6 7 8; do curl -so /dev/null -w '%{http_code} ' http://127.0.0.1:8080/v1/greeting; done; echo"
  "Why a request goes where it goes, and how its endpoints are"
  "TIDEGATE_DATA_DIR=target/demo/gateway target/debug/tidegate routes explain GET http://127.0.0.1:8080/v1/products -c $config --admin 127.0.0.1:9080"
  "Metrics"
  "curl -s http://127.0.0.1:9080/metrics | grep ^tidegate_requests_total"
)

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
  expect "metrics" "$(out 11)" 'route="products"'
  exit 0
fi

cat <<END

Tidegate is running.

  the gateway      http://127.0.0.1:8080
  admin, metrics   http://127.0.0.1:9080     (admin token: $data/gateway/admin-token)
  catalog          http://127.0.0.1:7001 and, slower, http://127.0.0.1:7002
  orders           http://127.0.0.1:7003
  configuration    $config (edit it: it is applied at once)
  logs             $data/*.log

Try, in another terminal in this folder:
END
for ((at = 0; at < ${#tries[@]}; at += 2)); do
  printf '\n  # %s\n  %s\n' "${tries[at]}" "${tries[at + 1]}"
done
printf '\nCtrl-C ends everything.\n'
wait "${pids[-1]}" || true
