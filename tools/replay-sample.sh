#!/usr/bin/env bash
# Replays the checked-in sample of a real conversation through the public API, browsers' watchers
# through a standalone bridge, and lets the checker judge.
set -euo pipefail
cd "$(dirname "$0")/.."

sample=bench/data/ubuntu-irc-sample.jsonl
chirm=${CARGO_TARGET_DIR:-$PWD/target}/debug/chirm
cargo build --bin chirm --bin chirm-bridge-ws
"$chirm" replay "$sample" --verify --via-bridge </dev/null
