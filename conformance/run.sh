#!/usr/bin/env bash
# Runs the conformance suite against the server as it is built here: one by the cases that can share
# it, others by those that need one of their own. Reports go to $CONFORMANCE_REPORTS, if set.
# CHIRM=… takes another server's binary; what else is said goes to the runner.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
tools/programs.sh
export CHIRM=${CHIRM:-$target/debug/chirm}
reports=()
if [ -n "${CONFORMANCE_REPORTS:-}" ]; then
  mkdir -p "$CONFORMANCE_REPORTS"
  at=$CONFORMANCE_REPORTS
  reports=(--report "junit=$at/junit.xml,json=$at/report.json,html=$at/report.html")
fi
exec "$target/debug/chirm-conformance" server --spawn conformance/spawn-chirm.sh \
  --known-failing conformance/known-failing/chirm.txt --quiet "${reports[@]}" "$@"
