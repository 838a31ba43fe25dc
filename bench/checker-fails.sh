#!/usr/bin/env bash
# Proves that the replay's checker can fail: each deliberate bug of the feature `mutations` must be
# caught, and without a bug the same replay must pass.
set -euo pipefail
cd "$(dirname "$0")/.."

sample=bench/data/ubuntu-irc-sample.jsonl
target=${CARGO_TARGET_DIR:-$PWD/target}
tools/programs.sh --features chirm-server/mutations
# The next build takes the feature away again; what is tried here mustn't be mixed up with that.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$target/debug/chirm" "$scratch/chirm"

replay() {
  CHIRM_MUTATION=$1 "$scratch/chirm" replay "$sample" --verify </dev/null 2>&1
}

if ! out=$(replay none); then
  echo "$out"
  echo "FAILED: without a bug the replay must pass"
  exit 1
fi
for bug in nonce_forgotten dedupe_off jump_check_off ring_incomplete epoch_kept ack_before_persist \
  presence_kept leaver_kept; do
  if out=$(replay "$bug"); then
    echo "FAILED: the checker missed the bug $bug"
    exit 1
  fi
  # A replay that failed for another reason proves nothing.
  if ! grep -qE '^I[0-9]+: ' <<<"$out"; then
    echo "$out"
    echo "FAILED: the bug $bug broke the replay itself"
    exit 1
  fi
  echo "caught: $bug by $(grep -oE '^I[0-9]+' <<<"$out" | sort -u | tr '\n' ' ')"
done
