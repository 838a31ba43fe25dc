#!/usr/bin/env bash
# Replays the checked-in sample of a real conversation through the public API and lets the checker judge.
set -euo pipefail
cd "$(dirname "$0")/.."

sample=bench/data/ubuntu-irc-sample.jsonl
chirm=${CARGO_TARGET_DIR:-$PWD/target}/debug/chirm
cargo build --bin chirm

# One of the watchers is a program with the TypeScript client, as its sources are now.
client=clients/ts
if command -v node >/dev/null; then
  tools/npm.sh "$client"
  built=$client/dist/index.js
  if [ ! -f "$built" ] || [ -n "$(find "$client/src" -newer "$built" -print -quit)" ]; then
    npm run --silent build --prefix "$client"
  fi
  with=(--ts-client "$client")
else
  echo "SKIPPED: the watcher by the TypeScript client needs node" >&2
  with=()
fi
"$chirm" replay "$sample" --verify "${with[@]}" </dev/null
