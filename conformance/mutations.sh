#!/usr/bin/env bash
# Proves that the cases can fail: for each deliberate bug of the server the cases that stand beside it
# in mutations.tsv must fail. --all tries every case with every bug, and writes that file anew, and
# the table in docs/testing.md; it takes an hour and more.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --quiet --package chirm-server --bin chirm --features mutations
# The next build takes the feature away again; what is tried here mustn't be mixed up with that.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$target/debug/chirm" "$scratch/chirm"
cargo build --quiet --package chirm-conformance
export CHIRM="$scratch/chirm"

# Which cases (id@carrier) fail, of those that are named (all without names).
failing() {
  local bug=$1 args=()
  shift
  for id in "$@"; do args+=(--case "$id"); done
  [ $# -gt 0 ] || args=(--carrier grpc,ws-json)
  CHIRM_MUTATION=$bug "$target/debug/chirm-conformance" --cases conformance/cases server \
    --spawn conformance/spawn-chirm.sh --quiet --seed 1 --report "json=$scratch/report.json" \
    "${args[@]}" >"$scratch/out" 2>&1 || [ $? = 1 ]
  jq -r '.runs[] | select(.verdict == "failed") | .id' "$scratch/report.json" | sort -u
}

if [ "${1:-}" = --all ]; then
  "$CHIRM" mutations | while IFS=$'\t' read -r bug what; do
    found=$(failing "$bug" </dev/null | tr '\n' ' ')
    printf '%s\t%s\t%s\n' "$bug" "$what" "${found% }"
    echo "$bug: $(wc -w <<<"$found") cases" >&2
  done >"$scratch/mutations.tsv"
  cp "$scratch/mutations.tsv" conformance/mutations.tsv
  exec conformance/mutations-table.sh
fi

missed=0
while IFS=$'\t' read -r bug _ cases; do
  [ -n "$cases" ] || continue
  # One case is proof; a second, if there is one, in case the first is about more.
  read -r -a ids <<<"$cases"
  found=$(failing "$bug" "${ids[@]:0:2}" </dev/null)
  if [ -n "$found" ]; then
    echo "caught: $bug by $(head -1 <<<"$found")"
  else
    cat "$scratch/out"
    echo "FAILED: no case noticed the bug $bug"
    missed=1
  fi
done <conformance/mutations.tsv
exit $missed
