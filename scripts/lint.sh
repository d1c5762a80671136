#!/usr/bin/env bash
# Formatting and lints of every workspace; warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR="$root/target"
cargo fmt --all --check
(cd fuzz && cargo fmt --check)
(cd bench/tools && cargo fmt --check)
cargo clippy --workspace --all-targets --quiet -- -D warnings
# What is switched off by a feature is left out whole.
cargo clippy --package tidegate-proxy --no-default-features --quiet -- -D warnings
(cd fuzz && cargo check --quiet)
(cd bench/tools && CARGO_TARGET_DIR="$root/target/bench/tools" cargo clippy --quiet -- -D warnings)
if cargo deny --version >/dev/null 2>&1; then
  cargo deny --all-features check bans licenses sources
else
  echo "lint: cargo-deny is not installed; deny.toml was not checked"
fi
echo "lint: clean"
