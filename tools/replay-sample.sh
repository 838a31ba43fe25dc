#!/usr/bin/env bash
# Replays the checked-in sample of a real conversation through the public API, browsers' watchers
# through a standalone bridge and one of them in Node, and lets the checker judge.
set -euo pipefail
cd "$(dirname "$0")/.."

sample=bench/data/ubuntu-irc-sample.jsonl
chirm=${CARGO_TARGET_DIR:-$PWD/target}/debug/chirm
tools/programs.sh

# The TypeScript client as its sources are now.
client=clients/ts
tools/npm.sh "$client"
built=$client/dist/index.js
if [ ! -f "$built" ] || [ -n "$(find "$client/src" -newer "$built" -print -quit)" ]; then
  npm run --silent build --prefix "$client"
fi

"$chirm" replay "$sample" --verify --via-bridge --ts-client "$client" </dev/null
