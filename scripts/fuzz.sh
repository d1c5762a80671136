#!/usr/bin/env bash
# Runs fuzz targets under libFuzzer: scripts/fuzz.sh [target|all] [seconds]. Needs `cargo install cargo-fuzz` and runs
# on the stable toolchain. What is found is in fuzz/artifacts; new inputs go to a scratch corpus, not to the stored one.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
export RUSTC_BOOTSTRAP=1
target=${1:-all}
seconds=${2:-120}
cargo fuzz --version >/dev/null || { echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
# Our code forbids `unsafe`; the address sanitizer would watch the C libraries alone and halves the speed.
# FUZZ_SANITIZER=address turns it on.
options=(--sanitizer "${FUZZ_SANITIZER:-none}")
cargo fuzz build "${options[@]}"
[ "$target" != all ] || target=$(cargo fuzz list)
failed=()
for name in $target; do
  scratch=target/corpus/$name
  mkdir -p "$scratch"
  arguments=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0)
  if [ -f "dictionaries/$name.dict" ]; then arguments+=(-dict="dictionaries/$name.dict"); fi
  echo "fuzz: $name for $seconds s"
  cargo fuzz run "${options[@]}" "$name" "$scratch" "corpus/$name" -- "${arguments[@]}" || failed+=("$name")
done
[ ${#failed[@]} = 0 ] || { echo "fuzz: found something in ${failed[*]}; see fuzz/artifacts" >&2; exit 1; }
echo "fuzz: nothing found"
