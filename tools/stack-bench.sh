#!/usr/bin/env bash
# Sends on real servers (docs/performance.md): how many a second, how long one takes, Chirm's own CPU time, and how
# many calls of Redis and requests of CQL a send makes and for how long it waits for them, by the node's own metrics.
# Usage: tools/stack-bench.sh [CONNECTIONS [IN_FLIGHT [MESSAGES]]]    1 1 5000 and 50 8 50000 if nothing is named
# CHIRM_STACK as of tools/stack.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR
. tools/stack/settings.sh

target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --profile quick --bin chirm
chirm=$target/quick/chirm
tools/stack.sh up postgres redis cql
eval "$(tools/stack.sh env)"
settings "bench_$$_$RANDOM"
export CHIRM__LOG__LEVEL=warn

folder=$(mktemp -d)
"$chirm" serve --dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data "$folder" >"$folder/out" &
node=$!
trap 'kill $node 2>/dev/null; wait $node || true; rm -rf "$folder"' EXIT
until url=$(sed -n 's/^chirm ready on //p' "$folder/out") && [ -n "$url" ]; do
  kill -0 $node
  sleep 0.1
done
CHIRM_KEY=$("$chirm" key create --data "$folder" --name bench --json | sed 's/.*"token":"\([^"]*\)".*/\1/')
export CHIRM_KEY

# count NAME: how many such there were, of all kinds named.
count() { curl -fsS "$url/metrics" | awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { print sum + 0 }'; }
# counts: sends, calls of Redis and their seconds, requests to CQL that read, that write, and the seconds of these.
counts() {
  local name
  for name in chirm_messages_sent_total chirm_redis_call_seconds_count chirm_redis_call_seconds_sum \
    'chirm_cql_request_seconds_count{kind="read"}' 'chirm_cql_request_seconds_count{kind="write"}' \
    'chirm_cql_request_seconds_sum{kind="write"}'; do
    count "$name"
  done
}

# sends CONNECTIONS IN_FLIGHT MESSAGES
sends() {
  local before after
  mapfile -t before < <(counts)
  "$chirm" bench send --server "$url" --pid $node --connections "$1" --in-flight "$2" --messages "$3"
  mapfile -t after < <(counts)
  echo "${before[*]} ${after[*]}" | awk '{
    for (i = 1; i <= 6; i++) d[i] = $(i + 6) - $i
    n = d[1]
    printf "a send: %.2f calls of Redis (%.2f ms), %.2f reads and %.2f writes of CQL (%.2f ms) (%d sends)\n", \
      d[2] / n, 1000 * d[3] / n, d[4] / n, d[5] / n, 1000 * d[6] / n, n }'
}

if [ $# -gt 0 ]; then
  sends "$1" "${2:-8}" "${3:-20000}"
else
  sends 1 1 5000
  sends 50 8 50000
fi
