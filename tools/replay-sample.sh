#!/usr/bin/env bash
# Replays the checked-in sample of a real conversation through the public API and lets the checker judge.
set -euo pipefail
cd "$(dirname "$0")/.."

sample=bench/data/ubuntu-irc-sample.jsonl
chirm=${CARGO_TARGET_DIR:-$PWD/target}/debug/chirm
cargo build --bin chirm
"$chirm" replay "$sample" --verify </dev/null
