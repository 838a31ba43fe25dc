#!/usr/bin/env bash
# Replays the checked-in sample of a real conversation through the public API and lets the checker judge.
set -euo pipefail
cd "$(dirname "$0")/.."

sample=bench/data/ubuntu-irc-sample.jsonl
chirm=${CARGO_TARGET_DIR:-$PWD/target}/debug/chirm
if [ ! -f "$sample" ]; then
  echo "SKIPPED: replay (no $sample)"
  exit 0
fi
cargo build --bin chirm
"$chirm" replay "$sample" --verify </dev/null
