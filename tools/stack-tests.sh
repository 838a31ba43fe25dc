#!/usr/bin/env bash
# What is tried on real servers (docs/testing.md, "Real servers"): each backend's contract suite and faults, then,
# with a node on Postgres, CQL and one Redis, the tests over sockets, the replay and the conformance suite.
# Usage: tools/stack-tests.sh [suites|it|replay|conformance]…    none named: all of them
# CHIRM_TEST_ON=redis-cluster: the last three with a Redis Cluster in place of one Redis; CHIRM_TEST_ON=nats: with one
# Redis, and NATS for the fan-out.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source-path=SCRIPTDIR
. tools/stack/settings.sh

tools/stack.sh up
eval "$(tools/stack.sh env)"
export CHIRM_TEST_ON=${CHIRM_TEST_ON:-redis}
# What earlier runs left is nobody's, and fills it in the end.
if [ "${CHIRM_TEST_STACK:-}" != external ]; then
  redis-cli --no-auth-warning -u "$CHIRM_TEST_REDIS_OPERATOR" FLUSHALL ASYNC >/dev/null
fi

# What is about the one file of a node by itself.
embedded=(cli::disk:: backup a_damaged_database a_newer_database a_data_folder a_folder_)
skips=()
for name in "${embedded[@]}"; do skips+=(--skip "$name"); done

[ $# -gt 0 ] || set -- suites it replay conformance
for part in "$@"; do
  echo "on real servers: $part"
  case $part in
    suites) cargo test --workspace --lib -- --ignored store::postgres store::cql bus::redis ;;
    it) cargo test --workspace --test it -- --include-ignored "${skips[@]}" ;;
    replay) (settings "replay_$$_$RANDOM" && tools/replay-sample.sh) ;;
    conformance) (settings unused && conformance/run.sh --profile cluster) ;;
    *) echo "tools/stack-tests.sh: no part $part" >&2 && exit 2 ;;
  esac
done
