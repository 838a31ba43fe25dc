#!/usr/bin/env bash
# A second opinion on the wire: connectrpc's conformance runner and h2spec against the server's own port with
# a service for them (conformance/wire). A surprise either way is a failure: a case that fails, and one that
# is known to fail and passes. Both tools are Go programs, built once at pinned versions and kept in
# $XDG_CACHE_HOME/chirm. Not part of `make test`, since Go isn't everybody's.
set -euo pipefail
cd "$(dirname "$0")/.."

runner=connectrpc.com/conformance/cmd/connectconformance@v1.0.7
h2spec=github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
kept=${XDG_CACHE_HOME:-$HOME/.cache}/chirm
here=$PWD/conformance/wire
service=${CARGO_TARGET_DIR:-$PWD/target}/debug/chirm-wire-service

# installed PROGRAM@VERSION: prints where it is.
installed() {
  local name=${1##*/} to
  name=${name%@*}
  to=$kept/$name-${1##*@}
  if [ ! -x "$to/$name" ]; then
    if ! command -v go >/dev/null; then
      echo "wire: $name is built by Go, and there is no Go here: https://go.dev/doc/install" >&2
      return 1
    fi
    echo "wire: building ${1##*/} once, into $to" >&2
    GOBIN=$to go install "$1" >&2
  fi
  echo "$to/$name"
}

runner=$(installed "$runner")
h2spec=$(installed "$h2spec")
cargo build --quiet -p chirm-wire-service
scratch=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" && wait "$server" || true; }
  rm -rf "$scratch"
}
trap stop EXIT
failed=0

conformance() {
  local out=$scratch/runner passed total
  "$runner" --mode server --conf "$here/server.yaml" --known-failing "@$here/known-failing.txt" \
    --known-flaky "@$here/known-flaky.txt" -- "$service" >"$out" 2>&1 || failed=1
  passed=$(sed -n 's/^\([0-9]*\) passed, .*/\1/p' "$out" | tail -1)
  total=$(sed -n 's/^Total cases: //p' "$out" | tail -1)
  if [ "$failed" = 1 ]; then
    grep -v '^stopping: ' "$out" | awk '/^[A-Z]/ { shown = !/^INFO:.*as expected/ } shown'
  fi
  echo "connectconformance: ${passed:-0} of ${total:-0} pass"
}

# The cases that fail each time, of at most five: h2spec takes an answer for a failure that had been sent
# before its bad frame came, and which is first is a matter of chance.
h2() {
  local known='× 2: Sends invalid connection preface' address total failing now
  "$service" --by-hand >"$scratch/ready" 2>"$scratch/log" &
  server=$!
  for _ in $(seq 300); do
    grep -q '^ready on ' "$scratch/ready" && break
    kill -0 "$server" || { cat "$scratch/log"; return 1; }
    sleep 0.1
  done
  address=$(sed -n 's/^ready on //p' "$scratch/ready")
  for round in $(seq 5); do
    "$h2spec" -h "${address%:*}" -p "${address#*:}" >"$scratch/h2spec" 2>&1 || true
    total=$(sed -n 's/^\([0-9]*\) tests, .*/\1/p' "$scratch/h2spec")
    [ -n "$total" ] || { cat "$scratch/h2spec"; return 1; }
    now=$(sed -n '/^Failures:/,$ s/^ *\(× .*\)/\1/p' "$scratch/h2spec" | sort -u)
    [ "$round" = 1 ] && failing=$now
    failing=$(comm -12 <(echo "$failing") <(echo "$now"))
    [ "$failing" = "$known" ] && break
  done
  if [ "$failing" != "$known" ]; then
    echo "h2spec: expected to fail: $known; failed each time: ${failing:-none}"
    grep -A8 '^ *× ' "$scratch/h2spec" || true
    failed=1
  fi
  echo "h2spec: $((total - $(grep -c '×' <<<"$failing" || true))) of $total pass"
}

conformance
h2
exit "$failed"
