#!/usr/bin/env bash
# Builds the executable of profile `dist`, arranged by what it was seen to do.
# A first build counts what it does in one short round of each scene of `scripts/bench.sh` (installed before), a second
# one uses the counts: what is executed together stands together.
# `--plain` leaves the counting out. Ends with target/dist/tidegate; some 45 minutes on two cores, 20 with `--plain`.
# Any other build of the profile, `scripts/bench.sh`'s among them, puts the plain one in its place again: keep a copy.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
say() { echo "dist: $*" >&2; }

build() { CARGO_INCREMENTAL=0 cargo build --profile dist --quiet --package tidegate "$@"; }

case "${1:-}" in
  '') ;;
  --plain) CARGO_TARGET_DIR="$root/target" build; exit ;;
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$root/scripts/dist.sh"; exit ;;
  *) say "unknown argument $1; --plain and --help are known"; exit 2 ;;
esac

host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$profdata" ] || rustup component add llvm-tools >/dev/null 2>&1 || true
[ -x "$profdata" ] || { say "$profdata is missing: \`rustup component add llvm-tools\`, or use --plain"; exit 1; }
[ -x "$root/target/dist/mock-provider" ] || { say "the scenes are not installed: \`scripts/bench.sh --scene bare\` does it"; exit 1; }

# With `--target` only the program itself is counted, and not what the build runs on the way.
counts="$root/target/profile"
say "building what counts"
RUSTFLAGS="-Cprofile-generate=$counts/raw" CARGO_TARGET_DIR="$counts/counting" build --target "$host"
rm -rf "$counts/raw"
say "counting"
python3 -B bench/run.py --train "$counts/counting/$host/dist/tidegate"
"$profdata" merge -o "$counts/merged.profdata" "$counts/raw"
say "building what is shipped"
RUSTFLAGS="-Cprofile-use=$counts/merged.profdata" CARGO_TARGET_DIR="$counts/shipped" build --target "$host"
install "$counts/shipped/$host/dist/tidegate" "$root/target/dist/tidegate"
say "target/dist/tidegate"
