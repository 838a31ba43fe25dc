#!/usr/bin/env bash
# chirm, as a service manager runs it: a node that died is started again. For a replay's --program.
# NODE_PROGRAM is the program. NODE_DIES_AT=STEP:COUNT is where its first NODE_LIVES lives die (feature `mutations`);
# each is a line in the file NODE_DEATHS. NODE_CLOCK is a file with how far its clock is off, as libfaketime reads it.
set -uo pipefail

[ "${1:-}" = serve ] || exec "$NODE_PROGRAM" "$@"
if [ -n "${NODE_CLOCK:-}" ]; then
  library=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)
  clock=(env "LD_PRELOAD=$library" "FAKETIME_TIMESTAMP_FILE=$NODE_CLOCK" FAKETIME_NO_CACHE=1
    FAKETIME_DONT_FAKE_MONOTONIC=1)
fi
stopping=
trap 'stopping=1; kill -TERM $node' TERM
for ((life = 1; ; life++)); do
  [ "$life" -gt "${NODE_LIVES:-0}" ] || export CHIRM_DIE_AT=$NODE_DIES_AT
  ${clock[@]+"${clock[@]}"} "$NODE_PROGRAM" "$@" &
  node=$!
  unset CHIRM_DIE_AT
  wait $node
  code=$?
  if [ -n "$stopping" ]; then
    wait $node
    exit
  fi
  echo "$code" >>"${NODE_DEATHS:-/dev/null}"
done
