#!/usr/bin/env bash
# The part of `make test` on real servers: the backends' suites and their faults, the tests over sockets, the replay.
# It ends the servers that it started; those that ran before go on. Where they can't be had it says so, and passes,
# but for CI. The conformance suite on them, a Redis Cluster and NATS take longer: `make stack`, docs/testing.md.
set -euo pipefail
cd "$(dirname "$0")/.."

running() { tools/stack.sh status | sed -n '/not running$/d; s/^stack: \([a-z-]*\):.*/\1/p' | sort; }

if [ "${CHIRM_TEST_STACK:-}" != external ]; then
  before=$(running)
  end() {
    local own
    mapfile -t own < <(comm -13 <(echo "$before") <(running))
    [ "${#own[@]}" -eq 0 ] || tools/stack.sh down "${own[@]}"
  }
  trap end EXIT
fi
if ! tools/stack.sh up; then
  [ -z "${CI:-}" ] || exit 1
  echo "SKIPPED: the real servers could not be started: NOTHING WAS TRIED ON POSTGRES, CQL, REDIS AND NATS" >&2
  exit 0
fi
tools/stack-tests.sh suites it replay
