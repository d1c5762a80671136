#!/usr/bin/env bash
# Counts instructions per request of the codec and of the gateway with callgrind and compares them with
# bench/instructions.toml. `--record` writes what is counted there; `--look BINARY` prints those of another build.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR="$root/target"
scripts/peers.sh
if [ -x "$root/target/peers/valgrind/usr/bin/valgrind" ]; then
  export PATH="$root/target/peers/valgrind/usr/bin:$PATH" VALGRIND_LIB="$root/target/peers/valgrind/usr/libexec/valgrind"
fi
# The gateway as `make test` has built it anyway; the codec, which is small, as it is released.
cargo build --quiet --package tidegate
cargo build --quiet --release --package tidegate-http1 --example codec_instructions
exec python3 -B bench/instructions.py --tidegate "$root/target/debug/tidegate" \
  --codec "$root/target/release/examples/codec_instructions" "$@"
