#!/usr/bin/env bash
# Installs what the tests need and runs them all. `scripts/test.sh --fast` leaves out what takes long: the
# fuzzing, the demo and the counting of instructions.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR="$root/target"
fast=${1:-}

scripts/peers.sh
export TIDEGATE_PEERS="$root/target/peers"

# What the demo is made of. Its tests would build it, too, and have not the minutes that this takes the first time.
cargo build --quiet --package tidegate --package tidegate-mock-provider --package shop
# Each fuzz target plays its corpus, then mutates it for this long.
[ "$fast" = "--fast" ] || export TIDEGATE_FUZZ_MILLIS=${TIDEGATE_FUZZ_MILLIS:-2000}
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --no-fail-fast
else
  cargo test --workspace --no-fail-fast
fi
if [ "$fast" != "--fast" ]; then
  scripts/demo.sh --check
  scripts/instructions.sh
fi
echo "test: all passed"
