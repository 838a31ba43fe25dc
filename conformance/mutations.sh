#!/usr/bin/env bash
# Proves that the cases can fail: for each deliberate bug of the server the cases that stand beside it
# in mutations.tsv must fail. --all tries every case with every bug, by WebSocket and JSON, and writes
# that file anew, and the table in docs/testing.md; it takes the better part of an hour.
set -euo pipefail
cd "$(dirname "$0")/.."

# Most of a failing case's time is waiting.
at_once=4
target=${CARGO_TARGET_DIR:-$PWD/target}
tools/programs.sh --features chirm-server/mutations
# The next build takes the feature away again, and cases may be changed meanwhile: what is tried here
# mustn't be mixed up with that.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$target/debug/chirm" "$scratch/chirm"
cp "$target/debug/chirm-conformance" "$scratch/conformance"
export CHIRM="$scratch/chirm"

# Which cases fail with a bug; arguments choose the cases.
failing() {
  local bug=$1 code=0
  shift
  CHIRM_MUTATION=$bug "$scratch/conformance" server --spawn conformance/spawn-chirm.sh --quiet \
    --seed 1 --report "json=$scratch/$bug.json" "$@" >"$scratch/$bug.out" 2>&1 || code=$?
  if [ "$code" -gt 1 ]; then
    cat "$scratch/$bug.out" >&2
    return 1
  fi
  jq -r '[.runs[] | select(.verdict == "failed") | .id] | unique | .[]' "$scratch/$bug.json"
}

# Whether the first two of the cases notice a bug: one is proof, the second is there in case that the
# first is about more.
caught() {
  local bug=$1 found
  shift
  found=$(failing "$bug" "${@/#/--case=}")
  if [ -n "$found" ]; then
    echo "caught: $bug by $(head -1 <<<"$found")"
  else
    cat "$scratch/$bug.out"
    echo "FAILED: no case noticed the bug $bug"
    return 1
  fi
}

if [ "${1:-}" = --all ]; then
  "$CHIRM" mutations >"$scratch/names"
  while IFS=$'\t' read -r bug what; do
    found=$(failing "$bug" --carrier ws-json --at-once 40 </dev/null | tr '\n' ' ')
    printf '%s\t%s\t%s\n' "$bug" "$what" "${found% }"
    echo "$bug: $(wc -w <<<"$found") cases" >&2
  done <"$scratch/names" >"$scratch/mutations.tsv"
  cp "$scratch/mutations.tsv" conformance/mutations.tsv
  exec conformance/mutations-table.sh
fi

missed=0
while IFS=$'\t' read -r bug _ cases; do
  [ -n "$cases" ] || continue
  read -r -a ids <<<"$cases"
  caught "$bug" "${ids[@]:0:2}" </dev/null &
  if [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; then
    wait -n || missed=1
  fi
done <conformance/mutations.tsv
while [ -n "$(jobs -p)" ]; do
  wait -n || missed=1
  jobs >/dev/null
done
exit $missed
